//! Pods of services that are not ready, by the object that they serve: what keeps them from starting, and since when they
//! are on their way. Pods that are ready are not kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use jiff::Timestamp;
use kube::core::{ApiResource, DynamicObject, Resource};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use runtime::panics;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{IMAGE, Purpose, hindrance, moment};
use crate::operator::engine::child::MANAGED_BY;
use crate::operator::engine::kind::Failure;
use crate::operator::engine::wake::Waker;

/// Label that names the object whose pod it is, and the one that tells its kind.
const INSTANCE: &str = "app.kubernetes.io/instance";
const PART_OF: &str = "app.kubernetes.io/part-of";
/// Label by which workloads select their pods.
const APP: &str = "app";
/// What the name of a service's endpoint picker ends with: it is no replica of the service.
const PICKER: &str = "-epp";

/// One object: kind, namespace and name.
type Of = (&'static str, String, String);

/// The kinds of objects that serve, by what their pods are labelled as part of.
pub(crate) type Kinds = &'static [(&'static str, &'static str)];

/// A pod that is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StartingPod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) created: Option<Timestamp>,
    /// Since when its containers run; none while they do not.
    pub(crate) running_since: Option<Timestamp>,
    /// What keeps it from starting; none of one that is merely on its way.
    pub(crate) hindrance: Option<Failure>,
    /// It has a node, or ought to have one, and no container of it has been started yet.
    pub(crate) is_being_made: bool,
    /// Name of the scheduler that is to find a node for it; none once it has one.
    pub(crate) awaits_scheduler: Option<String>,
    /// It has ended, and another one takes its place.
    pub(crate) has_failed: bool,
    /// It is about to go, by this moment; it frees what it holds of its node.
    pub(crate) leaves_by: Option<Timestamp>,
    /// Claims that it mounts.
    pub(crate) claims: Vec<String>,
}

/// Pods and whose they are, by uid.
type Rows = BTreeMap<String, (Of, StartingPod)>;

/// The pods of all services that are not ready. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Pods {
    rows: Arc<Mutex<Rows>>,
    /// Cancelled once all pods have been seen.
    pub(crate) filled: CancellationToken,
}

impl Pods {
    /// An empty store, and what fills it.
    pub(crate) fn new(kinds: Kinds, waker: Waker) -> (Self, Filler) {
        let pods = Self::default();
        (pods.clone(), Filler { pods, kinds, waker })
    }

    /// Pods of one object that are not ready, the oldest first.
    pub(crate) fn of(&self, kind: &str, namespace: &str, name: &str) -> Vec<StartingPod> {
        let rows = self.lock();
        let is_its = |of: &Of| of.0 == kind && of.1 == namespace && of.2 == name;
        let mut found: Vec<_> =
            rows.values().filter(|(of, _)| is_its(of)).map(|(_, pod)| pod.clone()).collect();
        found.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        found
    }

    /// A panic elsewhere does not make the map wrong.
    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches pods of services.
pub(crate) struct Filler {
    pods: Pods,
    kinds: Kinds,
    waker: Waker,
}

impl Filler {
    /// Watches for ever.
    pub(crate) async fn observe(self, client: Client) {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        let (key, value) = MANAGED_BY;
        // Pods of downloads are in a cache of their own.
        let config = Config::default().labels(&format!("{key}={value},{APP}!={value}"));
        let mut events = runtime::watch::events(api, config, "pods of services").boxed();
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            let take = || match &event {
                Event::Init => listed.clear(),
                Event::InitApply(pod) => {
                    listed.extend(pod.metadata.uid.clone());
                    self.see(pod);
                }
                Event::InitDone => {
                    self.retain(&listed);
                    self.pods.filled.cancel();
                }
                Event::Apply(pod) => self.see(pod),
                Event::Delete(pod) => self.forget(pod.metadata.uid.as_deref().unwrap_or_default()),
            };
            if let Err(panic) = panics::caught_call(take) {
                tracing::error!(%panic, "what a pod says could not be taken in");
            }
        }
    }

    /// Takes a pod in, and wakes its object if that is news.
    pub(super) fn see(&self, pod: &DynamicObject) {
        let uid = pod.meta().uid.clone().unwrap_or_default();
        let Some(of) = self.owner(pod) else { return self.forget(&uid) };
        let Some(mut starting) = starting(pod) else { return self.forget(&uid) };
        let mut rows = self.pods.lock();
        let known = rows.get(&uid).map(|(_, pod)| pod);
        // The kubelet says in turn that it waits and that it has failed: the first word for both stays.
        let is_of_image = |why: &Failure| why.reason == IMAGE;
        if let Some(before) = known.and_then(|pod| pod.hindrance.as_ref()).filter(|why| is_of_image(why))
            && before.message.starts_with(IMAGE)
            && let Some(now) = starting.hindrance.as_mut().filter(|why| is_of_image(why))
        {
            before.message.clone_into(&mut now.message);
        }
        let is_news = known != Some(&starting);
        rows.insert(uid, (of.clone(), starting));
        drop(rows);
        if is_news {
            self.waker.wake(of.0, &of.1, &of.2);
        }
    }

    fn forget(&self, uid: &str) {
        let gone = self.pods.lock().remove(uid);
        if let Some(((kind, namespace, name), _)) = gone {
            self.waker.wake(kind, &namespace, &name);
        }
    }

    /// Keeps only pods that a new list holds.
    fn retain(&self, listed: &BTreeSet<String>) {
        let gone: Vec<String> =
            self.pods.lock().keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        for uid in gone {
            self.forget(&uid);
        }
    }

    /// The object whose replica the pod is.
    fn owner(&self, pod: &DynamicObject) -> Option<Of> {
        let labels = pod.metadata.labels.as_ref()?;
        let part_of = labels.get(PART_OF)?;
        let (_, kind) = self.kinds.iter().find(|(part, _)| part == part_of)?;
        let name = labels.get(INSTANCE)?;
        if labels.get(APP).is_some_and(|app| *app == format!("{name}{PICKER}")) {
            return None;
        }
        Some((kind, pod.metadata.namespace.clone()?, name.clone()))
    }
}

/// What is kept of a pod; nothing of one that is ready or has ended well.
fn starting(pod: &DynamicObject) -> Option<StartingPod> {
    let (meta, status, spec) = (&pod.metadata, &pod.data["status"], &pod.data["spec"]);
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ready = conditions.iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
    let leaves_by = meta.deletion_timestamp.as_ref().map(|time| time.0);
    if is_ready && leaves_by.is_none() || status["phase"] == "Succeeded" {
        return None;
    }
    let whole = json!({"metadata": {"labels": meta.labels}, "status": status});
    let containers = status["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let running = containers.iter().filter_map(|one| moment(&one["state"]["running"]["startedAt"])).max();
    let hindrance = hindrance(&whole, Purpose::Serving).filter(|_| leaves_by.is_none());
    let volumes = spec["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let scheduler = spec["schedulerName"].as_str().unwrap_or("default-scheduler");
    let claim = |volume: &Value| volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
    Some(StartingPod {
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        running_since: running,
        is_being_made: running.is_none() && hindrance.is_none() && leaves_by.is_none(),
        awaits_scheduler: spec["nodeName"].is_null().then(|| scheduler.to_owned()),
        hindrance,
        has_failed: status["phase"] == "Failed",
        leaves_by,
        claims: volumes.iter().filter_map(claim).collect(),
    })
}

#[cfg(test)]
impl Pods {
    /// As it is after these pods were seen.
    pub(crate) fn seen(kinds: Kinds, pods: &[Value]) -> Self {
        let (store, filler) = Self::new(kinds, Waker::default());
        for pod in pods {
            let pod = serde_json::from_value(pod.clone()).unwrap_or_else(|error| panic!("{error}"));
            filler.see(&pod);
        }
        store.filled.cancel();
        store
    }
}
