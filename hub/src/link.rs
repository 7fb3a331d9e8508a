//! The hub's end of the link: who may connect, what each cluster is sent, and what its spoke reports.
//!
//! ```text
//! controllers ──set_desired, set_removal──►  Fleetbox  ──wakes──►  session of the cluster ──►  spoke
//! controllers ◄──────── LinkEvent (bounded) ────────────────────  session of the cluster ◄──  spoke
//! ```
//!
//! `session` decides and knows no socket; `machine` is a session with messages as they travel, without a stream; `connect`
//! and `run` carry one on one stream; `wire` alone knows both the protocol and our own types. Nothing here deletes because something is absent: a spoke is told to remove an object
//! by a [`Removal`] only.

mod allowance;
mod bounds;
mod connect;
mod counters;
mod enroll;
mod event;
mod fleetbox;
#[cfg(test)]
mod fuzz;
mod identified;
mod lanes;
mod limits;
mod machine;
mod mailbox;
mod message;
mod object;
mod ports;
mod record;
mod rollover;
mod run;
mod server;
mod session;
mod terms;
mod tls;
mod upward;
mod wants;
mod wire;

pub use counters::{ByClass, Counters};
pub use event::{LinkEvent, UnprovenEpoch};
pub use fleetbox::Fleetbox;
pub use machine::{Act, Happening, Machine};
pub use object::{Cause, DesiredObject, Gang, GoAwayReason, HeldBack, Removal, RemovalPolicy};
pub use ports::{Admission, EpochStore, Membership, PortError, Standing};
pub use server::{HEARTBEAT, ServeError, Server};
pub use terms::Terms;
pub(crate) use wire::looks_for_gangs;
