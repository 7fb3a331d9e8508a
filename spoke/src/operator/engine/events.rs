//! Kubernetes events, told on transitions only and never in the way of the work.

use kube::Client;
use kube::core::{ApiResource, DynamicObject, Resource};
use kube::runtime::events::{Recorder, Reporter};
use runtime::events::event;

use super::call::call;
use super::kind::Notice;

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
        let event = event(notice.warning, "Reconcile", &notice.reason, &notice.message);
        let about = object.object_ref(resource);
        if let Err(error) =
            call(|| "publish an event".to_owned(), self.recorder.publish(&event, &about)).await
        {
            tracing::warn!(%error, reason = notice.reason, "the event is lost");
        }
    }
}
