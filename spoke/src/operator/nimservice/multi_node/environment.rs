//! What the containers of leaders and workers find in their environment.

use crds::nim::MultiNode;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

use crate::operator::env::var;

/// Labels and annotations that the controller of LeaderWorkerSets puts on pods.
const LWS: &str = "leaderworkerset.sigs.k8s.io";

/// For every container of a group.
pub(super) fn common(shape: &MultiNode) -> Vec<EnvVar> {
    let nodes = shape.nodes().to_string();
    vec![
        var("NIM_MPI_ALLOW_RUN_AS_ROOT", "0"),
        var("NIM_NUM_COMPUTE_NODES", nodes.as_str()),
        var("NIM_MULTI_NODE", "1"),
        var("NIM_TENSOR_PARALLEL_SIZE", tensor(shape)),
        var("NIM_PIPELINE_PARALLEL_SIZE", nodes.as_str()),
        of_label("NIM_NODE_RANK", "worker-index"),
    ]
}

/// For the serving container of the leader.
pub(super) fn leader(shape: &MultiNode) -> Vec<EnvVar> {
    vec![
        var("NIM_LEADER_ROLE", "1"),
        var("OMPI_MCA_orte_keep_fqdn_hostnames", "true"),
        var("OMPI_MCA_plm_rsh_args", "-o ConnectionAttempts=20"),
        var("GPUS_PER_NODE", tensor(shape)),
        var("CLUSTER_START_TIMEOUT", shape.mpi_start_timeout().to_string()),
        of_annotation("CLUSTER_SIZE", "size"),
        of_label("GROUP_INDEX", "group-index"),
    ]
}

/// For the serving container of a worker.
pub(super) fn worker() -> Vec<EnvVar> {
    vec![
        var("NIM_LEADER_ROLE", "0"),
        of_annotation("LEADER_NAME", "leader-name"),
        of_field("NAMESPACE", "metadata.namespace".to_owned()),
        of_label("LWS_NAME", "name"),
    ]
}

/// GPUs of a node as the images are told them: 0 where the service does not say.
pub(super) fn tensor(shape: &MultiNode) -> String {
    shape.gpus_per_node().unwrap_or_default().to_string()
}

fn of_label(name: &str, label: &str) -> EnvVar {
    of_field(name, format!("metadata.labels['{LWS}/{label}']"))
}

fn of_annotation(name: &str, annotation: &str) -> EnvVar {
    of_field(name, format!("metadata.annotations['{LWS}/{annotation}']"))
}

fn of_field(name: &str, path: String) -> EnvVar {
    let field = ObjectFieldSelector { field_path: path, api_version: None };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}
