//! Processes that talk by Ray: what leaders and workers run.

use crds::nim::Ray;
use k8s_openapi::api::core::v1::{ContainerPort, ExecAction, Probe};

/// The leader's arguments.
pub(super) fn head(ray: &Ray) -> Vec<String> {
    words(&["nim-serve-ray", "--head", "--port", &ray.ray_port.to_string()])
}

/// A worker's arguments. The leader's address is put in by the controller of LeaderWorkerSets.
pub(super) fn member(ray: &Ray) -> Vec<String> {
    words(&["nim-serve-ray", "--head-address", &format!("$(LWS_LEADER_ADDRESS):{}", ray.ray_port)])
}

/// The port that the members meet at.
pub(super) fn port(ray: &Ray) -> ContainerPort {
    ContainerPort {
        name: Some("ray".into()),
        container_port: ray.ray_port,
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// Has a worker joined?
pub(super) fn joined() -> Probe {
    Probe {
        exec: Some(ExecAction { command: Some(words(&["/bin/sh", "-c", "ray status"])) }),
        initial_delay_seconds: Some(30),
        timeout_seconds: Some(5),
        period_seconds: Some(10),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
