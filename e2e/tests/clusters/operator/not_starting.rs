//! Why pods do not start is told on the object that wants them, once, and taken back when it is over.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::{IDENTITY, Site};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::service::{NAMESPACE, SOON, apply, gone, ready, says, service, there};

/// Within this time a reason is told.
const TOLD: Duration = Duration::from_secs(10);
/// Label of nodes on which NIMCaches download by default.
const NVIDIA: &str = "feature.node.kubernetes.io/pci-10de.present";

#[tokio::test]
async fn why_pods_do_not_start_is_told_on_what_wants_them() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 2).with(&["LeaderWorkerSet"]).audited().start().await?;
    pods_that_a_quota_refuses(&site).await?;
    groups_that_a_quota_refuses(&site).await?;
    what_the_kubelet_says(&site).await?;
    replicas_that_serve_beside_one_that_cannot_start(&site).await?;
    a_model_that_loads_for_long(&site).await?;
    a_download_that_finds_no_node(&site).await
}

/// A quota of GPUs in the namespace; none takes it away.
async fn quota(site: &Site, gpus: Option<u32>) -> Result<(), Failure> {
    let Some(gpus) = gpus else {
        return objects::delete(site.cluster(), "ResourceQuota", NAMESPACE, "gpu-quota").await;
    };
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "gpu-quota", "namespace": NAMESPACE},
        "spec": {"hard": {"requests.nvidia.com/gpu": gpus.to_string()}},
    });
    objects::apply(site.cluster(), &quota.to_string()).await?;
    site.eventually(&format!("the quota is {gpus}"), SOON, || async {
        objects::expect_in_force(
            &objects::get(site.cluster(), "ResourceQuota", NAMESPACE, "gpu-quota").await?,
        )
    })
    .await
}

/// Warnings of one NIM object for a reason.
async fn warnings(site: &Site, name: &str, reason: &str) -> Result<Vec<Value>, Failure> {
    let events = objects::list(site.cluster(), "Event", NAMESPACE).await?;
    let is_it = |event: &Value| {
        event["type"] == "Warning" && event["reason"] == reason && event["involvedObject"]["name"] == name
    };
    Ok(events.into_iter().filter(is_it).collect())
}

async fn pods_that_a_quota_refuses(site: &Site) -> Result<(), Failure> {
    quota(site, Some(0)).await?;
    apply(site, "poor", json!({})).await?;
    let since = Timestamp::now();
    let message = says(site, "poor", "PodsNotCreated").await?;
    let took = Timestamp::now().duration_since(since);
    assert!(took.unsigned_abs() < TOLD, "told after {took}");
    assert!(message.contains("exceeded quota: gpu-quota, requested: requests.nvidia.com/gpu=1"), "{message}");
    site.eventually("it is told by an event", SOON, || async {
        match warnings(site, "poor", "PodsNotCreated").await?.len() {
            1 => Ok(()),
            several => Err(Failure::new(format!("{several} events"))),
        }
    })
    .await?;
    quota(site, Some(16)).await?;
    let found = ready(site, "poor").await?;
    assert_eq!(objects::condition(&found, "ReplicaFailure"), None, "{}", found["status"]);
    assert_eq!(warnings(site, "poor", "PodsNotCreated").await?.len(), 1, "told once");
    // One more than the quota lets be: what serves goes on, and so says the service.
    quota(site, Some(1)).await?;
    apply(site, "poor", json!({"replicas": 2})).await?;
    let message = still_ready(site, "poor", "PodsNotCreated").await?;
    assert!(message.starts_with("1 replica serves") && message.contains("exceeded quota"), "{message}");
    quota(site, None).await?;
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "poor").await?;
    gone(site, "Deployment", "poor").await
}

/// Waits until the service is Ready and says all the same why other replicas are not; gives back Ready's message.
async fn still_ready(site: &Site, name: &str, reason: &str) -> Result<String, Failure> {
    site.eventually(&format!("{name} is Ready, {reason}"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, name).await?;
        let failure = objects::condition(&found, "ReplicaFailure");
        match (objects::condition(&found, "Ready"), failure) {
            (Some((status, _, message)), Some((_, why, _))) if status == "True" && why == reason => {
                assert!(found["status"]["availableReplicas"].as_i64() > Some(0), "{}", found["status"]);
                Ok(message)
            }
            other => Err(Failure::new(format!("{other:?}"))),
        }
    })
    .await
}

/// The controller of LeaderWorkerSets is played: it makes a StatefulSet of leaders.
async fn groups_that_a_quota_refuses(site: &Site) -> Result<(), Failure> {
    quota(site, Some(0)).await?;
    let parallelism = json!({"parallelism": {"pipeline": 2, "tensor": 8}});
    apply(site, "wide", json!({"multiNode": parallelism})).await?;
    there(site, "LeaderWorkerSet", "wide-lws").await?;
    let labels = json!({"leaderworkerset.sigs.k8s.io/name": "wide-lws"});
    let gpus = json!({"limits": {"nvidia.com/gpu": 8}});
    let leaders = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "wide-lws", "namespace": NAMESPACE},
        "spec": {
            "replicas": 1, "serviceName": "wide-lws", "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i", "resources": gpus}]}},
        },
    });
    objects::apply(site.cluster(), &leaders.to_string()).await?;
    let message = says(site, "wide", "PodsNotCreated").await?;
    assert!(message.contains("wide-lws-0") && message.contains("exceeded quota: gpu-quota"), "{message}");
    quota(site, None).await?;
    site.cluster().kubectl(&["delete", "statefulset", "wide-lws", "-n", NAMESPACE], None).await?;
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "wide").await?;
    gone(site, "LeaderWorkerSet", "wide-lws").await
}

/// The name of the one pod of a service.
async fn pod(site: &Site, name: &str) -> Result<String, Failure> {
    let all = objects::pods(site.cluster(), NAMESPACE, name).await?;
    let found = all.first().and_then(|pod| pod["metadata"]["name"].as_str());
    found.map(str::to_owned).ok_or_else(|| Failure::new(format!("{name} has no pod")))
}

/// Has a pod's kubelet say of its container that it is so; a pod is ready with what is `ready`.
async fn kubelet(site: &Site, pod: &str, container: Value, ready: bool) -> Result<(), Failure> {
    let truth = if ready { "True" } else { "False" };
    let condition =
        |kind: &str| json!({"type": kind, "status": truth, "lastTransitionTime": Timestamp::now()});
    let mut status = json!({"name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": 0});
    for (field, value) in container.as_object().into_iter().flatten() {
        status[field] = value.clone();
    }
    let mut conditions = vec![condition("Ready"), condition("ContainersReady")];
    conditions.push(json!({"type": "PodScheduled", "status": "True"}));
    let status = json!({"phase": "Running", "conditions": conditions, "containerStatuses": [status]});
    objects::play_status(site.cluster(), "Pod", NAMESPACE, pod, status).await
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({"state": {"waiting": {"reason": reason, "message": message}}})
}

async fn what_the_kubelet_says(site: &Site) -> Result<(), Failure> {
    apply(site, "chat", json!({})).await?;
    ready(site, "chat").await?;
    let pod = pod(site, "chat").await?;
    let pulls = "Back-off pulling image \"nvcr.io/nim/meta/llama:9.9.9\"";
    kubelet(site, &pod, waiting("ImagePullBackOff", pulls), false).await?;
    let message = says(site, "chat", "ImagePullBackOff").await?;
    assert!(message.starts_with(&format!("ImagePullBackOff: {pulls}")), "{message}");
    assert!(message.contains(&format!("(pod {pod})")), "{message}");
    // What the Deployment says of its pod follows.
    site.eventually("no replica is available", SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", NAMESPACE, "chat").await?;
        let deployment = objects::get(site.cluster(), "Deployment", NAMESPACE, "chat").await?;
        let available = [&found["status"]["availableReplicas"], &deployment["status"]["availableReplicas"]];
        if available.iter().all(|count| count.as_i64().unwrap_or_default() == 0) {
            Ok(())
        } else {
            Err(Failure::new(format!("{available:?}")))
        }
    })
    .await?;
    // The two words of the kubelet in turn are one state of the service.
    let since = Timestamp::now();
    for _ in 0..5 {
        kubelet(site, &pod, waiting("ErrImagePull", "failed to pull and unpack: not found"), false).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        kubelet(site, &pod, waiting("ImagePullBackOff", pulls), false).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let missing = "couldn't find key NGC_API_KEY in Secret models/ngc-api-secret";
    kubelet(site, &pod, waiting("CreateContainerConfigError", missing), false).await?;
    let message = says(site, "chat", "CreateContainerConfigError").await?;
    assert!(message.starts_with(&format!("CreateContainerConfigError: {missing}")), "{message}");
    // The API server notes a request when it has answered, which is after what was written can be read.
    let statuses = site
        .eventually("the status is in the audit log", SOON, || async {
            let mut ours = site.cluster().audit().writes_by(IDENTITY, since);
            ours.retain(|write| write.resource == "nimservices/status");
            if ours.is_empty() { Err(Failure::new("no status")) } else { Ok(ours) }
        })
        .await?;
    assert_eq!(statuses.len(), 1, "one for the new reason: {statuses:?}");
    let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "no licence"}});
    let mut crash = waiting("CrashLoopBackOff", "back-off 40s restarting failed container");
    crash["restartCount"] = json!(4);
    crash["lastState"] = ended.clone();
    kubelet(site, &pod, crash, false).await?;
    let message = says(site, "chat", "CrashLoopBackOff").await?;
    for word in ["CrashLoopBackOff: container c", "exit code 1", "restarted 4 times", "no licence"] {
        assert!(message.contains(word), "{message} lacks {word}");
    }
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let running = json!({"state": {"running": {"startedAt": Timestamp::now()}}, "lastState": killed, "restartCount": 5});
    kubelet(site, &pod, running, false).await?;
    let message = says(site, "chat", "OutOfMemory").await?;
    assert!(message.contains("OOMKilled") && message.contains("restarted 5 times"), "{message}");
    kubelet(site, &pod, json!({"state": {"running": {"startedAt": Timestamp::now()}}}), true).await?;
    let found = ready(site, "chat").await?;
    assert_eq!(objects::condition(&found, "ReplicaFailure"), None, "{}", found["status"]);
    Ok(())
}

async fn replicas_that_serve_beside_one_that_cannot_start(site: &Site) -> Result<(), Failure> {
    apply(site, "chat", json!({"replicas": 2})).await?;
    ready(site, "chat").await?;
    apply(site, "chat", json!({"replicas": 2, "nodeSelector": {"slot": "none"}})).await?;
    // The Deployment's controller makes a pod of the new template before it takes one of the old away.
    site.eventually("one replica is left", SOON, || async {
        let message = still_ready(site, "chat", "Unschedulable").await?;
        let told = message.starts_with("1 replica serves; Waiting for deployment \"chat\" rollout");
        if told && message.contains("0/2 nodes are available") { Ok(()) } else { Err(Failure::new(message)) }
    })
    .await?;
    apply(site, "chat", json!({"replicas": 1, "nodeSelector": {"slot": "none"}})).await?;
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "chat").await?;
    gone(site, "Deployment", "chat").await
}

async fn a_model_that_loads_for_long(site: &Site) -> Result<(), Failure> {
    let probe = json!({
        "httpGet": {"path": "/v1/health/ready", "port": "api"}, "initialDelaySeconds": 60, "periodSeconds": 10,
        "timeoutSeconds": 10, "successThreshold": 1, "failureThreshold": 750,
    });
    apply(site, "slow", json!({"startupProbe": {"enabled": true, "probe": probe}})).await?;
    let deployment = there(site, "Deployment", "slow").await?;
    assert_eq!(deployment["spec"]["progressDeadlineSeconds"], 60 + 7500 + 600);
    objects::delete(site.cluster(), "NIMService", NAMESPACE, "slow").await
}

async fn a_download_that_finds_no_node(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    for node in objects::list(cluster, "Node", "").await? {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        objects::patch(cluster, "Node", "", name, json!({"metadata": {"labels": {NVIDIA: null}}})).await?;
    }
    let cache = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache", "metadata": {"name": "ocr", "namespace": NAMESPACE},
        "spec": {
            "source": {"ngc": {"modelPuller": "nvcr.io/nim/nvidia/ocr:1.2.1", "pullSecret": "s", "authSecret": "s",
                "model": {"profiles": ["all"]}}},
            "storage": {"pvc": {"create": true, "size": "25Gi", "volumeAccessMode": "ReadWriteOnce"}},
        },
    });
    let user = service("ocr", json!({"storage": {"nimCache": {"name": "ocr"}}}));
    objects::apply(cluster, &format!("{user}\n---\n{cache}")).await?;
    let message = site
        .eventually("the service says what its cache waits for", SOON, || async {
            let found = objects::get(cluster, "NIMService", NAMESPACE, "ocr").await?;
            match objects::condition(&found, "Ready") {
                Some((_, reason, message)) if message.contains("nodes are available") => {
                    Ok((reason, message))
                }
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await?;
    assert_eq!(message.0, "NIMCacheNotReady");
    for word in
        ["NIMCache ocr not ready: Unschedulable", "0/2 nodes", "set spec.nodeSelector, {} for any node"]
    {
        assert!(message.1.contains(word), "{} lacks {word}", message.1);
    }
    let mut anywhere = cache;
    anywhere["spec"]["nodeSelector"] = json!({});
    objects::apply(cluster, &anywhere.to_string()).await
}
