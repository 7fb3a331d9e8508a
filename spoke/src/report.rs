//! The state of delivered objects, upward to the hub.

mod fold;
mod outbox;
mod status;

use crds::marks::{DELIVERED, DELIVERED_LABEL};
use futures::StreamExt;
use kube::runtime::watcher::{Config, Event};
use tokio_util::sync::CancellationToken;

pub use outbox::Outbox;
pub use status::{CachedProfile, Condition, ObjectStatus};

use crate::deliver::{DeliverableKind, KINDS, marks_of};
use crate::watch::{events, everywhere};

/// Watches the delivered objects of every kind and puts what they say into the outbox, until cancelled.
pub async fn report(client: kube::Client, outbox: Outbox, cancel: CancellationToken) {
    let watches = KINDS.into_iter().map(|kind| watch(&client, kind, &outbox));
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = futures::future::join_all(watches) => {}
    }
}

async fn watch(client: &kube::Client, kind: DeliverableKind, outbox: &Outbox) {
    let config = Config::default().labels(&format!("{DELIVERED_LABEL}={DELIVERED}"));
    let events = events(everywhere(client, &kind.resource()), config, "delivered objects");
    events
        .for_each(|event| {
            match event {
                Event::Apply(object) | Event::InitApply(object) => {
                    let now = jiff::Timestamp::now().as_millisecond();
                    if let Some(status) = fold::status(kind, &object, now) {
                        outbox.put(status);
                    }
                }
                Event::Delete(object) => {
                    if let Some(marks) = marks_of(&object.metadata) {
                        outbox.forget(&marks.uid);
                    }
                }
                // What is missing from a new list is gone from the hub's view by its own tombstone.
                Event::Init | Event::InitDone => {}
            }
            std::future::ready(())
        })
        .await;
}
