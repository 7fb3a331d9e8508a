//! What the charts have installed, and whether it runs; and who else works on NIM objects in the cluster.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::Check;
use crate::args::Side;
use crate::failure::Failure;
use crate::session::{Session, call};

/// The Lease by which instances of NVIDIA's operator elect their leader.
const NVIDIA_LEASE: &str = "a0715c6e.nvidia.com";
/// The label of its Deployment.
const NVIDIA_LABEL: &str = "app.kubernetes.io/name=k8s-nim-operator";

/// The labels that the chart of a side gives to everything.
pub(super) fn labels(side: Side) -> String {
    let component = match side {
        Side::Hub => "hub",
        Side::Spoke => "spoke",
    };
    format!("app.kubernetes.io/part-of=nimfleet,app.kubernetes.io/component={component}")
}

/// What is installed here: by its Deployment, a hub also by its Lease.
pub(super) async fn sides(session: &Session) -> Result<Vec<Side>, Failure> {
    let mut sides = Vec::new();
    let led = lease(session, crds::marks::HUB_LEASE).await?.is_some();
    for side in [Side::Hub, Side::Spoke] {
        if deployment(session, side).await?.is_some() || (side == Side::Hub && led) {
            sides.push(side);
        }
    }
    Ok(sides)
}

/// The Deployment of a side.
pub(super) async fn deployment(session: &Session, side: Side) -> Result<Option<Deployment>, Failure> {
    let api: Api<Deployment> = Api::namespaced(session.client(), session.installed_in());
    let doing = format!("Deployments: list in namespace {}", session.installed_in());
    let found = call(doing, api.list(&ListParams::default().labels(&labels(side)))).await?;
    Ok(found.items.into_iter().next())
}

/// A Lease of the namespace.
pub(super) async fn lease(session: &Session, name: &str) -> Result<Option<Lease>, Failure> {
    let api: Api<Lease> = Api::namespaced(session.client(), session.installed_in());
    call(format!("Lease {}/{name}", session.installed_in()), api.get_opt(name)).await
}

/// Who holds a Lease, as long as it is renewed.
pub(super) fn holder(lease: &Lease, now: Timestamp) -> Option<String> {
    let spec = lease.spec.as_ref()?;
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into());
    let renewed = spec.renew_time.as_ref()?.0;
    let holder = spec.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    (now.duration_since(renewed) <= lasts).then_some(holder)
}

/// Whether the program of a side runs, in this version.
pub(super) async fn runs(session: &Session, side: Side, id: &'static str) -> Result<Check, Failure> {
    let namespace = session.installed_in();
    let chart = match side {
        Side::Hub => "nimfleet-hub",
        Side::Spoke => "nimfleet-spoke",
    };
    let Some(found) = deployment(session, side).await? else {
        return Ok(Check::failed(
            id,
            format!("namespace {namespace} has no Deployment of {chart}"),
            match side {
                Side::Hub => {
                    "install the chart nimfleet-hub, or name its namespace with --installed-in".to_owned()
                }
                Side::Spoke => "on the hub: kubectl nimfleet join NAME prints what installs it".to_owned(),
            },
        ));
    };
    let api: Api<Pod> = Api::namespaced(session.client(), namespace);
    let pods = call(
        format!("Pods: list in namespace {namespace}"),
        api.list(&ListParams::default().labels(&labels(side))),
    )
    .await?;
    Ok(judge(id, &found, &pods.items))
}

fn judge(id: &'static str, found: &Deployment, pods: &[Pod]) -> Check {
    let place = format!("Deployment {}/{}", found.namespace().unwrap_or_default(), found.name_any());
    let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = found.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
    if ready < wanted || wanted == 0 {
        let why = pods.iter().find_map(stuck).map(|why| format!("; {why}")).unwrap_or_default();
        let remedy = if wanted == 0 {
            format!(
                "kubectl --namespace {} scale deployment {} --replicas=1",
                found.namespace().unwrap_or_default(),
                found.name_any()
            )
        } else {
            format!(
                "kubectl --namespace {} describe pods --selector app.kubernetes.io/part-of=nimfleet",
                found.namespace().unwrap_or_default()
            )
        };
        return Check::failed(id, format!("{place}: {ready} of {wanted} replicas are ready{why}"), remedy);
    }
    let version = found.labels().get("app.kubernetes.io/version").cloned().unwrap_or_default();
    let own = env!("CARGO_PKG_VERSION");
    if version != own {
        let found = format!(
            "{place}: {ready} of {wanted} replicas are ready, of version {version}; this plugin is {own}"
        );
        return Check::warning(id, found, "use the plugin of the release that is installed, or upgrade it");
    }
    Check::ok(id, format!("{place}: {ready} of {wanted} replicas are ready, version {version}"))
}

/// Why a pod is not ready, in the words of kubelet or scheduler.
fn stuck(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    let waiting = containers.find_map(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting {
        let reason = waiting.reason.as_deref().unwrap_or("Waiting");
        let message = waiting.message.as_deref().unwrap_or_default();
        return Some(format!("pod {}: {reason} {message}", pod.name_any()).trim_end().to_owned());
    }
    let scheduled = status.conditions.iter().flatten().find(|known| known.type_ == "PodScheduled")?;
    let message = scheduled.message.as_deref().filter(|_| scheduled.status == "False")?;
    Some(format!("pod {}: {message}", pod.name_any()))
}

/// A sign of NVIDIA's operator in the cluster.
pub(super) async fn nvidias_operator(session: &Session) -> Result<Option<String>, Failure> {
    let leases: Api<Lease> = Api::all(session.client());
    let named = ListParams::default().fields(&format!("metadata.name={NVIDIA_LEASE}"));
    let leases = call("Leases: list in all namespaces", leases.list(&named)).await?;
    let now = Timestamp::now();
    let place = |namespace: Option<String>, name: String| format!("{}/{name}", namespace.unwrap_or_default());
    if let Some(held) = leases.items.iter().find(|lease| holder(lease, now).is_some()) {
        return Ok(Some(format!("Lease {} is held", place(held.namespace(), held.name_any()))));
    }
    let deployments: Api<Deployment> = Api::all(session.client());
    let labelled = ListParams::default().labels(NVIDIA_LABEL);
    let deployments = call("Deployments: list in all namespaces", deployments.list(&labelled)).await?;
    let runs = |found: &&Deployment| {
        found.owner_references().is_empty()
            && found.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0) > 0
    };
    let found = deployments.items.iter().find(runs);
    Ok(found.map(|found| format!("Deployment {} is available", place(found.namespace(), found.name_any()))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Outcome;

    fn deployment(ready: i32, version: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "nimfleet-hub", "namespace": "nimfleet", "labels": {"app.kubernetes.io/version": version}},
            "spec": {"replicas": 2, "selector": {}, "template": {}}, "status": {"readyReplicas": ready},
        }))
        .unwrap()
    }

    #[test]
    fn replicas_that_do_not_run_say_why() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "nimfleet-hub-0"},
            "status": {"containerStatuses": [{
                "name": "hub", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
            }]},
        }))
        .unwrap();
        let check = judge("hub-deployment", &deployment(1, env!("CARGO_PKG_VERSION")), &[pod]);
        assert_eq!(check.outcome, Outcome::Failed);
        assert_eq!(
            check.found,
            "Deployment nimfleet/nimfleet-hub: 1 of 2 replicas are ready; pod nimfleet-hub-0: ImagePullBackOff no such image"
        );
        assert_eq!(judge("x", &deployment(2, env!("CARGO_PKG_VERSION")), &[]).outcome, Outcome::Ok);
        assert_eq!(judge("x", &deployment(2, "0.0.1"), &[]).outcome, Outcome::Warning);
    }

    #[test]
    fn a_lease_that_is_not_renewed_is_nobodys() {
        let lease: Lease = serde_json::from_value(json!({
            "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-30T10:00:00.000000Z"},
        }))
        .unwrap();
        let at = |time: &str| holder(&lease, time.parse().unwrap());
        assert_eq!(at("2026-11-30T10:00:15Z").as_deref(), Some("a"));
        assert_eq!(at("2026-11-30T10:00:16Z"), None);
    }
}
