//! What a GitOps tool, an autoscaler or an admission webhook does to objects: the operator neither fights it nor owns it.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::{IDENTITY, Site};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::service::{NAMESPACE, SOON, apply, ready, service};

/// How often the status of an autoscaler changes in the test.
const STATUS_CHANGES: u32 = 10;
/// How long the operator has for a write that it must not make.
const QUIET: Duration = Duration::from_secs(2);

/// Applies a manifest as Helm 4 and Argo CD do: by one manager, to the server, without force.
async fn apply_as_helm(site: &Site, manifest: &Value) -> Result<(), Failure> {
    let arguments = ["apply", "--server-side", "--field-manager=helm", "-f", "-"];
    site.cluster().kubectl(&arguments, Some(&manifest.to_string())).await?;
    Ok(())
}

async fn with_managers(site: &Site, kind: &str, name: &str) -> Result<Value, Failure> {
    let arguments = ["get", kind, name, "-n", NAMESPACE, "-o", "json", "--show-managed-fields"];
    let text = site.cluster().kubectl(&arguments, None).await?;
    serde_json::from_str(&text).map_err(|error| Failure::new(error.to_string()))
}

#[tokio::test]
async fn a_spec_belongs_to_its_author_and_applying_it_again_never_conflicts() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).start().await?;
    site.cluster().kubectl(&["create", "namespace", NAMESPACE], None).await?;
    let limits = json!({"nvidia.com/gpu": 1, "cpu": 40, "memory": "65536Mi"});
    let embed = service(
        "embed",
        json!({
            "storage": {"nimCache": {"name": "embed", "profile": ""}},
            "resources": {"limits": limits, "requests": {"nvidia.com/gpu": 1, "cpu": "1000m"}},
        }),
    );
    let source = json!({"ngc": {
        "modelPuller": "nvcr.io/nim/nvidia/embed:1.10.1", "pullSecret": "ngc-secret", "authSecret": "ngc-api-secret",
        "model": {"engine": "tensorrt", "tensorParallelism": "1"},
    }});
    let storage = json!({"pvc": {"create": true, "size": "25Gi", "volumeAccessMode": "ReadWriteOnce"}});
    let cache = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
        "metadata": {"name": "embed", "namespace": NAMESPACE},
        "spec": {"source": source, "storage": storage, "resources": {"cpu": 2, "memory": "4096Mi"}},
    });
    let plain = service("plain", json!({"resources": {"limits": limits}}));
    for manifest in [&embed, &cache, &plain] {
        apply_as_helm(&site, manifest).await?;
    }
    ready(&site, "plain").await?;
    for (kind, name, manifest) in
        [("NIMService", "embed", &embed), ("NIMCache", "embed", &cache), ("NIMService", "plain", &plain)]
    {
        let found = site
            .eventually(&format!("{kind} {name} has its finalizer"), SOON, || async {
                let found = with_managers(&site, kind, name).await?;
                if found["metadata"]["finalizers"].is_array() {
                    Ok(found)
                } else {
                    Err(Failure::new("none yet"))
                }
            })
            .await?;
        for entry in found["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let owns = &entry["fieldsV1"]["f:spec"];
            assert!(entry["manager"] == "helm" || owns.is_null(), "{kind} {name}: {entry}");
        }
        assert_eq!(found["metadata"]["generation"], 1, "{kind} {name} was changed: {}", found["spec"]);
        for _ in 0..2 {
            apply_as_helm(&site, manifest).await?;
        }
        let again = with_managers(&site, kind, name).await?;
        assert_eq!(again["metadata"]["generation"], 1, "{kind} {name}");
        assert_eq!(again["spec"], found["spec"], "{kind} {name}");
    }
    let stored = objects::get(site.cluster(), "NIMService", NAMESPACE, "embed").await?;
    assert_eq!(stored["spec"]["resources"]["limits"]["nvidia.com/gpu"], 1);
    assert_eq!(stored["spec"]["resources"]["limits"]["cpu"], 40);
    assert_eq!(stored["spec"]["storage"]["nimCache"]["profile"], "");

    let mut wider = plain.clone();
    wider["spec"]["resources"]["limits"]["nvidia.com/gpu"] = json!(2);
    apply_as_helm(&site, &wider).await?;
    site.eventually("the Deployment follows its author", SOON, || async {
        let found = objects::get(site.cluster(), "Deployment", NAMESPACE, "plain").await?;
        let limits = &found["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
        if limits["nvidia.com/gpu"] == "2" { Ok(()) } else { Err(Failure::new(limits.to_string())) }
    })
    .await
}

#[tokio::test]
async fn an_autoscaler_whose_status_changes_is_left_alone() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).audited().start().await?;
    site.cluster().kubectl(&["create", "namespace", NAMESPACE], None).await?;
    let resource =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let pods = |metric: &str, amount: &str| json!({"type": "Pods", "pods": {"metric": {"name": metric}, "target": {"type": "AverageValue", "averageValue": amount}}});
    let metrics = json!([
        resource("cpu", json!({"type": "Utilization", "averageUtilization": 70})),
        resource("memory", json!({"type": "AverageValue", "averageValue": "0.5Gi"})),
        pods("gpu_cache_usage_perc", "0.75"),
        pods("num_requests_waiting", "1000m"),
    ]);
    let hpa = json!({"minReplicas": 1, "maxReplicas": 4, "metrics": metrics});
    let scaled = service("scaled", json!({"replicas": null, "scale": {"enabled": true, "hpa": hpa}}));
    apply_as_helm(&site, &scaled).await?;
    ready(&site, "scaled").await?;
    let cluster = site.cluster();
    let since = Timestamp::now();
    for round in 0..STATUS_CHANGES {
        let status = json!({"currentReplicas": 1, "desiredReplicas": 1 + round % 2});
        objects::play_status(cluster, "HorizontalPodAutoscaler", NAMESPACE, "scaled", status).await?;
    }
    tokio::time::sleep(QUIET).await;
    let writes = cluster.audit().writes_by(IDENTITY, since);
    let writes: Vec<_> = writes.iter().filter(|write| write.resource.contains("autoscaler")).collect();
    assert!(writes.is_empty(), "the autoscaler was written: {writes:?}");

    let spec = objects::get(cluster, "HorizontalPodAutoscaler", NAMESPACE, "scaled").await?;
    let mut changed = spec["spec"]["metrics"].clone();
    let memory =
        changed.as_array_mut().and_then(|all| all.iter_mut().find(|one| one["resource"]["name"] == "memory"));
    memory.expect("a metric of memory")["resource"]["target"]["averageValue"] = json!("9Gi");
    let patch = json!({"spec": {"metrics": changed}}).to_string();
    cluster
        .kubectl(&["patch", "hpa", "scaled", "-n", NAMESPACE, "--type=merge", "--patch", &patch], None)
        .await?;
    site.eventually("a local change of a later metric is undone", SOON, || async {
        let found = objects::get(cluster, "HorizontalPodAutoscaler", NAMESPACE, "scaled").await?;
        let text = found["spec"]["metrics"].to_string();
        if text.contains("9Gi") { Err(Failure::new(text)) } else { Ok(()) }
    })
    .await
}

#[tokio::test]
async fn an_autoscaler_of_the_users_is_named_while_the_spec_says_the_replicas_too() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).audited().start().await?;
    let cluster = site.cluster();
    apply(&site, "chat", json!({"replicas": 1})).await?;
    ready(&site, "chat").await?;
    // As KEDA makes it of a ScaledObject; nothing here tells the metric, so it holds its bounds alone.
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-chat", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat"},
            "minReplicas": 1, "maxReplicas": 5, "metrics": [{"type": "Resource", "resource": cpu}],
        },
    });
    objects::apply(cluster, &hpa.to_string()).await?;
    let message = site
        .eventually("the autoscaler is named", SOON, || async {
            let found = objects::get(cluster, "NIMService", NAMESPACE, "chat").await?;
            match objects::condition(&found, "ReplicasContested") {
                Some((status, _, message)) if status == "True" => Ok(message),
                other => Err(Failure::new(format!("ReplicasContested is {other:?}"))),
            }
        })
        .await?;
    let words =
        "HorizontalPodAutoscaler keda-hpa-chat scales Deployment chat too: remove spec.replicas to let it";
    assert!(message.starts_with(words), "{message}");
    let event = site
        .eventually("an event warns", SOON, || async {
            let events = objects::list(cluster, "Event", NAMESPACE).await?;
            let told = events.into_iter().find(|event| event["reason"] == "ReplicasContested");
            told.ok_or_else(|| Failure::new("no event of it"))
        })
        .await?;
    assert_eq!(event["type"], "Warning");
    scale(&site, "chat", 3).await?;
    replicas(&site, "chat", 1, "the spec wins while it says the number").await?;

    apply(&site, "chat", json!({"replicas": null})).await?;
    site.eventually("nothing is contested any more", SOON, || async {
        let found = objects::get(cluster, "NIMService", NAMESPACE, "chat").await?;
        objects::condition(&found, "ReplicasContested")
            .map_or(Ok(()), |told| Err(Failure::new(format!("{told:?}"))))
    })
    .await?;
    objects::delete(cluster, "HorizontalPodAutoscaler", NAMESPACE, "keda-hpa-chat").await?;
    for wanted in [3, 0] {
        scale(&site, "chat", wanted).await?;
        tokio::time::sleep(QUIET).await;
        replicas(&site, "chat", wanted, "whoever scales it has it").await?;
        let found = objects::get(cluster, "NIMService", NAMESPACE, "chat").await?;
        objects::expect(&found, "Failed", "False")?;
    }
    Ok(())
}

async fn scale(site: &Site, name: &str, replicas: i64) -> Result<(), Failure> {
    let count = format!("--replicas={replicas}");
    site.cluster().kubectl(&["scale", "deployment", name, "-n", NAMESPACE, &count], None).await?;
    Ok(())
}

async fn replicas(site: &Site, name: &str, wanted: i64, why: &str) -> Result<(), Failure> {
    site.eventually(&format!("{name} has {wanted}: {why}"), SOON, || async {
        let found = objects::get(site.cluster(), "Deployment", NAMESPACE, name).await?;
        let is = &found["spec"]["replicas"];
        if *is == wanted { Ok(()) } else { Err(Failure::new(is.to_string())) }
    })
    .await
}

#[tokio::test]
async fn an_operator_that_starts_again_writes_nothing() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).audited().start().await?;
    apply(&site, "steady", json!({})).await?;
    ready(&site, "steady").await?;
    site.eventually("its endpoint has answered", SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, "steady").await?;
        objects::condition(&found, "ModelReachable").map(drop).ok_or_else(|| Failure::new("not yet"))
    })
    .await?;
    site.operator().kill();
    let since = Timestamp::now();
    site.start_operator().await?;
    tokio::time::sleep(QUIET).await;
    let writes = site.cluster().audit().writes_by(IDENTITY, since);
    assert!(writes.is_empty(), "{writes:?}");
    Ok(())
}
