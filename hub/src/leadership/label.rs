//! The label on the pod of the hub that leads. The Service of the link selects by it: the port of a standby is closed, and a
//! load balancer that has standbys among its backends would lead every other connection to one.

use std::time::Duration;

use crds::marks::{LEADER, LEADER_LABEL};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams};
use kube::{Client, ResourceExt};
use runtime::call::within;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// How often it is looked at: a leader that was frozen may have sent its label late.
const EVERY: Duration = Duration::from_secs(5);
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const FIELD_MANAGER: &str = "nimfleet-hub-leader";

/// Keeps the label on the pod `own` and on no other until `stop`. `client` asks the fence before every write.
pub(crate) async fn keep(client: Client, namespace: String, own: String, stop: CancellationToken) {
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let mut said = String::new();
    loop {
        let settled = within(CALL_TIMEOUT, settle(&pods, &own)).await;
        let problem = settled.map_or_else(|error| error.words(), |()| String::new());
        if !problem.is_empty() && problem != said {
            tracing::warn!(
                problem,
                pod = own,
                "the link's Service may not lead to this hub: its pod's label could not be written; tried again"
            );
        }
        said = problem;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn settle(pods: &Api<Pod>, own: &str) -> Result<(), kube::Error> {
    let label = format!("{LEADER_LABEL}={LEADER}");
    let labelled = pods.list_metadata(&ListParams::default().labels(&label)).await?.items;
    for pod in labelled.iter().filter(|pod| pod.name_any() != own) {
        apply(pods, pod, &json!({})).await?;
        tracing::info!(pod = pod.name_any(), "a hub that led before is no longer labelled as the leader");
    }
    if labelled.iter().any(|pod| pod.name_any() == own) {
        return Ok(());
    }
    // A hub outside a pod has no label to set.
    let Some(pod) = pods.get_metadata_opt(own).await? else { return Ok(()) };
    apply(pods, &pod, &json!({LEADER_LABEL: LEADER})).await
}

/// Applies the labels to this very pod. With none, the label of an earlier apply goes.
async fn apply(pods: &Api<Pod>, pod: &PartialObjectMeta<Pod>, labels: &Value) -> Result<(), kube::Error> {
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod.name_any(), "uid": pod.metadata.uid, "labels": labels},
    });
    match pods
        .patch_metadata(&pod.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&object))
        .await
    {
        // It went meanwhile, or another pod has its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome.map(drop),
    }
}
