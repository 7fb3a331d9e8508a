//! One hub leads, and every other one stands by: how the hub holds its lease.
//!
//! All replicas run; one holds the Lease, keeps the sessions and writes. A standby watches the Lease and nothing else: its
//! link port is closed, so that load balancers and spokes pass it over, and it reads the fleet's state only after it has
//! taken the Lease, since whatever it had read before could be older than the last leader's last word. Reading takes a
//! fraction of the time that a lease takes to run out.
//!
//! ```text
//! renewed ─────────────── 8 s ─────────────► the leader's fence closes: no write, no delta
//! renewed ────────────────── 10 s ─────────────────► a standby that saw no renewal takes the Lease, and a higher term
//! ```
//!
//! A leader that cannot renew stops writing and goes on as before once it can: nobody took the Lease meanwhile. What had
//! passed the fence and not left the process when that was frozen still goes out once it runs again; the new leader sees it
//! and writes over it.

mod label;

use std::time::Duration;

// Agents know a hub's cluster by this Lease.
use crds::marks::HUB_LEASE;
use runtime::Identity;
use runtime::lease::{Claim, Discipline, Fence, REFUSED_FOR, Words};

pub(crate) use label::keep as keep_label;

/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(10);
/// How long a leader trusts a renewal: it has stopped before anybody else may start, whatever a call may still take.
const TRUSTED: Duration = Duration::from_secs(8);

/// The lease of the hub that leads; `fence` is open while this one does.
pub(crate) fn claim(namespace: &str, identity: Identity, fence: &Fence) -> Claim {
    Claim {
        name: HUB_LEASE,
        namespace: namespace.to_owned(),
        identity,
        duration: DURATION,
        refused_for: REFUSED_FOR,
        discipline: Discipline::OneWriter { fence: fence.clone(), trusted: TRUSTED },
        words: Words {
            held: "this hub leads",
            waiting: "standing by",
            other: "another replica",
            loss: "this hub ends, and comes back as a standby",
        },
    }
}
