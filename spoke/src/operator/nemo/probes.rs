//! What the kubelet asks a NeMo microservice. Users cannot change it.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The three probes of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probes {
    pub(crate) liveness: Ask,
    pub(crate) readiness: Ask,
    pub(crate) startup: Ask,
}

/// One probe, every 10 seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) path: &'static str,
    /// Seconds before the first one, if there is such a pause.
    pub(crate) delay: Option<i32>,
    /// Seconds until an answer is late.
    pub(crate) timeout: i32,
    /// How many in a row have to fail.
    pub(crate) failures: i32,
}

impl Ask {
    /// A startup probe: 30 failures, five minutes, after 30 seconds.
    pub(crate) const fn startup(path: &'static str) -> Self {
        Self { path, delay: Some(30), timeout: 1, failures: 30 }
    }

    pub(super) fn probe(self) -> Probe {
        Probe {
            http_get: Some(HTTPGetAction {
                path: Some(self.path.to_owned()),
                port: IntOrString::String("api".to_owned()),
                ..HTTPGetAction::default()
            }),
            initial_delay_seconds: self.delay,
            timeout_seconds: Some(self.timeout),
            period_seconds: Some(10),
            success_threshold: Some(1),
            failure_threshold: Some(self.failures),
            ..Probe::default()
        }
    }
}
