//! Overrides of a placement: JSON patches for some of its clusters.

use crds::fleet::ClusterOverride;
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use super::ResolveError;
use crate::fleet::{Cluster, PlacementKey, Selector};

/// One override. A patch that begins with `test` operations concerns only objects that pass them all: so one
/// placement of a NIMService and a NIMCache can change either (`test /kind`).
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    clusters: Vec<String>,
    selector: Option<Selector>,
    patch: Vec<PatchOperation>,
}

/// An operation that failed.
pub(super) struct Failed {
    pub(super) operation: usize,
    pub(super) path: String,
    pub(super) reason: String,
}

/// Reads the overrides of a placement.
pub fn read(placement: &PlacementKey, overrides: &[ClusterOverride]) -> Result<Vec<Override>, ResolveError> {
    overrides.iter().enumerate().map(|(index, one)| read_one(placement, index, one)).collect()
}

fn read_one(placement: &PlacementKey, index: usize, one: &ClusterOverride) -> Result<Override, ResolveError> {
    let selector = one.cluster_selector.as_ref().map(Selector::try_from).transpose();
    let selector =
        selector.map_err(|reason| ResolveError::Selector { placement: placement.clone(), index, reason })?;
    let operation = |(operation, stored)| {
        let failed = |error: serde_json::Error| ResolveError::Operation {
            placement: placement.clone(),
            index,
            operation,
            reason: error.to_string(),
        };
        let mut json = serde_json::to_value(stored).map_err(failed)?;
        // RFC 6902 wants a value, which JSON in Kubernetes loses where it is null.
        if let Some(members) = json.as_object_mut() {
            members.entry("value").or_insert(Value::Null);
        }
        serde_json::from_value(json).map_err(failed)
    };
    let patch = one.json_patch.iter().enumerate().map(operation).collect::<Result<_, _>>()?;
    Ok(Override { clusters: one.cluster_names.clone(), selector, patch })
}

impl Override {
    /// Whether it is for that cluster: named, or selected by its labels.
    #[must_use]
    pub fn concerns(&self, cluster: &Cluster) -> bool {
        self.clusters.iter().any(|name| name == cluster.name.as_str())
            || self.selector.as_ref().is_some_and(|selector| selector.matches(&cluster.labels))
    }

    /// Applies all operations, or none where a leading test does not hold.
    pub(super) fn apply(&self, object: &mut Value) -> Result<(), Failed> {
        let holds = |operation: &PatchOperation| {
            json_patch::patch(&mut object.clone(), &Patch(vec![operation.clone()])).is_ok()
        };
        let tests = self.patch.iter().take_while(|operation| matches!(operation, PatchOperation::Test(_)));
        if !tests.clone().all(holds) {
            return Ok(());
        }
        json_patch::patch(object, &Patch(self.patch.clone())).map_err(|error| Failed {
            operation: error.operation,
            path: error.path.to_string(),
            reason: error.kind.to_string(),
        })
    }
}
