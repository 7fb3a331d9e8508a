//! Explanations as they are shown, from recorded answers.

use super::*;
use crate::recorded::{DRAINING, HELD, Moment, PLACED, json as recorded, now, plain, seen};

fn why(moment: &Moment) -> Why {
    let placements: Seen<NIMPlacement> = seen(moment.placements);
    let placement =
        placements.items.into_iter().find(|one| one.metadata.namespace.as_deref() == Some("nim-service"));
    let explanation = read(recorded(moment.explanation), "PlacementExplanation").unwrap();
    Why::of(&placement.unwrap(), &seen(moment.decisions), Ok(explanation))
}

#[test]
fn where_why_there_and_why_not_elsewhere_with_the_numbers() {
    insta::assert_snapshot!("placed", plain(&render(&why(&PLACED), now())));
    insta::assert_snapshot!("draining", plain(&render(&why(&DRAINING), now())));
    insta::assert_snapshot!("held", plain(&render(&why(&HELD), now())));
}

#[test]
fn the_json_of_a_placement_is_as_the_documentation_says() {
    insta::assert_json_snapshot!(serde_json::to_value(why(&PLACED)).unwrap());
}

#[test]
fn a_hub_that_does_not_answer_takes_the_explanation_alone() {
    let silent = Why { explanation: None, unexplained: Some("no hub answers".to_owned()), ..why(&PLACED) };
    let text = plain(&render(&silent, now()));
    assert!(
        text.contains("east") && text.contains("why not elsewhere is not known: no hub answers"),
        "{text}"
    );
    assert!(text.contains("REFUSED BEFORE") && text.contains("1: plain"), "{text}");
}

#[test]
fn decisions_that_the_caller_may_not_see_are_not_said_to_be_none() {
    let placements: Seen<NIMPlacement> = seen(PLACED.placements);
    let hidden = Seen { items: Vec::new(), hidden: Some("nimplacementdecisions is forbidden".to_owned()) };
    let why = Why::of(&placements.items[0], &hidden, Err("no hub answers".to_owned()));
    let text = plain(&render(&why, now()));
    assert!(text.contains("not shown, NIMPlacementDecision: nimplacementdecisions is forbidden"), "{text}");
    assert!(!text.contains("nowhere"), "{text}");
}

#[test]
fn a_simulation_shows_where_it_would_run() {
    let explanation = read(recorded(PLACED.explanation), "PlacementExplanation").unwrap();
    let simulated =
        Simulated { namespace: "nim".into(), without_clusters: vec!["north".into()], explanation };
    insta::assert_snapshot!(plain(&render_simulated(&simulated)));
}

#[test]
fn a_file_of_manifests_becomes_what_is_supposed() {
    let placement = || json!({"kind": "NIMPlacement", "metadata": {"name": "chat"}, "spec": {"priority": 1}});
    let service =
        || json!({"kind": "NIMService", "metadata": {"name": "chat", "namespace": "nim"}, "spec": {}});
    let spec = supposition(vec![placement(), service()], None, "nim").unwrap();
    assert_eq!(spec, json!({"placement": {"priority": 1}, "manifests": [service()]}));
    let spec = supposition(vec![placement()], Some("chat"), "nim").unwrap();
    assert_eq!(spec, json!({"placementName": "chat", "placement": {"priority": 1}, "manifests": []}));
    let whole = json!({"kind": "PlacementSimulation", "spec": {"placement": {}, "manifests": [service()], "withoutClusters": ["a"]}});
    let spec = supposition(vec![whole], None, "nim").unwrap();
    assert_eq!(spec, json!({"placement": {}, "manifests": [service()], "withoutClusters": ["a"]}));

    for (documents, words) in [
        (vec![placement(), placement()], "more than one NIMPlacement"),
        (vec![json!({"kind": "List", "items": []})], "List"),
        (
            vec![json!({"kind": "NIMService", "metadata": {"name": "a", "namespace": "other"}})],
            "--namespace other",
        ),
    ] {
        let refused = supposition(documents, None, "nim").unwrap_err();
        assert!(
            refused.to_string().contains(words) && refused.status() == crate::failure::USAGE,
            "{refused}"
        );
    }
}

#[test]
fn an_answer_of_another_form_names_the_versions() {
    let refused = read(json!({"status": {"clusters": 7}}), "PlacementExplanation").unwrap_err().to_string();
    assert!(refused.contains("another version") && refused.contains(env!("CARGO_PKG_VERSION")), "{refused}");
}
