//! The brake: clusters that vanish together have most likely not failed; the hub, its network or its load balancer has.
//!
//! In a small fleet one cluster is a large share, and one cluster is never "together": two of them at least must vanish
//! before anything is held. So of two or three clusters one fails over alone; of three, two that vanish together do not;
//! of seven, two do and three do not. What has been away for long does not count, neither for the share nor against it.

use jiff::{SignedDuration, Timestamp};

use super::Limits;
use crate::fleet::{Cluster, Fleet, Link};

/// Silences that begin within this of each other are one outage: as long as the patience of a placement by default, so
/// that it is known who vanished together before the first of them counts as lost.
pub const TOGETHER: SignedDuration = SignedDuration::from_mins(5);
/// Fewest clusters that can vanish together.
const LEAST: usize = 2;

/// A cluster whose placements do not move: it vanished with too many others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// How many vanished together and are still away, itself among them.
    pub vanished: usize,
    /// Of how many that were there before.
    pub of: usize,
}

/// Who is there, and since when the others are silent.
#[derive(Clone, Debug)]
pub struct Outages {
    connected: usize,
    /// In order.
    silent_since: Vec<Timestamp>,
}

impl Outages {
    /// Looks at every accepted cluster that has ever joined.
    #[must_use]
    pub fn of(fleet: &Fleet) -> Self {
        let (mut connected, mut silent_since) = (0, Vec::new());
        for cluster in fleet.clusters().filter(|cluster| cluster.accepted) {
            match cluster.link {
                Link::Connected => connected += 1,
                Link::Unreachable { since } => silent_since.push(since),
                Link::Never => {}
            }
        }
        silent_since.sort_unstable();
        Self { connected, silent_since }
    }

    /// Whether the failovers of a cluster are held. It ends when enough of the others are back, or when the admin has
    /// confirmed that this cluster is lost.
    #[must_use]
    pub fn held(&self, cluster: &Cluster, limits: &Limits) -> Option<Held> {
        let Link::Unreachable { since } = cluster.link else { return None };
        if cluster.failover_confirmed {
            return None;
        }
        let before = |moment: Timestamp| self.silent_since.partition_point(|silent| *silent < moment);
        let first = before(since.checked_sub(TOGETHER).unwrap_or(Timestamp::MIN));
        let last = self.silent_since.partition_point(|silent| silent.duration_since(since) <= TOGETHER);
        let vanished = last - first;
        let of = vanished + self.connected;
        let too_many = vanished * 100 > of * usize::try_from(limits.brake_percent).unwrap_or(usize::MAX);
        (vanished >= LEAST && too_many).then_some(Held { vanished, of })
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minutes = TOGETHER.as_mins();
        write!(
            f,
            "{} of {} clusters went silent within {minutes} minutes of each other",
            self.vanished, self.of
        )
    }
}
