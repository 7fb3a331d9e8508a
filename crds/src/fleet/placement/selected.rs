//! Which objects a placement takes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selects objects of one kind by name or by labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "has(self.name) != has(self.labelSelector)",
    "a resource selector names one object (name) or selects by labels (labelSelector): set exactly one of the two"
))]
#[serde(rename_all = "camelCase")]
pub struct ResourceSelector {
    /// The kind, group `apps.nvidia.com`.
    pub kind: SelectedKind,
    /// The name of one object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// The labels of the objects; an empty selector takes all of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
}

/// The kinds that a placement can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SelectedKind {
    /// A served model.
    NIMService,
    /// A stored model.
    NIMCache,
    /// Several served models that go to the same clusters.
    NIMPipeline,
    /// An engine that is built from a stored model in each cluster.
    NIMBuild,
    /// A microservice that fine-tunes models.
    NemoCustomizer,
    /// A microservice that keeps models and datasets.
    NemoDatastore,
    /// A microservice that keeps what other microservices know of each other.
    NemoEntitystore,
    /// A microservice that judges models.
    NemoEvaluator,
    /// A microservice that puts rails around models.
    NemoGuardrail,
}

impl SelectedKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NIMService,
        Self::NIMCache,
        Self::NIMPipeline,
        Self::NIMBuild,
        Self::NemoCustomizer,
        Self::NemoDatastore,
        Self::NemoEntitystore,
        Self::NemoEvaluator,
        Self::NemoGuardrail,
    ];

    /// The kind as manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NIMService => "NIMService",
            Self::NIMCache => "NIMCache",
            Self::NIMPipeline => "NIMPipeline",
            Self::NIMBuild => "NIMBuild",
            Self::NemoCustomizer => "NemoCustomizer",
            Self::NemoDatastore => "NemoDatastore",
            Self::NemoEntitystore => "NemoEntitystore",
            Self::NemoEvaluator => "NemoEvaluator",
            Self::NemoGuardrail => "NemoGuardrail",
        }
    }

    /// Whether objects of the kind call others of their namespace by URL, and bring them along.
    #[must_use]
    pub const fn calls_others(self) -> bool {
        matches!(
            self,
            Self::NemoCustomizer | Self::NemoEntitystore | Self::NemoEvaluator | Self::NemoGuardrail
        )
    }
}
