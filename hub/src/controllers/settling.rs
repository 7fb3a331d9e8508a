//! After a start of the hub: spokes are on their way back, and until they have spoken, or have had the time to, their silence
//! means nothing. What was decided meanwhile without them is decided anew then, once.

use hub_scheduler::fleet::{Cluster, Link, PlacementKey};
use jiff::Timestamp;
use kube::ResourceExt;
use runtime::Queue;
use tokio::time::{Instant, sleep_until};

use super::triggers::key_of;
use super::{Hub, time_until};

impl Hub {
    /// Whether spokes may still be on their way back.
    pub(super) fn is_settling(&self, now: Timestamp) -> bool {
        now.duration_since(self.started) < self.unreachable_after
    }

    /// Whether every cluster that may speak has said what it can run.
    pub(super) fn all_have_spoken(&self) -> bool {
        let is_silent = |cluster: &Cluster| match cluster.link {
            Link::Unreachable { .. } => true,
            Link::Connected => cluster.capacity.is_none(),
            Link::Never => false,
        };
        !self.live().fleet.clusters().any(|cluster| cluster.accepted && is_silent(cluster))
    }
}

/// Has every placement decided anew when the last spoke has spoken, and told at the latest when no other is waited for.
pub(super) async fn end(hub: &Hub) {
    let settled_at = hub.started.checked_add(hub.unreachable_after).unwrap_or(Timestamp::MAX);
    let end = Instant::now() + time_until(settled_at, Timestamp::now());
    let mut decided = false;
    loop {
        tokio::select! {
            () = sleep_until(end) => break,
            () = hub.spoken.notified(), if !decided => if hub.all_have_spoken() {
                decided = true;
                each(hub, &hub.placements);
            }
        }
    }
    each(hub, if decided { &hub.reports } else { &hub.placements });
}

fn each(hub: &Hub, queue: &Queue<PlacementKey>) {
    for placement in hub.stores.placements.state() {
        queue.add_soon(key_of(placement.as_ref(), placement.name_any()));
    }
}
