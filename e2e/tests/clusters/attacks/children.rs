//! Children depend on each other: no workload runs with rights or data that somebody else has under the name of a child.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// The namespace in which every name below is taken by one foreign object.
const TAKEN: &str = "taken";
/// The namespace in which the account of all downloads is foreign.
const DOWNLOADS: &str = "downloads";

/// A NIMService of one GPU, with more of its spec.
fn service(namespace: &str, name: &str, more: Value) -> Value {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.12.0"},
        "authSecret": "ngc-api-secret", "replicas": 1,
        "storage": {"emptyDir": {}},
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "expose": {"service": {"port": 8000}},
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    object("NIMService", namespace, name, &spec)
}

fn object(kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
}

/// An object that somebody else made: without any mark of the operator.
fn foreign(kind: &str, namespace: &str, name: &str) -> Value {
    let metadata = json!({"name": name, "namespace": namespace});
    let rbac = "rbac.authorization.k8s.io";
    match kind {
        "Role" => {
            json!({"apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": metadata, "rules": []})
        }
        "RoleBinding" => json!({
            "apiVersion": format!("{rbac}/v1"), "kind": kind, "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }),
        "ConfigMap" => {
            json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": {"start-mpi-cluster.sh": "id"}})
        }
        _ => json!({"apiVersion": "v1", "kind": kind, "metadata": metadata}),
    }
}

/// Waits until the object has failed for this reason, with a remedy in its message.
async fn refused(site: &Site, kind: &str, namespace: &str, name: &str, reason: &str) -> Result<(), Failure> {
    let condition = if kind == "NIMCache" { "NIM_CACHE_RECONCILE_FAILED" } else { "Failed" };
    site.eventually(&format!("{kind} {name} says {reason}"), SOON, || async {
        let found = objects::get(site.cluster(), kind, namespace, name).await?;
        match objects::condition(&found, condition) {
            Some((status, is, message))
                if status == "True" && is == reason && message.contains("rename or remove it") =>
            {
                Ok(())
            }
            other => Err(Failure::new(format!("{condition} is {other:?}"))),
        }
    })
    .await
}

/// What there is of a kind in a namespace, by name; the foreign ones and Kubernetes' own left out.
async fn made(site: &Site, kind: &str, namespace: &str) -> Result<Vec<String>, Failure> {
    let found = objects::list(site.cluster(), kind, namespace).await?;
    let labelled = |one: &&Value| one["metadata"]["labels"]["app.kubernetes.io/managed-by"].is_string();
    Ok(found
        .iter()
        .filter(labelled)
        .filter_map(|one| one["metadata"]["name"].as_str().map(str::to_owned))
        .collect())
}

#[tokio::test]
async fn no_workload_is_written_while_what_it_requires_is_somebody_elses() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 2).with(&["LeaderWorkerSet", "InferenceService"]).start().await?;
    let cluster = site.cluster();
    let over_nodes = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}}});
    let kserve = json!({
        "inferencePlatform": "kserve", "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    });
    let guardrail = json!({
        "image": {"repository": "nvcr.io/nvidia/nemo-microservices/guardrails", "tag": "25.10"},
        "expose": {"service": {"port": 8000}},
    });
    let controller = json!({"control-plane": "kserve-controller-manager"});
    let settings = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "kserve-controller-manager", "namespace": "kserve", "labels": controller},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": controller},
            "template": {"metadata": {"labels": controller}, "spec": {"containers": [{"name": "manager", "image": "k"}]}},
        },
    });
    objects::apply(cluster, &settings.to_string()).await?;
    let attacks = [
        ("ServiceAccount", service(TAKEN, "account", json!({})), "Deployment"),
        ("Role", service(TAKEN, "role", json!({})), "Deployment"),
        ("RoleBinding", service(TAKEN, "binding", json!({})), "Deployment"),
        ("ServiceAccount", service(TAKEN, "groups", over_nodes.clone()), "LeaderWorkerSet"),
        ("ConfigMap", service(TAKEN, "script", over_nodes), "LeaderWorkerSet"),
        ("ServiceAccount", service(TAKEN, "predictor", kserve), "InferenceService"),
        ("ServiceAccount", object("NemoGuardrail", TAKEN, "rails", &guardrail), "Deployment"),
    ];
    for (kind, object, _) in &attacks {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let suffix = if *kind == "ConfigMap" { "-mpi-start-script" } else { "" };
        objects::apply(cluster, &foreign(kind, TAKEN, &format!("{name}{suffix}")).to_string()).await?;
        objects::apply(cluster, &object.to_string()).await?;
    }
    objects::apply(cluster, &foreign("ServiceAccount", DOWNLOADS, "nim-cache-sa").to_string()).await?;
    let cache = json!({
        "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1.8.3", "pullSecret": "s", "authSecret": "s",
            "model": {"profiles": ["all"]}}},
        "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
    });
    objects::apply(cluster, &object("NIMCache", DOWNLOADS, "model", &cache).to_string()).await?;

    for (kind, object, workload) in &attacks {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (of, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        refused(&site, &of, TAKEN, &name, &format!("{kind}Conflict")).await?;
        let workloads = made(&site, workload, TAKEN).await?;
        assert!(
            !workloads.iter().any(|made| made.starts_with(&name)),
            "{of} {name}: {workload} {workloads:?}"
        );
        if *kind != "ConfigMap" {
            let bindings = made(&site, "RoleBinding", TAKEN).await?;
            assert!(!bindings.contains(&name), "{of} {name} is bound: {bindings:?}");
        }
    }
    refused(&site, "NIMCache", DOWNLOADS, "model", "ServiceAccountConflict").await?;
    for kind in ["Pod", "Job", "RoleBinding", "Role"] {
        assert_eq!(made(&site, kind, DOWNLOADS).await?, Vec::<String>::new(), "{kind}");
    }

    // The remedy works, whatever the kind.
    for (kind, object, workload) in &attacks {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let (suffix, group) = match (*kind, *workload) {
            ("ConfigMap", _) => ("-mpi-start-script", "-lws"),
            (_, "LeaderWorkerSet") => ("", "-lws"),
            _ => ("", ""),
        };
        objects::delete(cluster, kind, TAKEN, &format!("{name}{suffix}")).await?;
        // An edit, so that the test does not wait for the backoff.
        let change = json!({"metadata": {"annotations": {"touched": "yes"}}});
        objects::patch(cluster, object["kind"].as_str().unwrap_or_default(), TAKEN, name, change).await?;
        let made = format!("{name}{group}");
        site.eventually(&format!("{workload} {made} is there"), SOON, || {
            objects::get(cluster, workload, TAKEN, &made)
        })
        .await?;
    }
    what_runs_keeps_its_template(&site).await?;
    what_a_hub_delivered_gets_rights_with_its_workload(&site).await
}

/// A NemoCustomizer whose ConfigMaps are missing: one of the cluster's people gets its Role at once, as from NVIDIA's
/// operator, and one that a hub delivered when its Deployment can be made.
async fn what_a_hub_delivered_gets_rights_with_its_workload(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let (kind, name, manifest) = e2e::nemo::STACK[0];
    let namespace = e2e::nemo::NAMESPACE;
    let mut own: Value = serde_saphyr::from_str(manifest)?;
    own["metadata"]["namespace"] = json!(namespace);
    let mut delivered = own.clone();
    delivered["metadata"]["labels"]["nimfleet.io/delivered"] = json!("true");
    own["metadata"]["name"] = json!("own");
    cluster.kubectl(&["create", "namespace", namespace], None).await?;
    objects::apply(cluster, &own.to_string()).await?;
    objects::apply(cluster, &delivered.to_string()).await?;
    for (name, role) in [("own", true), (name, false)] {
        site.eventually(&format!("{kind} {name} waits for its ConfigMaps"), SOON, || async {
            let found = objects::get(cluster, kind, namespace, name).await?;
            objects::expect(&found, "Ready", "False")
        })
        .await?;
        let roles = made(site, "Role", namespace).await?;
        assert_eq!(roles.iter().any(|made| made == name), role, "{name}: {roles:?}");
        objects::get(cluster, "ServiceAccount", namespace, name).await?;
    }
    e2e::nemo::bring(cluster).await?;
    for child in ["Role", "RoleBinding", "Deployment"] {
        site.eventually(&format!("{child} {name} is there"), SOON, || {
            objects::get(cluster, child, namespace, name)
        })
        .await?;
    }
    Ok(())
}

/// An account that was taken away under a service that runs: its pods go on, and no new template is written.
async fn what_runs_keeps_its_template(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let name = "account";
    site.eventually("it is Ready", SOON, || async {
        let found = objects::get(cluster, "NIMService", TAKEN, name).await?;
        objects::expect(&found, "Ready", "True")
    })
    .await?;
    let before = objects::get(cluster, "Deployment", TAKEN, name).await?;
    let stranger = json!({"metadata": {"ownerReferences": null, "labels": null, "annotations": null}});
    objects::patch(cluster, "ServiceAccount", TAKEN, name, stranger).await?;
    objects::patch(cluster, "NIMService", TAKEN, name, json!({"spec": {"command": ["id"]}})).await?;
    refused(site, "NIMService", TAKEN, name, "ServiceAccountConflict").await?;
    let after = objects::get(cluster, "Deployment", TAKEN, name).await?;
    assert_eq!(after["spec"], before["spec"], "no new template");
    assert_eq!(after["status"]["availableReplicas"], 1, "{}", after["status"]);
    Ok(())
}
