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
        // A change of what goes away is looked at by the one policy that is about it.
        let is_leaving = policy.policy.metadata.name.as_deref() == Some("nimfleet-deleted");
        let stays = if is_leaving {
            "has(oldObject.metadata.deletionTimestamp)"
        } else {
            "!has(object.metadata.deletionTimestamp)"
        };
        assert_eq!(conditions[0], stays);
        let rules = spec.match_constraints.unwrap().resource_rules.unwrap();
        let is_new_only = rules.iter().all(|rule| rule.operations.as_deref() == Some(&["CREATE".to_owned()]));
        match conditions.get(1) {
            Some(changes) => assert!(changes.ends_with("object.?spec != oldObject.?spec"), "{changes}"),
            None => assert!(is_new_only, "{rules:?}"),
        }
        assert_eq!(spec.failure_policy.as_deref(), Some("Fail"));
    }
}

#[test]
fn policies_bind_what_they_name() {
    for policy in all() {
        assert_eq!(
            policy.numbers.len(),
            policy.policy.spec.as_ref().unwrap().validations.as_ref().unwrap().len()
        );
        let Some(binding) = policy.binding.map(|binding| binding.spec.unwrap()) else {
            assert_eq!(policy.policy.metadata.name.as_deref(), Some("nimfleet-nimplacement-own-namespace"));
            continue;
        };
        assert_eq!(binding.policy_name, policy.policy.metadata.name);
        let warns = policy.policy.metadata.name.unwrap().ends_with("-warnings");
        assert_eq!(binding.validation_actions.unwrap(), [if warns { "Warn" } else { "Deny" }]);
    }
}

/// What a placement may list is asked for name by name, and names are bounded by the same numbers everywhere.
#[test]
fn every_secret_that_fits_into_the_list_is_asked_for_and_every_name_by_its_number() {
    let crds = crate::all().unwrap();
    let placement = crds.iter().find(|crd| crd.spec.names.kind == "NIMPlacement").unwrap();
    let schema = serde_json::to_value(&placement.spec.versions[0].schema).unwrap();
    let most = &schema["openAPIV3Schema"]["properties"]["spec"]["properties"]["secrets"]["maxItems"];
    let rights = policy("nimfleet-nimplacement-rights").validations.unwrap();
    let asked = rights.iter().filter(|one| one.expression.contains("resource('secrets')")).count();
    assert_eq!(most.as_u64(), Some(asked as u64));
    for (index, one) in rights[..asked].iter().enumerate() {
        assert!(one.expression.contains(&format!("[{index}]).check('get')")), "{}", one.expression);
    }

    let plural = |kind: &str| format!("{}s", kind.to_lowercase());
    for rule in &crate::names::RULES {
        let of_kind = all().into_iter().filter(|policy| policy.file_name().starts_with("nimfleet-names-"));
        let of_kind = of_kind.filter(|policy| {
            let spec = policy.policy.spec.as_ref().unwrap();
            let rules = spec.match_constraints.as_ref().unwrap().resource_rules.as_ref().unwrap();
            rules[0].resources.as_ref().unwrap().contains(&plural(rule.kind))
        });
        let said: Vec<String> = of_kind.map(|policy| policy.document().unwrap()).collect();
        let [said] = said.as_slice() else { panic!("{} policies for {}", said.len(), rule.kind) };
        assert!(said.contains(&format!("size() <= {}", rule.longest)), "{}: {said}", rule.kind);
        assert!(
            said.contains(&format!("at most {}, {}", rule.longest, rule.because)),
            "{}: {said}",
            rule.kind
        );
        assert_eq!(said.contains("no dots"), rule.no_dots_because.is_some(), "{}", rule.kind);
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
            let said = said.trim_start_matches('\'');
            assert!(said.starts_with("spec") || said.starts_with("metadata.name"), "{said}");
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
