//! Logs: human on a terminal, JSON elsewhere or when asked. `RUST_LOG` chooses what is logged.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::LogFormat;

/// Logged where `RUST_LOG` does not say otherwise. `audit` is the target of who-did-what lines.
const DEFAULT_FILTER: &str = "info,audit=info,kube_runtime=warn,kube_client=warn,h2=warn,hyper=warn";

/// Starts logging to stderr. Later calls have no effect, so that tests can run hubs in one process.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let terminal = io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr))
            .try_init()
    } else {
        registry.with(tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(io::stderr)).try_init()
    };
    drop(started);
}
