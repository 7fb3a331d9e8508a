//! What is said of each object: its own status, and how many of its pods no node takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::waiting::{Service, Waiting};
use super::{ObjectStatus, Outbox, Unschedulable, fold};

/// Brings both together on their way to the outbox. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    outbox: Outbox,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    services: BTreeMap<Service, ObjectStatus>,
    /// NIMPipelines, by uid on the hub.
    pipelines: BTreeMap<String, ObjectStatus>,
    waiting: Waiting,
}

impl Board {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, known: Arc::default() }
    }

    /// An object's own status is news.
    pub(super) fn status(&self, status: ObjectStatus) {
        if status.object.kind == "NIMPipeline" {
            let mut known = self.lock();
            self.tell_pipeline(&known, &status);
            known.pipelines.insert(status.object.uid.clone(), status);
            return;
        }
        if status.object.kind != "NIMService" {
            return self.outbox.put(status);
        }
        let service = (status.object.namespace.clone(), status.object.name.clone());
        let mut known = self.lock();
        known.services.insert(service.clone(), status);
        self.tell(&known, &service);
    }

    /// An object is not delivered any more.
    pub(super) fn forget(&self, namespace: &str, name: &str, uid: &str) {
        self.outbox.forget(uid);
        let mut known = self.lock();
        known.pipelines.remove(uid);
        let service = (namespace.to_owned(), name.to_owned());
        if known.services.get(&service).is_some_and(|status| status.object.uid == uid) {
            known.services.remove(&service);
        }
    }

    /// Something about pods is news.
    pub(super) fn pods(&self, change: impl FnOnce(&mut Waiting) -> std::collections::BTreeSet<Service>) {
        let mut known = self.lock();
        for service in change(&mut known.waiting) {
            self.tell(&known, &service);
        }
    }

    fn tell(&self, known: &Known, service: &Service) {
        let makes = |pipeline: &&ObjectStatus| {
            pipeline.object.namespace == service.0 && pipeline.services.contains(&service.1)
        };
        for pipeline in known.pipelines.values().filter(makes) {
            self.tell_pipeline(known, pipeline);
        }
        let Some(status) = known.services.get(service) else { return };
        let lacks = status.wanted_replicas.saturating_sub(status.ready_replicas);
        let unschedulable = known.waiting.of(service, lacks).or_else(|| fold::not_created(status, lacks));
        self.outbox.put(ObjectStatus { unschedulable, ..status.clone() });
    }

    /// A pipeline waits for nodes as long as a service of it does and it is not ready.
    fn tell_pipeline(&self, known: &Known, pipeline: &ObjectStatus) {
        let waits = pipeline.services.iter().filter_map(|name| {
            let service = (pipeline.object.namespace.clone(), name.clone());
            let waits = known.waiting.of(&service, i32::MAX)?;
            Some(Unschedulable { message: format!("NIMService {name}: {}", waits.message), ..waits })
        });
        let together = |one: Unschedulable, other: Unschedulable| {
            let replicas = one.replicas.saturating_add(other.replicas);
            let first = if other.since_ms < one.since_ms { other } else { one };
            Unschedulable { replicas, ..first }
        };
        let unschedulable = waits.reduce(together).filter(|_| pipeline.state != "Ready");
        self.outbox.put(ObjectStatus { unschedulable, ..pipeline.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::deliver::ObjectRef;

    fn pipeline(state: &str) -> ObjectStatus {
        ObjectStatus {
            object: ObjectRef {
                uid: "p".to_owned(),
                api_version: "apps.nvidia.com/v1alpha1".to_owned(),
                kind: "NIMPipeline".to_owned(),
                namespace: "nim".to_owned(),
                name: "rag".to_owned(),
            },
            generation: 1,
            hash: "h".to_owned(),
            state: state.to_owned(),
            conditions: vec![],
            ready_replicas: 0,
            wanted_replicas: 0,
            observed_at_ms: 1,
            profiles: vec![],
            unschedulable: None,
            claim: String::new(),
            services: vec!["llm".to_owned(), "embed".to_owned()],
        }
    }

    fn waits(name: &str, app: &str) -> Pod {
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "nim", "uid": name, "labels": {"app": app}},
            "status": {"conditions": [condition]},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn a_pipeline_waits_for_nodes_with_its_services() {
        let outbox = Outbox::default();
        let board = Board::new(outbox.clone());
        board.status(pipeline("NotReady"));
        for (name, app) in [("a", "llm"), ("b", "llm"), ("c", "other")] {
            board.pods(|waiting| waiting.see(&waits(name, app)));
        }
        let told = outbox.take(9).await.remove(0).unschedulable.unwrap();
        assert_eq!((told.replicas, told.message.as_str()), (2, "NIMService llm: 0/3 nodes"));
        board.status(pipeline("Ready"));
        assert_eq!(
            outbox.take(9).await.remove(0).unschedulable,
            None,
            "what it waits for is more than it needs"
        );
        board.forget("nim", "rag", "p");
        board.pods(|waiting| waiting.see(&waits("d", "embed")));
        assert!(board.lock().pipelines.is_empty());
    }
}
