//! Tells the API server by which CA it knows the hub: `spec.caBundle` of the APIService, which the chart leaves out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

/// Name of the APIService.
const NAME: &str = "v1alpha1.query.nimfleet.io";
const FIELD_MANAGER: &str = "nimfleet-hub";

/// Writes the CAs (PEM) where they differ. Where there is no APIService, nobody is to be told.
pub(super) async fn publish(client: &Client, bundle_pem: &str) -> Result<(), kube::Error> {
    let api: Api<APIService> = Api::all(client.clone());
    let Some(stored) = api.get_opt(NAME).await? else { return Ok(()) };
    let known = stored.spec.and_then(|spec| spec.ca_bundle).map(|bytes| bytes.0).unwrap_or_default();
    if known == bundle_pem.as_bytes() {
        return Ok(());
    }
    let patch = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": NAME},
        "spec": {"caBundle": STANDARD.encode(bundle_pem)},
    });
    api.patch(NAME, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await?;
    Ok(())
}
