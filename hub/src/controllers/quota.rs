//! Status of GPUQuotas: what is charged under each of their limits.

use crds::fleet::GPUQuota;
use hub_core::objects::Catalog;
use hub_scheduler::quota::{Quota, Use, status, used};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::Hub;
use super::failures::{Subject, without};
use super::fault::{Fault, call};

const FIELD_MANAGER: &str = "nimfleet-hub-status";

/// One turn on the quotas of one namespace.
pub(super) async fn reconcile(hub: &Hub, namespace: &str) -> Result<(), Fault> {
    let mut first = Ok(());
    for stored in hub.stores.quotas_of(namespace) {
        let outcome = write(hub, namespace, &stored).await;
        let subject = || Subject::Quota { namespace: namespace.to_owned(), name: stored.name_any() };
        hub.conclude("quota", subject, &outcome);
        first = first.and(outcome);
    }
    first
}

async fn write(hub: &Hub, namespace: &str, stored: &GPUQuota) -> Result<(), Fault> {
    let uses: Vec<Use> = {
        let live = hub.live();
        let use_of = |limit| {
            let used = used(namespace, &limit, &live.fleet, &live.charged);
            Use { limit, used }
        };
        Quota::from(stored).limits.into_iter().map(use_of).collect()
    };
    let mut ours = stored.clone();
    if let Some(status) = &mut ours.status {
        status.conditions = without(std::mem::take(&mut status.conditions));
    }
    let stored = &ours;
    let next = status(stored, &uses, Timestamp::now());
    if stored.status.as_ref() == Some(&next) {
        return Ok(());
    }
    let name = stored.name_any();
    let patch = json!({
        "apiVersion": GPUQuota::api_version(&()), "kind": GPUQuota::kind(&()),
        "metadata": {"name": name, "namespace": namespace, "uid": stored.uid()}, "status": next,
    });
    let api: Api<GPUQuota> = Api::namespaced(hub.client.clone(), namespace);
    let (params, patch) = (PatchParams::apply(FIELD_MANAGER).force(), Patch::Apply(&patch));
    match call(|| format!("status of GPUQuota {namespace}/{name}"), api.patch_status(&name, &params, &patch))
        .await
    {
        Err(fault) if !fault.is_gone() => return Err(fault),
        _ => hub.metrics.wrote(),
    }
    let before = stored.status.as_ref().map_or(&[][..], |status| &status.conditions);
    super::placement::turned(hub, &stored.object_ref(&()), before, &next.conditions);
    Ok(())
}
