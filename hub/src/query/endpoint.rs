//! Where the API server finds the hub that leads: the EndpointSlice of the query API's Service, which selects no pods itself,
//! since standbys are ready too and do not answer.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

const FIELD_MANAGER: &str = "nimfleet-hub";

/// A pod that answers, and the Service that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) service: String,
    pub(crate) namespace: String,
}

/// Writes where it is, if that is not what is written. The slice goes with its Service; without one nobody is led anywhere.
pub(super) async fn publish(client: &Client, endpoint: &Endpoint) -> Result<(), kube::Error> {
    let Endpoint { address, port, service, namespace } = endpoint;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let Some(owner) = services.get_metadata_opt(service).await?.and_then(|found| found.metadata.uid) else {
        return Ok(());
    };
    let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    // What family a slice is of never changes.
    let name = format!("{service}-{}", family.to_ascii_lowercase());
    let address = address.to_string();
    let is_it = |slice: &EndpointSlice| {
        let ports = slice.ports.iter().flatten();
        slice.endpoints.iter().flat_map(|one| &one.addresses).eq([&address])
            && ports.filter_map(|one| one.port).eq([i32::from(*port)])
            && slice.metadata.owner_references.iter().flatten().map(|one| &one.uid).eq([&owner])
    };
    if api.get_opt(&name).await?.as_ref().is_some_and(is_it) {
        return Ok(());
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": FIELD_MANAGER,
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": service, "uid": owner}],
        },
        "addressType": family,
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "query", "port": port, "protocol": "TCP"}],
    });
    api.patch(&name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&slice)).await?;
    Ok(())
}
