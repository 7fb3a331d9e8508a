//! One session without its stream: messages in as they travel, what to do out.
//!
//! `connect` carries it over a real stream by the real clock. Whoever has another way to carry messages, a simulation
//! for example, drives this very code.

use std::time::{Duration, Instant};

use proto::v1;

use super::deletion_guard::DeletionGuard;
use super::message::Work;
use super::session::{Effect, End, Event, Judgement, Session};
use super::{Settings, wire};
use crate::deliver::{Epoch, HeldObject, Outcome, Release};

/// What happens to a session.
#[derive(Debug)]
pub enum Happening {
    /// The hub said something.
    Said(v1::HubMessage),
    /// The answer to [`Act::AcceptEpoch`].
    EpochJudged(Judgement),
    /// The answer to [`Act::ReadHeld`]; none if it could not be read now.
    Held(Option<Vec<HeldObject>>),
    /// The answer to [`Act::Deliver`].
    Delivered {
        /// Of the object, on the hub.
        uid: String,
        /// How it ended.
        outcome: Outcome,
    },
    /// There is no outcome of [`Act::Deliver`] yet, and the work goes on.
    Retrying {
        /// Of the object, on the hub.
        uid: String,
        /// What failed last.
        message: String,
    },
    /// The answer to [`Act::GiveUp`]: work on that object ended without an outcome.
    GivenUp {
        /// Of the object, on the hub.
        uid: String,
    },
    /// The answer to [`Act::StoreReleases`] of this version.
    ReleasesStored(u64),
    /// Something that this session needs of the cluster failed; the next session tries again.
    Failed(String),
    /// [`Machine::wake_at`] has come.
    Tick,
}

/// What a session wants done, in this order.
#[derive(Debug)]
pub enum Act {
    /// To the hub, before all news. What cannot be taken at once ends the session: the hub does not read.
    Send(v1::SpokeMessage),
    /// Accept the epoch or refuse it, and answer.
    AcceptEpoch(Epoch),
    /// Read what is held, and answer.
    ReadHeld,
    /// Carry out one piece of work under an epoch, until there is an outcome, and answer.
    Deliver(Work, Epoch),
    /// Store which deletions the guard has let through, and answer with this version; they are carried out then.
    StoreReleases(u64, Vec<Release>),
    /// Try no longer what is under way for the object of this uid, and answer; an outcome is an answer too.
    GiveUp(String),
    /// End the session.
    Close(End),
}

/// One session with the hub.
#[derive(Debug)]
pub struct Machine {
    session: Session,
}

impl Machine {
    /// A session on a new stream, and its first words. `held` is what the cluster holds of the hub whose epoch is the
    /// highest.
    #[must_use]
    pub fn new(
        highest_epoch: Option<Epoch>,
        held: Vec<HeldObject>,
        settings: &Settings,
        now: Instant,
    ) -> (Self, Vec<Act>) {
        let (session, effects) = Session::new(highest_epoch, held, now);
        (Self { session }, acts(effects, settings))
    }

    /// Whether status and capacity may be sent.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.session.is_live()
    }

    /// The ceiling of waits between attempts to connect, if the hub has said one.
    #[must_use]
    pub fn longest_wait(&self) -> Option<Duration> {
        self.session.hub().longest_wait
    }

    /// The largest message that the hub takes, bytes.
    #[must_use]
    pub fn most_bytes(&self) -> usize {
        self.session.hub().most_bytes.unwrap_or(proto::MAX_MESSAGE_BYTES)
    }

    /// How many things it keeps, of whatever kind.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.session.size()
    }

    /// The next moment at which something is due if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        self.session.wake_at()
    }

    /// Takes what happened; `now` is the monotonic clock. `guard` is one for all sessions of this process.
    pub fn on(
        &mut self,
        happening: Happening,
        guard: &mut DeletionGuard,
        settings: &Settings,
        now: Instant,
    ) -> Vec<Act> {
        let event = match happening {
            Happening::Said(message) => match wire::from_hub(message) {
                Some(said) => Event::Said(said),
                None => return Vec::new(),
            },
            Happening::EpochJudged(judgement) => Event::EpochJudged(judgement),
            Happening::Held(held) => Event::Held(held),
            Happening::Delivered { uid, outcome } => Event::Delivered { uid, outcome },
            Happening::Retrying { uid, message } => Event::Retrying { uid, message },
            Happening::GivenUp { uid } => Event::GivenUp { uid },
            Happening::ReleasesStored(version) => Event::ReleasesStored(version),
            Happening::Failed(problem) => Event::Failed(problem),
            Happening::Tick => Event::Tick,
        };
        acts(self.session.on(event, guard, now), settings)
    }
}

fn acts(effects: Vec<Effect>, settings: &Settings) -> Vec<Act> {
    let act = |effect| match effect {
        Effect::Send(message) => Act::Send(wire::to_hub(message, settings)),
        Effect::AcceptEpoch(epoch) => Act::AcceptEpoch(epoch),
        Effect::ReadHeld => Act::ReadHeld,
        Effect::Deliver(work, epoch) => Act::Deliver(work, epoch),
        Effect::StoreReleases(version, releases) => Act::StoreReleases(version, releases),
        Effect::GiveUp(uid) => Act::GiveUp(uid),
        Effect::Close(end) => Act::Close(end),
    };
    effects.into_iter().map(act).collect()
}
