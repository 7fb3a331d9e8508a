//! What is missing, and what pods are replaced for.

use super::*;
use crate::operator::nemo::tests::{found, subject};
use crate::operator::nemoguardrail::Guardrails;

fn needs() -> Vec<Need> {
    let subject = subject::<Guardrails>("sample");
    vec![
        Need::key(&subject, "pg", "password", "spec.a"),
        Need::new(&subject, Thing::ConfigMap, "rails", "spec.b", Part::Whole),
        Need::new(&subject, Thing::ConfigMap, "models", "spec.c", Part::Content),
        Need::new(&subject, Thing::Service, "milvus", "spec.d", Part::Presence),
    ]
}

fn here<'a>(password: &'a str, rails: &'a str, models: &'a str) -> Found {
    found(&[
        (Thing::Secret, "pg", &[("password", password), ("unused", models)]),
        (Thing::ConfigMap, "rails", &[("config.yml", rails)]),
        (Thing::ConfigMap, "models", &[("models", models)]),
    ])
}

#[test]
fn nemo_b07_pods_are_replaced_for_what_they_are_configured_by_and_for_nothing_else() {
    let base = here("word", "rails", "models").checksum(&needs());
    assert!(base.is_some());
    for (other, replaced) in [
        (here("other", "rails", "models"), true),
        (here("word", "others", "models"), true),
        (here("word", "rails", "others"), false),
    ] {
        assert_eq!(other.checksum(&needs()) != base, replaced);
    }
    let mut touched = here("word", "rails", "models");
    touched.contents.values_mut().for_each(|content| content.version = Some("8".into()));
    assert_eq!(touched.checksum(&needs()), base, "a label on the Secret is no reason");
    assert_eq!(Found::default().checksum(&needs()[2..]), None, "nothing is configured from outside");
}

#[test]
fn what_goes_away_replaces_no_pod() {
    let running = Some("as they run".to_owned());
    for mut gone in [Found::default(), found(&[(Thing::Secret, "pg", &[]), (Thing::ConfigMap, "rails", &[])])]
    {
        assert_eq!(gone.checksum(&needs()), None, "there are no pods yet");
        gone.previous.clone_from(&running);
        assert_eq!(gone.checksum(&needs()), running);
    }
    let back = Found { previous: running.clone(), ..here("word", "rails", "models") };
    assert_ne!(back.checksum(&needs()), running);
}

#[test]
fn a_password_cannot_be_tried_out_against_the_checksum() {
    let needs = needs();
    let known = here("word", "rails", "models");
    let mut guessed = known.clone();
    for content in guessed.contents.values_mut() {
        content.uid = "guess".into();
    }
    assert_ne!(guessed.checksum(&needs[..1]), known.checksum(&needs[..1]));
    assert_eq!(guessed.checksum(&needs[1..]), known.checksum(&needs[1..]), "of a ConfigMap the text counts");
}

#[test]
fn what_is_missing_is_named_once_with_its_field() {
    let mut needs = needs();
    needs.extend(needs.clone());
    let here = found(&[(Thing::Secret, "pg", &[]), (Thing::ConfigMap, "rails", &[])]);
    let expected =
        ["key password of Secret pg (spec.a)", "ConfigMap models (spec.c)", "Service milvus (spec.d)"];
    assert_eq!(here.missing(&needs), expected);
}

#[test]
fn all_that_a_workload_is_made_from_is_referred_to() {
    let needs = needs();
    let known = here("word", "rails", "models");
    let referred = known.referred(&needs);
    for changed in
        [here("other", "rails", "models"), here("word", "other", "models"), here("word", "rails", "other")]
    {
        assert_ne!(changed.referred(&needs), referred);
    }
    assert_eq!(Found::checksum_in(&referred), known.checksum(&needs));
    assert_eq!(Found::checksum_in(&Found::default().referred(&[])), None);
}
