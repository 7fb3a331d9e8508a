//! NIMPipeline: several services that belong together, each made as a NIMService.

mod service;
mod status;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use service::Service;
use status::Standing;

use super::cluster::ClusterFacts;
use super::engine::call::CallError;
use super::engine::canonical::canonical;
use super::engine::child::ChildKind;
use super::engine::kind::{Again, Failure, Kind, Outcome, Rendered, Report, Subject};
use super::engine::world::World;

/// The kind NIMPipeline.
pub(crate) struct NimPipelines;

/// A NIMPipeline, with the specs of its services as they are written: they are handed on, and what this version does
/// not know of them is not lost.
#[derive(Deserialize)]
pub(crate) struct Pipeline {
    #[serde(default)]
    spec: Option<Spec>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default)]
    services: Option<Vec<Service>>,
}

impl Pipeline {
    /// The services that are wanted, with their place in the list.
    fn enabled(&self) -> impl Iterator<Item = (usize, &Service)> {
        let services = self.spec.as_ref().and_then(|spec| spec.services.as_deref()).unwrap_or_default();
        services.iter().enumerate().filter(|(_, service)| service.is_enabled())
    }
}

impl Kind for NimPipelines {
    type Object = Pipeline;
    type Refs = ();
    /// Why the pipeline as it is written cannot be carried out.
    type Verdict = Option<Failure>;

    const KIND: &'static str = "NIMPipeline";
    const PLURAL: &'static str = "nimpipelines";
    const FINALIZER: &'static str = "finalizer.nimpipeline.apps.nvidia.com";
    const REPORTER: &'static str = "nimpipeline-controller";
    const GAUGE: &'static str = "nimPipeline_status_total";
    const STATES: &'static [&'static str] = &["Ready", "NotReady", "Failed"];
    const SHARED: &'static [(ChildKind, &'static str)] = &[];
    const PRUNED: &'static [ChildKind] = &[ChildKind::NimService];

    async fn observe(_: &Pipeline, _: &Subject, _: &World) -> Result<(), CallError> {
        Ok(())
    }

    fn render(object: &Pipeline, subject: &Subject, (): &(), _: &ClusterFacts) -> Rendered<Option<Failure>> {
        let refused = service::refusal(object.enabled());
        let services = object.enabled().filter(|_| refused.is_none());
        Rendered {
            children: services.map(|(_, service)| service.child(&subject.owner.namespace)).collect(),
            remove: Vec::new(),
            complete: refused.is_none(),
            notes: Vec::new(),
            amendments: Vec::new(),
            verdict: refused,
        }
    }

    fn report(
        object: &Pipeline,
        subject: &Subject,
        (): &(),
        rendered: &Rendered<Option<Failure>>,
        outcome: &Outcome,
    ) -> Report {
        if let Some(why) = &rendered.verdict {
            return status::report(subject, &Standing::Refused(why.clone()), Again::No);
        }
        let state = |service: &Service| {
            let live = outcome.live.get(&(ChildKind::NimService, service.name().to_owned()));
            live.map_or_else(service::State::missing, |live| service::State::of(live))
        };
        let states: BTreeMap<String, service::State> =
            object.enabled().map(|(_, service)| (service.name().to_owned(), state(service))).collect();
        let failure = outcome.failure.as_ref().or(outcome.waits.as_ref()).cloned();
        let again = if failure.is_some() { Again::Backoff } else { Again::No };
        status::report(subject, &Standing::Applied { states, failure }, again)
    }

    fn canonical(spec: &Value) -> Value {
        canonical(spec)
    }

    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report {
        status::report(subject, &Standing::Refused(Failure::new(reason, message)), Again::No)
    }
}

#[cfg(test)]
mod tests;
