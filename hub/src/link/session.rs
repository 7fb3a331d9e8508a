//! One spoke's session: what it says and what happens goes in, what to do comes out.
//!
//! ```text
//! Greeting ──Hello──► Claiming ──seat──► Raising ──epoch──► Indexing ──last Index──► Live
//!                                  └───── epoch is high enough ────┘
//! ```

mod delivery;

use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::delivery::{Acked, Delivery};
use super::event::LinkEvent;
use super::message::{FromSpoke, Hello, Instance, ToSpoke};
use super::object::GoAwayReason;
use super::wants::Wants;
use crate::epoch::Epoch;
use crate::fleet::{Agent, ClusterName, ObjectStatus};

/// A spoke has this long for its Hello.
const GREETING: Duration = Duration::from_secs(10);
/// Silent intervals after which a session is dead.
const SILENT_INTERVALS: u32 = 3;
/// Controllers hear of a spoke that was heard at most this often.
const HEARD_EVERY: Duration = Duration::from_secs(5);
/// Waits that a goodbye asks for: a moment, and long enough for an admin.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(15);

/// What happens to a session.
#[derive(Debug)]
pub(super) enum Event {
    /// The spoke said something.
    Said(FromSpoke),
    /// The answer to [`Effect::Claim`]: is the seat ours?
    Claimed(bool),
    /// The answer to [`Effect::RaiseEpoch`].
    EpochRaised,
    /// The answer to [`Effect::RaiseEpoch`].
    EpochFailed(String),
    /// What is wanted has changed.
    Changed,
    /// The session has to end.
    Goodbye(GoAwayReason, String),
    /// [`Session::wake_at`] has come.
    Tick,
}

/// What a session wants done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Effect {
    /// Take the cluster's seat, and answer with [`Event::Claimed`].
    Claim(Instance),
    /// Persist an epoch above this term, and answer.
    RaiseEpoch(u64),
    /// To the spoke.
    Send(ToSpoke),
    /// To the controllers.
    Tell(LinkEvent),
    /// End the stream; the reason is for the log.
    Close(String),
}

/// What a session sees of the hub while it decides.
pub(super) struct View<'a> {
    pub(super) now: Instant,
    pub(super) epoch: &'a Epoch,
    pub(super) wants: &'a mut Wants,
}

#[derive(Debug)]
enum Phase {
    Greeting,
    Claiming(Hello),
    Raising(Agent),
    Indexing,
    Live,
    Closed,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    cluster: ClusterName,
    certificate_expiry: Timestamp,
    heartbeat: Duration,
    phase: Phase,
    delivery: Delivery,
    opened: Instant,
    heard: Instant,
    sent: Instant,
    told_heard: Option<Instant>,
}

impl Session {
    /// A session of the spoke whose certificate names `cluster`.
    pub(super) fn new(
        cluster: ClusterName,
        certificate_expiry: Timestamp,
        heartbeat: Duration,
        now: Instant,
    ) -> Self {
        Self {
            cluster,
            certificate_expiry,
            heartbeat,
            phase: Phase::Greeting,
            delivery: Delivery::default(),
            opened: now,
            heard: now,
            sent: now,
            told_heard: None,
        }
    }

    /// The next moment at which something is due if nothing happens.
    pub(super) fn wake_at(&self) -> Instant {
        match self.phase {
            Phase::Greeting | Phase::Claiming(_) | Phase::Raising(_) => self.opened + GREETING,
            _ => (self.sent + self.heartbeat).min(self.heard + self.heartbeat * SILENT_INTERVALS),
        }
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
            (Event::EpochRaised, Phase::Raising(agent)) => {
                let agent = agent.clone();
                self.welcome(agent, view, &mut effects);
            }
            (Event::EpochFailed(problem), _) => {
                let message = format!("the hub could not raise its term: {problem}");
                self.goodbye(GoAwayReason::Unavailable, message, &mut effects);
            }
            (Event::Goodbye(reason, message), _) => self.goodbye(reason, message, &mut effects),
            (Event::Tick, _) => self.tick(view.now, &mut effects),
            (Event::Changed, Phase::Live) => {
                self.delivery.changed(view.wants);
                self.deliver(view, &mut effects);
            }
            // Before the index is known a change means nothing: the index will be compared with what is wanted then.
            (Event::Changed | Event::Claimed(_) | Event::EpochRaised, _) => {}
        }
        effects
    }

    fn said(&mut self, said: FromSpoke, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        self.heard = view.now;
        match (said, &self.phase) {
            (FromSpoke::Hello(hello), Phase::Greeting) => self.greeted(hello, effects),
            (FromSpoke::Index { held, last }, Phase::Indexing) => {
                if !self.delivery.index(held) {
                    return self.broken("its index is longer than any cluster's", effects);
                }
                if last {
                    self.indexed(view, effects);
                }
            }
            (FromSpoke::Ack { delta, results }, Phase::Live) => self.acked(delta, results, view, effects),
            (FromSpoke::Status(objects), Phase::Indexing | Phase::Live) => {
                self.status(objects, view.wants, effects);
            }
            (FromSpoke::Capacity(capacity), Phase::Indexing | Phase::Live) => {
                effects.push(Effect::Tell(LinkEvent::Capacity { cluster: self.cluster.clone(), capacity }));
            }
            (FromSpoke::Heartbeat, Phase::Indexing | Phase::Live) => {}
            (FromSpoke::Hello(_), _) => return self.broken("a second Hello", effects),
            (_, phase) => {
                let problem = format!("a message out of turn ({phase:?})");
                return self.broken(&problem, effects);
            }
        }
        if matches!(self.phase, Phase::Indexing | Phase::Live)
            && self.told_heard.is_none_or(|told| view.now.duration_since(told) >= HEARD_EVERY)
        {
            self.told_heard = Some(view.now);
            effects.push(Effect::Tell(LinkEvent::Heard { cluster: self.cluster.clone() }));
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
        effects.push(Effect::Claim(hello.instance.clone()));
        self.phase = Phase::Claiming(hello);
    }

    fn claimed(&mut self, ours: bool, hello: Hello, view: &View<'_>, effects: &mut Vec<Effect>) {
        if !ours {
            let message =
                "a newer agent with this cluster's identity is connected; run one agent per cluster";
            return self.goodbye(GoAwayReason::DuplicateInstance, message.to_owned(), effects);
        }
        match hello.highest_epoch {
            // What obeys another hub is welcomed like any other: the spoke itself refuses, and names the remedy.
            Some(known) if known.hub_id == view.epoch.hub_id && !covers(view.epoch, &known) => {
                self.phase = Phase::Raising(hello.agent);
                effects.push(Effect::RaiseEpoch(known.term));
            }
            _ => self.welcome(hello.agent, view, effects),
        }
    }

    fn welcome(&mut self, agent: Agent, view: &View<'_>, effects: &mut Vec<Effect>) {
        self.phase = Phase::Indexing;
        self.heard = view.now;
        self.sent = view.now;
        effects.push(Effect::Send(ToSpoke::Welcome { epoch: view.epoch.clone(), heartbeat: self.heartbeat }));
        effects.push(Effect::Tell(LinkEvent::Connected {
            cluster: self.cluster.clone(),
            agent,
            certificate_expiry: self.certificate_expiry,
        }));
    }

    fn indexed(&mut self, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        let compared = self.delivery.compare(view.wants);
        self.phase = Phase::Live;
        let cluster = self.cluster.clone();
        effects.push(Effect::Tell(LinkEvent::Orphans { cluster, objects: compared.orphans }));
        if !compared.in_sync.is_empty() {
            let cluster = self.cluster.clone();
            effects.push(Effect::Tell(LinkEvent::Results { cluster, results: compared.in_sync }));
        }
        self.deliver(view, effects);
    }

    fn acked(
        &mut self,
        delta: u64,
        results: Vec<crate::fleet::ObjectResult>,
        view: &mut View<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Acked { results, stale_epoch } = self.delivery.acked(delta, results, view.wants);
        if !results.is_empty() {
            effects.push(Effect::Tell(LinkEvent::Results { cluster: self.cluster.clone(), results }));
        }
        if stale_epoch {
            // It obeys a higher term by now. When it dials again it says which, and the hub rises above it.
            let message = "the spoke obeys a higher term: dial again".to_owned();
            return self.goodbye(GoAwayReason::Unavailable, message, effects);
        }
        self.deliver(view, effects);
    }

    /// Passes on what concerns objects that are wanted here, so that a spoke cannot fill the hub with others.
    fn status(&self, mut objects: Vec<ObjectStatus>, wants: &Wants, effects: &mut Vec<Effect>) {
        objects.retain(|status| wants.get(&status.object.uid).is_some());
        if !objects.is_empty() {
            effects.push(Effect::Tell(LinkEvent::Status { cluster: self.cluster.clone(), objects }));
        }
    }

    fn deliver(&mut self, view: &mut View<'_>, effects: &mut Vec<Effect>) {
        while let Some((id, upserts, tombstones)) = self.delivery.next(view.wants) {
            self.sent = view.now;
            let epoch = view.epoch.clone();
            effects.push(Effect::Send(ToSpoke::Delta { id, epoch, upserts, tombstones }));
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let greeted = matches!(self.phase, Phase::Indexing | Phase::Live);
        if !greeted && now >= self.opened + GREETING {
            return self.broken("no Hello within 10 s", effects);
        }
        if greeted && now >= self.heard + self.heartbeat * SILENT_INTERVALS {
            self.phase = Phase::Closed;
            effects.push(Effect::Close("the spoke was silent for three heartbeats".to_owned()));
        } else if greeted && now >= self.sent + self.heartbeat {
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
            GoAwayReason::Unavailable => SOON,
            GoAwayReason::DuplicateInstance
            | GoAwayReason::NotAccepted
            | GoAwayReason::ProtocolError
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
