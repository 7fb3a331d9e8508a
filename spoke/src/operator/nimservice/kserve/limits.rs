//! What KServe has no place for: refused where the model would be served otherwise than asked for, told where it
//! merely has no effect.

use std::collections::BTreeMap;

use crds::nim::NIMServiceSpec;

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

/// Fields that have no effect on KServe, although they are set.
pub(super) fn ignored(spec: &NIMServiceSpec) -> Vec<&'static str> {
    let service = spec.expose.as_ref().and_then(|expose| expose.service.as_ref());
    let router = spec.expose.as_ref().and_then(|expose| expose.router.as_ref());
    let given = |map: Option<&BTreeMap<String, String>>| map.is_some_and(|map| !map.is_empty());
    let kind = service.and_then(|service| service.r#type.as_deref()).unwrap_or_default();
    let hpa = spec.autoscaler();
    let fields = [
        ("spec.scale.hpa.behavior", hpa.is_some_and(|hpa| hpa.behavior.is_some())),
        ("spec.scale.hpa.metrics", hpa.is_some_and(scaling::leaves_metrics_out)),
        ("spec.expose.service.type", !["", "ClusterIP"].contains(&kind)),
        ("spec.expose.service.labels", given(service.and_then(|service| service.labels.as_ref()))),
        ("spec.expose.service.annotations", given(service.and_then(|service| service.annotations.as_ref()))),
        ("spec.expose.router.gateway", router.is_some_and(|router| router.gateway.is_some())),
        ("spec.expose.router.eppConfig", router.is_some_and(|router| router.epp_config.is_some())),
    ];
    fields.into_iter().filter_map(|(field, set)| set.then_some(field)).collect()
}
