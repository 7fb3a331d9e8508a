//! Which hub may change this cluster: the rule of epochs.

use std::fmt;

/// The right to change a spoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// Made once per hub, kept in the hub's cluster.
    pub hub_id: String,
    /// Rises by one at every start of the hub, and above whatever epoch of its own a spoke proves.
    pub term: u64,
    /// Random, made anew with every term.
    pub incarnation: String,
    /// By which the hub knows this epoch again when it is returned in a Hello; nothing that a spoke could check. Empty from a
    /// hub that knows no proofs.
    pub proof: Vec<u8>,
}

impl Epoch {
    /// Whether it is the same right, however it is proven.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        (&self.hub_id, self.term, &self.incarnation) == (&other.hub_id, other.term, &other.incarnation)
    }
}

impl fmt::Display for Epoch {
    /// `<term>.<incarnation>`, as in the mark.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.incarnation)
    }
}

/// Why an epoch is not obeyed. Nothing is changed by a hub that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EpochRefused {
    /// The cluster belongs to another hub.
    #[error(
        "this cluster obeys hub {ours}, not hub {theirs}: to hand it over, delete the ConfigMap nimfleet-spoke-state \
         in the spoke's namespace and restart the spoke"
    )]
    OtherHub {
        /// Hub that was accepted before.
        ours: String,
        /// Hub that asks.
        theirs: String,
    },
    /// A newer term of the same hub was accepted before.
    #[error(
        "term {theirs} is older than term {ours}, which this cluster has accepted: the hub was restored from a \
         backup or an old one still runs; it has to raise its term above {ours}"
    )]
    OlderTerm {
        /// Highest term accepted.
        ours: u64,
        /// Term that asks.
        theirs: u64,
    },
    /// The same term was accepted from another incarnation.
    #[error(
        "term {term} was accepted from incarnation {ours}, not {theirs}: the hub was restored from a backup or runs \
         twice; it has to raise its term above {term}"
    )]
    OtherIncarnation {
        /// The term of both.
        term: u64,
        /// Incarnation that was accepted.
        ours: String,
        /// Incarnation that asks.
        theirs: String,
    },
}

/// What to do with an epoch that is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is the stored one.
    Known,
    /// It is higher, the first, or comes with another proof: store it before it is used.
    Store,
}

/// Judges an offered epoch by the stored one.
pub fn judge(stored: Option<&Epoch>, offered: &Epoch) -> Result<Accepted, EpochRefused> {
    let Some(stored) = stored else { return Ok(Accepted::Store) };
    if stored.hub_id != offered.hub_id {
        return Err(EpochRefused::OtherHub { ours: stored.hub_id.clone(), theirs: offered.hub_id.clone() });
    }
    if offered.term > stored.term {
        return Ok(Accepted::Store);
    }
    if offered.term < stored.term {
        return Err(EpochRefused::OlderTerm { ours: stored.term, theirs: offered.term });
    }
    if offered.incarnation != stored.incarnation {
        return Err(EpochRefused::OtherIncarnation {
            term: stored.term,
            ours: stored.incarnation.clone(),
            theirs: offered.incarnation.clone(),
        });
    }
    // A hub that knows no proofs takes none away: the next one may need it.
    let is_news = !offered.proof.is_empty() && offered.proof != stored.proof;
    Ok(if is_news { Accepted::Store } else { Accepted::Known })
}

/// Why work of an offered epoch is refused, if it is: only the accepted epoch changes anything.
#[must_use]
pub fn check(accepted: Option<&Epoch>, offered: &Epoch) -> Option<String> {
    if accepted.is_some_and(|accepted| accepted.is(offered)) {
        return None;
    }
    Some(match judge(accepted, offered) {
        Err(refused) => refused.to_string(),
        Ok(_) => format!("epoch {offered} has not been accepted by this cluster: connect again"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(hub: &str, term: u64, incarnation: &str) -> Epoch {
        Epoch { hub_id: hub.to_owned(), term, incarnation: incarnation.to_owned(), proof: Vec::new() }
    }

    fn proven(proof: &[u8]) -> Epoch {
        Epoch { proof: proof.to_vec(), ..epoch("hub", 5, "x") }
    }

    #[test]
    fn rule() {
        let stored = epoch("hub", 5, "x");
        let table = [
            ("same", epoch("hub", 5, "x"), Ok(Accepted::Known)),
            ("next term", epoch("hub", 6, "y"), Ok(Accepted::Store)),
            ("next term, same incarnation", epoch("hub", 6, "x"), Ok(Accepted::Store)),
            ("far term", epoch("hub", u64::MAX, "y"), Ok(Accepted::Store)),
            (
                "same term, other incarnation",
                epoch("hub", 5, "y"),
                Err(EpochRefused::OtherIncarnation { term: 5, ours: "x".into(), theirs: "y".into() }),
            ),
            ("older term", epoch("hub", 4, "x"), Err(EpochRefused::OlderTerm { ours: 5, theirs: 4 })),
            (
                "other hub, higher term",
                epoch("other", 9, "x"),
                Err(EpochRefused::OtherHub { ours: "hub".into(), theirs: "other".into() }),
            ),
        ];
        for (case, offered, expected) in table {
            assert_eq!(judge(Some(&stored), &offered), expected, "{case}");
        }
    }

    #[test]
    fn a_proof_is_stored_when_it_comes_and_stays_when_none_does() {
        let table = [
            (proven(b""), proven(b"p"), Accepted::Store),
            (proven(b"p"), proven(b"p"), Accepted::Known),
            (proven(b"p"), proven(b"q"), Accepted::Store),
            (proven(b"p"), proven(b""), Accepted::Known),
        ];
        for (stored, offered, expected) in table {
            assert_eq!(judge(Some(&stored), &offered), Ok(expected), "{stored:?} {offered:?}");
            assert_eq!(check(Some(&stored), &offered), None, "the right is the same");
        }
    }

    #[test]
    fn the_first_hub_is_accepted() {
        assert_eq!(judge(None, &epoch("hub", 0, "")), Ok(Accepted::Store));
    }

    #[test]
    fn refusals_name_the_remedy() {
        let refused = judge(Some(&epoch("a", 1, "x")), &epoch("b", 1, "x")).unwrap_err();
        assert!(refused.to_string().contains("delete the ConfigMap nimfleet-spoke-state"), "{refused}");
    }
}
