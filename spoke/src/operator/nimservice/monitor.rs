//! The ServiceMonitor of the Prometheus operator.

use serde_json::{Value, json};

use super::metadata::{annotations, labels, merged, meta};
use super::scene::Scene;
use crate::operator::engine::child::{Child, ChildKind, Keep};

/// The monitor, if the spec asks for one.
pub(super) fn child(scene: &Scene<'_>) -> Option<Child> {
    let metrics = scene.spec.metrics.as_ref().filter(|metrics| metrics.enabled == Some(true))?;
    let wanted = metrics.service_monitor.clone().unwrap_or_default();
    let selected = labels(scene.subject, scene.spec);
    // The one place where labels of the user win: Prometheus chooses its monitors by them.
    let labels = merged(wanted.additional_labels.unwrap_or_default(), Some(&selected));
    let annotations = merged(annotations(scene.spec), wanted.annotations.as_ref());
    let timing = [("interval", wanted.interval), ("scrapeTimeout", wanted.scrape_timeout)];
    let endpoint = |port: &str, path: &str| {
        let mut endpoint = json!({"port": port, "path": path});
        for (field, time) in timing.iter().filter_map(|(field, time)| Some((*field, time.as_deref()?))) {
            if !time.is_empty() {
                endpoint[field] = Value::from(time);
            }
        }
        endpoint
    };
    let mut endpoints = vec![endpoint("api", "/v1/metrics")];
    if scene.spec.metrics_port().is_some() {
        endpoints.push(endpoint("metrics", "/metrics"));
    }
    let body = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": meta(scene.subject, labels, annotations),
        "spec": {
            "namespaceSelector": {"matchNames": [scene.namespace()]},
            "selector": {"matchLabels": selected},
            "endpoints": endpoints,
        },
    });
    Some(Child::new(ChildKind::ServiceMonitor, scene.name(), Keep::Owned, &body))
}
