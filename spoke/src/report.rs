//! The state of delivered objects, upward to the hub.

mod board;
mod fold;
mod outbox;
mod status;
mod waiting;

use std::collections::BTreeSet;

use crds::marks::{DELIVERED, DELIVERED_LABEL};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DynamicObject;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, ResourceExt};
use runtime::panics;
use runtime::watch::events;
use tokio_util::sync::CancellationToken;

pub(crate) use fold::profiles;
pub use outbox::Outbox;
pub use status::{CachedProfile, Condition, ObjectStatus, Unschedulable};

use board::Board;

use crate::deliver::{DeliverableKind, KINDS, marks_of};

/// Pods without a node: the API server sends no others.
const WITHOUT_NODE: &str = "spec.nodeName=,status.phase=Pending";

/// Watches the delivered objects of every kind, and the pods that no node takes, and puts what they say into the outbox,
/// until cancelled.
pub async fn report(client: kube::Client, outbox: Outbox, cancel: CancellationToken) {
    let board = Board::new(outbox);
    let watches = KINDS.into_iter().map(|kind| watch(&client, kind, &board));
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = futures::future::join_all(watches) => {}
        () = watch_pods(&client, &board) => {}
    }
}

async fn watch_pods(client: &kube::Client, board: &Board) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut listed = BTreeSet::new();
    let events = events(pods, Config::default().fields(WITHOUT_NODE), "pods without a node");
    events
        .for_each(|event| {
            isolated("pods", || match event {
                Event::Init => listed.clear(),
                Event::InitApply(pod) => {
                    listed.extend(pod.uid());
                    board.pods(|waiting| waiting.see(&pod));
                }
                Event::InitDone => board.pods(|waiting| waiting.retain(&listed)),
                Event::Apply(pod) => board.pods(|waiting| waiting.see(&pod)),
                // It has a node now, or is gone.
                Event::Delete(pod) => board.pods(|waiting| waiting.forget(&pod)),
            });
            std::future::ready(())
        })
        .await;
}

async fn watch(client: &kube::Client, kind: DeliverableKind, board: &Board) {
    let config = Config::default().labels(&format!("{DELIVERED_LABEL}={DELIVERED}"));
    let objects: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    let events = events(objects, config, "delivered objects");
    events
        .for_each(|event| {
            isolated(kind.kind, || match event {
                Event::Apply(object) | Event::InitApply(object) => {
                    let now = jiff::Timestamp::now().as_millisecond();
                    if let Some(status) = fold::status(kind, &object, now) {
                        board.status(status);
                    }
                }
                Event::Delete(object) => {
                    if let Some(marks) = marks_of(&object.metadata) {
                        let namespace = object.namespace().unwrap_or_default();
                        board.forget(&namespace, &object.name_any(), &marks.uid);
                    }
                }
                // What is missing from a new list is gone from the hub's view by its own tombstone.
                Event::Init | Event::InitDone => {}
            });
            std::future::ready(())
        })
        .await;
}

/// What one object says is that object's failure.
fn isolated(kind: &str, take: impl FnOnce()) {
    if let Err(panic) = panics::caught_call(take) {
        tracing::error!(kind, %panic, "what an object says of itself could not be taken in, and is not reported");
    }
}
