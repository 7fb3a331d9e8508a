//! What would be decided at this moment, asked without deciding anything: nothing is claimed, reserved or remembered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crds::fleet::{DecisionSummary, NIMPlacement};
use hub_core::aggregate::assignments as rows_of;
use hub_core::explanation::{Explanation, explain};
use hub_core::fleet_state::FleetState;
use hub_core::objects::{Catalog, Supposed};
use hub_core::placement::plan::request;
use hub_core::placement::selection::{Claims, select};
use hub_scheduler::fleet::{Fleet, FleetEvent, PlacementKey};
use hub_scheduler::quota::{self, Quota};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::ObjectMeta;
use tokio::time::timeout;

use super::super::Hub;
use super::Book;
use super::report::{heard, links, view};
use crate::query::{Refusal, SimulationSpec, manifests};

/// How long a question waits for a turn on the placement to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// A placement in one cluster, as it is told.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) placement: PlacementKey,
    pub(crate) row: DecisionSummary,
    /// When the cluster was chosen, or began to be emptied.
    pub(crate) since: Timestamp,
    /// When the cluster was last heard in the life of this hub.
    pub(crate) last_heard: Option<Timestamp>,
}

/// Every placement in every cluster, of one namespace or of all, by name.
pub(crate) fn assignments(hub: &Hub, namespace: Option<&str>) -> Vec<Assignment> {
    let of = |placement: &NIMPlacement| {
        namespace.is_none_or(|name| placement.metadata.namespace.as_deref() == Some(name))
    };
    let mut keys: Vec<PlacementKey> =
        hub.stores.placements.state_filter(of).iter().map(|one| key(one)).collect();
    keys.sort();
    keys.iter().flat_map(|key| of_placement(hub, key)).collect()
}

fn of_placement(hub: &Hub, key: &PlacementKey) -> Vec<Assignment> {
    let Some(turn) = hub.desk(key).latest() else { return Vec::new() };
    let heard = heard(hub, &turn);
    let now = Timestamp::now();
    let links = links(hub, &turn, now);
    let view = view(&turn, &links, &heard, now);
    let last_heard = |cluster: &str| hub.live().sessions.get(cluster).map(|session| session.last_heard);
    let mut rows: Vec<Assignment> = rows_of(&view)
        .into_iter()
        .map(|row| Assignment {
            placement: key.clone(),
            since: turn.rows.placed.get(&row.cluster_name).map_or(view.now, |placed| placed.since),
            last_heard: last_heard(&row.cluster_name),
            row,
        })
        .collect();
    rows.extend(turn.rows.removing.iter().map(|(cluster, removing)| {
        let left: Vec<String> =
            removing.objects.iter().map(|one| format!("{} {}", one.kind, one.name)).collect();
        let row = DecisionSummary {
            cluster_name: cluster.clone(),
            state: Some("Removing".to_owned()),
            reason: Some(removing.reason.clone()),
            message: Some(format!("has yet to leave: {}", left.join(", "))),
            ..DecisionSummary::default()
        };
        Assignment { placement: key.clone(), since: removing.since, last_heard: last_heard(cluster), row }
    }));
    rows.sort_by(|a, b| a.row.cluster_name.cmp(&b.row.cluster_name));
    rows
}

/// What would be decided for a placement now, and why.
pub(crate) async fn explanation(hub: &Hub, key: &PlacementKey) -> Result<Explanation, Refusal> {
    let spec = SimulationSpec { placement_name: Some(key.name.clone()), ..SimulationSpec::default() };
    simulation(hub, &key.namespace, spec).await
}

/// What would be decided if things were as is supposed.
pub(crate) async fn simulation(
    hub: &Hub,
    namespace: &str,
    spec: SimulationSpec,
) -> Result<Explanation, Refusal> {
    let objects = manifests(&spec.manifests, namespace).map_err(Refusal::invalid)?;
    let catalog = Supposed {
        catalog: &hub.stores,
        objects: objects.into_iter().map(|(kind, one)| (kind, Arc::new(one))).collect(),
    };
    let stored = spec.placement_name.as_ref().map(|name| {
        let missing = || {
            Refusal::not_found(format!(
                "nimplacements.nimfleet.io {name:?} not found in namespace {namespace}"
            ))
        };
        hub.stores.placement(namespace, name).ok_or_else(missing)
    });
    let placement = match (stored.transpose()?, spec.placement) {
        (Some(stored), None) => stored,
        (Some(stored), Some(supposed)) => {
            Arc::new(NIMPlacement { spec: supposed, ..stored.as_ref().clone() })
        }
        (None, Some(supposed)) => {
            let metadata = ObjectMeta { namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
            Arc::new(NIMPlacement { metadata, spec: supposed, status: None })
        }
        (None, None) => {
            let message = "spec: give placementName, placement (a NIMPlacement's spec) or both".to_owned();
            return Err(Refusal::invalid(message));
        }
    };
    let key = key(&placement);
    let new = Arc::new(tokio::sync::Mutex::new(Book::default()));
    let book = if placement.metadata.uid.is_some() { hub.book(&key) } else { new };
    let busy =
        |_| Refusal::unavailable(format!("a turn on NIMPlacement {key} has not ended within 5 s; ask again"));
    let book = timeout(PATIENCE, book.lock()).await.map_err(busy)?;
    let selection = {
        let claims = &mut hub.live().claims;
        select(&catalog, &hub.namespace, &key, &placement, claims, Claims::Left)
    };
    let now = Timestamp::now();
    let (mut needs, mut policy) = (book.state.needs.clone(), book.state.policy.clone());
    let known = (&mut needs, &mut policy);
    let clusters = hub.live().fleet.shared();
    let rebalanced = book.state.rebalanced.as_deref();
    let mut request =
        request(&hub.limits, &selection, &book.state.assignments, known, rebalanced, &clusters, now)
            .map_err(|block| Refusal::invalid(format!("{}: {}", block.reason, block.message)))?;
    // Of every cluster, in full.
    request.told = usize::MAX;
    request.denied =
        book.state.denials.iter().map(|(cluster, denial)| (cluster.clone(), denial.denied.clone())).collect();
    let quotas: Vec<Quota> =
        hub.stores.quotas_of(namespace).iter().map(|quota| quota.as_ref().into()).collect();
    let mut live = hub.live();
    request.allowance = live.pace.allowance(&key, hub.limits.per_minute, now);
    let mut smaller = without(&live.fleet, &spec.without_clusters)?;
    let FleetState { fleet, charged, .. } = &mut *live;
    let fleet = smaller.as_mut().unwrap_or(fleet);
    match quota::decide(&mut request, fleet, &quotas, charged) {
        Ok((decision, _)) => Ok(explain(&decision, fleet, now)),
        Err(exceeded) => Err(Refusal::invalid(format!("QuotaExceeded: {exceeded}"))),
    }
}

/// The fleet without some of its clusters; none if it is to be whole.
fn without(fleet: &Fleet, names: &[String]) -> Result<Option<Fleet>, Refusal> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut smaller = fleet.clone();
    for name in names.iter().collect::<BTreeSet<_>>() {
        let Some(cluster) = fleet.cluster(name) else {
            return Err(Refusal::invalid(format!("spec.withoutClusters: no GPUCluster is named {name:?}")));
        };
        smaller.apply(FleetEvent::Left { cluster: cluster.name.clone() });
    }
    Ok(Some(smaller))
}

fn key(placement: &NIMPlacement) -> PlacementKey {
    PlacementKey { namespace: placement.namespace().unwrap_or_default(), name: placement.name_any() }
}
