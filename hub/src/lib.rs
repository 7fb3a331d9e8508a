//! The hub: decides where NIM objects run, sends each cluster its own, and keeps the fleet's status.
//!
//! ```text
//! API server ──watch──► controllers ──Request, Fleet──► scheduler ──Decision──► slices, resolve ──► link ──► spokes
//! API server ◄──status── controllers ◄──counts, conditions── aggregate ◄──LinkEvent── link ◄───────────────── spokes
//! ```

pub mod app;
pub mod args;
mod audit;
mod controllers;
pub mod epoch;
mod leadership;
pub mod link;
pub mod metrics;
pub mod pki;
mod query;
