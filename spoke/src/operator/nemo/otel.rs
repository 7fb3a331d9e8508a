//! The environment of OpenTelemetry's SDK.

use crds::nemo::OTel;
use k8s_openapi::api::core::v1::EnvVar;

use super::dependency;
use super::need::Need;
use crate::operator::engine::kind::Subject;
use crate::operator::env::var;

/// Where traces, metrics and logs go; nowhere unless it is enabled.
pub(crate) fn env(wanted: Option<&OTel>) -> Vec<EnvVar> {
    let Some(otel) = wanted.filter(|otel| otel.is_enabled()) else {
        return vec![var("OTEL_SDK_DISABLED", "true")];
    };
    let mut all = vec![
        var("OTEL_EXPORTER_OTLP_ENDPOINT", collector(otel)),
        var("OTEL_TRACES_EXPORTER", otel.traces_exporter()),
        var("OTEL_METRICS_EXPORTER", otel.metrics_exporter()),
        var("OTEL_LOGS_EXPORTER", otel.logs_exporter()),
        var("OTEL_LOG_LEVEL", otel.log_level()),
    ];
    let excluded = otel.excluded_urls();
    if !excluded.is_empty() {
        all.push(var("OTEL_PYTHON_EXCLUDED_URLS", excluded.join(",")));
    }
    let logging = otel.is_logging().to_string();
    all.push(var("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", logging));
    all
}

/// The collector, where there is one in this cluster.
pub(crate) fn need(subject: &Subject, wanted: Option<&OTel>) -> Option<Need> {
    let otel = wanted.filter(|otel| otel.is_enabled())?;
    dependency::service(subject, collector(otel), "spec.otel.exporterOtlpEndpoint")
}

/// The collector's URL, empty where none is given.
fn collector(otel: &OTel) -> &str {
    otel.exporter_otlp_endpoint.as_deref().unwrap_or_default()
}
