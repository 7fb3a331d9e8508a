//! kwok in the place of every kubelet: pods run, Jobs complete, claims are bound, containers have printed.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::{Cluster, ClusterError, Ground, at, write};
use crate::port;
use crate::process::Program;

/// Folders of kwok's module with the stages of objects that pass through their lives at once.
const STAGES: [&str; 3] = ["node/fast", "pod/fast", "volume/fast"];
/// The default StorageClass, whose claims kwok's stages bind.
const STORAGE_CLASS: &str = "kwok-volume";

/// What the cluster must have before its kubelets do.
pub(super) async fn prepare(cluster: &Cluster) -> Result<(), ClusterError> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kwok.x-k8s.io/volume",
    });
    let api: Api<StorageClass> = Api::all(cluster.client());
    api.patch(STORAGE_CLASS, &PatchParams::apply("e2e").force(), &Patch::Apply(&class))
        .await
        .map_err(cluster.fault("creating the storage class"))?;
    Ok(())
}

/// kwok for all nodes; every container has printed the lines of the file `logs`.
pub(super) fn program(
    ground: &Ground,
    cluster: &Cluster,
    logs: Option<&Path>,
) -> Result<Program, ClusterError> {
    let port = port::free()?;
    let authority = ground.authority();
    let mut program = Program::new(ground.programs().path("kwok"), cluster.folder().join("kwok.log"))
        .flag("kubeconfig", cluster.kubeconfig().display())
        .flag("manage-all-nodes", true)
        .flag("node-lease-duration-seconds", 40)
        .flag("server-address", format!("127.0.0.1:{port}"))
        .flag("node-ip", "127.0.0.1")
        .flag("node-port", port)
        .flag("tls-cert-file", authority.serving_certificate.display())
        .flag("tls-private-key-file", authority.serving_key.display());
    for stage in stages(&ground.programs().kwok_module)? {
        program = program.flag("config", stage.display());
    }
    if let Some(logs) = logs {
        program = program.flag("config", container_logs(cluster, logs)?.display());
    }
    Ok(program)
}

fn stages(module: &Path) -> Result<Vec<PathBuf>, ClusterError> {
    let mut found = Vec::new();
    for folder in STAGES.map(|stage| module.join("kustomize/stage").join(stage)) {
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            if path.extension().is_some_and(|e| e == "yaml")
                && fs::read_to_string(&path).map_err(at(&path))?.contains("kind: Stage")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn container_logs(cluster: &Cluster, text: &Path) -> Result<PathBuf, ClusterError> {
    let text = fs::read_to_string(text).map_err(at(text))?;
    // As a container runtime writes it: time, stream, full line.
    let printed = text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "2026-01-01T00:00:00.000000000Z stdout F {line}");
        all
    });
    let file = cluster.folder().join("containers.txt");
    write(&file, printed)?;
    let config = cluster.folder().join("container-logs.json");
    let logs = json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "all"},
        "spec": {"logs": [{"logsFile": file, "follow": false}]},
    });
    write(&config, logs.to_string())?;
    Ok(config)
}
