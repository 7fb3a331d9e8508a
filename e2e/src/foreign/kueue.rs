//! Kueue's own controller on a cluster.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::released::{self, Webhooks, address, certificate, definitions, webhooks};
use crate::cluster::{Cluster, Ground};
use crate::controlplane::Controller;
use crate::failure::Failure;
use crate::fleet::Daemon;
use crate::objects;
use crate::process::Program;

/// Its own namespace.
const NAMESPACE: &str = "kueue-system";
/// Where it looks for the certificate of its metrics, whatever its settings say.
const METRICS_CERTIFICATE: &str = "/etc/kueue/metrics/certs";
/// Kinds of workloads that it admits here.
const ADMITTED: [&str; 5] =
    ["batch/job", "pod", "deployment", "statefulset", "leaderworkerset.x-k8s.io/leaderworkerset"];

/// Installs Kueue, starts it and waits until it is ready. The definition of LeaderWorkerSets has to be there. Needs the right to
/// write into `/etc`.
pub async fn start(ground: &Ground, cluster: &Cluster) -> Result<Daemon, Failure> {
    let built = tokio::task::spawn_blocking(|| Controller::Kueue.ready()).await??;
    let folder = cluster.folder().join("kueue");
    certificate(ground, &folder)?;
    let (hooks, health, metrics) = (address()?, address()?, address()?);
    let system = ["kube-system", NAMESPACE];
    let managed = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": system});
    let settings = json!({
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "leaderElection": {"leaderElect": false},
        "internalCertManagement": {"enable": false},
        "health": {"healthProbeBindAddress": health},
        "metrics": {"bindAddress": metrics},
        "webhook": {"host": hooks.ip(), "port": hooks.port(), "certDir": folder},
        "managedJobsNamespaceSelector": {"matchExpressions": [managed]},
        "integrations": {"frameworks": ADMITTED},
    });
    let file = folder.join("config.json");
    fs::write(&file, settings.to_string())?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    objects::apply(cluster, &namespace.to_string()).await?;
    definitions(cluster, &built.module, &["config/components/crd/bases"]).await?;
    let program = Program::new(&built.program, cluster.folder().join("kueue.log"))
        .flag("kubeconfig", cluster.kubeconfig().display())
        .flag("config", file.display())
        .flag("feature-gates", "VisibilityOnDemand=false");
    let controller = Daemon::new("Kueue", program, health);
    let _link = Link::new(&folder, Path::new(METRICS_CERTIFICATE))?;
    released::start(&controller).await?;
    let hooks = Webhooks {
        manifests: &built.module.join("config/components/webhook/manifests.yaml"),
        port: hooks.port(),
        prefix: "kueue-",
        selected: &[],
        spared: &[
            "mpod.kb.io",
            "mdeployment.kb.io",
            "mstatefulset.kb.io",
            "vpod.kb.io",
            "vdeployment.kb.io",
            "vstatefulset.kb.io",
        ],
        system: &system,
    };
    webhooks(ground, cluster, &hooks).await?;
    Ok(controller)
}

/// A link to a folder, from a fixed path, while a program starts that reads it.
struct Link<'a>(&'a Path);

impl<'a> Link<'a> {
    fn new(to: &Path, from: &'a Path) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("link {}: {error}", from.display()));
        if let Some(above) = from.parent() {
            fs::create_dir_all(above).map_err(failed)?;
        }
        symlink(to, from).map_err(failed)?;
        Ok(Self(from))
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
        // Only folders that nothing else lies in.
        for above in self.0.ancestors().skip(1).take(2) {
            let _ = fs::remove_dir(above);
        }
    }
}
