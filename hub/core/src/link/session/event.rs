//! What happens to a session, and what it wants done.

use std::time::Instant;

use crate::epoch::Epoch;
use crate::link::event::LinkEvent;
use crate::link::message::{FromSpoke, Instance, ToSpoke};
use crate::link::object::GoAwayReason;
use crate::link::outbox::Outbox;

/// What happens to a session.
#[allow(clippy::large_enum_variant, reason = "one at a time, and most are messages")]
#[derive(Debug)]
pub(in crate::link) enum Event {
    /// The spoke said something.
    Said(FromSpoke),
    /// The answer to [`Effect::Claim`]: does this session hold the lease?
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
pub(in crate::link) enum Effect {
    /// Take the cluster's session lease, and answer with [`Event::Claimed`].
    Claim(Instance),
    /// Persist an epoch above this term, and answer.
    RaiseEpoch(u64),
    /// To the spoke.
    Send(ToSpoke),
    /// To the rest of the hub.
    Report(LinkEvent),
    /// End the stream; the reason is for the log.
    Close(String),
}

/// What a session sees of the hub while it decides.
pub(in crate::link) struct View<'a> {
    pub(in crate::link) now: Instant,
    pub(in crate::link) epoch: &'a Epoch,
    pub(in crate::link) outbox: &'a mut Outbox,
}
