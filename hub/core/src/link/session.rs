//! One spoke's session: what it says and what happens goes in, what to do comes out.
//!
//! ```text
//! Greeting ──Hello──► Claiming ─lease─► Raising ──epoch──► Indexing ──last Index──► Live ◄─┐
//!                                  ├───── epoch is high enough ────┤                     ├───┘ comparing once more
//!                                  │                               └──── all in sync ────┘
//!                                  └── spoke's epoch is higher, and not proven ──► closed
//! ```

mod delivery;
mod event;
mod held;
mod unclaimed;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto::{Fingerprint, bucket};

use self::delivery::{Acked, Compared, Delivery, Next};
pub(super) use self::event::{Effect, Event, View};
use self::unclaimed::Unclaimed;
use super::event::{LinkEvent, UnprovenEpoch};
use super::message::{FromSpoke, Hello, ToSpoke};
use super::object::GoAwayReason;
use super::outbox::Outbox;
use super::terms::Terms;
use crate::epoch::Epoch;
use crate::fleet::{ClusterName, Excess, ObjectStatus};
use crate::identity::{EpochKey, EpochProof};

/// A spoke has this long for its Hello.
const GREETING: Duration = Duration::from_secs(10);
/// And this long for its index, once it is asked for it.
const INDEXING: Duration = Duration::from_secs(30);
/// Silent intervals after which a session is dead.
const SILENT_INTERVALS: u32 = 3;
/// Statuses of what nobody wants yet that are kept until the index says whether it is held.
const MOST_UNCLAIMED: usize = 1000;
/// A sign of life of the spoke is reported at most this often.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// The wait that a goodbye asks for when an admin has to act.
const LATER: Duration = Duration::from_secs(15);

#[derive(Debug)]
enum Phase {
    Greeting,
    Claiming(Hello),
    Raising(Hello),
    Indexing {
        /// The spoke sends its whole index unasked: it does not compare by hash.
        whole: bool,
        since: Instant,
    },
    Live {
        /// Since when an index is waited for.
        comparing: Option<Instant>,
    },
    Closed,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    cluster: ClusterName,
    certificate_expiry: Timestamp,
    terms: Terms,
    /// Proves the hub's epochs to this cluster.
    key: EpochKey,
    /// What the spoke says of its kube-system namespace: epochs are proven to it.
    cluster_uid: String,
    phase: Phase,
    delivery: Delivery,
    /// The latest statuses of what is held here and nobody wants yet.
    unclaimed: Unclaimed,
    opened: Instant,
    heard: Instant,
    sent: Instant,
    reported_alive: Option<Instant>,
    /// When something that the spoke refused is asked of it again.
    retry_at: Option<Instant>,
}

impl Session {
    /// A session of the spoke whose certificate names `cluster`.
    pub(super) fn new(
        cluster: ClusterName,
        certificate_expiry: Timestamp,
        terms: Terms,
        key: EpochKey,
        now: Instant,
    ) -> Self {
        Self {
            cluster,
            certificate_expiry,
            terms,
            key,
            cluster_uid: String::new(),
            phase: Phase::Greeting,
            delivery: Delivery::default(),
            unclaimed: Unclaimed::default(),
            opened: now,
            heard: now,
            sent: now,
            reported_alive: None,
            retry_at: None,
        }
    }

    /// Whether the first index is waited for.
    pub(super) fn is_indexing(&self) -> bool {
        matches!(self.phase, Phase::Indexing { .. })
    }

    /// Whether the stream was closed: nothing is said any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// How many things it keeps, of whatever kind.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.unclaimed.len() + self.delivery.size()
    }

    /// The next moment at which something is due if nothing happens.
    pub(super) fn wake_at(&self) -> Instant {
        let speak = self.sent + self.terms.heartbeat;
        let dead = self.heard + self.terms.heartbeat * SILENT_INTERVALS;
        let old = self.opened + self.terms.max_age;
        match self.phase {
            Phase::Greeting | Phase::Claiming(_) | Phase::Raising(_) => self.opened + GREETING,
            Phase::Indexing { since, .. } | Phase::Live { comparing: Some(since) } => {
                self.or_retry(speak.min(dead).min(old).min(since + INDEXING))
            }
            Phase::Live { comparing: None } => self.or_retry(speak.min(dead).min(old)),
            Phase::Closed => speak.min(dead).min(old),
        }
    }

    fn or_retry(&self, at: Instant) -> Instant {
        self.retry_at.map_or(at, |retry| retry.min(at))
    }

    /// Takes one event.
    pub(super) fn on(&mut self, event: Event, view: &mut View<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        match (event, &self.phase) {
            (_, Phase::Closed) => {}
            (Event::Said(said), _) => self.said(said, view, &mut effects),
            (Event::Claimed(ours), Phase::Claiming(hello)) => {
                let hello = hello.clone();
                self.claimed(ours, hello, view, &mut effects);
            }
            (Event::EpochRaised, Phase::Raising(hello)) => {
                let hello = hello.clone();
                self.welcome(hello, view, &mut effects);
            }
            (Event::EpochFailed(problem), _) => {
                let message = format!("the hub could not raise its term: {problem}");
                self.goodbye(GoAwayReason::Unavailable, message, &mut effects);
            }
            (Event::Goodbye(reason, message), _) => self.goodbye(reason, message, &mut effects),
            (Event::Tick, _) => {
                self.tick(view.now, &mut effects);
                if matches!(self.phase, Phase::Live { .. }) {
                    self.delivery.ask_again(view.outbox, view.now);
                    self.deliver(view, &mut effects);
                }
            }
            (Event::Changed, Phase::Live { .. }) => {
                self.delivery.changed(view.outbox);
                self.claim(view.outbox, &mut effects);
                self.deliver(view, &mut effects);
            }
            // Before the index is known a change means nothing: the index will be compared with what is wanted then.
            (Event::Changed | Event::Claimed(_) | Event::EpochRaised, _) => {}
        }
        self.retry_at = view.outbox.retry_at().filter(|_| matches!(self.phase, Phase::Live { .. }));
        effects
    }

    fn said(&mut self, said: FromSpoke, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        self.heard = view.now;
        match (said, &self.phase) {
            (FromSpoke::Hello(hello), Phase::Greeting) => self.greeted(hello, effects),
            (
                FromSpoke::Index { held, last, buckets },
                Phase::Indexing { .. } | Phase::Live { comparing: Some(_) },
            ) => {
                if let Err(excess) = self.delivery.index(held, view.outbox) {
                    self.report_excess(vec![excess], effects);
                    return self.broken("its index is longer than any cluster's", effects);
                }
                if last {
                    self.indexed(buckets, view, effects);
                }
            }
            (FromSpoke::Ack { delta, results }, Phase::Live { .. }) => {
                self.acked(delta, results, view, effects);
            }
            (FromSpoke::Status(objects), Phase::Indexing { .. } | Phase::Live { .. }) => {
                self.status(objects, view.outbox, effects);
            }
            (FromSpoke::Capacity(capacity), Phase::Indexing { .. } | Phase::Live { .. }) => {
                let (cluster, capacity) = (self.cluster.clone(), Box::new(capacity));
                effects.push(Effect::Report(LinkEvent::Capacity { cluster, capacity }));
            }
            (FromSpoke::Heartbeat(held), Phase::Live { comparing: None }) => {
                self.checked(held, view, effects);
            }
            (FromSpoke::Heartbeat(_), Phase::Indexing { .. } | Phase::Live { .. }) => {}
            (FromSpoke::Hello(_), _) => return self.broken("a second Hello", effects),
            (_, phase) => {
                let problem = format!("a message out of turn ({phase:?})");
                return self.broken(&problem, effects);
            }
        }
        if self.is_greeted()
            && self.reported_alive.is_none_or(|told| view.now.duration_since(told) >= ALIVE_EVERY)
        {
            self.reported_alive = Some(view.now);
            effects.push(Effect::Report(LinkEvent::Alive { cluster: self.cluster.clone() }));
        }
    }

    fn greeted(&mut self, hello: Hello, effects: &mut Vec<Effect>) {
        if hello.cluster != self.cluster.as_str() {
            let problem = format!(
                "it calls itself cluster {:?} with a certificate for {}: correct cluster.name, or delete its identity \
                 and join again",
                hello.cluster, self.cluster
            );
            return self.broken(&problem, effects);
        }
        self.cluster_uid.clone_from(&hello.agent.cluster_uid);
        effects.push(Effect::Claim(hello.instance.clone()));
        self.phase = Phase::Claiming(hello);
    }

    fn claimed(&mut self, ours: bool, hello: Hello, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        if !ours {
            let message =
                "a newer agent with this cluster's identity is connected; run one agent per cluster";
            return self.goodbye(GoAwayReason::DuplicateInstance, message.to_owned(), effects);
        }
        match &hello.highest_epoch {
            // What obeys another hub is welcomed like any other: the spoke itself refuses, and names the remedy.
            Some(known) if known.hub_id == view.epoch.hub_id && !covers(view.epoch, known) => {
                if self.key.verifies(&hello.epoch_proof, known, &self.cluster, &self.cluster_uid) {
                    effects.push(Effect::RaiseEpoch(known.term));
                    self.phase = Phase::Raising(hello);
                } else {
                    let unproven = UnprovenEpoch {
                        theirs: known.term,
                        ours: view.epoch.term,
                        has_proof: !hello.epoch_proof.is_empty(),
                    };
                    self.unproven(unproven, effects);
                }
            }
            _ => self.welcome(hello, view, effects),
        }
    }

    /// One spoke's word raises nothing: it would be above every other spoke's epoch too.
    fn unproven(&mut self, epoch: UnprovenEpoch, effects: &mut Vec<Effect>) {
        let message = epoch.to_string();
        effects.push(Effect::Report(LinkEvent::EpochUnproven { cluster: self.cluster.clone(), epoch }));
        self.goodbye(GoAwayReason::EpochUnproven, message, effects);
    }

    fn welcome(&mut self, hello: Hello, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        self.heard = view.now;
        self.sent = view.now;
        let Hello { agent, highest_epoch, held, .. } = hello;
        // What is held of another hub is no answer to what this one outbox.
        let is_ours = highest_epoch.is_none_or(|known| known.hub_id == view.epoch.hub_id);
        let in_sync = is_ours && held == Some(view.outbox.wanted().all());
        effects.push(Effect::Send(ToSpoke::Welcome {
            epoch: view.epoch.clone(),
            proof: self.proof(view.epoch),
            heartbeat: self.terms.heartbeat,
            longest_wait: self.terms.longest_wait,
            in_sync,
        }));
        effects.push(Effect::Report(LinkEvent::Connected {
            cluster: self.cluster.clone(),
            agent,
            certificate_expiry: self.certificate_expiry,
        }));
        self.phase = Phase::Indexing { whole: held.is_none(), since: view.now };
        if held.is_some() {
            let buckets = self.delivery.assume(view.outbox).to_wire();
            if in_sync {
                self.indexed(BTreeSet::new(), view, effects);
            } else {
                effects.push(Effect::Send(ToSpoke::Compare(buckets)));
            }
        }
    }

    /// What is held in `buckets` is known now, and so is all the rest.
    fn indexed(&mut self, mut buckets: BTreeSet<u8>, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        let first = matches!(self.phase, Phase::Indexing { .. });
        if matches!(self.phase, Phase::Indexing { whole: true, .. }) {
            buckets = (0..=u8::MAX).collect();
        }
        let Compared { mut in_sync, orphans } = self.delivery.compare(&buckets, view.outbox);
        drop(self.unclaimed.take(|uid| !self.delivery.holds(uid)));
        self.claim(view.outbox, effects);
        self.phase = Phase::Live { comparing: None };
        effects.push(Effect::Report(LinkEvent::Orphans { cluster: self.cluster.clone(), objects: orphans }));
        if !first {
            // Of the rest the controllers have heard.
            in_sync.retain(|result| buckets.contains(&bucket(&result.uid)));
        }
        if !in_sync.is_empty() {
            effects
                .push(Effect::Report(LinkEvent::Results { cluster: self.cluster.clone(), results: in_sync }));
        }
        self.deliver(view, effects);
    }

    /// A spoke says now and then what its cluster really holds: where the hub thinks otherwise it looks closer.
    fn checked(&mut self, held: Option<Fingerprint>, view: &View<'_>, effects: &mut Vec<Effect>) {
        // With work under way the spoke did not mean what the hub means.
        let Some(held) = held.filter(|_| self.delivery.is_still()) else { return };
        if held != self.delivery.buckets().all() {
            self.sent = view.now;
            self.phase = Phase::Live { comparing: Some(view.now) };
            effects.push(Effect::Send(ToSpoke::Compare(self.delivery.buckets().to_wire())));
        }
    }

    fn acked(
        &mut self,
        delta: u64,
        results: Vec<crate::fleet::ObjectResult>,
        view: &mut View<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Acked { results, stale_epoch } = self.delivery.acked(delta, results, view.outbox, view.now);
        if !results.is_empty() {
            effects.push(Effect::Report(LinkEvent::Results { cluster: self.cluster.clone(), results }));
        }
        if stale_epoch {
            // It obeys a higher term by now. When it dials again it proves which, and the hub rises above it.
            let message = "the spoke obeys a higher term: dial again".to_owned();
            return self.goodbye(GoAwayReason::Unavailable, message, effects);
        }
        self.deliver(view, effects);
    }

    /// Passes on what concerns objects that are wanted here, and keeps what concerns others that are held here, until they
    /// are wanted: a spoke says it once. So no spoke can fill the hub with what it makes up.
    fn status(&mut self, mut objects: Vec<ObjectStatus>, outbox: &Outbox, effects: &mut Vec<Effect>) {
        let unwanted = objects.extract_if(.., |status| outbox.get(&status.object.uid).is_none());
        let asks = matches!(self.phase, Phase::Indexing { .. } | Phase::Live { comparing: Some(_) });
        let mut excess = None;
        for status in unwanted {
            if (self.delivery.holds(&status.object.uid) || (asks && self.unclaimed.len() < MOST_UNCLAIMED))
                && let Err(more) = self.unclaimed.keep(status)
            {
                excess = Some(more);
            }
        }
        if let Some(excess) = excess {
            self.report_excess(vec![excess], effects);
        }
        self.report_status(objects, effects);
    }

    /// Passes on what was kept of objects that are wanted by now.
    fn claim(&mut self, outbox: &Outbox, effects: &mut Vec<Effect>) {
        let claimed = self.unclaimed.take(|uid| outbox.get(uid).is_some());
        self.report_status(claimed, effects);
    }

    fn report_excess(&self, excess: Vec<Excess>, effects: &mut Vec<Effect>) {
        effects.push(Effect::Report(LinkEvent::Excess { cluster: self.cluster.clone(), excess }));
    }

    fn report_status(&self, objects: Vec<ObjectStatus>, effects: &mut Vec<Effect>) {
        if !objects.is_empty() {
            effects.push(Effect::Report(LinkEvent::Status { cluster: self.cluster.clone(), objects }));
        }
    }

    fn deliver(&mut self, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        while let Some(Next { id, upserts, tombstones, known }) = self.delivery.next(view.outbox, view.now) {
            if !known.is_empty() {
                let cluster = self.cluster.clone();
                effects.push(Effect::Report(LinkEvent::Results { cluster, results: known }));
            }
            if !upserts.is_empty() || !tombstones.is_empty() {
                self.sent = view.now;
                let (epoch, proof) = (view.epoch.clone(), self.proof(view.epoch));
                effects.push(Effect::Send(ToSpoke::Delta { id, epoch, proof, upserts, tombstones }));
            }
        }
    }

    fn proof(&self, epoch: &Epoch) -> EpochProof {
        self.key.prove(epoch, &self.cluster, &self.cluster_uid)
    }

    fn is_greeted(&self) -> bool {
        matches!(self.phase, Phase::Indexing { .. } | Phase::Live { .. })
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let heartbeat = self.terms.heartbeat;
        if !self.is_greeted() {
            if now >= self.opened + GREETING {
                self.broken("no Hello within 10 s", effects);
            }
        } else if now >= self.heard + heartbeat * SILENT_INTERVALS {
            self.phase = Phase::Closed;
            effects.push(Effect::Close("the spoke was silent for three heartbeats".to_owned()));
        } else if now >= self.opened + self.terms.max_age {
            let message = "this session has had its time: dial again".to_owned();
            self.goodbye(GoAwayReason::Unavailable, message, effects);
        } else if let Phase::Indexing { since, .. } | Phase::Live { comparing: Some(since) } = self.phase
            && now >= since + INDEXING
        {
            self.broken("no index within 30 s", effects);
        } else if now >= self.sent + heartbeat {
            self.sent = now;
            effects.push(Effect::Send(ToSpoke::Heartbeat));
        }
    }

    fn broken(&mut self, problem: &str, effects: &mut Vec<Effect>) {
        self.goodbye(
            GoAwayReason::ProtocolError,
            format!("the spoke broke the protocol: {problem}"),
            effects,
        );
    }

    fn goodbye(&mut self, reason: GoAwayReason, message: String, effects: &mut Vec<Effect>) {
        self.phase = Phase::Closed;
        let retry_after = match reason {
            GoAwayReason::Unavailable => self.terms.come_back,
            GoAwayReason::DuplicateInstance
            | GoAwayReason::NotAccepted
            | GoAwayReason::ProtocolError
            | GoAwayReason::EpochUnproven
            | GoAwayReason::Revoked => LATER,
        };
        effects.push(Effect::Send(ToSpoke::GoAway { reason, message: message.clone(), retry_after }));
        effects.push(Effect::Close(message));
    }
}

/// Whether a spoke that has accepted `known` obeys `ours`.
fn covers(ours: &Epoch, known: &Epoch) -> bool {
    ours.term > known.term || ours == known
}

#[cfg(test)]
mod tests;
