//! The NIM operator of this cluster: NIM and NeMo objects become Deployments, claims and jobs.
//!
//! `engine` runs every kind the same way; each kind has a room of its own that says what is desired. The operator needs
//! no hub, and works the same whether an object was applied by hand or delivered.

mod certificates;
mod claim;
mod cluster;
mod diagnosis;
mod engine;
mod env;
mod gauges;
mod microservice;
mod models;
mod namespaces;
mod nemo;
mod nemocustomizer;
mod nemodatastore;
mod nemoentitystore;
mod nemoevaluator;
mod nemoguardrail;
mod nimbuild;
mod nimcache;
mod nimpipeline;
mod nimservice;
mod references;
mod registry;
mod rival;
mod router;
mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::Client;
use kube::core::{ApiResource, DynamicObject};
use runtime::{Health, Tasks, panics};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use cluster::ClusterFacts;
pub(crate) use diagnosis::NOT_CREATED;
use diagnosis::{Events, Kinds, Pods};
pub(crate) use engine::child::ChildKind;
pub(crate) use engine::judge::{Candidate, Case, Excess, Judge};
use engine::kind::Kind;
pub(crate) use engine::kind::MUTATED;
pub(crate) use engine::mutations::Mutations;
use engine::optional::Optional;
use engine::served::{self, Served};
use engine::shell::Shell;
use engine::wake::{Queue, Waker};
use engine::watch::{Told, Watch};
use engine::world::World;
pub use gauges::StateGauges;
pub(crate) use microservice::status::REPLICA_FAILURE;
pub(crate) use microservice::status::SCALED_TO_ZERO;
use models::{Models, Tokens};
use namespaces::{Filler, Namespaces};
use nemo::{Nemo, NemoService};
use nemocustomizer::Customizers;
use nemodatastore::Datastores;
use nemoentitystore::Entitystores;
use nemoevaluator::Evaluators;
use nemoguardrail::Guardrails;
use nimbuild::NimBuilds;
use nimcache::NimCaches;
use nimpipeline::NimPipelines;
use nimservice::NimServices;
pub(crate) use nimservice::{SET_NAME, service_of};
use references::References;
use registry::Images;
pub(crate) use rival::Rival;
use router::Router;
pub use settings::{Settings, WAIT_FOR_POSTGRES_IMAGE};

/// The operator, ready to be run.
pub struct Operator {
    world: World,
    facts: watch::Sender<ClusterFacts>,
    rival: watch::Sender<Rival>,
    watches: Vec<Watch>,
    optional: Vec<Optional>,
    shells: Vec<(Registration, Queue)>,
    namespaces: Filler,
    pods: diagnosis::Filler,
}

/// What the operator has to know of a kind of NIM object.
struct Registration {
    kind: &'static str,
    resource: ApiResource,
    run: fn(World, Queue, CancellationToken) -> BoxFuture<'static, ()>,
    gauge: fn(&World) -> gauges::Row,
}

impl Registration {
    fn of<K: Kind>() -> Self {
        Self {
            kind: K::KIND,
            resource: K::resource(),
            run: |world, queue, stop| Box::pin(Shell::<K>::new(world).run(queue, stop)),
            gauge: gauges::Row::of::<K>,
        }
    }
}

/// The kinds whose objects serve, by what their pods are labelled as part of.
const SERVING: Kinds = &[
    (nimservice::PART_OF, NimServices::KIND),
    (Customizers::PART_OF, <Customizers as NemoService>::KIND),
    (Datastores::PART_OF, <Datastores as NemoService>::KIND),
    (Entitystores::PART_OF, <Entitystores as NemoService>::KIND),
    (Evaluators::PART_OF, <Evaluators as NemoService>::KIND),
    (Guardrails::PART_OF, <Guardrails as NemoService>::KIND),
];

/// Every kind of NIM object that the operator runs.
fn kinds() -> Vec<Registration> {
    vec![
        Registration::of::<NimServices>(),
        Registration::of::<NimCaches>(),
        Registration::of::<NimPipelines>(),
        Registration::of::<NimBuilds>(),
        Registration::of::<Nemo<Customizers>>(),
        Registration::of::<Nemo<Datastores>>(),
        Registration::of::<Nemo<Entitystores>>(),
        Registration::of::<Nemo<Evaluators>>(),
        Registration::of::<Nemo<Guardrails>>(),
    ]
}

impl Operator {
    /// An operator that talks to one cluster.
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Self {
        let authority = settings.model_ca.clone();
        let kinds = kinds();
        let (waker, mut queues) = Waker::new(kinds.iter().map(|kind| kind.kind));
        let (mut watches, mut optional) = (Vec::new(), Vec::new());
        let mut subjects = BTreeMap::new();
        for kind in &kinds {
            let (watch, cache) = Watch::new(kind.resource.clone(), None);
            watches.push(watch);
            subjects.insert(kind.kind, cache);
        }
        let mut children = BTreeMap::new();
        for kind in ChildKind::ALL.iter().copied().filter(|kind| kind.is_watched()) {
            let resource = kind.resource();
            // A NIMService that a pipeline made is in the cache of all NIMServices.
            if let Some(cache) = subjects.values().find(|cache| cache.resource == resource) {
                children.insert(kind, cache.clone());
                continue;
            }
            let (watch, cache) = Watch::new(resource.clone(), Some(kind.selector()));
            // What an autoscaler of others scales is read whenever it changes.
            let watch = if kind == ChildKind::HorizontalPodAutoscaler { watch } else { watch.packed() };
            if kind.is_optional() {
                optional.push(Optional::new(Some(kind), &resource, watch));
            } else {
                watches.push(watch);
            }
            children.insert(kind, cache);
        }
        let resource = ApiResource::erase::<ResourceClaim>(&());
        let (watch, claims) = Watch::new(resource.clone(), None);
        optional.push(Optional::new(None, &resource, watch));
        let (watch, group_pods) = Watch::new(ChildKind::Pod.resource(), Some(SET_NAME.to_owned()));
        watches.push(watch.packed());
        let (facts, seen) = watch::channel(ClusterFacts { settings, ..ClusterFacts::default() });
        let (rival, rival_seen) = watch::channel(Rival::default());
        let (namespaces, filler) = Namespaces::new();
        let (pods, pods_filler) = Pods::new(SERVING, waker.clone());
        let tokens = Tokens::new(client.clone());
        let events = Events::new(client.clone());
        let world = World {
            client,
            children: Arc::new(children),
            pods,
            events,
            claims,
            group_pods,
            subjects: Arc::new(subjects),
            facts: seen,
            namespaces,
            nodes_seen: CancellationToken::new(),
            rival: rival_seen,
            models: Models::new(waker.clone(), tokens, authority),
            images: Images::new(waker.clone()),
            references: References::new(waker.clone()),
            mutations: Mutations::new(waker.clone()),
            judge: None,
            waker,
        };
        let shells =
            kinds.into_iter().filter_map(|kind| Some((queues.remove(kind.kind)?, kind))).map(|(q, k)| (k, q));
        Self {
            world,
            facts,
            rival,
            watches,
            optional,
            shells: shells.collect(),
            namespaces: filler,
            pods: pods_filler,
        }
    }

    /// Has what is rendered judged before it is written.
    pub(crate) fn judged_by(mut self, judge: Arc<dyn Judge>) -> Self {
        self.world.judge = Some(judge);
        self
    }

    /// Where delivery notes what this cluster's admission changes of the objects that it applies.
    pub(crate) fn mutations(&self) -> Mutations {
        self.world.mutations.clone()
    }

    /// Counts of objects by state, for the metrics.
    #[must_use]
    pub fn gauges(&self) -> StateGauges {
        let rows = self.shells.iter().map(|(kind, _)| (kind.gauge)(&self.world)).collect();
        StateGauges::new(rows, self.world.rival.clone())
    }

    /// Whether another operator keeps this one from working.
    pub(crate) fn rival(&self) -> watch::Receiver<Rival> {
        self.world.rival.clone()
    }

    /// Resolves when everything has been seen once; `health` is told what is missing until then.
    pub fn synced(&self, health: Health) -> impl Future<Output = ()> + Send + use<> {
        let world = self.world.clone();
        async move { world.filled(&health).await }
    }

    /// Starts everything; it runs until stopped.
    pub fn start(self, health: &Health, tasks: &Tasks, stop: &CancellationToken) {
        let Self { world, facts, rival, watches, optional, shells, namespaces, pods } = self;
        let client = world.client.clone();
        let references_client = client.clone();
        let router = Router { world: world.clone() };
        let (served, seen) = watch::channel(Served::default());
        let wanted = optional.iter().map(|one| one.definition().to_owned()).collect();
        let begin = |name: String, work: BoxFuture<'static, ()>| {
            let stop = stop.clone();
            tasks.spawn(name, stop.run_until_cancelled_owned(work).map(|_| ()));
        };
        for mut watch in watches {
            let (client, router, filled) = (client.clone(), router.clone(), watch.filled());
            let name = format!("watch {}", watch.kind());
            let told = move |told: Told<'_>| match told {
                Told::Object(object) => isolated(object, || router.route(object)),
                Told::Edited(object) => isolated(object, || router.edited(object)),
                // Nothing is there of a kind that is not defined yet, and the others go on without it.
                Told::Filled | Told::NotFound => filled.cancel(),
            };
            begin(name, Box::pin(async move { watch.run(client, &told).await }));
        }
        for one in optional {
            let router = router.clone();
            let name = format!("watch {}", one.definition());
            let route = move |object: &DynamicObject| isolated(object, || router.route(object));
            begin(name, Box::pin(one.run(client.clone(), seen.clone(), facts.clone(), route)));
        }
        let forever: [(&str, BoxFuture<'static, ()>); 8] = [
            ("namespaces", Box::pin(namespaces.observe(client.clone()))),
            ("pods of services", Box::pin(pods.observe(client.clone()))),
            ("definitions of kinds", Box::pin(served::definitions(client.clone(), wanted, served.clone()))),
            ("built-in kinds", Box::pin(served::built_in(client.clone(), served, facts.clone()))),
            ("conflicting operators", Box::pin(rival::observe(client.clone(), rival))),
            ("cluster facts", Box::pin(cluster::observe(client, facts, world.nodes_seen.clone()))),
            ("router", Box::pin(router.follow(world.facts.clone(), world.rival.clone()))),
            ("references", Box::pin(world.references.clone().follow(references_client))),
        ];
        for (name, task) in forever {
            begin(name.to_owned(), task);
        }
        for (kind, queue) in shells {
            // Graceful drain: begins no new reconcile, finishes those that have begun, then ends.
            let shell = (kind.run)(world.clone(), queue.followed(health), stop.clone());
            tasks.spawn(format!("operator {}", kind.kind), shell);
        }
    }
}

/// A panic about one object stays with it.
fn isolated(object: &DynamicObject, take: impl FnOnce()) {
    if let Err(panic) = panics::caught_call(take) {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name);
        tracing::error!(kind, namespace, name, %panic, "a change of the object could not be taken in");
    }
}
