//! What GPUClusters and NIMPlacements say in their statuses, as series with their names. They are read when they are asked for, and by
//! the hub that leads alone.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::{Arc, OnceLock};

use crds::condition;
use crds::fleet::{GPUCluster, GPUPool, NIMPlacement};
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

/// Most objects of a kind that have series of their own, the first by name: a cluster has some twenty series, a placement six. Of others
/// `objects_left_out` tells the number.
const MOST: usize = 1000;

/// Most products of a cluster's GPUs that have series of their own, those with most GPUs.
const PRODUCTS: usize = 16;

/// Where the objects are, once the hub watches them.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects(Arc<OnceLock<Stores>>);

#[derive(Debug)]
struct Stores {
    clusters: Store<GPUCluster>,
    placements: Store<NIMPlacement>,
}

impl Objects {
    /// Shows what is in these stores from now on.
    pub(super) fn show(&self, clusters: Store<GPUCluster>, placements: Store<NIMPlacement>) {
        // A hub watches once in its life.
        self.0.get_or_init(|| Stores { clusters, placements });
    }
}

/// One gauge of several objects: labels and value of each.
type Series<'a, const LABELS: usize> = Vec<([(&'static str, &'a str); LABELS], i64)>;

fn gauge<const LABELS: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    series: &Series<'_, LABELS>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in series {
        ConstGauge::new(*value).encode(family.encode_family(labels)?)?;
    }
    Ok(())
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(Stores { clusters, placements }) = self.0.get() else { return Ok(()) };
        let (clusters, left_out) = first(clusters.state(), GPUCluster::name_any);
        of_clusters(&mut encoder, &clusters)?;
        let (placements, more) = first(placements.state(), |one| (one.namespace(), one.name_any()));
        of_placements(&mut encoder, &placements)?;
        let left_out = vec![([("kind", "GPUCluster")], left_out), ([("kind", "NIMPlacement")], more)];
        let help = "Objects without series of their own, since only the first thousand of a kind have them";
        gauge(&mut encoder, "objects_left_out", help, &left_out)
    }
}

/// The first by name, and how many others there are.
fn first<K, N: Ord>(mut all: Vec<Arc<K>>, name: impl Fn(&K) -> N) -> (Vec<Arc<K>>, i64) {
    all.sort_by_cached_key(|object| name(object));
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    (all, i64::try_from(more).unwrap_or(i64::MAX))
}

fn of_clusters(encoder: &mut DescriptorEncoder<'_>, clusters: &[Arc<GPUCluster>]) -> fmt::Result {
    let (mut conditions, mut seen, mut expiry) = (Series::new(), Series::new(), Series::new());
    let (mut models, mut allocatable, mut free) = (Series::new(), Series::new(), Series::new());
    for cluster in clusters {
        let (Some(name), Some(status)) = (cluster.metadata.name.as_deref(), &cluster.status) else {
            continue;
        };
        let of = ("cluster", name);
        for one in &status.conditions {
            conditions.push(([of, ("condition", one.type_.as_str()), ("status", one.status.as_str())], 1));
        }
        seen.extend(status.last_seen.as_ref().map(|time| ([of], time.0.as_second())));
        expiry.extend(status.certificate_expiry.as_ref().map(|time| ([of], time.0.as_second())));
        models.extend(status.models.map(|models| ([of], i64::from(models))));
        for (product, resource, [all, left]) in gpus(&status.gpus) {
            let labels = [of, ("product", product), ("resource", resource)];
            allocatable.push((labels, all));
            free.push((labels, left));
        }
    }
    let help = "Conditions of GPUClusters as they stand: 1 for the status that each has";
    gauge(encoder, "cluster_condition", help, &conditions)?;
    let help =
        "When the hub last heard of the agent, as its GPUCluster says, which is written every few minutes";
    gauge(encoder, "cluster_last_seen_timestamp_seconds", help, &seen)?;
    gauge(
        encoder,
        "cluster_certificate_expiry_timestamp_seconds",
        "When the agent's certificate ends",
        &expiry,
    )?;
    gauge(encoder, "cluster_models", "Models that the fleet has placed in the cluster", &models)?;
    gauge(
        encoder,
        "cluster_gpus_allocatable",
        "GPUs that the nodes of the cluster offer to pods",
        &allocatable,
    )?;
    gauge(encoder, "cluster_gpus_free", "GPUs of these that no bound pod has asked for", &free)
}

/// Product, resource, and how many are allocatable and free; of more products than [`PRODUCTS`] those with most GPUs.
fn gpus(pools: &[GPUPool]) -> Vec<(&str, &str, [i64; 2])> {
    let mut sums = BTreeMap::<(&str, &str), [i64; 2]>::new();
    for pool in pools {
        let [allocatable, free] = sums.entry((&pool.product, &pool.resource)).or_default();
        *allocatable += i64::from(pool.allocatable);
        *free += i64::from(pool.free);
    }
    let mut rows: Vec<_> =
        sums.into_iter().map(|((product, resource), sum)| (product, resource, sum)).collect();
    rows.sort_by_key(|(_, _, [allocatable, _])| std::cmp::Reverse(*allocatable));
    rows.truncate(PRODUCTS);
    rows
}

fn of_placements(encoder: &mut DescriptorEncoder<'_>, placements: &[Arc<NIMPlacement>]) -> fmt::Result {
    let (mut reasons, mut changed) = (Series::new(), Series::new());
    let (mut replicas, mut clusters) = (Series::new(), Series::new());
    for placement in placements {
        let (Some(namespace), Some(name)) =
            (placement.metadata.namespace.as_deref(), placement.metadata.name.as_deref())
        else {
            continue;
        };
        let Some(status) = &placement.status else { continue };
        let of = [("namespace", namespace), ("placement", name)];
        if let (Some(phase), Some(reason)) = (&status.phase, &status.reason) {
            reasons.push(([of[0], of[1], ("phase", phase.as_str()), ("reason", reason.as_str())], 1));
        }
        let ready = condition::find(&status.conditions, condition::READY);
        changed.extend(ready.map(|ready| (of, ready.last_transition_time.0.as_second())));
        for (tally, series) in [(status.replicas, &mut replicas), (status.clusters, &mut clusters)] {
            let Some(tally) = tally else { continue };
            series.push(([of[0], of[1], ("state", "ready")], i64::from(tally.ready)));
            series.push(([of[0], of[1], ("state", "wanted")], i64::from(tally.wanted)));
        }
    }
    let help = "Phase and reason of NIMPlacements as they stand: 1 for those that each has";
    gauge(encoder, "placement_phase", help, &reasons)?;
    let help = "When the condition Ready of the NIMPlacement last turned";
    gauge(encoder, "placement_ready_changed_timestamp_seconds", help, &changed)?;
    gauge(encoder, "placement_replicas", "Replicas over all clusters, ready and wanted", &replicas)?;
    gauge(encoder, "placement_clusters", "Clusters of the placement, ready and wanted", &clusters)
}

#[cfg(test)]
mod tests {
    use crds::fleet::{GPUClusterStatus, NIMPlacementStatus, Tally};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
    use kube::runtime::reflector::store;
    use kube::runtime::watcher::Event;
    use prometheus_client::registry::Registry;
    use runtime::admin::exposed;

    use super::*;

    fn condition(kind: &str, status: &str) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: "Because".into(),
            message: String::new(),
            last_transition_time: Time("1970-01-01T00:01:40Z".parse().unwrap()),
            observed_generation: None,
        }
    }

    fn cluster(name: &str, gpus: Vec<GPUPool>) -> GPUCluster {
        let mut cluster = GPUCluster::new(name, crds::fleet::GPUClusterSpec::default());
        cluster.status = Some(GPUClusterStatus {
            conditions: vec![condition("Ready", "True"), condition("DeletionHeld", "False")],
            certificate_expiry: Some(Time("1970-01-01T00:03:20Z".parse().unwrap())),
            models: Some(2),
            gpus,
            ..GPUClusterStatus::default()
        });
        cluster
    }

    fn pool(product: &str, memory: i64, allocatable: i32, free: i32) -> GPUPool {
        GPUPool {
            product: product.into(),
            resource: "nvidia.com/gpu".into(),
            memory_mib: Some(memory),
            allocatable,
            free,
            ..GPUPool::default()
        }
    }

    fn text(clusters: Vec<GPUCluster>, placements: Vec<NIMPlacement>) -> String {
        let (of_clusters, mut clusters_in) = store();
        let (of_placements, mut placements_in) = store();
        for one in clusters {
            clusters_in.apply_watcher_event(&Event::Apply(one));
        }
        for one in placements {
            placements_in.apply_watcher_event(&Event::Apply(one));
        }
        let objects = Objects::default();
        let mut registry = Registry::with_prefix("hub");
        registry.register_collector(Box::new(objects.clone()));
        assert_eq!(exposed(&registry).unwrap(), "# EOF\n", "nothing is watched yet");
        objects.show(of_clusters, of_placements);
        exposed(&registry).unwrap()
    }

    #[test]
    fn clusters_and_placements_have_series_of_their_own() {
        let gpus = vec![pool("H100", 81_559, 8, 3), pool("H100", 80_000, 4, 4), pool("L40S", 46_068, 16, 0)];
        let mut placement: NIMPlacement = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "llama", "namespace": "models"}, "spec": {"resourceSelectors": []},
        }))
        .unwrap();
        placement.status = Some(NIMPlacementStatus {
            phase: Some("Pending".into()),
            reason: Some("NoGPU".into()),
            conditions: vec![condition("Ready", "False")],
            replicas: Some(Tally { ready: 1, wanted: 3 }),
            ..NIMPlacementStatus::default()
        });
        let text = text(vec![cluster("east", gpus)], vec![placement]);
        for line in [
            "hub_cluster_condition{cluster=\"east\",condition=\"Ready\",status=\"True\"} 1",
            "hub_cluster_condition{cluster=\"east\",condition=\"DeletionHeld\",status=\"False\"} 1",
            "hub_cluster_certificate_expiry_timestamp_seconds{cluster=\"east\"} 200",
            "hub_cluster_models{cluster=\"east\"} 2",
            "hub_cluster_gpus_allocatable{cluster=\"east\",product=\"H100\",resource=\"nvidia.com/gpu\"} 12",
            "hub_cluster_gpus_free{cluster=\"east\",product=\"H100\",resource=\"nvidia.com/gpu\"} 7",
            "hub_cluster_gpus_free{cluster=\"east\",product=\"L40S\",resource=\"nvidia.com/gpu\"} 0",
            "hub_placement_phase{namespace=\"models\",placement=\"llama\",phase=\"Pending\",reason=\"NoGPU\"} 1",
            "hub_placement_ready_changed_timestamp_seconds{namespace=\"models\",placement=\"llama\"} 100",
            "hub_placement_replicas{namespace=\"models\",placement=\"llama\",state=\"ready\"} 1",
            "hub_placement_replicas{namespace=\"models\",placement=\"llama\",state=\"wanted\"} 3",
            "hub_objects_left_out{kind=\"GPUCluster\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("last_seen_timestamp_seconds{"), "what is not known is not shown: {text}");
    }

    #[test]
    fn the_number_of_series_has_a_bound() {
        let many = (0..MOST + 3).map(|number| cluster(&format!("c{number:05}"), Vec::new()));
        let products = (0..40).map(|number| pool(&format!("P{number:02}"), 1, number, 0)).collect();
        let text = text(many.chain([cluster("a", products)]).collect(), Vec::new());
        assert!(text.contains("hub_objects_left_out{kind=\"GPUCluster\"} 4"), "{text}");
        let of = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        assert_eq!(of("hub_cluster_models{"), MOST);
        assert_eq!(of("hub_cluster_gpus_free{"), PRODUCTS);
        assert!(text.contains("product=\"P39\"") && !text.contains("product=\"P01\""), "{text}");
    }
}
