//! What is rendered for an object is shown to a judge before any of it is written; what ran before a judge changed its
//! mind goes on.

use std::sync::Arc;

use crds::compare::holds;
use futures::future::BoxFuture;
use kube::core::DynamicObject;
use serde_json::Value;

use super::child::{Child, ChildKind, DESIRED_HASH, Owner};
use super::template;

/// Fields that scale a workload; another value is no new template.
const SCALE: &[&str] = &[
    "/spec/replicas",
    "/spec/scale/hpa/minReplicas",
    "/spec/scale/hpa/maxReplicas",
    "/spec/predictor/minReplicas",
    "/spec/predictor/maxReplicas",
];

/// One child as it would be written.
pub(crate) struct Candidate<'a> {
    pub(crate) child: &'a Child,
    /// As it is now, whoever made it.
    pub(crate) live: Option<Arc<DynamicObject>>,
}

/// An object with all that is rendered for it.
pub(crate) struct Case<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) object: &'a DynamicObject,
    /// The NIM object that has made this one, if one has.
    pub(crate) controller: Option<Arc<DynamicObject>>,
    pub(crate) candidates: &'a [Candidate<'a>],
}

/// What is too much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    /// Which fields, values and limits, and what to do: told to users.
    pub(crate) message: String,
    /// Places of the candidates that ask for too much; empty when the object itself does.
    pub(crate) candidates: Vec<usize>,
}

/// Decides whether the children of an object may be written.
pub(crate) trait Judge: Send + Sync {
    /// What is too much; `None` when nothing is. An error is a question that could not be answered, and is asked again.
    fn judge<'a>(&'a self, case: &'a Case<'a>) -> BoxFuture<'a, Result<Option<Excess>, String>>;
}

/// What follows for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// All is allowed.
    Within,
    /// Too much is asked for, and it ran before: it goes on, and is written as before.
    Kept {
        /// Told to users.
        message: String,
    },
    /// Nothing is written.
    Denied {
        /// Told to users.
        message: String,
    },
}

/// What follows from what is too much.
pub(crate) fn follow(case: &Case<'_>, excess: Option<Excess>) -> Judgement {
    let Some(Excess { message, candidates: places }) = excess else { return Judgement::Within };
    let all = case.candidates.iter().enumerate();
    let mut weighed = all.filter(|(place, candidate)| places.contains(place) || runs(candidate.child.kind));
    let ran = case.candidates.iter().any(|candidate| is_owned(candidate, case.owner));
    if ran && weighed.all(|(_, candidate)| is_unchanged(candidate, case.owner)) {
        return Judgement::Kept { message };
    }
    Judgement::Denied { message }
}

/// Whether a child of this kind runs something: pods, or the pods of a NIMService that a NIMPipeline makes.
pub(crate) fn runs(kind: ChildKind) -> bool {
    kind.runs_pods() || kind == ChildKind::NimService
}

fn is_owned(candidate: &Candidate<'_>, owner: &Owner) -> bool {
    let owners = candidate.live.iter().flat_map(|live| live.metadata.owner_references.iter().flatten());
    owners.into_iter().any(|found| found.controller == Some(true) && found.uid == owner.uid)
}

/// Whether a child is there as it was rendered before, changes of its scale and edits of others aside.
fn is_unchanged(candidate: &Candidate<'_>, owner: &Owner) -> bool {
    let Some(live) = candidate.live.as_deref().filter(|_| is_owned(candidate, owner)) else { return false };
    let (kind, body) = (candidate.child.kind, &candidate.child.body);
    let hash = live.metadata.annotations.as_ref().and_then(|all| all.get(DESIRED_HASH));
    if hash == Some(&candidate.child.stamped(owner).hash) {
        return true;
    }
    let mut rest = unscaled(body);
    if template::is_recorded(kind, body, live) {
        template::put(kind, &mut rest, Value::Null);
    }
    serde_json::to_value(live).is_ok_and(|live| holds(&rest, &live))
}

/// The body without what scales it.
fn unscaled(body: &Value) -> Value {
    let mut body = body.clone();
    for pointer in SCALE {
        if let Some((parent, field)) = pointer.rsplit_once('/')
            && let Some(Value::Object(fields)) = body.pointer_mut(parent)
        {
            fields.remove(field);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::super::child::Keep;
    use super::*;

    fn owner() -> Owner {
        Owner {
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: "chat".into(),
            uid: "u".into(),
            generation: 1,
        }
    }

    fn deployment(image: &str, replicas: i32) -> Child {
        let body = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "chat", "namespace": "models"},
            "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}},
        });
        Child::new(ChildKind::Deployment, "chat", Keep::Owned, &body)
    }

    fn account() -> Child {
        let body = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "chat"}});
        Child::new(ChildKind::ServiceAccount, "chat", Keep::Owned, &body)
    }

    /// As it is after it has been written by an owner.
    fn written(child: &Child, owner: &Owner) -> Arc<DynamicObject> {
        Arc::new(serde_json::from_value(child.stamped(owner).body).unwrap())
    }

    fn judged(candidates: &[Candidate<'_>]) -> Judgement {
        let object = serde_json::from_value(json!({"metadata": {"name": "chat"}})).unwrap();
        let case = Case { owner: &owner(), object: &object, controller: None, candidates };
        follow(&case, Some(Excess { message: "too much".into(), candidates: Vec::new() }))
    }

    #[test]
    fn what_ran_before_goes_on_until_its_template_is_another() {
        let ran = written(&deployment("a", 1), &owner());
        let mut drifted = (*ran).clone();
        drifted.data["spec"]["template"]["spec"]["containers"][0]["image"] = json!("edited");
        let stranger = written(&deployment("a", 1), &Owner { uid: "other".into(), ..owner() });
        // A workload bears the record of its template, so its hash is another than that of what is rendered.
        let record = |image: &str| {
            let rendered = template::of(ChildKind::Deployment, &deployment(image, 1).body).unwrap();
            let inputs = template::Inputs::default();
            template::Record { inputs, rendered: template::digest(&rendered), kept: None, hash: None }.text()
        };
        let recorded = |image: &str| {
            let mut live = drifted.clone();
            let marks = [(template::RECORD, record(image)), (DESIRED_HASH, "other".to_owned())];
            live.annotations_mut().extend(marks.map(|(key, value)| (key.to_owned(), value)));
            Arc::new(live)
        };
        let (kept, changed) = (recorded("a"), recorded("b"));
        for (case, child, live, goes_on) in [
            ("as it is", deployment("a", 1), Some(ran.clone()), true),
            ("scaled", deployment("a", 3), Some(ran.clone()), true),
            ("edited by others", deployment("a", 1), Some(Arc::new(drifted)), true),
            ("a new template", deployment("b", 1), Some(ran), false),
            ("recorded, edited and scaled", deployment("a", 3), Some(kept), true),
            ("recorded of another template", deployment("a", 3), Some(changed), false),
            ("not there", deployment("a", 1), None, false),
            ("somebody else's", deployment("a", 1), Some(stranger), false),
        ] {
            let account = account();
            let there = written(&account, &owner());
            let candidates =
                [Candidate { child: &account, live: Some(there) }, Candidate { child: &child, live }];
            assert_eq!(matches!(judged(&candidates), Judgement::Kept { .. }), goes_on, "{case}");
        }
    }

    #[test]
    fn an_object_of_which_nothing_is_there_is_new() {
        assert!(matches!(judged(&[]), Judgement::Denied { .. }));
    }
}
