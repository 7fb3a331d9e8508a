//! Kubernetes events, told on transitions only and never in the way of the work.

use kube::Client;
use kube::core::{ApiResource, DynamicObject, Resource};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use super::call::call;
use super::kind::Notice;

/// Longest note that the events API takes, in bytes; kept below it for multi-byte characters.
const LONGEST_NOTE: usize = 800;

/// Publishes events under the name of one controller.
pub(crate) struct Announcer {
    recorder: Recorder,
}

impl Announcer {
    pub(crate) fn new(client: Client, reporter: &str) -> Self {
        let reporter = Reporter { controller: reporter.to_owned(), instance: None };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Publishes one event about an object. A failure is logged: an event is a courtesy.
    pub(crate) async fn tell(&self, resource: &ApiResource, object: &DynamicObject, notice: &Notice) {
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.clone(),
            note: Some(shortened(&notice.message)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let about = object.object_ref(resource);
        if let Err(error) =
            call(|| "publish an event".to_owned(), self.recorder.publish(&event, &about)).await
        {
            tracing::warn!(%error, reason = notice.reason, "the event is lost");
        }
    }
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(LONGEST_NOTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_between_characters() {
        let long = "ä".repeat(1000);
        let note = shortened(&long);
        assert!(note.len() <= LONGEST_NOTE && long.starts_with(&note));
        assert_eq!(shortened("short"), "short");
    }
}
