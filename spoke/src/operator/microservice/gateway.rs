//! What the two kinds of routes of the Gateway API have in common, and what gateways say of them.

use crds::nim::{Gateway, Router};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::Microservice;
use super::metadata::{Map, merged};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::{Failure, Outcome};

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

/// What is to be told of routes that a gateway does not accept; none while all are accepted, or nobody has said anything. The
/// Gateway API has a gateway accept one alone of an HTTPRoute and a GRPCRoute of the same hostname.
pub(crate) fn refused(outcome: &Outcome) -> Option<String> {
    let routes: Vec<_> = [ChildKind::HttpRoute, ChildKind::GrpcRoute]
        .into_iter()
        .flat_map(|kind| outcome.live.iter().filter(move |((found, _), _)| *found == kind))
        .collect();
    let both = routes.iter().any(|((kind, _), _)| *kind == ChildKind::HttpRoute)
        && routes.iter().any(|((kind, _), _)| *kind == ChildKind::GrpcRoute);
    let told = routes.iter().filter_map(|((kind, name), route)| {
        let (gateway, reason, message) = refusal(route)?;
        let remedy = if both {
            ": a gateway may accept one alone of the HTTPRoute and the GRPCRoute of a hostname; set \
             spec.expose.router.gateway.httpRoutesEnabled or grpcRoutesEnabled to false"
        } else {
            ""
        };
        Some(format!(
            "{} {name} is not accepted by Gateway {gateway}: {reason}: {message}{remedy}",
            kind.word()
        ))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The gateway that does not accept a route as it is now, its reason and its message.
fn refusal(route: &DynamicObject) -> Option<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parents = route.data["status"]["parents"].as_array()?;
    parents.iter().find_map(|parent| {
        let conditions = parent["conditions"].as_array()?;
        let accepted = conditions.iter().find(|one| one["type"] == "Accepted" && one["status"] == "False")?;
        let observed = accepted["observedGeneration"].as_i64();
        let is_current = observed.is_none_or(|observed| Some(observed) >= route.metadata.generation);
        let gateway = &parent["parentRef"];
        let namespace =
            gateway["namespace"].as_str().or(route.metadata.namespace.as_deref()).unwrap_or_default();
        let name = format!("{namespace}/{}", text(&gateway["name"]));
        is_current.then(|| (name, text(&accepted["reason"]), text(&accepted["message"])))
    })
}
