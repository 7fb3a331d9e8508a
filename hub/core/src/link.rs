//! The hub's end of the link as state machines: what each cluster shall hold, and what its session does about it.
//!
//! ```text
//! set_desired, set_removal ──►  ClusterLink (outbox, lease)  ◄──►  Machine  ◄──►  messages of the spoke
//!                                                                     └──►  LinkEvent, to the rest of the hub
//! ```
//!
//! `session` decides; [`Machine`] is a session with messages as they travel; `wire` alone knows both the protocol and our own
//! types. Nothing here deletes because something is absent: a spoke is told to remove an object by a [`Removal`] only.

mod bounds;
mod cluster_link;
mod event;
mod event_buffer;
#[cfg(test)]
mod fuzz;
mod machine;
mod message;
mod object;
mod outbox;
mod session;
mod terms;
mod token_bucket;
mod wire;

pub use cluster_link::{ClusterLink, LinkChange, SessionLease};
pub use event::{LinkEvent, UnprovenEpoch};
pub use event_buffer::EventBuffer;
pub use machine::{Count, Machine, SessionEffect, SessionEvent, go_away};
pub use object::{Cause, DesiredObject, Gang, GoAwayReason, HeldBack, Removal, RemovalPolicy};
pub use terms::{HANDSHAKES_PER_SECOND, Terms};
pub use token_bucket::TokenBucket;
pub(crate) use wire::looks_for_gangs;
