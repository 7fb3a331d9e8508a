//! What the fleet as a whole says about failovers: how long a cluster that came back is watched, when so many vanish
//! together that the fault is the hub's, and how fast placements may move.
//!
//! Pure: every time is an argument. The scheduler asks; what a single placement wants is in its policy.

mod brake;
mod pace;
#[cfg(test)]
mod tests;

use jiff::SignedDuration;

pub use brake::{Held, Outages, TOGETHER};
pub use pace::{Allowance, Lane, Pace, PerLane};

/// How careful the whole fleet is with failovers; flags of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A cluster that came back counts again, for new placements and for the removal of what others took over, when it
    /// has been connected for this long without a break. Default 60 s.
    pub stable_after: SignedDuration,
    /// An outage shorter than this, with calm before it, is a restart and not watched. Default 30 s, three heartbeats.
    pub noticed_after: SignedDuration,
    /// More than this share of the clusters, in percent, vanishing together holds all their failovers. Default 30.
    pub brake_percent: u32,
    /// Clusters that placements may leave in any minute, over the whole fleet, as many for being lost and as many for any
    /// other cause: each costs the remaining clusters a download and GPUs. Namespaces share them fairly. Default 10.
    pub per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stable_after: SignedDuration::from_secs(60),
            noticed_after: SignedDuration::from_secs(30),
            brake_percent: 30,
            per_minute: 10,
        }
    }
}
