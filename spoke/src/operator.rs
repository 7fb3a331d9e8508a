//! The NIM operator of this cluster: NIMService and NIMCache become Deployments, claims and jobs.
//!
//! `engine` runs every kind the same way; each kind has a room of its own that says what is desired. The operator needs
//! no hub, and works the same whether an object was applied by hand or delivered.

mod certificates;
mod claim;
mod cluster;
mod engine;
mod env;
mod gauges;
mod nimcache;
mod nimservice;

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use kube::core::{DynamicObject, Resource};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use cluster::ClusterFacts;
use engine::child::ChildKind;
use engine::kind::{GROUP, Kind};
use engine::shell::Shell;
use engine::watch::Watch;
use engine::world::{Cache, World};
pub use gauges::StateGauges;
use nimcache::NimCaches;
use nimservice::NimServices;

type Queue = mpsc::UnboundedSender<ObjectRef<DynamicObject>>;

/// The operator, ready to be run.
pub struct Operator {
    world: World,
    facts: watch::Sender<ClusterFacts>,
    watches: Vec<Watch>,
}

impl Operator {
    /// An operator that talks to one cluster.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (facts, seen) = watch::channel(ClusterFacts::default());
        let mut watches = Vec::new();
        let mut children = BTreeMap::new();
        for kind in
            ChildKind::ALL.iter().filter(|kind| !kind.is_optional() && **kind != ChildKind::NimService)
        {
            let (watch, cache) = Watch::new(kind.resource(), Some(kind.selector()));
            watches.push(watch);
            children.insert(*kind, cache);
        }
        let mut subjects = BTreeMap::new();
        for (kind, resource) in
            [(NimServices::KIND, NimServices::resource()), (NimCaches::KIND, NimCaches::resource())]
        {
            let (watch, cache) = Watch::new(resource, None);
            watches.push(watch);
            subjects.insert(kind, cache);
        }
        let world = World { client, children: Arc::new(children), subjects: Arc::new(subjects), facts: seen };
        Self { world, facts, watches }
    }

    /// Counts of objects by state, for the metrics.
    #[must_use]
    pub fn gauges(&self) -> StateGauges {
        StateGauges::new(vec![
            gauges::Row::of::<NimServices>(&self.world),
            gauges::Row::of::<NimCaches>(&self.world),
        ])
    }

    /// Resolves when everything has been seen once.
    pub fn synced(&self) -> impl Future<Output = ()> + Send + use<> {
        let world = self.world.clone();
        async move { world.synced().await }
    }

    /// Runs until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let (services, service_queue) = mpsc::unbounded_channel();
        let (caches, cache_queue) = mpsc::unbounded_channel();
        let router = Router {
            queues: BTreeMap::from([(NimServices::KIND, services), (NimCaches::KIND, caches)]),
            subjects: Arc::clone(&self.world.subjects),
        };
        let mut tasks = JoinSet::new();
        for watch in self.watches {
            let router = router.clone();
            tasks.spawn(
                watch.run(self.world.client.clone(), stop.clone(), move |object| router.route(object)),
            );
        }
        tasks.spawn(cluster::observe(self.world.client.clone(), self.facts, stop.clone()));
        tasks.spawn(route_facts(router, self.world.facts.clone(), stop.clone()));
        tasks.spawn(Shell::<NimServices>::new(self.world.clone()).run(service_queue, stop.clone()));
        tasks.spawn(Shell::<NimCaches>::new(self.world).run(cache_queue, stop));
        while tasks.join_next().await.is_some() {}
    }
}

/// Knows which NIM objects a changed object concerns.
#[derive(Clone)]
struct Router {
    queues: BTreeMap<&'static str, Queue>,
    subjects: Arc<BTreeMap<&'static str, Cache>>,
}

impl Router {
    fn route(&self, object: &DynamicObject) {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let types = object.types.as_ref();
        if let Some(types) = types.filter(|types| types.api_version.starts_with(GROUP)) {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            self.send(&types.kind, namespace, name);
            if types.kind == NimCaches::KIND {
                self.wake_services_of(namespace, name);
            }
            return;
        }
        for owner in object.meta().owner_references.iter().flatten() {
            if owner.api_version.starts_with(GROUP) {
                self.send(&owner.kind, namespace, &owner.name);
            } else if owner.kind == "Job" {
                // A pod of a download: its job has the name of the NIMCache and a suffix.
                self.send(NimCaches::KIND, namespace, owner.name.strip_suffix("-job").unwrap_or_default());
            }
        }
    }

    fn wake_services_of(&self, namespace: &str, cache: &str) {
        let Some(services) = self.subjects.get(NimServices::KIND) else { return };
        let uses = |service: &DynamicObject| service.data["spec"]["storage"]["nimCache"]["name"] == cache;
        for service in services.of_namespace(namespace, uses) {
            self.send(NimServices::KIND, namespace, service.metadata.name.as_deref().unwrap_or_default());
        }
    }

    fn send(&self, kind: &str, namespace: &str, name: &str) {
        if let (Some(queue), Some(cache)) = (self.queues.get(kind), self.subjects.get(kind)) {
            // The receiver ends only when the operator stops.
            let _ = queue.send(ObjectRef::new_with(name, cache.resource.clone()).within(namespace));
        }
    }
}

/// Wakes everything when the facts of the cluster change: a profile may fit now that did not before.
async fn route_facts(router: Router, mut facts: watch::Receiver<ClusterFacts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = facts.changed() => if changed.is_err() { return },
        }
        for cache in router.subjects.values() {
            cache.store.state().iter().for_each(|object| router.route(object));
        }
    }
}
