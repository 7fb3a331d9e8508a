//! A controller of another product as its module is released: definitions, webhooks by URL on loopback, and its process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Ground};
use crate::failure::Failure;
use crate::fleet::Daemon;
use crate::patience;

/// How long a controller may take until it is ready; alone on a machine it takes 5 s.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// Installs the definitions in these files and folders of a module and waits until they are served. Of a folder
/// those files count whose name begins with an API group.
pub(super) async fn definitions(cluster: &Cluster, module: &Path, paths: &[&str]) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in paths {
        let path = module.join(path);
        if path.is_file() {
            files.push(path);
            continue;
        }
        let found =
            fs::read_dir(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let is_definition = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.split_once('_').is_some_and(|(group, _)| group.contains('.'))
        };
        files.extend(found.flatten().map(|entry| entry.path()).filter(is_definition));
    }
    for file in &files {
        let file = file.to_string_lossy();
        cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &file], None).await?;
    }
    // kubectl fails on a definition that has no conditions yet.
    let established = || async {
        let wait = ["wait", "--for=condition=Established", "--timeout=10s", "crd", "--all"];
        cluster.kubectl(&wait, None).await.map(drop).map_err(Failure::from)
    };
    patience::eventually("definitions are served", READY_WITHIN, established, || async { String::new() })
        .await
}

/// Puts the certificate of every server on loopback where a controller looks for its webhooks' own.
pub(super) fn certificate(ground: &Ground, folder: &Path) -> Result<(), Failure> {
    let authority = ground.authority();
    fs::create_dir_all(folder)?;
    fs::copy(&authority.serving_certificate, folder.join("tls.crt"))?;
    fs::copy(&authority.serving_key, folder.join("tls.key"))?;
    Ok(())
}

/// Webhooks of a module, and what its kustomization adds to the file of their manifests.
pub(super) struct Webhooks<'a> {
    pub(super) manifests: &'a Path,
    /// The loopback port on which the controller answers for them.
    pub(super) port: u16,
    /// How the names of the configurations begin.
    pub(super) prefix: &'a str,
    /// By name of a webhook, the label that its objects must have.
    pub(super) selected: &'a [(&'a str, &'a str)],
    /// Names of webhooks of kinds that a control plane consists of, which are not called in its namespaces.
    pub(super) spared: &'a [&'a str],
    /// These namespaces.
    pub(super) system: &'a [&'a str],
}

/// Registers them, each at its path of the loopback port in place of a Service.
pub(super) async fn webhooks(ground: &Ground, cluster: &Cluster, all: &Webhooks<'_>) -> Result<(), Failure> {
    let text = fs::read_to_string(all.manifests)
        .map_err(|error| Failure::new(format!("{}: {error}", all.manifests.display())))?;
    let authority = STANDARD.encode(fs::read(&ground.authority().certificate)?);
    let mut items = Vec::new();
    for mut configuration in serde_saphyr::from_multiple::<Value>(&text)?.into_iter().filter(Value::is_object)
    {
        let name = configuration["metadata"]["name"].as_str().unwrap_or_default();
        configuration["metadata"] = json!({"name": format!("{}{name}", all.prefix)});
        for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap_or_default();
            let url = format!("https://127.0.0.1:{}{path}", all.port);
            webhook["clientConfig"] = json!({"url": url, "caBundle": authority});
            if let Some((_, label)) = all.selected.iter().find(|(name, _)| webhook["name"] == *name) {
                webhook["objectSelector"] =
                    json!({"matchExpressions": [{"key": label, "operator": "Exists"}]});
            }
            if all.spared.iter().any(|name| webhook["name"] == *name) {
                let outside =
                    json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": all.system});
                webhook["namespaceSelector"] = json!({"matchExpressions": [outside]});
            }
        }
        items.push(configuration);
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&list)).await?;
    Ok(())
}

/// Starts a controller (again) and waits until it says that it is ready.
pub async fn start(controller: &Daemon) -> Result<(), Failure> {
    controller.start()?;
    let what = format!("{} is ready", controller.log().display());
    patience::eventually(
        &what,
        READY_WITHIN,
        || async { Ok(controller.ready().await?) },
        || async { crate::process::last_lines(controller.log(), 20) },
    )
    .await
}

/// A loopback address with a free port.
pub(super) fn address() -> Result<SocketAddr, Failure> {
    Ok(SocketAddr::from(([127, 0, 0, 1], crate::port::free()?)))
}
