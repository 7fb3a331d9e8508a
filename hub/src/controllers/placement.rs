//! NIMPlacements: observe → plan → apply → push, and apart from it their report.

mod apply;
mod ask;
mod desk;
mod plan;
mod report;
mod secrets;

use std::collections::{BTreeMap, HashSet};

use desk::Turn;
use hub_core::audit::{Act, Action, Actor};
use hub_core::objects::Catalog;
use hub_core::placement::assignments::Assignments;
use hub_core::placement::delivery::{Delivery, deliver, withdraw};
use hub_core::placement::plan::PlacementState;
use hub_core::placement::selection::{Claims, ListedSecret, Selection, select};
use hub_core::placement::slices::Slices;
use hub_scheduler::fleet::{FleetEvent, PlacementKey};
use jiff::Timestamp;
use tokio::time::Instant;

use super::fault::Fault;
use super::triggers::Compared;
use super::{Hub, time_until};
use crate::audit::RecordAct;

pub(crate) use ask::{Assignment, assignments, explanation, simulation};
pub(super) use desk::Desk;
pub(super) use report::{STATUS_MANAGER, report, turned, write_status};

/// What the hub remembers of one placement between reconciles.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What decisions follow from.
    pub(super) state: PlacementState,
    /// How the assignments are stored.
    pub(super) slices: Slices,
    /// The Secrets that are listed, as they were read last, by name.
    secrets: BTreeMap<String, (Instant, ListedSecret)>,
    /// Why a failover is held.
    held: Option<&'static str>,
}

impl Book {
    /// Forgets the needs of objects that the placement neither selects nor has anywhere any more.
    fn forget_needs(&mut self, selection: &Selection) {
        let placed = self.state.assignments.objects().map(|(_, object)| object.uid.as_str());
        let kept: HashSet<&str> =
            selection.selected.iter().map(|one| one.object.uid.as_str()).chain(placed).collect();
        self.state.needs.retain(|uid| kept.contains(uid));
    }
}

/// One turn on one placement. Slices that watches have shown meanwhile are compared when it has ended.
pub(super) async fn reconcile(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let outcome = turn(hub, key).await;
    if hub.compare_slices(key) == Compared::Later {
        // Whoever asks why has the book now, and compares nothing.
        hub.placements.add_soon(key.clone());
    }
    outcome
}

async fn turn(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let book = hub.book(key);
    let mut book = book.lock().await;
    let Some(placement) = hub.stores.placement(&key.namespace, &key.name) else {
        return vanished(hub, key, &mut book).await;
    };
    let mut selection = {
        let claims = &mut hub.live().claims;
        select(&hub.stores, &hub.namespace, key, &placement, claims, Claims::Made)
    };
    secrets::read(hub, &mut selection, &mut book).await;
    let planned = plan::plan(hub, &selection, &mut book.state, Timestamp::now());
    report::denials(hub, &selection, &planned.denied);
    let held = planned.decision.hold.as_ref().map(|hold| hold.reason.as_str());
    hub.metrics.failover_reason(std::mem::replace(&mut book.held, held), held);
    // Both are there before anything is sent; neither needs the other.
    let (taken, written) = tokio::join!(
        apply::take(hub, &selection, &planned),
        apply::slices(hub, &selection, &mut book, &planned.assignments)
    );
    taken?;
    written?;
    if planned.failovers > 0 {
        hub.metrics.failed_over(planned.failovers);
        Act::new(Action::Failover, Actor::Hub, "others take the place of lost clusters")
            .placement(key)
            .count(u64::try_from(planned.failovers).unwrap_or(u64::MAX))
            .record();
    }
    let before = std::mem::replace(&mut book.state.assignments, planned.assignments.clone());
    apply::settle(hub, &before, &book.state.assignments);
    touch_clusters(hub, &before, &book.state.assignments);
    // Making what is sent takes long where it is much; nobody waits for it.
    let clusters = hub.live().fleet.shared();
    let shares = |cluster: &str, uid: &str| hub.live().shares(cluster, uid, key);
    let Delivery { changes, acts, sent } = deliver(&clusters, shares, &selection, &planned, &mut book.state);
    for (cluster, change) in changes {
        hub.desired.apply(&cluster, change);
    }
    // What a process does at its start is in the records of the one before.
    if hub.desired.is_open() {
        acts.into_iter().for_each(RecordAct::record);
    }
    apply::release(hub, &selection, &book.state.assignments).await?;
    if selection.is_leaving() && book.state.assignments.is_empty() {
        apply::release_placement(hub, &selection).await?;
    }
    if let Some(at) = planned.decision.retry_at {
        // Time alone may change the decision then.
        hub.placements.add_after(key.clone(), time_until(at, Timestamp::now()));
    }
    book.forget_needs(&selection);
    hub.desk(key).put(Turn::new(selection, planned, sent));
    hub.reports.add_soon(key.clone());
    hub.placement_decided(key);
    Ok(())
}

/// The placement is not there (any more): whatever still carries its label is free, and nothing is sent about it.
async fn vanished(hub: &Hub, key: &PlacementKey, book: &mut Book) -> Result<(), Fault> {
    let changes = withdraw(&hub.live(), key, &mut book.state);
    for (cluster, change) in changes {
        hub.desired.apply(&cluster, change);
    }
    hub.live().fleet.apply(FleetEvent::Granted { placement: key.clone(), grants: Vec::new() });
    hub.desk(key).close(hub).await;
    hub.metrics.failover_reason(book.held.take(), None);
    let released = apply::release_all(hub, key).await?;
    hub.live().claims.retain(|_, owner| owner != key);
    for (kind, object) in released {
        hub.may_be_unplaced(kind, object.as_ref());
    }
    hub.live().lists_secrets(key, &Assignments::default());
    hub.forget_book(key);
    Ok(())
}

/// A cluster's status counts the models that are placed there, and what has yet to leave.
fn touch_clusters(hub: &Hub, before: &Assignments, after: &Assignments) {
    let names = |rows: &Assignments| {
        let placed = rows.placed.keys().map(|name| (name.clone(), false));
        placed
            .chain(rows.removing.keys().map(|name| (name.clone(), true)))
            .collect::<std::collections::BTreeSet<_>>()
    };
    for (name, _) in names(before).symmetric_difference(&names(after)) {
        if let Ok(name) = name.parse() {
            hub.clusters.add(name);
        }
    }
}
