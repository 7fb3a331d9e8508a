//! The table of rules is whole, and a policy says what its rules say.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// The number of every rule, with the policies that say it.
fn said() -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut said: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for policy in all() {
        for number in &policy.numbers {
            said.entry(*number).or_default().insert(policy.file_name());
        }
    }
    said
}

fn numbers() -> impl Iterator<Item = String> {
    (1..=46).map(|n| format!("S{n}")).chain((1..=18).map(|n| format!("K{n}")))
}

fn policy(name: &str) -> ValidatingAdmissionPolicySpec {
    all()
        .into_iter()
        .find(|policy| policy.file_name() == format!("{name}.yaml"))
        .unwrap()
        .policy
        .spec
        .unwrap()
}

#[test]
fn every_number_is_said_once() {
    let said = said();
    for number in numbers() {
        let elsewhere = elsewhere::BY_THE_DEFINITION.iter().chain(elsewhere::LEFT_TO_THE_CONTROLLER);
        let places = usize::from(said.contains_key(number.as_str()))
            + elsewhere.filter(|(other, _)| *other == number).count();
        assert_eq!(places, 1, "{number}");
    }
}

#[test]
fn every_rule_of_a_service_counts_in_a_pipeline_too() {
    let said = said();
    for (number, policies) in &said {
        let of = |word: &str| policies.iter().any(|name| name.contains(word));
        let updates = of("updates") || of("warnings");
        if number.starts_with('S') && !updates {
            assert!(of("nimservice") && of("nimpipeline"), "{number}: {policies:?}");
        }
    }
}

#[test]
fn every_word_is_known() {
    for policy in all() {
        let text = policy.document().unwrap();
        for (at, _) in text.match_indices('$') {
            let next = text[at + 1..].chars().next();
            assert!(!next.is_some_and(char::is_alphabetic), "{}: {}", policy.file_name(), &text[at..at + 12]);
        }
    }
}

#[test]
fn an_object_that_goes_away_or_stays_as_it_is_is_left_alone() {
    for policy in all() {
        let spec = policy.policy.spec.unwrap();
        let conditions: Vec<_> =
            spec.match_conditions.unwrap().into_iter().map(|condition| condition.expression).collect();
        assert_eq!(conditions[0], "!has(object.metadata.deletionTimestamp)");
        assert!(conditions[1].ends_with("object.?spec != oldObject.?spec"), "{}", conditions[1]);
        assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
    }
}

#[test]
fn policies_bind_what_they_name() {
    for policy in all() {
        let binding = policy.binding.spec.unwrap();
        assert_eq!(binding.policy_name, policy.policy.metadata.name);
        let warns = policy.policy.metadata.name.unwrap().ends_with("-warnings");
        assert_eq!(binding.validation_actions.unwrap(), [if warns { "Warn" } else { "Deny" }]);
        assert_eq!(policy.numbers.len(), policy.policy.spec.unwrap().validations.unwrap().len());
    }
}

/// The API server takes a plain message or a computed one, and shows no line breaks.
#[test]
fn every_message_begins_with_its_field() {
    for policy in all() {
        for validation in policy.policy.spec.unwrap().validations.unwrap() {
            let said = validation.message.iter().chain(&validation.message_expression);
            let said: Vec<_> = said.collect();
            let [said] = said.as_slice() else { panic!("{validation:?}") };
            assert!(said.trim_start_matches('\'').starts_with("spec"), "{said}");
            assert!(!said.contains('\n') && !validation.expression.contains('\n'), "{said}");
        }
    }
}

#[test]
fn a_rule_of_a_service_is_this_cel() {
    let plain = policy("nimfleet-nimservice");
    let validations = plain.validations.unwrap();
    assert_eq!(validations[0].expression, "object.?spec.?image.?repository.orValue('') != ''");
    let limit = validations[2].message_expression.as_deref().unwrap();
    assert_eq!(
        limit,
        "'spec.storage.sharedMemorySizeLimit: Invalid value: \"' + \
         string((object.?spec.?storage).?sharedMemorySizeLimit.value()) + \
         '\": must be more than 0; leave it out for no limit'"
    );
}

#[test]
fn a_rule_in_a_pipeline_looks_at_enabled_services_and_names_the_first_that_breaks_it() {
    let validations = policy("nimfleet-nimpipeline-services").validations.unwrap();
    assert_eq!(
        validations[1].expression,
        "object.?spec.?services.orValue([]).all(service, !(service.?enabled.orValue(false)) || \
         (service.?spec.?image.?tag.orValue('') != ''))"
    );
    assert_eq!(
        validations[1].message_expression.as_deref().unwrap(),
        "'spec' + object.?spec.?services.orValue([]).map(service, (service.?enabled.orValue(false)) && \
         !(service.?spec.?image.?tag.orValue('') != ''), \
         '.services[' + string(object.?spec.?services.orValue([]).indexOf(service)) + \
         '].spec.image.tag: Required value: name the version of the image, for example 1.8.3')[0]"
    );
}
