//! One session without its stream: protocol messages in, effects out.
//!
//! The process `hub` runs it on a stream by the real clock; the simulator runs the same code on a simulated network and clock.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use proto::v1;

use super::LinkEvent;
use super::bounds;
use super::cluster_link::{ClusterLink, SessionLease};
use super::message::{FromSpoke, Instance, ToSpoke};
use super::object::GoAwayReason;
use super::outbox::Outbox;
use super::session::{Effect, Event, Session, View};
use super::terms::Terms;
use super::wire;
use crate::epoch::Epoch;
use crate::fleet::{Answer, ClusterName, Excess};
use crate::identity::EpochKey;

/// An event of a session.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all are messages, and each is taken at once")]
pub enum SessionEvent {
    /// A message of the spoke arrived.
    Said(v1::SpokeMessage),
    /// [`SessionEffect::RaiseEpoch`] was carried out: the epoch that comes with this event is the new one.
    EpochRaised,
    /// [`SessionEffect::RaiseEpoch`] could not be carried out; why.
    EpochFailed(String),
    /// [`Machine::is_woken`] is true.
    Woken,
    /// The session has to end, for this reason.
    Dismissed(GoAwayReason, String),
    /// The hub stops.
    Stopping,
    /// Too many other spokes are being compared with now: this spoke has to dial again.
    Busy,
    /// [`Machine::wake_at`] has come.
    Tick,
}

/// An effect of a session. The driver carries effects out in their order.
#[derive(Debug)]
pub enum SessionEffect {
    /// Send to the spoke. A message that the stream cannot take at once ends the session: the spoke does not read.
    Send(v1::HubMessage),
    /// Persist an epoch above this term, and answer with [`SessionEvent::EpochRaised`] or [`SessionEvent::EpochFailed`].
    RaiseEpoch(u64),
    /// Report to the rest of the hub.
    Report(LinkEvent),
    /// Count.
    Count(Count),
    /// End the stream; the reason is for the log.
    Close(String),
}

/// What sessions count, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// A session was welcomed.
    Welcomed,
    /// An agent was turned away since a newer one of the same identity is connected.
    DuplicateAgent,
    /// A session was refused since the agent does not prove the epoch that it reports as accepted.
    UnprovenEpoch,
    /// So many objects were sent to be applied.
    Upserts(u64),
    /// So many objects were sent to be removed.
    Tombstones(u64),
    /// The spoke holds other objects than are desired, and the difference is looked for.
    Comparison,
    /// The spoke refused an object, for this class of reasons ([`crate::fleet::RejectionClass::as_str`]).
    Rejection(&'static str),
    /// The spoke holds back a deletion.
    HeldDeletion,
    /// The spoke could neither apply nor refuse an object, and goes on trying.
    Retry,
    /// So many rows, and bytes of text, were reported beyond what the hub keeps.
    Cut(u64),
}

/// One session of one spoke.
#[derive(Debug)]
pub struct Machine {
    cluster: ClusterName,
    session: Session,
    lease: Option<SessionLease>,
    /// [`ClusterLink::revision`] when the session looked at it last.
    revision: u64,
}

/// A goodbye to a spoke that no session is opened for.
#[must_use]
pub fn go_away(
    reason: GoAwayReason,
    message: String,
    retry_after: Duration,
    now: Timestamp,
) -> v1::HubMessage {
    wire::to_spoke(ToSpoke::GoAway { reason, message, retry_after }, now)
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
        now: Instant,
    ) -> Self {
        let session = Session::new(cluster.clone(), certificate_expiry, terms, key, now);
        Self { cluster, session, lease: None, revision: 0 }
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

    /// Whether the desired state of the cluster has changed, or the session has to end, since [`SessionEvent::Woken`] came last.
    /// Never before the session has had the cluster's lease.
    #[must_use]
    pub fn is_woken(&self, link: &ClusterLink) -> bool {
        self.lease.is_some() && link.revision() != self.revision
    }

    /// The lease, if the session has had it.
    #[must_use]
    pub fn lease(&self) -> Option<SessionLease> {
        self.lease
    }

    /// How many things it keeps, of whatever kind.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.session.size()
    }

    /// Takes an event; a session that has closed its stream takes none. `link` is that of the session's cluster, `epoch` the one in force, `now` the monotonic clock, `wall` the
    /// hub's calendar.
    pub fn on(
        &mut self,
        event: SessionEvent,
        link: &mut ClusterLink,
        epoch: &Epoch,
        now: Instant,
        wall: Timestamp,
    ) -> Vec<SessionEffect> {
        let mut all = Vec::new();
        if self.session.is_closed() {
            return all;
        }
        let mut excess = Vec::new();
        let Some(event) = self.event(event, link, wall, &mut excess) else { return Vec::new() };
        if !excess.is_empty() {
            all.push(SessionEffect::Count(Count::Cut(
                excess.iter().map(|row| row.reported.saturating_sub(row.kept)).sum(),
            )));
            all.push(SessionEffect::Report(LinkEvent::Excess { cluster: self.cluster.clone(), excess }));
        }
        if let Event::Said(FromSpoke::Ack { results, .. }) = &event {
            let counts = results.iter().filter_map(|result| count_of_answer(&result.answer));
            all.extend(counts.map(SessionEffect::Count));
        }
        let mut effects = VecDeque::from(self.step(event, link, epoch, now));
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Claim(instance) => {
                    self.lease = link.claim(&instance);
                    self.revision = link.revision();
                    if self.lease.is_none() {
                        all.push(SessionEffect::Count(Count::DuplicateAgent));
                        all.push(SessionEffect::Report(self.duplicate(&instance)));
                    }
                    effects.extend(self.step(Event::Claimed(self.lease.is_some()), link, epoch, now));
                }
                Effect::RaiseEpoch(term) => all.push(SessionEffect::RaiseEpoch(term)),
                Effect::Send(message) => {
                    all.extend(counts_of_message(&message).into_iter().map(SessionEffect::Count));
                    all.push(SessionEffect::Send(wire::to_spoke(message, wall)));
                }
                Effect::Report(event) => all.push(SessionEffect::Report(event)),
                Effect::Close(end) => all.push(SessionEffect::Close(end)),
            }
        }
        all
    }

    /// The event in the session's own words; none for a message that this hub does not know. What a message reports beyond what
    /// the hub keeps is added to `excess`.
    fn event(
        &mut self,
        event: SessionEvent,
        link: &ClusterLink,
        wall: Timestamp,
        excess: &mut Vec<Excess>,
    ) -> Option<Event> {
        Some(match event {
            SessionEvent::Said(message) => {
                let mut said = wire::from_spoke(message, wall)?;
                *excess = bounds::cut(&mut said);
                Event::Said(said)
            }
            SessionEvent::EpochRaised => Event::EpochRaised,
            SessionEvent::EpochFailed(problem) => Event::EpochFailed(problem),
            SessionEvent::Woken => {
                self.revision = link.revision();
                match self.lease.and_then(|lease| link.goodbye(lease)) {
                    Some((reason, message)) => Event::Goodbye(reason, message),
                    None => Event::Changed,
                }
            }
            SessionEvent::Dismissed(reason, message) => Event::Goodbye(reason, message),
            SessionEvent::Stopping => Event::Goodbye(GoAwayReason::Unavailable, "the hub stops".to_owned()),
            SessionEvent::Busy => {
                let message = "the hub has too many spokes to compare with now: dial again".to_owned();
                Event::Goodbye(GoAwayReason::Unavailable, message)
            }
            SessionEvent::Tick => Event::Tick,
        })
    }

    fn step(&mut self, event: Event, link: &mut ClusterLink, epoch: &Epoch, now: Instant) -> Vec<Effect> {
        // Before it has the lease, a session neither sees nor changes what the cluster shall hold.
        let mut none = Outbox::default();
        let outbox = if self.lease.is_some() { link.outbox_mut() } else { &mut none };
        self.session.on(event, &mut View { now, epoch, outbox })
    }

    /// The report of an agent that is refused the lease: the agent that has it is alive, so there are two.
    fn duplicate(&self, instance: &Instance) -> LinkEvent {
        let message = format!(
            "agent instance {} was turned away, since a newer one with the same identity is connected",
            instance.id
        );
        LinkEvent::Duplicate { cluster: self.cluster.clone(), message }
    }
}

fn counts_of_message(message: &ToSpoke) -> Vec<Count> {
    match message {
        ToSpoke::Welcome { .. } => vec![Count::Welcomed],
        ToSpoke::Delta { upserts, tombstones, .. } => {
            vec![Count::Upserts(upserts.len() as u64), Count::Tombstones(tombstones.len() as u64)]
        }
        ToSpoke::Compare(_) => vec![Count::Comparison],
        ToSpoke::GoAway { reason: GoAwayReason::EpochUnproven, .. } => vec![Count::UnprovenEpoch],
        ToSpoke::Heartbeat | ToSpoke::GoAway { .. } => Vec::new(),
    }
}

fn count_of_answer(answer: &Answer) -> Option<Count> {
    match answer {
        Answer::Rejected { class, .. } => Some(Count::Rejection(class.as_str())),
        Answer::Held { .. } => Some(Count::HeldDeletion),
        Answer::Retrying { .. } => Some(Count::Retry),
        Answer::Accepted | Answer::Gone => None,
    }
}
