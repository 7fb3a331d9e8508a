//! Processes that talk by MPI: the hosts of each group, the script that starts them, and the key they log in with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crds::nim::MultiNode;
use k8s_openapi::api::core::v1::{
    ConfigMap, ConfigMapVolumeSource, EmptyDirVolumeSource, Secret, SecretVolumeSource, Volume, VolumeMount,
};

use super::key::{self, Key};
use super::pods::{Form, Role};
use super::{environment, name, replicas};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::microservice::metadata::Map;
use crate::operator::nimservice::scene::Scene;

/// Name of the script, as a file and as a key.
const SCRIPT_FILE: &str = "start-mpi-cluster.sh";

/// Runs the server, its output turned into JSON lines where the image can do that.
const SCRIPT: &str = r#"#!/bin/bash
python=/opt/nim/llm/.venv/bin/python3
server=nim_llm_sdk.entrypoints.openai.api_server
logging=nim_llm_sdk.logging.pack_all_logs_into_json
if [ "${NIM_JSONL_LOGGING:-0}" = 1 ] && "$python" -c "import $logging" 2>/dev/null; then
  "$python" -m "$server" |& "$python" -m "$logging"
else
  "$python" -m "$server"
fi
"#;

/// Read and execute for all.
const EXECUTABLE: i32 = 0o555;
/// Read for the owner: SSH refuses keys that others may read.
const PRIVATE: i32 = 0o400;

/// The ConfigMaps and the Secret. The hosts follow the number of groups; pods see the new ones without a restart.
pub(super) fn children(scene: &Scene<'_>, shape: &MultiNode, key: &Key) -> Vec<Child> {
    let config = |name: String, data: BTreeMap<String, String>| {
        let object = ConfigMap { metadata: named(scene, &name), data: Some(data), ..ConfigMap::default() };
        Child::new(ChildKind::ConfigMap, &name, Keep::Owned, &object)
    };
    let script = BTreeMap::from([(SCRIPT_FILE.to_owned(), SCRIPT.to_owned())]);
    let secret = key::secret(scene.name());
    let object = Secret {
        metadata: named(scene, &secret),
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([(key::FIELD.to_owned(), key.0.clone())])),
        ..Secret::default()
    };
    vec![
        config(hosts_name(scene), hosts(scene, shape)),
        config(script_name(scene), script),
        Child::new(ChildKind::Secret, &secret, Keep::Owned, &object),
    ]
}

fn hosts_name(scene: &Scene<'_>) -> String {
    format!("{}-mpi-config", scene.name())
}

fn script_name(scene: &Scene<'_>) -> String {
    format!("{}-mpi-start-script", scene.name())
}

fn named(scene: &Scene<'_>, name: &str) -> k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
    let mut metadata = scene.microservice().meta(Map::new());
    metadata.name = Some(name.to_owned());
    metadata
}

/// A file for each group: its leader, then its workers.
fn hosts(scene: &Scene<'_>, shape: &MultiNode) -> BTreeMap<String, String> {
    let (set, slots) = (name(scene.name()), environment::tensor(shape));
    let file = |group: i32| {
        let mut text = format!("localhost slots={slots}\n");
        for worker in 1..shape.nodes() {
            let host = format!("{set}-{group}-{worker}.{set}.{}.svc", scene.namespace());
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{host} slots={slots}");
        }
        (format!("hostfile-{group}"), text)
    };
    (0..replicas(scene)).map(file).collect()
}

/// Volumes that a pod has besides those of every NIMService, and their mounts.
pub(super) fn volumes(scene: &Scene<'_>, role: Role, form: Form) -> (Vec<Volume>, Vec<VolumeMount>) {
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let config = |name: &str, from: String, mode: Option<i32>| {
        let source =
            ConfigMapVolumeSource { name: from, default_mode: mode, ..ConfigMapVolumeSource::default() };
        Volume { name: name.to_owned(), config_map: Some(source), ..Volume::default() }
    };
    let secret = SecretVolumeSource {
        secret_name: Some(key::secret(scene.name())),
        default_mode: Some(PRIVATE),
        ..SecretVolumeSource::default()
    };
    let mode = (form == Form::Complete).then_some(EXECUTABLE);
    let own = match role {
        Role::Leader => (config("mpi-config", hosts_name(scene), mode), mount("mpi-config", "/etc/mpi")),
        Role::Worker => (empty("ssh-confs"), mount("ssh-confs", "/ssh-confs")),
    };
    let script = VolumeMount {
        sub_path: Some(SCRIPT_FILE.to_owned()),
        ..mount("start-mpi-script", &format!("/opt/nim/{SCRIPT_FILE}"))
    };
    let volumes = vec![
        own.0,
        empty("ssh-dotfiles"),
        Volume { name: "ssh-pk".into(), secret: Some(secret), ..Volume::default() },
        config("start-mpi-script", script_name(scene), mode),
    ];
    let mounts =
        vec![own.1, mount("ssh-dotfiles", "/opt/nim/llm/.ssh"), mount("ssh-pk", "/opt/nim/llm/pk"), script];
    (volumes, mounts)
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
