//! Puts on a cluster what the charts put there, but for the pods: those are processes of ours.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{FleetError, NAMESPACE};
use crate::cluster::{Cluster, Ground};
use crate::command;

/// What the spoke's chart insists on, and the roles of NeMo kinds.
const SPOKE_VALUES: [&str; 4] = [
    "cluster.name=e2e",
    "hub.address=hub.example.com:7443",
    "hub.caHash=sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "rbac.nemo=true",
];
/// The templates that say what a program may do.
const ROLES: [&str; 3] = ["templates/serviceaccount.yaml", "templates/roles.yaml", "templates/bindings.yaml"];
/// The template that holds the spoke to the limits of its cluster's owner.
const POLICIES: &str = "templates/admission-policy.yaml";
/// How long the identity lasts: longer than any test, and than a demo that is left running overnight.
const TOKEN_LASTS: Duration = Duration::from_hours(24);

/// Installs the CRDs and policies of `nimfleet-crds` and waits until they are in force.
pub(crate) async fn crds(ground: &Ground, cluster: &Cluster) -> Result<(), FleetError> {
    cluster.apply(&helm(ground, "nimfleet-crds", &[]).await?).await?;
    Ok(cluster.policies_count().await?)
}

/// Installs the roles of `chart` and returns a kubeconfig of its ServiceAccount: exactly what its pod would have.
pub(crate) async fn identity(ground: &Ground, cluster: &Cluster, chart: &str) -> Result<PathBuf, FleetError> {
    cluster.make_namespace(NAMESPACE).await?;
    roles(ground, cluster, chart, None).await?;
    another_token(cluster, chart, chart).await
}

/// A kubeconfig with a new token of a ServiceAccount, under a name of its own.
pub(crate) async fn another_token(
    cluster: &Cluster,
    account: &str,
    name: &str,
) -> Result<PathBuf, FleetError> {
    let token = cluster.token(NAMESPACE, account, TOKEN_LASTS).await?;
    Ok(cluster.kubeconfig_for(name, &token)?)
}

/// Installs the roles of `chart`, and with limits in its values the admission policies that hold it to them.
pub(crate) async fn roles(
    ground: &Ground,
    cluster: &Cluster,
    chart: &str,
    limits: Option<&Value>,
) -> Result<(), FleetError> {
    let limits = limits.map(|limits| format!("limits={limits}"));
    let set: Vec<&str> = limits.iter().flat_map(|limits| ["--set-json", limits]).collect();
    let policies = if limits.is_some() { &[POLICIES][..] } else { &[] };
    let templates = [&only(&ROLES)[..], &only(policies)].concat();
    Ok(cluster.apply(&helm(ground, chart, &[&set[..], &templates].concat()).await?).await?)
}

/// Leads `query.nimfleet.io` to a hub that is no pod: as the chart does, but by the Service's external name.
pub(crate) async fn query(hub: &Cluster, listens: SocketAddr) -> Result<(), FleetError> {
    let service = "nimfleet-hub-query";
    let objects = [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": service, "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": listens.ip()},
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1alpha1.query.nimfleet.io"},
            "spec": {
                "group": "query.nimfleet.io", "version": "v1alpha1", "groupPriorityMinimum": 1000, "versionPriority": 15,
                "service": {"name": service, "namespace": NAMESPACE, "port": listens.port()},
            },
        }),
    ];
    Ok(hub.apply(&objects).await?)
}

fn only<'a>(templates: &[&'a str]) -> Vec<&'a str> {
    templates.iter().flat_map(|template| ["--show-only", template]).collect()
}

/// The chart's objects, with more said to helm. The same is rendered once in the life of the process.
async fn helm(ground: &Ground, chart: &str, more: &[&str]) -> Result<Arc<Vec<Value>>, FleetError> {
    static RENDERED: Mutex<BTreeMap<Vec<String>, Arc<Vec<Value>>>> = Mutex::const_new(BTreeMap::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(chart);
    let folder = folder.to_string_lossy();
    let mut arguments = vec!["template", "nimfleet", &folder, "--namespace", NAMESPACE];
    if chart == "nimfleet-spoke" {
        arguments.extend(SPOKE_VALUES.iter().flat_map(|value| ["--set", value]));
    }
    arguments.extend(more);
    let key: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let mut rendered = RENDERED.lock().await;
    if let Some(objects) = rendered.get(&key) {
        return Ok(objects.clone());
    }
    let manifests = command::run(&ground.programs().path("helm"), &arguments, None).await?;
    let parsed: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&manifests);
    let objects =
        parsed.map_err(|source| FleetError::Chart { chart: chart.to_owned(), source: Box::new(source) })?;
    let objects = Arc::new(objects.into_iter().filter(Value::is_object).collect::<Vec<_>>());
    rendered.insert(key, objects.clone());
    Ok(objects)
}
