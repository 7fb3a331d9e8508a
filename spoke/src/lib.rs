//! The agent and NIM operator of one GPU cluster.

pub mod deliver;
pub mod facts;
pub mod lease;
pub mod link;
pub mod report;
mod watch;
