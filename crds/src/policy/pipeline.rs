//! The rules of a NIMPipeline: those of its own, and where to find the NIMServices in it.

use super::rule::{Level, Rule};

const SERVICE: Level = Level {
    list: "object.?spec.?services.orValue([])",
    item: "service",
    only: None,
    path: ".services",
    below: "",
};

/// The NIMServices of a pipeline. One that is not enabled is not made, and may be half written.
pub(super) const SERVICES: &[Level] =
    &[Level { only: Some("service.?enabled.orValue(false)"), below: ".spec", ..SERVICE }];

/// Every entry of the list, also those that are not enabled.
const ENTRIES: &[Level] = &[SERVICE];

/// What a pipeline is refused for.
pub(super) const RULES: &[Rule] = &[
    Rule {
        number: "A3",
        within: ENTRIES,
        path: ".name",
        holds: "!service.?enabled.orValue(false) || service.?name.orValue('') != ''",
        says: "Required value: name the NIMService that is made",
    },
    Rule {
        number: "A4",
        within: ENTRIES,
        path: ".name",
        holds: "!service.?enabled.orValue(false) || object.spec.services.filter(other, other.?enabled.orValue(false) && other.?name == service.?name).size() == 1",
        says: "Duplicate value: \"{service.?name.orValue('')}\": every service of a pipeline needs its own name",
    },
];
