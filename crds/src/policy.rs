//! ValidatingAdmissionPolicies: the API server itself refuses what cannot run, without a webhook server to keep alive.
//!
//! A rule has the number it has among the checks of the NIM Operator's own webhook: `S1` to `S46` for a NIMService, `K1`
//! to `K18` for a NIMCache. Rules `A1` and on are additions: they refuse only what could never run. `P1` and on are about
//! the fleet's own kinds: rights of who writes a NIMPlacement, and names. What CEL cannot know is in [`elsewhere`], with where it is refused instead.
//!
//! A policy looks only at a spec that is new or changes, so a finalizer can always be removed and a status written, also
//! from an object that was stored before the policy. Of objects that are being deleted one policy alone looks, at changes
//! of their specs: they would be lost with the object, after a tool was told that they were applied.

mod build;
mod cache;
mod deleted;
mod devices;
pub mod elsewhere;
mod names;
mod pipeline;
mod placement;
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

/// NVIDIA's kinds.
const NVIDIA: &str = "apps.nvidia.com";
/// The fleet's own kinds.
const FLEET: &str = "nimfleet.io";
/// Version of both.
const VERSION: &str = "v1alpha1";

/// A policy and the binding that puts it in force for the whole cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The rules.
    pub policy: ValidatingAdmissionPolicy,
    /// What happens to an object that breaks one; none where a chart says for which namespaces it is.
    pub binding: Option<ValidatingAdmissionPolicyBinding>,
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
    /// Only when it is made.
    Creation,
    /// When its spec changes although it is being deleted.
    Leaving,
}

/// For which namespaces a policy is in force.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// For all, by a binding of its own.
    Everywhere,
    /// For those that a chart's binding names.
    Bound,
}

/// A policy before it is written out.
struct Draft {
    name: &'static str,
    group: &'static str,
    plurals: &'static [&'static str],
    action: Action,
    occasion: Occasion,
    scope: Scope,
    /// The reason of the API server's answer.
    reason: &'static str,
    words: Words,
    /// Lists that all rules look into.
    within: &'static [Level],
    rules: &'static [Rule],
}

/// Kinds whose container and Service are named like the object.
const MICROSERVICES: &[&str] = &[
    "nimservices",
    "nemocustomizers",
    "nemodatastores",
    "nemoentitystores",
    "nemoevaluators",
    "nemoguardrails",
];

/// Every kind of NVIDIA's that is run.
const NIM_OBJECTS: &[&str] = &[
    "nimservices",
    "nimcaches",
    "nimpipelines",
    "nimbuilds",
    "nemocustomizers",
    "nemodatastores",
    "nemoentitystores",
    "nemoevaluators",
    "nemoguardrails",
];

/// All policies, always in the same order.
#[must_use]
pub fn all() -> Vec<Policy> {
    let own = |words| Words { spec: "object.?spec", words };
    let embedded = Words { spec: "service.?spec", words: service::WORDS };
    let service = |name, action, occasion, rules| Draft {
        name,
        group: NVIDIA,
        plurals: &["nimservices"],
        action,
        occasion,
        scope: Scope::Everywhere,
        reason: "Invalid",
        words: own(service::WORDS),
        within: &[],
        rules,
    };
    let cache = |name, action, occasion, rules| Draft {
        name,
        plurals: &["nimcaches"],
        words: own(cache::WORDS),
        ..service(name, action, occasion, rules)
    };
    let pipeline = |name, words, within, rules| Draft {
        plurals: &["nimpipelines"],
        words,
        within,
        ..service(name, Action::Deny, Occasion::Spec, rules)
    };
    let placement = |name, scope, rules| Draft {
        group: FLEET,
        plurals: &["nimplacements"],
        scope,
        reason: "Forbidden",
        words: own(placement::WORDS),
        ..service(name, Action::Deny, Occasion::Spec, rules)
    };
    let named = |name, plurals, rules| Draft {
        plurals,
        words: own(&[]),
        ..service(name, Action::Deny, Occasion::Creation, rules)
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
            plurals: &["nimbuilds"],
            words: own(&[]),
            ..service("nimfleet-nimbuild", Action::Deny, Occasion::Spec, build::RULES)
        },
        Draft {
            plurals: NIM_OBJECTS,
            words: own(&[]),
            ..service("nimfleet-deleted", Action::Deny, Occasion::Leaving, deleted::RULES)
        },
        named("nimfleet-names-microservices", MICROSERVICES, names::MICROSERVICES),
        named("nimfleet-names-nimcaches", &["nimcaches"], names::CACHES),
        named("nimfleet-names-nimbuilds", &["nimbuilds"], names::BUILDS),
        pipeline(
            "nimfleet-names-nimpipelines",
            Words { spec: "service.?spec", words: names::WORDS },
            &[],
            names::PIPELINES,
        ),
        Draft {
            words: own(names::WORDS),
            ..named("nimfleet-nimservice-names", &["nimservices"], names::ON_PLATFORMS)
        },
        Draft {
            group: FLEET,
            ..named("nimfleet-names-nimplacements", &["nimplacements"], names::PLACEMENTS)
        },
        Draft { group: FLEET, ..named("nimfleet-names-gpuclusters", &["gpuclusters"], names::CLUSTERS) },
        placement("nimfleet-nimplacement-rights", Scope::Everywhere, placement::RIGHTS),
        placement("nimfleet-nimplacement-own-namespace", Scope::Bound, placement::OWN_NAMESPACE),
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
                self.rules
                    .iter()
                    .map(|rule| rule.validation(self.within, &self.words, self.reason))
                    .collect(),
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
            binding: (self.scope == Scope::Everywhere)
                .then_some(ValidatingAdmissionPolicyBinding { metadata, spec: Some(binding) }),
            numbers: self.rules.iter().map(|rule| rule.number).collect(),
        }
    }

    fn resources(&self) -> NamedRuleWithOperations {
        let operations: &[&str] = match self.occasion {
            Occasion::Spec => &["CREATE", "UPDATE"],
            Occasion::Change | Occasion::Leaving => &["UPDATE"],
            Occasion::Creation => &["CREATE"],
        };
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        NamedRuleWithOperations {
            api_groups: words(&[self.group]),
            api_versions: words(&[VERSION]),
            operations: words(operations),
            resources: words(self.plurals),
            ..NamedRuleWithOperations::default()
        }
    }
}

/// An object that is going away, or whose spec stays as it is, is nobody's business, but for a change that would go with it.
fn conditions(occasion: Occasion) -> Vec<MatchCondition> {
    let changes = match occasion {
        Occasion::Spec => Some("oldObject == null || object.?spec != oldObject.?spec"),
        Occasion::Change | Occasion::Leaving => Some("object.?spec != oldObject.?spec"),
        Occasion::Creation => None,
    };
    let stays = match occasion {
        Occasion::Leaving => [("leaves", "has(oldObject.metadata.deletionTimestamp)")],
        _ => [("stays", "!has(object.metadata.deletionTimestamp)")],
    };
    stays
        .into_iter()
        .chain(changes.map(|changes| ("changes", changes)))
        .map(|(name, expression)| MatchCondition { name: name.to_owned(), expression: expression.to_owned() })
        .collect()
}

impl Policy {
    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.yaml", self.policy.metadata.name.as_deref().unwrap_or_default())
    }

    /// The policy and its binding, if it has one, as YAML documents, with a comment on top and a line break at the end.
    ///
    /// # Errors
    /// When one holds something that YAML cannot say.
    pub fn document(&self) -> Result<String, SchemaError> {
        let binding = self.binding.as_ref().map(|binding| Ok(format!("---\n{}", self.yaml(binding)?)));
        Ok(format!("{HEADER}{}{}", self.yaml(&self.policy)?, binding.transpose()?.unwrap_or_default()))
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
