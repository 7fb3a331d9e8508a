//! LeaderWorkerSet's own controller on a cluster.

use std::fs;

use serde_json::json;

use super::released::{self, Webhooks, address, certificate, definitions, webhooks};
use crate::cluster::{Cluster, Ground};
use crate::controlplane::Controller;
use crate::failure::Failure;
use crate::fleet::Daemon;
use crate::process::Program;

/// Its own namespace.
const NAMESPACE: &str = "lws-system";
/// Label of every pod of a LeaderWorkerSet.
const MEMBER: &str = "leaderworkerset.sigs.k8s.io/name";

/// Installs a version of LeaderWorkerSet in place of the one that is there, starts it and waits until it is ready. One that
/// runs has to be killed before.
pub async fn start(ground: &Ground, cluster: &Cluster, version: Controller) -> Result<Daemon, Failure> {
    let built = tokio::task::spawn_blocking(move || version.ready()).await??;
    let folder = cluster.folder().join("lws");
    certificate(ground, &folder)?;
    let (hooks, health, metrics) = (address()?, address()?, address()?);
    let settings = json!({
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": false},
        "internalCertManagement": {"enable": false},
        "health": {"healthProbeBindAddress": health},
        "metrics": {"bindAddress": metrics},
        "webhook": {"host": hooks.ip(), "port": hooks.port(), "certDir": folder},
    });
    let file = folder.join("config.json");
    fs::write(&file, settings.to_string())?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(&namespace.to_string())).await?;
    definitions(cluster, &built.module, &["config/crd/bases"]).await?;
    let log = cluster.folder().join("lws.log");
    let program = Program::new(&built.program, log)
        .env("LWS_NAMESPACE", NAMESPACE)
        .flag("kubeconfig", cluster.kubeconfig().display())
        .flag("config", file.display());
    let controller = Daemon::new("LeaderWorkerSet", program, health);
    released::start(&controller).await?;
    let hooks = Webhooks {
        manifests: &built.module.join("config/webhook/manifests.yaml"),
        port: hooks.port(),
        prefix: "lws-",
        selected: &[("mpod.kb.io", MEMBER), ("vpod.kb.io", MEMBER)],
        spared: &[],
        system: &[],
    };
    webhooks(ground, cluster, &hooks).await?;
    Ok(controller)
}
