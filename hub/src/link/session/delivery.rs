//! What one session has to send, what is under way, and what the spoke holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::fleet::{Answer, HeldObject, ObjectResult, RejectionClass};
use crate::link::object::{DesiredObject, Removal};
use crate::link::wants::{Want, Wants};

/// A delta ends at this size: well under the largest message, so that a slow link shares its time.
const DELTA_BYTES: usize = 1 << 20;
/// What names and envelope of one object take at most, roughly.
const ENVELOPE_BYTES: usize = 1 << 10;
/// What a spoke that does not answer can hold of the hub's memory.
const UNDER_WAY_BYTES: usize = 4 << 20;
/// More objects than any one cluster holds; a longer index is an attack or a fault.
const MOST_HELD: usize = 100_000;

/// What one session has to send, what is under way, and what the spoke holds.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The spoke's index as it was received, until it is compared.
    index: Vec<HeldObject>,
    /// Hash held, by uid.
    held: HashMap<String, String>,
    /// To be sent. Caches come first: a service without its cache would only wait.
    queue: BTreeSet<(Rank, String)>,
    under_way: HashMap<String, Flight>,
    under_way_bytes: usize,
    last_delta: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Cache,
    Other,
}

#[derive(Debug)]
struct Flight {
    delta: u64,
    hash: String,
    bytes: usize,
}

/// An index, compared with what is wanted.
#[derive(Debug)]
pub(super) struct Compared {
    /// Held as wanted.
    pub(super) in_sync: Vec<ObjectResult>,
    /// Held, and neither wanted nor to be removed.
    pub(super) orphans: Vec<HeldObject>,
}

/// What an Ack came to.
#[derive(Debug)]
pub(super) struct Acked {
    /// Results of what was really under way.
    pub(super) results: Vec<ObjectResult>,
    /// The spoke obeys another epoch by now.
    pub(super) stale_epoch: bool,
}

/// A delta: its number, what to apply and what to remove.
type Delta = (u64, Vec<Arc<DesiredObject>>, Vec<Arc<Removal>>);

impl Delivery {
    /// Takes a chunk of the index; `false` if it is too long.
    pub(super) fn index(&mut self, held: Vec<HeldObject>) -> bool {
        self.index.extend(held);
        self.index.len() <= MOST_HELD
    }

    /// Compares the index with what is wanted, and queues the difference.
    pub(super) fn compare(&mut self, wants: &mut Wants) -> Compared {
        wants.take_dirty();
        let mut compared = Compared { in_sync: Vec::new(), orphans: Vec::new() };
        for held in std::mem::take(&mut self.index) {
            self.held.insert(held.object.uid.clone(), held.hash.clone());
            match wants.get(&held.object.uid) {
                None => compared.orphans.push(held),
                Some(Want::Keep(object)) if object.hash == held.hash => {
                    let HeldObject { object, hash, .. } = held;
                    compared.in_sync.push(ObjectResult { uid: object.uid, hash, answer: Answer::Accepted });
                }
                Some(_) => {}
            }
        }
        for (uid, want) in wants.iter() {
            let in_sync = matches!(want, Want::Keep(object) if self.held.get(uid) == Some(&object.hash));
            if !in_sync {
                self.enqueue(uid, want);
            }
        }
        compared
    }

    /// Queues what has changed.
    pub(super) fn changed(&mut self, wants: &mut Wants) {
        for uid in wants.take_dirty() {
            if let Some(want) = wants.get(&uid) {
                self.enqueue(&uid, want);
            }
        }
    }

    /// Takes an Ack. What is not under way in that delta is an echo and means nothing.
    pub(super) fn acked(&mut self, delta: u64, results: Vec<ObjectResult>, wants: &mut Wants) -> Acked {
        let mut acked = Acked { results: Vec::new(), stale_epoch: false };
        for mut result in results {
            let Some(flight) = self.under_way.get(&result.uid).filter(|flight| flight.delta == delta) else {
                continue;
            };
            self.under_way_bytes -= flight.bytes;
            result.hash.clone_from(&flight.hash);
            self.under_way.remove(&result.uid);
            match &result.answer {
                Answer::Accepted => drop(self.held.insert(result.uid.clone(), result.hash.clone())),
                Answer::Gone => drop(self.held.remove(&result.uid)),
                Answer::Rejected { class: RejectionClass::StaleEpoch, .. } => {
                    acked.stale_epoch = true;
                    continue;
                }
                Answer::Rejected { .. } => wants.refuse(&result.uid, &result.hash),
            }
            if let Some(want) = wants.get(&result.uid)
                && want.hash() != result.hash
            {
                self.enqueue(&result.uid, want);
            }
            acked.results.push(result);
        }
        acked
    }

    /// The next delta, if there is something to send and room for it.
    pub(super) fn next(&mut self, wants: &Wants) -> Option<Delta> {
        let (mut upserts, mut tombstones) = (Vec::new(), Vec::new());
        let (delta, mut size) = (self.last_delta + 1, 0);
        let mut done = Vec::new();
        for entry in &self.queue {
            let uid = &entry.1;
            let Some(want) = wants.get(uid).filter(|want| !wants.is_refused(uid, want)) else {
                done.push(entry.clone());
                continue;
            };
            if self.under_way.contains_key(uid) {
                continue;
            }
            let bytes = match want {
                Want::Keep(object) if self.held.get(uid) == Some(&object.hash) => {
                    done.push(entry.clone());
                    continue;
                }
                Want::Keep(object) => ENVELOPE_BYTES + object.payload.len(),
                Want::Remove(_) => ENVELOPE_BYTES,
            };
            let full = size + bytes > DELTA_BYTES && size > 0;
            let no_room = self.under_way_bytes + bytes > UNDER_WAY_BYTES && !self.under_way.is_empty();
            if full || no_room {
                break;
            }
            match want {
                Want::Keep(object) => upserts.push(object.clone()),
                Want::Remove(removal) => tombstones.push(removal.clone()),
            }
            size += bytes;
            self.under_way_bytes += bytes;
            self.under_way.insert(uid.clone(), Flight { delta, hash: want.hash().to_owned(), bytes });
            done.push(entry.clone());
        }
        for entry in done {
            self.queue.remove(&entry);
        }
        // Removed in the opposite order: a service goes before the cache it uses.
        tombstones.reverse();
        if upserts.is_empty() && tombstones.is_empty() {
            return None;
        }
        self.last_delta = delta;
        Some((delta, upserts, tombstones))
    }

    fn enqueue(&mut self, uid: &str, want: &Want) {
        let kind = match want {
            Want::Keep(object) => &object.object.kind,
            Want::Remove(removal) => &removal.object.kind,
        };
        let rank = if kind == "NIMCache" { Rank::Cache } else { Rank::Other };
        self.queue.insert((rank, uid.to_owned()));
    }
}
