//! Scaling by load, and the metrics that tell the load.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scaling by load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Whether an autoscaler owns the number of replicas. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The autoscaler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa: Option<HorizontalPodAutoscaler>,
    /// Annotations of the autoscaler. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = (
    "!has(self.minReplicas) || self.minReplicas != 0 || has(self.metrics) && self.metrics.exists(metric, has(metric.external) || has(metric.object))",
    "minReplicas 0 needs at least one metric of type External or Object: no other tells of load while nothing runs"
))]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscaler {
    /// Least replicas. Default 1. With 0 the service is started by an External or Object metric; the API server and the
    /// controller manager must have the feature gate `HPAScaleToZero` on, as they have from Kubernetes 1.37.
    #[schemars(range(min = 0), extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<i32>,
    /// Most replicas. 0 is how NVIDIA's operator stores "not set".
    pub max_replicas: i32,
    /// What is measured. Default the cluster's.
    #[schemars(length(max = 5))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<MetricSpec>>,
    /// How fast it scales. Default the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
}

/// Scraping by the Prometheus operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Whether there is a ServiceMonitor. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// The ServiceMonitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_monitor: Option<ServiceMonitor>,
}

/// A ServiceMonitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceMonitor {
    /// Labels besides the service's own; these win. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_labels: Option<BTreeMap<String, String>>,
    /// Annotations. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Time between two scrapes. Default that of Prometheus.
    #[schemars(regex(
        pattern = r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
    ))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Longest time that a scrape may take. Default that of Prometheus.
    #[schemars(regex(
        pattern = r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
    ))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape_timeout: Option<String>,
}
