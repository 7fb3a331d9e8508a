//! The InferencePool: the pods that serve the model, and the picker that chooses among them.

use crds::nim::EppConfig;
use serde_json::json;

use super::ports::Listening;
use super::{metadata, name};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::nimservice::network;
use crate::operator::nimservice::scene::Scene;

/// The pool. Gateways refer to it by the name of the NIMService.
pub(super) fn child(scene: &Scene<'_>, wanted: &EppConfig) -> Child {
    let body = json!({
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(scene, scene.name()),
        "spec": {
            "selector": {"matchLabels": network::selected(scene.subject, scene.spec)},
            "targetPorts": [{"number": scene.spec.api_port()}],
            "endpointPickerRef": {
                "kind": "Service",
                "name": name(scene),
                "port": {"number": Listening::of(wanted).asked()},
            },
        },
    });
    Child::new(ChildKind::InferencePool, scene.name(), Keep::Owned, &body)
}
