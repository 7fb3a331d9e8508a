//! The containers of the pod.

use crds::nim::{NIMContainerSpec, NIMServiceSpec};
use k8s_openapi::api::core::v1::{Container, EnvVar, ResourceRequirements, VolumeMount};

use super::network::Ports;
use super::probes;
use super::scene::Scene;
use super::storage::ModelStore;
use super::volumes::{certificates, init_mounts, serving_mounts};
use crate::operator::certificates::update_certificates;
use crate::operator::env::{distinct, merge};
use crate::operator::microservice::pod::pull_policy;
use crate::operator::microservice::service::of_container;

/// Init containers, and the containers that run: the serving one, then sidecars.
pub(super) struct Containers {
    pub(super) init: Vec<Container>,
    pub(super) running: Vec<Container>,
}

/// Builds all containers.
pub(super) fn containers(
    scene: &Scene<'_>,
    store: &ModelStore,
    resources: Option<ResourceRequirements>,
) -> Containers {
    let (spec, native) = (scene.spec, scene.is_native());
    let ports = Ports::of(spec);
    let base = super::env::base(spec, ports);
    let mounts = serving_mounts(spec, store, native);
    let serving = Container {
        name: format!("{}-ctr", scene.name()),
        image: Some(spec.image.reference()),
        image_pull_policy: pull_policy(&spec.image),
        command: spec.command.clone().filter(|command| !command.is_empty()),
        args: spec.args.clone().filter(|args| !args.is_empty()),
        ports: Some(of_container(&ports.all())),
        env: Some(super::env::serving(spec, base.clone(), scene.cache(), native)),
        resources,
        liveness_probe: probes::liveness(spec.liveness_probe.as_ref()),
        readiness_probe: probes::readiness(spec.readiness_probe.as_ref()),
        startup_probe: probes::startup(spec.startup_probe.as_ref()),
        volume_mounts: Some(mounts.clone()),
        ..Container::default()
    };
    let beside =
        |wanted: &NIMContainerSpec, mounts: &[VolumeMount]| extra(spec, wanted, &base, mounts.to_vec());
    let mut running = vec![serving];
    running.extend(spec.sidecar_containers.iter().flatten().map(|one| beside(one, &mounts)));
    let mounts = init_mounts(spec, store, native);
    let mut init = Vec::new();
    if certificates(spec).is_some() {
        init.push(Container {
            image_pull_policy: pull_policy(&spec.image),
            ..update_certificates(spec.image.reference(), distinct(base.clone()), mounts.clone())
        });
    }
    init.extend(spec.init_containers.iter().flatten().map(|one| beside(one, &mounts)));
    Containers { init, running }
}

fn extra(
    spec: &NIMServiceSpec,
    wanted: &NIMContainerSpec,
    base: &[EnvVar],
    mounts: Vec<VolumeMount>,
) -> Container {
    Container {
        name: wanted.name.clone(),
        image: Some(wanted.image.reference()),
        image_pull_policy: pull_policy(&wanted.image).or_else(|| pull_policy(&spec.image)),
        command: wanted.command.clone().filter(|command| !command.is_empty()),
        args: wanted.args.clone().filter(|args| !args.is_empty()),
        working_dir: wanted.working_dir.clone().filter(|dir| !dir.is_empty()),
        env: Some(distinct(merge(base, wanted.env.as_deref().unwrap_or_default()))),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}
