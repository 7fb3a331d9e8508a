//! What a kind of NIM object has to say to be run by the engine.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::child::{Child, ChildKind, Owner};
use super::condition::Conditions;
use super::world::World;
use crate::operator::cluster::ClusterFacts;

/// API group of all NIM objects.
pub(crate) const GROUP: &str = "apps.nvidia.com";
/// Its version.
pub(crate) const VERSION: &str = "v1alpha1";
/// The condition of an object that is kept from being deleted.
const HELD: &str = "Held";

/// One kind of NIM object. `observe` may ask the API server; everything else is a pure function.
pub(crate) trait Kind: Send + Sync + Sized + 'static {
    /// The typed object; its status is not read from here.
    type Object: DeserializeOwned + Send + Sync;
    /// What the object points at and what became of it, as observed.
    type Refs: Send + Sync;
    /// What `render` decided, for `report`.
    type Verdict: Send + Sync;

    /// `NIMService`.
    const KIND: &'static str;
    /// `nimservices`.
    const PLURAL: &'static str;
    /// The finalizer of the upstream operator.
    const FINALIZER: &'static str;
    /// The component that events come from.
    const REPORTER: &'static str;
    /// Name of the gauge of objects by state.
    const GAUGE: &'static str;
    /// The states that are counted.
    const STATES: &'static [&'static str];
    /// Children that all objects of a namespace share; they go with the last of these.
    const SHARED: &'static [(ChildKind, &'static str)];
    /// Kinds of children that are removed when they are no longer rendered.
    const PRUNED: &'static [ChildKind];

    /// Gathers what the object points at.
    fn observe(
        object: &Self::Object,
        subject: &Subject,
        world: &World,
    ) -> impl Future<Output = Result<Self::Refs, super::call::CallError>> + Send;

    /// The desired children. Pure.
    fn render(
        object: &Self::Object,
        subject: &Subject,
        refs: &Self::Refs,
        facts: &ClusterFacts,
    ) -> Rendered<Self::Verdict>;

    /// The new status. Pure.
    fn report(
        object: &Self::Object,
        subject: &Subject,
        refs: &Self::Refs,
        rendered: &Rendered<Self::Verdict>,
        outcome: &Outcome,
    ) -> Report;

    /// The status of an object that cannot be read. Pure.
    fn unreadable(subject: &Subject, reason: &str, message: &str) -> Report;

    /// Why an object that is being deleted has to stay for now; it is asked again when it is woken. Pure.
    fn held_by(_subject: &Subject, _world: &World) -> Option<Failure> {
        None
    }

    /// The spec in the one form that is rendered from. It lives in memory alone: a stored spec belongs to its author. Pure.
    fn canonical(spec: &Value) -> Value {
        spec.clone()
    }

    /// Kind and plural for dynamic access.
    fn resource() -> ApiResource {
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, Self::KIND), Self::PLURAL)
    }
}

/// The object that is being reconciled, apart from its spec.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) owner: Owner,
    /// Status as stored; null when there is none.
    pub(crate) status: Value,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) now: Timestamp,
}

impl Subject {
    pub(crate) fn moment(&self) -> super::condition::Moment {
        super::condition::Moment { now: self.now, generation: self.owner.generation }
    }
}

/// What `render` makes.
#[derive(Clone, Debug)]
pub(crate) struct Rendered<V> {
    /// In the order in which they are applied.
    pub(crate) children: Vec<Child>,
    /// Children to remove although nothing else replaces them (by uid of their owner).
    pub(crate) remove: Vec<(ChildKind, String)>,
    /// True when `children` is everything, so that what is missing from it may be pruned.
    pub(crate) complete: bool,
    /// Annotation of the object itself to keep: key and value, or none to remove it.
    pub(crate) note: Option<(&'static str, Option<String>)>,
    /// What was decided.
    pub(crate) verdict: V,
}

/// What applying came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Children as they are now.
    pub(crate) live: BTreeMap<(ChildKind, String), Arc<DynamicObject>>,
    /// What went wrong first.
    pub(crate) failure: Option<Failure>,
    /// Nothing went wrong, and there is more to apply: it is not the time to report.
    pub(crate) unfinished: bool,
}

/// A reason and a message for a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// What `report` makes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The whole status.
    pub(crate) status: Value,
    /// Events, if this status is a transition.
    pub(crate) notices: Vec<Notice>,
    /// When to come again although nothing changes.
    pub(crate) again: Again,
}

impl Report {
    /// The status of an object that is kept from being deleted, told once.
    pub(crate) fn held(subject: &Subject, why: &Failure) -> Self {
        let mut conditions = Conditions::read(&subject.status);
        let known = conditions.is_true(HELD);
        conditions.set(HELD, true, &why.reason, &why.message, subject.moment());
        let mut status = subject.status.clone();
        status["conditions"] = conditions.to_value();
        let notice = Notice { warning: true, reason: why.reason.clone(), message: why.message.clone() };
        Self { status, notices: if known { Vec::new() } else { vec![notice] }, again: Again::No }
    }
}

/// When an object is looked at again although nothing it depends on changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Never: watches tell.
    No,
    /// After this long.
    After(Duration),
    /// With the object's own growing delay: something failed that may pass.
    Backoff,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_an_object_is_shown_as_long_as_it_does_and_told_once() {
        let owner = Owner {
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMCache".into(),
            namespace: "ns".into(),
            name: "n".into(),
            uid: "u".into(),
            generation: 2,
        };
        let ready = json!({"type": "Ready", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut subject = Subject {
            owner,
            status: json!({"state": "Ready", "conditions": [ready]}),
            annotations: BTreeMap::new(),
            now: Timestamp::UNIX_EPOCH,
        };
        let first = Report::held(&subject, &Failure::new("InUse", "used by a"));
        assert_eq!(first.notices.len(), 1);
        assert_eq!(first.status["state"], "Ready");
        assert_eq!(first.status["conditions"][1]["type"], "Held");
        assert_eq!(first.status["conditions"][1]["reason"], "InUse");
        subject.status = first.status.clone();
        let again = Report::held(&subject, &Failure::new("InUse", "used by a"));
        assert_eq!((again.status, again.notices), (first.status, Vec::new()));
    }
}
