//! What one session has to send, what is under way, and what the spoke holds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use proto::{Buckets, bucket};

use super::held::Held;
use crate::fleet::{Answer, Excess, HeldObject, ObjectResult, RejectionClass, Weight};
use crate::link::object::{DesiredObject, Removal};
use crate::link::outbox::{Desired, Outbox};

/// A delta ends at this size: a heartbeat behind it is late by no more than 3 s at 1 Mbit/s.
const DELTA_BYTES: usize = 1 << 18;
/// What names and envelope of one object take at most, roughly.
const ENVELOPE_BYTES: usize = 1 << 10;
/// What a spoke that does not answer can hold of the hub's memory.
const UNDER_WAY_BYTES: usize = 4 << 20;
/// An index may be this long whatever is wanted, and at most [`MOST_TIMES`] as long as what is wanted: a longer one is an
/// attack or a fault.
const MOST_HELD: usize = 10_000;
const MOST_TIMES: usize = 4;
/// Bytes that an object of an index may be on average; of a spoke that ships it is about 350.
const HELD_BYTES: usize = 512;

/// What one session has to send, what is under way, and what the spoke holds.
#[derive(Debug, Default)]
pub(super) struct Delivery {
    /// The spoke's index as it was received, until it is compared.
    index: Vec<HeldObject>,
    index_bytes: usize,
    held: Held,
    /// What is held and nobody wants or removes, by uid.
    orphans: BTreeMap<String, HeldObject>,
    /// To be sent. Caches come first: a service without its cache would only wait.
    queue: BTreeSet<(Rank, String)>,
    under_way: HashMap<String, Flight>,
    under_way_bytes: usize,
    /// What the spoke has taken and keeps trying, or holds back: its last word is still to come, and nothing waits for it.
    unfinished: HashMap<String, Flight>,
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
    generation: i64,
    hash: String,
    bytes: usize,
}

/// What the spoke holds, compared with what is wanted.
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

/// What is to be sent next.
#[derive(Debug)]
pub(super) struct Next {
    /// The number of the delta.
    pub(super) id: u64,
    /// What to apply.
    pub(super) upserts: Vec<Arc<DesiredObject>>,
    /// What to remove.
    pub(super) tombstones: Vec<Arc<Removal>>,
    /// What need not be sent, for it is there, or cannot be sent at all.
    pub(super) known: Vec<ObjectResult>,
}

impl Delivery {
    /// The spoke holds all that is wanted, but for what its index will say: the hub's view, for a [`Compared`] later.
    pub(super) fn assume(&mut self, outbox: &mut Outbox) -> &Buckets {
        for object in outbox.kept() {
            self.held.insert(&object.object.uid, object.generation, &object.hash);
        }
        self.held.buckets()
    }

    /// The fingerprints of what the spoke holds, as far as the hub knows.
    pub(super) fn buckets(&self) -> &Buckets {
        self.held.buckets()
    }

    /// Whether the spoke holds an object in any version, as far as the hub knows.
    pub(super) fn holds(&self, uid: &str) -> bool {
        self.held.has_any(uid)
    }

    /// How many things it keeps, of whatever kind, but for what the spoke holds.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.index.len() + self.queue.len() + self.under_way.len() + self.unfinished.len()
    }

    /// Whether nothing is under way, so that what the spoke says of itself can be compared.
    pub(super) fn is_still(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Takes a chunk of the index. An `Err` says how much too long it is; nothing of it is kept then.
    pub(super) fn index(&mut self, held: Vec<HeldObject>, outbox: &Outbox) -> Result<(), Excess> {
        self.index_bytes += held.weight();
        self.index.extend(held);
        let most = MOST_HELD.max(outbox.len().saturating_mul(MOST_TIMES));
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        if self.index.len() > most {
            let reported = number(std::mem::take(&mut self.index).len());
            return Err(Excess { what: "objects of an index", reported, kept: 0 });
        }
        if self.index_bytes > most * HELD_BYTES {
            self.index = Vec::new();
            return Err(Excess { what: "bytes of an index", reported: number(self.index_bytes), kept: 0 });
        }
        Ok(())
    }

    /// Compares what the spoke holds with what is wanted, and queues the difference. The index tells `buckets` whole.
    pub(super) fn compare(&mut self, buckets: &BTreeSet<u8>, outbox: &mut Outbox) -> Compared {
        outbox.take_dirty();
        let index = std::mem::take(&mut self.index);
        self.index_bytes = 0;
        self.held.replace(buckets, &index);
        let is_stray =
            |held: &HeldObject| outbox.get(&held.object.uid).is_none() && self.held.has_any(&held.object.uid);
        self.orphans.retain(|uid, held| is_stray(held) && !buckets.contains(&bucket(uid)));
        let strays = index.into_iter().filter(is_stray).map(|held| (held.object.uid.clone(), held));
        self.orphans.extend(strays.collect::<Vec<_>>());
        let mut in_sync = Vec::new();
        for (uid, want) in outbox.iter() {
            match want {
                Desired::Present(object) if self.held.has(object) => {
                    let (uid, hash) = (uid.clone(), object.hash.clone());
                    in_sync.push(ObjectResult { uid, hash, answer: Answer::Accepted });
                }
                _ => enqueue(&mut self.queue, uid, want),
            }
        }
        Compared { in_sync, orphans: self.orphans.values().cloned().collect() }
    }

    /// Queues what has changed.
    pub(super) fn changed(&mut self, outbox: &mut Outbox) {
        for uid in outbox.take_dirty() {
            if let Some(want) = outbox.get(&uid) {
                enqueue(&mut self.queue, &uid, want);
            }
        }
    }

    /// Queues what was refused and is to be asked again by now.
    pub(super) fn ask_again(&mut self, outbox: &mut Outbox, now: Instant) {
        for uid in outbox.take_due(now) {
            if let Some(want) = outbox.get(&uid) {
                enqueue(&mut self.queue, &uid, want);
            }
        }
    }

    /// Takes an Ack. What is not under way in that delta is an echo and means nothing.
    pub(super) fn acked(
        &mut self,
        delta: u64,
        results: Vec<ObjectResult>,
        outbox: &mut Outbox,
        now: Instant,
    ) -> Acked {
        let mut acked = Acked { results: Vec::new(), stale_epoch: false };
        for mut result in results {
            let Some(flight) = self.landed(delta, &result.uid) else { continue };
            let (uid, generation) = (&result.uid, flight.generation);
            result.hash.clone_from(&flight.hash);
            match &result.answer {
                Answer::Accepted => {
                    self.held.insert(uid, generation, &result.hash);
                    outbox.accepted(uid);
                }
                Answer::Gone => {
                    self.held.remove(uid);
                    outbox.gone(uid);
                }
                Answer::Rejected { class: RejectionClass::StaleEpoch, .. } => {
                    acked.stale_epoch = true;
                    continue;
                }
                Answer::Rejected { class, .. } => outbox.refuse(uid, &result.hash, Some(*class), now),
                Answer::Held { reason, message } => {
                    outbox.hold_back(uid, *reason, message.clone());
                    self.unfinished.insert(uid.clone(), flight);
                }
                Answer::Retrying { .. } => drop(self.unfinished.insert(uid.clone(), flight)),
            }
            if let Some(want) = outbox.get(uid)
                && (want.hash() != result.hash
                    || matches!(want, Desired::Present(object) if object.generation != generation))
            {
                enqueue(&mut self.queue, uid, want);
            }
            acked.results.push(result);
        }
        acked
    }

    /// What was sent of an object in that delta, if it has yet to be answered.
    fn landed(&mut self, delta: u64, uid: &str) -> Option<Flight> {
        let is_of = |flight: &Flight| flight.delta == delta;
        if self.under_way.get(uid).is_some_and(is_of) {
            let flight = self.under_way.remove(uid)?;
            self.under_way_bytes -= flight.bytes;
            return Some(flight);
        }
        if self.unfinished.get(uid).is_some_and(is_of) { self.unfinished.remove(uid) } else { None }
    }

    /// Whether the spoke is trying this very version.
    fn is_tried(&self, object: &DesiredObject) -> bool {
        self.unfinished
            .get(&object.object.uid)
            .is_some_and(|flight| flight.generation == object.generation && flight.hash == object.hash)
    }

    /// Whether the spoke holds this very version, and has nothing else to make of it.
    fn is_there(&self, object: &DesiredObject) -> bool {
        self.held.has(object) && !self.unfinished.contains_key(&object.object.uid)
    }

    /// What is to be sent next, if there is something to send and room for it.
    pub(super) fn next(&mut self, outbox: &mut Outbox, now: Instant) -> Option<Next> {
        let id = self.last_delta + 1;
        let mut next = Next { id, upserts: Vec::new(), tombstones: Vec::new(), known: Vec::new() };
        let (mut size, mut done) = (0, Vec::new());
        for entry in &self.queue {
            let uid = &entry.1;
            let Some(want) = outbox.get(uid).filter(|want| !outbox.is_refused(uid, want, now)) else {
                done.push(entry.clone());
                continue;
            };
            if self.under_way.contains_key(uid) {
                continue;
            }
            let (bytes, generation) = match want {
                Desired::Present(object) if self.is_there(object) => {
                    let (uid, hash) = (uid.clone(), object.hash.clone());
                    next.known.push(ObjectResult { uid, hash, answer: Answer::Accepted });
                    done.push(entry.clone());
                    continue;
                }
                Desired::Present(object) if self.is_tried(object) => {
                    done.push(entry.clone());
                    continue;
                }
                Desired::Present(object) if object.payload.len() > DesiredObject::MOST_BYTES => {
                    next.known.push(too_large(object));
                    done.push(entry.clone());
                    continue;
                }
                Desired::Present(object) => (ENVELOPE_BYTES + object.payload.len(), object.generation),
                Desired::Absent(_) => (ENVELOPE_BYTES, 0),
            };
            let full = size + bytes > DELTA_BYTES && size > 0;
            let no_room = self.under_way_bytes + bytes > UNDER_WAY_BYTES && !self.under_way.is_empty();
            if full || no_room {
                break;
            }
            match want {
                Desired::Present(object) => next.upserts.push(object.clone()),
                Desired::Absent(removal) => next.tombstones.push(removal.clone()),
            }
            size += bytes;
            self.under_way_bytes += bytes;
            let hash = want.hash().to_owned();
            self.unfinished.remove(uid);
            self.under_way.insert(uid.clone(), Flight { delta: id, generation, hash, bytes });
            done.push(entry.clone());
        }
        for entry in done {
            self.queue.remove(&entry);
        }
        for result in next.known.iter().filter(|result| result.answer != Answer::Accepted) {
            outbox.refuse(&result.uid, &result.hash, None, now);
        }
        // Removed in the opposite order: a service goes before the cache it uses.
        next.tombstones.reverse();
        if size > 0 {
            self.last_delta = id;
        }
        (size > 0 || !next.known.is_empty()).then_some(next)
    }
}

fn enqueue(queue: &mut BTreeSet<(Rank, String)>, uid: &str, want: &Desired) {
    let kind = match want {
        Desired::Present(object) => &object.object.kind,
        Desired::Absent(removal) => &removal.object.kind,
    };
    let rank = if kind == "NIMCache" { Rank::Cache } else { Rank::Other };
    queue.insert((rank, uid.to_owned()));
}

/// The verdict on an object that no cluster could take: it is the object's fault, and no other waits for it.
fn too_large(object: &DesiredObject) -> ObjectResult {
    let (bytes, most) = (object.payload.len(), DesiredObject::MOST_BYTES);
    let message = format!(
        "as it would be sent it has {bytes} bytes, more than the {most} that a cluster's API server takes: make {} smaller",
        object.object.kind
    );
    let answer = Answer::Rejected { class: RejectionClass::Invalid, message };
    ObjectResult { uid: object.object.uid.clone(), hash: object.hash.clone(), answer }
}
