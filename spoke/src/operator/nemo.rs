//! What the five NeMo microservices have in common: one pipeline, from what they refer to, over the objects that every
//! microservice is made of, to their status. What is particular to a kind is in the room named after it, which says it
//! by the trait [`NemoService`].

pub(crate) mod claim;
pub(crate) mod database;
pub(crate) mod dependency;
pub(crate) mod need;
mod observe;
pub(crate) mod otel;
pub(crate) mod pod;
pub(crate) mod probes;
mod render;
mod report;

use std::marker::PhantomData;

use crds::nemo::Microservice as Spec;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSecurityContext, Volume, VolumeMount};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cluster::ClusterFacts;
use super::engine::call::CallError;
use super::engine::canonical::canonical_of_nemo;
use super::engine::child::{Child, ChildKind};
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::world::World;
use super::microservice::metadata::Map;
use super::microservice::service::Port;
use super::microservice::status::{self, Standing};
use super::settings::Settings;
use need::{Found, Need};
use probes::Probes;

/// One kind of NeMo microservice. Everything is a pure function.
pub(crate) trait NemoService: Send + Sync + 'static {
    /// The typed object; its status is not read from here.
    type Object: DeserializeOwned + Send + Sync;

    /// `NemoGuardrail`.
    const KIND: &'static str;
    /// `nemoguardrails`.
    const PLURAL: &'static str;
    /// The finalizer of the upstream operator.
    const FINALIZER: &'static str;
    /// The component that events come from.
    const REPORTER: &'static str;
    /// Name of the gauge of objects by state.
    const GAUGE: &'static str;
    /// Value of the label `app.kubernetes.io/part-of`.
    const PART_OF: &'static str;
    /// Port that the API listens on.
    const API: i32;
    /// Labels that the Service selects pods by; each has the object's name as its value.
    const SELECTED_BY: &'static [&'static str];
    /// What the kubelet asks the container.
    const PROBES: Probes;
    /// Whether there may be a Secret that is made for the pods.
    const MAKES_SECRET: bool;

    /// What all NeMo microservices say.
    fn spec(object: &Self::Object) -> &Spec;

    /// Ports besides the API.
    fn more_ports() -> &'static [Port] {
        &[]
    }

    /// What the pods may do, besides what OpenShift makes them ask for.
    fn rules(_object: &Self::Object, _settings: &Settings) -> Vec<PolicyRule> {
        Vec::new()
    }

    /// What it refers to.
    fn needs(object: &Self::Object, subject: &Subject) -> Vec<Need>;

    /// Claims that do not wait for anything.
    fn claims(_scene: &Scene<'_, Self>) -> Result<Vec<Child>, Failure>
    where
        Self: Sized,
    {
        Ok(Vec::new())
    }

    /// What is its own of the pod, and what is made for it.
    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure>
    where
        Self: Sized;
}

/// One object with all that its children are made from.
pub(crate) struct Scene<'a, S: NemoService> {
    pub(crate) subject: &'a Subject,
    pub(crate) object: &'a S::Object,
    pub(crate) found: &'a Found,
    pub(crate) facts: &'a ClusterFacts,
}

impl<'a, S: NemoService> Scene<'a, S> {
    pub(crate) fn name(&self) -> &'a str {
        &self.subject.owner.name
    }

    pub(crate) fn namespace(&self) -> &'a str {
        &self.subject.owner.namespace
    }

    /// What all NeMo microservices say.
    pub(crate) fn spec(&self) -> &'a Spec {
        S::spec(self.object)
    }
}

/// What is a kind's own of its pod, and what is made for it.
#[derive(Default)]
pub(crate) struct Plan {
    /// Configuration, credentials and claims.
    pub(crate) children: Vec<Child>,
    /// Environment, over which the user's goes.
    pub(crate) env: Vec<EnvVar>,
    /// Containers that run before, in order.
    pub(crate) init: Vec<Container>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) mounts: Vec<VolumeMount>,
    /// Instead of the user and the groups that NeMo microservices run as.
    pub(crate) security: Option<PodSecurityContext>,
    /// Annotations of the pod, besides those that all have.
    pub(crate) annotations: Map,
}

/// A kind of NeMo microservice, as the engine runs it.
pub(crate) struct Nemo<S>(PhantomData<S>);

/// What rendering came to.
pub(crate) enum Verdict {
    /// Everything is rendered.
    Complete,
    /// What cannot be rendered, and why.
    Fails(Failure),
}

impl<S: NemoService> Kind for Nemo<S> {
    type Object = S::Object;
    type Refs = Found;
    type Verdict = Verdict;

    const KIND: &'static str = S::KIND;
    const PLURAL: &'static str = S::PLURAL;
    const FINALIZER: &'static str = S::FINALIZER;
    const REPORTER: &'static str = S::REPORTER;
    const GAUGE: &'static str = S::GAUGE;
    const STATES: &'static [&'static str] = &["NotReady", "Ready", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = &[];
    const PRUNED: &'static [ChildKind] = &[
        ChildKind::HorizontalPodAutoscaler,
        ChildKind::HttpRoute,
        ChildKind::Ingress,
        ChildKind::ServiceMonitor,
        ChildKind::ConfigMap,
    ];

    async fn observe(object: &S::Object, subject: &Subject, world: &World) -> Result<Found, CallError> {
        observe::observe(&S::needs(object, subject), S::MAKES_SECRET, subject, world).await
    }

    fn render(
        object: &S::Object,
        subject: &Subject,
        found: &Found,
        facts: &ClusterFacts,
    ) -> Rendered<Verdict> {
        render::render(&Scene::<S> { subject, object, found, facts })
    }

    fn report(
        object: &S::Object,
        subject: &Subject,
        found: &Found,
        rendered: &Rendered<Verdict>,
        outcome: &Outcome,
    ) -> Report {
        let missing = found.missing(&S::needs(object, subject));
        // Nothing tells of a right that is given.
        let again = if found.refused.is_some() { Again::Backoff } else { Again::No };
        report::report(subject, &missing, &found.diagnosis, &rendered.verdict, outcome, again)
    }

    fn referred(object: &S::Object, subject: &Subject, found: &Found) -> String {
        found.referred(&S::needs(object, subject))
    }

    fn canonical(spec: &Value) -> Value {
        canonical_of_nemo(spec)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        status::report(subject, &Standing::failed(Failure::new(reason, message)), Again::No)
    }
}

#[cfg(test)]
pub(crate) mod tests;
