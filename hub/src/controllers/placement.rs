//! NIMPlacements: observe → plan → apply → push, and apart from it their report.

mod apply;
mod ask;
mod desk;
mod observe;
mod plan;
mod push;
mod report;
mod secrets;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crds::fleet::NIMPlacement;
use desk::Turn;
use hub_core::placement::assignments::Assignments;
use hub_core::placement::denials::Denials;
use hub_core::placement::slices::Slices;
use hub_core::placement::variants::Needs;
use hub_scheduler::Policy;
use hub_scheduler::fleet::{FleetEvent, PlacementKey};
use jiff::Timestamp;
use observe::Observed;
use secrets::Listed;
use tokio::time::Instant;

use super::fault::Fault;
use super::{Hub, time_until};

pub(crate) use ask::{Assignment, assignments, explanation, simulation};
pub(super) use desk::Desk;
pub(super) use observe::plain;
pub(super) use report::{STATUS_MANAGER, report, turned, write_status};

/// What the hub remembers of one placement between reconciles.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What is stored in the slices.
    pub(super) rows: Assignments,
    /// How they are stored.
    pub(super) slices: Slices,
    /// What a replica of every object that was seen takes, in every cluster.
    pub(super) needs: Needs,
    /// What the placement's spec asks for, as it was read last.
    pub(super) policy: Option<(Arc<NIMPlacement>, Policy)>,
    /// Hash sent, by cluster and uid.
    sent: HashMap<(String, String), String>,
    /// Objects given to the link, so that what no row names any longer is taken out of it.
    listed: HashSet<(String, String)>,
    /// What is on its way out, by cluster and uid.
    leaving: HashSet<(String, String)>,
    /// What the owners of clusters deny.
    denials: Denials,
    /// The Secrets that are listed, as they were read last, by name.
    secrets: BTreeMap<String, (Instant, Listed)>,
    /// The last wish to choose anew that was followed.
    rebalanced: Option<String>,
    /// Why a failover is held.
    held: Option<&'static str>,
}

impl Book {
    /// Forgets the needs of objects that the placement neither selects nor has anywhere any more.
    fn forget_needs(&mut self, observed: &Observed) {
        let placed = self.rows.objects().map(|(_, object)| object.uid.as_str());
        let kept: HashSet<&str> =
            observed.selected.iter().map(|one| one.object.uid.as_str()).chain(placed).collect();
        self.needs.retain(|uid| kept.contains(uid));
    }
}

/// One turn on one placement. Slices that watches have shown meanwhile are compared when it has ended.
pub(super) async fn reconcile(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let outcome = turn(hub, key).await;
    hub.compare_slices(key);
    outcome
}

async fn turn(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let book = hub.book(key);
    let mut book = book.lock().await;
    let Some(mut observed) = observe::observe(hub, key) else {
        return vanished(hub, key, &mut book).await;
    };
    secrets::read(hub, &mut observed, &mut book).await;
    let planned = plan::plan(hub, &observed, &mut book, Timestamp::now());
    report::denials(hub, &observed, &planned.denied);
    let held = planned.decision.hold.as_ref().map(|hold| hold.reason.as_str());
    hub.metrics.failover_reason(std::mem::replace(&mut book.held, held), held);
    // Both are there before anything is sent; neither needs the other.
    let (taken, written) = tokio::join!(
        apply::take(hub, &observed, &planned),
        apply::slices(hub, &observed, &mut book, &planned.rows)
    );
    taken?;
    written?;
    let before = std::mem::replace(&mut book.rows, planned.rows.clone());
    apply::settle(hub, &before, &book.rows);
    touch_clusters(hub, &before, &book.rows);
    let sent = push::push(hub, &observed, &planned, &mut book);
    apply::release(hub, &observed, &book.rows).await?;
    if observed.is_leaving() && book.rows.is_empty() {
        apply::release_placement(hub, &observed).await?;
    }
    if let Some(at) = planned.decision.retry_at {
        // Time alone may change the decision then.
        hub.placements.add_after(key.clone(), time_until(at, Timestamp::now()));
    }
    book.forget_needs(&observed);
    hub.desk(key).put(Turn::new(observed, planned, sent));
    hub.reports.add_soon(key.clone());
    hub.placement_decided(key);
    Ok(())
}

/// The placement is not there (any more): whatever still carries its label is free, and nothing is sent about it.
async fn vanished(hub: &Hub, key: &PlacementKey, book: &mut Book) -> Result<(), Fault> {
    push::forget_all(hub, key, book);
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
