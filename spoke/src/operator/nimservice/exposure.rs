//! How a model is reached from outside: Ingress, Gateway routes, endpoint picker; and under which addresses.

mod endpoint_picker;
mod gateway;
mod grpc_route;
mod http_route;
mod ingress;

use crds::nim::Router;
use serde_json::Value;

use super::metadata::{Map, annotations, merged};
use super::network::{self, Ports};
use super::scene::{Scene, live};
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Failure, Outcome};

/// The objects that the spec asks for.
pub(super) fn children(scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    let mut children = Vec::new();
    children.extend(ingress::child(scene)?);
    children.extend(http_route::child(scene)?);
    children.extend(grpc_route::child(scene)?);
    children.extend(endpoint_picker::children(scene)?);
    Ok(children)
}

/// Where the model is reached: inside the cluster, and from outside. Empty when not known.
pub(super) fn endpoints(scene: &Scene<'_>, outcome: &Outcome) -> (String, String) {
    let name = scene.name();
    let object = |kind: ChildKind| live(outcome, kind, name);
    let (inside, balanced) = network::endpoints(&object(ChildKind::Service), Ports::of(scene.spec));
    let outside = ingress::address(&object(ChildKind::Ingress), name)
        .or_else(|| hostname(&object(ChildKind::HttpRoute)))
        .or_else(|| hostname(&object(ChildKind::GrpcRoute)));
    (inside, outside.unwrap_or(balanced))
}

/// The name that a route answers to.
fn hostname(route: &Value) -> Option<String> {
    route["spec"]["hostnames"][0].as_str().map(str::to_owned)
}

fn router<'a>(scene: &Scene<'a>) -> Option<&'a Router> {
    scene.spec.expose.as_ref()?.router.as_ref()
}

/// The name from outside: `<service>.<namespace>.<domain>`.
fn host(scene: &Scene<'_>, router: &Router) -> Result<String, Failure> {
    // Neither an Ingress nor a route takes the final dot that the schema allows.
    let domain = router.host_domain_name.as_deref().unwrap_or_default().trim_end_matches('.');
    if domain.is_empty() {
        let message =
            "spec.expose.router.hostDomainName is required with spec.expose.router.ingress and gateway";
        return Err(Failure::new("InvalidSpec", message));
    }
    Ok(format!("{}.{}.{domain}", scene.name(), scene.namespace()))
}

/// Annotations of what the router makes.
fn routed(scene: &Scene<'_>, router: &Router) -> Map {
    merged(annotations(scene.spec), router.annotations.as_ref())
}
