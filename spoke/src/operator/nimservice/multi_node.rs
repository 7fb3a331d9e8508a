//! A replica over several nodes: a LeaderWorkerSet. Each group of pods is one replica, its leader answers.

mod environment;
mod groups;
mod key;
mod mpi;
mod pods;
mod ray;

use std::time::Duration;

use crds::compare::holds;
use crds::nim::{InferencePlatform, NIMService};
use k8s_openapi::api::core::v1::ResourceRequirements;
use serde_json::{Value, json};

use super::scene::Scene;
use super::storage::ModelStore;
use crate::operator::engine::call::CallError;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::engine::world::World;
use crate::operator::microservice::readiness::Readiness;
use groups::Groups;
pub(crate) use groups::SET_NAME;
use pods::Form;

/// How the name of a service's LeaderWorkerSet ends.
const SUFFIX: &str = "-lws";

/// What there is already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The key that the pods of a service by MPI talk with: the one in use, or a fresh one.
    key: Option<key::Key>,
    /// The pods of a LeaderWorkerSet as they are; null where there is none.
    pods: Value,
    /// Which of its groups serve.
    groups: Groups,
    /// How many groups it has; none where there is none.
    replicas: Option<i32>,
}

/// Looks at what a service over several nodes already has, and makes it a key if it has none.
pub(super) async fn observe(
    object: &NIMService,
    subject: &Subject,
    world: &World,
) -> Result<Seen, CallError> {
    let standalone = object.spec.platform().is_ok_and(|platform| platform == InferencePlatform::Standalone);
    let Some(shape) = object.spec.over_nodes().filter(|_| standalone) else { return Ok(Seen::default()) };
    let owner = &subject.owner;
    let key = match &shape.ray {
        Some(_) => None,
        None => Some(key::observe(owner, world).await?),
    };
    let set = name(&owner.name);
    let live = world.child(ChildKind::LeaderWorkerSet, &owner.namespace, &set);
    let spec = live.map(|live| live.data["spec"].clone()).unwrap_or_default();
    let replicas = spec["replicas"].as_i64().and_then(|replicas| i32::try_from(replicas).ok());
    let (pods, groups) =
        (spec["leaderWorkerTemplate"].clone(), Groups::observe(world, &owner.namespace, &set));
    Ok(Seen { key, pods, groups, replicas })
}

/// How many groups there are to be: as many as the spec says, or else as whoever scales the set has made of the first one.
fn replicas(scene: &Scene<'_>) -> i32 {
    scene.spec.replicas.or(scene.refs.claims.nodes.replicas).unwrap_or(1)
}

/// Name of the LeaderWorkerSet.
pub(super) fn name(service: &str) -> String {
    format!("{service}{SUFFIX}")
}

/// The NIMService whose LeaderWorkerSet has that name.
pub(crate) fn service_of(set: &str) -> Option<&str> {
    set.strip_suffix(SUFFIX)
}

/// The LeaderWorkerSet and what its pods need to find each other.
pub(super) fn children(
    scene: &Scene<'_>,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
) -> Result<Vec<Child>, Failure> {
    let Some(shape) = scene.spec.over_nodes() else { return Ok(Vec::new()) };
    let Seen { key, pods: live, .. } = &scene.refs.claims.nodes;
    let mut children = match (&shape.ray, key) {
        (Some(_), _) => Vec::new(),
        (None, Some(key)) => mpi::children(scene, shape, key),
        (None, None) => {
            let message = format!("there is no key for the Secret {}-ssh-pk", scene.name());
            return Err(Failure::new("SecretFailed", message));
        }
    };
    let template = move |form: Form| {
        json!({
            "size": shape.nodes(),
            "restartPolicy": "RecreateGroupOnPodRestart",
            "leaderTemplate": pods::leader(scene, shape, store, resources.clone(), form),
            "workerTemplate": pods::worker(scene, shape, store, resources.clone(), form),
        })
    };
    // Pods that the NIM Operator made of this very spec go on as they are: to complete them would restart them.
    let kept = is_inherited(live) && holds(&template(Form::Inherited), live);
    let name = name(scene.name());
    let body = json!({
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {
            "name": name,
            "namespace": scene.namespace(),
            "labels": scene.microservice().labels(),
            "annotations": scene.microservice().annotations(),
        },
        "spec": {
            "replicas": scene.spec.replicas,
            "startupPolicy": "LeaderCreated",
            "networkConfig": {"subdomainPolicy": "Shared"},
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "leaderWorkerTemplate": if kept { live.clone() } else { template(Form::Complete) },
        },
    });
    let set = Child::new(ChildKind::LeaderWorkerSet, &name, Keep::Owned, &body);
    children.push(match scene.spec.replicas {
        Some(_) => set,
        None => set.seeded("/spec/replicas", json!(1)),
    });
    Ok(children)
}

/// True for pods that the NIM Operator made: it gives labels to leaders only.
fn is_inherited(live: &Value) -> bool {
    !live["leaderTemplate"].is_null() && live["workerTemplate"]["metadata"]["labels"].is_null()
}

/// LeaderWorkerSet up to 0.8 does not tell which generation it counted. Its controller counts anew within a second of a change.
const COUNTS_LAG: Duration = Duration::from_secs(5);

/// How much longer the counts of a LeaderWorkerSet may be those of an earlier spec. `None` where it tells which generation it
/// counted, and once the service has been Ready in its current generation.
pub(super) fn counts_lag(subject: &Subject, live: &Value) -> Option<Duration> {
    if live["status"]["observedGeneration"].is_i64() {
        return None;
    }
    let ready = Conditions::read(&subject.status);
    let ready = ready.get("Ready").filter(|ready| ready.status == "True");
    if ready.is_some_and(|ready| ready.observed_generation == Some(subject.owner.generation)) {
        return None;
    }
    COUNTS_LAG.checked_sub(subject.known_for).filter(|left| !left.is_zero())
}

/// Reads a live LeaderWorkerSet. Up to 0.8 it tells no `status.observedGeneration` and leaves the condition `Available` as
/// it was until its controller has looked at a change, so its counts have to agree with the spec as well.
pub(super) fn readiness(name: &str, live: &Value, seen: &Seen) -> Readiness {
    let (status, spec) = (&live["status"], &live["spec"]);
    let wanted = spec["replicas"].as_i64().unwrap_or_default();
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_available = |one: &Value| one["type"] == "Available" && one["status"] == "True";
    let count = |field: &str| status[field].as_i64().unwrap_or_default();
    let (counted, updated) = (count("readyReplicas"), count("updatedReplicas"));
    let size = spec["leaderWorkerTemplate"]["size"].as_i64().unwrap_or(1);
    let groups = seen.groups.serving(size).map_or(counted, |serving| serving.min(counted));
    let not = |message: String| Readiness { ready: false, message, available: groups };
    let generation = live["metadata"]["generation"].as_i64().unwrap_or_default();
    if status["observedGeneration"].as_i64().is_some_and(|observed| observed < generation) {
        return not(format!("Waiting for leaderworkerset {name:?} spec update to be observed..."));
    }
    if wanted == 0 {
        let message = format!("leaderworkerset {name:?} is scaled down to 0 replicas");
        return Readiness { ready: false, message, available: 0 };
    }
    let told = format!("{groups} of {wanted} groups are ready");
    if groups >= wanted && updated < wanted {
        let message = format!("leaderworkerset {name:?} is not ready: {told}, {updated} of them updated");
        return not(message);
    }
    let ready = groups >= wanted && conditions.iter().any(is_available);
    let word = if ready { "ready" } else { "not ready" };
    Readiness { ready, message: format!("leaderworkerset {name:?} is {word}: {told}"), available: groups }
}

#[cfg(test)]
impl Seen {
    pub(super) fn of(key: &[u8], pods: Value) -> Self {
        Self { key: Some(key::Key(k8s_openapi::ByteString(key.to_vec()))), pods, ..Self::default() }
    }

    /// The same with these pods: group index, worker index, and whether the pod is Ready.
    pub(super) fn with_groups(self, pods: &[(u32, u32, bool)]) -> Self {
        Self { groups: Groups::played(pods), ..self }
    }
}
