//! The HTTPRoute from a gateway to the API.

use serde_json::json;

use super::{Microservice, gateway};
use crate::operator::engine::child::{Child, ChildKind};
use crate::operator::engine::kind::Failure;

/// The route to this port, if the spec asks for one; a gateway has one unless it is turned off.
pub(crate) fn child(of: &Microservice<'_>, port: i32) -> Result<Option<Child>, Failure> {
    let Some((router, gateway)) = gateway::wanted(of) else { return Ok(None) };
    if gateway.http_routes_enabled == Some(false) {
        return Ok(None);
    }
    let backend = match &gateway.backend_ref {
        Some(other) => json!(other),
        None => json!({"name": of.name(), "port": port}),
    };
    let rule = json!({
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [backend],
    });
    gateway::route(of, (router, gateway), ChildKind::HttpRoute, &rule).map(Some)
}
