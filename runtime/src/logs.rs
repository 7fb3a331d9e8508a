//! Logs: for people on a terminal, JSON elsewhere or when asked. `RUST_LOG` chooses what is logged.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logged where `RUST_LOG` says nothing, and by a command that a person runs.
const LEVEL: &str = "info";
const COMMAND_LEVEL: &str = "warn";

/// Libraries that say less than this, unless `RUST_LOG` names them. `kube_client` writes an error without an object for each
/// call while an API server is away, beside the program's own line about it.
const QUIET: [(&str, &str); 4] =
    [("kube_client", "off"), ("kube_runtime", "warn"), ("h2", "warn"), ("hyper", "warn")];

/// Starts logging to stderr. Later calls have no effect, so that tests can run several programs in one process.
pub fn start(format: LogFormat) {
    let said = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    install(format, &filter(&said, LEVEL));
}

/// Starts logging for a command that ends with its answer: warnings alone, for people, whatever a pod's variables say about
/// the log of the program that runs in it.
pub fn start_command() {
    install(LogFormat::Text, &filter("", COMMAND_LEVEL));
}

fn install(format: LogFormat, filter: &str) {
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(filter));
    let started = if json {
        registry.with(json_lines(io::stderr)).try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(io::stderr)).try_init()
    };
    drop(started);
}

/// One JSON object a line.
fn json_lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer)
}

/// What this thread logs while `work` runs, of every level and library, one JSON object a line as the programs write them:
/// for tests of what is logged.
#[must_use]
pub fn captured(work: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let layer = json_lines(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    let bytes = lines.0.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// Where captured lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The directives that were asked for, or `level`, and those of [`QUIET`] for libraries that none of them names.
fn filter(said: &str, level: &str) -> String {
    let said = if said.trim().is_empty() { level } else { said };
    let targets: Vec<&str> = said
        .split(',')
        .filter_map(|directive| directive.trim().split(['=', '[']).next())
        .filter(|target| !target.is_empty() && target.parse::<LevelFilter>().is_err())
        .collect();
    // `kube=debug` names `kube_client` too: a directive is about all targets that begin like it.
    let quiet = QUIET.iter().filter(|(library, _)| !targets.iter().any(|target| library.starts_with(target)));
    quiet.fold(said.to_owned(), |all, (library, level)| format!("{all},{library}={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_quiet_unless_they_are_named() {
        let all = "kube_client=off,kube_runtime=warn,h2=warn,hyper=warn";
        for (said, expected) in [
            ("", format!("info,{all}")),
            ("debug", format!("debug,{all}")),
            ("info,hub=debug", format!("info,hub=debug,{all}")),
            (
                "info,kube_client=debug",
                "info,kube_client=debug,kube_runtime=warn,h2=warn,hyper=warn".to_owned(),
            ),
            ("info,kube=debug", "info,kube=debug,h2=warn,hyper=warn".to_owned()),
            (
                "warn,hyper[span]=trace",
                format!("warn,hyper[span]=trace,{}", "kube_client=off,kube_runtime=warn,h2=warn"),
            ),
        ] {
            assert_eq!(filter(said, LEVEL), expected, "{said:?}");
            assert!(EnvFilter::try_new(filter(said, LEVEL)).is_ok(), "{said:?}");
        }
        assert_eq!(filter("", COMMAND_LEVEL), format!("warn,{all}"));
    }
}
