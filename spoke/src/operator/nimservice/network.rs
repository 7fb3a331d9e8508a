//! The ports of a NIMService, and what its Service selects.

use crds::nim::NIMServiceSpec;

use super::multi_node;
use crate::operator::engine::kind::Subject;
use crate::operator::microservice::metadata::{Map, selector};
use crate::operator::microservice::service::Port;

/// The ports a NIMService serves on: container and Service have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) api: i32,
    pub(super) grpc: Option<i32>,
    pub(super) metrics: Option<i32>,
}

impl Ports {
    pub(super) fn of(spec: &NIMServiceSpec) -> Self {
        Self { api: spec.api_port(), grpc: spec.grpc_port(), metrics: spec.metrics_port() }
    }

    /// All of them, the API first.
    pub(super) fn all(self) -> Vec<Port> {
        [("api", Some(self.api)), ("grpc", self.grpc), ("metrics", self.metrics)]
            .into_iter()
            .filter_map(|(name, port)| Some(Port { name, container: port?, service: port? }))
            .collect()
    }
}

/// What selects the pods that answer: of a replica over several nodes only the leader does.
pub(super) fn selected(subject: &Subject, spec: &NIMServiceSpec) -> Map {
    let name = &subject.owner.name;
    if spec.over_nodes().is_none() {
        return selector(name);
    }
    let mut leaders = selector(&multi_node::name(name));
    leaders.insert("nim-llm-role".to_owned(), "leader".to_owned());
    leaders
}
