//! A decision for one placement, made of the fleet behind its lock.

use hub_core::placement::plan::{PlacementState, Planned, decide, request};
use hub_core::placement::selection::Selection;
use jiff::Timestamp;

use super::super::Hub;

/// How often it is worked out anew what overrides make, while labels of clusters change.
const TRIES: u32 = 3;

/// Decides, and wakes whom that concerns.
pub(super) fn plan(hub: &Hub, selection: &Selection, state: &mut PlacementState, now: Timestamp) -> Planned {
    let mut tries = 0;
    let (asked, mut live) = loop {
        let clusters = hub.live().fleet.shared();
        let PlacementState { assignments, needs, policy, rebalanced, .. } = &mut *state;
        let known = (needs, policy);
        let asked =
            request(&hub.limits, selection, assignments, known, rebalanced.as_deref(), &clusters, now);
        let live = hub.live();
        tries += 1;
        // Overrides concern clusters by their labels, which may have changed since.
        let is_plain = selection.placement.spec.overrides.is_empty();
        if is_plain || tries == TRIES || live.fleet.has_labels_of(&clusters) {
            break (asked, live);
        }
    };
    let planned = decide(&hub.stores, &hub.limits, &mut live, selection, state, asked, now);
    drop(live);
    for key in &planned.outranked {
        hub.placements.add_soon(key.clone());
    }
    if planned.recharged {
        hub.charges_changed(&selection.key);
    }
    planned
}
