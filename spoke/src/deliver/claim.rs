//! May this hub have this name? Judged from what is there already.

use crds::marks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Marks, ObjectRef, marks_of};

/// What to do with a name that the hub wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is free, or this hub's: apply.
    Apply,
    /// It is this hub's and says it is what the hub wants: nothing to write, unless it was edited here.
    Current,
    /// It is on its way out: the name is free later.
    Leaving,
    /// It is somebody else's. The text says whose, and the remedy.
    Foreign(String),
}

/// Judges the object found under a name (if any) for a hub that wants `wanted` there.
#[must_use]
pub fn judge(object: &ObjectRef, live: Option<&ObjectMeta>, wanted: &Marks) -> Claim {
    let Some(live) = live else { return Claim::Apply };
    if live.deletion_timestamp.is_some() {
        return Claim::Leaving;
    }
    if let Some(marks) = marks_of(live) {
        return if marks.hub_id != wanted.hub_id {
            Claim::Foreign(format!(
                "{object} was delivered by another hub ({}): remove it there, or place this object elsewhere",
                marks.hub_id
            ))
        } else if (&marks.uid, marks.generation, &marks.hash)
            == (&wanted.uid, wanted.generation, &wanted.hash)
        {
            Claim::Current
        } else {
            Claim::Apply
        };
    }
    let is_intent = live.labels.as_ref().is_some_and(|labels| labels.contains_key(marks::PLACEMENT_LABEL))
        || live.finalizers.iter().flatten().any(|finalizer| finalizer == marks::FLEET_FINALIZER);
    if is_intent {
        return Claim::Foreign(format!(
            "{object} in this cluster is the object that a hub places (it has label {} or finalizer {}): leave it as it is, \
             and place it in clusters that are not a hub's own",
            marks::PLACEMENT_LABEL,
            marks::FLEET_FINALIZER
        ));
    }
    let annotation = |key: &str| live.annotations.as_ref().and_then(|all| all.get(key));
    match (annotation(marks::HUB_ID_ANNOTATION), annotation(marks::RETAINED_BY_ANNOTATION)) {
        // Ours, with a mark lost to a local edit: applying puts it back.
        (Some(hub), _) if *hub == wanted.hub_id => Claim::Apply,
        (None, Some(hub)) if *hub == wanted.hub_id => Claim::Apply,
        (None, Some(hub)) => Claim::Foreign(format!(
            "{object} was left here by another hub ({hub}): delete it in this cluster, or place this object elsewhere"
        )),
        _ => Claim::Foreign(format!(
            "{object} exists in this cluster and belongs to its own people: delete it there, give the hub's object \
             another name, or place it elsewhere"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn wanted() -> Marks {
        let text = str::to_owned;
        Marks {
            uid: text("u"),
            generation: 3,
            hash: text("h"),
            hub_id: text("hub"),
            epoch: text("1.x"),
            gang: None,
        }
    }

    fn object() -> ObjectRef {
        ObjectRef {
            uid: "u".into(),
            api_version: "apps.nvidia.com/v1alpha1".into(),
            kind: "NIMService".into(),
            namespace: "models".into(),
            name: "llm".into(),
        }
    }

    fn meta(annotations: &[(&str, &str)]) -> ObjectMeta {
        let annotations: BTreeMap<String, String> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ObjectMeta { annotations: Some(annotations), ..ObjectMeta::default() }
    }

    fn delivered(uid: &str, generation: &str, hash: &str, hub: &str) -> ObjectMeta {
        meta(&[
            (marks::UID_ANNOTATION, uid),
            (marks::GENERATION_ANNOTATION, generation),
            (marks::HASH_ANNOTATION, hash),
            (marks::HUB_ID_ANNOTATION, hub),
            (marks::EPOCH_ANNOTATION, "1.x"),
        ])
    }

    #[test]
    fn what_is_free_or_ours_is_taken() {
        let table = [
            ("free", None, Claim::Apply),
            ("same", Some(delivered("u", "3", "h", "hub")), Claim::Current),
            ("older generation", Some(delivered("u", "2", "h", "hub")), Claim::Apply),
            ("other content", Some(delivered("u", "3", "g", "hub")), Claim::Apply),
            ("made anew on the hub", Some(delivered("old", "3", "h", "hub")), Claim::Apply),
            ("retained by us", Some(meta(&[(marks::RETAINED_BY_ANNOTATION, "hub")])), Claim::Apply),
            ("a mark was lost", Some(meta(&[(marks::HUB_ID_ANNOTATION, "hub")])), Claim::Apply),
        ];
        for (case, live, expected) in table {
            assert_eq!(judge(&object(), live.as_ref(), &wanted()), expected, "{case}");
        }
    }

    #[test]
    fn what_is_somebody_elses_is_left_with_a_remedy() {
        let table = [
            ("local people's", meta(&[]), "belongs to its own people"),
            ("other hub's", delivered("u", "3", "h", "other"), "delivered by another hub (other)"),
            (
                "left by another hub",
                meta(&[(marks::RETAINED_BY_ANNOTATION, "other")]),
                "left here by another hub",
            ),
        ];
        for (case, live, telling) in table {
            let Claim::Foreign(message) = judge(&object(), Some(&live), &wanted()) else { panic!("{case}") };
            assert!(message.contains(telling) && message.contains("elsewhere"), "{case}: {message}");
        }
    }

    #[test]
    fn what_a_hub_places_is_never_to_be_deleted_in_the_hubs_own_cluster() {
        let labels = BTreeMap::from([(marks::PLACEMENT_LABEL.to_owned(), "chat".to_owned())]);
        let labelled = ObjectMeta { labels: Some(labels), ..ObjectMeta::default() };
        let held =
            ObjectMeta { finalizers: Some(vec![marks::FLEET_FINALIZER.to_owned()]), ..ObjectMeta::default() };
        for live in [labelled, held] {
            let Claim::Foreign(message) = judge(&object(), Some(&live), &wanted()) else {
                panic!("{live:?}")
            };
            assert!(message.contains("leave it as it is") && !message.contains("delete"), "{message}");
        }
    }

    #[test]
    fn a_leaving_object_is_waited_for_even_if_ours() {
        let mut live = delivered("u", "3", "h", "hub");
        live.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(judge(&object(), Some(&live), &wanted()), Claim::Leaving);
    }
}
