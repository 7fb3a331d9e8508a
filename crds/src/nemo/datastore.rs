//! NemoDatastore: models and datasets, kept in Git repositories.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseConfig;
use super::microservice::Microservice;
use super::status::NemoStatus;
use crate::absent_spec::may_be_absent;
use crate::nim::PersistentVolumeClaim;

/// The data store to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NemoDatastore",
    plural = "nemodatastores",
    singular = "nemodatastore",
    namespaced,
    doc = "A NeMo Data Store.",
    status = "NemoStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NemoDatastoreSpec {
    /// What all NeMo microservices say.
    #[serde(flatten)]
    pub service: Microservice,
    /// Secrets of the namespace that it is set up by.
    pub secrets: DatastoreSecrets,
    /// The database.
    pub database_config: DatabaseConfig,
    /// Where large files lie. Default on the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_store_config: Option<ObjectStoreConfig>,
    /// The volume that the repositories lie on. Default one that goes with the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PersistentVolumeClaim>,
}

may_be_absent!(NemoDatastoreSpec);

/// Secrets of the namespace that a data store is set up by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreSecrets {
    /// With the keys `GITEA_ADMIN_USERNAME` and `GITEA_ADMIN_PASSWORD`.
    pub gitea_admin_secret: String,
    /// With the key `jwtSecret`.
    pub lfs_jwt_secret: String,
    /// With the scripts `init_directory_structure.sh` and `configure_gitea.sh`.
    pub datastore_init_secret: String,
    /// With the script `config_environment.sh`.
    pub datastore_config_secret: String,
    /// With a file for each section of the configuration.
    pub datastore_inline_config_secret: String,
}

/// An object store that is there already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreConfig {
    /// How to sign in.
    pub credentials: ObjectStoreCredentials,
    /// Host and port of the store.
    pub endpoint: String,
    /// The bucket.
    pub bucket_name: String,
    /// The region.
    pub region: String,
    /// Whether it is reached over TLS.
    pub ssl: bool,
    /// Whether clients fetch from the store themselves. Default true.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serve_direct: Option<bool>,
}

/// How to sign in to an object store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStoreCredentials {
    /// The user.
    pub user: String,
    /// Secret of the namespace that holds the password.
    pub secret_name: String,
    /// Key of the password in the Secret.
    pub password_key: String,
}

impl ObjectStoreConfig {
    /// Whether clients fetch from the store themselves: unless it says no, they do.
    #[must_use]
    pub fn serve_direct(&self) -> bool {
        self.serve_direct != Some(false)
    }
}
