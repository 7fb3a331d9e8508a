//! Kubernetes events: one recorder for the process, fed by a bounded queue so that no reconcile waits for an event.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Events that wait to be written; further ones are dropped, since events only illustrate what conditions say.
const WAITING: usize = 1024;
/// Longest note an API server takes, bytes.
const LONGEST_NOTE: usize = 1024;
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

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
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            note: Some(cut(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
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
        match tokio::time::timeout(CALL_TIMEOUT, recorder.publish(&event, &about)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, reason = event.reason, "event not written"),
            Err(_) => tracing::debug!(reason = event.reason, "event not written in time"),
        }
    }
}

fn cut(note: &str) -> &str {
    let mut end = note.len().min(LONGEST_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    &note[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_fit_and_stay_text() {
        assert_eq!(cut("short"), "short");
        let long = "ü".repeat(600);
        assert_eq!(cut(&long).len(), 1024);
        assert_eq!(cut(&format!("a{long}")).len(), 1023, "cut in the middle of a character");
    }
}
