//! Undoes local edits of delivered objects: what the hub wanted last is kept, hub or no hub.
//!
//! The payload travels on the object itself, so no memory of this process is needed. A field of the payload that
//! was changed, an object that was deleted and a mark that was lost are put back; fields that others add beside the
//! payload are theirs. Only a removal that the hub asked for is let through.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::compare::Difference;
use futures::StreamExt;
use kube::api::{Api, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use runtime::{Broken, Ending, Queue, panics};
use tokio_util::sync::CancellationToken;

use super::cluster::ClusterDeliver;
use super::kinds::{DeliverableKind, KINDS};
use super::{DeliverError, ObjectRef, Outcome, RejectionClass, call, manifest, marks_of, namespace};

/// Objects healed at once.
const AT_ONCE: usize = 16;

/// Longest pause between two attempts to put an object back: what was in the way, a namespace that took its time to go, may
/// end without any event of the object.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// An object of one of the kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An object that differs from what the hub wants.
#[derive(Clone)]
struct Drifted {
    kind: DeliverableKind,
    last: DynamicObject,
    /// Counts what is seen.
    number: u64,
}

/// What is to be healed: the latest of each object, which is tried again until it is healed or beyond healing.
struct Drift {
    queue: Queue<Key>,
    drifted: Mutex<HashMap<Key, Drifted>>,
    seen: AtomicU64,
}

impl Drift {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Drifted>> {
        // A panic elsewhere does not make the map wrong.
        self.drifted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an object as a watch shows it.
    fn see(&self, deliver: &ClusterDeliver, kind: DeliverableKind, last: DynamicObject, deleted: bool) {
        let (Some(namespace), Some(name)) = (last.metadata.namespace.clone(), last.metadata.name.clone())
        else {
            return;
        };
        let key = Key { kind: kind.kind, namespace, name };
        // A quick look before anybody is made to wait: the usual event shows what was applied.
        let is_unmodified = |(object, manifest): (ObjectRef, serde_json::Value)| {
            deliver.edits(kind, &object, &last, &manifest).is_empty()
        };
        if deleted {
            deliver.mutations().forget(kind.kind, &key.namespace, &key.name);
        } else if wanted(kind, &last).is_none_or(is_unmodified) {
            return;
        }
        let number = self.seen.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key.clone(), Drifted { kind, last, number });
        self.queue.add_anew(key);
    }

    /// Heals an object, and forgets it unless it was seen anew meanwhile.
    async fn heal(&self, deliver: &ClusterDeliver, key: &Key) -> Healed {
        let Some(Drifted { kind, last, number }) = self.lock().get(key).cloned() else { return Ok(None) };
        let healed = heal_one(deliver, kind, &last).await?;
        let mut drifted = self.lock();
        if drifted.get(key).is_some_and(|latest| latest.number == number) {
            drifted.remove(key);
        }
        Ok(healed)
    }

    /// How healing has ended. Attempts that fail never end.
    fn judge(&self, key: &Key, outcome: Result<Healed, Broken>) -> Ending {
        match outcome {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(Undone { object, outcome: Outcome::Rejected { message, .. }, .. }))) => {
                tracing::warn!(%object, problem = message, "an object that differs from what the hub wants cannot be put back");
            }
            Ok(Ok(Some(Undone { object, fields, .. }))) if fields.is_empty() => {
                tracing::debug!(%object, "differs by what this cluster's admission changes alone");
            }
            Ok(Ok(Some(Undone { object, fields, .. }))) => {
                let fields = fields.join(", ");
                tracing::info!(%object, fields, "a local edit was undone: change this object on the hub");
            }
            Ok(Err(error)) => {
                tracing::debug!(%key, %error, "an object cannot be put back as the hub wants it; trying again");
                self.queue.add_after(key.clone(), LONGEST_PAUSE);
                return if error.is_away() { Ending::Away } else { Ending::Refused };
            }
            Err(broken) => {
                tracing::error!(%key, %broken, "a fault of the spoke: an object is not put back yet");
                return Ending::Refused;
            }
        }
        Ending::Done
    }
}

/// What healing one object has come to; no outcome where there was nothing to heal.
type Healed = Result<Option<Undone>, DeliverError>;

/// An object that was applied again.
struct Undone {
    object: ObjectRef,
    outcome: Outcome,
    /// What is as it was again; empty where this cluster's admission changes it back.
    fields: Vec<String>,
}

/// Watches the delivered objects of every kind and heals them until cancelled.
pub async fn heal(deliver: ClusterDeliver, cancel: CancellationToken) {
    let drift =
        Arc::new(Drift { queue: Queue::new("drift"), drifted: Mutex::default(), seen: AtomicU64::default() });
    let watches = KINDS.into_iter().map(|kind| watch(&deliver, kind, &drift));
    let work = |key: Key| {
        let (deliver, drift) = (deliver.clone(), drift.clone());
        async move { drift.heal(&deliver, &key).await }
    };
    let judge = |key: &Key, outcome: Result<Healed, Broken>, _| drift.judge(key, outcome);
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = futures::future::join_all(watches) => {}
        () = drift.queue.run(AT_ONCE, work, judge) => {}
    }
}

async fn watch(deliver: &ClusterDeliver, kind: DeliverableKind, drift: &Drift) {
    let objects: Api<DynamicObject> = Api::all_with(deliver.client().clone(), &kind.resource());
    let config = Config::default().labels(&manifest::delivered());
    runtime::watch::events(objects, config, "delivered objects")
        .for_each(|event| {
            let (object, deleted) = match event {
                Event::Apply(object) | Event::InitApply(object) => (object, false),
                Event::Delete(object) => (object, true),
                Event::Init | Event::InitDone => return std::future::ready(()),
            };
            let name = object.metadata.name.clone();
            if let Err(panic) = panics::caught_call(|| drift.see(deliver, kind, object, deleted)) {
                tracing::error!(kind = kind.kind, name, %panic, "a local edit could not be looked at");
            }
            std::future::ready(())
        })
        .await;
}

/// `None` when there was nothing to heal.
async fn heal_one(deliver: &ClusterDeliver, kind: DeliverableKind, last: &DynamicObject) -> Healed {
    let (Some(namespace), Some(name)) = (&last.metadata.namespace, &last.metadata.name) else {
        return Ok(None);
    };
    let _turn = deliver.turns().of(kind.kind, namespace, name).await;
    let objects = deliver.objects(kind, namespace);
    let live = call::carried_out("read a delivered object", objects.get_opt(name)).await?;
    if live.as_ref().is_some_and(|live| live.metadata.deletion_timestamp.is_some()) {
        // Its end is an event of its own.
        return Ok(None);
    }
    // What is there knows best what is wanted; what was seen last, when the marks or the object are gone.
    let source = live.as_ref().filter(|live| wanted(kind, live).is_some()).unwrap_or(last);
    let Some((object, manifest)) = wanted(kind, source) else { return Ok(None) };
    let edits = live.as_ref().map(|live| deliver.edits(kind, &object, live, &manifest));
    if deliver.is_leaving(&object.uid) || edits.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let fought = |edits: &&Vec<Difference>| deliver.is_fought_over(kind, &object, &manifest, edits);
    if let Some(edits) = edits.as_ref().filter(fought) {
        let fields = edits.iter().map(|edit| edit.path.as_str()).collect::<Vec<_>>().join(", ");
        tracing::warn!(%object, fields, "another controller of this cluster sets them as often as they are undone: they are left");
        return Ok(None);
    }
    if live.is_none() {
        // It comes as a new one would.
        if let Err(message) = deliver.within_limits(kind, &manifest).await? {
            let class = RejectionClass::PolicyDenied { held: false };
            let outcome = Outcome::Rejected { class, message };
            return Ok(Some(Undone { object, outcome, fields: Vec::new() }));
        }
        namespace::ensure(deliver.client(), namespace, deliver.pod_security()).await?;
    }
    let guard = live.and_then(|live| live.metadata.resource_version);
    let outcome = deliver.apply(kind, &object, manifest, guard).await?;
    let changed = deliver.mutations().of(kind.kind, namespace, name).unwrap_or_default();
    let is_undone = |path: &String| !changed.iter().any(|one| one.path == *path);
    if let Some(edits) = edits.as_ref().filter(|_| outcome == Outcome::Accepted) {
        deliver.mutations().undone((kind.kind, namespace, name), edits.clone());
    }
    let fields = match edits {
        Some(edits) => edits.into_iter().map(|edit| edit.path).filter(is_undone).collect(),
        None => vec!["the whole object".to_owned()],
    };
    Ok(Some(Undone { object, outcome, fields }))
}

/// What the hub wants, as the object itself tells it; `None` when it does not (any more).
fn wanted(kind: DeliverableKind, object: &DynamicObject) -> Option<(ObjectRef, serde_json::Value)> {
    let marks = marks_of(&object.metadata)?;
    let payload = manifest::payload_of(&object.metadata, &marks)?;
    let wanted = ObjectRef {
        uid: marks.uid.clone(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        namespace: object.metadata.namespace.clone()?,
        name: object.metadata.name.clone()?,
    };
    let manifest = manifest::manifest(&wanted, &payload, &marks).ok()?;
    Some((wanted, manifest))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_put_back_is_tried_every_minute_without_end() {
        let drift =
            Drift { queue: Queue::new("drift"), drifted: Mutex::default(), seen: AtomicU64::default() };
        drift.queue.add(Key { kind: "NIMService", namespace: "nim".to_owned(), name: "chat".to_owned() });
        for attempt in 0..100 {
            let before = Instant::now();
            let key = drift.queue.take().await;
            assert!(before.elapsed() <= LONGEST_PAUSE, "{:?} before attempt {attempt}", before.elapsed());
            let object = "NIMService nim/chat".to_owned();
            let error = DeliverError::NamespaceTerminating { namespace: "nim".to_owned(), object };
            let ending = drift.judge(&key, Ok(Err(error)));
            drift.queue.done(&key, ending);
        }
    }
}
