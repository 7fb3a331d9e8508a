//! NVIDIA's kinds, group `apps.nvidia.com/v1alpha1`, field for field as its NIM Operator defines them.
//!
//! What an object does not say stays unsaid: every optional field is an `Option`, and the defaults that matter when an
//! object is read are methods. Words that upstream restricts are plain strings here, so that a word of a newer version
//! never breaks a watch.

#[allow(dead_code, reason = "KubeSchema derives an unread copy of the spec")]
mod build;
mod cache;
mod pipeline;
#[allow(dead_code, reason = "KubeSchema derives an unread copy of the spec")]
mod service;
mod shared;

pub use build::{NIMBuild, NIMBuildCache, NIMBuildResources, NIMBuildSpec, NIMBuildStatus};
pub use cache::source::{
    DSHFCommonFields, GPUSpec, HuggingFaceHubSource, ModelSpec, NGCSource, NIMSource, NemoDataStoreSource,
};
pub use cache::{CertConfig, NIMCache, NIMCacheSpec, NIMCacheStatus, NIMCacheStorage, NIMProfile, Resources};
pub use pipeline::{NIMPipeline, NIMPipelineService, NIMPipelineSpec, NIMPipelineStatus, ServiceDependency};
pub use service::dra::{
    DRAAttributeSelector, DRAAttributeSelectorValue, DRACapacitySelector, DRAClaimCreationSpec,
    DRADeviceSpec, DRAResource,
};
pub use service::epp::{
    DataLayerConfig, DataLayerExtractor, DataLayerSource, EndpointPickerConfig, EndpointPickerPlugin,
    EppConfig, SaturationDetector, SchedulingPlugin, SchedulingProfile,
};
pub use service::expose::{BackendRef, Expose, Gateway, Ingress, Router, RouterIngress, Service};
pub use service::multi_node::{ComputeDomain, Mpi, MultiNode, Parallelism, Ray};
pub use service::platform::{InferencePlatform, UnknownPlatform};
pub use service::scale::{Autoscaling, HorizontalPodAutoscaler, Metrics, ServiceMonitor};
pub use service::status::{
    ComputeDomainNode, ComputeDomainStatus, DRAResourceClaimStatus, DRAResourceClaimTemplateStatus,
    DRAResourceStatus, ModelStatus, NIMServiceStatus,
};
pub use service::storage::{EmptyDir, NIMCacheReference, NIMServiceStorage};
pub use service::{NIMService, NIMServiceSpec};
pub(crate) use shared::any_width;
pub use shared::container::{Image, NIMContainerSpec, Probe};
pub use shared::proxy::ProxySpec;
pub use shared::volume::PersistentVolumeClaim;
