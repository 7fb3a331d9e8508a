//! What of a NIM is scraped.

use crds::nim::NIMServiceSpec;

use crate::operator::engine::child::Child;
use crate::operator::microservice::Microservice;
use crate::operator::microservice::monitor::{self, Endpoint};

/// The ServiceMonitor, if the spec asks for one: the API's own metrics, and those of another port.
pub(super) fn child(of: &Microservice<'_>, spec: &NIMServiceSpec) -> Option<Child> {
    let mut endpoints = vec![Endpoint { port: "api", path: Some("/v1/metrics") }];
    if spec.metrics_port().is_some() {
        endpoints.push(Endpoint { port: "metrics", path: Some("/metrics") });
    }
    monitor::child(of, &endpoints)
}
