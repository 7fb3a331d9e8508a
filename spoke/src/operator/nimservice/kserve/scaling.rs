//! How many replicas, by KServe's own words for an autoscaler.

use crds::nim::{HorizontalPodAutoscaler, NIMServiceSpec};
use k8s_openapi::api::autoscaling::v2::MetricSpec;
use serde_json::{Map, Value, json};

use super::mode::Mode;

/// The annotation that says who scales where KServe makes Deployments.
pub(super) const CLASS: &str = "serving.kserve.io/autoscalerClass";
/// Annotations by which users of Knative say how many replicas there are at least and at most, with their older names.
/// KServe passes none of them on.
const LEAST: [&str; 2] = ["autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/minScale"];
const MOST: [&str; 2] = ["autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/maxScale"];
/// How annotations of Knative's autoscaler begin.
const TUNED: &str = "autoscaling.knative.dev/";

/// Who scales; none where KServe's default does. Before 0.15 it knows no replicas without an autoscaler.
pub(super) fn class(spec: &NIMServiceSpec, mode: Mode, scales_by_metrics: bool) -> Option<&'static str> {
    if !mode.is_standard() {
        return None;
    }
    if spec.is_autoscaled() {
        return Some("hpa");
    }
    let own = spec.annotations.as_ref().is_some_and(|all| all.contains_key(CLASS));
    (scales_by_metrics && spec.replicas.is_some() && !own).then_some("none")
}

/// Fields of the predictor.
pub(super) fn fields(spec: &NIMServiceSpec, mode: Mode, scales_by_metrics: bool) -> Map<String, Value> {
    if mode.is_knative() {
        return bounds(spec);
    }
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
    let metrics: Vec<&MetricSpec> = hpa.metrics.iter().flatten().filter(|one| is_known(one)).collect();
    if scales_by_metrics {
        if !metrics.is_empty() {
            set("autoScaling", json!({"metrics": metrics}));
        }
    } else if let Some((name, target)) = metrics.into_iter().find_map(utilization) {
        set("scaleMetric", json!(name));
        set("scaleMetricType", json!("Utilization"));
        set("scaleTarget", json!(target));
    }
    fields
}

/// How many replicas Knative's autoscaler has at least and at most: by its own annotations, else by the number of replicas,
/// which is no upper bound for a user who tunes that autoscaler.
fn bounds(spec: &NIMServiceSpec) -> Map<String, Value> {
    let said = |names: [&str; 2]| {
        let all = spec.annotations.as_ref()?;
        names.iter().find_map(|name| all.get(*name)?.parse::<i32>().ok().filter(|count| *count >= 0))
    };
    let is_tuned = spec.annotations.iter().flatten().any(|(key, _)| key.starts_with(TUNED));
    let (least, most) = match (said(LEAST), said(MOST)) {
        (None, None) => (spec.replicas, spec.replicas.filter(|_| !is_tuned)),
        both => both,
    };
    let least = least.map(|count| ("minReplicas".to_owned(), json!(count)));
    // To Knative, 0 is no upper bound.
    let most = most.filter(|count| *count > 0).map(|count| ("maxReplicas".to_owned(), json!(count)));
    least.into_iter().chain(most).collect()
}

/// Metrics that are not carried over, as they are called in the spec, and what is done instead.
pub(super) fn left_out(hpa: &HorizontalPodAutoscaler, scales_by_metrics: bool) -> Vec<String> {
    let all = hpa.metrics.as_deref().unwrap_or_default();
    let first = all.iter().position(|one| utilization(one).is_some());
    let is_carried = |(place, one): &(usize, &MetricSpec)| {
        if scales_by_metrics { is_known(one) } else { first == Some(*place) }
    };
    let (carried, left): (Vec<_>, Vec<_>) = all.iter().enumerate().partition(is_carried);
    let instead = if carried.is_empty() { "; it scales by 80 % of the requested CPU" } else { "" };
    let named = left.iter().map(|(place, one)| {
        let how = match &one.resource {
            Some(resource) => format!("{} by {}", resource.name, resource.target.type_),
            None => one.type_.clone(),
        };
        format!("spec.scale.hpa.metrics[{place}] ({how}{instead})")
    });
    named.collect()
}

/// Whether KServe makes just this metric of it: of CPU it takes utilization alone, and reads any other target as that.
fn is_known(metric: &MetricSpec) -> bool {
    let Some(resource) = metric.resource.as_ref().filter(|_| metric.type_ == "Resource") else {
        return false;
    };
    let is_amount = resource.target.type_ == "AverageValue" && resource.target.average_value.is_some();
    utilization(metric).is_some() || resource.name == "memory" && is_amount
}

/// The per cent that a metric of the pod's own CPU or memory aims at.
fn utilization(metric: &MetricSpec) -> Option<(&str, i32)> {
    let resource = metric.resource.as_ref().filter(|_| metric.type_ == "Resource")?;
    let name = Some(resource.name.as_str()).filter(|name| ["cpu", "memory"].contains(name))?;
    let target = resource.target.average_utilization.filter(|_| resource.target.type_ == "Utilization")?;
    Some((name, target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

    use super::*;

    fn resource(name: &str, target: Value) -> Value {
        json!({"type": "Resource", "resource": {"name": name, "target": target}})
    }

    fn spec(more: Value) -> NIMServiceSpec {
        let mut spec = json!({"image": {"repository": "r", "tag": "t"}, "storage": {}, "replicas": 3});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn metrics_are_carried_over_as_they_are_or_named() {
        let cpu =
            |percent: i32| resource("cpu", json!({"type": "Utilization", "averageUtilization": percent}));
        let memory = resource("memory", json!({"type": "AverageValue", "averageValue": "500Mi"}));
        let cores = resource("cpu", json!({"type": "AverageValue", "averageValue": "4"}));
        let value = resource("memory", json!({"type": "Value", "value": "4Gi"}));
        let gpu = resource("nvidia.com/gpu", json!({"type": "Utilization", "averageUtilization": 50}));
        let custom = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
        let none: [Value; 0] = [];
        for (metrics, carried, left, older, left_by_older) in [
            (vec![], json!(none), vec![], None, vec![]),
            (vec![cpu(50)], json!([cpu(50)]), vec![], Some(("cpu", 50)), vec![]),
            (
                vec![memory.clone(), cpu(60)],
                json!([memory, cpu(60)]),
                vec![],
                Some(("cpu", 60)),
                vec!["[0] (memory by AverageValue)"],
            ),
            (
                vec![cores.clone()],
                json!(none),
                vec!["[0] (cpu by AverageValue; it scales by 80 % of the requested CPU)"],
                None,
                vec!["[0] (cpu by AverageValue; it scales by 80 % of the requested CPU)"],
            ),
            (
                vec![custom, value, gpu, cpu(70), cpu(80)],
                json!([cpu(70), cpu(80)]),
                vec!["[0] (Pods)", "[1] (memory by Value)", "[2] (nvidia.com/gpu by Utilization)"],
                Some(("cpu", 70)),
                vec![
                    "[0] (Pods)",
                    "[1] (memory by Value)",
                    "[2] (nvidia.com/gpu by Utilization)",
                    "[4] (cpu by Utilization)",
                ],
            ),
        ] {
            let hpa = json!({"maxReplicas": 4, "metrics": metrics});
            let spec = spec(json!({"replicas": null, "scale": {"enabled": true, "hpa": hpa}}));
            let found = fields(&spec, Mode::RawDeployment, true);
            let rendered = found.get("autoScaling").map_or(json!(none), |scaling| scaling["metrics"].clone());
            assert_eq!(rendered, carried);
            assert!(!found.contains_key("scaleTarget"));
            let named = |names: Vec<&str>| -> Vec<String> {
                names.into_iter().map(|name| format!("spec.scale.hpa.metrics{name}")).collect()
            };
            let hpa = spec.autoscaler().unwrap();
            assert_eq!(left_out(hpa, true), named(left));
            let found = fields(&spec, Mode::Standard, false);
            let told = found
                .get("scaleMetric")
                .map(|name| (name.as_str().unwrap(), found["scaleTarget"].as_i64().unwrap()));
            assert_eq!(told, older);
            assert!(!found.contains_key("autoScaling"));
            assert_eq!(left_out(hpa, false), named(left_by_older));
        }
    }

    #[test]
    fn a_number_of_replicas_is_kept_without_an_autoscaler() {
        let fixed = spec(json!({"scale": {"hpa": {"maxReplicas": 0, "minReplicas": 1}}}));
        for scales_by_metrics in [true, false] {
            let found = Value::from(fields(&fixed, Mode::Standard, scales_by_metrics));
            assert_eq!(found, json!({"minReplicas": 3, "maxReplicas": 3}));
        }
        assert_eq!(class(&fixed, Mode::Standard, true), Some("none"));
        assert_eq!(class(&fixed, Mode::Standard, false), None, "older KServe refuses the word");
        assert_eq!(class(&fixed, Mode::Knative, true), None);
        assert_eq!(class(&spec(json!({"replicas": null})), Mode::Standard, true), None);
        let own = spec(json!({"annotations": {CLASS: "external"}}));
        assert_eq!(class(&own, Mode::Standard, true), None, "an autoscaler of the user's own");
        let scaled = spec(json!({"replicas": null, "scale": {"enabled": true}}));
        assert_eq!(class(&scaled, Mode::Standard, true), Some("hpa"));
        assert!(fields(&scaled, Mode::Standard, true).is_empty());
        assert!(fields(&fixed, Mode::ModelMesh, true).is_empty());
    }

    #[test]
    fn knatives_bounds_are_its_annotations_or_the_number_of_replicas() {
        for (annotations, replicas, expected) in [
            (json!({LEAST[0]: "3", MOST[0]: "5"}), json!(1), json!({"minReplicas": 3, "maxReplicas": 5})),
            (json!({LEAST[1]: "0", MOST[1]: "2"}), json!(1), json!({"minReplicas": 0, "maxReplicas": 2})),
            (json!({LEAST[0]: "0"}), json!(2), json!({"minReplicas": 0})),
            (json!({MOST[0]: "0"}), json!(2), json!({})),
            (json!({LEAST[0]: "many", MOST[0]: "-1"}), json!(2), json!({"minReplicas": 2})),
            (json!({"autoscaling.knative.dev/target": "10"}), json!(2), json!({"minReplicas": 2})),
            (json!({}), json!(2), json!({"minReplicas": 2, "maxReplicas": 2})),
            (json!({}), json!(0), json!({"minReplicas": 0})),
            (json!({}), json!(null), json!({})),
        ] {
            let spec = spec(json!({"annotations": annotations, "replicas": replicas}));
            for mode in [Mode::Knative, Mode::Serverless] {
                assert_eq!(Value::from(fields(&spec, mode, true)), expected, "{annotations} {replicas}");
            }
        }
    }
}
