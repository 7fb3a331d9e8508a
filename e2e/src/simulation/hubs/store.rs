//! What a hub keeps in its API server: intent, decisions, hub ID and term. A backup is a copy of it.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::epoch::Epoch;
use hub_core::identity::EpochKey;
use hub_core::placement::assignments::Assignments;
use hub_scheduler::Policy;
use hub_scheduler::fleet::{ObjectRef, PlacementKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One NIM object.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Object {
    pub(in crate::simulation) identity: ObjectRef,
    pub(in crate::simulation) generation: i64,
    pub(in crate::simulation) json: Value,
    /// It is being deleted, and waits until it has left every cluster.
    pub(in crate::simulation) leaving: bool,
}

/// One NIMPlacement.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Placement {
    pub(in crate::simulation) policy: Policy,
    pub(in crate::simulation) selected: BTreeSet<String>,
    /// It is being deleted, and waits until nothing of it is anywhere.
    pub(in crate::simulation) leaving: bool,
}

/// All that is persisted.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Store {
    pub(in crate::simulation) epoch: Epoch,
    /// Proves epochs. A backup has it too.
    pub(in crate::simulation) epoch_key: EpochKey,
    /// By uid.
    pub(in crate::simulation) objects: BTreeMap<String, Object>,
    /// By name.
    pub(in crate::simulation) placements: BTreeMap<String, Placement>,
    /// By name of the placement.
    pub(in crate::simulation) rows: BTreeMap<String, Assignments>,
    /// GPUClusters that are accepted.
    pub(in crate::simulation) clusters: BTreeSet<String>,
}

impl Store {
    /// A hub that nothing has been asked of.
    pub(in crate::simulation) fn new(hub_id: String, clusters: BTreeSet<String>) -> Self {
        Self {
            epoch_key: EpochKey::new(Sha256::digest(&hub_id).into()),
            epoch: Epoch { hub_id, term: 0, incarnation: String::new() },
            objects: BTreeMap::new(),
            placements: BTreeMap::new(),
            rows: BTreeMap::new(),
            clusters,
        }
    }

    pub(in crate::simulation) fn rows(&self, placement: &str) -> Assignments {
        self.rows.get(placement).cloned().unwrap_or_default()
    }
}

/// The identity of a placement.
pub(in crate::simulation) fn key(placement: &str) -> PlacementKey {
    PlacementKey { namespace: super::NAMESPACE.to_owned(), name: placement.to_owned() }
}
