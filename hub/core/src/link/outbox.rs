//! The outbox of one cluster: every object that it shall hold or let go, what of that has changed, what its spoke has refused, and
//! what its spoke holds back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::Buckets;

use super::object::{Cause, DesiredObject, HeldBack, Removal};
use crate::fleet::{HoldReason, RejectionClass};

/// A refused object is sent again after this time, then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(15);
/// The longest wait in the first hour, and always for a name that somebody else's object has: what is mended in the cluster
/// is delivered within this time.
const EARLY_RETRY: Duration = Duration::from_mins(2);
/// So many times an object is sent again in the first hour.
const EARLY_RETRIES: u32 = 30;
/// The longest wait after the first hour.
const LATE_RETRY: Duration = Duration::from_mins(30);

/// The desired state of one object in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Desired {
    /// The cluster shall hold it.
    Present(Arc<DesiredObject>),
    /// The cluster shall hold it no longer.
    Absent(Arc<Removal>),
}

impl Desired {
    /// What tells two outbox of one uid apart: the hash, or nothing for a removal.
    pub(super) fn hash(&self) -> &str {
        match self {
            Self::Present(object) => &object.hash,
            Self::Absent(_) => "",
        }
    }
}

/// A version of an object that the spoke has refused.
#[derive(Debug)]
struct Refused {
    hash: String,
    /// How many times in a row it was refused.
    times: u32,
    /// When it is sent again; none if only another version can help, or the controllers know when to ask.
    again: Option<Instant>,
}

/// All that is wanted of one cluster, by uid.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    by_uid: HashMap<String, Desired>,
    /// All that shall be held, to be compared with what a spoke says it holds.
    wanted: Buckets,
    dirty: BTreeSet<String>,
    /// What the spoke refused, by uid.
    refused: HashMap<String, Refused>,
    /// When refused objects are to be sent again.
    due: BTreeSet<(Instant, String)>,
    /// Removals that the spoke holds back.
    held_back: BTreeMap<String, (HoldReason, String)>,
}

impl Outbox {
    /// The cluster shall hold this object; says whether that is news.
    pub(super) fn set_desired(&mut self, object: DesiredObject) -> bool {
        let uid = object.object.uid.clone();
        if matches!(self.by_uid.get(&uid), Some(Desired::Present(known)) if known.is_same(&object)) {
            return false;
        }
        self.set(uid, Desired::Present(Arc::new(object)));
        true
    }

    /// The cluster shall hold this object no longer; says whether that is news.
    pub(super) fn set_removal(&mut self, removal: Removal) -> bool {
        let uid = removal.object.uid.clone();
        if matches!(self.by_uid.get(&uid), Some(Desired::Absent(known)) if known.policy == removal.policy) {
            return false;
        }
        self.set(uid, Desired::Absent(Arc::new(removal)));
        true
    }

    fn set(&mut self, uid: String, want: Desired) {
        self.forget(&uid);
        if let Desired::Present(object) = &want {
            self.wanted.add(&uid, object.generation, &object.hash);
        }
        self.dirty.insert(uid.clone());
        self.by_uid.insert(uid, want);
    }

    /// The object is nobody's concern any more.
    pub(super) fn forget(&mut self, uid: &str) {
        if let Some(Desired::Present(object)) = self.by_uid.remove(uid) {
            self.wanted.remove(uid, object.generation, &object.hash);
        }
        self.dirty.remove(uid);
        self.accepted(uid);
        self.held_back.remove(uid);
    }

    /// What is wanted of one object.
    pub(super) fn get(&self, uid: &str) -> Option<&Desired> {
        self.by_uid.get(uid)
    }

    /// Every uid and what is wanted of it, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Desired)> {
        self.by_uid.iter()
    }

    /// Every object that shall be held, in no order.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Arc<DesiredObject>> {
        self.by_uid.values().filter_map(|want| match want {
            Desired::Present(object) => Some(object),
            Desired::Absent(_) => None,
        })
    }

    /// Of how many objects something is wanted.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// The fingerprints of all that shall be held.
    pub(super) fn wanted(&self) -> &Buckets {
        &self.wanted
    }

    /// The uids that changed since the last call.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }

    /// The spoke refused this hash of the object; `class` says why, and is none where no spoke could take it. The object is
    /// sent again after a while, since what it was refused for may be mended in the cluster, unseen by the hub.
    pub(super) fn refuse(&mut self, uid: &str, hash: &str, class: Option<RejectionClass>, now: Instant) {
        let before = self.unschedule(uid).filter(|before| before.hash == hash);
        let times = before.map_or(0, |before| before.times.saturating_add(1));
        let again = class.and_then(|class| retry_after(class, times)).map(|wait| now + wait);
        self.due.extend(again.map(|at| (at, uid.to_owned())));
        self.refused.insert(uid.to_owned(), Refused { hash: hash.to_owned(), times, again });
    }

    /// The spoke has taken the object, or it is wanted otherwise.
    pub(super) fn accepted(&mut self, uid: &str) {
        drop(self.unschedule(uid));
    }

    fn unschedule(&mut self, uid: &str) -> Option<Refused> {
        let refused = self.refused.remove(uid)?;
        if let Some(at) = refused.again {
            self.due.remove(&(at, uid.to_owned()));
        }
        Some(refused)
    }

    /// Whether the spoke has refused what is wanted of this object, and it is too early to ask again.
    pub(super) fn is_refused(&self, uid: &str, want: &Desired, now: Instant) -> bool {
        self.refused
            .get(uid)
            .is_some_and(|refused| refused.hash == want.hash() && refused.again.is_none_or(|at| now < at))
    }

    /// When the first refused object is to be sent again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The refused objects that are to be sent again by now; each is given once.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        while let Some((at, uid)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, uid));
                break;
            }
            due.push(uid);
        }
        due
    }

    /// Another agent process may judge otherwise: what was refused is tried once more.
    pub(super) fn forget_refusals(&mut self) {
        self.refused.clear();
        self.due.clear();
    }

    /// The spoke holds this removal back until the admin has confirmed it.
    pub(super) fn hold_back(&mut self, uid: &str, reason: HoldReason, message: String) {
        if matches!(self.by_uid.get(uid), Some(Desired::Absent(_))) {
            self.held_back.insert(uid.to_owned(), (reason, message));
        }
    }

    /// The spoke has carried out a removal, or had nothing to remove.
    pub(super) fn gone(&mut self, uid: &str) {
        self.held_back.remove(uid);
    }

    /// The removals that the spoke holds back, by uid.
    pub(super) fn held_back(&self) -> Vec<HeldBack> {
        let held = self.held_back.iter().filter_map(|(uid, (reason, message))| {
            let Some(Desired::Absent(removal)) = self.by_uid.get(uid) else { return None };
            Some(HeldBack { object: removal.object.clone(), reason: *reason, message: message.clone() })
        });
        held.collect()
    }

    /// The admin has confirmed what is held back: it is sent again, and says so. How many that is.
    pub(super) fn confirm_held_back(&mut self) -> usize {
        let confirmed = std::mem::take(&mut self.held_back);
        for uid in confirmed.keys() {
            if let Some(Desired::Absent(removal)) = self.by_uid.get_mut(uid) {
                *removal = Arc::new(Removal { cause: Cause::Confirmed, ..Removal::clone(removal) });
                self.dirty.insert(uid.clone());
            }
        }
        confirmed.len()
    }
}

/// How long a refused object waits before it is sent again; none where the controllers know better.
fn retry_after(class: RejectionClass, times: u32) -> Option<Duration> {
    if matches!(class, RejectionClass::NoRoom { .. } | RejectionClass::StaleEpoch) {
        return None;
    }
    let doubled = |first: Duration, times: u32| first.saturating_mul(1 << times.min(16));
    let late = times.saturating_sub(EARLY_RETRIES);
    Some(if class == RejectionClass::Conflict || late == 0 {
        doubled(FIRST_RETRY, times).min(EARLY_RETRY)
    } else {
        doubled(EARLY_RETRY, late).min(LATE_RETRY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_object_waits_two_minutes_at_most_in_the_first_hour_and_half_an_hour_at_last() {
        let seconds = |class, times| retry_after(class, times).map(|wait| wait.as_secs());
        let all = |class, times: &[u32]| times.iter().map(|times| seconds(class, *times)).collect::<Vec<_>>();
        let times = [0, 1, 2, 3, 4, 30, 31, 34, 35, u32::MAX];
        let invalid = [15, 30, 60, 120, 120, 120, 240, 1800, 1800, 1800].map(Some);
        assert_eq!(all(RejectionClass::Invalid, &times), invalid);
        assert_eq!(seconds(RejectionClass::Conflict, u32::MAX), Some(120));
        let no_room = RejectionClass::NoRoom { judged: jiff::Timestamp::UNIX_EPOCH, groups: 0 };
        assert_eq!(seconds(no_room, 0), None, "the controllers ask when there is more room");
        let early: u64 = (0..EARLY_RETRIES).filter_map(|times| seconds(RejectionClass::Invalid, times)).sum();
        assert!((3000..3900).contains(&early), "{early} s is about an hour");
    }
}
