//! A cluster as the caller sees it: lists that end where the caller's rights end, and single objects.

use std::fmt::Debug;
use std::time::Duration;

use crds::fleet::{GPUCluster, NIMPlacement, NIMPlacementDecision};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use runtime::CallError;
use runtime::call::within;
use runtime::chain;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::Target;
use crate::failure::Failure;
use crate::table::{Tone, paint};

/// How long one call may take: a decision over a large fleet, and a page of large objects over a slow line.
const CALL: Duration = Duration::from_secs(30);
/// Objects of one page of a list: those of 250 clusters with a full status are about 60 MB at the most.
const PAGE: u32 = 250;
/// Group of what the hub is asked for.
const QUERY: &str = "query.nimfleet.io";

/// The namespaces that a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing was said: the namespace of the context, where a command does not look further by itself.
    Context(String),
    /// One was named.
    Namespace(String),
    /// All were asked for.
    All,
}

/// A list as far as the caller may see it.
#[derive(Clone, Debug)]
pub(crate) struct Seen<T> {
    pub(crate) items: Vec<T>,
    /// What is hidden from the caller, in the API server's words.
    pub(crate) hidden: Option<String>,
}

impl<T> Seen<T> {
    fn all(items: Vec<T>) -> Self {
        Self { items, hidden: None }
    }

    fn nothing(hidden: String) -> Self {
        Self { items: Vec::new(), hidden: Some(hidden) }
    }
}

/// The cluster of a kubeconfig, and who asks.
#[derive(Clone)]
pub(crate) struct Session {
    client: Client,
    scope: Scope,
    target: Target,
    server: String,
}

impl Session {
    /// Connects as kubectl would.
    pub(crate) async fn open(target: &Target) -> Result<Self, Failure> {
        let mut config = config(target).await?;
        config.default_retry = false;
        if let Some(user) = &target.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups =
                (!target.as_group.is_empty()).then(|| target.as_group.clone());
        }
        let scope = match &target.namespace {
            _ if target.all_namespaces => Scope::All,
            Some(namespace) => Scope::Namespace(namespace.clone()),
            None => Scope::Context(config.default_namespace.clone()),
        };
        let server = config.cluster_url.to_string();
        let client =
            Client::try_from(config).map_err(|error| Failure::Kubeconfig { problem: chain(&error) })?;
        Ok(Self { client, scope, target: target.clone(), server })
    }

    /// A session with an API server that is not there.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        let server = "http://127.0.0.1:1/";
        let client = Client::try_from(Config::new(server.parse().unwrap())).unwrap();
        let scope = Scope::Context("default".to_owned());
        Self { client, scope, target: Target::default(), server: server.to_owned() }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where the API server is.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Namespace of hub or spoke.
    pub(crate) fn installed_in(&self) -> &str {
        &self.target.installed_in
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The same session, about one namespace.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self { scope: Scope::Namespace(namespace.to_owned()), ..self.clone() }
    }

    /// The same session, about all namespaces.
    pub(crate) fn everywhere(&self) -> Self {
        Self { scope: Scope::All, ..self.clone() }
    }

    /// The one namespace of commands about one object.
    pub(crate) fn namespace(&self) -> Result<&str, Failure> {
        match &self.scope {
            Scope::Context(namespace) | Scope::Namespace(namespace) => Ok(namespace),
            Scope::All => Err(Failure::Usage(
                "--all-namespaces: this command is about one object: name its namespace with --namespace"
                    .to_owned(),
            )),
        }
    }

    /// The GPUClusters that the caller may see.
    pub(crate) async fn clusters(&self) -> Result<Seen<GPUCluster>, Failure> {
        hide(list(&Api::all(self.client()), "GPUClusters: list").await)
    }

    /// Objects of a kind in the namespaces that the command is about. Of the context's namespace alone: see [`Self::list_widely`].
    pub(crate) async fn list<K>(&self) -> Result<Seen<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let plural = K::plural(&K::DynamicType::default()).into_owned();
        match &self.scope {
            Scope::All => {
                hide(list(&Api::all(self.client()), &format!("{plural}: list in all namespaces")).await)
            }
            Scope::Context(namespace) | Scope::Namespace(namespace) => {
                let doing = format!("{plural}: list in namespace {namespace}");
                hide(list(&Api::namespaced(self.client(), namespace), &doing).await)
            }
        }
    }

    /// The same; where no namespace was named all that the caller may see, which is the context's namespace if it is not all.
    pub(crate) async fn list_widely<K>(&self) -> Result<Seen<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let Scope::Context(namespace) = &self.scope else { return self.list().await };
        let plural = K::plural(&K::DynamicType::default()).into_owned();
        match list(&Api::all(self.client()), &format!("{plural}: list in all namespaces")).await {
            Err(failure) if failure.is_forbidden() => {
                let own = self.list::<K>().await?;
                let hidden = own.hidden.unwrap_or_else(|| format!("{plural} outside namespace {namespace}"));
                Ok(Seen { items: own.items, hidden: Some(hidden) })
            }
            outcome => outcome.map(Seen::all),
        }
    }

    /// One placement of the namespace.
    pub(crate) async fn placement(&self, name: &str) -> Result<NIMPlacement, Failure> {
        let namespace = self.namespace()?;
        let api: Api<NIMPlacement> = Api::namespaced(self.client(), namespace);
        call(format!("NIMPlacement {namespace}/{name}"), api.get(name)).await
    }

    /// One cluster of the fleet.
    pub(crate) async fn cluster(&self, name: &str) -> Result<GPUCluster, Failure> {
        let api: Api<GPUCluster> = Api::all(self.client());
        call(format!("GPUCluster {name}"), api.get(name)).await
    }

    /// The slices of one placement.
    pub(crate) async fn decisions(&self, placement: &str) -> Result<Seen<NIMPlacementDecision>, Failure> {
        let mut seen = self.list::<NIMPlacementDecision>().await?;
        seen.items.retain(|slice| slice.spec.placement_ref.name == placement);
        Ok(seen)
    }

    /// What the hub answers about a name, from its memory: `kind` of `query.nimfleet.io` in the namespace.
    pub(crate) async fn ask(&self, kind: &str, name: &str) -> Result<Value, Failure> {
        let namespace = self.namespace()?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &query_resource(kind));
        let answer = call(format!("{kind} {namespace}/{name}"), api.get(name)).await?;
        Ok(answer.data)
    }

    /// Has the hub decide about a simulation.
    pub(crate) async fn simulate(&self, spec: Value) -> Result<Value, Failure> {
        let namespace = self.namespace()?;
        let resource = query_resource("PlacementSimulation");
        let api: Api<DynamicObject> = Api::namespaced_with(self.client(), namespace, &resource);
        let mut simulation = DynamicObject::new("simulation", &resource).within(namespace);
        simulation.data = serde_json::json!({ "spec": spec });
        let doing = format!("PlacementSimulation in namespace {namespace}");
        let answer = call(doing, api.create(&PostParams::default(), &simulation)).await?;
        Ok(answer.data)
    }

    /// The rows of the hub: one for each placement and cluster. They are answered in one piece.
    pub(crate) async fn assignments(&self) -> Result<Seen<DynamicObject>, Failure> {
        let resource = query_resource("NIMAssignment");
        let api: Api<DynamicObject> = match &self.scope {
            Scope::All => Api::all_with(self.client(), &resource),
            Scope::Context(namespace) | Scope::Namespace(namespace) => {
                Api::namespaced_with(self.client(), namespace, &resource)
            }
        };
        let rows = call("NIMAssignments: list".to_owned(), api.list(&ListParams::default())).await;
        hide(rows.map(|rows| rows.items))
    }
}

fn query_resource(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(QUERY, "v1alpha1", kind))
}

/// What is not permitted is hidden; everything else that goes wrong is a failure.
fn hide<T>(outcome: Result<Vec<T>, Failure>) -> Result<Seen<T>, Failure> {
    match outcome {
        Ok(items) => Ok(Seen::all(items)),
        Err(Failure::Call { error, .. }) if error.is_forbidden() => {
            Ok(Seen::nothing(error.status().map(|status| status.message.clone()).unwrap_or_default()))
        }
        Err(failure) => Err(failure),
    }
}

/// A call to the API server, named by what it is about. What waits for it is small: the call itself is on the heap.
pub(crate) fn call<T>(
    doing: impl Into<String>,
    asked: impl Future<Output = kube::Result<T>>,
) -> impl Future<Output = Result<T, Failure>> {
    let (doing, asked) = (doing.into(), Box::pin(asked));
    async { within(CALL, asked).await.map_err(|error: CallError| Failure::Call { doing, error }) }
}

/// A whole list, page by page.
pub(crate) async fn list<K>(api: &Api<K>, doing: &str) -> Result<Vec<K>, Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut items = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = call(doing, api.list(&page)).await?;
        items.extend(found.items);
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(items),
        }
    }
}

async fn config(target: &Target) -> Result<Config, Failure> {
    let unusable = |problem: String| Failure::Kubeconfig { problem };
    let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
    match (&target.kubeconfig, &target.context) {
        (Some(path), _) => {
            let named =
                |error: &dyn std::error::Error| unusable(format!("{}: {}", path.display(), chain(error)));
            let file = Kubeconfig::read_from(path).map_err(|error| named(&error))?;
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| named(&error))
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| unusable(chain(&error))),
        // In a pod without a kubeconfig this is the pod's own cluster, as for kubectl.
        (None, None) => Config::infer().await.map_err(|error| unusable(chain(&error))),
    }
}

/// What the caller does not see, for JSON and for a last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Hidden {
    /// The kind.
    pub(crate) kind: &'static str,
    /// In the API server's words.
    pub(crate) message: String,
}

impl Hidden {
    /// What of this list is hidden, if anything.
    pub(crate) fn of<T>(kind: &'static str, seen: &Seen<T>) -> Option<Self> {
        seen.hidden.clone().map(|message| Self { kind, message })
    }
}

/// The last lines of an answer: what of it is hidden.
pub(crate) fn hidden(hidden: &[Hidden]) -> String {
    let line = |Hidden { kind, message }: &Hidden| {
        paint(&format!("not shown, {kind}: {message}"), Tone::Faint) + "\n"
    };
    hidden.iter().map(line).collect()
}
