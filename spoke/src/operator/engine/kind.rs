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
use super::contested::CONTESTED;
use super::world::World;
use crate::operator::cluster::ClusterFacts;

/// API group of all NIM objects.
pub(crate) const GROUP: &str = "apps.nvidia.com";
/// Its version.
pub(crate) const VERSION: &str = "v1alpha1";
/// The condition of an object that is kept from being deleted.
const HELD: &str = "Held";
/// Condition and reason of an object of which a gateway does not accept a route.
const UNROUTED: &str = "RouteNotAccepted";
/// Condition and reason of an object of which this cluster's admission changes something, or of its children.
pub(crate) const MUTATED: &str = "MutatedHere";
/// Condition and reason of an object that asks for more than the cluster's owner lets a hub do.
pub(crate) const DENIED: &str = "PolicyDenied";

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

    /// A digest of what the object refers to, as far as its user decides it: workloads are replaced when it changes, and
    /// not when what is rendered from the same inputs does. Empty when it refers to nothing. Pure.
    fn referred(_object: &Self::Object, _subject: &Subject, _refs: &Self::Refs) -> String {
        String::new()
    }

    /// Why an object that is being deleted has to stay for now; it is asked again when it is woken.
    fn held_by(
        _object: &DynamicObject,
        _subject: &Subject,
        _world: &World,
    ) -> impl Future<Output = Result<Option<Failure>, super::call::CallError>> + Send {
        std::future::ready(Ok(None))
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
    /// How long this process has known this generation of it.
    pub(crate) known_for: Duration,
    pub(crate) now: Timestamp,
}

/// How long something that an object refers to may be missing before the object has failed: what is applied together
/// comes within seconds, in any order.
const PATIENCE: Duration = Duration::from_secs(15);

/// Reasons for a failure that passes when what was applied a moment later is there.
const MAY_COME: &[&str] = &[
    "NIMCacheNotFound",
    "PVCNotFound",
    "ConfigMapNotFound",
    "ConfigMapKeyNotFound",
    "SecretNotFound",
    "SecretKeyNotFound",
    "ServiceAccountNotFound",
];

impl Subject {
    /// How much longer to wait before this is told as a failure; none for what waiting does not heal, what has been
    /// waited for long enough, and what was told as a failure before.
    pub(crate) fn patience(&self, why: &Failure) -> Option<Duration> {
        let left = PATIENCE.checked_sub(self.known_for).filter(|left| !left.is_zero())?;
        let failed = self.status["state"] == "Failed";
        (MAY_COME.contains(&why.reason.as_str()) && !failed).then_some(left)
    }

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
    /// Annotations of the object itself to keep: key and value, or none to remove it.
    pub(crate) notes: Vec<(&'static str, Option<String>)>,
    /// What is changed of children that are otherwise left as they are.
    pub(crate) amendments: Vec<Amendment>,
    /// What was decided.
    pub(crate) verdict: V,
}

/// A change of a child that is there: a few fields, set once, of an object whose other fields nobody may change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Amendment {
    pub(crate) kind: ChildKind,
    pub(crate) name: String,
    /// Of this very child, not of another that has taken its name.
    pub(crate) uid: String,
    /// A merge patch.
    pub(crate) change: Value,
}

/// What applying came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Children as they are now; of an object that is not written as a whole, the workloads that are there besides.
    pub(crate) live: BTreeMap<(ChildKind, String), Arc<DynamicObject>>,
    /// What went wrong first.
    pub(crate) failure: Option<Failure>,
    /// What is waited for first: something that is about to go before it can be made, or an answer without which it could
    /// not be written.
    pub(crate) waits: Option<Failure>,
    /// Fields of children that this cluster's admission changes, each as it is told.
    pub(crate) mutated: Vec<String>,
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
        // Who comes now finds it gone before long.
        status["state"] = "NotReady".into();
        status["conditions"] = conditions.to_value();
        let notice = Notice { warning: true, reason: why.reason.clone(), message: why.message.clone() };
        Self { status, notices: if known { Vec::new() } else { vec![notice] }, again: Again::No }
    }
}

impl Report {
    /// The status of an object that is being deleted and still there: it serves nobody any more. None where it says so
    /// already, or has never said anything.
    pub(crate) fn going(subject: &Subject, finalizers: &[String]) -> Option<Self> {
        let mut status = subject.status.clone();
        let fields = status.as_object_mut()?;
        let message = format!("is being deleted: waits for {}", finalizers.join(", "));
        let mut conditions = Conditions::read(&subject.status);
        conditions.set("Ready", false, "Deleting", &message, subject.moment());
        fields.insert("state".to_owned(), "NotReady".into());
        fields.insert("conditions".to_owned(), conditions.to_value());
        for told in ["availableReplicas", "model"] {
            fields.remove(told);
        }
        Some(Self { status, notices: Vec::new(), again: Again::No })
    }

    /// The same report, with the condition that says what is denied, or without it. A new message is an event.
    pub(crate) fn denied(mut self, subject: &Subject, why: Option<&str>) -> Self {
        let mut conditions = Conditions::read(&self.status);
        let known = conditions.get(DENIED).map(|condition| condition.message.clone());
        match why {
            None if known.is_none() => return self,
            None => conditions.remove(DENIED),
            Some(message) => conditions.set(DENIED, true, DENIED, message, subject.moment()),
        }
        let told = conditions.get(DENIED).map(|condition| condition.message.clone());
        if let Some(message) = told.filter(|told| known.as_ref() != Some(told)) {
            self.notices.push(Notice { warning: true, reason: DENIED.to_owned(), message });
        }
        self.status["conditions"] = conditions.to_value();
        self
    }
}

impl Report {
    /// The same report, with the condition that names the fields which this cluster's admission changes, or without it. A
    /// new message is an event.
    pub(crate) fn mutated(mut self, subject: &Subject, fields: &[String]) -> Self {
        self.note(subject, MUTATED, MUTATED, &fields.join("; "));
        self
    }

    /// The same report, with the condition that names an autoscaler of others which sets the replicas too, or without it.
    pub(crate) fn contested(mut self, subject: &Subject, message: Option<&str>) -> Self {
        self.note(subject, CONTESTED, CONTESTED, message.unwrap_or_default());
        self
    }

    /// The same report, with the condition that names routes which a gateway does not accept, or without it.
    pub(crate) fn unrouted(mut self, subject: &Subject, message: Option<&str>) -> Self {
        self.note(subject, UNROUTED, UNROUTED, message.unwrap_or_default());
        self
    }

    /// Sets a condition that is there as long as it has something to say; what it says anew is an event.
    fn note(&mut self, subject: &Subject, condition: &str, reason: &str, message: &str) {
        let known = Conditions::read(&subject.status).get(condition).cloned();
        let mut conditions = Conditions::read(&self.status);
        if message.is_empty() {
            if known.is_none() {
                return;
            }
            conditions.remove(condition);
        } else {
            conditions.set(condition, true, reason, message, subject.moment());
        }
        let told = conditions.get(condition).map(|one| one.message.clone());
        if let Some(message) = told.filter(|told| known.is_none_or(|known| known.message != *told)) {
            self.notices.push(Notice { warning: true, reason: reason.to_owned(), message });
        }
        self.status["conditions"] = conditions.to_value();
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
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// An object that was seen long ago and has no status yet, 100 s after the epoch.
    pub(crate) fn subject_of(kind: &str, namespace: &str, name: &str, generation: i64) -> Subject {
        let owner = Owner {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: kind.into(),
            namespace: namespace.into(),
            name: name.into(),
            uid: "u1".into(),
            generation,
        };
        Subject {
            owner,
            status: Value::Null,
            annotations: BTreeMap::new(),
            known_for: Duration::MAX,
            now: Timestamp::from_second(100).unwrap(),
        }
    }

    fn subject(status: Value) -> Subject {
        Subject { status, now: Timestamp::UNIX_EPOCH, ..subject_of("NIMCache", "ns", "n", 2) }
    }

    #[test]
    fn what_holds_an_object_is_shown_as_long_as_it_does_and_told_once() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let mut subject = subject(json!({"state": "Ready", "conditions": [ready]}));
        let first = Report::held(&subject, &Failure::new("InUse", "used by a"));
        assert_eq!(first.notices.len(), 1);
        assert_eq!(first.status["state"], "NotReady", "it is on its way out");
        assert_eq!(first.status["conditions"][1]["type"], "Held");
        assert_eq!(first.status["conditions"][1]["reason"], "InUse");
        subject.status = first.status.clone();
        let again = Report::held(&subject, &Failure::new("InUse", "used by a"));
        assert_eq!((again.status, again.notices), (first.status, Vec::new()));
        let denied = again_denied(&subject, Some("limits.images is []"));
        assert_eq!(denied.status["conditions"][2]["type"], "PolicyDenied");
        assert_eq!(denied.notices.len(), 1);
        subject.status = denied.status.clone();
        assert_eq!(again_denied(&subject, Some("limits.images is []")).notices, Vec::new(), "told once");
        let over = again_denied(&subject, None);
        assert_eq!(over.status["conditions"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn what_admission_and_autoscalers_do_is_a_condition_as_long_as_they_do_and_an_event_when_it_is_news() {
        let mut subject = subject(json!({"state": "Ready", "conditions": []}));
        let bare = |subject: &Subject| Report {
            status: json!({"state": "Ready", "conditions": subject.status["conditions"]}),
            notices: Vec::new(),
            again: Again::No,
        };
        let fields = ["spec.image.repository is changed by this cluster's admission to m".to_owned()];
        let told = |subject: &Subject, fields: &[String], hpa: Option<&str>| {
            bare(subject).mutated(subject, fields).contested(subject, hpa)
        };
        assert_eq!(told(&subject, &[], None), bare(&subject));
        let first = told(&subject, &fields, Some("HorizontalPodAutoscaler h scales it too"));
        let reasons: Vec<_> = first.notices.iter().map(|one| (one.warning, one.reason.as_str())).collect();
        assert_eq!(reasons, [(true, "MutatedHere"), (true, "ReplicasContested")]);
        subject.status = first.status.clone();
        let again = told(&subject, &fields, Some("HorizontalPodAutoscaler h scales it too"));
        assert_eq!((again.status, again.notices), (first.status, Vec::new()), "told once");
        let over = told(&subject, &[], None);
        assert_eq!((&over.status["conditions"], over.notices), (&json!([]), Vec::new()));
    }

    fn again_denied(subject: &Subject, why: Option<&str>) -> Report {
        let report = Report { status: subject.status.clone(), notices: Vec::new(), again: Again::No };
        report.denied(subject, why)
    }

    #[test]
    fn what_is_being_deleted_is_not_ready_and_keeps_what_it_knows() {
        let ready = json!({"type": "Ready", "status": "True", "reason": "R", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        let status = json!({"state": "Ready", "availableReplicas": 1, "model": {"name": "m"}, "pvc": "p",
            "conditions": [ready]});
        let mut subject = subject(status);
        let finalizers = ["foregroundDeletion".to_owned()];
        let report = Report::going(&subject, &finalizers).unwrap();
        assert_eq!((&report.status["state"], &report.status["pvc"]), (&json!("NotReady"), &json!("p")));
        assert!(report.status["availableReplicas"].is_null() && report.status["model"].is_null());
        let told = &report.status["conditions"][0];
        assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("Deleting")));
        assert!(told["message"].as_str().unwrap().contains("foregroundDeletion"));
        subject.status = report.status.clone();
        assert_eq!(Report::going(&subject, &finalizers).unwrap().status, report.status, "it is written once");
        subject.status = Value::Null;
        assert_eq!(Report::going(&subject, &finalizers), None);
    }

    #[test]
    fn what_may_still_come_is_waited_for_and_not_for_ever() {
        let missing = Failure::new("NIMCacheNotFound", "NIMCache c not found");
        let mut subject = subject(json!({"state": "NotReady"}));
        subject.known_for = Duration::from_secs(1);
        assert_eq!(subject.patience(&missing), Some(Duration::from_secs(14)));
        assert_eq!(subject.patience(&Failure::new("InvalidSpec", "")), None);
        subject.known_for = PATIENCE;
        assert_eq!(subject.patience(&missing), None);
        subject = self::subject(json!({"state": "Failed"}));
        subject.known_for = Duration::ZERO;
        assert_eq!(subject.patience(&missing), None, "a restart of this process takes no failure back");
    }
}
