//! The hub's end of the link, with its sockets: who may connect, and the sessions that run.
//!
//! ```text
//! controllers ──set_desired, set_removal──►  DesiredState  ──wakes──►  session of the cluster ──►  spoke
//! controllers ◄──────── LinkEvent (bounded) ─────────────────────────  session of the cluster ◄──  spoke
//! ```
//!
//! `hub_core::link` decides what a session does; `connect` and `run` carry one on one stream.

mod connect;
mod counters;
mod desired_state;
mod enroll;
mod identified;
mod lanes;
mod limits;
mod ports;
mod record;
mod rollover;
mod run;
mod server;
mod session;
mod tls;

pub use counters::{ByClass, Counters};
pub use desired_state::DesiredState;
pub use ports::{Admission, EpochStore, MemberIdentity, Membership, PortError};
pub use server::{HEARTBEAT, ServeError, Server};
pub use session::Session;
