//! What KServe has no place for: refused where the model would be served otherwise than asked for, told where it
//! merely has no effect.

use std::collections::BTreeMap;

use crds::nim::{NIMServiceSpec, RouterIngress};
use k8s_openapi::api::networking::v1::IngressSpec;

use super::inference_service::SERVING;
use super::mode::{ANNOTATION, Mode};
use super::scaling;
use crate::operator::engine::kind::Failure;

/// The first field that this mode cannot do.
pub(super) fn check(spec: &NIMServiceSpec, mode: Mode) -> Result<(), Failure> {
    let fails = |message: String| Err(Failure::new("InvalidSpec", message));
    if spec.over_nodes().is_some() {
        return fails(
            "spec.multiNode is not supported by KServe: set spec.inferencePlatform to standalone, or remove it"
                .to_owned(),
        );
    }
    let beside = spec.sidecar_containers.as_deref().unwrap_or_default();
    if let Some(place) = beside.iter().position(|one| one.name == SERVING) {
        return fails(format!(
            "spec.sidecarContainers[{place}].name is {SERVING}, as KServe calls the container that serves: choose another name"
        ));
    }
    if !mode.is_knative() {
        return Ok(());
    }
    let expose = spec.expose.as_ref();
    let router = expose.and_then(|expose| expose.router.as_ref());
    let ingress = expose.and_then(|expose| expose.ingress.as_ref());
    let metrics = spec.metrics.as_ref();
    let asked = [
        ("spec.scale.enabled", spec.is_autoscaled(), "scale by autoscaling.knative.dev annotations"),
        ("spec.expose.ingress.enabled", ingress.is_some_and(|one| one.enabled == Some(true)), ROUTED),
        ("spec.expose.router.ingress", router.is_some_and(|router| router.ingress.is_some()), ROUTED),
        ("spec.expose.router.gateway", router.is_some_and(|router| router.gateway.is_some()), ROUTED),
        (
            "spec.metrics.enabled",
            metrics.is_some_and(|one| one.enabled == Some(true)),
            "leave scraping to KServe",
        ),
        ("spec.expose.service.grpcPort", spec.grpc_port().is_some(), "Knative routes to one port only"),
    ];
    match asked.into_iter().find(|(_, asks, _)| *asks) {
        None => Ok(()),
        Some((field, _, hint)) => fails(format!(
            "{field} is not supported in KServe's deployment mode {}: remove it ({hint}), or set the annotation \
             {ANNOTATION} in spec.annotations to Standard",
            mode.word()
        )),
    }
}

const ROUTED: &str = "Knative routes by itself";

/// What to say of fields that have no effect on KServe, although they are set.
pub(super) fn without_effect(spec: &NIMServiceSpec, scales_by_metrics: bool) -> Option<String> {
    let expose = spec.expose.as_ref();
    let service = expose.and_then(|expose| expose.service.as_ref());
    let router = expose.and_then(|expose| expose.router.as_ref());
    let ingress = expose.and_then(|expose| expose.ingress.as_ref()).filter(|one| one.enabled == Some(true));
    let given = |map: Option<&BTreeMap<String, String>>| map.is_some_and(|map| !map.is_empty());
    let kind = service.and_then(|service| service.r#type.as_deref()).unwrap_or_default();
    let hpa = spec.autoscaler();
    let scale = spec.scale.as_ref().filter(|_| spec.is_autoscaled());
    let by_ingress = router.and_then(|router| router.ingress.as_ref());
    let fields = [
        ("spec.scale.annotations", given(scale.and_then(|scale| scale.annotations.as_ref()))),
        ("spec.scale.hpa.behavior", hpa.is_some_and(|hpa| hpa.behavior.is_some())),
        ("spec.expose.service.type", !["", "ClusterIP"].contains(&kind)),
        ("spec.expose.service.labels", given(service.and_then(|service| service.labels.as_ref()))),
        ("spec.expose.service.annotations", given(service.and_then(|service| service.annotations.as_ref()))),
        ("spec.expose.ingress.annotations", given(ingress.and_then(|ingress| ingress.annotations.as_ref()))),
        (
            "spec.expose.ingress.spec",
            ingress.and_then(|one| one.spec.as_ref()).is_some_and(|one| *one != IngressSpec::default()),
        ),
        (
            "spec.expose.router.hostDomainName",
            by_ingress.is_some() && router.is_some_and(|one| one.host_domain_name.is_some()),
        ),
        (
            "spec.expose.router.annotations",
            by_ingress.is_some() && given(router.and_then(|router| router.annotations.as_ref())),
        ),
        (
            "spec.expose.router.ingress",
            by_ingress.is_some_and(|ingress| *ingress != RouterIngress::default()),
        ),
        ("spec.expose.router.gateway", router.is_some_and(|router| router.gateway.is_some())),
        ("spec.expose.router.eppConfig", router.is_some_and(|router| router.epp_config.is_some())),
    ];
    let mut named: Vec<String> =
        fields.into_iter().filter(|(_, set)| *set).map(|(field, _)| field.to_owned()).collect();
    named.extend(hpa.iter().flat_map(|hpa| scaling::left_out(hpa, scales_by_metrics)));
    let shown = ["spec.expose.ingress", "spec.expose.router.ingress"];
    let is_shown = named.iter().any(|name| shown.iter().any(|field| name.starts_with(field)));
    let instead =
        if is_shown { " (KServe's own settings say class, host and paths of its Ingress)" } else { "" };
    (!named.is_empty()).then(|| format!("without effect on KServe: {}{instead}", named.join(", ")))
}
