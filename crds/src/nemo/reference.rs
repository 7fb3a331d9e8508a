//! What a NeMo microservice refers to: services by URL, ConfigMaps by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A service that is there already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its URL.
    #[schemars(length(min = 1), regex(pattern = "^http"))]
    pub endpoint: String,
}

/// A ConfigMap of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapRef {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
}
