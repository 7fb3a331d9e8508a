//! One session with the hub: what it says and what happens goes in, what to do comes out.
//!
//! ```text
//! Greeting ──Welcome──► Accepting ──epoch obeyed──► Reading ──what is held──► Live
//! ```

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::message::{Delta, FromHub, GoAway, GoAwayReason, ToHub, Work};
use crate::deliver::{Epoch, HeldObject, Outcome, RejectionClass};

/// The hub has this long for its Welcome.
const GREETING: Duration = Duration::from_secs(10);
/// Silent intervals after which a session is dead.
const SILENT_INTERVALS: u32 = 3;
/// Held objects of one Index message: about 200 bytes each.
const INDEX_CHUNK: usize = 1000;
/// Until the hub says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Shorter than this is a fault of the hub.
const SHORTEST_HEARTBEAT: Duration = Duration::from_secs(1);

/// What happens to a session.
#[derive(Debug)]
pub(super) enum Event {
    /// The hub said something.
    Said(FromHub),
    /// The answer to [`Effect::AcceptEpoch`].
    EpochJudged(Judgement),
    /// The answer to [`Effect::ReadHeld`].
    Held(Vec<HeldObject>),
    /// The answer to [`Effect::Deliver`].
    Delivered { uid: String, outcome: Outcome },
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
    Reading,
    Live,
    Closed,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    phase: Phase,
    /// The epoch that was accepted last in this session.
    epoch: Option<Epoch>,
    /// The epoch that is being judged now.
    judged: Option<Epoch>,
    /// Deltas that wait for their epoch.
    waiting: VecDeque<Delta>,
    /// Work under way, by uid: the delta it came with and its hash.
    under_way: HashMap<String, (u64, String)>,
    /// Work that waits until its object's last work is done: the latest wins.
    next: BTreeMap<String, (u64, Work)>,
    heartbeat: Duration,
    opened: Instant,
    heard: Instant,
    sent: Instant,
}

impl Session {
    /// A session on a new stream, and its first words.
    pub(super) fn new(highest_epoch: Option<Epoch>, now: Instant) -> (Self, Vec<Effect>) {
        let session = Self {
            phase: Phase::Greeting,
            epoch: None,
            judged: None,
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            next: BTreeMap::new(),
            heartbeat: HEARTBEAT,
            opened: now,
            heard: now,
            sent: now,
        };
        (session, vec![Effect::Send(ToHub::Hello { highest_epoch })])
    }

    /// Whether status and capacity may be sent.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    /// The next moment at which something is due if nothing happens.
    pub(super) fn wake_at(&self) -> Instant {
        match self.phase {
            Phase::Greeting => self.opened + GREETING,
            _ => (self.sent + self.heartbeat).min(self.heard + self.heartbeat * SILENT_INTERVALS),
        }
    }

    /// Takes one event.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match (event, &self.phase) {
            (_, Phase::Closed) => {}
            (Event::Said(said), _) => self.said(said, now, &mut effects),
            (Event::EpochJudged(judgement), _) => self.judged(judgement, &mut effects),
            (Event::Held(held), Phase::Reading) => self.held(held, &mut effects),
            (Event::Held(_), _) => {}
            (Event::Delivered { uid, outcome }, _) => self.delivered(&uid, outcome, &mut effects),
            (Event::Failed(problem), _) => self.close(End::Lost(problem), &mut effects),
            (Event::Tick, _) => self.tick(now, &mut effects),
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.sent = now;
        }
        effects
    }

    fn said(&mut self, said: FromHub, now: Instant, effects: &mut Vec<Effect>) {
        self.heard = now;
        match (said, &self.phase) {
            (FromHub::Welcome { epoch, heartbeat }, Phase::Greeting) => {
                self.heartbeat = heartbeat.max(SHORTEST_HEARTBEAT);
                self.phase = Phase::Accepting;
                self.judge(epoch, effects);
            }
            (FromHub::Delta(delta), Phase::Live) => {
                self.waiting.push_back(delta);
                self.take_waiting(effects);
            }
            (FromHub::GoAway(goodbye), _) => self.close(End::GoneAway(goodbye), effects),
            (FromHub::Heartbeat, _) => {}
            (FromHub::Welcome { .. } | FromHub::Delta(_), phase) => {
                let problem = format!("the hub sent a message out of turn ({phase:?})");
                self.close(End::Lost(problem), effects);
            }
        }
    }

    fn judge(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        self.judged = Some(epoch.clone());
        effects.push(Effect::AcceptEpoch(epoch));
    }

    fn judged(&mut self, judgement: Judgement, effects: &mut Vec<Effect>) {
        let Some(epoch) = self.judged.take() else { return };
        match (judgement, &self.phase) {
            (Judgement::Obeyed, Phase::Accepting) => {
                self.epoch = Some(epoch);
                self.phase = Phase::Reading;
                effects.push(Effect::ReadHeld);
            }
            (Judgement::Refused(message), Phase::Accepting) => {
                self.close(End::EpochRefused(message), effects);
            }
            (Judgement::Obeyed, _) => {
                self.epoch = Some(epoch);
                self.take_waiting(effects);
            }
            (Judgement::Refused(message), _) => {
                if let Some(delta) = self.waiting.pop_front() {
                    let class = RejectionClass::StaleEpoch;
                    effects.extend(delta.work.iter().map(|work| {
                        let outcome = Outcome::Rejected { class, message: message.clone() };
                        ack(delta.id, work.uid(), work.hash(), outcome)
                    }));
                }
                self.take_waiting(effects);
            }
        }
    }

    fn held(&mut self, mut held: Vec<HeldObject>, effects: &mut Vec<Effect>) {
        while held.len() > INDEX_CHUNK {
            let rest = held.split_off(INDEX_CHUNK);
            effects.push(Effect::Send(ToHub::Index { held, last: false }));
            held = rest;
        }
        effects.push(Effect::Send(ToHub::Index { held, last: true }));
        self.phase = Phase::Live;
    }

    /// Starts deltas in the order they came, as far as their epoch is accepted.
    fn take_waiting(&mut self, effects: &mut Vec<Effect>) {
        while self.judged.is_none()
            && let Some(delta) = self.waiting.front()
        {
            if self.epoch.as_ref() != Some(&delta.epoch) {
                let epoch = delta.epoch.clone();
                return self.judge(epoch, effects);
            }
            let Some(Delta { id, epoch, work }) = self.waiting.pop_front() else { return };
            for work in work {
                self.start(id, work, &epoch, effects);
            }
        }
    }

    fn start(&mut self, delta: u64, work: Work, epoch: &Epoch, effects: &mut Vec<Effect>) {
        match self.under_way.entry(work.uid().to_owned()) {
            Entry::Occupied(busy) => drop(self.next.insert(busy.key().clone(), (delta, work))),
            Entry::Vacant(free) => {
                free.insert((delta, work.hash().to_owned()));
                effects.push(Effect::Deliver(work, epoch.clone()));
            }
        }
    }

    fn delivered(&mut self, uid: &str, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some((delta, hash)) = self.under_way.remove(uid) else { return };
        effects.push(ack(delta, uid, &hash, outcome));
        if let Some((delta, work)) = self.next.remove(uid)
            && let Some(epoch) = self.epoch.clone()
        {
            self.start(delta, work, &epoch, effects);
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Greeting) {
            if now >= self.opened + GREETING {
                self.close(End::Lost("the hub sent no Welcome within 10 s".to_owned()), effects);
            }
        } else if now >= self.heard + self.heartbeat * SILENT_INTERVALS {
            self.close(End::Lost("the hub was silent for three heartbeats".to_owned()), effects);
        } else if now >= self.sent + self.heartbeat {
            // Before the index the hub expects nothing else, but it takes a sign of life.
            effects.push(Effect::Send(ToHub::Heartbeat));
        }
    }

    fn close(&mut self, end: End, effects: &mut Vec<Effect>) {
        self.phase = Phase::Closed;
        effects.push(Effect::Close(end));
    }
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
