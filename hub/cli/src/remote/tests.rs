//! Objects in their clusters, from recorded slices and rows.

use super::*;
use crate::recorded::{DRAINING, Moment, PLACED, now, plain, seen};

fn objects(moment: &Moment) -> Vec<RemoteObject> {
    joined(
        &seen::<NIMPlacementDecision>(moment.decisions).items,
        &seen::<DynamicObject>(moment.assignments).items,
    )
}

#[test]
fn objects_of_all_slices_stand_with_what_is_reported_of_them() {
    insta::assert_snapshot!("placed", plain(&table(&objects(&PLACED), now()).render(0)));
    insta::assert_snapshot!("draining", plain(&table(&objects(&DRAINING), now()).render(0)));
    insta::assert_json_snapshot!(serde_json::to_value(objects(&PLACED)).unwrap());
}

#[test]
fn without_rows_the_decision_is_shown() {
    let slices = seen::<NIMPlacementDecision>(PLACED.decisions);
    let text = plain(&table(&joined(&slices.items, &[]), now()).render(0));
    assert!(text.contains("Placed") && !text.contains("Available"), "{text}");
}

#[test]
fn an_object_is_described_in_each_of_its_clusters() {
    let description = Description {
        namespace: "nim-service".into(),
        kind: "NIMService".into(),
        name: "meta-llama-3-2-1b-instruct".into(),
        state: Some("Ready".into()),
        conditions: Vec::new(),
        clusters: objects(&PLACED).into_iter().filter(|object| object.kind == "NIMService").collect(),
        events: Vec::new(),
        hidden: Vec::new(),
    };
    insta::assert_snapshot!(plain(&render(&description, now())));
}

#[test]
fn kinds_are_known_in_any_spelling() {
    for word in ["nimservice", "NIMServices", "NIMService/chat"] {
        let (kind, _) = object_named(Some(word), None).unwrap();
        assert_eq!(kind.as_deref(), Some("NIMService"), "{word}");
    }
    let (_, name) = object_named(Some("nimcache/a"), None).unwrap();
    assert_eq!(name.as_deref(), Some("a"));
    let refused = object_named(Some("deployment"), None).unwrap_err().to_string();
    assert!(refused.contains("deployment") && refused.contains("nimservice"), "{refused}");
    assert!(object_named(Some("nimcache/a"), Some("b")).is_err());
}
