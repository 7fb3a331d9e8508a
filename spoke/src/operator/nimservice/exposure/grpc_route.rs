//! The GRPCRoute from a gateway to the gRPC API.

use serde_json::json;

use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::Failure;
use crate::operator::microservice::gateway;
use crate::operator::nimservice::scene::Scene;

/// The route, if the spec asks for one. `gateway.backendRef` is for HTTP only.
pub(super) fn child(scene: &Scene<'_>) -> Result<Option<Child>, Failure> {
    let of = scene.microservice();
    let Some((router, gateway)) = gateway::wanted(&of) else { return Ok(None) };
    if gateway.grpc_routes_enabled != Some(true) {
        return Ok(None);
    }
    let Some(port) = scene.spec.grpc_port() else {
        let message =
            "spec.expose.service.grpcPort is required with spec.expose.router.gateway.grpcRoutesEnabled";
        return Err(Failure::new("GRPCRouteFailed", message));
    };
    let rule = json!({"backendRefs": [{"name": scene.name(), "port": port}]});
    gateway::route(&of, (router, gateway), ChildKind::GrpcRoute, &rule).map(Some)
}
