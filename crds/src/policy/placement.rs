//! What an author of NIMPlacements must have a right to: the Secrets that a placement sends away, and its priority.
//!
//! Only what is new is asked for, so that whoever changes something else, a controller too, needs no right to what another
//! has put there.

use super::rule::Rule;

/// Words of the rules.
pub(super) const WORDS: &[(&str, &str)] = &[
    ("secrets", "object.?spec.?secrets.orValue([])"),
    ("known", "oldObject == null ? [] : oldObject.?spec.?secrets.orValue([])"),
    ("priority", "object.?spec.?priority.orValue(0)"),
    ("allowed", "oldObject == null ? 0 : oldObject.?spec.?priority.orValue(0)"),
];

/// One rule for each place of the list: an API server lets one expression ask for two rights at most.
macro_rules! readable {
    ($($index:literal)*) => {
        &[
            $(Rule::of(
                "P1",
                concat!(".secrets[", $index, "]"),
                concat!(
                    "$secrets.size() <= ", $index, " || $secrets[", $index, "] in $known || authorizer.group('')",
                    ".resource('secrets').namespace(request.namespace).name($secrets[", $index, "]).check('get').allowed()"
                ),
                concat!(
                    "Forbidden: \"{$secrets[", $index, "]}\": you may not get this Secret of namespace {request.namespace}, ",
                    "and so may not send it to clusters: have the right given to you, or let somebody list it who has it"
                ),
            ),)*
            Rule::of(
                "P2",
                ".priority",
                "$priority <= 0 || $priority <= $allowed || authorizer.group('nimfleet.io').resource('nimplacements').subresource('priority').namespace(request.namespace).name(object.metadata.name).check('use').allowed()",
                "Forbidden: {string($priority)}: above 0 it needs the verb use on nimplacements/priority (nimfleet.io), which the ClusterRole nimfleet-hub-priority of the hub's chart gives",
            ),
        ]
    };
}

/// What an author may list and raise.
pub(super) const RIGHTS: &[Rule] = readable!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

/// What nobody may list: the hub's own namespace holds its CA and the join tokens. The hub's chart, which knows that
/// namespace, binds it.
pub(super) const OWN_NAMESPACE: &[Rule] = &[Rule::of(
    "P3",
    ".secrets",
    "$secrets.all(name, name in $known)",
    "Forbidden: Secrets of {request.namespace}, the hub's own namespace, travel nowhere: put the placement, its objects and their Secrets into another namespace",
)];
