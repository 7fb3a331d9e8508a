//! Rules on names: what [`crate::names`] says, where an object is made.

use super::rule::{Level, Rule};

/// NIMServices and NeMo microservices.
pub(super) const MICROSERVICES: &[Rule] = &[
    Rule::of(
        "A8",
        "metadata.name",
        "object.metadata.name.size() <= 59",
        "metadata.name has {string(object.metadata.name.size())} characters: at most 59, since its container is named <name>-ctr",
    ),
    Rule::of(
        "A9",
        "metadata.name",
        "!object.metadata.name.contains('.')",
        "metadata.name is \"{object.metadata.name}\": no dots, since its Service has the same name",
    ),
];

/// What the words of [`ON_PLATFORMS`] and [`PIPELINES`] stand for, of a NIMService.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("kserve", "$spec.?inferencePlatform.orValue('') == 'kserve'"),
    ("overNodes", "!$kserve && $spec.?multiNode.?parallelism.?pipeline.orValue(1) > 1"),
    ("asked", "$spec.?replicas.orValue(1)"),
    ("scaled", "$spec.?scale.?enabled.orValue(false) ? $spec.?scale.?hpa.?maxReplicas.orValue(1) : 1"),
    ("replicas", "$asked > $scaled ? $asked : $scaled"),
    ("longest", "$replicas > 100 ? 44 : $replicas > 10 ? 45 : 46"),
];

/// NIMServices, by what their platforms make of the name.
pub(super) const ON_PLATFORMS: &[Rule] = &[
    Rule::of(
        "A15",
        "metadata.name",
        "!$kserve || object.metadata.name.size() <= 53",
        "metadata.name has {string(object.metadata.name.size())} characters: at most 53, since KServe names its Service <name>-predictor",
    ),
    Rule::of(
        "A16",
        "metadata.name",
        "!$kserve || object.metadata.name.matches('^[a-z]')",
        "metadata.name is \"{object.metadata.name}\": a letter first, since KServe takes no other",
    ),
    Rule::of(
        "A17",
        "metadata.name",
        "!$overNodes || object.metadata.name.size() <= $longest",
        "metadata.name has {string(object.metadata.name.size())} characters: at most {string($longest)}, since LeaderWorkerSet makes a StatefulSet <name>-lws-<group>, whose revision becomes a label of its pods",
    ),
    Rule::of(
        "A18",
        "metadata.name",
        "!$overNodes || object.metadata.name.matches('^[a-z]')",
        "metadata.name is \"{object.metadata.name}\": a letter first, since LeaderWorkerSet takes no other",
    ),
];

/// NIMCaches.
pub(super) const CACHES: &[Rule] = &[Rule::of(
    "A10",
    "metadata.name",
    "object.metadata.name.size() <= 59",
    "metadata.name has {string(object.metadata.name.size())} characters: at most 59, since its Job is named <name>-job, which becomes a label of its pods",
)];

/// NIMBuilds.
pub(super) const BUILDS: &[Rule] = &[Rule::of(
    "A11",
    "metadata.name",
    "object.metadata.name.size() <= 63",
    "metadata.name has {string(object.metadata.name.size())} characters: at most 63, since it becomes a label of its pods",
)];

/// NIMPlacements.
pub(super) const PLACEMENTS: &[Rule] = &[Rule::of(
    "P4",
    "metadata.name",
    "object.metadata.name.size() <= 63",
    "metadata.name has {string(object.metadata.name.size())} characters: at most 63, since it becomes a label of the objects",
)];

/// GPUClusters.
pub(super) const CLUSTERS: &[Rule] = &[
    Rule::of(
        "P5",
        "metadata.name",
        "object.metadata.name.size() <= 63",
        "metadata.name has {string(object.metadata.name.size())} characters: at most 63, since it is a DNS label in the certificate of its agent",
    ),
    Rule::of(
        "P6",
        "metadata.name",
        "!object.metadata.name.contains('.')",
        "metadata.name is \"{object.metadata.name}\": no dots, since it is a DNS label in the certificate of its agent",
    ),
];

/// The NIMServices that a pipeline makes and did not make before.
const MADE: &[Level] = &[Level {
    list: "object.?spec.?services.orValue([])",
    item: "service",
    only: Some(
        "service.?enabled.orValue(false) && (oldObject == null || !oldObject.?spec.?services.orValue([]).exists(old, old.?name == service.?name))",
    ),
    path: ".services",
    below: "",
}];

/// Names of the NIMServices of a pipeline.
pub(super) const PIPELINES: &[Rule] = &[
    Rule {
        number: "A12",
        within: MADE,
        path: ".name",
        holds: "service.?name.orValue('').size() <= 59",
        says: "Invalid value: \"{service.?name.orValue('')}\": {string(service.?name.orValue('').size())} characters: at most 59, since its container is named <name>-ctr",
    },
    Rule {
        number: "A13",
        within: MADE,
        path: ".name",
        holds: "!service.?name.orValue('').contains('.')",
        says: "Invalid value: \"{service.?name.orValue('')}\": no dots, since its Service has the same name",
    },
    Rule {
        number: "A15",
        within: MADE,
        path: ".name",
        holds: "!$kserve || service.?name.orValue('').size() <= 53",
        says: "Invalid value: \"{service.?name.orValue('')}\": {string(service.?name.orValue('').size())} characters: at most 53, since KServe names its Service <name>-predictor",
    },
    Rule {
        number: "A16",
        within: MADE,
        path: ".name",
        holds: "!$kserve || service.?name.orValue('').matches('^[a-z]')",
        says: "Invalid value: \"{service.?name.orValue('')}\": a letter first, since KServe takes no other",
    },
    Rule {
        number: "A17",
        within: MADE,
        path: ".name",
        holds: "!$overNodes || service.?name.orValue('').size() <= $longest",
        says: "Invalid value: \"{service.?name.orValue('')}\": {string(service.?name.orValue('').size())} characters: at most {string($longest)}, since LeaderWorkerSet makes a StatefulSet <name>-lws-<group>, whose revision becomes a label of its pods",
    },
    Rule {
        number: "A18",
        within: MADE,
        path: ".name",
        holds: "!$overNodes || service.?name.orValue('').matches('^[a-z]')",
        says: "Invalid value: \"{service.?name.orValue('')}\": a letter first, since LeaderWorkerSet takes no other",
    },
];
