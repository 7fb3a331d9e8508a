//! `doctor`: what is wrong with a hub or a spoke, and what to do about it. It reads and changes nothing.

pub(crate) mod definitions;
mod hub;
mod installed;
mod spoke;

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::{DoctorArgs, Side};
use crate::failure::{DONE, Failure, NO};
use crate::print::Printer;
use crate::session::Session;
use crate::table::{Tone, count, paint};

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It is as it should be.
    Ok,
    /// The caller may not look, or nobody answered.
    Unknown,
    /// It works, and somebody should look.
    Warning,
    /// It does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// A stable name, for example `hub-leader`.
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    /// Object and value.
    pub(crate) found: String,
    /// What to do. There is one for whatever is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn ok(id: &'static str, found: impl Into<String>) -> Self {
        Self { id, outcome: Outcome::Ok, found: found.into(), remedy: None }
    }

    fn not(id: &'static str, outcome: Outcome, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, outcome, found: found.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn failed(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(id, Outcome::Failed, found, remedy)
    }

    pub(crate) fn warning(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(id, Outcome::Warning, found, remedy)
    }

    pub(crate) fn unknown(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not(id, Outcome::Unknown, found, remedy)
    }

    /// What could not be looked at is unknown, whatever the reason.
    fn from(id: &'static str, looked: Result<Self, Failure>) -> Self {
        looked.unwrap_or_else(|failure| {
            Self::unknown(id, failure.to_string(), "run this as somebody who may read it")
        })
    }
}

/// All checks of one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Examined {
    pub(crate) side: Side,
    pub(crate) checks: Vec<Check>,
}

/// What `doctor` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnosis {
    pub(crate) examined: Vec<Examined>,
}

impl Diagnosis {
    /// Whether nothing has failed.
    pub(crate) fn is_well(&self) -> bool {
        let mut checks = self.examined.iter().flat_map(|examined| &examined.checks);
        checks.all(|check| check.outcome != Outcome::Failed)
    }
}

/// Looks at what the cluster has, or at the side that is named.
pub(crate) async fn examine(session: &Session, side: Option<Side>) -> Result<Diagnosis, Failure> {
    let sides = match side {
        Some(side) => vec![side],
        None => installed::sides(session).await?,
    };
    if sides.is_empty() {
        return Err(Failure::Refused(format!(
            "namespace {}: neither a hub nor a spoke is installed there: name its namespace with --installed-in, or say \
             what is to be looked at: kubectl nimfleet doctor hub",
            session.installed_in()
        )));
    }
    let mut examined = Vec::new();
    for side in sides {
        let checks = match side {
            Side::Hub => Box::pin(hub::checks(session)).await,
            Side::Spoke => Box::pin(spoke::checks(session)).await,
        };
        examined.push(Examined { side, checks });
    }
    Ok(Diagnosis { examined })
}

/// Prints the checks, and says by the exit status whether one failed.
pub(crate) async fn print(session: &Session, printer: Printer, args: &DoctorArgs) -> Result<u8, Failure> {
    let diagnosis = examine(session, args.side).await?;
    printer.answer("Diagnosis", &diagnosis, render)?;
    Ok(if diagnosis.is_well() { DONE } else { NO })
}

fn render(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    for Examined { side, checks } in &diagnosis.examined {
        let title = match side {
            Side::Hub => "Hub",
            Side::Spoke => "Spoke",
        };
        let _ = writeln!(out, "{}\n", paint(title, Tone::Heading));
        for Check { id, outcome, found, remedy } in checks {
            let (word, tone) = match outcome {
                Outcome::Ok => ("ok", Tone::Good),
                Outcome::Unknown => ("unknown", Tone::Faint),
                Outcome::Warning => ("warning", Tone::Warning),
                Outcome::Failed => ("failed", Tone::Bad),
            };
            let _ = writeln!(out, "{}{:pad$}{id:<20}{found}", paint(word, tone), "", pad = 10 - word.len());
            if let Some(remedy) = remedy {
                let _ = writeln!(out, "{:30}→ {remedy}", "");
            }
        }
        out.push('\n');
    }
    let checks = || diagnosis.examined.iter().flat_map(|examined| &examined.checks);
    let failed = checks().filter(|check| check.outcome == Outcome::Failed).count();
    let _ = match failed {
        0 => writeln!(out, "{}", paint("nothing has failed", Tone::Good)),
        number => writeln!(out, "{}", paint(&format!("{} failed", count(number, "check")), Tone::Bad)),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_stands_before_its_remedy() {
        let diagnosis = Diagnosis {
            examined: vec![Examined {
                side: Side::Hub,
                checks: vec![
                    Check::ok("hub-leader", "nimfleet-hub-0 leads"),
                    Check::warning("hub-link", "the Service has no address yet", "wait for it"),
                    Check::failed("query-api", "no hub answers", "start one"),
                    Check::unknown("hub-ca", "apiservices: forbidden", "ask somebody"),
                ],
            }],
        };
        assert!(!diagnosis.is_well());
        insta::assert_snapshot!(anstream::adapter::strip_str(&render(&diagnosis)));
    }
}
