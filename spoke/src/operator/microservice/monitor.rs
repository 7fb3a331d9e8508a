//! The ServiceMonitor of the Prometheus operator.

use serde_json::{Value, json};

use super::Microservice;
use super::metadata::{merged, meta};
use crate::operator::engine::child::{Child, ChildKind, Keep, MANAGED_BY};

/// One port that is scraped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    /// Name of the Service's port.
    pub(crate) port: &'static str,
    /// Path of the metrics. Default that of Prometheus, `/metrics`.
    pub(crate) path: Option<&'static str>,
}

/// The monitor, if the spec asks for one.
pub(crate) fn child(of: &Microservice<'_>, endpoints: &[Endpoint]) -> Option<Child> {
    let metrics = of.metrics.filter(|metrics| metrics.enabled == Some(true))?;
    let wanted = metrics.service_monitor.clone().unwrap_or_default();
    let selected = of.labels();
    // The one place where labels of the user win: Prometheus chooses its monitors by them. We find ours by one.
    let mut labels = merged(wanted.additional_labels.unwrap_or_default(), Some(&selected));
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let annotations = merged(of.annotations(), wanted.annotations.as_ref());
    let timing = [("interval", wanted.interval), ("scrapeTimeout", wanted.scrape_timeout)];
    let endpoint = |Endpoint { port, path }: &Endpoint| {
        let mut endpoint = json!({"port": port});
        if let Some(path) = path {
            endpoint["path"] = Value::from(*path);
        }
        for (field, time) in timing.iter().filter_map(|(field, time)| Some((*field, time.as_deref()?))) {
            if !time.is_empty() {
                endpoint[field] = Value::from(time);
            }
        }
        endpoint
    };
    let body = json!({
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": meta(of.subject, labels, annotations),
        "spec": {
            "namespaceSelector": {"matchNames": [of.namespace()]},
            "selector": {"matchLabels": selected},
            "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
        },
    });
    Some(Child::new(ChildKind::ServiceMonitor, of.name(), Keep::Owned, &body))
}
