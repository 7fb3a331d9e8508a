//! NIMPlacements: observe → plan → apply → report.

mod apply;
mod denied;
mod observe;
mod plan;
mod push;
mod report;
pub(crate) mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use crds::fleet::Decision as Row;
use jiff::Timestamp;
use serde_json::Value;

use super::Hub;
use super::fault::Fault;
use crate::fleet::{FleetEvent, PlacementKey};
use crate::need::Need;

pub(super) use observe::plain;
pub use plan::grants;
pub(super) use rows::Rows;

/// What the hub remembers of one placement between reconciles.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What is written in the slices.
    pub(super) rows: Rows,
    /// Content of each slice as written, by name.
    pub(super) slices: BTreeMap<String, Vec<Row>>,
    /// What a replica of every object that was seen takes: one that is gone still holds it while it leaves.
    pub(super) needs: HashMap<String, Need>,
    /// Status as written, by uid: the watch may still show what was there before.
    statuses: HashMap<String, Value>,
    /// Hash sent, by cluster and uid.
    sent: HashMap<(String, String), String>,
    /// Objects given to the link, so that what no row names any longer is taken out of it.
    listed: HashSet<(String, String)>,
    /// What is on its way out, by cluster and uid.
    leaving: HashSet<(String, String)>,
    /// What the owners of clusters deny.
    denials: denied::Denials,
    timer: Option<Timestamp>,
    /// Whether a turn at the end of the hub's settling is asked for.
    held_back: bool,
    reason: Option<String>,
    /// Why a failover is held.
    held: Option<&'static str>,
}

/// One turn on one placement.
pub(super) async fn reconcile(hub: &Hub, key: &PlacementKey) -> Result<(), Fault> {
    let book = hub.book(key);
    let mut book = book.lock().await;
    let Some(observed) = observe::observe(hub, key) else {
        return vanished(hub, key, &mut book).await;
    };
    let planned = plan::plan(hub, &observed, &mut book, Timestamp::now());
    report::denials(hub, &observed, &planned.denied);
    let held = planned.decision.hold.as_ref().map(|hold| hold.reason.as_str());
    hub.metrics.failover_reason(std::mem::replace(&mut book.held, held), held);
    apply::take(hub, &observed, &planned).await?;
    apply::slices(hub, &observed, &mut book, &planned.rows).await?;
    let before = std::mem::replace(&mut book.rows, planned.rows.clone());
    apply::settle(hub, &before, &book.rows);
    touch_clusters(hub, &before, &book.rows);
    let sent = push::push(hub, &observed, &planned, &mut book);
    apply::release(hub, &observed, &book.rows).await?;
    if observed.is_leaving() && book.rows.is_empty() {
        apply::release_placement(hub, &observed).await?;
    }
    later(hub, key, &mut book, planned.decision.retry_at);
    report::report(hub, &observed, &planned, &sent, &mut book).await
}

/// The placement is not there (any more): whatever still carries its label is free, and nothing is sent about it.
async fn vanished(hub: &Hub, key: &PlacementKey, book: &mut Book) -> Result<(), Fault> {
    push::forget_all(hub, book);
    hub.live().fleet.apply(FleetEvent::Granted { placement: key.clone(), grants: Vec::new() });
    hub.metrics.placement_reason(book.reason.take().as_deref(), None);
    hub.metrics.failover_reason(book.held.take(), None);
    apply::release_all(hub, key).await?;
    hub.live().claims.retain(|_, owner| owner != key);
    hub.forget_book(key);
    Ok(())
}

/// A cluster's status counts the models that are placed there.
fn touch_clusters(hub: &Hub, before: &Rows, after: &Rows) {
    let names = before.placed.keys().chain(after.placed.keys());
    let turned = names.filter(|name| before.placed.contains_key(*name) != after.placed.contains_key(*name));
    for name in turned.collect::<std::collections::BTreeSet<_>>() {
        if let Ok(name) = name.parse() {
            hub.clusters.add(name);
        }
    }
}

/// Comes back when time alone may change the decision; once per moment.
fn later(hub: &Hub, key: &PlacementKey, book: &mut Book, at: Option<Timestamp>) {
    let wait = |at: Timestamp| {
        std::time::Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
    };
    if let Some(at) = at
        && book.timer != Some(at)
    {
        hub.placements.add_after(key.clone(), wait(at));
    }
    book.timer = at;
}
