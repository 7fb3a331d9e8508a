//! ValidatingAdmissionPolicies: the API server itself refuses what cannot run, without a webhook server to keep alive.
//!
//! A rule has the number it has among the checks of the NIM Operator's own webhook: `S1` to `S46` for a NIMService, `K1`
//! to `K18` for a NIMCache. Rules `A1` and on are additions: they refuse only what could never run. What CEL cannot know
//! is in [`elsewhere`], with where it is refused instead.
//!
//! A policy looks only at a spec that is new or changes, so a finalizer can always be removed and a status written, also
//! from an object that was stored before the policy.

mod build;
mod cache;
mod devices;
pub mod elsewhere;
mod pipeline;
mod rule;
mod service;
mod updates;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec, ValidatingAdmissionPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::schema::{HEADER, SchemaError};
use rule::{Level, Rule, Words};

/// The kinds that policies are for.
const GROUP: &str = "apps.nvidia.com";
const VERSION: &str = "v1alpha1";

/// A policy and the binding that puts it in force for the whole cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The rules.
    pub policy: ValidatingAdmissionPolicy,
    /// What happens to an object that breaks one.
    pub binding: ValidatingAdmissionPolicyBinding,
    /// The numbers of the rules, in the order of the policy's validations.
    pub numbers: Vec<&'static str>,
}

/// What happens to an object that breaks a rule.
#[derive(Clone, Copy)]
enum Action {
    /// It is refused.
    Deny,
    /// It is taken, and its author is warned.
    Warn,
}

/// When a policy looks at an object.
#[derive(Clone, Copy)]
enum Occasion {
    /// When it is made and when its spec changes.
    Spec,
    /// Only when its spec changes.
    Change,
}

/// A policy before it is written out.
struct Draft {
    name: &'static str,
    plural: &'static str,
    action: Action,
    occasion: Occasion,
    words: Words,
    /// Lists that all rules look into.
    within: &'static [Level],
    rules: &'static [Rule],
}

/// All policies, always in the same order.
#[must_use]
pub fn all() -> Vec<Policy> {
    let own = |words| Words { spec: "object.?spec", words };
    let embedded = Words { spec: "service.?spec", words: service::WORDS };
    let service = |name, action, occasion, rules| Draft {
        name,
        plural: "nimservices",
        action,
        occasion,
        words: own(service::WORDS),
        within: &[],
        rules,
    };
    let cache = |name, action, occasion, rules| Draft {
        name,
        plural: "nimcaches",
        words: own(cache::WORDS),
        ..service(name, action, occasion, rules)
    };
    let pipeline = |name, words, within, rules| Draft {
        plural: "nimpipelines",
        words,
        within,
        ..service(name, Action::Deny, Occasion::Spec, rules)
    };
    let drafts = [
        service("nimfleet-nimservice", Action::Deny, Occasion::Spec, service::RULES),
        service("nimfleet-nimservice-devices", Action::Deny, Occasion::Spec, devices::RULES),
        service("nimfleet-nimservice-updates", Action::Deny, Occasion::Change, updates::SERVICE),
        service("nimfleet-nimservice-warnings", Action::Warn, Occasion::Spec, service::WARNINGS),
        cache("nimfleet-nimcache", Action::Deny, Occasion::Spec, cache::RULES),
        cache("nimfleet-nimcache-updates", Action::Deny, Occasion::Change, updates::CACHE),
        cache("nimfleet-nimcache-warnings", Action::Warn, Occasion::Spec, cache::WARNINGS),
        pipeline("nimfleet-nimpipeline", own(&[]), &[], pipeline::RULES),
        pipeline("nimfleet-nimpipeline-services", embedded, pipeline::SERVICES, service::RULES),
        pipeline("nimfleet-nimpipeline-devices", embedded, pipeline::SERVICES, devices::RULES),
        Draft {
            plural: "nimbuilds",
            words: own(&[]),
            ..service("nimfleet-nimbuild", Action::Deny, Occasion::Spec, build::RULES)
        },
    ];
    drafts.iter().map(Draft::write).collect()
}

impl Draft {
    fn write(&self) -> Policy {
        let metadata = ObjectMeta { name: Some(self.name.to_owned()), ..ObjectMeta::default() };
        let policy = ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                resource_rules: Some(vec![self.resources()]),
                ..MatchResources::default()
            }),
            match_conditions: Some(conditions(self.occasion)),
            validations: Some(
                self.rules.iter().map(|rule| rule.validation(self.within, &self.words)).collect(),
            ),
            ..ValidatingAdmissionPolicySpec::default()
        };
        let action = match self.action {
            Action::Deny => "Deny",
            Action::Warn => "Warn",
        };
        let binding = ValidatingAdmissionPolicyBindingSpec {
            policy_name: Some(self.name.to_owned()),
            validation_actions: Some(vec![action.to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        };
        Policy {
            policy: ValidatingAdmissionPolicy {
                metadata: metadata.clone(),
                spec: Some(policy),
                ..ValidatingAdmissionPolicy::default()
            },
            binding: ValidatingAdmissionPolicyBinding { metadata, spec: Some(binding) },
            numbers: self.rules.iter().map(|rule| rule.number).collect(),
        }
    }

    fn resources(&self) -> NamedRuleWithOperations {
        let operations: &[&str] = match self.occasion {
            Occasion::Spec => &["CREATE", "UPDATE"],
            Occasion::Change => &["UPDATE"],
        };
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        NamedRuleWithOperations {
            api_groups: words(&[GROUP]),
            api_versions: words(&[VERSION]),
            operations: words(operations),
            resources: words(&[self.plural]),
            ..NamedRuleWithOperations::default()
        }
    }
}

/// An object that is going away, or whose spec stays as it is, is nobody's business.
fn conditions(occasion: Occasion) -> Vec<MatchCondition> {
    let changes = match occasion {
        Occasion::Spec => "oldObject == null || object.?spec != oldObject.?spec",
        Occasion::Change => "object.?spec != oldObject.?spec",
    };
    [("stays", "!has(object.metadata.deletionTimestamp)"), ("changes", changes)]
        .map(|(name, expression)| MatchCondition { name: name.to_owned(), expression: expression.to_owned() })
        .to_vec()
}

impl Policy {
    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.yaml", self.policy.metadata.name.as_deref().unwrap_or_default())
    }

    /// Policy and binding as two YAML documents, with a comment on top and a line break at the end.
    ///
    /// # Errors
    /// When one holds something that YAML cannot say.
    pub fn document(&self) -> Result<String, SchemaError> {
        Ok(format!("{HEADER}{}---\n{}", self.yaml(&self.policy)?, self.yaml(&self.binding)?))
    }

    fn yaml(&self, object: &impl Serialize) -> Result<String, SchemaError> {
        let name = || self.policy.metadata.name.clone().unwrap_or_default();
        let yaml =
            serde_saphyr::to_string(object).map_err(|source| SchemaError::Yaml { name: name(), source })?;
        Ok(format!("{}\n", yaml.trim_end()))
    }
}

#[cfg(test)]
mod tests;
