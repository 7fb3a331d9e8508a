//! The order of start: watch, read what was decided, decide once, then let spokes in.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use hub_core::fleet_state::FleetState;
use hub_core::link::LinkEvent;
use hub_core::objects::{Catalog, NIM_KINDS, owner, plain};
use hub_core::placement::grants::{charges_of, grants, narrowed};
use hub_core::placement::slices::Slices;
use hub_scheduler::failover::Limits;
use hub_scheduler::fleet::{ClusterName, FleetEvent, PlacementKey};
use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::{Api, Client, Resource, ResourceExt};
use runtime::health::TURN;
use runtime::watch::Mirror;
use runtime::{Broken, Ending, Health, Queue, Tasks, chain};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch as signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::failures::{self, Subject};
use super::fault::Fault;
use super::stores::{Mirrors, Stores, Watched, everywhere, nim_resource, watch};
use super::triggers::key_of;
use super::unplaced::ObjectKey;
use super::{Hub, cluster, events, outages, placement, quota, settling, standards, unplaced};
use crate::link::DesiredState;
use crate::metrics::Metrics;
use crate::pki::{Salt, Trust};

/// Placements worked on at once: their turns mostly wait for the API server.
const WORKERS: usize = 16;
/// Clusters worked on at once.
const CLUSTER_WORKERS: usize = 4;
/// Placements reported at once: few, since a status may wait for what is placed, and not the other way round.
const REPORT_WORKERS: usize = 4;
/// Objects that no placement has, worked on at once.
const UNPLACED_WORKERS: usize = 2;
/// What it costs to look at one cluster for one placement: measured by `placement-bench`, 0.8 µs in a fleet of a thousand and
/// 1.6 µs in one of ten thousand.
const LOOK: Duration = Duration::from_nanos(1500);
/// A change of a placement that waits is never left alone for longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The least time between two reports of one placement: what changes in between is written once.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// What the controllers are given.
pub(crate) struct Setup {
    pub(crate) client: Client,
    pub(crate) desired: DesiredState,
    pub(crate) metrics: Metrics,
    pub(crate) salt: Salt,
    pub(crate) unreachable_after: SignedDuration,
    pub(crate) limits: Limits,
    /// The hub's CAs.
    pub(crate) trust: signal::Receiver<Arc<Trust>>,
    /// How long after its end a certificate is replaced by proof of its key.
    pub(crate) return_within: SignedDuration,
    /// The hub's own namespace.
    pub(crate) namespace: String,
    /// Whether objects of SIG Multicluster are written.
    pub(crate) standards: bool,
    /// Told what is missing and what turns.
    pub(crate) health: Health,
}

/// What is missing until every placement has had its first turn.
const FIRST_DECISIONS: &str = "first decisions";

/// Starts everything; returns at once. The hub is ready when spokes are let in.
pub(crate) fn run(
    setup: Setup,
    heard: mpsc::Receiver<LinkEvent>,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Arc<Hub> {
    let (stores, writers) = Stores::new();
    setup.metrics.show(stores.clusters.clone(), stores.placements.clone());
    let (events, waiting) = Events::new();
    let health = &setup.health;
    let hub = Arc::new(Hub {
        client: setup.client.clone(),
        stores,
        live: Mutex::new(FleetState::default()),
        books: Mutex::new(HashMap::new()),
        desks: Mutex::new(HashMap::new()),
        shown_slices: Mutex::default(),
        desired: setup.desired,
        placements: Queue::new("placements").followed(health),
        reports: Queue::new("reports").followed(health),
        clusters: Queue::new("clusters").followed(health),
        quotas: Queue::new("quotas").followed(health),
        unplaced: Queue::new("unplaced objects").followed(health),
        standards: Queue::new("standards").followed(health),
        standards_wanted: setup.standards,
        namespace: setup.namespace,
        cluster_memory: Mutex::new(HashMap::new()),
        metrics: setup.metrics,
        salt: setup.salt,
        events,
        failures: failures::Failures::new(health),
        started: Timestamp::now(),
        spoken: Notify::new(),
        unreachable_after: setup.unreachable_after,
        limits: setup.limits,
        outages: Queue::new("outages").followed(health),
        trust: setup.trust,
        return_within: setup.return_within,
        health: setup.health,
    });
    hub.health.lacks(FIRST_DECISIONS, "no placement is decided before everything has been read");
    tasks.spawn("events", events::write(setup.client, waiting, stop.clone()));
    watches(&hub, writers, tasks, stop);
    tasks.spawn("controllers", work(hub.clone(), heard, tasks.clone(), stop.clone()));
    hub
}

fn watches(hub: &Arc<Hub>, mirrors: Mirrors, tasks: &Tasks, stop: &CancellationToken) {
    let Mirrors { placements, decisions, clusters, quotas, namespaces, nim } = mirrors;
    begin_watch(hub, clusters, Hub::cluster_changed, tasks, stop);
    begin_watch(hub, placements, Hub::placement_changed, tasks, stop);
    begin_watch(hub, decisions, Hub::slice_changed, tasks, stop);
    begin_watch(hub, quotas, Hub::quota_changed, tasks, stop);
    // Of namespaces the labels are asked for, and nothing else.
    begin_watch(hub, namespaces, Hub::namespace_changed, tasks, stop);
    for (kind, mirror) in NIM_KINDS.into_iter().zip(nim) {
        let (h, s) = (hub.clone(), stop.clone());
        let api = Api::all_with(hub.client.clone(), &nim_resource(kind));
        tasks.spawn(format!("watch {kind}"), async move {
            let changed = |before: Option<&DynamicObject>, after: Option<&DynamicObject>| {
                let name = after.or(before).map(ResourceExt::name_any).unwrap_or_default();
                h.isolated(kind, &name, || h.object_changed(kind, before, after));
            };
            watch(api, mirror, changed, s).await;
        });
    }
}

fn begin_watch<K>(
    hub: &Arc<Hub>,
    mirror: Mirror<K>,
    changed: impl Fn(&Hub, Option<&K>, Option<&K>) + Send + Sync + 'static,
    tasks: &Tasks,
    stop: &CancellationToken,
) where
    K: Watched + Resource<DynamicType = ()>,
{
    let (hub, stop, api) = (hub.clone(), stop.clone(), everywhere(&hub.client));
    tasks.spawn(format!("watch {}", K::kind(&())), async move {
        let changed = |before: Option<&K>, after: Option<&K>| {
            let name = after.or(before).map(ResourceExt::name_any).unwrap_or_default();
            hub.isolated(&K::kind(&()), &name, || changed(&hub, before, after));
        };
        watch(api, mirror, changed, stop).await;
    });
}

/// Reads back what was decided, works through every placement once, and lets spokes in.
async fn work(hub: Arc<Hub>, mut heard: mpsc::Receiver<LinkEvent>, tasks: Tasks, stop: CancellationToken) {
    let synced = tokio::select! {
        synced = hub.stores.synced(&hub.health) => synced,
        () = stop.cancelled() => return,
    };
    if !synced {
        return;
    }
    restore(&hub).await;
    for placement in hub.stores.placements.state() {
        hub.placements.add(key_of(placement.as_ref(), placement.name_any()));
    }
    begin_work(&hub, &tasks, &stop);
    while !hub.placements.is_idle() && !stop.is_cancelled() {
        // Start only: one look every few milliseconds until everything has had its first turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut trust = hub.trust.clone();
    hub.desired.open();
    hub.health.has(FIRST_DECISIONS);
    tracing::info!(
        placements = hub.stores.placements.len(),
        clusters = hub.stores.clusters.len(),
        "ready; spokes are let in"
    );
    let beat = hub.health.beat("the loop that takes in what spokes say");
    let mut ticks = interval(TURN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.turned();
        tokio::select! {
            () = stop.cancelled() => break,
            event = heard.recv() => match event {
                Some(event) => {
                    let cluster = event.cluster().to_string();
                    hub.isolated("a session", &cluster, || hub.heard(event));
                }
                None => break,
            },
            // What clusters have to do changes with the hub's CAs.
            Ok(()) = trust.changed() => hub.look_at_all_clusters(),
            _ = ticks.tick() => {}
        }
    }
    hub.health.lacks("process", "the hub stops");
}

/// Starts the workers of all queues. They are dropped where they are when the hub stops.
fn begin_work(hub: &Arc<Hub>, tasks: &Tasks, stop: &CancellationToken) {
    let begin = |name: &str, work: BoxFuture<'static, ()>| {
        let stop = stop.clone();
        tasks.spawn(name, stop.run_until_cancelled_owned(work).map(|_| ()));
    };
    let h = hub.clone();
    begin("queue placements", Box::pin(async move { placements(&h).await }));
    let h = hub.clone();
    begin("queue clusters", Box::pin(async move { clusters(&h).await }));
    let h = hub.clone();
    begin("queue quotas", Box::pin(async move { quotas(&h).await }));
    let h = hub.clone();
    begin("queue unplaced objects", Box::pin(async move { unplaced(&h).await }));
    let h = hub.clone();
    begin("queue reports", Box::pin(async move { reports(&h).await }));
    let h = hub.clone();
    begin("queue failures", Box::pin(async move { failures::keep(&h).await }));
    let h = hub.clone();
    begin("queue outages", Box::pin(async move { outages(&h).await }));
    if hub.standards_wanted {
        let h = hub.clone();
        begin("queue standards", Box::pin(async move { standards::keep(&h).await }));
    }
    let h = hub.clone();
    // It ends once, and the task does not.
    begin("settling", Box::pin(async move { settling::end(&h).then(|()| std::future::pending()).await }));
}

async fn placements(hub: &Arc<Hub>) {
    let work = |key: PlacementKey| {
        let hub = hub.clone();
        async move { placement::reconcile(&hub, &key).await }
    };
    let judge = |key: &PlacementKey, outcome: Result<_, Broken>, took| {
        let outcome = finish(hub, "placement", key, outcome, took);
        hub.conclude("placement", || Subject::Placement(key.clone()), &outcome);
        let wait = pause_of(hub, key);
        if outcome.is_ok() && !wait.is_zero() { Ending::Rest(wait) } else { ending(&outcome) }
    };
    hub.placements.run(WORKERS, work, judge).await;
}

/// How long a placement is left alone after its turn.
fn pause_of(hub: &Hub, key: &PlacementKey) -> Duration {
    let live = hub.live();
    if live.wanting.contains(key) {
        pause(live.wanting.len(), live.fleet.clusters().count())
    } else {
        Duration::ZERO
    }
}

/// How long a placement is left alone that waits for clusters. It is asked whenever one of them changes, which costs a look
/// at all of them: whatever happens, and however many wait, they take half of one processor together.
fn pause(waiting: usize, clusters: usize) -> Duration {
    let looks = u32::try_from(waiting.saturating_mul(clusters)).unwrap_or(u32::MAX);
    LOOK.saturating_mul(looks).saturating_mul(2).min(LONGEST_PAUSE)
}

async fn reports(hub: &Arc<Hub>) {
    let work = |key: PlacementKey| {
        let hub = hub.clone();
        async move { placement::report(&hub, &key).await }
    };
    let judge = |key: &PlacementKey, outcome: Result<_, Broken>, took| {
        let outcome = finish(hub, "report", key, outcome, took);
        hub.conclude("report", || Subject::Placement(key.clone()), &outcome);
        if outcome.is_ok() { Ending::Rest(REPORT_EVERY) } else { ending(&outcome) }
    };
    hub.reports.run(REPORT_WORKERS, work, judge).await;
}

async fn clusters(hub: &Arc<Hub>) {
    let work = |name: ClusterName| {
        let hub = hub.clone();
        async move { cluster::reconcile(&hub, &name).await }
    };
    let judge = |name: &ClusterName, outcome: Result<_, Broken>, took| {
        let outcome = finish(hub, "cluster", name, outcome, took);
        hub.conclude("cluster", || Subject::Cluster(name.to_string()), &outcome);
        ending(&outcome)
    };
    hub.clusters.run(CLUSTER_WORKERS, work, judge).await;
}

async fn quotas(hub: &Arc<Hub>) {
    let work = |namespace: String| {
        let hub = hub.clone();
        async move { quota::reconcile(&hub, &namespace).await }
    };
    let judge = |namespace: &String, outcome: Result<_, Broken>, took| {
        ending(&finish(hub, "quota", namespace, outcome, took))
    };
    hub.quotas.run(1, work, judge).await;
}

async fn unplaced(hub: &Arc<Hub>) {
    let work = |key: ObjectKey| {
        let hub = hub.clone();
        async move { unplaced::reconcile(&hub, &key).await }
    };
    let judge = |key: &ObjectKey, outcome: Result<_, Broken>, took| {
        ending(&finish(hub, "unplaced", key, outcome, took))
    };
    hub.unplaced.run(UNPLACED_WORKERS, work, judge).await;
}

async fn outages(hub: &Arc<Hub>) {
    let work = |_| {
        let hub = hub.clone();
        async move {
            outages::look(&hub);
            Ok(())
        }
    };
    let judge = |fleet: &&'static str, outcome: Result<_, Broken>, took| {
        ending(&finish(hub, "outages", fleet, outcome, took))
    };
    hub.outages.run(1, work, judge).await;
}

pub(super) fn ending(outcome: &Result<(), Fault>) -> Ending {
    match outcome {
        Ok(()) => Ending::Done,
        Err(fault) if fault.is_away() => Ending::Away,
        Err(_) => Ending::Refused,
    }
}

/// Counts how a turn ended, and logs why it failed.
fn finish(
    hub: &Hub,
    controller: &'static str,
    key: &impl Display,
    outcome: Result<Result<(), Fault>, Broken>,
    took: Duration,
) -> Result<(), Fault> {
    hub.metrics.reconciled(controller, took);
    let broken = |broken| Err(Fault::Broken { what: format!("{controller} {key}"), broken });
    let outcome = outcome.unwrap_or_else(broken);
    if let Err(fault) = &outcome {
        hub.metrics.fault(controller, fault.category());
        let (fault, error, away) = (fault.category(), chain(fault), fault.is_away());
        if away {
            // The watch tasks log an outage of the API server; it is not logged again for each object.
            tracing::debug!(controller, %key, fault, error, "reconcile failed; trying again");
        } else {
            tracing::warn!(controller, %key, fault, error, "reconcile failed; trying again");
        }
    }
    outcome
}

/// What the slices say is in force again: as memory, as reservations, and as claims of objects.
async fn restore(hub: &Hub) {
    for slice in hub.stores.decisions.state() {
        let key = key_of(slice.as_ref(), slice.spec.placement_ref.name.clone());
        let Some(index) = Slices::index(&key.name, &slice.name_any()) else { continue };
        let version = slice.resource_version().unwrap_or_default();
        // The watch may be comparing another slice of the placement at this moment.
        hub.book(&key).lock().await.slices.restore(index, version, &slice.spec.decisions);
    }
    let mut objects: HashMap<PlacementKey, Vec<(String, Value)>> = HashMap::new();
    let placements = hub.stores.placements.state();
    let namespaces: BTreeSet<String> =
        placements.iter().filter_map(|placement| placement.namespace()).collect();
    for kind in NIM_KINDS {
        for namespace in &namespaces {
            for object in hub.stores.objects_of(kind, namespace) {
                restore_object(hub, kind, namespace, &object, &mut objects);
            }
        }
    }
    let clusters = hub.live().fleet.shared();
    let books: Vec<_> = {
        let books = hub.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        books.iter().map(|(key, book)| (key.clone(), book.clone())).collect()
    };
    for (placement, book) in books {
        let mut book = book.lock().await;
        book.state.assignments = book.slices.assignments();
        let known = hub.stores.placement(&placement.namespace, &placement.name);
        let priority = known.as_ref().and_then(|known| known.spec.priority).unwrap_or_default();
        let objects = objects.remove(&placement).unwrap_or_default();
        let known = known.as_deref();
        book.state.needs = narrowed(&placement, known, &objects, &book.state.assignments, &clusters);
        let grants =
            grants(&book.state.assignments, |cluster, uid| book.state.needs.get(cluster, uid), priority);
        let charges = charges_of(&book.state.assignments, &book.state.needs);
        let mut live = hub.live();
        live.charged.insert(placement.clone(), charges);
        live.lists_secrets(&placement, &book.state.assignments);
        live.fleet.apply(FleetEvent::Granted { placement, grants });
    }
}

fn restore_object(
    hub: &Hub,
    kind: &str,
    namespace: &str,
    object: &kube::api::DynamicObject,
    objects: &mut HashMap<PlacementKey, Vec<(String, Value)>>,
) {
    let (Some(name), Some(uid)) = (owner(object), object.uid()) else { return };
    let owner = PlacementKey { namespace: namespace.to_owned(), name: name.to_owned() };
    hub.book(&owner);
    hub.live().claims.insert(uid.clone(), owner.clone());
    objects.entry(owner).or_default().push((uid, plain(object, kind)));
}

#[cfg(test)]
mod tests;
