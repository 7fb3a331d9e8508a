//! Whether a NIM object is one of this cluster's own people or a hub's, and the mark of it on what is made for it. Pure.
//!
//! The limits of the cluster's owner are about what a hub wants. The admission policies of the chart, which judge the
//! operator's writes without knowing the NIM object, tell them apart by this mark: what has none is held to the limits.

use crds::compare::holds;
use crds::marks::{DELIVERED_LABEL, LOCAL_ANNOTATION, RETAINED_BY_ANNOTATION};
use kube::core::DynamicObject;
use serde_json::Value;

use super::child::{Child, ChildKind, Keep};
use super::kind::GROUP;
use super::template;

/// The value of [`LOCAL_ANNOTATION`].
const YES: &str = "true";

/// True for an object that no hub has to do with: none delivered it or left it here, and neither did one deliver the
/// NIMPipeline that it was made for.
pub(crate) fn is_local(object: &DynamicObject) -> bool {
    let meta = &object.metadata;
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key));
    let is_a_hubs = meta.labels.as_ref().is_some_and(|labels| labels.contains_key(DELIVERED_LABEL))
        || annotation(RETAINED_BY_ANNOTATION).is_some();
    let mut owners = meta.owner_references.iter().flatten();
    let is_made = owners
        .any(|owner| owner.controller == Some(true) && owner.api_version.split('/').next() == Some(GROUP));
    !is_a_hubs && (!is_made || annotation(LOCAL_ANNOTATION).is_some_and(|value| value == YES))
}

/// Marks a child of an object that is local, and takes the mark off one of another, whoever put it there. What all
/// objects of a namespace share is marked for none.
///
/// KServe copies annotations of an InferenceService to its pods, so one that is there gets the mark only with other pods.
pub(crate) fn mark(child: &mut Child, local: bool, live: Option<&DynamicObject>) {
    let marked = live.and_then(|live| live.metadata.annotations.as_ref()?.get(LOCAL_ANNOTATION));
    let keeps_its_pods = child.kind == ChildKind::InferenceService
        && live.is_some_and(|live| {
            let rendered = template::of(child.kind, &child.body).unwrap_or_default();
            holds(&rendered["predictor"], &live.data["spec"]["predictor"])
        });
    let wanted = if keeps_its_pods { local && marked.is_some() } else { local };
    let metadata = &mut child.body["metadata"];
    if wanted && child.keep != Keep::Shared {
        metadata["annotations"][LOCAL_ANNOTATION] = Value::from(YES);
    } else if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove(LOCAL_ANNOTATION);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(metadata: &Value) -> DynamicObject {
        let mut whole = json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": {"name": "n"}});
        for (field, value) in metadata.as_object().unwrap() {
            whole["metadata"][field] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_a_hub_has_to_do_with_is_not_local_by_whatever_way_it_came() {
        let pipeline = json!([{"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMPipeline", "name": "p", "uid": "u",
            "controller": true}]);
        let tool = json!([{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", "name": "p", "uid": "u",
            "controller": true}]);
        for (metadata, local) in [
            (json!({}), true),
            (json!({"ownerReferences": tool}), true),
            (json!({"labels": {"nimfleet.io/delivered": "true"}}), false),
            (
                json!({"labels": {"nimfleet.io/delivered": "true"}, "annotations": {"nimfleet.io/local": "true"}}),
                false,
            ),
            (json!({"annotations": {"nimfleet.io/retained-by": "hub"}}), false),
            (json!({"ownerReferences": pipeline}), false),
            (json!({"ownerReferences": pipeline, "annotations": {"nimfleet.io/local": "true"}}), true),
        ] {
            assert_eq!(is_local(&object(&metadata)), local, "{metadata}");
        }
    }

    #[test]
    fn only_the_operator_sets_the_mark() {
        let child = |keep, annotations: Value| {
            let body = json!({"metadata": {"name": "n", "annotations": annotations}});
            Child::new(ChildKind::Service, "n", keep, &body)
        };
        for (keep, local, written, expected) in [
            (Keep::Owned, true, json!({}), Value::from("true")),
            (Keep::Owned, true, Value::Null, Value::from("true")),
            (Keep::Owned, false, json!({"nimfleet.io/local": "true"}), Value::Null),
            (Keep::Shared, true, json!({"nimfleet.io/local": "true"}), Value::Null),
        ] {
            let mut child = child(keep, written);
            mark(&mut child, local, None);
            assert_eq!(child.body["metadata"]["annotations"]["nimfleet.io/local"], expected);
        }
    }

    #[test]
    fn the_mark_alone_replaces_no_pods_of_kserve() {
        let child = |image: &str| {
            let body = json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "n"},
                "spec": {"predictor": {"containers": [{"name": "c", "image": image}]}}});
            Child::new(ChildKind::InferenceService, "n", Keep::Owned, &body)
        };
        let live: DynamicObject = serde_json::from_value(child("a:1").body).unwrap();
        let marked = |image: &str, live: Option<&DynamicObject>| {
            let mut child = child(image);
            mark(&mut child, true, live);
            child.body["metadata"]["annotations"]["nimfleet.io/local"] == "true"
        };
        assert!(marked("a:1", None));
        assert!(!marked("a:1", Some(&live)));
        assert!(marked("a:2", Some(&live)));
        let mut kept = live.clone();
        kept.metadata.annotations = Some([(LOCAL_ANNOTATION.to_owned(), YES.to_owned())].into());
        assert!(marked("a:1", Some(&kept)));
    }
}
