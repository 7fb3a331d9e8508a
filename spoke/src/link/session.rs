//! One session with the hub: what it says and what happens goes in, what to do comes out.
//!
//! ```text
//! Greeting ──Welcome──► Accepting ──epoch obeyed──► Live
//! ```
//!
//! Work begins as it comes, but for deletions: they wait for a moment until no more come, and pass the [`DeletionGuard`].

mod held;
mod work;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use self::held::Held;
use self::work::Workload;
use super::deletion_guard::DeletionGuard;
use super::message::{Delta, FromHub, GoAway, GoAwayReason, Hub, ToHub, Work};
use crate::deliver::{Epoch, HeldObject, Outcome, RejectionClass, Release};

/// The hub has this long for its Welcome.
const GREETING: Duration = Duration::from_secs(10);
/// Silent intervals after which a session is dead.
const SILENT_INTERVALS: u32 = 3;
/// Held objects of one Index message: about 200 bytes each.
const INDEX_CHUNK: usize = 1000;
/// With every so many signs of life the cluster is read, and the hub is told what it really holds.
const CHECKED_EVERY: u32 = 10;
/// Until the hub says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Deltas that wait until their epoch is judged, and objects under way: a hub sends no more than it awaits answers for, which is 4 MiB.
const MOST_DELTAS: usize = 64;
const MOST_UNDER_WAY: usize = 20_000;
/// Shorter than this is a fault of the hub.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

/// What happens to a session.
#[derive(Debug)]
pub(super) enum Event {
    /// The hub said something.
    Said(FromHub),
    /// The answer to [`Effect::AcceptEpoch`].
    EpochJudged(Judgement),
    /// The answer to [`Effect::ReadHeld`]; none if it could not be read now.
    Held(Option<Vec<HeldObject>>),
    /// The answer to [`Effect::Deliver`].
    Delivered { uid: String, outcome: Outcome },
    /// There is no outcome of [`Effect::Deliver`] yet, and the work goes on; why.
    Retrying { uid: String, message: String },
    /// The answer to [`Effect::GiveUp`]: work on that object ended without an outcome.
    GivenUp { uid: String },
    /// The answer to [`Effect::StoreReleases`] of this version.
    ReleasesStored(u64),
    /// Something that this session needs of the cluster failed; the next session tries again.
    Failed(String),
    /// [`Session::wake_at`] has come.
    Tick,
}

/// Whether an epoch is obeyed.
#[derive(Debug)]
pub enum Judgement {
    /// It is, and it is stored.
    Obeyed,
    /// It is not; why, and what to do.
    Refused(String),
}

/// What a session wants done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// To the hub.
    Send(ToHub),
    /// Accept the epoch or refuse it, and answer with [`Event::EpochJudged`].
    AcceptEpoch(Epoch),
    /// Read what is held, and answer with [`Event::Held`].
    ReadHeld,
    /// Carry out one piece of work under an epoch, until there is an outcome; answer with [`Event::Delivered`].
    Deliver(Work, Epoch),
    /// Store which deletions the guard has let through, and answer with [`Event::ReleasesStored`] of this version.
    StoreReleases(u64, Vec<Release>),
    /// Try no longer what is under way for this object: something else is wanted of it. Answer with
    /// [`Event::GivenUp`], or with [`Event::Delivered`] if it has come to an outcome after all.
    GiveUp(String),
    /// End the session.
    Close(End),
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The connection is lost, or is as good as lost.
    Lost(String),
    /// The hub said goodbye.
    GoneAway(GoAway),
    /// This spoke does not obey that hub.
    EpochRefused(String),
}

#[derive(Debug)]
enum Phase {
    Greeting,
    Accepting,
    Live,
    Closed,
}

/// What the cluster holds is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Nothing has been done meanwhile.
    Still,
    /// Something has: what was read may be neither what was nor what is.
    Overtaken,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    phase: Phase,
    hub: Hub,
    held: Held,
    /// The epoch that was accepted last in this session.
    epoch: Option<Epoch>,
    /// The epoch that is being judged now.
    judged: Option<Epoch>,
    /// Deltas that wait for their epoch.
    waiting: VecDeque<Delta>,
    /// The hub's view of what is held, until its epoch is accepted.
    compare: Option<HashMap<u32, u64>>,
    work: Workload,
    beats: u32,
    reading: Option<Reading>,
    heartbeat: Duration,
    opened: Instant,
    heard: Instant,
    sent: Instant,
}

impl Session {
    /// A session on a new stream, and its first words. `held` is what the cluster holds of the hub whose epoch is the
    /// highest.
    pub(super) fn new(
        highest_epoch: Option<Epoch>,
        held: Vec<HeldObject>,
        now: Instant,
    ) -> (Self, Vec<Effect>) {
        let session = Self {
            phase: Phase::Greeting,
            hub: Hub::default(),
            held: Held::new(held),
            epoch: None,
            judged: None,
            waiting: VecDeque::new(),
            compare: None,
            work: Workload::default(),
            beats: 0,
            reading: None,
            heartbeat: HEARTBEAT,
            opened: now,
            heard: now,
            sent: now,
        };
        let hello = ToHub::Hello { highest_epoch, held: session.held.fingerprint() };
        (session, vec![Effect::Send(hello)])
    }

    /// Whether status and capacity may be sent.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// What the hub said of itself; nothing before its Welcome.
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// How many things it keeps, of whatever kind, but for what is held.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.waiting.len() + self.work.size()
    }

    /// The next moment at which something is due if nothing happens.
    pub(super) fn wake_at(&self) -> Instant {
        let silent = (self.sent + self.heartbeat).min(self.heard + self.heartbeat * SILENT_INTERVALS);
        match self.phase {
            Phase::Greeting => self.opened + GREETING,
            _ => self.work.due().map_or(silent, |due| due.min(silent)),
        }
    }

    /// Takes one event.
    pub(super) fn on(&mut self, event: Event, guard: &mut DeletionGuard, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let changes = matches!(event, Event::Delivered { .. });
        match (event, &self.phase) {
            (_, Phase::Closed) => {}
            (Event::Said(said), _) => self.said(said, now, &mut effects),
            (Event::EpochJudged(judgement), _) => self.judged(judgement, now, &mut effects),
            (Event::Held(held), _) => self.read(held, &mut effects),
            (Event::Delivered { uid, outcome }, _) => self.delivered(&uid, outcome, &mut effects),
            (Event::Retrying { uid, message }, _) => {
                if let Some(doing) = self.work.retrying(&uid) {
                    effects.push(ack(doing.delta, &uid, &doing.hash, Outcome::Retrying { message }));
                }
            }
            (Event::GivenUp { uid }, _) => {
                self.work.given_up(&uid);
                self.go_on(&uid, &mut effects);
            }
            (Event::ReleasesStored(version), _) => {
                guard.is_stored(version);
                if let Some(epoch) = &self.epoch {
                    self.work.begin_released(guard, epoch, now, &mut effects);
                }
            }
            (Event::Failed(problem), _) => self.close(End::Lost(problem), &mut effects),
            (Event::Tick, _) => self.tick(guard, now, &mut effects),
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.sent = now;
        }
        let begins = effects.iter().any(|effect| matches!(effect, Effect::Deliver(..)));
        if (begins || changes) && self.reading.is_some() {
            self.reading = Some(Reading::Overtaken);
        }
        effects
    }

    fn said(&mut self, said: FromHub, now: Instant, effects: &mut Vec<Effect>) {
        self.heard = now;
        match (said, &self.phase) {
            (FromHub::Welcome { epoch, heartbeat, hub }, Phase::Greeting) => {
                self.heartbeat = heartbeat.max(SHORTEST_HEARTBEAT);
                self.hub = hub;
                self.phase = Phase::Accepting;
                self.judge(epoch, effects);
            }
            (FromHub::Delta(_), Phase::Accepting | Phase::Live)
                if self.waiting.len() >= MOST_DELTAS || self.work.len() >= MOST_UNDER_WAY =>
            {
                self.close(End::Lost("the hub sends more than it has answers for".to_owned()), effects);
            }
            (FromHub::Delta(delta), Phase::Accepting | Phase::Live) => {
                self.waiting.push_back(delta);
                self.take_waiting(now, effects);
            }
            (FromHub::Compare(buckets), Phase::Accepting) => self.compare = Some(buckets),
            (FromHub::Compare(buckets), Phase::Live) => self.index(&buckets, effects),
            (FromHub::GoAway(goodbye), _) => self.close(End::GoneAway(goodbye), effects),
            (FromHub::Heartbeat, _) => {}
            (FromHub::Welcome { .. } | FromHub::Delta(_) | FromHub::Compare(_), phase) => {
                let problem = format!("the hub sent a message out of turn ({phase:?})");
                self.close(End::Lost(problem), effects);
            }
        }
    }

    fn judge(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.judged = Some(epoch.clone());
        effects.push(Effect::AcceptEpoch(epoch));
    }

    fn judged(&mut self, judgement: Judgement, now: Instant, effects: &mut Vec<Effect>) {
        let Some(epoch) = self.judged.take() else { return };
        match (judgement, &self.phase) {
            (Judgement::Obeyed, Phase::Accepting) => {
                self.epoch = Some(epoch);
                self.phase = Phase::Live;
                if !self.hub.compares {
                    // Such a hub waits for all that is held.
                    send_index(self.held.all(), Vec::new(), effects);
                } else if let Some(buckets) = self.compare.take() {
                    self.index(&buckets, effects);
                }
                self.take_waiting(now, effects);
            }
            (Judgement::Refused(message), Phase::Accepting) => {
                self.close(End::EpochRefused(message), effects);
            }
            (Judgement::Obeyed, _) => {
                self.epoch = Some(epoch);
                self.take_waiting(now, effects);
            }
            (Judgement::Refused(message), _) => {
                if let Some(delta) = self.waiting.pop_front() {
                    let class = RejectionClass::StaleEpoch;
                    effects.extend(delta.work.iter().map(|work| {
                        let outcome = Outcome::Rejected { class, message: message.clone() };
                        ack(delta.id, work.uid(), work.hash(), outcome)
                    }));
                }
                self.take_waiting(now, effects);
            }
        }
    }

    /// Tells what is held where the hub thinks otherwise.
    fn index(&mut self, theirs: &HashMap<u32, u64>, effects: &mut Vec<Effect>) {
        let (buckets, held) = self.held.differing(theirs);
        send_index(held, buckets, effects);
    }

    /// Starts deltas in the order they came, as far as their epoch is accepted.
    fn take_waiting(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        while self.judged.is_none()
            && let Some(delta) = self.waiting.front()
        {
            if self.epoch.as_ref() != Some(&delta.epoch) {
                let epoch = delta.epoch.clone();
                return self.judge(epoch, effects);
            }
            let Some(Delta { id, epoch, work }) = self.waiting.pop_front() else { return };
            for work in work {
                self.work.take(id, work, &epoch, &self.held, now, effects);
            }
        }
    }

    fn delivered(&mut self, uid: &str, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some(done) = self.work.done(uid, &mut self.held, &outcome) else { return };
        effects.push(ack(done.delta, uid, &done.hash, outcome));
        self.go_on(uid, effects);
    }

    fn go_on(&mut self, uid: &str, effects: &mut Vec<Effect>) {
        if let Some(epoch) = &self.epoch {
            self.work.go_on(uid, epoch, effects);
        }
    }

    /// The cluster was read: if nothing has been done meanwhile, the hub is told what is really held.
    fn read(&mut self, held: Option<Vec<HeldObject>>, effects: &mut Vec<Effect>) {
        if let (Some(Reading::Still), Some(held)) = (self.reading.take(), held) {
            self.held = Held::new(held);
            effects.push(Effect::Send(ToHub::Heartbeat { held: Some(self.held.fingerprint()) }));
        }
    }

    fn tick(&mut self, guard: &mut DeletionGuard, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Greeting) {
            if now >= self.opened + GREETING {
                self.close(End::Lost("the hub sent no Welcome within 10 s".to_owned()), effects);
            }
            return;
        }
        if now >= self.heard + self.heartbeat * SILENT_INTERVALS {
            return self.close(End::Lost("the hub was silent for three heartbeats".to_owned()), effects);
        }
        if let Some(epoch) = &self.epoch
            && self.work.due().is_some_and(|due| now >= due)
        {
            self.work.release(guard, epoch, &self.held, &self.hub, now, effects);
        }
        if now >= self.sent + self.heartbeat {
            effects.push(Effect::Send(ToHub::Heartbeat { held: None }));
            self.beats = self.beats.wrapping_add(1);
            if self.is_live()
                && self.hub.compares
                && self.work.is_still()
                && self.beats.is_multiple_of(CHECKED_EVERY)
            {
                self.reading = Some(Reading::Still);
                effects.push(Effect::ReadHeld);
            }
        }
    }

    fn close(&mut self, end: End, effects: &mut Vec<Effect>) {
        self.phase = Phase::Closed;
        effects.push(Effect::Close(end));
    }
}

fn send_index(mut held: Vec<HeldObject>, buckets: Vec<u8>, effects: &mut Vec<Effect>) {
    while held.len() > INDEX_CHUNK {
        let rest = held.split_off(INDEX_CHUNK);
        effects.push(Effect::Send(ToHub::Index { held, last: false, buckets: Vec::new() }));
        held = rest;
    }
    effects.push(Effect::Send(ToHub::Index { held, last: true, buckets }));
}

impl End {
    /// Whether somebody has to act before it can go better.
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            Self::Lost(_) => false,
            Self::EpochRefused(_) => true,
            Self::GoneAway(goodbye) => goodbye.reason != GoAwayReason::Unavailable,
        }
    }

    /// In one sentence.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Lost(message) | Self::EpochRefused(message) => message,
            Self::GoneAway(goodbye) => &goodbye.message,
        }
    }
}

fn ack(delta: u64, uid: &str, hash: &str, outcome: Outcome) -> Effect {
    Effect::Send(ToHub::Ack { delta, uid: uid.to_owned(), hash: hash.to_owned(), outcome })
}

#[cfg(test)]
mod tests;
