//! Rules on changes of an object that is being deleted.

use super::rule::Rule;

/// Of every kind. Who holds the object is what its condition `Held` says, up to the colon.
pub(super) const RULES: &[Rule] = &[Rule::of(
    "A14",
    "",
    "false",
    "Forbidden: {object.kind} {object.metadata.name} is being deleted{dyn(object).?status.?conditions.orValue([]).filter(one, one.type == 'Held' && one.status == 'True').map(one, ' and is ' + one.message.split(':')[0]).join('')}: apply again when it has gone",
)];
