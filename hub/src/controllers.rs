//! The IO shell around the pure rooms: watches, work queues, writes.
//!
//! ```text
//! watches, link events ──► queue of placements ──► observe → plan (schedule) → apply (slices, then link)
//!                      │                                    │
//!                      ├─► queue of reports ◄───────────────┘ ──► status of NIMPlacements and NIM objects
//!                      └─► queue of clusters ──► status of GPUClusters
//! ```
//!
//! What a spoke says is told without deciding anew, and what is decided is sent before it is told: neither waits for the
//! other.
//!
//! Slices are the truth: what is in memory here is what was written there, and nothing is sent before it is written.

mod admission;
mod cluster;
mod events;
mod failures;
mod fault;
mod marks;
mod outages;
mod placement;
mod quota;
mod run;
mod settling;
mod standards;
mod stores;
mod triggers;
mod unplaced;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::fleet::Decision;
use hub_core::fleet_state::FleetState;
use hub_scheduler::failover::{Limits, PerLane};
use hub_scheduler::fleet::{ClusterName, PlacementKey};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use runtime::{Health, Queue};
use tokio::sync::{Notify, watch};

use crate::link::DesiredState;
use crate::metrics::Metrics;
use crate::pki::{Salt, Trust};

pub(crate) use admission::Doorkeeper;
pub(crate) use cluster::known as known_cluster;
pub(crate) use placement::{Assignment, assignments, explanation, simulation};
pub(crate) use run::{Setup, run};

use events::Events;
use placement::{Book, Desk};
use stores::Stores;
pub(crate) use stores::nim_resource;

/// Slices as watches have shown them and nobody has compared them yet, by placement and number: resourceVersion and content, or
/// none of a slice that is gone.
type ShownSlices = HashMap<PlacementKey, BTreeMap<u32, Option<(String, Vec<Decision>)>>>;

/// What all controllers share.
pub(crate) struct Hub {
    client: Client,
    stores: Stores,
    live: Mutex<FleetState>,
    books: Mutex<HashMap<PlacementKey, Arc<tokio::sync::Mutex<Book>>>>,
    desks: Mutex<HashMap<PlacementKey, Arc<Desk>>>,
    shown_slices: Mutex<ShownSlices>,
    desired: DesiredState,
    placements: Queue<PlacementKey>,
    reports: Queue<PlacementKey>,
    clusters: Queue<ClusterName>,
    /// Namespaces whose quotas are to be looked at.
    quotas: Queue<String>,
    /// NIM objects that no placement may have.
    unplaced: Queue<unplaced::ObjectKey>,
    /// What the objects of SIG Multicluster are to be looked at for, where they are wanted.
    standards: Queue<standards::Subject>,
    standards_wanted: bool,
    /// The hub's own namespace.
    namespace: String,
    cluster_memory: Mutex<HashMap<ClusterName, cluster::Memory>>,
    metrics: Metrics,
    events: Events,
    failures: failures::Failures,
    salt: Salt,
    started: Timestamp,
    /// Told when a cluster has said what it can run.
    spoken: Notify,
    unreachable_after: SignedDuration,
    limits: Limits,
    /// Asked for when connections come and go: whose failovers are held may have changed.
    outages: Queue<&'static str>,
    trust: watch::Receiver<Arc<Trust>>,
    return_within: SignedDuration,
    health: Health,
}

/// How long it is until then; zero if that has passed.
fn time_until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

impl Hub {
    /// Takes in what a watch or a session says. A panic is the failure of what was said, and of nothing else.
    fn isolated(&self, what: &str, about: &str, take: impl FnOnce()) {
        if let Err(panic) = runtime::panics::caught_call(take) {
            self.metrics.fault("events", "Panic");
            tracing::error!(what, about, %panic, "what was said could not be taken in, and is passed over");
        }
    }

    fn live(&self) -> MutexGuard<'_, FleetState> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self, key: &PlacementKey) -> Arc<tokio::sync::Mutex<Book>> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.entry(key.clone()).or_default().clone()
    }

    fn desk(&self, key: &PlacementKey) -> Arc<Desk> {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        desks.entry(key.clone()).or_default().clone()
    }

    fn shown_slices(&self) -> MutexGuard<'_, ShownSlices> {
        self.shown_slices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_book(&self, key: &PlacementKey) {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let mut live = self.live();
        live.wanting.remove(key);
        live.charged.remove(key);
        live.pace.wait(key, &PerLane::default());
        drop(live);
        self.quotas.add_soon(key.namespace.clone());
    }
}
