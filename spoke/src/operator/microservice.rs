//! What every microservice of NVIDIA's is made of, be it NIM or NeMo: an identity, a Service, the ways in, an autoscaler,
//! a monitor, a Deployment, words of readiness and a status. What is particular to a kind is in that kind's room.

pub(crate) mod access;
pub(crate) mod autoscaling;
pub(crate) mod deployment;
pub(crate) mod gateway;
pub(crate) mod http_route;
pub(crate) mod ingress;
pub(crate) mod metadata;
pub(crate) mod monitor;
pub(crate) mod pod;
pub(crate) mod readiness;
pub(crate) mod service;
pub(crate) mod status;

use crds::nim::{Autoscaling, Metrics, Router, Service};
use k8s_openapi::api::networking::v1::IngressSpec;
use serde_json::Value;

use super::engine::child::ChildKind;
use super::engine::kind::{Outcome, Subject};
use metadata::Map;

/// One microservice, seen from outside of its pods.
#[derive(Clone)]
pub(crate) struct Microservice<'a> {
    pub(crate) subject: &'a Subject,
    /// Value of the label `app.kubernetes.io/part-of`.
    pub(crate) part_of: &'static str,
    /// The security context constraints that its pods need on OpenShift.
    pub(crate) scc: &'static str,
    /// Labels of the user.
    pub(crate) labels: Option<&'a Map>,
    /// Annotations of the user.
    pub(crate) annotations: Option<&'a Map>,
    /// The Service as the user wants it.
    pub(crate) service: Option<&'a Service>,
    /// The Ingress of the older field, where it is enabled.
    pub(crate) ingress: Option<OlderIngress<'a>>,
    /// The way in from outside of the cluster.
    pub(crate) router: Option<&'a Router>,
    pub(crate) scale: Option<&'a Autoscaling>,
    pub(crate) metrics: Option<&'a Metrics>,
    /// Wanted replicas where no autoscaler owns them.
    pub(crate) replicas: Option<i32>,
}

/// An Ingress that the user wrote out.
#[derive(Clone)]
pub(crate) struct OlderIngress<'a> {
    pub(crate) annotations: Option<&'a Map>,
    pub(crate) spec: IngressSpec,
}

impl<'a> Microservice<'a> {
    pub(crate) fn name(&self) -> &'a str {
        &self.subject.owner.name
    }

    pub(crate) fn namespace(&self) -> &'a str {
        &self.subject.owner.namespace
    }

    /// Whether an autoscaler owns the number of replicas.
    pub(crate) fn is_autoscaled(&self) -> bool {
        self.scale.is_some_and(|scale| scale.enabled == Some(true))
    }
}

/// A child as it is now; null when it is not there.
pub(crate) fn live(outcome: &Outcome, kind: ChildKind, name: &str) -> Value {
    let found = outcome.live.get(&(kind, name.to_owned()));
    found.and_then(|object| serde_json::to_value(object.as_ref()).ok()).unwrap_or_default()
}
