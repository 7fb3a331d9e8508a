//! The life of the link: enrol once, then one session after another.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Counters, IdentityStore, LinkState, Settings};
use crate::deliver::Deliver;
use crate::facts::CapacityReport;
use crate::report::Outbox;

/// What the link works with.
pub struct Link<D, S> {
    /// Where to dial and as whom.
    pub settings: Settings,
    /// Where key and certificate are kept.
    pub identity: S,
    /// What applies the hub's objects.
    pub deliver: Arc<D>,
    /// Statuses on their way to the hub.
    pub statuses: Outbox,
    /// What the cluster can run; `None` until first observed.
    pub capacity: watch::Receiver<Option<CapacityReport>>,
    /// Tells how the link is.
    pub state: watch::Sender<LinkState>,
    /// Counts.
    pub counters: Counters,
}

impl<D: Deliver, S: IdentityStore> Link<D, S> {
    /// Keeps the link up until `stop` is cancelled. Never fails: whatever goes wrong is logged, told by `state` and
    /// tried again.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
