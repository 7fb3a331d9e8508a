//! Traces, metrics and logs by OpenTelemetry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::said;

/// Where all of it goes where nothing is said.
const EXPORTER: &str = "otlp";
/// How much is logged where nothing is said.
const LOG_LEVEL: &str = "INFO";
/// What is not traced where nothing is said.
const EXCLUDED_URL: &str = "health";

/// Traces, metrics and logs by OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OTel {
    /// Whether anything is sent. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// URL of the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter_otlp_endpoint: Option<String>,
    /// Whether Python's logging is left alone. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_logging: Option<bool>,
    /// Paths that are not traced. Default `health`.
    #[schemars(extend("default" = ["health"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded_urls: Option<Vec<String>>,
    /// How much is logged. Default `INFO`.
    #[schemars(extend("default" = "INFO", "enum" = ["INFO", "DEBUG"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    /// What is sent where. Default all to the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter_config: Option<ExporterConfig>,
}

/// What is sent where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExporterConfig {
    /// Traces: `otlp`, `console` or `none`. Default `otlp`, the collector.
    #[schemars(extend("default" = "otlp", "enum" = ["otlp", "console", "none"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_exporter: Option<String>,
    /// Metrics: `otlp`, `console` or `none`. Default `otlp`, the collector.
    #[schemars(extend("default" = "otlp", "enum" = ["otlp", "console", "none"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_exporter: Option<String>,
    /// Logs: `otlp`, `console` or `none`. Default `otlp`, the collector.
    #[schemars(extend("default" = "otlp", "enum" = ["otlp", "console", "none"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs_exporter: Option<String>,
}

impl OTel {
    /// Whether anything is sent.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled == Some(true)
    }

    /// Whether Python's logging is instrumented: unless it says no, it is.
    #[must_use]
    pub fn is_logging(&self) -> bool {
        self.disable_logging != Some(true)
    }

    /// How much is logged, `INFO` where nothing is said.
    #[must_use]
    pub fn log_level(&self) -> &str {
        said(self.log_level.as_deref(), LOG_LEVEL)
    }

    /// Paths that are not traced, `health` where nothing is said.
    #[must_use]
    pub fn excluded_urls(&self) -> Vec<&str> {
        match &self.excluded_urls {
            None => vec![EXCLUDED_URL],
            Some(urls) => urls.iter().map(String::as_str).collect(),
        }
    }

    /// Where traces go, `otlp` where nothing is said.
    #[must_use]
    pub fn traces_exporter(&self) -> &str {
        self.exporter(|config| config.traces_exporter.as_deref())
    }

    /// Where metrics go, `otlp` where nothing is said.
    #[must_use]
    pub fn metrics_exporter(&self) -> &str {
        self.exporter(|config| config.metrics_exporter.as_deref())
    }

    /// Where logs go, `otlp` where nothing is said.
    #[must_use]
    pub fn logs_exporter(&self) -> &str {
        self.exporter(|config| config.logs_exporter.as_deref())
    }

    fn exporter(&self, of: impl Fn(&ExporterConfig) -> Option<&str>) -> &str {
        said(self.exporter_config.as_ref().and_then(of), EXPORTER)
    }
}
