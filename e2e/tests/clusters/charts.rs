//! The charts and what they make of the programs: values, objects that an API server takes, replicas behind one Service.

mod installed;
mod replicas;
mod values;
mod watching;

use std::path::Path;

use e2e::command::{self, CommandError};
use e2e::controlplane::Programs;
use e2e::failure::Failure;
use serde_json::Value;

/// What the spoke's chart insists on; as JSON, which later flags override.
const SPOKE: [&str; 6] = [
    "--set-json",
    r#"cluster.name="east""#,
    "--set-json",
    r#"hub.address="hub.example.com:7443""#,
    "--set-json",
    r#"hub.caHash="sha256:0000000000000000000000000000000000000000000000000000000000000000""#,
];

/// Every optional part of a chart.
const EVERYTHING: [&str; 5] = [
    "metrics.serviceMonitor.enabled=true",
    "metrics.prometheusRule.enabled=true",
    "metrics.dashboards.enabled=true",
    "networkPolicy.enabled=true",
    "image.digest=sha256:1111111111111111111111111111111111111111111111111111111111111111",
];

/// The folder of a chart.
fn folder(chart: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts").join(chart).to_string_lossy().into_owned()
}

/// What helm prints, or its refusal.
async fn helm(arguments: &[&str]) -> Result<String, CommandError> {
    let programs = tokio::task::spawn_blocking(Programs::ready).await.expect("no panic").expect("programs");
    command::run(&programs.path("helm"), arguments, None).await
}

/// The manifests of a chart in the namespace of the README.
async fn manifests(chart: &str, more: &[&str]) -> Result<String, CommandError> {
    let folder = folder(chart);
    let required = if chart == "nimfleet-spoke" { &SPOKE[..] } else { &[] };
    helm(&[&["template", chart, &folder, "--namespace", "nimfleet"], required, more].concat()).await
}

/// The objects of a chart.
async fn rendered(chart: &str, more: &[&str]) -> Result<Vec<Value>, Failure> {
    let text = manifests(chart, more).await?;
    let objects = serde_saphyr::from_multiple::<Value>(&text)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The object of that kind and name.
fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}
