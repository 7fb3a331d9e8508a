//! The kinds a hub may deliver. A kind outside this table is refused as unsupported, whatever the cluster serves.

use kube::core::{ApiResource, GroupVersionKind};

/// One kind that can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliverableKind {
    /// API group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Resource name in the API's paths and in RBAC.
    pub plural: &'static str,
}

const fn nvidia(kind: &'static str, plural: &'static str) -> DeliverableKind {
    DeliverableKind { group: "apps.nvidia.com", version: "v1alpha1", kind, plural }
}

/// The kind whose pods may run on several nodes at once.
pub(super) const NIM_SERVICE: DeliverableKind = nvidia("NIMService", "nimservices");

/// Every kind that can be delivered; the chart's roles list the same.
pub const KINDS: [DeliverableKind; 9] = [
    NIM_SERVICE,
    nvidia("NIMCache", "nimcaches"),
    nvidia("NIMPipeline", "nimpipelines"),
    nvidia("NIMBuild", "nimbuilds"),
    nvidia("NemoCustomizer", "nemocustomizers"),
    nvidia("NemoDatastore", "nemodatastores"),
    nvidia("NemoEntitystore", "nemoentitystores"),
    nvidia("NemoEvaluator", "nemoevaluators"),
    nvidia("NemoGuardrail", "nemoguardrails"),
];

/// What placements may bring along. Never listed and never watched, so it is no part of [`KINDS`].
pub(super) const SECRET: DeliverableKind =
    DeliverableKind { group: "", version: "v1", kind: "Secret", plural: "secrets" };

impl DeliverableKind {
    /// Finds the entry of an object's `apiVersion` and `kind`.
    pub(super) fn find(api_version: &str, kind: &str) -> Option<Self> {
        let mut known = KINDS.into_iter().chain([SECRET]);
        known.find(|known| known.api_version() == api_version && known.kind == kind)
    }

    /// `group/version`; the core group has no name.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    /// Whether its objects may never be listed, watched or shown.
    pub(super) fn is_secret(&self) -> bool {
        *self == SECRET
    }

    /// What kube needs to build requests.
    #[must_use]
    pub fn resource(&self) -> ApiResource {
        ApiResource::from_gvk_with_plural(
            &GroupVersionKind::gvk(self.group, self.version, self.kind),
            self.plural,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_kind_must_both_be_known() {
        let found = DeliverableKind::find("apps.nvidia.com/v1alpha1", "NIMCache").unwrap();
        assert_eq!(found.plural, "nimcaches");
        assert_eq!(DeliverableKind::find("apps.nvidia.com/v2", "NIMCache"), None);
        assert!(DeliverableKind::find("v1", "Secret").is_some_and(|kind| kind.is_secret()));
        assert_eq!(DeliverableKind::find("v1", "ConfigMap"), None);
    }
}
