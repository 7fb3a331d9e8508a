//! The volume that a model lies on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A claim for a volume: made for the object, or there already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistentVolumeClaim {
    /// Whether the claim is made. Default false: it must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<bool>,
    /// Name of the claim. Default the object's name and `-pvc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Storage class. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// How much, for example `50Gi`; needed to make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Access mode, for example `ReadWriteOnce`; needed to make one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_access_mode: Option<String>,
    /// Folder in the volume to mount. Default the whole volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// Annotations of a claim that is made. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl PersistentVolumeClaim {
    /// Whether the claim is to be made.
    #[must_use]
    pub fn is_created(&self) -> bool {
        self.create == Some(true)
    }

    /// The claim's name for an object of this name.
    #[must_use]
    pub fn name_for(&self, object: &str) -> String {
        match self.name.as_deref() {
            None | Some("") => format!("{object}-pvc"),
            Some(name) => name.to_owned(),
        }
    }
}
