//! KServe's own controller on a cluster: pods by Deployments, and Knative's Services as objects that nobody reconciles.

use std::fs;

use serde_json::{Value, json};

use super::released::{self, Webhooks, address, certificate, definitions, webhooks};
use crate::cluster::{Cluster, Ground};
use crate::controlplane::Controller;
use crate::failure::Failure;
use crate::fleet::Daemon;
use crate::objects;
use crate::process::Program;

/// Its own namespace.
pub const NAMESPACE: &str = "kserve";
/// Its settings.
const SETTINGS: &str = "config/configmap/inferenceservice.yaml";
/// What it needs to be there of Knative.
const KNATIVE: &str = "knative-serving";

/// Installs KServe, starts it and waits until it is ready.
pub async fn start(ground: &Ground, cluster: &Cluster) -> Result<Daemon, Failure> {
    let built = tokio::task::spawn_blocking(|| Controller::KServe.ready()).await??;
    let folder = cluster.folder().join("kserve");
    certificate(ground, &folder.join("k8s-webhook-server/serving-certs"))?;
    let crds =
        ["config/crd/full", "config/crd/full/clusterstoragecontainer", "test/crds/knative_service.yaml"];
    definitions(cluster, &built.module, &crds).await?;
    let text = fs::read_to_string(built.module.join(SETTINGS))?;
    for object in [settings(&text)?, operator(), knative()] {
        objects::apply(cluster, &object.to_string()).await?;
    }
    let (hooks, health, metrics) = (address()?, address()?, address()?);
    let program = Program::new(&built.program, cluster.folder().join("kserve.log"))
        .env("KUBECONFIG", cluster.kubeconfig())
        .env("POD_NAMESPACE", NAMESPACE)
        // The folder of its certificate is fixed below this one.
        .env("TMPDIR", folder)
        .flag("webhook-port", hooks.port())
        .flag("health-probe-addr", health)
        .flag("metrics-addr", metrics);
    let controller = Daemon::new("KServe", program, health);
    released::start(&controller).await?;
    let hooks = Webhooks {
        manifests: &built.module.join("config/webhook/manifests.yaml"),
        port: hooks.port(),
        prefix: "",
        selected: &[],
        spared: &[],
        system: &[],
    };
    webhooks(ground, cluster, &hooks).await?;
    Ok(controller)
}

/// The settings as they are released, but for Deployments by default and no objects of Istio, which is not there.
fn settings(text: &str) -> Result<Value, Failure> {
    let mut settings: Value = serde_saphyr::from_str(text)?;
    let data = settings["data"].as_object_mut().ok_or_else(|| Failure::new("KServe's settings are empty"))?;
    data.remove("_example");
    let ingress = data.get("ingress").and_then(Value::as_str).unwrap_or("{}");
    let mut ingress: Value = serde_json::from_str(ingress)?;
    ingress["disableIstioVirtualHost"] = json!(true);
    data.insert("ingress".into(), json!(ingress.to_string()));
    data.insert("deploy".into(), json!(json!({"defaultDeploymentMode": "Standard"}).to_string()));
    settings["metadata"] = json!({"name": "inferenceservice-config", "namespace": NAMESPACE});
    Ok(settings)
}

/// The Deployment by which KServe is found; nothing of it runs as a pod.
fn operator() -> Value {
    let labels = json!({"control-plane": "kserve-controller-manager"});
    let containers = json!([{"name": "manager", "image": "kserve"}]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "kserve-controller-manager", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    })
}

fn knative() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "config-autoscaler", "namespace": KNATIVE},
        "data": {"allow-zero-initial-scale": "false"},
    })
}
