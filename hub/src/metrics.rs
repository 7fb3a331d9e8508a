//! Prometheus metrics of the hub. Labels come from closed lists; only what [`objects`] shows names objects, and of so many at most.

mod objects;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crds::fleet::{GPUCluster, NIMPlacement};
use kube::runtime::reflector::Store;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use runtime::admin::exposed;
use runtime::panics;

use crate::link::Counters;

/// Label `reason`: one of the reasons that conditions and events carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByController {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFault {
    controller: &'static str,
    fault: &'static str,
}

/// All metrics of the hub. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
}

#[derive(Debug)]
struct Families {
    registry: Registry,
    leading: Gauge,
    accepted_clusters: Gauge,
    connected_clusters: Gauge,
    placements: Family<ByReason, Gauge>,
    reconciles: Family<ByController, Histogram>,
    faults: Family<ByFault, Counter>,
    writes: Counter,
    failover_held_clusters: Gauge,
    failover_held_placements: Family<ByReason, Gauge>,
    failovers: Counter,
    orphans: Gauge,
    objects: objects::Objects,
}

impl Families {
    fn new(link: &Counters) -> Self {
        let mut registry = Registry::with_prefix("nimfleet_hub");
        link.register(&mut registry);
        registry.register_collector(Box::new(panics::Panics));
        let objects = objects::Objects::default();
        registry.register_collector(Box::new(objects.clone()));
        let leading = Gauge::default();
        registry.register("leading", "Whether this replica leads (1) or stands by (0)", leading.clone());
        let accepted_clusters = Gauge::default();
        let help = "GPUClusters with spec.accepted, so that each of them should have a session";
        registry.register("accepted_clusters", help, accepted_clusters.clone());
        let connected_clusters = Gauge::default();
        registry.register("connected_clusters", "Clusters whose session is up", connected_clusters.clone());
        let placements = Family::<ByReason, Gauge>::default();
        registry.register("placements", "Placements, by the reason they show", placements.clone());
        let reconciles = Family::new_with_constructor(histogram as fn() -> Histogram);
        registry.register("reconcile_duration_seconds", "Time of one reconcile", reconciles.clone());
        let faults = Family::<ByFault, Counter>::default();
        registry.register("reconcile_faults", "Reconciles that failed, by what failed", faults.clone());
        let writes = Counter::default();
        registry.register("writes", "Writes to the hub's API server", writes.clone());
        let failover_held_clusters = Gauge::default();
        let help = "Clusters that vanished with too many others to fail over (ManyClustersLost)";
        registry.register("failover_held_clusters", help, failover_held_clusters.clone());
        let failover_held_placements = Family::<ByReason, Gauge>::default();
        let help = "Placements with a lost cluster that is not replaced, by why not";
        registry.register("failover_held_placements", help, failover_held_placements.clone());
        let failovers = Counter::default();
        registry.register(
            "failovers",
            "Lost clusters that a placement has left for others",
            failovers.clone(),
        );
        let orphans = Gauge::default();
        registry.register("orphans", "Objects in clusters that the hub does not know", orphans.clone());
        Self {
            registry,
            leading,
            accepted_clusters,
            connected_clusters,
            placements,
            reconciles,
            faults,
            writes,
            failover_held_clusters,
            failover_held_placements,
            failovers,
            orphans,
            objects,
        }
    }
}

/// 1 ms to 16 s: a reconcile is some API calls of a few ms, or one that ran into its timeout of 10 s.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    /// All metrics, with those of the link among them.
    #[must_use]
    pub fn new(link: &Counters) -> Self {
        Self { families: Arc::new(Families::new(link)) }
    }

    /// Whether this replica leads.
    pub fn set_leading(&self, leads: bool) {
        self.families.leading.set(leads.into());
    }

    /// Shows what these objects say of themselves from now on, the first thousand of each.
    pub fn show(&self, clusters: Store<GPUCluster>, placements: Store<NIMPlacement>) {
        self.families.objects.show(clusters, placements);
    }

    /// The number of sessions that are up.
    pub fn set_connected(&self, clusters: usize) {
        self.families.connected_clusters.set(i64::try_from(clusters).unwrap_or(i64::MAX));
    }

    /// A GPUCluster was accepted `before`, and is so `after`.
    pub fn acceptance(&self, before: bool, after: bool) {
        self.families.accepted_clusters.inc_by(i64::from(after) - i64::from(before));
    }

    /// A placement shows another reason than before; `None` is a placement not known before, or gone.
    pub fn placement_reason(&self, before: Option<&str>, after: Option<&str>) {
        Self::turn(&self.families.placements, before, after);
    }

    /// A placement holds a failover for another reason than before; `None` is no failover.
    pub fn failover_reason(&self, before: Option<&str>, after: Option<&str>) {
        Self::turn(&self.families.failover_held_placements, before, after);
    }

    /// So many clusters are held by the brake.
    pub fn set_failover_held(&self, clusters: usize) {
        self.families.failover_held_clusters.set(i64::try_from(clusters).unwrap_or(i64::MAX));
    }

    /// A placement has left so many lost clusters for others.
    pub fn failed_over(&self, clusters: usize) {
        self.families.failovers.inc_by(clusters as u64);
    }

    /// So many objects in all clusters are unknown to the hub.
    pub fn set_orphans(&self, objects: usize) {
        self.families.orphans.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    fn turn(family: &Family<ByReason, Gauge>, before: Option<&str>, after: Option<&str>) {
        if before == after {
            return;
        }
        let gauge = |reason: &str| family.get_or_create_owned(&ByReason { reason: reason.to_owned() });
        if let Some(before) = before {
            gauge(before).dec();
        }
        if let Some(after) = after {
            gauge(after).inc();
        }
    }

    /// A reconcile took this long.
    pub fn reconciled(&self, controller: &'static str, took: Duration) {
        self.families.reconciles.get_or_create(&ByController { controller }).observe(took.as_secs_f64());
    }

    /// A reconcile failed.
    pub fn fault(&self, controller: &'static str, fault: &'static str) {
        self.families.faults.get_or_create(&ByFault { controller, fault }).inc();
    }

    /// An object of the hub's cluster was written.
    pub fn wrote(&self) {
        self.families.writes.inc();
    }

    /// Everything in the text format of OpenMetrics.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        exposed(&self.families.registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placement_is_counted_under_one_reason() {
        let metrics = Metrics::new(&Counters::default());
        metrics.placement_reason(None, Some("NoFit"));
        metrics.placement_reason(Some("NoFit"), Some("Scheduled"));
        let text = metrics.encode().unwrap();
        assert!(text.contains("nimfleet_hub_placements{reason=\"NoFit\"} 0"), "{text}");
        assert!(text.contains("nimfleet_hub_placements{reason=\"Scheduled\"} 1"), "{text}");
        metrics.placement_reason(Some("Scheduled"), None);
        let text = metrics.encode().unwrap();
        assert!(text.contains("reason=\"Scheduled\"} 0"));
        assert!(text.contains("nimfleet_hub_panics_total 0"), "{text}");
    }
}
