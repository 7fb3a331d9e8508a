//! The hub as state machines: what it knows of placements, clusters and sessions, and what follows from it.
//!
//! This crate cannot reach a client, a socket, a task, a clock or randomness: its dependencies do not have them, and
//! `e2e/tests/tidy.rs` checks that. Time comes as an argument, monotonic for decisions and wall time for display. The process
//! `hub` feeds it with what watches and sessions observe, and carries out what it answers.

pub mod aggregate;
pub mod audit;
pub mod epoch;
pub mod explanation;
pub mod fleet_state;
pub mod identity;
pub mod link;
pub mod objects;
pub mod placement;
pub mod resolve;
pub mod standards;

use hub_scheduler::{self as scheduler, failover, fleet, need, quota};
