//! One replica over several nodes.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::nim::shared::any_width;

/// Seconds that MPI has to start where no time is given.
const MPI_START: i64 = 300;
/// Port of Ray where none is given.
const RAY_PORT: i32 = 6379;

/// One replica over several nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("!(has(self.mpi) && has(self.ray))", "mpi and ray are mutually exclusive"))]
#[serde(rename_all = "camelCase")]
pub struct MultiNode {
    /// What runs it: `lws`. Default `lws`.
    #[schemars(extend("default" = "lws", "enum" = ["lws"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_type: Option<String>,
    /// How the model is cut.
    pub parallelism: Parallelism,
    /// Processes talk by MPI. Default, unless `ray` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mpi: Option<Mpi>,
    /// Processes talk by Ray.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ray: Option<Ray>,
    /// The domain of GPUs that reach each other's memory over nodes. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_domain: Option<ComputeDomain>,
}

impl MultiNode {
    /// Nodes of one replica, at least 1.
    #[must_use]
    pub fn nodes(&self) -> i32 {
        self.parallelism.pipeline.unwrap_or(1).max(1)
    }

    /// GPUs of one node; `None` where the object does not say.
    #[must_use]
    pub fn gpus_per_node(&self) -> Option<i32> {
        self.parallelism.tensor.filter(|gpus| *gpus > 0)
    }

    /// Seconds that MPI has to start, 300 where no time is given.
    #[must_use]
    pub fn mpi_start_timeout(&self) -> i64 {
        self.mpi.as_ref().map_or(MPI_START, |mpi| mpi.mpi_start_timeout)
    }
}

/// How the model is cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parallelism {
    /// Parts that follow each other, one per node.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<i32>,
    /// Parts side by side, one per GPU of a node.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<i32>,
}

/// Processes that talk by MPI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mpi {
    /// Time to start, seconds. Default 300.
    #[schemars(transform = any_width, extend("default" = 300))]
    pub mpi_start_timeout: i64,
}

impl Default for Mpi {
    fn default() -> Self {
        Self { mpi_start_timeout: MPI_START }
    }
}

/// Processes that talk by Ray.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ray {
    /// Port of Ray's head. Default 6379.
    #[schemars(range(min = 1, max = 65535), extend("default" = 6379))]
    pub ray_port: i32,
}

impl Default for Ray {
    fn default() -> Self {
        Self { ray_port: RAY_PORT }
    }
}

/// The domain of GPUs that reach each other's memory over nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = ("(has(self.create) && self.create) ? !has(self.name) : (has(self.name) && size(self.name) > 0)", "if create is true, name must not be set; otherwise name is required."))]
#[serde(rename_all = "camelCase")]
pub struct ComputeDomain {
    /// Whether it is made. Default false: it must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Name of one that is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
