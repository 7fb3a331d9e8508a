//! The pod of a NeMo microservice, and containers that run before it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext, PodSpec, ResourceRequirements,
    SecretKeySelector, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{NemoService, Plan, Scene};
use crate::operator::env::{distinct, merge};
use crate::operator::microservice::pod::{affinity, pull_policy, pull_secrets};
use crate::operator::microservice::service::{Port, of_container};

/// The pod: one container, with what the plan adds.
pub(super) fn pod<S: NemoService>(scene: &Scene<'_, S>, plan: Plan, ports: &[Port]) -> PodSpec {
    let spec = scene.spec();
    let container = Container {
        name: format!("{}-ctr", scene.name()),
        image: Some(spec.image.reference()),
        image_pull_policy: pull_policy(&spec.image),
        command: spec.command.clone().filter(|command| !command.is_empty()),
        args: spec.args.clone().filter(|args| !args.is_empty()),
        ports: Some(of_container(ports)),
        env: Some(distinct(merge(&plan.env, spec.env.as_deref().unwrap_or_default()))),
        resources: spec.resources.clone(),
        liveness_probe: Some(S::PROBES.liveness.probe()),
        readiness_probe: Some(S::PROBES.readiness.probe()),
        startup_probe: Some(S::PROBES.startup.probe()),
        volume_mounts: some(plan.mounts),
        ..Container::default()
    };
    let security = plan.security.unwrap_or_else(|| PodSecurityContext {
        run_as_user: Some(spec.user()),
        run_as_group: Some(spec.group()),
        fs_group: Some(spec.group()),
        ..PodSecurityContext::default()
    });
    PodSpec {
        service_account_name: Some(scene.name().to_owned()),
        runtime_class_name: spec.runtime_class.clone().filter(|class| !class.is_empty()),
        affinity: affinity(spec.affinity.as_ref(), spec.pod_affinity.as_ref()),
        node_selector: spec.node_selector.clone().filter(|map| !map.is_empty()),
        tolerations: spec.tolerations.clone().filter(|list| !list.is_empty()),
        image_pull_secrets: pull_secrets(std::iter::once(&spec.image)),
        security_context: Some(security),
        volumes: some(plan.volumes),
        init_containers: some(plan.init),
        containers: vec![container],
        ..PodSpec::default()
    }
}

/// A container that runs before the microservice's own, from its image.
pub(crate) fn before<S: NemoService>(scene: &Scene<'_, S>, name: &str, command: &[&str]) -> Container {
    let image = &scene.spec().image;
    Container {
        name: name.to_owned(),
        image: Some(image.reference()),
        image_pull_policy: pull_policy(image),
        command: Some(command.iter().map(|&word| word.to_owned()).collect()),
        ..Container::default()
    }
}

/// What a container that migrates a database may take: one processor and a gibibyte.
pub(crate) fn migration_limits() -> ResourceRequirements {
    let limits = [("cpu", "1"), ("memory", "1Gi")];
    let limits = limits.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned())));
    ResourceRequirements { limits: Some(BTreeMap::from(limits)), ..ResourceRequirements::default() }
}

/// A variable from a key of a Secret.
pub(crate) fn secret_key(name: &str, secret: &str, key: &str) -> EnvVar {
    let selector = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// The address of the node.
pub(crate) fn host_ip() -> EnvVar {
    let field = ObjectFieldSelector { api_version: Some("v1".into()), field_path: "status.hostIP".into() };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: "HOST_IP".to_owned(), value: None, value_from: Some(source) }
}

/// A volume at this path.
pub(crate) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
