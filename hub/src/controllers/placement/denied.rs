//! What the owners of clusters deny of a placement, as their spokes have answered.
//!
//! A denial holds until the placement, its objects or the cluster's limits change. A cluster that runs something of the
//! placement keeps it: only where nothing could be delivered is the row taken back, so that another cluster can have it.

use std::collections::BTreeMap;

use super::rows::PlacedRow;
use crate::fleet::{Answer, RejectionClass};
use crate::scheduler::Denied;

/// Denials by cluster.
pub(in super::super) type Denials = BTreeMap<String, Denial>;

/// One cluster's denial, and what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Denial {
    /// What the scheduler has to know.
    pub(super) denied: Denied,
    asked: Asked,
    limits: Option<String>,
}

/// What a spoke was asked to hold: when this changes, it may answer otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Generation of the placement.
    pub(super) placement: i64,
    /// Generation of each object, by uid.
    pub(super) objects: BTreeMap<String, i64>,
}

/// What [`follow`] works with.
pub(super) struct Input<'a> {
    /// What is known so far.
    pub(super) before: &'a Denials,
    /// What the placement runs where.
    pub(super) placed: &'a BTreeMap<String, PlacedRow>,
    pub(super) asked: Asked,
    /// The objects that do the placement's work: a cluster that holds one of them keeps it.
    pub(super) working: &'a [&'a str],
    /// What a spoke answered to what it was sent last: cluster, uid.
    pub(super) answer: &'a dyn Fn(&str, &str) -> Option<&'a Answer>,
    /// The name of a cluster's limits, if its spoke has told.
    pub(super) limits: &'a dyn Fn(&str) -> Option<String>,
}

/// The denials that hold now.
pub(super) fn follow(input: &Input<'_>) -> Denials {
    let still = |(cluster, denial): &(&String, &Denial)| {
        let limits = (input.limits)(cluster);
        denial.asked == input.asked
            && !input.placed.contains_key(*cluster)
            && (limits.is_none() || limits == denial.limits)
    };
    let kept = input.before.iter().filter(still).map(|(cluster, denial)| (cluster.clone(), denial.clone()));
    let answered = input.placed.iter().filter_map(|(cluster, row)| {
        let denied = Denied { message: message(input, cluster, row)?, stays: stays(input, cluster) };
        let denial = Denial { denied, asked: input.asked.clone(), limits: (input.limits)(cluster) };
        Some((cluster.clone(), denial))
    });
    kept.chain(answered).collect()
}

/// What the spoke says about the first object that is denied.
fn message(input: &Input<'_>, cluster: &str, row: &PlacedRow) -> Option<String> {
    row.objects.iter().find_map(|object| match (input.answer)(cluster, &object.uid)? {
        Answer::Rejected { class: RejectionClass::PolicyDenied { .. }, message } => {
            Some(format!("{} {}: {message}", object.kind, object.name))
        }
        _ => None,
    })
}

/// Whether anything that works is there, or may be: silence counts as yes.
fn stays(input: &Input<'_>, cluster: &str) -> bool {
    const NOTHING: RejectionClass = RejectionClass::PolicyDenied { held: false };
    input.working.iter().any(|uid| {
        !matches!((input.answer)(cluster, uid), Some(Answer::Rejected { class, .. }) if *class == NOTHING)
    })
}

#[cfg(test)]
mod tests {
    use crds::fleet::PlacedObject;
    use jiff::Timestamp;

    use super::*;

    fn denied(held: bool) -> Answer {
        Answer::Rejected { class: RejectionClass::PolicyDenied { held }, message: "no host paths".into() }
    }

    fn invalid() -> Answer {
        Answer::Rejected { class: RejectionClass::Invalid, message: "no".into() }
    }

    fn placed(cluster: &str) -> BTreeMap<String, PlacedRow> {
        let object = |kind: &str, uid: &str| PlacedObject {
            kind: kind.into(),
            name: uid.into(),
            uid: uid.into(),
            ..PlacedObject::default()
        };
        let objects = vec![object("NIMCache", "c"), object("NIMService", "s")];
        let since = Timestamp::UNIX_EPOCH;
        let row = PlacedRow { reason: "Placed".into(), score: 1, since, objects, replaced: false };
        BTreeMap::from([(cluster.to_owned(), row)])
    }

    struct World {
        before: Denials,
        placed: BTreeMap<String, PlacedRow>,
        generation: i64,
        limits: Option<&'static str>,
        cache: Option<Answer>,
        service: Option<Answer>,
    }

    impl World {
        fn new(cache: Option<Answer>, service: Option<Answer>) -> Self {
            let (before, placed) = (Denials::new(), placed("east"));
            Self { before, placed, generation: 1, limits: Some("a"), cache, service }
        }

        fn follow(&self) -> Denials {
            follow(&Input {
                before: &self.before,
                placed: &self.placed,
                asked: Asked { placement: self.generation, objects: BTreeMap::new() },
                working: &["s"],
                answer: &|_, uid| if uid == "s" { self.service.as_ref() } else { self.cache.as_ref() },
                limits: &|_| self.limits.map(ToOwned::to_owned),
            })
        }
    }

    #[test]
    fn a_row_is_taken_back_only_where_nothing_that_works_can_be() {
        let accepted = || Some(Answer::Accepted);
        let table = [
            ("the service is denied and is not there", accepted(), Some(denied(false)), Some(false)),
            ("an earlier version of it is there", accepted(), Some(denied(true)), Some(true)),
            ("it is there, its cache is denied", Some(denied(false)), accepted(), Some(true)),
            ("it has not been answered for", Some(denied(false)), None, Some(true)),
            ("it is refused for another reason", Some(denied(false)), Some(invalid()), Some(true)),
            ("nothing is denied", accepted(), Some(invalid()), None),
        ];
        for (case, cache, service, expected) in table {
            let found = World::new(cache, service).follow();
            assert_eq!(found.get("east").map(|denial| denial.denied.stays), expected, "{case}");
            assert!(found.values().all(|denial| denial.denied.message.contains("no host paths")), "{case}");
        }
    }

    #[test]
    fn a_denial_outlives_its_row_until_the_object_or_the_limit_changes() {
        let denied = World::new(None, Some(denied(false))).follow();
        let later = || World { before: denied.clone(), placed: BTreeMap::new(), ..World::new(None, None) };
        let table = [
            ("nothing changed", later(), true),
            ("the spoke is away", World { limits: None, ..later() }, true),
            ("the object changed", World { generation: 2, ..later() }, false),
            ("the limit changed", World { limits: Some("b"), ..later() }, false),
        ];
        for (case, world, expected) in table {
            assert_eq!(world.follow().contains_key("east"), expected, "{case}");
        }
        let placed_again = World { placed: placed("east"), ..later() };
        assert!(placed_again.follow().is_empty(), "what is placed is judged by its own answers");
    }
}
