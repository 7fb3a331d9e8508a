//! What the two kinds of routes of the Gateway API have in common.

use crds::nim::{Gateway, Router};
use serde_json::{Value, json};

use super::{host, routed, router};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;
use crate::operator::nimservice::metadata::labels;
use crate::operator::nimservice::scene::Scene;

/// The gateway that the spec asks for, and its router.
pub(super) fn of<'a>(scene: &Scene<'a>) -> Option<(&'a Router, &'a Gateway)> {
    let router = router(scene)?;
    Some((router, router.gateway.as_ref()?))
}

/// A route from the gateway, with this one rule.
pub(super) fn route(
    scene: &Scene<'_>,
    (router, gateway): (&Router, &Gateway),
    kind: ChildKind,
    rule: &Value,
) -> Result<Child, Failure> {
    let resource = kind.resource();
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": scene.name(),
            "namespace": scene.namespace(),
            "labels": labels(scene.subject, scene.spec),
            "annotations": routed(scene, router),
        },
        "spec": {
            "parentRefs": [{"name": gateway.name, "namespace": gateway.namespace}],
            "hostnames": [host(scene, router)?],
            "rules": [rule],
        },
    });
    Ok(Child::new(kind, scene.name(), Keep::Owned, &body))
}
