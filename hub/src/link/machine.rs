//! One session without its stream: messages in as they travel, what to do out.
//!
//! `run` carries it over a real stream by the real clock. Whoever has another way to carry messages, a simulation for
//! example, drives this very code.

use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use proto::v1;

use super::bounds;
use super::counters::ByClass;
use super::mailbox::Seat;
use super::message::{FromSpoke, Instance, ToSpoke};
use super::object::GoAwayReason;
use super::session::{Effect, Event, Session, View};
use super::terms::Terms;
use super::wants::Wants;
use super::wire;
use super::{Counters, Fleetbox, LinkEvent};
use crate::epoch::Epoch;
use crate::fleet::{Answer, ClusterName, Excess};
use crate::pki::EpochKey;

/// What happens to a session.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages, and each is taken at once")]
pub enum Happening {
    /// The spoke said something.
    Said(v1::SpokeMessage),
    /// [`Act::RaiseEpoch`] was carried out: the epoch that comes with this is the new one.
    EpochRaised,
    /// [`Act::RaiseEpoch`] could not be carried out; why.
    EpochFailed(String),
    /// [`Machine::woken`] has come.
    Woken,
    /// The session has to end, for this reason.
    Dismissed(GoAwayReason, String),
    /// The hub stops.
    Stopping,
    /// The hub has enough to do with other spokes: this one has to come again.
    Busy,
    /// [`Machine::wake_at`] has come.
    Tick,
}

/// What a session wants done, in this order.
#[derive(Debug)]
pub enum Act {
    /// To the spoke. What cannot be taken at once ends the session: the spoke does not read.
    Send(v1::HubMessage),
    /// Persist an epoch above this term, and answer.
    RaiseEpoch(u64),
    /// To the controllers.
    Tell(LinkEvent),
    /// End the stream; the reason is for the log.
    Close(String),
}

/// One session of one spoke.
#[derive(Debug)]
pub struct Machine {
    cluster: ClusterName,
    session: Session,
    mailboxes: Fleetbox,
    seat: Option<Seat>,
    counters: Counters,
}

impl Machine {
    /// A session of the spoke whose certificate names `cluster` and ends at `certificate_expiry`. `key` proves the hub's
    /// epochs.
    #[must_use]
    pub fn new(
        cluster: ClusterName,
        certificate_expiry: Timestamp,
        terms: Terms,
        key: EpochKey,
        mailboxes: Fleetbox,
        counters: Counters,
        now: Instant,
    ) -> Self {
        let session = Session::new(cluster.clone(), certificate_expiry, terms, key, now);
        Self { cluster, session, mailboxes, seat: None, counters }
    }

    /// Whose session it is.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The next moment at which something is due if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        self.session.wake_at()
    }

    /// Whether a spoke that has just come is asked what it holds: so many at once as the hub has memory for.
    #[must_use]
    pub fn is_indexing(&self) -> bool {
        self.session.is_indexing()
    }

    /// Resolves when what the cluster shall hold has changed, or the session has to end, since the last call. Pending
    /// for ever before the session has the cluster's seat.
    pub async fn woken(&self) {
        match &self.seat {
            Some(seat) => seat.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Whether this session speaks for its cluster: it had the seat, and no other session has taken it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_ours)
    }

    /// The cluster's seat, if the session has had it.
    pub(super) fn seat(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }

    /// How many things it keeps, of whatever kind.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.session.size()
    }

    /// Takes what happened. `epoch` is the one in force, `now` the monotonic clock, `wall` the hub's calendar.
    pub fn on(&mut self, happening: Happening, epoch: &Epoch, now: Instant, wall: Timestamp) -> Vec<Act> {
        let mut excess = Vec::new();
        let Some(event) = self.event(happening, wall, &mut excess) else { return Vec::new() };
        let mut effects = VecDeque::from(self.step(event, epoch, now));
        let mut acts = Vec::new();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Claim(instance) => {
                    self.seat = self.mailboxes.mailbox(&self.cluster).claim(&instance);
                    if self.seat.is_none() {
                        acts.push(Act::Tell(self.duplicate(&instance)));
                    }
                    effects.extend(self.step(Event::Claimed(self.seat.is_some()), epoch, now));
                }
                Effect::RaiseEpoch(term) => acts.push(Act::RaiseEpoch(term)),
                Effect::Send(message) => {
                    self.count(&message);
                    acts.push(Act::Send(wire::to_spoke(message, wall)));
                }
                Effect::Tell(event) => acts.push(Act::Tell(event)),
                Effect::Close(end) => acts.push(Act::Close(end)),
            }
        }
        if !excess.is_empty() {
            let cluster = self.cluster.clone();
            acts.insert(0, Act::Tell(LinkEvent::Excess { cluster, excess }));
        }
        acts
    }

    /// The event in the session's own words; none for a message that this hub does not know. What is said beyond what the hub
    /// keeps is added to `excess`.
    fn event(&self, happening: Happening, wall: Timestamp, excess: &mut Vec<Excess>) -> Option<Event> {
        Some(match happening {
            Happening::Said(message) => {
                let mut said = wire::from_spoke(message, wall)?;
                *excess = bounds::cut(&mut said);
                if !excess.is_empty() {
                    self.counters
                        .cut
                        .inc_by(excess.iter().map(|one| one.reported.saturating_sub(one.kept)).sum());
                }
                Event::Said(self.counted(said))
            }
            Happening::EpochRaised => Event::EpochRaised,
            Happening::EpochFailed(problem) => Event::EpochFailed(problem),
            Happening::Woken => match self.seat.as_ref().and_then(Seat::goodbye) {
                Some((reason, message)) => Event::Goodbye(reason, message),
                None => Event::Changed,
            },
            Happening::Dismissed(reason, message) => Event::Goodbye(reason, message),
            Happening::Stopping => Event::Goodbye(GoAwayReason::Unavailable, "the hub stops".to_owned()),
            Happening::Busy => {
                let message = "the hub has too many spokes to compare with now: dial again".to_owned();
                Event::Goodbye(GoAwayReason::Unavailable, message)
            }
            Happening::Tick => Event::Tick,
        })
    }

    fn step(&mut self, event: Event, epoch: &Epoch, now: Instant) -> Vec<Effect> {
        let session = &mut self.session;
        let decide = |wants: &mut Wants| session.on(event, &mut View { now, epoch, wants });
        match &self.seat {
            Some(seat) => seat.with_wants(decide),
            None => decide(&mut Wants::default()),
        }
    }

    /// Of an agent that may not have the seat: it lives, so there are two.
    fn duplicate(&self, instance: &Instance) -> LinkEvent {
        self.counters.duplicate_agents.inc();
        let message = format!(
            "agent instance {} was turned away, since a newer one with the same identity is connected",
            instance.id
        );
        LinkEvent::Duplicate { cluster: self.cluster.clone(), message }
    }

    fn count(&self, message: &ToSpoke) {
        match message {
            ToSpoke::Welcome { .. } => {
                tracing::info!(cluster = %self.cluster, "spoke connected");
                self.counters.sessions.inc();
            }
            ToSpoke::Delta { upserts, tombstones, .. } => {
                self.counters.upserts.inc_by(upserts.len() as u64);
                self.counters.tombstones.inc_by(tombstones.len() as u64);
            }
            ToSpoke::Compare(_) => drop(self.counters.comparisons.inc()),
            ToSpoke::GoAway { reason: GoAwayReason::EpochUnproven, .. } => {
                self.counters.unproven_epochs.inc();
            }
            ToSpoke::Heartbeat | ToSpoke::GoAway { .. } => {}
        }
    }

    fn counted(&self, said: FromSpoke) -> FromSpoke {
        if let FromSpoke::Ack { results, .. } = &said {
            for result in results {
                match &result.answer {
                    Answer::Rejected { class, .. } => {
                        self.counters.rejections.get_or_create(&ByClass { class: class.as_str() }).inc();
                    }
                    Answer::Held { .. } => drop(self.counters.deletions_held.inc()),
                    Answer::Retrying { .. } => drop(self.counters.retried.inc()),
                    Answer::Accepted | Answer::Gone => {}
                }
            }
        }
        said
    }
}
