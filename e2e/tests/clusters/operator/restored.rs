//! Objects that come back: children without an owner are taken on again, children of a predecessor are waited for.

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

use super::service::{NAMESPACE, SOON, apply, gone, ready};

/// Children of a NIMService with a claim and an autoscaler.
const CHILDREN: [&str; 7] = [
    "Deployment",
    "Service",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "HorizontalPodAutoscaler",
    "PersistentVolumeClaim",
];

fn spec() -> Value {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
    json!({
        "replicas": null,
        "storage": {"pvc": {"create": true, "size": "60Gi", "volumeAccessMode": "ReadWriteOnce"}},
        "scale": {"enabled": true, "hpa": {"minReplicas": 1, "maxReplicas": 2, "metrics": [metric]}},
    })
}

fn cache() -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
        "metadata": {"name": "model", "namespace": NAMESPACE},
        "spec": {
            "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1.8.3", "pullSecret": "s", "authSecret": "s",
                "model": {"profiles": ["all"]}}},
            "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
        },
    })
}

fn child(kind: &str, name: &str) -> String {
    if kind == "PersistentVolumeClaim" { format!("{name}-pvc") } else { name.to_owned() }
}

/// Uids of the pods of a service.
async fn pods(site: &Site, name: &str) -> Result<Vec<Value>, Failure> {
    objects::pod_uids(site.cluster(), NAMESPACE, name).await
}

async fn cache_ready(site: &Site) -> Result<Value, Failure> {
    site.eventually("the cache is Ready", SOON, || async {
        let found = objects::get(site.cluster(), "NIMCache", NAMESPACE, "model").await?;
        if found["status"]["state"] == "Ready" {
            Ok(found)
        } else {
            Err(Failure::new(found["status"].to_string()))
        }
    })
    .await
}

/// Warnings that were told of objects of the operator's, in words.
async fn warnings(site: &Site) -> Result<Vec<String>, Failure> {
    let events = objects::list(site.cluster(), "Event", NAMESPACE).await?;
    let ours = events.iter().filter(|event| {
        let kind = event["involvedObject"]["kind"].as_str().unwrap_or_default();
        event["type"] == "Warning" && kind.starts_with("NIM")
    });
    Ok(ours.map(|event| format!("{}: {}", event["reason"], event["message"])).collect())
}

#[tokio::test]
async fn what_is_restored_or_made_again_takes_its_children_on() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 2).start().await?;
    left_behind_and_applied_again(&site).await?;
    a_cache_left_behind(&site).await?;
    replaced_by_force(&site).await?;
    deleted_in_the_foreground(&site).await
}

async fn left_behind_and_applied_again(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    apply(site, "chat", spec()).await?;
    ready(site, "chat").await?;
    let before = pods(site, "chat").await?;
    assert_eq!(before.len(), 1);
    cluster.kubectl(&["delete", "nimservice", "chat", "-n", NAMESPACE, "--cascade=orphan"], None).await?;
    for kind in CHILDREN {
        let found = objects::get(cluster, kind, NAMESPACE, &child(kind, "chat")).await?;
        assert!(found["metadata"]["ownerReferences"].is_null(), "{kind}: {}", found["metadata"]);
    }
    apply(site, "chat", spec()).await?;
    let uid = ready(site, "chat").await?["metadata"]["uid"].clone();
    for kind in CHILDREN {
        site.eventually(&format!("{kind} is owned again"), SOON, || async {
            let found = objects::get(cluster, kind, NAMESPACE, &child(kind, "chat")).await?;
            let owner = &found["metadata"]["ownerReferences"][0];
            if owner["uid"] == uid && owner["controller"] == true {
                Ok(())
            } else {
                Err(Failure::new(owner.to_string()))
            }
        })
        .await?;
    }
    assert_eq!(pods(site, "chat").await?, before, "no pod was touched");
    assert_eq!(
        objects::get(cluster, "Deployment", NAMESPACE, "chat").await?["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "1"
    );
    objects::delete(cluster, "NIMService", NAMESPACE, "chat").await?;
    for kind in CHILDREN {
        gone(site, kind, &child(kind, "chat")).await?;
    }
    Ok(())
}

async fn a_cache_left_behind(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    objects::apply(cluster, &cache().to_string()).await?;
    cache_ready(site).await?;
    cluster.kubectl(&["delete", "nimcache", "model", "-n", NAMESPACE, "--cascade=orphan"], None).await?;
    let account = objects::get(cluster, "ServiceAccount", NAMESPACE, "nim-cache-sa").await?;
    assert!(
        account["metadata"]["deletionTimestamp"].is_null(),
        "nothing is deleted with an orphaning deletion"
    );
    let claim = objects::get(cluster, "PersistentVolumeClaim", NAMESPACE, "model-pvc").await?;
    objects::apply(cluster, &cache().to_string()).await?;
    let uid = cache_ready(site).await?["metadata"]["uid"].clone();
    site.eventually("the claim is owned again", SOON, || async {
        let taken = objects::get(cluster, "PersistentVolumeClaim", NAMESPACE, "model-pvc").await?;
        assert_eq!(taken["metadata"]["uid"], claim["metadata"]["uid"], "the same claim");
        let owner = &taken["metadata"]["ownerReferences"][0];
        if owner["uid"] == uid { Ok(()) } else { Err(Failure::new(owner.to_string())) }
    })
    .await?;
    objects::delete(cluster, "NIMCache", NAMESPACE, "model").await?;
    gone(site, "PersistentVolumeClaim", "model-pvc").await?;
    gone(site, "ConfigMap", "model-manifest").await
}

/// The service stands before its cache, as documents often do, and both are deleted and made again at once.
async fn replaced_by_force(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let service = super::service::service("forced", json!({"storage": {"nimCache": {"name": "model"}}}));
    let both = format!("{service}\n---\n{}", cache());
    objects::apply(cluster, &both).await?;
    ready(site, "forced").await?;
    for _ in 0..4 {
        let old = objects::get(cluster, "PersistentVolumeClaim", NAMESPACE, "model-pvc").await?;
        cluster.kubectl(&["replace", "--force", "-f", "-"], Some(&both)).await?;
        ready(site, "forced").await?;
        let new = objects::get(cluster, "PersistentVolumeClaim", NAMESPACE, "model-pvc").await?;
        assert_ne!(new["metadata"]["uid"], old["metadata"]["uid"], "a new claim");
        assert!(new["metadata"]["deletionTimestamp"].is_null());
    }
    assert_eq!(warnings(site).await?, Vec::<String>::new());
    objects::delete(cluster, "NIMService", NAMESPACE, "forced").await?;
    objects::delete(cluster, "NIMCache", NAMESPACE, "model").await
}

/// A pod that takes its time keeps the deleted object: it does not say Ready meanwhile, and what comes after it does.
async fn deleted_in_the_foreground(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    apply(site, "slow", json!({})).await?;
    ready(site, "slow").await?;
    let all = objects::pods(cluster, NAMESPACE, "slow").await?;
    let pod = all.first().ok_or_else(|| Failure::new("it has no pod"))?;
    let pod = pod["metadata"]["name"].as_str().unwrap_or_default();
    objects::patch(
        cluster,
        "Pod",
        NAMESPACE,
        pod,
        json!({"metadata": {"finalizers": ["test.example/slow"]}}),
    )
    .await?;
    cluster
        .kubectl(
            &["delete", "nimservice", "slow", "-n", NAMESPACE, "--cascade=foreground", "--wait=false"],
            None,
        )
        .await?;
    site.eventually("it is not Ready while it goes", SOON, || async {
        let found = objects::get(cluster, "NIMService", NAMESPACE, "slow").await?;
        objects::expect(&found, "Ready", "False")?;
        if found["status"]["availableReplicas"].is_null() {
            Ok(())
        } else {
            Err(Failure::new("replicas are told"))
        }
    })
    .await?;
    objects::patch(cluster, "Pod", NAMESPACE, pod, json!({"metadata": {"finalizers": null}})).await?;
    gone(site, "NIMService", "slow").await?;
    apply(site, "slow", json!({})).await?;
    ready(site, "slow").await?;
    assert_eq!(warnings(site).await?, Vec::<String>::new());
    Ok(())
}
