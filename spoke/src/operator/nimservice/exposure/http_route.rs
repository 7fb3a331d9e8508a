//! The HTTPRoute from a gateway to the API.

use serde_json::json;

use super::gateway;
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::Failure;
use crate::operator::nimservice::scene::Scene;

/// The route, if the spec asks for one; a gateway has one unless it is turned off.
pub(super) fn child(scene: &Scene<'_>) -> Result<Option<Child>, Failure> {
    let Some((router, gateway)) = gateway::of(scene) else { return Ok(None) };
    if gateway.http_routes_enabled == Some(false) {
        return Ok(None);
    }
    let backend = match &gateway.backend_ref {
        Some(other) => json!(other),
        None => json!({"name": scene.name(), "port": scene.spec.api_port()}),
    };
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [backend],
    });
    gateway::route(scene, (router, gateway), ChildKind::HttpRoute, &rule).map(Some)
}
