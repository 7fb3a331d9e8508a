//! The Deployment of the endpoint picker.

use crds::nim::{EppConfig, Image};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, GRPCAction, LocalObjectReference, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::Source;
use super::ports::{HEALTH, Listening};
use super::{metadata, name, selector};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::nimservice::metadata::labels;
use crate::operator::nimservice::scene::Scene;

/// Name of the volume with the configuration.
const VOLUME: &str = "epp-config";
/// Where it is mounted.
const MOUNT: &str = "/config";

/// The Deployment.
pub(super) fn child(scene: &Scene<'_>, wanted: &EppConfig, source: &Source) -> Child {
    let name = name(scene);
    let mut of_pods = labels(scene.subject, scene.spec);
    of_pods.extend(selector(scene));
    let template = PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(of_pods), ..ObjectMeta::default() }),
        spec: Some(pod(scene, wanted, source)),
    };
    let deployment = Deployment {
        metadata: metadata(scene, &name),
        spec: Some(DeploymentSpec {
            selector: LabelSelector { match_labels: Some(selector(scene)), ..LabelSelector::default() },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(0)),
                    max_unavailable: Some(IntOrString::String("25%".into())),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Deployment, &name, Keep::Owned, &deployment)
}

fn pod(scene: &Scene<'_>, wanted: &EppConfig, source: &Source) -> PodSpec {
    PodSpec {
        service_account_name: Some(name(scene)),
        image_pull_secrets: pull_secrets([&scene.spec.image, &wanted.container_spec.image]),
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
    let policy = |image: &Image| image.pull_policy.clone().filter(|policy| !policy.is_empty());
    let asked = || Some(health());
    Container {
        name: "epp".into(),
        image: Some(reference(&given.image)),
        image_pull_policy: policy(&given.image).or_else(|| policy(&scene.spec.image)),
        command: listed(&given.command),
        args: Some(listed(&given.args).unwrap_or_else(|| args(scene, source))),
        env: given.env.clone().filter(|env| !env.is_empty()),
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

/// Pull secrets of the images, each once.
fn pull_secrets(images: [&Image; 2]) -> Option<Vec<LocalObjectReference>> {
    let mut secrets: Vec<LocalObjectReference> = Vec::new();
    for name in images.into_iter().flat_map(|image| image.pull_secrets.iter().flatten()) {
        if !secrets.iter().any(|secret| secret.name == *name) {
            secrets.push(LocalObjectReference { name: name.clone() });
        }
    }
    (!secrets.is_empty()).then_some(secrets)
}
