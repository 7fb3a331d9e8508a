//! Volumes of the pod and where its containers mount them.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, EmptyDirVolumeSource, Volume, VolumeMount};

use super::env::MODEL_PATH;
use super::storage::{MODEL_VOLUME, ModelStore};

/// Name of the ConfigMap with certificates to trust, if one is given.
pub(super) fn certificates(spec: &NIMServiceSpec) -> Option<&str> {
    spec.proxy.as_ref()?.certificates()
}

/// True when containers beside the serving one want a place to hand things over.
fn wants_scratch(spec: &NIMServiceSpec) -> bool {
    spec.init_containers.iter().flatten().next().is_some()
        || spec.sidecar_containers.iter().flatten().next().is_some()
}

/// All volumes of the pod.
pub(super) fn volumes(spec: &NIMServiceSpec, store: &ModelStore) -> Vec<Volume> {
    let shared = EmptyDirVolumeSource {
        medium: Some("Memory".into()),
        size_limit: spec.storage.shared_memory_size_limit.clone(),
    };
    let mut all = vec![
        Volume { name: "dshm".into(), empty_dir: Some(shared), ..Volume::default() },
        store.volume.clone(),
    ];
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    if wants_scratch(spec) {
        all.push(empty("scratch"));
    }
    if let Some(config) = certificates(spec) {
        let source = ConfigMapVolumeSource { name: config.to_owned(), ..ConfigMapVolumeSource::default() };
        all.push(empty("ca-cert-volume"));
        all.push(Volume { name: "custom-ca".into(), config_map: Some(source), ..Volume::default() });
    }
    all
}

/// Mounts of the serving container and of sidecars.
pub(super) fn serving_mounts(spec: &NIMServiceSpec, store: &ModelStore, native: bool) -> Vec<VolumeMount> {
    let mut all = model_mounts(store, native);
    all.push(mount("dshm", "/dev/shm"));
    if wants_scratch(spec) {
        all.push(mount("scratch", "/scratch"));
    }
    if certificates(spec).is_some() {
        all.push(mount("ca-cert-volume", "/etc/ssl"));
    }
    all
}

/// Mounts of init containers.
pub(super) fn init_mounts(spec: &NIMServiceSpec, store: &ModelStore, native: bool) -> Vec<VolumeMount> {
    let mut all = model_mounts(store, native);
    if wants_scratch(spec) {
        all.push(mount("scratch", "/scratch"));
    }
    if certificates(spec).is_some() {
        all.extend([mount("ca-cert-volume", "/ca-certs"), mount("custom-ca", "/custom")]);
    }
    all
}

fn model_mounts(store: &ModelStore, native: bool) -> Vec<VolumeMount> {
    let paths: &[&str] = if native { &["/model", "/opt/cache"] } else { &[MODEL_PATH] };
    let at = |path: &&str| VolumeMount { sub_path: store.sub_path.clone(), ..mount(MODEL_VOLUME, path) };
    paths.iter().map(at).collect()
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
