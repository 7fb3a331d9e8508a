//! The Ingress: of the router, or as a user wrote it in the older field.

use crds::nim::Router;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use serde_json::Value;

use super::Microservice;
use super::gateway::{annotations, host};
use super::metadata::{Map, merged};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;

/// The Ingress, if the spec asks for one. The older field is the more exact one: it wins.
pub(crate) fn child(of: &Microservice<'_>) -> Result<Option<Child>, Failure> {
    if let Some(older) = &of.ingress {
        return Ok(Some(object(of, merged(of.annotations(), older.annotations), older.spec.clone())));
    }
    let Some((router, wanted)) = of.router.and_then(|router| Some((router, router.ingress.as_ref()?))) else {
        return Ok(None);
    };
    let tls = wanted.tls_secret_name.as_deref().filter(|name| !name.is_empty());
    let spec = spec(of, router, &wanted.ingress_class, tls)?;
    Ok(Some(object(of, annotations(of, router), spec)))
}

fn object(of: &Microservice<'_>, annotations: Map, spec: IngressSpec) -> Child {
    let ingress = Ingress { metadata: of.meta(annotations), spec: Some(spec), status: None };
    Child::new(ChildKind::Ingress, of.name(), Keep::Owned, &ingress)
}

fn spec(
    of: &Microservice<'_>,
    router: &Router,
    class: &str,
    tls: Option<&str>,
) -> Result<IngressSpec, Failure> {
    let host = host(of, router)?;
    let path = path("/", "Prefix", of.name());
    let tls = tls.map(|secret| {
        vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: Some(secret.to_owned()) }]
    });
    let rule = IngressRule { host: Some(host), http: Some(HTTPIngressRuleValue { paths: vec![path] }) };
    Ok(IngressSpec {
        ingress_class_name: Some(class.to_owned()),
        rules: Some(vec![rule]),
        tls,
        default_backend: None,
    })
}

/// A path that leads to the API of the Service of this name.
pub(crate) fn path(path: &str, kind: &str, service: &str) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: kind.to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: service.to_owned(),
                port: Some(ServiceBackendPort { name: Some("api".into()), number: None }),
            }),
            resource: None,
        },
    }
}

/// Where a live Ingress leads to the Service of this name from: the host of the first rule that does, else the
/// balancer's own address.
pub(crate) fn address(live: &Value, service: &str) -> Option<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let leads = |rule: &Value| {
        list(&rule["http"]["paths"]).iter().any(|path| path["backend"]["service"]["name"] == service)
    };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let ruled =
        list(&live["spec"]["rules"]).iter().filter(|rule| leads(rule)).find_map(|rule| text(&rule["host"]));
    let balancer = &live["status"]["loadBalancer"]["ingress"][0];
    ruled.or_else(|| text(&balancer["hostname"])).or_else(|| text(&balancer["ip"]))
}
