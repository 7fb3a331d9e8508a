//! The Deployment of the endpoint picker.

use crds::nim::{EppConfig, Image};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, GRPCAction, PodSecurityContext, PodSpec, Probe, Volume, VolumeMount,
};

use super::config::Source;
use super::ports::{HEALTH, Listening};
use super::{metadata, name};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::env::distinct;
use crate::operator::microservice::deployment::rolling;
use crate::operator::microservice::metadata::{Map, selector};
use crate::operator::microservice::pod::{pull_policy, pull_secrets};
use crate::operator::nimservice::scene::Scene;

/// Name of the volume with the configuration.
const VOLUME: &str = "epp-config";
/// Where it is mounted.
const MOUNT: &str = "/config";

/// The Deployment.
pub(super) fn child(scene: &Scene<'_>, wanted: &EppConfig, source: &Source) -> Child {
    let name = name(scene);
    let mut of_pods = scene.microservice().labels();
    of_pods.extend(selector(&name));
    let deployment = Deployment {
        metadata: metadata(scene, &name),
        spec: Some(rolling(&name, of_pods, Map::new(), pod(scene, wanted, source))),
        status: None,
    };
    Child::new(ChildKind::Deployment, &name, Keep::Owned, &deployment)
}

fn pod(scene: &Scene<'_>, wanted: &EppConfig, source: &Source) -> PodSpec {
    PodSpec {
        service_account_name: Some(name(scene)),
        image_pull_secrets: pull_secrets([&scene.spec.image, &wanted.container_spec.image].into_iter()),
        security_context: Some(PodSecurityContext::default()),
        containers: vec![container(scene, wanted, source)],
        volumes: Some(vec![Volume {
            name: VOLUME.into(),
            config_map: Some(ConfigMapVolumeSource {
                name: source.map.clone(),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        ..PodSpec::default()
    }
}

fn container(scene: &Scene<'_>, wanted: &EppConfig, source: &Source) -> Container {
    let given = &wanted.container_spec;
    let listed = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let asked = || Some(health());
    Container {
        name: "epp".into(),
        image: Some(reference(&given.image)),
        image_pull_policy: pull_policy(&given.image).or_else(|| pull_policy(&scene.spec.image)),
        command: listed(&given.command),
        args: Some(listed(&given.args).unwrap_or_else(|| args(scene, source))),
        env: given.env.clone().filter(|env| !env.is_empty()).map(distinct),
        working_dir: given.working_dir.clone().filter(|dir| !dir.is_empty()),
        ports: Some(Listening::of(wanted).of_container()),
        readiness_probe: wanted.readiness_probe.clone().or_else(asked),
        liveness_probe: wanted.liveness_probe.clone().or_else(asked),
        startup_probe: wanted.startup_probe.clone(),
        volume_mounts: Some(vec![VolumeMount {
            name: VOLUME.into(),
            mount_path: MOUNT.into(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

/// The image, `latest` where no tag is given.
fn reference(image: &Image) -> String {
    if image.tag.is_empty() { format!("{}:latest", image.repository) } else { image.reference() }
}

fn args(scene: &Scene<'_>, source: &Source) -> Vec<String> {
    let file = format!("{MOUNT}/{}", source.file);
    [
        ("--pool-name", scene.name()),
        ("--pool-namespace", scene.namespace()),
        ("--pool-group", "inference.networking.k8s.io"),
        ("--zap-encoder", "json"),
        ("--config-file", &file),
        ("--v", "6"),
        ("--model-server-metrics-path", "/v1/metrics"),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
    .collect()
}

fn health() -> Probe {
    Probe {
        grpc: Some(GRPCAction { port: HEALTH.1, service: None }),
        initial_delay_seconds: Some(5),
        period_seconds: Some(10),
        ..Probe::default()
    }
}
