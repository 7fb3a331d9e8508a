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
mod leadership;
pub mod link;
pub mod metrics;
pub mod pki;
mod query;
pub mod resolve;
mod standards;

pub use hub_scheduler as scheduler;
pub use hub_scheduler::{failover, fleet, need, quota};

/// The parts of the controllers that know no API server: what is remembered of the fleet, the rows that follow from a
/// decision, and what rows take from clusters.
pub mod decisions {
    pub use crate::controllers::grants;
    pub use crate::controllers::live::{Live, Session, Touched};
    pub use crate::controllers::rows::{Fate, Input, PlacedRow, RemovingRow, Rows, plan, settled};
}
