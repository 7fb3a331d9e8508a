//! The compute domain of a service over several nodes: GPUs that reach each other's memory from node to node.

use crds::nim::{ComputeDomain, NIMServiceSpec};
use serde_json::{Value, json};

use super::names;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::{Failure, Outcome, Subject};
use crate::operator::engine::world::World;
use crate::operator::microservice::live;
use crate::operator::nimservice::scene::Scene;

/// A compute domain that someone else made.
#[derive(Clone, Debug)]
pub(super) struct DomainView {
    /// Template of the claims to its channel.
    template: String,
    /// What the status tells of it.
    status: Value,
}

/// What is wanted, if the service has a domain at all.
pub(super) fn of(spec: &NIMServiceSpec) -> Option<&ComputeDomain> {
    spec.over_nodes()?.compute_domain.as_ref()
}

fn is_made(wanted: &ComputeDomain) -> bool {
    wanted.create == Some(true)
}

/// The name of a domain that must be there.
fn referred(spec: &NIMServiceSpec) -> Option<&str> {
    of(spec).filter(|wanted| !is_made(wanted))?.name.as_deref().filter(|name| !name.is_empty())
}

/// The domain that is referred to, if it is there.
pub(super) fn observe(spec: &NIMServiceSpec, subject: &Subject, world: &World) -> Option<DomainView> {
    let name = referred(spec)?;
    let found = world.child(ChildKind::ComputeDomain, &subject.owner.namespace, name)?;
    Some(view(name, &found.data))
}

/// Refuses to go on without the domain that is referred to: pods without its channel would not reach each other.
pub(super) fn check(scene: &Scene<'_>) -> Result<(), Failure> {
    let Some(name) = referred(scene.spec) else { return Ok(()) };
    if scene.refs.claims.domain.as_ref().is_some_and(|found| !found.template.is_empty()) {
        return Ok(());
    }
    let message = format!(
        "spec.multiNode.computeDomain.name: there is no ComputeDomain {name} with a template for claims to its channel"
    );
    Err(Failure::new("ComputeDomainNotFound", message))
}

pub(super) fn view(name: &str, live: &Value) -> DomainView {
    let template = live["spec"]["channel"]["resourceClaimTemplate"]["name"].as_str().unwrap_or_default();
    DomainView { template: template.to_owned(), status: told(name, live) }
}

/// The template of claims to the domain's channel.
pub(super) fn template(scene: &Scene<'_>) -> Option<String> {
    if is_made(of(scene.spec)?) {
        return Some(names::domain_template(scene.name()));
    }
    scene.refs.claims.domain.as_ref().map(|found| found.template.clone())
}

/// The domain, where it is to be made. Its spec may not change.
pub(super) fn child(scene: &Scene<'_>) -> Option<Child> {
    let shape = scene.spec.over_nodes()?;
    of(scene.spec).filter(|wanted| is_made(wanted))?;
    let body = json!({
        "apiVersion": "resource.nvidia.com/v1beta1",
        "kind": "ComputeDomain",
        "metadata": {
            "name": scene.name(),
            "namespace": scene.namespace(),
            "labels": scene.microservice().labels(),
            "annotations": scene.microservice().annotations(),
        },
        "spec": {
            "numNodes": shape.nodes(),
            "channel": {
                "resourceClaimTemplate": {"name": names::domain_template(scene.name())},
                "allocationMode": "Single",
            },
        },
    });
    Some(Child::new(ChildKind::ComputeDomain, scene.name(), Keep::Replaced, &body))
}

/// What the status tells of the domain, made or referred to.
pub(super) fn status(scene: &Scene<'_>, outcome: &Outcome) -> Option<Value> {
    if is_made(of(scene.spec)?) {
        return Some(told(scene.name(), &live(outcome, ChildKind::ComputeDomain, scene.name())));
    }
    scene.refs.claims.domain.as_ref().map(|found| found.status.clone())
}

fn told(name: &str, live: &Value) -> Value {
    let status = &live["status"];
    let mut told = json!({"name": name});
    if let Some(word) = status["status"].as_str().filter(|word| !word.is_empty()) {
        told["status"] = json!(word);
    }
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| {
            let text = |field: &str| node[field].as_str().unwrap_or_default();
            let status = if text("status") == "Ready" { "Ready" } else { "NotReady" };
            json!({"name": text("name"), "cliqueID": text("cliqueID"), "status": status})
        })
        .collect();
    if !nodes.is_empty() {
        told["nodes"] = json!(nodes);
    }
    told
}
