//! The order of start: watch, read what was decided, decide once, then let spokes in.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Notify, mpsc, watch as signal};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events::Events;
use super::failures::{self, Subject};
use super::fault::{Fault, chain};
use super::live::Live;
use super::placement::grants;
use super::queue::{Ending, Queue};
use super::stores::{NIM_KINDS, Stores, Writers, everywhere, nim_resource, owner, watch};
use super::triggers::key_of;
use super::{Hub, cluster, events, outages, placement, quota, settling, standards};
use crate::admin::Stage;
use crate::failover::Limits;
use crate::fleet::{FleetEvent, PlacementKey};
use crate::link::{Fleetbox, LinkEvent};
use crate::metrics::Metrics;
use crate::need;
use crate::pki::{Salt, Trust};
use crate::scheduler::Policy;

/// Placements worked on at once: their turns mostly wait for the API server.
const WORKERS: usize = 16;
/// Clusters worked on at once.
const CLUSTER_WORKERS: usize = 4;
/// Placements reported at once: few, since a status may wait for what is placed, and not the other way round.
const REPORT_WORKERS: usize = 4;
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
    pub(crate) fleetbox: Fleetbox,
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
}

/// Starts everything; returns at once. `stage` becomes Ready when spokes are let in.
pub(crate) fn run(
    setup: Setup,
    heard: mpsc::Receiver<LinkEvent>,
    stage: signal::Sender<Stage>,
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Arc<Hub> {
    let (stores, writers) = Stores::new();
    let (events, waiting) = Events::new();
    let hub = Arc::new(Hub {
        client: setup.client.clone(),
        stores,
        live: Mutex::new(Live::default()),
        books: Mutex::new(HashMap::new()),
        desks: Mutex::new(HashMap::new()),
        fleetbox: setup.fleetbox,
        placements: Queue::default(),
        reports: Queue::default(),
        clusters: Queue::default(),
        quotas: Queue::default(),
        standards: Queue::default(),
        standards_wanted: setup.standards,
        namespace: setup.namespace,
        cluster_memory: Mutex::new(HashMap::new()),
        metrics: setup.metrics,
        salt: setup.salt,
        events,
        failures: failures::Failures::default(),
        started: Timestamp::now(),
        spoken: Notify::new(),
        unreachable_after: setup.unreachable_after,
        limits: setup.limits,
        outages: Queue::default(),
        trust: setup.trust,
        return_within: setup.return_within,
    });
    tasks.spawn(events::write(setup.client, waiting, stop.clone()));
    watches(&hub, writers, tasks, stop);
    tasks.spawn(work(hub.clone(), heard, stage, stop.clone()));
    hub
}

fn watches(hub: &Arc<Hub>, writers: Writers, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
    let Writers { placements, decisions, clusters, quotas, namespaces, nim } = writers;
    let (h, s) = (hub.clone(), stop.clone());
    let api = everywhere(&hub.client);
    tasks.spawn(async move { watch(api, clusters, (), |b, a| h.cluster_changed(b, a), s).await });
    let (h, s) = (hub.clone(), stop.clone());
    let api = everywhere(&hub.client);
    tasks.spawn(async move { watch(api, placements, (), |b, a| h.placement_changed(b, a), s).await });
    let (h, s) = (hub.clone(), stop.clone());
    let api = everywhere(&hub.client);
    tasks.spawn(async move { watch(api, decisions, (), |b, a| h.slice_changed(b, a), s).await });
    let (h, s) = (hub.clone(), stop.clone());
    let api = everywhere(&hub.client);
    tasks.spawn(async move { watch(api, quotas, (), |b, a| h.quota_changed(b, a), s).await });
    let (h, s) = (hub.clone(), stop.clone());
    let api = everywhere(&hub.client);
    // Of namespaces the labels are asked for, and nothing else.
    tasks.spawn(async move { watch(api, namespaces, (), |b, a| h.namespace_changed(b, a), s).await });
    for (kind, writer) in NIM_KINDS.into_iter().zip(nim) {
        let (h, s) = (hub.clone(), stop.clone());
        let api = Api::all_with(hub.client.clone(), &nim_resource(kind));
        tasks.spawn(async move {
            watch(api, writer, nim_resource(kind), |b, a| h.object_changed(kind, b, a), s).await;
        });
    }
}

/// Reads back what was decided, works through every placement once, and lets spokes in.
async fn work(
    hub: Arc<Hub>,
    mut heard: mpsc::Receiver<LinkEvent>,
    stage: signal::Sender<Stage>,
    stop: CancellationToken,
) {
    let synced = tokio::select! {
        synced = hub.stores.synced() => synced,
        () = stop.cancelled() => return,
    };
    if !synced {
        return;
    }
    restore(&hub);
    for placement in hub.stores.placements.state() {
        hub.placements.add(key_of(placement.as_ref(), placement.name_any()));
    }
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let hub = hub.clone();
        workers.spawn(async move { placements(&hub).await });
    }
    for _ in 0..CLUSTER_WORKERS {
        let hub = hub.clone();
        workers.spawn(async move { clusters(&hub).await });
    }
    let counting = hub.clone();
    workers.spawn(async move { quotas(&counting).await });
    if hub.standards_wanted {
        let telling = hub.clone();
        workers.spawn(async move { standards::keep(&telling).await });
    }
    let telling = hub.clone();
    workers.spawn(async move { failures::keep(&telling).await });
    let watching = hub.clone();
    workers.spawn(async move { outages::watch(&watching).await });
    let settling = hub.clone();
    workers.spawn(async move { settling::end(&settling).await });
    for _ in 0..REPORT_WORKERS {
        let hub = hub.clone();
        workers.spawn(async move { reports(&hub).await });
    }
    while !hub.placements.is_idle() && !stop.is_cancelled() {
        // Start only: one look every few milliseconds until everything has had its first turn.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut trust = hub.trust.clone();
    hub.fleetbox.open();
    stage.send_replace(Stage::Ready);
    tracing::info!(
        placements = hub.stores.placements.len(),
        clusters = hub.stores.clusters.len(),
        "ready; spokes are let in"
    );
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = heard.recv() => match event {
                Some(event) => hub.heard(event),
                None => break,
            },
            // What clusters have to do changes with the hub's CAs.
            Ok(()) = trust.changed() => hub.look_at_all_clusters(),
        }
    }
    stage.send_replace(Stage::Stopping);
    workers.shutdown().await;
}

async fn placements(hub: &Hub) {
    loop {
        let key = hub.placements.take().await;
        let started = Instant::now();
        let outcome = placement::reconcile(hub, &key).await;
        finish(hub, "placement", &key.to_string(), started, &outcome);
        hub.conclude("placement", || Subject::Placement(key.clone()), &outcome);
        let wait = pause_of(hub, &key);
        if outcome.is_ok() && !wait.is_zero() {
            hub.placements.rest(key, wait);
        } else {
            hub.placements.done(&key, ending(&outcome));
        }
    }
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

async fn reports(hub: &Hub) {
    loop {
        let key = hub.reports.take().await;
        let started = Instant::now();
        let outcome = placement::report(hub, &key).await;
        finish(hub, "report", &key.to_string(), started, &outcome);
        hub.conclude("report", || Subject::Placement(key.clone()), &outcome);
        match outcome {
            Ok(()) => hub.reports.rest(key, REPORT_EVERY),
            Err(_) => hub.reports.done(&key, ending(&outcome)),
        }
    }
}

async fn clusters(hub: &Hub) {
    loop {
        let name = hub.clusters.take().await;
        let started = Instant::now();
        let outcome = cluster::reconcile(hub, &name).await;
        finish(hub, "cluster", name.as_str(), started, &outcome);
        hub.conclude("cluster", || Subject::Cluster(name.to_string()), &outcome);
        hub.clusters.done(&name, ending(&outcome));
    }
}

pub(super) fn ending(outcome: &Result<(), Fault>) -> Ending {
    match outcome {
        Ok(()) => Ending::Done,
        Err(fault) if fault.is_away() => Ending::Away,
        Err(_) => Ending::Refused,
    }
}

async fn quotas(hub: &Hub) {
    loop {
        let namespace = hub.quotas.take().await;
        let started = Instant::now();
        let outcome = quota::reconcile(hub, &namespace).await;
        finish(hub, "quota", &namespace, started, &outcome);
        hub.quotas.done(&namespace, ending(&outcome));
    }
}

fn finish(hub: &Hub, controller: &'static str, key: &str, started: Instant, outcome: &Result<(), Fault>) {
    hub.metrics.reconciled(controller, started.elapsed());
    if let Err(fault) = outcome {
        hub.metrics.fault(controller, fault.category());
        let (fault, error, away) = (fault.category(), chain(fault), fault.is_away());
        if away {
            // What is away is told by whoever watches it.
            tracing::debug!(controller, key, fault, error, "reconcile failed; trying again");
        } else {
            tracing::warn!(controller, key, fault, error, "reconcile failed; trying again");
        }
    }
}

/// What the slices say is in force again: as memory, as reservations, and as claims of objects.
fn restore(hub: &Hub) {
    for slice in hub.stores.decisions.state() {
        let key = key_of(slice.as_ref(), slice.spec.placement_ref.name.clone());
        let book = hub.book(&key);
        if let Ok(mut book) = book.try_lock() {
            book.slices.insert(slice.name_any(), slice.spec.decisions.clone());
            book.rows.add(&slice);
        }
    }
    let placements = hub.stores.placements.state();
    let namespaces: BTreeSet<String> =
        placements.iter().filter_map(|placement| placement.namespace()).collect();
    for kind in NIM_KINDS {
        for namespace in &namespaces {
            for object in hub.stores.objects_of(kind, namespace) {
                restore_object(hub, kind, namespace, &object);
            }
        }
    }
    let books: Vec<_> = {
        let books = hub.books.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        books.iter().map(|(key, book)| (key.clone(), book.clone())).collect()
    };
    for (placement, book) in books {
        if let Ok(book) = book.try_lock() {
            let known = hub.stores.placement(&placement.namespace, &placement.name);
            let priority = known.and_then(|known| known.spec.priority).unwrap_or_default();
            let grants = grants(&book.rows, &book.needs, priority);
            let charges = placement::charges_of(&book.rows, &book.needs);
            hub.live().charged.insert(placement.clone(), charges);
            hub.live().lists_secrets(&placement, &book.rows);
            hub.live().fleet.apply(FleetEvent::Granted { placement, grants });
        }
    }
}

fn restore_object(hub: &Hub, kind: &str, namespace: &str, object: &kube::api::DynamicObject) {
    let (Some(name), Some(uid)) = (owner(object), object.uid()) else { return };
    let owner = PlacementKey { namespace: namespace.to_owned(), name: name.to_owned() };
    let book = hub.book(&owner);
    hub.live().claims.insert(uid.clone(), owner);
    let cache = need::cache_name(&object.data);
    let cache = cache.and_then(|cache| hub.stores.object("NIMCache", namespace, cache));
    let cache = cache.map(|cache| placement::plain(&cache, "NIMCache"));
    let policy =
        hub.stores.placement(namespace, name).and_then(|placement| Policy::try_from(&placement.spec).ok());
    if let (Ok(need), Ok(mut book)) =
        (need::need(&placement::plain(object, kind), cache.as_ref()), book.try_lock())
    {
        book.needs.insert(uid, policy.unwrap_or_default().narrow(&need));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_there_is_to_look_at_the_longer_nobody_looks() {
        let table = [(1, 4, 12), (100, 1000, 300_000), (100, 10_000, 3_000_000), (1000, 10_000, 5_000_000)];
        for (waiting, clusters, micros) in table {
            assert_eq!(pause(waiting, clusters), Duration::from_micros(micros), "{waiting} × {clusters}");
        }
    }
}
