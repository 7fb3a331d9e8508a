//! How many replicas, by KServe's own words for an autoscaler.

use crds::nim::{HorizontalPodAutoscaler, NIMServiceSpec};
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};

use super::mode::Mode;
use crate::operator::engine::compare::amount;

/// One, in what amounts are counted in.
const ONE: i128 = 1_000_000_000;

/// Fields of the predictor. Only where KServe makes Deployments: elsewhere annotations say how many.
pub(super) fn fields(spec: &NIMServiceSpec, mode: Mode) -> Map<String, Value> {
    let mut fields = Map::new();
    if !mode.is_standard() {
        return fields;
    }
    let mut set = |field: &str, value: Value| {
        fields.insert(field.to_owned(), value);
    };
    if !spec.is_autoscaled() {
        if let Some(replicas) = spec.replicas {
            set("minReplicas", json!(replicas));
            set("maxReplicas", json!(replicas));
        }
        return fields;
    }
    let Some(hpa) = spec.autoscaler() else { return fields };
    set("minReplicas", json!(hpa.min_replicas.unwrap_or(1)));
    if hpa.max_replicas > 0 {
        set("maxReplicas", json!(hpa.max_replicas));
    }
    if let Some(metric) = hpa.metrics.iter().flatten().find_map(Metric::of) {
        set("scaleMetric", json!(metric.name));
        set("scaleMetricType", json!(metric.kind));
        set("scaleTarget", json!(metric.target));
    }
    fields
}

/// True when there is a metric that is not carried over: KServe knows one, of the pod's own CPU or memory.
pub(super) fn leaves_metrics_out(hpa: &HorizontalPodAutoscaler) -> bool {
    let metrics = hpa.metrics.as_deref().unwrap_or_default();
    metrics.len() > usize::from(metrics.iter().any(|metric| Metric::of(metric).is_some()))
}

/// A metric that KServe knows.
struct Metric<'a> {
    name: &'a str,
    kind: &'a str,
    target: i32,
}

impl<'a> Metric<'a> {
    fn of(wanted: &'a MetricSpec) -> Option<Self> {
        let resource = wanted.resource.as_ref().filter(|_| wanted.type_ == "Resource")?;
        let name = Some(resource.name.as_str()).filter(|name| ["cpu", "memory"].contains(name))?;
        let target = match resource.target.type_.as_str() {
            "Utilization" => resource.target.average_utilization?,
            "Value" => whole(resource.target.value.as_ref()?)?,
            "AverageValue" => whole(resource.target.average_value.as_ref()?)?,
            _ => return None,
        };
        Some(Self { name, kind: &resource.target.type_, target })
    }
}

/// The quantity as a whole number, rounded up as Kubernetes does; none where KServe's field cannot hold it.
fn whole(quantity: &Quantity) -> Option<i32> {
    let billionths = amount(&Value::from(quantity.0.as_str()))?;
    i32::try_from(billionths.div_euclid(ONE) + i128::from(billionths.rem_euclid(ONE) > 0)).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

    use super::*;

    fn resource(name: &str, target: Value) -> Value {
        json!({"type": "Resource", "resource": {"name": name, "target": target}})
    }

    fn spec(scale: Value) -> NIMServiceSpec {
        let spec =
            json!({"image": {"repository": "r", "tag": "t"}, "storage": {}, "replicas": 3, "scale": scale});
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_first_metric_that_kserve_knows_is_carried_over() {
        let half = resource("cpu", json!({"type": "Utilization", "averageUtilization": 50}));
        let custom = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
        let gpu = resource("nvidia.com/gpu", json!({"type": "Utilization", "averageUtilization": 50}));
        let metric = |name: &str, kind: &str, target: i32| json!({"minReplicas": 1, "maxReplicas": 4, "scaleMetric": name, "scaleMetricType": kind, "scaleTarget": target});
        let none = json!({"minReplicas": 1, "maxReplicas": 4});
        for (metrics, expected, left_out) in [
            (json!([]), none.clone(), false),
            (json!([half]), metric("cpu", "Utilization", 50), false),
            (json!([custom, half]), metric("cpu", "Utilization", 50), true),
            (json!([gpu]), none.clone(), true),
            (
                json!([resource("memory", json!({"type": "AverageValue", "averageValue": "500Mi"}))]),
                metric("memory", "AverageValue", 524_288_000),
                false,
            ),
            (
                json!([resource("cpu", json!({"type": "Value", "value": "1500m"}))]),
                metric("cpu", "Value", 2),
                false,
            ),
            (json!([resource("memory", json!({"type": "AverageValue", "averageValue": "4Gi"}))]), none, true),
        ] {
            let spec = spec(json!({"enabled": true, "hpa": {"maxReplicas": 4, "metrics": metrics}}));
            assert_eq!(Value::from(fields(&spec, Mode::RawDeployment)), expected, "{metrics}");
            assert_eq!(leaves_metrics_out(spec.autoscaler().unwrap()), left_out, "{metrics}");
        }
    }

    #[test]
    fn replicas_count_where_kserve_makes_deployments_and_nothing_else_scales() {
        let fixed = spec(json!({"hpa": {"maxReplicas": 0, "minReplicas": 1}}));
        assert_eq!(Value::from(fields(&fixed, Mode::Standard)), json!({"minReplicas": 3, "maxReplicas": 3}));
        for mode in [Mode::Knative, Mode::Serverless, Mode::ModelMesh] {
            assert!(fields(&fixed, mode).is_empty(), "{mode:?}");
        }
        assert!(fields(&spec(json!({"enabled": true})), Mode::Standard).is_empty());
    }
}
