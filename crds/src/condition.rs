//! Conditions: a new finding is written so that `lastTransitionTime` stays honest, and read without searching lists.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Longest message that an API server takes in a condition, characters.
const LONGEST_MESSAGE: usize = 32_768;

/// The three values of a condition's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows (yet, or any longer).
    Unknown,
}

impl Truth {
    /// The word as the API spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What was found out about one condition, before it is merged into an object's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The condition's `type`, for example `Ready`.
    pub kind: &'a str,
    /// Whether it holds.
    pub truth: Truth,
    /// One CamelCase word from the kind's closed list of reasons.
    pub reason: &'a str,
    /// One sentence for people; may be empty.
    pub message: String,
}

impl<'a> Finding<'a> {
    /// A finding from its parts.
    pub fn new(kind: &'a str, truth: impl Into<Truth>, reason: &'a str, message: impl Into<String>) -> Self {
        Self { kind, truth: truth.into(), reason, message: message.into() }
    }
}

/// Merges a finding into the list and says whether anything changed.
///
/// `lastTransitionTime` becomes `now` (whole seconds, as the API writes times) only when the status turns. A message
/// longer than an API server takes is cut. `generation` is the object's generation that the finding is about.
pub fn set(
    conditions: &mut Vec<Condition>,
    finding: Finding<'_>,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let mut next = Condition {
        last_transition_time: Time(whole_seconds(now)),
        message: shortened(finding.message),
        observed_generation: generation,
        reason: finding.reason.to_owned(),
        status: finding.truth.as_str().to_owned(),
        type_: finding.kind.to_owned(),
    };
    let Some(current) = conditions.iter_mut().find(|c| c.type_ == next.type_) else {
        conditions.push(next);
        return true;
    };
    if current.status == next.status {
        next.last_transition_time = current.last_transition_time.clone();
    }
    let changed = *current != next;
    *current = next;
    changed
}

/// Why an object is not [`READY`], in the two conditions by which tools of GitOps judge it (kstatus of kubernetes-sigs/cli-utils): one of
/// them is there, and True, as long as the object is not Ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// `Reconciling`: what is missing comes without anybody doing something, or when something comes that is waited for.
    Reconciling,
    /// `Stalled`: it stays so until somebody changes something.
    Stalled,
}

/// Type of the condition that says whether an object is as it is wanted.
pub const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";

/// Writes why the object is not Ready, with the reason and the message of that condition, and takes it away from one that is.
pub fn set_unready(conditions: &mut Vec<Condition>, why: Unready, generation: Option<i64>, now: Timestamp) {
    let against = find(conditions, READY).filter(|ready| ready.status != Truth::True.as_str()).cloned();
    let (kind, other) = match why {
        Unready::Reconciling => (RECONCILING, STALLED),
        Unready::Stalled => (STALLED, RECONCILING),
    };
    remove(conditions, other);
    match against {
        Some(ready) => {
            set(conditions, Finding::new(kind, true, &ready.reason, ready.message), generation, now);
        }
        None => {
            remove(conditions, kind);
        }
    }
}

/// The condition of this type, if the list has one.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// What the list says about a condition; a missing one or a word outside the API is `Unknown`.
#[must_use]
pub fn truth(conditions: &[Condition], kind: &str) -> Truth {
    match find(conditions, kind).map(|c| c.status.as_str()) {
        Some("True") => Truth::True,
        Some("False") => Truth::False,
        _ => Truth::Unknown,
    }
}

/// Whether the condition is there and True.
#[must_use]
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    truth(conditions, kind) == Truth::True
}

/// Takes the condition out of the list and says whether it was there.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|c| c.type_ != kind);
    conditions.len() != before
}

/// Cut, not rounded: a transition never lies in the future.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
        message.truncate(end);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(truth: bool, message: &str) -> Finding<'static> {
        Finding::new("Ready", truth, "Because", message)
    }

    #[test]
    fn the_time_moves_only_when_the_status_turns() {
        let mut list = Vec::new();
        let steps = [
            (10, false, "no pods", 10, true),
            (20, false, "no pods", 10, false),
            (30, false, "one pod", 10, true),
            (40, true, "one pod", 40, true),
            (50, true, "one pod", 40, false),
        ];
        for (now, truth, message, since, changed) in steps {
            assert_eq!(set(&mut list, ready(truth, message), Some(1), at(now)), changed, "at {now}");
            assert_eq!(list.len(), 1);
            assert_eq!(list[0].last_transition_time, Time(at(since)), "at {now}");
            assert_eq!(list[0].message, message);
        }
        assert!(set(&mut list, ready(true, "one pod"), Some(2), at(60)), "a new generation is news");
        assert_eq!(
            (list[0].observed_generation, list[0].last_transition_time.clone()),
            (Some(2), Time(at(40)))
        );
    }

    #[test]
    fn conditions_are_read_by_type() {
        let mut list = Vec::new();
        set(&mut list, ready(true, ""), None, at(1));
        set(&mut list, Finding::new("Applied", Truth::Unknown, "Lost", ""), None, at(1));
        assert!(is_true(&list, "Ready"));
        assert_eq!(truth(&list, "Applied"), Truth::Unknown);
        assert_eq!(truth(&list, "Absent"), Truth::Unknown);
        assert_eq!(find(&list, "Applied").map(|c| c.reason.as_str()), Some("Lost"));
        assert!(remove(&mut list, "Ready"));
        assert!(!remove(&mut list, "Ready"));
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn what_is_not_ready_is_reconciling_or_stalled_and_what_is_ready_is_neither() {
        let mut list = Vec::new();
        for (second, truth, why, expected) in [
            (1, Truth::False, Unready::Reconciling, Some("Reconciling")),
            (2, Truth::Unknown, Unready::Stalled, Some("Stalled")),
            (3, Truth::True, Unready::Stalled, None),
            (4, Truth::False, Unready::Stalled, Some("Stalled")),
            (5, Truth::True, Unready::Reconciling, None),
        ] {
            set(&mut list, Finding::new(READY, truth, "Because", "why"), Some(2), at(second));
            set_unready(&mut list, why, Some(2), at(second));
            let told: Vec<&Condition> = list.iter().filter(|one| one.type_ != READY).collect();
            assert_eq!(
                told.iter().map(|one| one.type_.as_str()).collect::<Vec<_>>(),
                Vec::from_iter(expected)
            );
            for one in told {
                let says = (one.status.as_str(), one.reason.as_str(), one.message.as_str());
                assert_eq!((says, one.observed_generation), (("True", "Because", "why"), Some(2)));
            }
        }
    }

    #[test]
    fn times_are_whole_seconds_and_messages_fit() {
        let mut list = Vec::new();
        let now = Timestamp::new(7, 900_000_000).unwrap();
        set(&mut list, ready(true, &"ü".repeat(LONGEST_MESSAGE + 5)), None, now);
        assert_eq!(list[0].last_transition_time, Time(at(7)));
        assert_eq!(list[0].message.chars().count(), LONGEST_MESSAGE);
    }
}
