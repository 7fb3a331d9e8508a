//! Reconciles that fail, where people look: condition `Reconciled` on their object and an event, with the API server's
//! words, under the reason that the metric counts them by.
//!
//! The condition has a field manager of its own, so that it is written also where the rest of the status cannot be.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crds::condition::{self, Finding};
use hub_core::objects::Catalog;
use hub_scheduler::fleet::PlacementKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use runtime::{Broken, CallError, Health, Queue, chain};
use serde_json::json;

use super::Hub;
use super::fault::{Fault, call};
use super::run::ending;

/// The condition; there once something has failed.
pub(super) const RECONCILED: &str = "Reconciled";
const FIELD_MANAGER: &str = "nimfleet-hub-reconciled";
/// How often in a row something is refused before it is told: what a second try mends is no news.
const REFUSED: u32 = 2;
/// The same of answers that say that the API server, or what it asks, is not well: a restart takes a few of them.
const UNWELL: u32 = 5;

/// The object that a reconcile is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    Placement(PlacementKey),
    /// A GPUCluster; its name may be none that a cluster can have.
    Cluster(String),
    Quota {
        namespace: String,
        name: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(key) => write!(f, "NIMPlacement {key}"),
            Self::Cluster(name) => write!(f, "GPUCluster {name}"),
            Self::Quota { namespace, name } => write!(f, "GPUQuota {namespace}/{name}"),
        }
    }
}

/// What fails of each object, by controller.
#[derive(Debug)]
pub(super) struct Failures {
    known: Mutex<HashMap<Subject, BTreeMap<&'static str, Failure>>>,
    /// Objects whose condition is to be written.
    waiting: Queue<Subject>,
}

/// How a controller fails on an object.
#[derive(Debug, Default)]
struct Failure {
    reason: &'static str,
    message: String,
    /// How often in a row.
    times: u32,
    told: bool,
}

/// An object as the hub knows it.
struct Stored {
    resource: ApiResource,
    about: ObjectReference,
    generation: Option<i64>,
    /// As it is shown; none that there was none.
    shown: Option<Condition>,
}

impl Failures {
    /// Nothing fails yet.
    pub(super) fn new(health: &Health) -> Self {
        Self { known: Mutex::default(), waiting: Queue::new("failures").followed(health) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Subject, BTreeMap<&'static str, Failure>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Conditions without the one that is written here: whoever writes the others leaves it alone.
pub(super) fn without(mut conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.retain(|condition| condition.type_ != RECONCILED);
    conditions
}

impl Hub {
    /// A controller has worked on an object.
    pub(super) fn conclude(
        &self,
        controller: &'static str,
        subject: impl FnOnce() -> Subject,
        outcome: &Result<(), Fault>,
    ) {
        match outcome {
            Ok(()) => {
                let subject = subject();
                let mut known = self.failures.known();
                if let Some(failing) = known.get_mut(&subject) {
                    failing.remove(controller);
                    if failing.is_empty() {
                        known.remove(&subject);
                    }
                }
                drop(known);
                // Also what a hub before this one has told.
                let shown = stored(self, &subject).and_then(|stored| stored.shown);
                if shown.is_some_and(|shown| shown.status != "True") {
                    self.failures.waiting.add(subject);
                }
            }
            Err(fault) => {
                let enough = match fault {
                    Fault::Call { source: CallError::Timeout(_), .. } => UNWELL,
                    Fault::Call { source, .. } => match source.code() {
                        Some(500..) => UNWELL,
                        Some(_) => REFUSED,
                        // Nobody answers: nothing can be written either, and the watches say so.
                        None => return,
                    },
                    Fault::Contended { .. } | Fault::Json { .. } | Fault::Broken { .. } => REFUSED,
                };
                self.fails(controller, subject(), fault.category(), &fault.words(), enough);
            }
        }
    }

    /// Tells at once what keeps an object from being worked on at all.
    pub(super) fn refuse(&self, controller: &'static str, subject: Subject, reason: &'static str, why: &str) {
        self.metrics.fault(controller, reason);
        self.fails(controller, subject, reason, why, 1);
    }

    fn fails(
        &self,
        controller: &'static str,
        subject: Subject,
        reason: &'static str,
        message: &str,
        enough: u32,
    ) {
        let mut known = self.failures.known();
        let failure = known.entry(subject.clone()).or_default().entry(controller).or_default();
        failure.times = failure.times.saturating_add(1);
        let is_news = !failure.told || failure.reason != reason || failure.message != message;
        if failure.times < enough || !is_news {
            return;
        }
        *failure = Failure { reason, message: message.to_owned(), times: failure.times, told: true };
        drop(known);
        if let Some(stored) = stored(self, &subject) {
            self.events.publish(stored.about, true, "Reconcile", reason, message);
        }
        self.failures.waiting.add(subject);
    }
}

/// Writes the conditions that are to be written, until it is stopped.
pub(super) async fn keep(hub: &Arc<Hub>) {
    let work = |subject: Subject| {
        let hub = hub.clone();
        async move { write(&hub, &subject).await }
    };
    let judge = |subject: &Subject, outcome: Result<_, Broken>, _| {
        let broken =
            |broken| Err(Fault::Broken { what: format!("condition {RECONCILED} of {subject}"), broken });
        let outcome = outcome.unwrap_or_else(broken);
        if let Err(fault) = &outcome {
            hub.metrics.fault("failures", fault.category());
            tracing::warn!(
                %subject,
                fault = fault.category(),
                error = chain(fault),
                "condition Reconciled not written; trying again"
            );
        }
        ending(&outcome)
    };
    hub.failures.waiting.run(1, work, judge).await;
}

async fn write(hub: &Hub, subject: &Subject) -> Result<(), Fault> {
    let Some(Stored { resource, about, generation, shown }) = stored(hub, subject) else {
        hub.failures.known().remove(subject);
        return Ok(());
    };
    let Some(finding) = finding(hub, subject, shown.is_some()) else { return Ok(()) };
    let mut conditions: Vec<Condition> = shown.into_iter().collect();
    if !condition::set(&mut conditions, finding, generation, Timestamp::now()) {
        return Ok(());
    }
    let name = about.name.clone().unwrap_or_default();
    let patch = json!({
        "apiVersion": resource.api_version, "kind": resource.kind,
        "metadata": {"name": name, "namespace": about.namespace, "uid": about.uid},
        "status": {"conditions": conditions},
    });
    let api: Api<DynamicObject> = match &about.namespace {
        Some(namespace) => Api::namespaced_with(hub.client.clone(), namespace, &resource),
        None => Api::all_with(hub.client.clone(), &resource),
    };
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let what = || format!("condition {RECONCILED} of {} {name}", resource.kind);
    match call(what, api.patch_status(&name, &params, &Patch::Apply(&patch))).await {
        Err(fault) if !fault.is_gone() => Err(fault),
        _ => {
            hub.metrics.wrote();
            Ok(())
        }
    }
}

/// What there is to say of an object; nothing while nothing fails and nothing has.
fn finding(hub: &Hub, subject: &Subject, was_told: bool) -> Option<Finding<'static>> {
    let known = hub.failures.known();
    let told: Vec<&Failure> =
        known.get(subject).into_iter().flat_map(BTreeMap::values).filter(|failure| failure.told).collect();
    if let Some(first) = told.first() {
        let messages: Vec<&str> = told.iter().map(|failure| failure.message.as_str()).collect();
        return Some(Finding::new(RECONCILED, false, first.reason, messages.join("; ")));
    }
    was_told.then(|| Finding::new(RECONCILED, true, RECONCILED, "the last reconcile went through"))
}

fn stored(hub: &Hub, subject: &Subject) -> Option<Stored> {
    match subject {
        Subject::Placement(key) => {
            let placement = hub.stores.placement(&key.namespace, &key.name)?;
            let conditions = placement.status.as_ref().map(|status| status.conditions.as_slice());
            Some(Stored::of(placement.as_ref(), conditions))
        }
        Subject::Cluster(name) => {
            let cluster = hub.stores.cluster(name)?;
            let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice());
            Some(Stored::of(cluster.as_ref(), conditions))
        }
        Subject::Quota { namespace, name } => {
            let quotas = hub.stores.quotas_of(namespace);
            let quota = quotas.iter().find(|quota| quota.name_any() == *name)?;
            let conditions = quota.status.as_ref().map(|status| status.conditions.as_slice());
            Some(Stored::of(quota.as_ref(), conditions))
        }
    }
}

impl Stored {
    fn of<K: Resource<DynamicType = ()>>(object: &K, conditions: Option<&[Condition]>) -> Self {
        Self {
            resource: ApiResource::erase::<K>(&()),
            about: object.object_ref(&()),
            generation: object.meta().generation,
            shown: conditions.and_then(|all| condition::find(all, RECONCILED)).cloned(),
        }
    }
}
