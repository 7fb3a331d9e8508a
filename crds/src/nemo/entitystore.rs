//! NemoEntitystore: the entities that NeMo microservices share: projects, datasets, models.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseConfig;
use super::microservice::Microservice;
use super::reference::Endpoint;
use super::status::NemoStatus;
use crate::absent_spec::may_be_absent;

/// The entity store to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NemoEntitystore",
    plural = "nemoentitystores",
    singular = "nemoentitystore",
    namespaced,
    doc = "A NeMo Entity Store.",
    status = "NemoStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NemoEntitystoreSpec {
    /// What all NeMo microservices say.
    #[serde(flatten)]
    pub service: Microservice,
    /// The database.
    pub database_config: DatabaseConfig,
    /// The NeMo Data Store.
    pub datastore: Endpoint,
}

may_be_absent!(NemoEntitystoreSpec);
