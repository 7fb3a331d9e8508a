//! The way out of a closed network.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A proxy for what the containers fetch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxySpec {
    /// Proxy for plain HTTP, a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    /// Proxy for HTTPS, a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    /// Hosts that are reached directly, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    /// ConfigMap of the namespace with certificates to trust besides the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_config_map: Option<String>,
}

impl ProxySpec {
    /// The ConfigMap with certificates, if one is named.
    #[must_use]
    pub fn certificates(&self) -> Option<&str> {
        self.cert_config_map.as_deref().filter(|name| !name.is_empty())
    }
}
