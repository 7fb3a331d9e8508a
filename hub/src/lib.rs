//! The hub: decides where NIM objects run, sends each cluster its own, and keeps the fleet's status.
//!
//! ```text
//! API server ──watch──► controllers ──Request, Fleet──► scheduler ──Decision──► slices, resolve ──► link ──► spokes
//! API server ◄──status── controllers ◄──counts, conditions── aggregate ◄──LinkEvent── link ◄───────────────── spokes
//! ```

pub mod admin;
pub mod aggregate;
pub mod app;
pub mod args;
mod controllers;
pub mod epoch;
pub mod fleet;
pub mod link;
pub mod metrics;
pub mod need;
pub mod pki;
pub mod resolve;
pub mod scheduler;
pub mod telemetry;
