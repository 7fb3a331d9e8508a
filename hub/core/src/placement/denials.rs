//! What spokes refuse of a placement: what the owners of clusters deny, and gangs for which there is no room.
//!
//! A denial holds until the placement, its objects or the cluster's limits change, and at most for a while: what it follows
//! from may be mended unseen. Want of room holds until a later report shows more of it, or for a while. A cluster that runs something of the placement keeps it: only where nothing could be
//! delivered is the row taken back, so that another cluster can have it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::assignments::PlacedAssignment;
use crate::fleet::{Answer, RejectionClass};
use crate::scheduler::{Denied, Reason};

/// For so long a spoke that had no room is not asked again, unless its reports show more: the two may count differently, and
/// would go on asking and refusing.
const ASKED_AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// A denial holds for so long at first, then for twice as long each time.
const DENIED_FOR: SignedDuration = SignedDuration::from_mins(2);
/// The longest time that a denial holds.
const DENIED_FOR_MOST: SignedDuration = SignedDuration::from_mins(30);

/// Denials by cluster.
pub type Denials = BTreeMap<String, Denial>;

/// One cluster's denial, and what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What the scheduler has to know.
    pub denied: Denied,
    asked: Asked,
    until: Until,
    /// How many times in a row the cluster was asked before, and denied.
    times: u32,
    /// The cluster is asked again: the denial is remembered for what follows, and keeps nothing away.
    lapsed: bool,
}

/// What ends a denial, beside another question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Until {
    /// The cluster's limits have another name than this, or that time has come.
    Limits(Option<String>, Timestamp),
    /// There is more room.
    Room(Lack),
}

/// Want of room, as a spoke has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lack {
    /// The gang.
    uid: String,
    /// When the report was made that the spoke judged by.
    judged: Timestamp,
    /// More replicas than these have to fit by a later report: those that did by the one that was judged by, or those that
    /// the spoke has named, or fewer since.
    fit: u32,
    /// When the spoke is asked again all the same.
    ends: Timestamp,
}

/// What a spoke was asked to hold: when this changes, it may answer otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Generation of the placement.
    pub placement: i64,
    /// Generation of each object, by uid.
    pub objects: BTreeMap<String, i64>,
}

/// What [`follow`] works with.
pub struct Input<'a> {
    /// What is known so far.
    pub before: &'a Denials,
    /// What the placement runs where.
    pub placed: &'a BTreeMap<String, PlacedAssignment>,
    /// What the spokes are asked to hold now.
    pub asked: Asked,
    /// The objects that do the placement's work: a cluster that holds one of them keeps it.
    pub working: &'a [&'a str],
    /// What a spoke answered to what it was sent last: cluster, uid.
    pub answer: &'a dyn Fn(&str, &str) -> Option<&'a Answer>,
    /// The name of a cluster's limits, if its spoke has told.
    pub limits: &'a dyn Fn(&str) -> Option<String>,
    /// The room that a cluster's last report shows for an object: cluster, uid.
    pub room: &'a dyn Fn(&str, &str) -> Option<Shown>,
    /// By the hub's clock.
    pub now: Timestamp,
}

/// What a report shows.
#[derive(Clone, Copy)]
pub struct Shown {
    /// When it was made, by the spoke's clock.
    pub at: Timestamp,
    /// Replicas that fit by it.
    pub fit: u32,
}

/// What follows from all that was answered.
#[derive(Default)]
pub struct Followed {
    /// The denials that hold now.
    pub denials: Denials,
    /// Those of them that nobody has been told of: cluster, and what was said.
    pub news: Vec<(String, Denied)>,
    /// Refused for want of room by clusters that the placement is in, and to be sent once more: cluster, uid.
    pub again: Vec<(String, String)>,
}

/// What holds of the denials, and what does not any longer.
#[must_use]
pub fn follow(input: &Input<'_>) -> Followed {
    let still = |(cluster, denial): (&String, &Denial)| {
        let is_asked = input.placed.contains_key(cluster);
        let same = denial.asked == input.asked && !(is_asked && is_answered(input, cluster, denial));
        Some((cluster.clone(), denial.clone().still(input, cluster).filter(|_| same)?))
    };
    let kept = input.before.iter().filter_map(still);
    let answered = input
        .placed
        .iter()
        .filter_map(|(cluster, row)| Some((cluster.clone(), answered(input, cluster, row)?)));
    let denials: Denials = kept.chain(answered).collect();
    let again = input.placed.iter().filter(|(cluster, _)| !denials.get(*cluster).is_some_and(Denial::holds));
    let again = again.flat_map(|(cluster, row)| {
        let refused = row.objects.iter().filter(|object| lack(input, cluster, &object.uid).is_some());
        refused.map(|object| (cluster.clone(), object.uid.clone()))
    });
    let again = again.collect();
    let is_known = |(cluster, denial): &(&String, &Denial)| {
        let known = input.before.get(*cluster);
        known.is_some_and(|known| known.denied.message == denial.denied.message)
    };
    let news = denials.iter().filter(|denial| denial.1.holds() && !is_known(denial));
    let news = news.map(|(cluster, denial)| (cluster.clone(), denial.denied.clone())).collect();
    Followed { denials, news, again }
}

/// When time alone ends the first of them.
pub fn ends(denials: &Denials) -> Option<Timestamp> {
    denials.values().filter(|denial| denial.holds()).map(Denial::ends).min()
}

impl Denial {
    /// Whether it keeps the placement away, or is only remembered.
    #[must_use]
    pub const fn holds(&self) -> bool {
        !self.lapsed
    }

    /// When time alone ends it.
    const fn ends(&self) -> Timestamp {
        match &self.until {
            Until::Room(lack) => lack.ends,
            Until::Limits(_, ends) => *ends,
        }
    }

    fn is_over(&self, now: Timestamp) -> bool {
        now >= self.ends()
    }

    /// The denial as it is now; none if it does not hold any longer.
    fn still(self, input: &Input<'_>, cluster: &str) -> Option<Self> {
        let until = match self.until {
            Until::Limits(name, ends) => {
                let limits = (input.limits)(cluster);
                let same = limits.is_none() || limits == name;
                let lapsed = self.lapsed || input.now >= ends;
                let until = Until::Limits(name, ends);
                return same.then_some(Self { until, lapsed, ..self });
            }
            Until::Room(lack) => Until::Room(lack.still(input, cluster)?),
        };
        Some(Self { until, ..self })
    }
}

impl Lack {
    fn still(self, input: &Input<'_>, cluster: &str) -> Option<Self> {
        if input.now >= self.ends {
            return None;
        }
        let fit = match (input.room)(cluster, &self.uid) {
            // The very report: what fits by it does not fit by what the spoke knows beside it.
            Some(Shown { at, fit }) if at == self.judged => fit,
            Some(Shown { at, fit }) if at > self.judged && fit > self.fit => return None,
            Some(Shown { at, fit }) if at > self.judged => fit.min(self.fit),
            // What the hub knows is older than the refusal.
            _ => self.fit,
        };
        Some(Self { fit, ..self })
    }
}

/// The denial of a cluster that the placement is in.
fn answered(input: &Input<'_>, cluster: &str, row: &PlacedAssignment) -> Option<Denial> {
    let refused = |is_it: &dyn Fn(&str) -> bool| row.objects.iter().find(|object| is_it(&object.uid));
    let denied = |reason, object: &crds::fleet::PlacedObject| {
        let Some(Answer::Rejected { message, .. }) = (input.answer)(cluster, &object.uid) else {
            return None;
        };
        let message = format!("{} {}: {message}", object.kind, object.name);
        Some(Denied { reason, message, stays: stays(input, cluster) })
    };
    let asked = input.asked.clone();
    if let Some(object) = refused(&|uid| is_denied(input, cluster, uid)) {
        let denied = denied(Reason::PolicyDenied, object)?;
        let known = input.before.get(cluster).filter(|known| known.asked == asked);
        let known = known.filter(|known| matches!(known.until, Until::Limits(..)));
        if let Some(known) = known.filter(|known| known.holds() && !known.is_over(input.now)) {
            return Some(Denial { denied, ..known.clone() });
        }
        let times = known.map_or(0, |known| known.times.saturating_add(1));
        let until = Until::Limits((input.limits)(cluster), input.now + denied_for(times));
        return Some(Denial { denied, asked, until, times, lapsed: false });
    }
    let object = refused(&|uid| lack(input, cluster, uid).is_some())?;
    let told = lack(input, cluster, &object.uid)?;
    // Of a refusal that is known it is known as well what has been seen since.
    let known = input.before.get(cluster).and_then(|denial| match &denial.until {
        Until::Room(known) if (&known.uid, known.judged) == (&told.uid, told.judged) => Some(known.clone()),
        _ => None,
    });
    let until = Until::Room(known.unwrap_or(told).still(input, cluster)?);
    Some(Denial { denied: denied(Reason::NoRoom, object)?, asked, until, times: 0, lapsed: false })
}

/// How long a denial holds that came after so many others.
fn denied_for(times: u32) -> SignedDuration {
    DENIED_FOR.checked_mul(1 << times.min(8)).map_or(DENIED_FOR_MOST, |wait| wait.min(DENIED_FOR_MOST))
}

/// Whether the spoke has answered the question that followed a denial; until then the denial is remembered.
fn is_answered(input: &Input<'_>, cluster: &str, denial: &Denial) -> bool {
    let answered = |uid: &&str| (input.answer)(cluster, uid).is_some();
    denial.holds() || input.working.iter().any(answered)
}

/// Whether the cluster's owner denies an object.
fn is_denied(input: &Input<'_>, cluster: &str, uid: &str) -> bool {
    matches!(
        (input.answer)(cluster, uid),
        Some(Answer::Rejected { class: RejectionClass::PolicyDenied { .. }, .. })
    )
}

/// The want of room for an object, as it was told.
fn lack(input: &Input<'_>, cluster: &str, uid: &str) -> Option<Lack> {
    match (input.answer)(cluster, uid)? {
        Answer::Rejected { class: RejectionClass::NoRoom { judged, groups }, .. } => {
            let ends = input.now.checked_add(ASKED_AGAIN_AFTER).unwrap_or(Timestamp::MAX);
            Some(Lack { uid: uid.to_owned(), judged: *judged, fit: *groups, ends })
        }
        _ => None,
    }
}

/// Whether anything that works is there, or may be: silence counts as yes.
fn stays(input: &Input<'_>, cluster: &str) -> bool {
    let is_nothing = |class: &RejectionClass| {
        matches!(class, RejectionClass::PolicyDenied { held: false } | RejectionClass::NoRoom { .. })
    };
    input.working.iter().any(|uid| {
        !matches!((input.answer)(cluster, uid), Some(Answer::Rejected { class, .. }) if is_nothing(class))
    })
}

#[cfg(test)]
mod tests;
