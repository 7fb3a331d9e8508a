//! Keeps the objects of SIG Multicluster as `standards` renders them, where the hub's API server knows their kinds.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use crds::compare::holds_as_written;
use crds::fleet::GPUCluster;
use hub_core::objects::Catalog;
use hub_core::standards::{API_VERSION, MANAGER, cluster_profile, placement_decisions, slice_name};
use hub_scheduler::fleet::{ClusterName, PlacementKey};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, Preconditions,
};
use kube::{Api, ResourceExt};
use runtime::{Broken, chain, panics::caught};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::Hub;
use super::failures;
use super::fault::{Fault, call};
use super::run::ending;

const FIELD_MANAGER: &str = "nimfleet-hub";
/// How often it is asked whether the kinds are there: one request.
const EVERY: Duration = Duration::from_mins(1);

/// What an output is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Cluster(ClusterName),
    Placement(PlacementKey),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "ClusterProfile of {name}"),
            Self::Placement(key) => write!(f, "PlacementDecision of {key}"),
        }
    }
}

/// What the API server is known to hold, by kind, namespace and name.
type Written = HashMap<(&'static str, String, String), Value>;

/// Works until it is stopped.
pub(super) async fn keep(hub: &Hub) {
    let (mut known, mut written) = (HashSet::new(), Written::new());
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => match kinds(hub).await {
                Ok(found) => {
                    if !found.is_subset(&known) {
                        all(hub);
                    }
                    written.retain(|(kind, ..), _| found.contains(kind));
                    known = found;
                }
                Err(error) => tracing::debug!(error = %chain(&error), "the kinds of SIG Multicluster could not be asked for"),
            },
            subject = hub.standards.take() => {
                let work = async {
                    match &subject {
                        Subject::Cluster(name) if known.contains("ClusterProfile") => profile(hub, name, &mut written).await,
                        Subject::Placement(key) if known.contains("PlacementDecision") => decisions(hub, key, &mut written).await,
                        _ => Ok(()),
                    }
                };
                let outcome = match caught(work).await {
                    Ok(outcome) => outcome,
                    Err(panic) => Err(Fault::Broken { what: subject.to_string(), broken: Broken::Panic(panic) }),
                };
                if let Err(fault) = &outcome {
                    hub.metrics.fault("standards", fault.category());
                    tracing::warn!(%subject, fault = fault.category(), error = chain(fault), "not written; trying again");
                }
                hub.conclude("standards", || failing(&subject), &outcome);
                hub.standards.done(&subject, ending(&outcome));
            }
        }
    }
}

/// The object on which a failure is told.
fn failing(subject: &Subject) -> failures::Subject {
    match subject {
        Subject::Cluster(name) => failures::Subject::Cluster(name.to_string()),
        Subject::Placement(key) => failures::Subject::Placement(key.clone()),
    }
}

/// Which of the kinds the API server has.
async fn kinds(hub: &Hub) -> Result<HashSet<&'static str>, kube::Error> {
    let served = match hub.client.list_api_group_resources(API_VERSION).await {
        Ok(list) => list.resources,
        Err(kube::Error::Api(status)) if status.code == 404 => Vec::new(),
        Err(error) => return Err(error),
    };
    let is_served = |kind: &&str| served.iter().any(|resource| resource.kind == *kind);
    Ok(["ClusterProfile", "PlacementDecision"].into_iter().filter(is_served).collect())
}

fn all(hub: &Hub) {
    for cluster in hub.stores.clusters.state() {
        if let Ok(name) = cluster.name_any().parse() {
            hub.standards.add(Subject::Cluster(name));
        }
    }
    for placement in hub.stores.placements.state() {
        let namespace = placement.namespace().unwrap_or_default();
        hub.standards.add(Subject::Placement(PlacementKey { namespace, name: placement.name_any() }));
    }
}

/// The profile of a cluster; with the GPUCluster, which owns it, it goes by itself.
async fn profile(hub: &Hub, name: &ClusterName, written: &mut Written) -> Result<(), Fault> {
    let Some(stored) = hub.stores.cluster(name.as_str()) else {
        written.retain(|(kind, _, of), _| *kind != "ClusterProfile" || of != name.as_str());
        return Ok(());
    };
    let status = super::cluster::status_as_written(hub, name, &stored);
    let Some((head, status)) = cluster_profile(&stored, &status, &hub.namespace) else { return Ok(()) };
    let place = ("ClusterProfile", hub.namespace.clone(), name.to_string());
    apply(hub, &place, head, Some(status), written).await
}

async fn decisions(hub: &Hub, key: &PlacementKey, written: &mut Written) -> Result<(), Fault> {
    let of_placement = |(kind, namespace, of): &(&'static str, String, String)| {
        *kind == "PlacementDecision"
            && *namespace == key.namespace
            && of
                .strip_prefix(key.name.as_str())
                .is_some_and(|rest| rest.starts_with(&format!("-{MANAGER}-")))
    };
    let Some(placement) = hub.stores.placement(&key.namespace, &key.name) else {
        written.retain(|place, _| !of_placement(place));
        return Ok(());
    };
    let Some(turn) = hub.desk(key).latest() else { return Ok(()) };
    let rows = turn.placed();
    let slices =
        placement_decisions(&placement, rows.iter().map(|(a, b)| (a.as_str(), b.as_str())), &hub.namespace);
    let count = slices.len();
    for (index, slice) in slices.into_iter().enumerate() {
        let place = ("PlacementDecision", key.namespace.clone(), slice_name(&key.name, index));
        apply(hub, &place, slice, None, written).await?;
    }
    // A shorter decision leaves slices behind: those that follow, one by one, as long as there are some of ours.
    for index in count.. {
        let name = slice_name(&key.name, index);
        let api = api(hub, "PlacementDecision", &key.namespace);
        let found = call(|| format!("PlacementDecision {name}"), api.get_opt(&name)).await?;
        let Some(found) = found.filter(is_ours) else { break };
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: found.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match call(|| format!("PlacementDecision {name}"), api.delete(&name, &params)).await {
            Err(fault) if !fault.is_gone() => return Err(fault),
            _ => hub.metrics.wrote(),
        }
        written.remove(&("PlacementDecision", key.namespace.clone(), name));
    }
    Ok(())
}

fn is_ours(object: &DynamicObject) -> bool {
    object.data["schedulerName"] == MANAGER
}

/// Writes an object where it differs from what is there.
async fn apply(
    hub: &Hub,
    place: &(&'static str, String, String),
    object: Value,
    status: Option<Value>,
    written: &mut Written,
) -> Result<(), Fault> {
    let (kind, namespace, name) = place;
    let whole = json!([object, status]);
    if written.get(place) == Some(&whole) {
        return Ok(());
    }
    let api = api(hub, kind, namespace);
    let what = || format!("{kind} {namespace}/{name}");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let found = call(what, api.get_opt(name)).await?;
    let found = found.and_then(|found| serde_json::to_value(found).ok()).unwrap_or_default();
    if !holds_as_written(&object, &found) {
        call(what, api.patch(name, &params, &Patch::Apply(&object))).await?;
        hub.metrics.wrote();
    }
    if let Some(status) = status
        && !holds_as_written(&status, &found["status"])
    {
        let mut patch = object.clone();
        if let Some(fields) = patch.as_object_mut() {
            fields.remove("spec");
            fields.insert("metadata".to_owned(), json!({"name": name, "namespace": namespace}));
            fields.insert("status".to_owned(), status);
        }
        call(what, api.patch_status(name, &params, &Patch::Apply(&patch))).await?;
        hub.metrics.wrote();
    }
    written.insert(place.clone(), whole);
    Ok(())
}

fn api(hub: &Hub, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    Api::namespaced_with(
        hub.client.clone(),
        namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
    )
}

impl Hub {
    /// Something of a cluster was written.
    pub(super) fn cluster_told(&self, cluster: &GPUCluster) {
        if let Ok(name) = cluster.name_any().parse()
            && self.standards_wanted
        {
            self.standards.add_soon(Subject::Cluster(name));
        }
    }

    /// A placement has had a turn.
    pub(super) fn placement_decided(&self, key: &PlacementKey) {
        if self.standards_wanted {
            self.standards.add_soon(Subject::Placement(key.clone()));
        }
    }
}
