//! What the chart grants the operator, since nobody can give a role more than they have.

use k8s_openapi::api::rbac::v1::PolicyRule;
use serde::Deserialize;

use crate::operator::Settings;
use crate::operator::nemo::NemoService;
use crate::operator::nemo::tests::sample;
use crate::operator::nemocustomizer::Customizers;
use crate::operator::nemoevaluator::Evaluators;

#[derive(Deserialize)]
struct Role {
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

/// The rules of the chart's roles with everything that can be switched on.
fn granted() -> Vec<PolicyRule> {
    let chart = include_str!("../../../../../charts/nimfleet-spoke/templates/roles.yaml");
    let plain: String =
        chart.lines().filter(|line| !line.contains("{{")).flat_map(|line| [line, "\n"]).collect();
    let roles: Vec<Role> = serde_saphyr::from_multiple(&plain).unwrap();
    roles.into_iter().flat_map(|role| role.rules).collect()
}

/// Each group, resource and verb of these rules that none of the others holds for all names.
fn lacking(wanted: &[PolicyRule], held: &[PolicyRule]) -> Vec<String> {
    let has = |list: &Option<Vec<String>>, word: &String| list.iter().flatten().any(|one| one == word);
    let mut lacking = Vec::new();
    for rule in wanted {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                for verb in &rule.verbs {
                    let holds = |one: &PolicyRule| {
                        one.resource_names.is_none()
                            && has(&one.api_groups, group)
                            && has(&one.resources, resource)
                            && one.verbs.contains(verb)
                    };
                    if !held.iter().any(holds) {
                        lacking.push(format!("{verb} {resource}.{group}"));
                    }
                }
            }
        }
    }
    lacking
}

#[test]
fn nemo_b19_the_chart_grants_everything_that_microservices_may_do() {
    let held = granted();
    let yaml =
        include_str!("../../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemocustomizer.yaml");
    let volcano = sample::<Customizers>(yaml);
    let runai = sample::<Customizers>(&yaml.replace("type: \"volcano\"", "type: runai"));
    assert!(runai.spec.is_placed_by_runai() && !volcano.spec.is_placed_by_runai());
    let yaml =
        include_str!("../../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoevaluator.yaml");
    let (evaluator, settings) = (sample::<Evaluators>(yaml), Settings::default());
    for rules in [
        Customizers::rules(&volcano, &settings),
        Customizers::rules(&runai, &settings),
        Evaluators::rules(&evaluator, &settings),
    ] {
        assert_eq!(lacking(&rules, &held), Vec::<String>::new());
        assert!(!lacking(&rules, &[]).is_empty());
    }
}

#[test]
fn an_evaluator_lists_secrets_only_where_the_owner_says_so() {
    let yaml =
        include_str!("../../../../../e2e/fixtures/nvidia/nemo/latest/apps_v1alpha1_nemoevaluator.yaml");
    let evaluator = sample::<Evaluators>(yaml);
    let of_secrets = |nemo_list_secrets| {
        let rules = Evaluators::rules(&evaluator, &Settings { nemo_list_secrets, ..Settings::default() });
        let named = rules
            .into_iter()
            .filter(|rule| rule.resources.iter().flatten().any(|resource| resource == "secrets"));
        named.flat_map(|rule| rule.verbs).collect::<Vec<_>>()
    };
    assert_eq!(of_secrets(true), ["get", "watch", "list", "create"]);
    assert_eq!(of_secrets(false), ["get", "create"]);
}
