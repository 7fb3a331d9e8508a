//! The pods of a workload that runs are replaced when its user changes something, never because this operator or a fact of
//! the cluster did. Pure.
//!
//! With every workload a [`Record`] is kept of what its template was made from: the user's inputs, and the template as it
//! was rendered. Where a template is rendered otherwise although the inputs are the same, or nothing is known of them (at a
//! take-over), the difference is ours: the template that runs is kept, in the record, until the inputs change in a way
//! that changes the template. Whoever renders pods needs to know nothing of this.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use kube::core::DynamicObject;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::child::{ChildKind, DESIRED_HASH, Owner};
use super::own::UPSTREAM_HASH;
use super::take_over::is_predecessor;

/// On a workload, as an annotation: its [`Record`] as JSON. That of an InferenceService stands on the NIM object, because
/// KServe copies every annotation of an InferenceService into its pods.
pub(crate) const RECORD: &str = "nimfleet.io/template";

/// On an InferenceService, as an annotation: digest of the template that it was given last. It changes with the template
/// alone. KServe copies it to the Deployment that it makes, which tells whether that is of this template.
pub(crate) const APPLIED: &str = "nimfleet.io/template-digest";

/// Annotations of an InferenceService that stay as they are found: to change one would replace its pods.
const CARRIED: [&str; 4] = [UPSTREAM_HASH, "nvidia.com/parent-spec-hash", DESIRED_HASH, APPLIED];

/// The container in which a predictor serves. KServe makes no pods of an InferenceService without one.
const SERVING: &str = "kserve-container";

/// Fields of a predictor that say how many pods there are and nothing of what they are, but in Knative's modes, where KServe
/// writes them onto the pods.
const SCALING: [&str; 6] =
    ["minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling"];

/// The annotation by which `kubectl rollout restart` replaces pods, as a path of managed fields has it.
const RESTARTED: &str = "f:kubectl.kubernetes.io/restartedAt";

/// What a user decides: the object as it is written, and the content of what it refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inputs {
    uid: String,
    generation: i64,
    /// Digest of the spec.
    spec: String,
    /// Digest of what it refers to.
    content: String,
    /// The object was changed after this operator reported on it last.
    #[serde(skip)]
    unreported: bool,
}

impl Inputs {
    /// Inputs of this object. `content` is a digest of what it refers to, as far as its user decides it.
    pub(crate) fn new(owner: &Owner, spec: &Value, content: String) -> Self {
        let (uid, generation) = (owner.uid.clone(), owner.generation);
        Self { uid, generation, spec: digest(spec), content, unreported: false }
    }

    /// The same, of an object whose status was last reported for this generation.
    pub(crate) fn reported(self, generation: Option<i64>) -> Self {
        Self { unreported: generation.is_some_and(|reported| reported < self.generation), ..self }
    }

    /// The digest of what the object refers to; none when it refers to nothing.
    pub(crate) fn content(&self) -> Option<&str> {
        Some(self.content.as_str()).filter(|content| !content.is_empty())
    }

    /// Whether these are inputs of that object, with the spec that it has.
    pub(crate) fn are_of(&self, uid: &str, generation: i64, spec: &Value) -> bool {
        self.uid == uid && (self.generation == generation || self.spec == digest(spec))
    }

    /// Whether a user has changed nothing in between. A spec of one generation is one spec, even where a definition has
    /// a new default since.
    fn are(&self, before: &Self) -> bool {
        let untouched = self.uid == before.uid && self.generation == before.generation;
        self.content == before.content && (untouched || self.spec == before.spec)
    }
}

/// What a template was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) inputs: Inputs,
    /// Digest of the template as it was rendered from them.
    pub(crate) rendered: String,
    /// The template that the workload has instead, until its user changes something of it: as [`note`] has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<Value>,
    /// Hash of the whole child, where it bears none itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hash: Option<String>,
}

impl Record {
    /// As it was written; one that cannot be read is none.
    pub(crate) fn read(annotation: Option<&String>) -> Option<Self> {
        serde_json::from_str(annotation?).ok()
    }

    /// As it is written. Serialising cannot fail; an empty text is read as no record.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Which template a workload is to have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// The one that is rendered.
    Rendered,
    /// The one that it had when this was [noted](note).
    Kept(Value),
    /// The difference is ours alone: the rendered one if that replaces no pod, else the one that it has.
    Ours,
}

/// Chooses for a workload that is there.
pub(crate) fn choose(record: Option<&Record>, inputs: &Inputs, rendered: &Value, running: bool) -> Choice {
    match record {
        None if running && !inputs.unreported => Choice::Ours,
        Some(record) if running && record.rendered == digest(rendered) => {
            record.kept.clone().map_or(Choice::Rendered, Choice::Kept)
        }
        Some(record) if running && inputs.are(&record.inputs) => Choice::Ours,
        _ => Choice::Rendered,
    }
}

/// Whether a workload bears the record of just this template: it is rendered as it was before, whatever runs instead.
pub(crate) fn is_recorded(kind: ChildKind, body: &Value, live: &DynamicObject) -> bool {
    let record = || Record::read(live.metadata.annotations.as_ref()?.get(RECORD));
    bears_record(kind)
        && of(kind, body).zip(record()).is_some_and(|(rendered, record)| record.rendered == digest(&rendered))
}

/// How a template that is kept is recorded. On a workload it stands as it is, so that edits can be put back. A NIM object
/// bears no more than a digest: a hub may write there, and what it writes must never become a template.
pub(crate) fn note(kind: ChildKind, template: &Value) -> Value {
    if bears_record(kind) { template.clone() } else { Value::from(digest(template)) }
}

/// Whether a workload bears its record itself.
pub(crate) fn bears_record(kind: ChildKind) -> bool {
    kind != ChildKind::InferenceService
}

/// SHA-256 of a value; keys are in order, so equal values have equal digests.
pub(crate) fn digest(value: &Value) -> String {
    hex::encode(Sha256::digest(value.to_string()))
}

/// Where the template of a kind lies; none where there is no such thing.
fn place(kind: ChildKind) -> Option<&'static str> {
    match kind {
        ChildKind::Deployment => Some("/spec/template"),
        ChildKind::LeaderWorkerSet => Some("/spec/leaderWorkerTemplate"),
        ChildKind::InferenceService => Some("/spec/predictor"),
        _ => None,
    }
}

/// Whether objects of this kind have a template.
pub(crate) fn is_known(kind: ChildKind) -> bool {
    place(kind).is_some()
}

/// What of a workload gets into its pods; none of another kind of child.
pub(crate) fn of(kind: ChildKind, body: &Value) -> Option<Value> {
    let mut template = body.pointer(place(kind)?).cloned().unwrap_or_default();
    if kind != ChildKind::InferenceService {
        return Some(template);
    }
    if let Some(predictor) = template.as_object_mut().filter(|_| !is_knative(body)) {
        predictor.retain(|field, _| !SCALING.contains(&field.as_str()));
    }
    let metadata = &body["metadata"];
    Some(json!({"labels": metadata["labels"], "annotations": metadata["annotations"], "predictor": template}))
}

/// Puts a template in place of the one in `body`.
pub(crate) fn put(kind: ChildKind, body: &mut Value, template: Value) {
    if kind != ChildKind::InferenceService {
        if let Some(found) = place(kind).and_then(|place| body.pointer_mut(place)) {
            *found = template;
        }
        return;
    }
    for part in ["labels", "annotations"] {
        body["metadata"][part] = template[part].clone();
    }
    let mut predictor = template["predictor"].clone();
    for field in SCALING.into_iter().filter(|_| !is_knative(body)) {
        if let Some(value) = body["spec"]["predictor"].get(field) {
            predictor[field] = value.clone();
        }
    }
    body["spec"]["predictor"] = predictor;
}

/// Leaves in `body` what stays on a live object although it is not rendered.
pub(crate) fn carry(kind: ChildKind, body: &mut Value, live: &DynamicObject) {
    if kind != ChildKind::InferenceService {
        return;
    }
    for key in CARRIED {
        if let Some(value) = live.metadata.annotations.as_ref().and_then(|all| all.get(key)) {
            body["metadata"]["annotations"][key] = Value::from(value.as_str());
        }
    }
}

/// Whether KServe makes Services of Knative of an InferenceService.
fn is_knative(body: &Value) -> bool {
    let mode = body["metadata"]["annotations"]["serving.kserve.io/deploymentMode"].as_str();
    matches!(mode, Some("Knative" | "Serverless"))
}

/// Says in an InferenceService of what template it is; what is [carried](carry) says so of an older one.
pub(crate) fn mark(kind: ChildKind, body: &mut Value, digest: &str) {
    if kind == ChildKind::InferenceService {
        body["metadata"]["annotations"][APPLIED] = Value::from(digest);
    }
}

/// Whether an InferenceService is to have no pods, so that none is replaced by another template.
pub(crate) fn is_scaled_to_nothing(kind: ChildKind, body: &Value) -> bool {
    let predictor = &body["spec"]["predictor"];
    kind == ChildKind::InferenceService
        && !is_knative(body)
        && predictor["minReplicas"] == 0
        && predictor["maxReplicas"] == 0
}

/// Whether a workload has pods that another template would replace.
pub(crate) fn is_running(kind: ChildKind, live: &Value) -> bool {
    let status = &live["status"];
    match kind {
        ChildKind::InferenceService => {
            let containers = live["spec"]["predictor"]["containers"].as_array();
            let serves = containers.is_some_and(|all| all.iter().any(|one| one["name"] == SERVING));
            serves && status["conditions"].as_array().is_some_and(|all| !all.is_empty())
        }
        _ => status["replicas"].as_i64().unwrap_or_default() > 0,
    }
}

/// Whether the containers of a rendered template have images that the live one lacks: no upgrade of ours changes them, so
/// it was the user.
pub(crate) fn has_new_image(rendered: &Value, live: &Value) -> bool {
    let (mut wanted, mut found) = (Vec::new(), Vec::new());
    images(rendered, &mut wanted);
    images(live, &mut found);
    wanted.iter().any(|image| !found.contains(image))
}

fn images<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "containers" {
                    let containers = value.as_array().map(Vec::as_slice).unwrap_or_default();
                    found.extend(containers.iter().filter_map(|one| one["image"].as_str()));
                } else {
                    images(value, found);
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|item| images(item, found)),
        _ => {}
    }
}

/// Whether somebody has changed the template of a live workload that one of the operators wrote: such a change is drift,
/// not a difference of ours. `whole` has all its managed fields.
pub(crate) fn is_edited(kind: ChildKind, whole: &DynamicObject) -> bool {
    let Some(place) = place(kind) else { return false };
    let entries = whole.metadata.managed_fields.as_deref().unwrap_or_default();
    let touches = |entry: &&ManagedFieldsEntry| {
        entry.subresource.as_deref().unwrap_or_default().is_empty() && fields(entry, place) > 0
    };
    let (ours, others): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(touches)
        .partition(|entry| is_predecessor(entry.manager.as_deref().unwrap_or_default()));
    let latest =
        |entries: &[&ManagedFieldsEntry]| entries.iter().filter_map(|entry| entry.time.clone()).max();
    // Who restored it from a backup wrote before us, or alone.
    !ours.is_empty() && latest(&others) > latest(&ours)
}

/// How many fields below a place an owner has, not counting a restart that was asked for.
fn fields(entry: &ManagedFieldsEntry, place: &str) -> usize {
    let Some(FieldsV1(all)) = &entry.fields_v1 else { return 0 };
    let below = place.split('/').skip(1).try_fold(all, |fields, part| fields.get(format!("f:{part}")));
    below.map_or(0, leaves)
}

fn leaves(fields: &Value) -> usize {
    match fields.as_object() {
        Some(below) if !below.is_empty() => {
            let counted = below.iter().filter(|(key, _)| *key != RESTARTED && *key != ".");
            counted.map(|(_, below)| leaves(below)).sum()
        }
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::engine::decide::tests::owner;

    fn inputs(generation: i64, image: &str) -> Inputs {
        Inputs::new(&Owner { generation, ..owner() }, &json!({"image": image}), String::new())
    }

    fn record(kept: Option<Value>) -> Record {
        Record { inputs: inputs(1, "a"), rendered: digest(&json!({"t": 1})), kept, hash: None }
    }

    #[test]
    fn only_a_users_change_of_a_template_replaces_pods() {
        let (same, ours) = (json!({"t": 1}), json!({"t": 2}));
        let old = json!({"t": 0});
        for (case, record, inputs, rendered, running, expected) in [
            ("nothing is known", None, inputs(1, "a"), &ours, true, Choice::Ours),
            (
                "changed while this operator was away",
                None,
                inputs(2, "a").reported(Some(1)),
                &ours,
                true,
                Choice::Rendered,
            ),
            ("reported as it is", None, inputs(2, "a").reported(Some(2)), &ours, true, Choice::Ours),
            ("nothing runs", None, inputs(1, "a"), &ours, false, Choice::Rendered),
            ("as it was written", Some(record(None)), inputs(1, "a"), &same, true, Choice::Rendered),
            ("our upgrade", Some(record(None)), inputs(1, "a"), &ours, true, Choice::Ours),
            (
                "another object of the same spec",
                Some(record(None)),
                Inputs { uid: "v".into(), ..inputs(9, "a") },
                &ours,
                true,
                Choice::Ours,
            ),
            ("a new default of a definition", Some(record(None)), inputs(1, "b"), &ours, true, Choice::Ours),
            ("the user's change", Some(record(None)), inputs(2, "b"), &ours, true, Choice::Rendered),
            (
                "what it refers to",
                Some(record(None)),
                Inputs { content: "x".into(), ..inputs(1, "a") },
                &ours,
                true,
                Choice::Rendered,
            ),
            ("kept", Some(record(Some(old.clone()))), inputs(1, "a"), &same, true, Choice::Kept(old.clone())),
            (
                "scaled while kept",
                Some(record(Some(old.clone()))),
                inputs(2, "b"),
                &same,
                true,
                Choice::Kept(old.clone()),
            ),
            (
                "the user's change while kept",
                Some(record(Some(old.clone()))),
                inputs(2, "b"),
                &ours,
                true,
                Choice::Rendered,
            ),
            (
                "the next upgrade while kept",
                Some(record(Some(old.clone()))),
                inputs(1, "a"),
                &ours,
                true,
                Choice::Ours,
            ),
        ] {
            assert_eq!(choose(record.as_ref(), &inputs, rendered, running), expected, "{case}");
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for kept in [None, Some(json!({"spec": {"containers": []}}))] {
            let record = record(kept);
            assert_eq!(Record::read(Some(&record.text())), Some(record));
        }
        assert_eq!(Record::read(Some(&"{".to_owned())), None);
        assert_eq!(Record::read(None), None);
    }

    fn service() -> Value {
        json!({
            "metadata": {"name": "n", "labels": {"l": "1"}, "annotations": {"a": "1"}},
            "spec": {"predictor": {"minReplicas": 1, "maxReplicas": 2, "containers": [{"image": "i"}]}},
        })
    }

    #[test]
    fn all_that_gets_into_pods_is_the_template_and_nothing_else() {
        let deployment =
            json!({"metadata": {"labels": {"l": "1"}}, "spec": {"replicas": 1, "template": {"spec": {}}}});
        assert_eq!(of(ChildKind::Deployment, &deployment), Some(json!({"spec": {}})));
        assert_eq!(of(ChildKind::Service, &deployment), None);
        let expected = json!({"labels": {"l": "1"}, "annotations": {"a": "1"},
            "predictor": {"containers": [{"image": "i"}]}});
        assert_eq!(of(ChildKind::InferenceService, &service()), Some(expected));
    }

    #[test]
    fn bounds_of_knatives_autoscaler_get_into_pods() {
        let mut body = service();
        body["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = json!("Knative");
        let template = of(ChildKind::InferenceService, &body).unwrap();
        assert_eq!(template["predictor"]["minReplicas"], 1);
        let mut newer = body.clone();
        newer["spec"]["predictor"]["minReplicas"] = json!(5);
        put(ChildKind::InferenceService, &mut newer, template);
        assert_eq!(newer, body, "what runs is kept, its bounds among it");
        body["spec"]["predictor"]["minReplicas"] = json!(0);
        body["spec"]["predictor"]["maxReplicas"] = json!(0);
        assert!(!is_scaled_to_nothing(ChildKind::InferenceService, &body), "Knative scales by load");
        body["metadata"]["annotations"] = json!({});
        assert!(is_scaled_to_nothing(ChildKind::InferenceService, &body));
    }

    #[test]
    fn pods_of_an_inference_service_run_where_kserve_finds_its_container() {
        let with = |name: &str, conditions: Value| {
            json!({"status": {"conditions": conditions},
            "spec": {"predictor": {"containers": [{"name": "beside"}, {"name": name}]}}})
        };
        let told = json!([{"type": "PredictorReady"}]);
        for (live, running) in [
            (with(SERVING, told.clone()), true),
            (with(SERVING, json!([])), false),
            (with("n-ctr", told), false),
        ] {
            assert_eq!(is_running(ChildKind::InferenceService, &live), running, "{live}");
        }
    }

    #[test]
    fn a_kept_template_leaves_the_number_of_replicas_as_it_is_rendered() {
        let mut body = service();
        let kept = json!({"labels": {"l": "0"}, "annotations": {"b": "0"}, "predictor": {"containers": [{"image": "old"}]}});
        put(ChildKind::InferenceService, &mut body, kept.clone());
        assert_eq!(of(ChildKind::InferenceService, &body), Some(kept));
        assert_eq!(body["spec"]["predictor"]["maxReplicas"], 2);
        let mut body = json!({"spec": {"replicas": 3, "template": {"spec": {"new": true}}}});
        put(ChildKind::Deployment, &mut body, json!({"spec": {"old": true}}));
        assert_eq!(body, json!({"spec": {"replicas": 3, "template": {"spec": {"old": true}}}}));
    }

    #[test]
    fn marks_of_operators_stay_on_an_inference_service() {
        let live: DynamicObject = serde_json::from_value(json!({"metadata": {"name": "n", "annotations": {
            UPSTREAM_HASH: "1", "nvidia.com/parent-spec-hash": "2", DESIRED_HASH: "3", "else": "4"}}}))
        .unwrap();
        let mut body = service();
        carry(ChildKind::InferenceService, &mut body, &live);
        let expected =
            json!({"a": "1", UPSTREAM_HASH: "1", "nvidia.com/parent-spec-hash": "2", DESIRED_HASH: "3"});
        assert_eq!(body["metadata"]["annotations"], expected);
        let mut body = service();
        carry(ChildKind::Deployment, &mut body, &live);
        assert_eq!(body, service());
    }

    #[test]
    fn an_image_that_does_not_run_was_asked_for_by_the_user() {
        let with = |image: &str, init: &str| json!({"spec": {"containers": [{"image": image}], "initContainers": [{"image": init}]}});
        assert!(has_new_image(&with("b", "x"), &with("a", "x")));
        assert!(!has_new_image(&with("a", "y"), &with("a", "x")), "images of our own are ours");
    }

    #[test]
    fn drift_is_what_a_stranger_changed_of_what_an_operator_wrote() {
        let entry = |manager: &str, second: u8, fields: Value| {
            json!({"manager": manager, "operation": "Update",
            "time": format!("2026-01-01T00:00:0{second}Z"), "apiVersion": "apps/v1",
            "fieldsType": "FieldsV1", "fieldsV1": fields})
        };
        let template = |below: Value| json!({"f:spec": {"f:template": below}});
        let image = || template(json!({"f:spec": {"f:containers": {}}}));
        let restart = template(json!({"f:metadata": {"f:annotations": {RESTARTED: {}}}}));
        for (case, entries, edited) in [
            ("ours alone", vec![entry("nimfleet-spoke", 1, image())], false),
            ("theirs alone", vec![entry("manager", 1, image())], false),
            ("restored", vec![entry("velero", 1, image())], false),
            (
                "restored and adopted",
                vec![entry("velero", 1, image()), entry("nimfleet-spoke", 2, image())],
                false,
            ),
            ("edited", vec![entry("manager", 1, image()), entry("kubectl-edit", 2, image())], true),
            ("restarted", vec![entry("manager", 1, image()), entry("kubectl-rollout", 2, restart)], false),
            (
                "scaled",
                vec![
                    entry("manager", 1, image()),
                    entry("kubectl", 2, json!({"f:spec": {"f:replicas": {}}})),
                ],
                false,
            ),
        ] {
            let object = json!({"metadata": {"name": "n", "managedFields": entries}});
            let whole: DynamicObject = serde_json::from_value(object).unwrap();
            assert_eq!(is_edited(ChildKind::Deployment, &whole), edited, "{case}");
        }
    }
}
