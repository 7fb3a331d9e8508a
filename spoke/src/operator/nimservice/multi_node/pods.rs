//! Leaders and workers: the pod of a NIMService, as each of them differs from it.

use crds::nim::MultiNode;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{environment, mpi, name, ray};
use crate::operator::env::{add_missing, distinct, var};
use crate::operator::microservice::metadata::Map;
use crate::operator::nimservice::env::{MODEL_PATH, NGC_KEY, base};
use crate::operator::nimservice::network::Ports;
use crate::operator::nimservice::pod::pod;
use crate::operator::nimservice::scene::Scene;
use crate::operator::nimservice::storage::ModelStore;

/// The label that tells leaders from workers; the Service selects by it.
const ROLE: &str = "nim-llm-role";

/// Labels that Kueue reads on the LeaderWorkerSet. On a pod they would queue it by itself, behind a gate that nobody lifts.
const KUEUE: &str = "kueue.x-k8s.io/";

/// What a pod does in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Leader,
    Worker,
}

/// How far the pods are those of the NIM Operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// With all that the spec asks for.
    Complete,
    /// As the NIM Operator made them, who left out the service account, the labels and the scheduler of workers, the pull
    /// policy, ports besides the API, the environment of models that are not NGC's, and the right to execute the script. Only what
    /// changes how the pods are placed and what they run is demanded of them as well.
    Inherited,
}

/// The pod that answers.
pub(super) fn leader(
    scene: &Scene<'_>,
    shape: &MultiNode,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
    form: Form,
) -> PodTemplateSpec {
    let mut labels = labels(scene);
    labels.extend([("app".to_owned(), name(scene.name())), (ROLE.to_owned(), "leader".to_owned())]);
    let pod = member(scene, shape, pod(scene, store, resources), Role::Leader, form);
    template(scene, Some(labels), pod)
}

/// A pod that works for it.
pub(super) fn worker(
    scene: &Scene<'_>,
    shape: &MultiNode,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
    form: Form,
) -> PodTemplateSpec {
    let mut labels = labels(scene);
    // Whatever labels the user adds, no Service takes it for a leader.
    labels.insert(ROLE.to_owned(), "worker".to_owned());
    let pod = member(scene, shape, pod(scene, store, resources), Role::Worker, form);
    template(scene, (form == Form::Complete).then_some(labels), pod)
}

/// Labels of every pod of the groups.
fn labels(scene: &Scene<'_>) -> Map {
    let mut all = scene.microservice().labels();
    all.retain(|key, _| !key.starts_with(KUEUE));
    all
}

fn template(scene: &Scene<'_>, labels: Option<Map>, pod: PodSpec) -> PodTemplateSpec {
    let annotations = Some(scene.microservice().annotations());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels, annotations, ..ObjectMeta::default() }),
        spec: Some(pod),
    }
}

fn member(scene: &Scene<'_>, shape: &MultiNode, mut pod: PodSpec, role: Role, form: Form) -> PodSpec {
    if form == Form::Inherited {
        pod.service_account_name = None;
        if role == Role::Worker {
            pod.scheduler_name = None;
        }
    }
    let mut running = pod.containers.iter_mut();
    if let Some(serving) = running.next() {
        serve(scene, shape, serving, role, form);
    }
    let beside = running.chain(pod.init_containers.iter_mut().flatten());
    for environment in beside.filter_map(|container| container.env.as_mut()) {
        add_missing(environment, environment::common(shape));
    }
    if form == Form::Inherited {
        let all = pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten());
        all.filter_map(|container| container.env.as_mut()).for_each(|env| leave_open(scene, env));
    }
    if shape.ray.is_none() {
        let (volumes, mounts) = mpi::volumes(scene, role, form);
        pod.volumes.get_or_insert_default().extend(volumes);
        if let Some(serving) = pod.containers.first_mut() {
            serving.volume_mounts.get_or_insert_default().extend(mounts);
        }
    }
    pod
}

/// Makes the serving container that of a leader or a worker.
fn serve(scene: &Scene<'_>, shape: &MultiNode, serving: &mut Container, role: Role, form: Form) {
    let mut environment = match form {
        Form::Complete => serving.env.take().unwrap_or_default(),
        Form::Inherited => inherited_environment(scene),
    };
    add_missing(&mut environment, environment::common(shape));
    add_missing(
        &mut environment,
        match role {
            Role::Leader => environment::leader(shape),
            Role::Worker => environment::worker(),
        },
    );
    serving.env = Some(environment);
    if form == Form::Inherited {
        serving.image_pull_policy = None;
    }
    let ports = serving.ports.get_or_insert_default();
    if role == Role::Worker || form == Form::Inherited {
        ports.truncate(1);
    }
    let ray = shape.ray.as_ref();
    ports.extend(ray.map(ray::port));
    if ray.is_some() {
        // The image's own program is given its part of the cluster: a command of the user could not be.
        serving.command = None;
    }
    match role {
        Role::Leader => {
            serving.name = "nim-leader".into();
            serving.args = ray.map(ray::head).or_else(|| serving.args.take());
        }
        Role::Worker => {
            serving.name = "nim-worker".into();
            serving.args = ray.map(ray::member).or_else(|| serving.args.take());
            serving.liveness_probe = None;
            serving.readiness_probe = None;
            serving.startup_probe = ray.map(|_| ray::joined());
        }
    }
}

/// Says nothing of whether the key of NGC must be there: the NIM Operator did not say it before 3.1.3.
fn leave_open(scene: &Scene<'_>, environment: &mut [EnvVar]) {
    let is_users = scene.spec.env.iter().flatten().any(|var| var.name == NGC_KEY);
    for var in environment.iter_mut().filter(|var| var.name == NGC_KEY && !is_users) {
        if let Some(key) = var.value_from.as_mut().and_then(|from| from.secret_key_ref.as_mut()) {
            key.optional = None;
        }
    }
}

/// The environment that the NIM Operator gives to containers of groups, apart from what makes them a group.
fn inherited_environment(scene: &Scene<'_>) -> Vec<EnvVar> {
    let mut all = base(scene.spec, Ports::of(scene.spec));
    if scene.cache().is_some_and(|cache| cache.spec.source.is_universal()) {
        add_missing(&mut all, [var("NIM_MODEL_NAME", MODEL_PATH)]);
    }
    if let Some(profile) = scene.spec.cache_profile() {
        add_missing(&mut all, [var("NIM_MODEL_PROFILE", profile)]);
    }
    distinct(all)
}
