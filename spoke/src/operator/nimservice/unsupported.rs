//! What this version cannot render. A NIMService that asks for it is refused as a whole, naming the field, rather than
//! rendered in part.

use crds::nim::NIMServiceSpec;

/// The first field that asks for something this version does not render.
pub(super) fn field(spec: &NIMServiceSpec) -> Option<&'static str> {
    let expose = spec.expose.as_ref();
    let router = expose.and_then(|expose| expose.router.as_ref());
    let asked = [
        ("spec.inferencePlatform: kserve", spec.inference_platform.as_deref() == Some("kserve")),
        ("spec.scale.enabled", spec.scale.as_ref().is_some_and(|scale| scale.enabled == Some(true))),
        ("spec.metrics.enabled", spec.metrics.as_ref().is_some_and(|metrics| metrics.enabled == Some(true))),
        (
            "spec.expose.ingress.enabled",
            expose
                .and_then(|expose| expose.ingress.as_ref())
                .is_some_and(|ingress| ingress.enabled == Some(true)),
        ),
        ("spec.expose.router.ingress", router.is_some_and(|router| router.ingress.is_some())),
        ("spec.expose.router.gateway", router.is_some_and(|router| router.gateway.is_some())),
        ("spec.expose.router.eppConfig", router.is_some_and(|router| router.epp_config.is_some())),
    ];
    asked.into_iter().find_map(|(field, asks)| asks.then_some(field))
}
