//! How a model is reached from outside: Ingress, Gateway routes, endpoint picker; and under which addresses.

mod endpoint_picker;
mod grpc_route;

use crds::nim::Router;
use serde_json::Value;

use super::network::Ports;
use super::scene::Scene;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::{Failure, Outcome};
use crate::operator::microservice::{http_route, ingress, live, service};

/// The objects that the spec asks for.
pub(super) fn children(scene: &Scene<'_>) -> Result<Vec<Child>, Failure> {
    let of = scene.microservice();
    let mut children = Vec::new();
    children.extend(ingress::child(&of)?);
    children.extend(http_route::child(&of, scene.spec.api_port())?);
    children.extend(grpc_route::child(scene)?);
    children.extend(endpoint_picker::children(scene)?);
    Ok(children)
}

/// Where the model is reached: inside the cluster, and from outside. Empty when not known.
pub(super) fn endpoints(scene: &Scene<'_>, outcome: &Outcome) -> (String, String) {
    let name = scene.name();
    let object = |kind: ChildKind| live(outcome, kind, name);
    let (inside, balanced) = service::endpoints(&object(ChildKind::Service), Ports::of(scene.spec).api);
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
