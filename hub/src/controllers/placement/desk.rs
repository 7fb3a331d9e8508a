//! What a turn on a placement leaves to be told, and what has been told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crds::fleet::NIMPlacement;
use hub_core::objects::NIM_API_VERSION;
use hub_core::placement::assignments::Assignments;
use hub_core::placement::delivery::Sent;
use hub_core::placement::plan::Planned;
use hub_core::placement::selection::Selection;
use hub_scheduler::Decision;
use hub_scheduler::fleet::{ObjectRef, PlacementKey};
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::Value;

use super::super::Hub;

/// Where the turns on a placement and its reports meet: a report tells the latest turn, whenever it comes.
#[derive(Default)]
pub(crate) struct Desk {
    latest: Mutex<Option<Arc<Turn>>>,
    /// Held by whoever reports.
    pub(super) told: tokio::sync::Mutex<Told>,
}

/// What a turn has come to.
pub(in super::super) struct Turn {
    pub(super) key: PlacementKey,
    pub(super) placement: Arc<NIMPlacement>,
    /// What it runs.
    pub(super) objects: Vec<(ObjectRef, Arc<DynamicObject>)>,
    /// What it has taken and does not run any more: it is being deleted, or is no longer selected.
    pub(super) leaving: Vec<(ObjectRef, Arc<DynamicObject>)>,
    /// The Secrets that travel along.
    pub(super) secrets: Vec<ObjectRef>,
    pub(super) decision: Decision,
    pub(super) rows: Assignments,
    pub(super) sent: Sent,
}

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Status as written, by uid: the watch may still show what was there before.
    pub(super) statuses: HashMap<String, Value>,
    /// The reason that the placement is counted under.
    pub(super) reason: Option<String>,
    /// A warning waits until the placement is old enough for it.
    pub(super) waits: bool,
}

impl Desk {
    /// Puts down the latest turn.
    pub(super) fn put(&self, turn: Turn) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(turn));
    }

    /// The latest turn, if there was one.
    pub(in super::super) fn latest(&self) -> Option<Arc<Turn>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The placement is gone: there is nothing to tell any more.
    pub(super) async fn close(&self, hub: &Hub) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut told = self.told.lock().await;
        hub.metrics.placement_reason(told.reason.take().as_deref(), None);
    }
}

impl Turn {
    pub(super) fn new(selection: Selection, planned: Planned, sent: Sent) -> Self {
        let Selection { key, placement, selected, secrets, taken, .. } = selection;
        let secrets = secrets.into_iter().map(|listed| listed.object).collect();
        let objects: Vec<_> = selected.into_iter().map(|one| (one.object, one.stored)).collect();
        let is_run = |uid: &str| objects.iter().any(|(object, _)| object.uid == uid);
        let taken = taken.into_iter().filter_map(|(kind, stored)| {
            let uid = stored.uid().filter(|uid| !is_run(uid))?;
            let (api_version, kind) = (NIM_API_VERSION.to_owned(), kind.to_owned());
            let (namespace, name) = (key.namespace.clone(), stored.name_any());
            Some((ObjectRef { uid, api_version, kind, namespace, name }, stored))
        });
        let leaving = taken.collect();
        Self {
            key,
            placement,
            objects,
            leaving,
            secrets,
            decision: planned.decision,
            rows: planned.assignments,
            sent,
        }
    }

    /// Clusters that count, each with why it was chosen.
    pub(in super::super) fn placed(&self) -> Vec<(String, String)> {
        let counting = self.rows.placed.iter().filter(|(_, row)| !row.replaced);
        counting.map(|(cluster, row)| (cluster.clone(), row.reason.clone())).collect()
    }

    /// Whether the placement is being deleted.
    pub(super) fn is_leaving(&self) -> bool {
        self.placement.metadata.deletion_timestamp.is_some()
    }
}
