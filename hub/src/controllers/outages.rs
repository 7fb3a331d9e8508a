//! Who is held by the brake: looked at when connections come and go, so that those who vanished first hear of those who
//! vanished later. Placements that keep their clusters, silent or not, have no part in it.

use std::collections::BTreeSet;

use hub_scheduler::failover::Outages;
use hub_scheduler::fleet::ClusterName;

use super::Hub;

/// The one key of its queue: whoever asks for a look asks for one at the whole fleet.
pub(super) const FLEET: &str = "fleet";

/// Wakes the clusters that are held or released now, and what is placed there.
pub(super) fn look(hub: &Hub) {
    let (turned, placements, count) = {
        let mut live = hub.live();
        let outages = Outages::of(&live.fleet);
        let held: BTreeSet<ClusterName> = live
            .fleet
            .clusters()
            .filter(|cluster| outages.held(cluster, &hub.limits).is_some())
            .map(|cluster| cluster.name.clone())
            .collect();
        let turned: Vec<ClusterName> = held.symmetric_difference(&live.held).cloned().collect();
        let placements: BTreeSet<_> = turned.iter().flat_map(|name| live.placements_in(name)).collect();
        let count = held.len();
        live.held = held;
        (turned, placements, count)
    };
    hub.metrics.set_failover_held(count);
    for name in turned {
        hub.clusters.add_soon(name);
    }
    for key in placements.into_iter().filter(|key| !hub.is_only_told(key)) {
        hub.placements.add_soon(key);
    }
}
