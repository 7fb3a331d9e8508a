//! What the two kinds of routes of the Gateway API have in common.

use crds::nim::{Gateway, Router};
use serde_json::{Value, json};

use super::Microservice;
use super::metadata::{Map, merged};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;

/// The gateway that the spec asks for, and its router.
pub(crate) fn wanted<'a>(of: &Microservice<'a>) -> Option<(&'a Router, &'a Gateway)> {
    Some((of.router?, of.router?.gateway.as_ref()?))
}

/// A route from the gateway, with this one rule.
pub(crate) fn route(
    of: &Microservice<'_>,
    (router, gateway): (&Router, &Gateway),
    kind: ChildKind,
    rule: &Value,
) -> Result<Child, Failure> {
    let resource = kind.resource();
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": of.name(),
            "namespace": of.namespace(),
            "labels": of.labels(),
            "annotations": annotations(of, router),
        },
        "spec": {
            "parentRefs": [{"name": gateway.name, "namespace": gateway.namespace}],
            "hostnames": [host(of, router)?],
            "rules": [rule],
        },
    });
    Ok(Child::new(kind, of.name(), Keep::Owned, &body))
}

/// The name from outside: `<microservice>.<namespace>.<domain>`.
pub(crate) fn host(of: &Microservice<'_>, router: &Router) -> Result<String, Failure> {
    // Neither an Ingress nor a route takes the final dot that the schema allows.
    let domain = router.host_domain_name.as_deref().unwrap_or_default().trim_end_matches('.');
    if domain.is_empty() {
        let message =
            "spec.expose.router.hostDomainName is required with spec.expose.router.ingress and gateway";
        return Err(Failure::new("InvalidSpec", message));
    }
    Ok(format!("{}.{}.{domain}", of.name(), of.namespace()))
}

/// Annotations of what the router makes.
pub(crate) fn annotations(of: &Microservice<'_>, router: &Router) -> Map {
    merged(of.annotations(), router.annotations.as_ref())
}
