//! What one replica of a NIM object takes from a cluster, derived from the object itself.
//!
//! Works on the object's raw JSON: a field that a newer operator adds never breaks it.

mod build;
mod cache;
mod devices;
mod gpu;
mod nemo;
mod nodes;
mod pipeline;
mod pod;
mod profile;
mod service;
mod storage;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use crate::fleet::ObjectStatus;

pub(crate) use devices::version_numbers;
pub use devices::{Comparison, DeviceNeed, Selector, Wanted};
pub use nemo::called;
pub use nodes::{NodeDemand, Operator, Requirement};
pub use pipeline::service_names;
pub use profile::{Profile, Profiles, Signature};
pub use storage::{ClaimNeed, Mounts};

/// What an object takes from the cluster it runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// GPUs of one replica; none if it asks for none.
    pub gpu: Option<GpuNeed>,
    /// GPUs of one job that it starts when somebody asks for one. None are set aside: the cluster only has to have them.
    pub jobs: Option<GpuNeed>,
    /// Whether its pods or its jobs only start on nodes with GPUs, even if they ask for none.
    pub gpu_nodes: bool,
    /// Which GPUs will do.
    pub kind: GpuKind,
    /// Which nodes its pods may run on; none: all without taints.
    pub nodes: Option<Arc<NodeDemand>>,
    /// The same of its jobs.
    pub job_nodes: Option<Arc<NodeDemand>>,
    /// Thousandths of a processor that one of its pods asks for.
    pub millicores: u64,
    /// Memory that one of its pods asks for, MiB.
    pub memory_mib: u64,
    /// Devices of one pod, by dynamic resource allocation.
    pub devices: Vec<DeviceNeed>,
    /// Volumes that are made for it, and those that its pods share.
    pub claims: Vec<ClaimNeed>,
    /// The NIMCache that it is, or that it runs from.
    pub cache: Option<CacheKey>,
    /// The cached profiles among which the NIM chooses by itself; none where the object names one, or nobody knows them.
    pub profiles: Option<Arc<Profiles>>,
    /// Platforms that must be in the cluster.
    pub platforms: BTreeSet<&'static str>,
    /// Replicas the object asks for; 0 for kinds that have none.
    pub replicas: u32,
    /// Replicas that an autoscaler may come to; 0 where there is none.
    pub most_replicas: u32,
    /// Whether an autoscaler owns the number of replicas: then nobody else writes it.
    pub autoscaled: bool,
    /// Whether the object has a number of replicas at all, so that it can be divided over clusters.
    pub replicated: bool,
    /// How long it takes what it takes.
    pub life: Life,
    /// The service of a NIMPipeline whose need this is; empty for the need of an object.
    pub service: String,
    /// What the services of a NIMPipeline take, all of them together. The pipeline takes nothing besides.
    pub services: Vec<Self>,
}

/// How long an object takes what it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Life {
    /// As long as it is there.
    #[default]
    Lasting,
    /// Until it has come to its end; and it only begins where its cache is.
    Ending,
    /// The same, and its cache does not tell its profiles yet, which say how many GPUs it takes.
    EndingOfUnknownSize,
}

impl Life {
    /// Whether it comes to an end.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self, Self::Ending | Self::EndingOfUnknownSize)
    }
}

impl Need {
    /// Whether the replicas can be split over clusters.
    #[must_use]
    pub const fn divisible(&self) -> bool {
        self.replicated && !self.autoscaled
    }

    /// Pods of one replica.
    #[must_use]
    pub fn pods(&self) -> u32 {
        self.gpu.as_ref().map_or(1, |gpu| gpu.pods)
    }

    /// The needs that it consists of: those of its services, or itself.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        let own = if self.services.is_empty() { std::slice::from_ref(self) } else { &self.services };
        own.iter()
    }

    /// Replicas that it comes to where a row grants so many, or says nothing of them.
    #[must_use]
    pub fn granted(&self, granted: Option<u32>) -> u32 {
        if self.replicated { granted.unwrap_or(1) } else { self.replicas.max(1) }
    }

    /// Whether pods of it are to run wherever it is, so that it moves where they cannot.
    #[must_use]
    pub const fn runs(&self) -> bool {
        self.replicated || self.life.ends() || !self.service.is_empty()
    }

    /// Whether what runs to an end has come there in a cluster that says this of it.
    #[must_use]
    pub fn has_ended(&self, status: &ObjectStatus) -> bool {
        self.life.ends() && Self::is_end(status)
    }

    /// Whether a status is the last of what runs to an end.
    #[must_use]
    pub fn is_end(status: &ObjectStatus) -> bool {
        status.is_ready() || status.state == "Failed"
    }

    /// By what a spoke tells of its pods: the object's uid on the hub, and for a service of a pipeline its name.
    #[must_use]
    pub fn pods_of(&self, uid: &str) -> String {
        if self.service.is_empty() { uid.to_owned() } else { format!("{uid}/{}", self.service) }
    }
}

/// A NIMCache, the same on hub and spoke.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// GPUs of one replica: `pods` pods that each take `per_pod` GPUs of one node, all of one product.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GpuNeed {
    /// Extended resource, e.g. `nvidia.com/gpu`.
    pub resource: String,
    /// GPUs that one pod takes, all on one node; at least 1.
    pub per_pod: u32,
    /// Pods of one replica; more than 1 for multi-node services.
    pub pods: u32,
}

impl GpuNeed {
    /// GPUs of one replica.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.per_pod.saturating_mul(self.pods)
    }
}

/// Which GPUs will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuKind {
    /// Products as somebody named them (`h100`, `NVIDIA-H100-80GB-HBM3`): of every list, one must fit. Lists
    /// are never empty.
    pub products: Vec<Vec<String>>,
    /// Least memory of one GPU, MiB; 0: any.
    pub min_memory_mib: u64,
}

impl GpuKind {
    /// Whether every GPU will do.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.products.is_empty() && self.min_memory_mib == 0
    }
}

/// An object whose need cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    /// The scheduler knows what some kinds take, and nothing of others.
    #[error(
        "{kind} {name}: cannot be placed: only NIMService, NIMCache, NIMPipeline, NIMBuild and the NeMo kinds can"
    )]
    UnknownKind {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A number of GPUs or replicas that is none.
    #[error("{kind} {name}: {path}: {value} is not a whole number from {least} to {most}")]
    Number {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Path of the field.
        path: String,
        /// What it holds.
        value: String,
        /// Smallest number that would do.
        least: u32,
        /// Largest number that would do.
        most: u32,
    },
    /// An amount that is none.
    #[error("{kind} {name}: {path}: {value} is no quantity: write it like {example}")]
    Quantity {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Path of the field.
        path: String,
        /// What it holds.
        value: String,
        /// What would do.
        example: &'static str,
    },
    /// A service of a pipeline whose need cannot be told.
    #[error("NIMPipeline {name}: spec.services[{place}].spec: {reason}")]
    Service {
        /// Name of the pipeline.
        name: String,
        /// Place of the service in its list.
        place: usize,
        /// What is wrong with the service.
        reason: Box<Self>,
    },
    /// Pods of such an object could run nowhere.
    #[error("{kind} {name}: {path}: {first} and {second} in one pod: a pod of a NIM uses one GPU resource")]
    TwoResources {
        /// Kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Path of the field.
        path: String,
        /// One resource.
        first: String,
        /// The other.
        second: String,
    },
}

/// What `object` takes. `cache_of` gives the NIMCache of a name in its namespace, where the hub has it.
pub fn of<'a>(object: &Value, cache_of: impl Fn(&str) -> Option<&'a Value>) -> Result<Need, NeedError> {
    match text(object, "/kind") {
        "NIMPipeline" => pipeline::need(object, cache_of),
        _ => need(object, caches(object).first().and_then(|name| cache_of(name))),
    }
}

/// What an object takes that runs from one cache at most: `cache`, where the hub has it.
pub fn need(object: &Value, cache: Option<&Value>) -> Result<Need, NeedError> {
    match text(object, "/kind") {
        "NIMService" => service::need(object, cache),
        "NIMCache" => cache::need(object),
        "NIMBuild" => build::need(object, cache),
        "NemoCustomizer" | "NemoDatastore" | "NemoEntitystore" | "NemoEvaluator" | "NemoGuardrail" => {
            nemo::need(object)
        }
        kind => Err(NeedError::UnknownKind {
            kind: kind.to_owned(),
            name: text(object, "/metadata/name").to_owned(),
        }),
    }
}

/// The NIMCache of that name in the namespace of an object.
fn cache_key(object: &Value, name: &str) -> CacheKey {
    CacheKey { namespace: text(object, "/metadata/namespace").to_owned(), name: name.to_owned() }
}

/// Name of the NIMCache, in the same namespace, that a NIMService runs from.
#[must_use]
pub fn cache_name(service: &Value) -> Option<&str> {
    Some(text(service, "/spec/storage/nimCache/name")).filter(|name| !name.is_empty())
}

/// Names of the NIMCaches, in the same namespace, that an object runs from: a service, a build, or the enabled services of
/// a pipeline. `object` needs no kind.
#[must_use]
pub fn caches(object: &Value) -> Vec<&str> {
    let built = Some(text(object, "/spec/nimCache/name")).filter(|name| !name.is_empty());
    let mut names: Vec<&str> = cache_name(object).into_iter().chain(built).collect();
    for (_, service) in pipeline::enabled(object) {
        if let Some(name) = cache_name(service).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

/// Text at a JSON pointer; empty where there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl fmt::Display for GpuNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.resource == gpu::DEFAULT_RESOURCE { "GPU" } else { self.resource.as_str() };
        let plural = if self.per_pod == 1 { "" } else { "s" };
        match self.pods {
            1 => write!(f, "{} {unit}{plural} on one node", self.per_pod),
            pods => write!(f, "{pods} × {} {unit}{plural} per replica, each on one node", self.per_pod),
        }
    }
}
