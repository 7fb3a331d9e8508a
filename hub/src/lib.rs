//! The hub: decides where NIM objects run, sends each cluster its own, and keeps the fleet's status.
//!
//! ```text
//! API server ──watch──► controllers ──Request, Fleet──► scheduler ──Decision──► slices, resolve ──► link ──► spokes
//! API server ◄──status── controllers ◄──counts, conditions── aggregate ◄──LinkEvent── link ◄───────────────── spokes
//! ```

pub mod aggregate;
pub mod app;
pub mod args;
mod audit;
mod controllers;
pub mod epoch;
pub mod failover;
pub mod fleet;
mod leadership;
pub mod link;
pub mod metrics;
pub mod need;
pub mod pki;
mod query;
pub mod quota;
pub mod resolve;
pub mod scheduler;
mod standards;

/// The parts of the controllers that know no API server: what is remembered of the fleet, the rows that follow from a
/// decision, and what rows take from clusters.
pub mod decisions {
    pub use crate::controllers::grants;
    pub use crate::controllers::live::{Live, Session, Touched};
    pub use crate::controllers::rows::{Fate, Input, PlacedRow, RemovingRow, Rows, plan, settled};
}
