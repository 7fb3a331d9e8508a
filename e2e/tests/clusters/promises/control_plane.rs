//! The ground the other promises stand on: a cluster that runs pods and Jobs, and leaves nothing behind.

use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::cluster::{ADMIN, Cluster, Ground, Shape};
use e2e::failure::Failure;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ServiceAccount};
use kube::Api;
use kube::api::{LogParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/model_manifest.yaml");

async fn create<K>(api: &Api<K>, object: Value) -> Result<(), Failure>
where
    K: kube::Resource + Clone + serde::Serialize + DeserializeOwned + std::fmt::Debug,
{
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

async fn until<K>(api: &Api<K>, name: &str, condition: impl Condition<K>) -> Result<(), Failure>
where
    K: kube::Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let wait = await_condition(api.clone(), name, condition);
    tokio::time::timeout(Duration::from_mins(2), wait).await??;
    Ok(())
}

/// Waits for the service account of the default namespace, which a controller makes: a pod is refused without it.
async fn pods_are_taken(cluster: &Cluster) -> Result<(), Failure> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
    until(&accounts, "default", |account: Option<&_>| account.is_some()).await
}

/// Command lines of running processes that name `folder`.
fn processes_about(folder: &Path) -> Vec<String> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&*folder.to_string_lossy()))
        .collect()
}

fn pod_spec() -> Value {
    json!({
        "restartPolicy": "Never",
        "containers": [{
            "name": "main",
            "image": "example/model:1",
            "resources": {"limits": {"nvidia.com/gpu": "8"}},
        }],
    })
}

#[tokio::test]
async fn a_cluster_runs_pods_and_jobs_and_leaves_nothing_behind() -> Result<(), Failure> {
    let ground = Ground::prepare().await?;
    let folder = ground.folder().to_owned();
    let shape = Shape::new().gpus(H100, 8, 1).audited().container_logs(MANIFEST);
    let cluster = Cluster::start(&ground, "east", &shape).await?;
    assert!(processes_about(&folder).len() >= 6, "{:?}", processes_about(&folder));

    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods_are_taken(&cluster).await?;
    create(&pods, json!({"metadata": {"name": "one"}, "spec": pod_spec()})).await?;
    until(&pods, "one", |pod: Option<&Pod>| {
        pod.and_then(|p| p.status.as_ref()).is_some_and(|s| s.phase.as_deref() == Some("Running"))
    })
    .await?;
    let printed = pods.logs("one", &LogParams::default()).await?;
    assert_eq!(printed.trim(), fs::read_to_string(MANIFEST)?.trim());

    // All eight GPUs are taken: the scheduler holds the second pod back, and says why.
    create(&pods, json!({"metadata": {"name": "two"}, "spec": pod_spec()})).await?;
    until(&pods, "two", |pod: Option<&Pod>| {
        let conditions =
            pod.and_then(|p| p.status.as_ref()).and_then(|s| s.conditions.clone()).unwrap_or_default();
        conditions
            .iter()
            .any(|c| c.message.as_deref().is_some_and(|m| m.contains("Insufficient nvidia.com/gpu")))
    })
    .await?;

    let jobs: Api<Job> = Api::default_namespaced(cluster.client());
    let mut template = pod_spec();
    template["containers"][0]["resources"] = json!({});
    create(&jobs, json!({"metadata": {"name": "cache"}, "spec": {"template": {"spec": template}}})).await?;
    until(&jobs, "cache", kube::runtime::wait::conditions::is_job_completed()).await?;

    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(cluster.client());
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}});
    create(&claims, json!({"metadata": {"name": "models"}, "spec": spec})).await?;
    until(&claims, "models", |claim: Option<&PersistentVolumeClaim>| {
        claim.and_then(|c| c.status.as_ref()).is_some_and(|s| s.phase.as_deref() == Some("Bound"))
    })
    .await?;

    let created = cluster.audit().writes_by(ADMIN, jiff::Timestamp::UNIX_EPOCH);
    assert!(created.iter().any(|r| r.verb == "create" && r.resource == "jobs" && r.namespace == "default"));

    drop(cluster);
    drop(ground);
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !processes_about(&folder).is_empty() {
        assert!(std::time::Instant::now() < until, "left behind: {:?}", processes_about(&folder));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_was_away_comes_back_with_what_it_held() -> Result<(), Failure> {
    let ground = Ground::prepare().await?;
    let cluster = Cluster::start(&ground, "hub", &Shape::new()).await?;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    pods_are_taken(&cluster).await?;
    create(&pods, json!({"metadata": {"name": "one"}, "spec": pod_spec()})).await?;
    cluster.kill_api_server();
    assert!(pods.get("one").await.is_err());
    cluster.start_api_server().await?;
    pods.get("one").await?;
    Ok(())
}
