//! The agent and NIM operator of one GPU cluster.

pub mod app;
pub mod args;
pub mod deliver;
pub mod facts;
pub mod link;
pub mod metrics;
pub mod operator;
pub mod report;
