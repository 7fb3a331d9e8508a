//! The rules of a NIMService's spec, but for its devices.

use super::rule::Rule;

/// Parts of the spec that several rules look at. An empty object counts as absent where NVIDIA's operator stores one for
/// every field that is not set.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("storage", "$spec.?storage"),
    ("pvc", "$spec.?storage.?pvc"),
    ("pvcDefined", PVC_DEFINED),
    (
        "cacheDefined",
        "$storage.?nimCache.?name.orValue('') != '' || $storage.?nimCache.?profile.orValue('') != ''",
    ),
    (
        "stores",
        "[$cacheDefined, $pvcDefined, $storage.?emptyDir.hasValue(), $storage.?hostPath.orValue('') != ''].filter(set, set).size()",
    ),
    ("scaled", "$spec.?scale.?enabled.orValue(false)"),
    ("measured", "$spec.?metrics.?enabled.orValue(false)"),
    ("legacyIngress", "$spec.?expose.?ingress.?enabled.orValue(false)"),
    ("router", "$spec.?expose.?router"),
    ("kserve", "$spec.?inferencePlatform.orValue('') == 'kserve'"),
    (
        "knative",
        "$kserve && $spec.?annotations[?'serving.kserve.io/deploymentMode'].orValue('') in ['Knative', 'Serverless']",
    ),
    ("claims", "$spec.?draResources.orValue([])"),
];

/// A claim counts as soon as one of its fields is set.
pub(super) const PVC_DEFINED: &str = "$pvc.?create.hasValue() || $pvc.?name.orValue('') != '' \
     || $pvc.?storageClass.orValue('') != '' || $pvc.?size.orValue('') != '' \
     || $pvc.?volumeAccessMode.orValue('') != '' || $pvc.?subPath.orValue('') != '' \
     || $pvc.?annotations.orValue({}).size() > 0";
/// A claim that is not made has to be named.
pub(super) const PVC_NAMED: &str =
    "!($pvcDefined) || $pvc.?create.orValue(false) || $pvc.?name.orValue('') != ''";
/// Said of a claim without a name.
pub(super) const PVC_NAME: &str =
    "Required value: name the claim, or set spec.storage.pvc.create to true to have one made";
/// The access modes of a claim.
pub(super) const PVC_MODE: &str = "$pvc.?volumeAccessMode.orValue('') in ['', 'ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod']";
/// Said of another access mode.
pub(super) const PVC_MODES: &str = "Invalid value: \"{$pvc.?volumeAccessMode.orValue('')}\": use ReadWriteOnce, ReadOnlyMany, ReadWriteMany or ReadWriteOncePod";
/// A size that can be read.
pub(super) const PVC_SIZE: &str = "$pvc.?size.orValue('') == '' || isQuantity($pvc.?size.orValue('')) && quantity($pvc.?size.orValue('')).isGreaterThan(quantity('0'))";
/// Said of another size.
pub(super) const PVC_SIZES: &str =
    "Invalid value: \"{$pvc.?size.orValue('')}\": is no amount of storage; write for example 50Gi";

/// What a spec is refused for.
pub(super) const RULES: &[Rule] = &[
    Rule::of(
        "S1",
        ".image.repository",
        "$spec.?image.?repository.orValue('') != ''",
        "Required value: name the image of the NIM, for example nvcr.io/nim/meta/llama-3.1-8b-instruct",
    ),
    Rule::of(
        "S2",
        ".image.tag",
        "$spec.?image.?tag.orValue('') != ''",
        "Required value: name the version of the image, for example 1.8.3",
    ),
    Rule::of(
        "S4",
        ".storage.sharedMemorySizeLimit",
        "!$storage.?sharedMemorySizeLimit.hasValue() || quantity(string($storage.?sharedMemorySizeLimit.value())).isGreaterThan(quantity('0'))",
        "Invalid value: \"{string($storage.?sharedMemorySizeLimit.value())}\": must be more than 0; leave it out for no limit",
    ),
    Rule::of(
        "S5",
        ".storage",
        "$stores > 0",
        "Required value: set one of spec.storage.nimCache, spec.storage.pvc, spec.storage.emptyDir or spec.storage.hostPath",
    ),
    Rule::of(
        "S6",
        ".storage",
        "$stores < 2",
        "Invalid value: {string($stores)} places for the model: keep one of spec.storage.nimCache, spec.storage.pvc, spec.storage.emptyDir and spec.storage.hostPath",
    ),
    Rule::of(
        "S7",
        ".storage.nimCache.name",
        "$storage.?nimCache.?profile.orValue('') == '' || $storage.?nimCache.?name.orValue('') != ''",
        "Required value: name the NIMCache that holds profile \"{$storage.?nimCache.?profile.orValue('')}\"",
    ),
    Rule::of("S8", ".storage.pvc.name", PVC_NAMED, PVC_NAME),
    Rule::of("S9", ".storage.pvc.volumeAccessMode", PVC_MODE, PVC_MODES),
    Rule::of(
        "S10",
        ".expose.router.hostDomainName",
        "!$router.?ingress.hasValue() && !$router.?gateway.hasValue() || $router.?hostDomainName.orValue('') != ''",
        "Required value: name the domain that the router makes hosts in, for example models.example.com",
    ),
    Rule::of(
        "S12",
        ".metrics.serviceMonitor",
        "!$measured || $spec.?metrics.?serviceMonitor.?additionalLabels.hasValue() \
         || $spec.?metrics.?serviceMonitor.?annotations.hasValue() \
         || $spec.?metrics.?serviceMonitor.?interval.orValue('') != '' \
         || $spec.?metrics.?serviceMonitor.?scrapeTimeout.orValue('') != ''",
        "Required value: spec.metrics.enabled is true; say how to scrape, for example interval: 30s",
    ),
    Rule::of(
        "S13",
        ".scale.hpa",
        "!$scaled || $spec.?scale.?hpa.hasValue()",
        "Required value: spec.scale.enabled is true; set at least spec.scale.hpa.maxReplicas",
    ),
    Rule::of(
        "S15",
        ".resources.claims",
        "!$spec.?resources.?claims.hasValue()",
        "Forbidden: claim devices by spec.draResources",
    ),
    Rule::of(
        "S34",
        ".scale.enabled",
        "!$knative || !$scaled",
        "Forbidden: Knative scales by itself; remove spec.scale, or annotate serving.kserve.io/deploymentMode: Standard",
    ),
    Rule::of(
        "S35",
        ".expose.ingress.enabled",
        "!$knative || !$legacyIngress",
        "Forbidden: Knative brings its own ingress; remove spec.expose.ingress, or annotate serving.kserve.io/deploymentMode: Standard",
    ),
    Rule::of(
        "S36",
        ".expose.router.ingress",
        "!$knative || !$router.?ingress.hasValue()",
        "Forbidden: Knative brings its own ingress; remove spec.expose.router.ingress, or annotate serving.kserve.io/deploymentMode: Standard",
    ),
    Rule::of(
        "S37",
        ".expose.router.gateway",
        "!$knative || !$router.?gateway.hasValue()",
        "Forbidden: Knative brings its own gateway; remove spec.expose.router.gateway, or annotate serving.kserve.io/deploymentMode: Standard",
    ),
    Rule::of(
        "S38",
        ".metrics.enabled",
        "!$knative || !$measured",
        "Forbidden: a ServiceMonitor cannot follow Knative's pods; remove spec.metrics, or annotate serving.kserve.io/deploymentMode: Standard",
    ),
    Rule::of(
        "S39",
        ".multiNode",
        "!$kserve || !$spec.?multiNode.hasValue()",
        "Forbidden: KServe runs a replica on one node; remove spec.multiNode, or set spec.inferencePlatform to standalone",
    ),
    Rule::of(
        "S43",
        ".expose.service.grpcPort",
        "!$router.?gateway.?grpcRoutesEnabled.orValue(false) || $spec.?expose.?service.?grpcPort.hasValue()",
        "Required value: spec.expose.router.gateway.grpcRoutesEnabled is true; set the port that the NIM serves gRPC on",
    ),
];

/// What a spec is taken with, but not without a word.
pub(super) const WARNINGS: &[Rule] = &[
    Rule::of(
        "S3",
        ".authSecret",
        "$spec.?authSecret.orValue('') != ''",
        "is empty: the container gets no NGC_API_KEY; name the Secret that holds it, unless the model needs none",
    ),
    Rule::of(
        "S40",
        ".expose.ingress.enabled",
        "!$legacyIngress",
        "spec.expose.ingress is deprecated: use spec.expose.router.ingress",
    ),
    Rule::of(
        "S42",
        ".expose",
        "$spec.?expose.?service.?type.orValue('') != 'LoadBalancer' || !$router.?ingress.hasValue() && !$router.?gateway.hasValue()",
        "a Service of type LoadBalancer and spec.expose.router are two ways in; keep one",
    ),
    Rule::of("A1", ".storage.pvc.size", PVC_SIZE, PVC_SIZES),
];
