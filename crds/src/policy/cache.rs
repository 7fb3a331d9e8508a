//! The rules of a NIMCache's spec. Only models of NVIDIA's catalogue have rules on their source beyond its schema.

use super::rule::{Level, Rule};
use super::service::{PVC_DEFINED, PVC_MODE, PVC_MODES, PVC_NAME, PVC_NAMED, PVC_SIZE, PVC_SIZES};

/// Parts of the spec that several rules look at.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("source", "$spec.?source"),
    ("ngc", "$spec.?source.?ngc"),
    ("model", "$spec.?source.?ngc.?model"),
    ("profiles", "$model.?profiles.orValue([])"),
    ("chosen", "$profiles.size() > 0"),
    ("storage", "$spec.?storage"),
    ("pvc", "$spec.?storage.?pvc"),
    ("pvcDefined", PVC_DEFINED),
    ("direct", "$spec.?proxy.?noProxy.orValue('').split(',').map(one, one.trim())"),
];

const DIRECT: &[Level] =
    &[Level { list: "$direct", item: "host", only: None, path: ".proxy.noProxy", below: "" }];

const PROFILES_SAY_ALL: &str =
    "Forbidden: spec.source.ngc.model.profiles says which profiles; keep one of the two";

/// What a spec is refused for.
pub(super) const RULES: &[Rule] = &[
    Rule::of(
        "K2",
        ".source.ngc.modelPuller",
        "!$ngc.hasValue() || $ngc.?modelPuller.orValue('') != ''",
        "Required value: name the NIM's image with its tag; it fetches the model",
    ),
    Rule::of(
        "K3",
        ".source.ngc.model.profiles",
        "!('all' in $profiles) || $profiles.size() == 1",
        "Invalid value: [{$profiles.join(', ')}]: all takes every profile; keep it alone or remove it",
    ),
    Rule::of(
        "K4",
        ".source.ngc.model.precision",
        "!$chosen || $model.?precision.orValue('') == ''",
        PROFILES_SAY_ALL,
    ),
    Rule::of(
        "K5",
        ".source.ngc.model.engine",
        "!$chosen || $model.?engine.orValue('') == ''",
        PROFILES_SAY_ALL,
    ),
    Rule::of(
        "K6",
        ".source.ngc.model.tensorParallelism",
        "!$chosen || $model.?tensorParallelism.orValue('') == ''",
        PROFILES_SAY_ALL,
    ),
    Rule::of(
        "K7",
        ".source.ngc.model.qosProfile",
        "!$chosen || $model.?qosProfile.orValue('') == ''",
        PROFILES_SAY_ALL,
    ),
    Rule::of(
        "K8",
        ".source.ngc.model.gpus",
        "!$chosen || $model.?gpus.orValue([]).size() == 0",
        PROFILES_SAY_ALL,
    ),
    Rule::of("K9", ".source.ngc.model.lora", "!$chosen || !$model.?lora.hasValue()", PROFILES_SAY_ALL),
    Rule::of(
        "K10",
        ".source.ngc.model.buildable",
        "!$chosen || !$model.?buildable.hasValue()",
        PROFILES_SAY_ALL,
    ),
    Rule::of(
        "K11",
        ".source.ngc.model.qosProfile",
        "$model.?qosProfile.orValue('') in ['', 'latency', 'throughput']",
        "Unsupported value: \"{$model.?qosProfile.orValue('')}\": use latency or throughput",
    ),
    Rule::of(
        "K12",
        ".storage",
        "$pvcDefined",
        "Required value: set spec.storage.pvc; a model is stored on a claim, spec.storage.hostPath has no effect",
    ),
    Rule::of("K13", ".storage.pvc.name", PVC_NAMED, PVC_NAME),
    Rule::of("K14", ".storage.pvc.volumeAccessMode", PVC_MODE, PVC_MODES),
    Rule {
        number: "K15",
        within: DIRECT,
        path: "",
        holds: r"host.matches(r'^(|\.?[a-zA-Z0-9.-]+|(\d{1,3}\.){3}\d{1,3}(:\d+|/\d{1,2})|\[[0-9a-fA-F:]+\](:\d+|/\d{1,3})?)$')",
        says: "Invalid value: \"{host}\": write a host, .domain, IPv4, IPv4:port, [IPv6], [IPv6]:port, IPv4/bits or [IPv6]/bits",
    },
    Rule::of(
        "K16",
        ".proxy.httpsProxy",
        "$spec.?proxy.?httpsProxy.orValue('').matches('^(https?://|$)')",
        "Invalid value: \"{$spec.?proxy.?httpsProxy.orValue('')}\": must begin with http:// or https://",
    ),
    Rule::of(
        "K17",
        ".proxy.httpProxy",
        "$spec.?proxy.?httpProxy.orValue('').matches('^(https?://|$)')",
        "Invalid value: \"{$spec.?proxy.?httpProxy.orValue('')}\": must begin with http:// or https://",
    ),
];

/// What a spec is taken with, but not without a word.
pub(super) const WARNINGS: &[Rule] = &[
    Rule::of(
        "K1",
        ".source.ngc.authSecret",
        "!$ngc.hasValue() || $ngc.?authSecret.orValue('') != ''",
        "is empty: the download gets no NGC_API_KEY; name the Secret that holds it, unless the model needs none",
    ),
    Rule::of("A2", ".storage.pvc.size", PVC_SIZE, PVC_SIZES),
];
