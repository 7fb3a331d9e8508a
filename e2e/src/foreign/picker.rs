//! The endpoint picker of the Gateway API Inference Extension, run as its Deployment says: by its arguments, its configuration and
//! its ServiceAccount.

use std::fs;

use serde_json::Value;

use super::released::{address, definitions};
use crate::cluster::Cluster;
use crate::controlplane::Controller;
use crate::failure::Failure;
use crate::fleet::Daemon;
use crate::objects;
use crate::process::Program;

/// Installs the definitions of its module, the InferencePool's among them.
pub async fn install(cluster: &Cluster) -> Result<(), Failure> {
    let built = tokio::task::spawn_blocking(|| Controller::EndpointPicker.ready()).await??;
    definitions(cluster, &built.module, &["config/crd/bases"]).await
}

/// Starts what the Deployment `name` runs; its metrics are the daemon's. Of its arguments the path of the configuration alone is
/// another one, since nothing is mounted here.
pub async fn start(cluster: &Cluster, namespace: &str, name: &str) -> Result<Daemon, Failure> {
    let built = tokio::task::spawn_blocking(|| Controller::EndpointPicker.ready()).await??;
    let deployment = objects::get(cluster, "Deployment", namespace, name).await?;
    let pod = &deployment["spec"]["template"]["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let account = text(&pod["serviceAccountName"]);
    let token = cluster.kubectl(&["create", "token", &account, "-n", namespace], None).await?;
    let kubeconfig = cluster.kubeconfig_for(name, token.trim())?;

    let map = text(&pod["volumes"][0]["configMap"]["name"]);
    let mount = text(&pod["containers"][0]["volumeMounts"][0]["mountPath"]);
    let folder = cluster.folder().join(name);
    fs::create_dir_all(&folder)?;
    let map = objects::get(cluster, "ConfigMap", namespace, &map).await?;
    for (file, content) in map["data"].as_object().into_iter().flatten() {
        fs::write(folder.join(file), text(content))?;
    }
    let (asked, health, metrics) = (address()?, address()?, address()?);
    let mut program = Program::new(&built.program, cluster.folder().join(format!("{name}.log")));
    for argument in pod["containers"][0]["args"].as_array().into_iter().flatten() {
        program = program.arg(text(argument).replace(&mount, &folder.to_string_lossy()));
    }
    let program = program
        .flag("grpc-port", asked.port())
        .flag("grpc-health-port", health.port())
        .flag("metrics-port", metrics.port())
        .flag("metrics-endpoint-auth", false)
        .env("KUBECONFIG", kubeconfig);
    let picker = Daemon::new("the endpoint picker", program, metrics);
    picker.start()?;
    Ok(picker)
}
