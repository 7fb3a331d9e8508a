//! Shows how a long build goes: a moving line on a terminal, a line per program elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Where progress is told; stdout stays free for results.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines,
    #[cfg(test)]
    Silent,
}

impl Progress {
    pub(super) fn on_stderr() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) =
            ProgressStyle::with_template("{spinner:.green} {prefix} {elapsed:.dim} {wide_msg:.dim}")
        {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    /// Something lasting begins.
    pub(super) fn begin(&self, what: &str) {
        match self {
            Self::Bar(bar) => {
                bar.set_prefix(what.to_owned());
                bar.enable_steady_tick(Duration::from_millis(100));
            }
            Self::Lines => say(what),
            #[cfg(test)]
            Self::Silent => {}
        }
    }

    /// What is being worked on just now: passing, so only a terminal shows it.
    pub(super) fn detail(&self, what: &str) {
        if let Self::Bar(bar) = self {
            bar.set_message(what.to_owned());
        }
    }

    /// Everything is done; `what` stays on the screen.
    pub(super) fn end(&self, what: &str) {
        match self {
            Self::Bar(bar) => {
                bar.finish_and_clear();
                say(what);
            }
            Self::Lines => say(what),
            #[cfg(test)]
            Self::Silent => {}
        }
    }
}

fn say(line: &str) {
    // Nobody to tell is no reason to stop building.
    let _ = writeln!(std::io::stderr(), "{line}");
}
