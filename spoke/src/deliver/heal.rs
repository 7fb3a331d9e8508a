//! Undoes local edits of delivered objects: what the hub wanted last is kept, hub or no hub.
//!
//! The payload travels on the object itself, so no memory of this process is needed. A field of the payload that
//! was changed, an object that was deleted and a mark that was lost are put back; fields that others add beside the
//! payload are theirs. Only a removal that the hub asked for is let through.

use std::time::Duration;

use backon::BackoffBuilder;
use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::{Config, Event};
use tokio_util::sync::CancellationToken;

use super::cluster::{ClusterDeliver, is_unmodified};
use super::kinds::{DeliverableKind, KINDS};
use super::{DeliverError, ObjectRef, Outcome, call, manifest, marks_of, namespace};

/// First and longest pause after a failed healing.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// Attempts at one healing, about six minutes in all. Later events, and the hub's own comparison, start anew.
const ATTEMPTS: usize = 12;

/// Watches the delivered objects of every kind and heals them until cancelled.
pub async fn heal(deliver: ClusterDeliver, cancel: CancellationToken) {
    let watches = KINDS.into_iter().map(|kind| watch(&deliver, kind));
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = futures::future::join_all(watches) => {}
    }
}

async fn watch(deliver: &ClusterDeliver, kind: DeliverableKind) {
    let objects = crate::watch::everywhere(deliver.client(), &kind.resource());
    let config = Config::default().labels(&manifest::delivered());
    crate::watch::events(objects, config, "delivered objects")
        .for_each_concurrent(None, |event| async {
            let (object, deleted) = match event {
                Event::Apply(object) | Event::InitApply(object) => (object, false),
                Event::Delete(object) => (object, true),
                Event::Init | Event::InitDone => return,
            };
            persist(deliver, kind, &object, deleted).await;
        })
        .await;
}

/// Heals one object, with pauses, until it is healed or beyond healing.
async fn persist(deliver: &ClusterDeliver, kind: DeliverableKind, last: &DynamicObject, deleted: bool) {
    let mut pauses = backon::ExponentialBuilder::default()
        .with_min_delay(RETRY.0)
        .with_max_delay(RETRY.1)
        .with_jitter()
        .with_max_times(ATTEMPTS)
        .build();
    loop {
        match heal_one(deliver, kind, last, deleted).await {
            Ok(None) => return,
            Ok(Some((object, Outcome::Rejected { message, .. }))) => {
                tracing::warn!(%object, message, "a local edit cannot be undone");
                return;
            }
            Ok(Some((object, _))) => {
                tracing::info!(%object, "a local edit was undone: change this object on the hub");
                return;
            }
            Err(error) => tracing::debug!(%error, "healing is tried again"),
        }
        let Some(pause) = pauses.next() else {
            let (namespace, name) = (&last.metadata.namespace, &last.metadata.name);
            tracing::warn!(kind = kind.kind, ?namespace, ?name, "a local edit could not be undone");
            return;
        };
        tokio::time::sleep(pause).await;
    }
}

/// `None` when there was nothing to heal.
async fn heal_one(
    deliver: &ClusterDeliver,
    kind: DeliverableKind,
    last: &DynamicObject,
    deleted: bool,
) -> Result<Option<(ObjectRef, Outcome)>, DeliverError> {
    let (Some(namespace), Some(name)) = (&last.metadata.namespace, &last.metadata.name) else {
        return Ok(None);
    };
    // A quick look before anybody is made to wait: the usual event shows what was applied.
    if !deleted && wanted(kind, last).is_none_or(|(_, manifest)| is_unmodified(last, manifest)) {
        return Ok(None);
    }
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
    if deliver.is_leaving(&object.uid)
        || live.as_ref().is_some_and(|live| is_unmodified(live, manifest.clone()))
    {
        return Ok(None);
    }
    if live.is_none() {
        namespace::ensure(deliver.client(), namespace).await?;
    }
    let guard = live.and_then(|live| live.metadata.resource_version);
    let outcome = deliver.apply(kind, &object, manifest, guard).await?;
    Ok(Some((object, outcome)))
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
