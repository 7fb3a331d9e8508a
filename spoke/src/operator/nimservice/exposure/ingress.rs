//! The Ingress: of the router, or as a user wrote it in the older field.

use crds::nim::Router;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use serde_json::Value;

use super::{host, routed, router};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;
use crate::operator::nimservice::metadata::{Map, annotations, labels, merged, meta};
use crate::operator::nimservice::scene::Scene;

/// The Ingress, if the spec asks for one. The older field is the more exact one: it wins.
pub(super) fn child(scene: &Scene<'_>) -> Result<Option<Child>, Failure> {
    let older = scene.spec.expose.as_ref().and_then(|expose| expose.ingress.as_ref());
    if let Some(older) = older.filter(|older| older.enabled == Some(true)) {
        let annotations = merged(annotations(scene.spec), older.annotations.as_ref());
        return Ok(Some(object(scene, annotations, older.spec.clone().unwrap_or_default())));
    }
    let Some((router, wanted)) = router(scene).and_then(|router| Some((router, router.ingress.as_ref()?)))
    else {
        return Ok(None);
    };
    let tls = wanted.tls_secret_name.as_deref().filter(|name| !name.is_empty());
    let spec = spec(scene, router, &wanted.ingress_class, tls)?;
    Ok(Some(object(scene, routed(scene, router), spec)))
}

fn object(scene: &Scene<'_>, annotations: Map, spec: IngressSpec) -> Child {
    let labels = labels(scene.subject, scene.spec);
    let ingress =
        Ingress { metadata: meta(scene.subject, labels, annotations), spec: Some(spec), status: None };
    Child::new(ChildKind::Ingress, scene.name(), Keep::Owned, &ingress)
}

fn spec(scene: &Scene<'_>, router: &Router, class: &str, tls: Option<&str>) -> Result<IngressSpec, Failure> {
    let host = host(scene, router)?;
    let path = HTTPIngressPath {
        path: Some("/".into()),
        path_type: "Prefix".into(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: scene.name().to_owned(),
                port: Some(ServiceBackendPort { name: Some("api".into()), number: None }),
            }),
            resource: None,
        },
    };
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

/// Where a live Ingress leads to the Service of this name from: the host of the first rule that does, else the
/// balancer's own address.
pub(super) fn address(live: &Value, service: &str) -> Option<String> {
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
