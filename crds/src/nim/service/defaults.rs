//! What a NIMService means where it says nothing, or says it the way NVIDIA's operator stores it.

use super::NIMServiceSpec;
use super::expose::Service;
use super::multi_node::MultiNode;
use super::platform::{InferencePlatform, UnknownPlatform};
use super::scale::HorizontalPodAutoscaler;

/// Port of the API where none is given.
const API_PORT: i32 = 8000;
/// User and group of the containers where none is given.
const USER: i64 = 1000;
const GROUP: i64 = 2000;

impl NIMServiceSpec {
    /// What renders the service.
    ///
    /// # Errors
    /// When the word is none that this version knows.
    pub fn platform(&self) -> Result<InferencePlatform, UnknownPlatform> {
        self.inference_platform.as_deref().unwrap_or_default().parse()
    }

    fn service(&self) -> Option<&Service> {
        self.expose.as_ref()?.service.as_ref()
    }

    /// Port of the HTTP API, 8000 where none is given.
    #[must_use]
    pub fn api_port(&self) -> i32 {
        self.service().and_then(|service| service.port).unwrap_or(API_PORT)
    }

    /// Port of the gRPC API, if it has one.
    #[must_use]
    pub fn grpc_port(&self) -> Option<i32> {
        self.service()?.grpc_port
    }

    /// Port of the metrics, if they have one of their own.
    #[must_use]
    pub fn metrics_port(&self) -> Option<i32> {
        self.service()?.metrics_port
    }

    /// User the containers run as, 1000 where none is given.
    #[must_use]
    pub fn user(&self) -> i64 {
        self.user_id.unwrap_or(USER)
    }

    /// Group of the containers and their files, 2000 where none is given.
    #[must_use]
    pub fn group(&self) -> i64 {
        self.group_id.unwrap_or(GROUP)
    }

    /// The secret with the keys of the model registries, if one is named.
    #[must_use]
    pub fn auth_secret(&self) -> Option<&str> {
        named(self.auth_secret.as_deref())
    }

    /// The NIMCache that the model comes from, if one is named.
    #[must_use]
    pub fn cache_name(&self) -> Option<&str> {
        named(self.storage.nim_cache.as_ref()?.name.as_deref())
    }

    /// The profile of the NIMCache to serve, if one is named.
    #[must_use]
    pub fn cache_profile(&self) -> Option<&str> {
        named(self.storage.nim_cache.as_ref()?.profile.as_deref())
    }

    /// Whether an autoscaler owns the number of replicas.
    #[must_use]
    pub fn is_autoscaled(&self) -> bool {
        self.scale.as_ref().is_some_and(|scale| scale.enabled == Some(true))
    }

    /// The autoscaler's limits, where an autoscaler is wanted.
    #[must_use]
    pub fn autoscaler(&self) -> Option<&HorizontalPodAutoscaler> {
        self.scale.as_ref().filter(|_| self.is_autoscaled())?.hpa.as_ref()
    }

    /// The shape of one replica, where it takes more than one node.
    #[must_use]
    pub fn over_nodes(&self) -> Option<&MultiNode> {
        self.multi_node.as_ref().filter(|shape| shape.nodes() > 1)
    }
}

fn named(word: Option<&str>) -> Option<&str> {
    word.filter(|word| !word.is_empty())
}
