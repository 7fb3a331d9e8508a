//! What the caller may see, followed: three watches, each as wide as the caller's rights, and a view that is made anew when one
//! of them has seen something.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crds::fleet::{GPUCluster, GPUQuota, NIMPlacement};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::events::v1::Event;
use kube::core::NamespaceResourceScope;
use kube::runtime::watcher::{self, Config, watcher};
use kube::{Api, Resource, ResourceExt};
use runtime::chain;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use super::render::{Recent, View};
use crate::events::EventRow;
use crate::session::{Scope, Seen, Session};
use crate::status::FleetStatus;

/// The page is made anew at most so often.
const PACE: Duration = Duration::from_millis(250);
/// What the caller may not see is asked for again so often: rights change.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Who may list and not watch is shown a list of this age at the most.
const POLL: Duration = Duration::from_secs(10);
/// Pause before a kind is listed anew whose watch has failed.
const LIST_AGAIN: Duration = Duration::from_secs(5);
/// So many events are kept, the newest.
const EVENTS: usize = 200;

/// Everything that is known.
#[derive(Default)]
struct Known {
    clusters: Objects<GPUCluster>,
    placements: Objects<NIMPlacement>,
    quotas: Objects<GPUQuota>,
    events: Objects<Event>,
}

impl Known {
    /// Whether every kind has been asked for.
    fn is_asked(&self) -> bool {
        let Self { clusters, placements, quotas, events } = self;
        clusters.asked && placements.asked && quotas.asked && events.asked
    }
}

/// Objects of one kind, by namespace and name.
struct Objects<K> {
    items: BTreeMap<(Option<String>, String), Arc<K>>,
    hidden: Option<String>,
    /// Why what is known may be old.
    problem: Option<String>,
    /// Whether the API server has answered, or could not be asked.
    asked: bool,
}

impl<K> Default for Objects<K> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), hidden: None, problem: None, asked: false }
    }
}

impl<K> Objects<K> {
    fn seen(&self) -> Seen<Arc<K>> {
        Seen { items: self.items.values().cloned().collect(), hidden: self.hidden.clone() }
    }
}

/// What is shared by the watches and what reads them.
#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Notify,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the fleet for as long as the view is read.
pub(super) fn follow(session: &Session) -> watch::Receiver<Recent> {
    let shared = Arc::new(Shared::default());
    let (sender, receiver) = watch::channel(Recent::default());
    let client = session.client();
    tokio::spawn(keep(vec![(Api::<GPUCluster>::all(client), None)], Arc::clone(&shared), |known| {
        &mut known.clusters
    }));
    tokio::spawn(keep(widely::<NIMPlacement>(session), Arc::clone(&shared), |known| &mut known.placements));
    tokio::spawn(keep(widely::<GPUQuota>(session), Arc::clone(&shared), |known| &mut known.quotas));
    tokio::spawn(keep(widely::<Event>(session), Arc::clone(&shared), |known| &mut known.events));
    tokio::spawn(async move {
        loop {
            shared.changed.notified().await;
            let view = {
                let known = shared.known();
                // A page without what has not been read yet would have nothing there.
                known.is_asked().then(|| look(&known))
            };
            let Some(view) = view else { continue };
            sender.send_modify(|recent| *recent = recent.with(view));
            if sender.is_closed() {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    });
    receiver
}

fn look(known: &Known) -> View {
    let status = FleetStatus::of(&known.clusters.seen(), &known.placements.seen(), &known.quotas.seen());
    let mut events: Vec<EventRow> =
        known.events.items.values().filter_map(|event| EventRow::of(event)).collect();
    events.sort_by(|a, b| (b.at, &b.object, &b.reason).cmp(&(a.at, &a.object, &a.reason)));
    events.truncate(EVENTS);
    let Known { clusters, placements, quotas, events: told } = known;
    let problems = [&clusters.problem, &placements.problem, &quotas.problem, &told.problem];
    let problem = problems.into_iter().flatten().next().map(String::as_str);
    View::of(status, events, told.hidden.clone(), problem)
}

/// Where objects of a namespaced kind are looked for: as widely as is asked, and where that is not permitted in the context's own
/// namespace.
fn widely<K>(session: &Session) -> Vec<(Api<K>, Option<String>)>
where
    K: Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    let client = session.client();
    let plural = K::plural(&K::DynamicType::default()).into_owned();
    match session.scope() {
        Scope::All => vec![(Api::all(client), None)],
        Scope::Namespace(namespace) => vec![(Api::namespaced(client, namespace), None)],
        Scope::Context(namespace) => {
            let rest = format!("{plural} outside namespace {namespace}");
            vec![(Api::all(client.clone()), None), (Api::namespaced(client, namespace), Some(rest))]
        }
    }
}

/// How a watch ended.
enum End {
    /// The caller may not list; in the API server's words.
    Forbidden(String),
    /// The caller may list and not watch.
    Unwatchable,
    /// The API server could not be asked, or its answer broke off.
    Broken,
}

/// Keeps objects of one kind up to date: of the first of the places that the caller may list, with what is hidden then.
async fn keep<K>(
    places: Vec<(Api<K>, Option<String>)>,
    shared: Arc<Shared>,
    part: fn(&mut Known) -> &mut Objects<K>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default + Clone + std::hash::Hash + Eq,
{
    loop {
        let mut refused = String::new();
        let mut wait = ASK_AGAIN;
        for (api, hides) in &places {
            match observe(api, hides.as_deref(), &shared, part).await {
                End::Forbidden(words) => refused = words,
                End::Unwatchable => {
                    refused.clear();
                    wait = POLL;
                    break;
                }
                End::Broken => {
                    refused.clear();
                    wait = LIST_AGAIN;
                    break;
                }
            }
        }
        if !refused.is_empty() {
            let mut known = shared.known();
            *part(&mut known) = Objects { hidden: Some(refused), asked: true, ..Objects::default() };
            drop(known);
            shared.changed.notify_one();
        }
        tokio::time::sleep(wait).await;
    }
}

async fn observe<K>(
    api: &Api<K>,
    hides: Option<&str>,
    shared: &Shared,
    part: fn(&mut Known) -> &mut Objects<K>,
) -> End
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Default + Clone + std::hash::Hash + Eq,
{
    let seen = watcher(api.clone(), Config::default());
    pin_mut!(seen);
    let mut listed = BTreeMap::new();
    let key = |object: &K| (object.namespace(), object.name_any());
    while let Some(event) = seen.next().await {
        let mut known = shared.known();
        let objects = part(&mut known);
        match event {
            Ok(event) => {
                objects.problem = None;
                match event {
                    watcher::Event::Init => listed.clear(),
                    watcher::Event::InitApply(mut object) => {
                        object.meta_mut().managed_fields = None;
                        listed.insert(key(&object), Arc::new(object));
                        continue;
                    }
                    watcher::Event::InitDone => {
                        objects.items = std::mem::take(&mut listed);
                        objects.hidden = hides.map(str::to_owned);
                        objects.asked = true;
                    }
                    watcher::Event::Apply(mut object) => {
                        object.meta_mut().managed_fields = None;
                        objects.items.insert(key(&object), Arc::new(object));
                    }
                    watcher::Event::Delete(object) => {
                        objects.items.remove(&key(&object));
                    }
                }
            }
            Err(watcher::Error::InitialListFailed(kube::Error::Api(status))) if status.code == 403 => {
                return End::Forbidden(status.message.clone());
            }
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 403 => {
                return End::Unwatchable;
            }
            Err(watcher::Error::WatchError(status)) if status.code == 403 => return End::Unwatchable,
            Err(error) => {
                // A watch that is resumed tells nothing until something changes; a list tells at once that all is well again.
                objects.problem = Some(chain(&error));
                objects.asked = true;
                drop(known);
                shared.changed.notify_one();
                return End::Broken;
            }
        }
        drop(known);
        shared.changed.notify_one();
    }
    End::Unwatchable
}
