//! Conditions of a GPUCluster.

use crds::condition::{self, Finding, Truth, Unready};
use crds::fleet::{GPUClusterSpec, GPUClusterStatus, GPUPool, Taint};
use crds::marks::{CONFIRM_FAILOVER_ANNOTATION, CONFIRM_ORPHAN_REMOVAL_ANNOTATION};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{
    Reason,
    placement::{FAILOVER_HELD, first_of},
};
use crate::failover::Held;
use crate::fleet::{Cluster, Excesses, Link, ObjectRef, Role, Unlabelled};
use crate::scheduler;

/// Most products, and most taints, that a column names.
const SUMMED: usize = 4;
/// Most objects that a message names.
const NAMED: usize = 10;

/// `Accepted`, `Connected`, `CapacityFresh` and `AgentUpToDate` of a cluster. `stored` are its conditions,
/// for their times.
#[must_use]
pub fn cluster_conditions(
    cluster: &Cluster,
    hub_version: &str,
    generation: Option<i64>,
    stored: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = stored.to_vec();
    for finding in [
        accepted(cluster),
        connected(cluster),
        capacity_fresh(cluster, now),
        agent_up_to_date(cluster, hub_version),
    ] {
        condition::set(&mut conditions, finding, generation, now);
    }
    conditions
}

/// `IsHub`, of the hub's own cluster: nothing is placed there.
#[must_use]
pub fn is_hub(role: Role, stored: &[Condition]) -> Option<Finding<'static>> {
    const KIND: &str = "IsHub";
    if role == Role::Hub {
        let message = "this is the hub's own cluster: its NIM objects say what the fleet shall run, so none is placed here. \
                       Uninstall the agent here, or run the hub in a cluster of its own";
        return Some(Finding::new(KIND, true, Reason::IsHub.as_str(), message));
    }
    let over = || Finding::new(KIND, false, Reason::AsExpected.as_str(), "this is not the hub's own cluster");
    condition::find(stored, KIND).map(|_| over())
}

/// `Ready`: whether placements may come, as the other conditions say.
#[must_use]
pub fn cluster_ready(conditions: &[Condition]) -> Finding<'static> {
    const KIND: &str = "Ready";
    let against = |condition: &Condition, truth| {
        let reason = Reason::of_cluster(&condition.reason).as_str();
        Some(Finding::new(KIND, truth, reason, condition.message.clone()))
    };
    let is_not = |kind: &str| {
        let condition = condition::find(conditions, kind)?;
        let truth = condition::truth(conditions, kind);
        if truth == Truth::True { None } else { against(condition, truth) }
    };
    let hub = || {
        let is_hub = condition::find(conditions, "IsHub").filter(|_| condition::is_true(conditions, "IsHub"));
        is_hub.and_then(|condition| against(condition, Truth::False))
    };
    let found = is_not("Accepted").or_else(hub).or_else(|| is_not("Connected"));
    found.or_else(|| is_not("CapacityFresh")).unwrap_or_else(|| {
        Finding::new(KIND, true, Reason::Ready.as_str(), "accepted and connected, and it reports what it has")
    })
}

/// Why a cluster is not Ready: one that nobody accepts, that is the hub's own, or whose certificate is revoked stays so; an agent connects
/// and reports by itself.
#[must_use]
pub fn cluster_unready(conditions: &[Condition]) -> Unready {
    let is_revoked = condition::find(conditions, "CertificateValid")
        .is_some_and(|valid| valid.reason == Reason::CertificateRevoked.as_str());
    if condition::is_true(conditions, "Accepted") && !condition::is_true(conditions, "IsHub") && !is_revoked {
        Unready::Reconciling
    } else {
        Unready::Stalled
    }
}

/// Writes the columns that say what a cluster has and what keeps placements away; so many deletions wait to be confirmed.
pub fn write_summaries(status: &mut GPUClusterStatus, spec: &GPUClusterSpec, deletions: usize) {
    let products: Vec<String> = status.gpus.iter().map(product).collect();
    status.products_summary = (!products.is_empty()).then(|| first_of(&products, SUMMED, ", "));
    let taint = |taint: &Taint| {
        let value = taint.value.as_deref().filter(|value| !value.is_empty());
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        format!("{}{value}:{:?}", taint.key, taint.effect)
    };
    let drain = spec.drain.then(|| "drain".to_owned());
    let taints: Vec<String> = drain.into_iter().chain(spec.taints.iter().map(taint)).collect();
    status.taints_summary = (!taints.is_empty()).then(|| first_of(&taints, SUMMED, ", "));
    let failover = condition::is_true(&status.conditions, FAILOVER_HELD).then(|| "failover".to_owned());
    let deletions = match deletions {
        0 => None,
        1 => Some("1 deletion".to_owned()),
        more => Some(format!("{more} deletions")),
    };
    let held: Vec<String> = deletions.into_iter().chain(failover).collect();
    status.held_summary = (!held.is_empty()).then(|| held.join(", "));
}

/// `16x NVIDIA-H100-80GB-HBM3 80Gi`; the resource where it is not the usual one.
fn product(pool: &GPUPool) -> String {
    let memory = pool.memory_mib.filter(|mib| *mib > 0);
    let memory = memory.map(|mib| format!(" {}Gi", mib.saturating_add(512) / 1024)).unwrap_or_default();
    let resource = match pool.resource.strip_prefix("nvidia.com/") {
        Some("gpu") => String::new(),
        Some(slice) => format!(" ({slice})"),
        None => format!(" ({})", pool.resource),
    };
    let product = if pool.product.is_empty() { "GPU" } else { &pool.product };
    format!("{}x {product}{memory}{resource}", pool.allocatable)
}

/// What is told of a cluster only while there is something to tell, and once more when that is over: `FailoverHeld` and
/// `Orphans`.
#[must_use]
pub fn cluster_troubles(
    held: Option<Held>,
    name: &str,
    orphans: &[ObjectRef],
    stored: &[Condition],
) -> Vec<Finding<'static>> {
    let over = |kind: &'static str, message: &str| {
        condition::find(stored, kind).map(|_| Finding::new(kind, false, Reason::AsExpected.as_str(), message))
    };
    let held = match held {
        Some(held) => Some(Finding::new(
            FAILOVER_HELD,
            true,
            scheduler::Reason::ManyClustersLost.as_str(),
            format!(
                "{held}: a fault of the hub or of its network is likely, so nothing fails over until they are back; if \
                 this cluster is really lost: kubectl annotate gpucluster {name} {CONFIRM_FAILOVER_ANNOTATION}=true"
            ),
        )),
        None => over(FAILOVER_HELD, "no failover is held any more: it did not vanish with too many others"),
    };
    let orphans = match orphans.len() {
        0 => over("Orphans", "holds nothing of this hub that the hub does not know"),
        count => {
            // In their order, whatever order they were found in: the same orphans are the same words.
            let mut names: Vec<_> = orphans.iter().map(ToString::to_string).collect();
            names.sort_unstable();
            names.truncate(NAMED);
            let more = if count > NAMED { ", …" } else { "" };
            Some(Finding::new(
                "Orphans",
                true,
                Reason::UnknownToHub.as_str(),
                format!(
                    "{count} objects of this hub that the hub does not know run on, untouched: {}{more}; apply their \
                     manifests and placements again to adopt them, or have them deleted: kubectl annotate gpucluster \
                     {name} {CONFIRM_ORPHAN_REMOVAL_ANNOTATION}={count}",
                    names.join(", ")
                ),
            ))
        }
    };
    held.into_iter().chain(orphans).collect()
}

/// `ReportTruncated`: of what the agent reports more than the hub keeps. A cluster in which it was never true does not have it.
#[must_use]
pub fn report_truncated(excess: Option<&Excesses>, stored: &[Condition]) -> Option<Finding<'static>> {
    const KIND: &str = "ReportTruncated";
    let parts: Vec<String> = excess.into_iter().flat_map(Excesses::iter).map(ToString::to_string).collect();
    if parts.is_empty() {
        let over =
            || Finding::new(KIND, false, Reason::AsExpected.as_str(), "all that the agent reports is kept");
        return condition::find(stored, KIND).map(|_| over());
    }
    let message = format!(
        "the agent reports more than the hub keeps of one cluster: {} are kept; by the rest nothing is placed. No agent \
         that ships reports so much: look at what runs under this cluster's identity, and revoke it if it is not yours",
        parts.join(", ")
    );
    Some(Finding::new(KIND, true, Reason::ReportOverBudget.as_str(), message))
}

/// `GPUsLabelled`: whether labels say what the GPUs of all nodes are. A cluster in which it was never false does not have it.
#[must_use]
pub fn gpus_labelled(unlabelled: &Unlabelled, stored: &[Condition]) -> Option<Finding<'static>> {
    const KIND: &str = "GPUsLabelled";
    let Unlabelled { nodes, names } = unlabelled;
    if *nodes == 0 {
        let message = "every node with GPUs has a label that names its product";
        let over = || Finding::new(KIND, true, Reason::AsExpected.as_str(), message);
        return condition::find(stored, KIND).map(|_| over());
    }
    let more = if usize::try_from(*nodes).is_ok_and(|nodes| nodes > names.len()) { ", …" } else { "" };
    let has = if *nodes == 1 { "node with GPUs has" } else { "nodes with GPUs have" };
    let message = format!(
        "{nodes} {has} no label nvidia.com/gpu.product, nor one of the cloud that names a product: {}{more}; placements with \
         spec.gpu, and caches for a product, do not go there: run GPU feature discovery, as the NVIDIA GPU Operator and \
         gfd.enabled of the device plugin's chart do",
        names.join(", ")
    );
    Some(Finding::new(KIND, false, Reason::NoProductLabel.as_str(), message))
}

/// `Drained`, of a cluster that is to be emptied or was: which placements have yet to leave it, of `names`.
#[must_use]
pub fn drained(cluster: &Cluster, left: &[String], stored: &[Condition]) -> Option<Finding<'static>> {
    const KIND: &str = "Drained";
    if !cluster.drain {
        let over = || Finding::new(KIND, false, Reason::AsExpected.as_str(), "spec.drain is not set");
        return condition::find(stored, KIND).map(|_| over());
    }
    if left.is_empty() {
        return Some(Finding::new(KIND, true, Reason::Drained.as_str(), "no placement runs here any more"));
    }
    let names: Vec<&str> = left.iter().take(NAMED).map(String::as_str).collect();
    let more = if left.len() > NAMED { ", …" } else { "" };
    let placements = if left.len() == 1 { "placement has" } else { "placements have" };
    let message = format!(
        "{} {placements} yet to leave: {}{more}; each stays until another cluster runs it",
        left.len(),
        names.join(", ")
    );
    Some(Finding::new(KIND, false, Reason::Draining.as_str(), message))
}

fn accepted(cluster: &Cluster) -> Finding<'static> {
    if cluster.accepted {
        return Finding::new("Accepted", true, Reason::Accepted.as_str(), "spec.accepted is true");
    }
    Finding::new(
        "Accepted",
        false,
        Reason::NotAccepted.as_str(),
        "set spec.accepted to true to let the cluster take part",
    )
}

fn connected(cluster: &Cluster) -> Finding<'static> {
    match cluster.link {
        Link::Connected => Finding::new("Connected", true, Reason::Connected.as_str(), "a session is up"),
        Link::Unreachable { since } => Finding::new(
            "Connected",
            Truth::Unknown,
            Reason::Unreachable.as_str(),
            format!("silent since {since:.0}"),
        ),
        Link::Never => {
            let message = "no spoke has joined under this name: see nimfleet-hub join-command";
            Finding::new("Connected", false, Reason::NeverConnected.as_str(), message)
        }
    }
}

fn capacity_fresh(cluster: &Cluster, now: Timestamp) -> Finding<'static> {
    let Some(capacity) = &cluster.capacity else {
        if let Link::Unreachable { since } = cluster.link {
            let message =
                format!("silent since {since:.0}, and this hub has had no capacity report since it leads");
            return Finding::new("CapacityFresh", Truth::Unknown, Reason::Unreachable.as_str(), message);
        }
        return Finding::new("CapacityFresh", false, Reason::NoReport.as_str(), "no capacity report yet");
    };
    let at = capacity.received_at;
    match cluster.link {
        _ if capacity.is_stale(now) => {
            let message = format!("the last capacity report came at {at:.0}");
            Finding::new("CapacityFresh", false, Reason::ReportStale.as_str(), message)
        }
        Link::Connected => Finding::new(
            "CapacityFresh",
            true,
            Reason::ReportFresh.as_str(),
            "capacity is reported as it changes",
        ),
        _ => {
            let message = format!("silent; the last capacity report came at {at:.0}");
            Finding::new("CapacityFresh", Truth::Unknown, Reason::Unreachable.as_str(), message)
        }
    }
}

fn agent_up_to_date(cluster: &Cluster, hub_version: &str) -> Finding<'static> {
    let kind = "AgentUpToDate";
    match cluster.agent.as_ref().map(|agent| agent.version.as_str()) {
        None => match cluster.link {
            Link::Unreachable { since } => {
                let message =
                    format!("silent since {since:.0}, and it has not connected since this hub leads");
                Finding::new(kind, Truth::Unknown, Reason::Unreachable.as_str(), message)
            }
            _ => Finding::new(
                kind,
                Truth::Unknown,
                Reason::NeverConnected.as_str(),
                "the agent has not connected",
            ),
        },
        Some(version) if version == hub_version => {
            Finding::new(kind, true, Reason::SameVersion.as_str(), format!("agent and hub are {hub_version}"))
        }
        Some(version) => {
            let message = format!("the agent is {version}, the hub is {hub_version}: upgrade the older one");
            Finding::new(kind, false, Reason::OtherVersion.as_str(), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Excess;

    fn service(name: &str) -> ObjectRef {
        ObjectRef {
            uid: name.to_owned(),
            api_version: "apps.nvidia.com/v1alpha1".to_owned(),
            kind: "NIMService".to_owned(),
            namespace: "nim".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_is_reported_in_excess_is_told_with_numbers_until_it_is_over() {
        assert_eq!(report_truncated(None, &[]), None);
        let mut excess = Excesses::default();
        let more = |what, reported, kept| Excess { what, reported, kept };
        excess.add(more("storage classes", 5000, 1024), Timestamp::UNIX_EPOCH);
        excess.add(more("GPU products", 10_000, 256), Timestamp::UNIX_EPOCH);
        let finding = report_truncated(Some(&excess), &[]).unwrap();
        assert_eq!((finding.truth, finding.reason), (Truth::True, "ReportOverBudget"));
        let numbers = "256 of 10000 GPU products, 1024 of 5000 storage classes are kept";
        assert!(finding.message.contains(numbers), "{}", finding.message);
        let mut stored = Vec::new();
        condition::set(&mut stored, finding, None, Timestamp::UNIX_EPOCH);
        let over = report_truncated(Some(&Excesses::default()), &stored).unwrap();
        assert_eq!((over.truth, over.reason), (Truth::False, "AsExpected"));
    }

    #[test]
    fn nodes_without_a_product_are_named_until_they_have_one() {
        assert_eq!(gpus_labelled(&Unlabelled::default(), &[]), None);
        let unlabelled = Unlabelled { nodes: 12, names: vec!["gpu-0".into(), "gpu-1".into()] };
        let finding = gpus_labelled(&unlabelled, &[]).unwrap();
        assert_eq!((finding.truth, finding.reason), (Truth::False, "NoProductLabel"));
        let words = "12 nodes with GPUs have no label nvidia.com/gpu.product";
        assert!(
            finding.message.contains(words) && finding.message.contains("gpu-0, gpu-1, …"),
            "{}",
            finding.message
        );
        let mut stored = Vec::new();
        condition::set(&mut stored, finding, None, Timestamp::UNIX_EPOCH);
        let over = gpus_labelled(&Unlabelled::default(), &stored).unwrap();
        assert_eq!((over.truth, over.reason), (Truth::True, "AsExpected"));
    }

    #[test]
    fn the_same_orphans_are_the_same_words_in_whatever_order_they_come() {
        let words = |orphans: &[ObjectRef]| cluster_troubles(None, "east", orphans, &[]).remove(0).message;
        let sorted = words(&[service("a"), service("b")]);
        assert!(sorted.contains("NIMService nim/a, NIMService nim/b"), "{sorted}");
        assert_eq!(words(&[service("b"), service("a")]), sorted);
    }
}
