//! Kubernetes events: one recorder for the process, fed by a bounded queue so that no reconcile waits for an event.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, Recorder, Reporter};
use runtime::call::{LIMIT, within};
use runtime::events::event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written; further ones are dropped, since events only illustrate what conditions say.
const WAITING: usize = 1024;

type Item = (ObjectReference, Event);

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events {
    sender: mpsc::Sender<Item>,
}

impl Events {
    /// The publishing half, and what [`write`] reads.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Item>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { sender }, receiver)
    }

    /// Publishes an event about an object. `reason` is the word that the condition carries.
    pub(crate) fn publish(
        &self,
        about: ObjectReference,
        warning: bool,
        action: &str,
        reason: &str,
        note: &str,
    ) {
        let event = event(warning, action, reason, note);
        if self.sender.try_send((about, event)).is_err() {
            tracing::debug!(reason, "event dropped: too many wait to be written");
        }
    }
}

/// Writes events until cancelled.
pub(crate) async fn write(client: Client, mut waiting: mpsc::Receiver<Item>, stop: CancellationToken) {
    let reporter =
        Reporter { controller: "nimfleet-hub".to_owned(), instance: std::env::var("POD_NAME").ok() };
    let recorder = Recorder::new(client, reporter);
    loop {
        let (about, event) = tokio::select! {
            () = stop.cancelled() => return,
            item = waiting.recv() => match item {
                Some(item) => item,
                None => return,
            },
        };
        if let Err(error) = within(LIMIT, recorder.publish(&event, &about)).await {
            tracing::debug!(error = error.words(), reason = event.reason, "event not written");
        }
    }
}
