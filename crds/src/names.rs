//! Names that no child can carry: what is made from `metadata.name` of each kind, and what it may therefore be.
//!
//! The numbers are those of the API server: a label value, a container name and a DNS label have at most 63 characters, and
//! a Service's name has no dot. Policies refuse such a name when an object is made; the hub and the operator say it of an
//! object that was stored before, and nothing is made for it.

use serde_json::Value;

use crate::nim::{InferencePlatform, NIMPipelineSpec, NIMServiceSpec};

/// What the name of a kind may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameRule {
    /// The kind.
    pub kind: &'static str,
    /// Most characters.
    pub longest: usize,
    /// Why no more: ends the sentence that begins with the number.
    pub because: &'static str,
    /// Why no dots; none where dots are fine.
    pub no_dots_because: Option<&'static str>,
    /// Why it begins with a letter; none where a digit will do.
    pub letter_first_because: Option<&'static str>,
}

/// 63 characters of a container's name, less `-ctr`.
const MICROSERVICE: NameRule = NameRule {
    kind: "NIMService",
    longest: 59,
    because: "since its container is named <name>-ctr",
    no_dots_because: Some("since its Service has the same name"),
    letter_first_because: None,
};

/// A NIMService on KServe: 63 characters of a Service's name, less `-predictor`.
pub const ON_KSERVE: NameRule = NameRule {
    longest: 53,
    because: "since KServe names its Service <name>-predictor",
    letter_first_because: Some("since KServe takes no other"),
    ..MICROSERVICE
};

/// A NIMService in KServe's mode Standard: 63 characters of a label's value, less `isvc.` and `-predictor`.
pub const ON_KSERVE_STANDARD: NameRule =
    NameRule { longest: 48, because: "since KServe labels its pods isvc.<name>-predictor", ..ON_KSERVE };

/// Most characters of a StatefulSet's name: its revision, at most eleven more, is a label of its pods.
const STATEFUL_SET: usize = 52;

/// A NIMService over several nodes with so many replicas: the StatefulSet of each group is named `<name>-lws-<group>`.
#[must_use]
pub fn over_nodes(replicas: u32) -> NameRule {
    let last = replicas.max(1) - 1;
    NameRule {
        longest: STATEFUL_SET - "-lws-".len() - last.to_string().len(),
        because: "since LeaderWorkerSet makes a StatefulSet <name>-lws-<group>, whose revision becomes a label of its pods",
        letter_first_because: Some("since LeaderWorkerSet takes no other"),
        ..MICROSERVICE
    }
}

/// Every kind whose names are bounded by what is made from them.
pub const RULES: [NameRule; 10] = [
    MICROSERVICE,
    NameRule { kind: "NemoCustomizer", ..MICROSERVICE },
    NameRule { kind: "NemoDatastore", ..MICROSERVICE },
    NameRule { kind: "NemoEntitystore", ..MICROSERVICE },
    NameRule { kind: "NemoEvaluator", ..MICROSERVICE },
    NameRule { kind: "NemoGuardrail", ..MICROSERVICE },
    NameRule {
        kind: "NIMCache",
        longest: 59,
        because: "since its Job is named <name>-job, which becomes a label of its pods",
        no_dots_because: None,
        letter_first_because: None,
    },
    NameRule {
        kind: "NIMBuild",
        longest: 63,
        because: "since it becomes a label of its pods",
        no_dots_because: None,
        letter_first_because: None,
    },
    NameRule {
        kind: "NIMPlacement",
        longest: 63,
        because: "since it becomes a label of the objects",
        no_dots_because: None,
        letter_first_because: None,
    },
    NameRule {
        kind: "GPUCluster",
        longest: 63,
        because: "since it is a DNS label in the certificate of its agent",
        no_dots_because: Some("since it is a DNS label in the certificate of its agent"),
        letter_first_because: None,
    },
];

/// The rule of a kind; none if any name will do.
#[must_use]
pub fn rule(kind: &str) -> Option<&'static NameRule> {
    RULES.iter().find(|rule| rule.kind == kind)
}

/// Why an object of the kind cannot have this name: field, value, limit and reason; none if it can.
#[must_use]
pub fn refusal(kind: &str, name: &str) -> Option<String> {
    rule(kind)?.refusal("metadata.name", name)
}

/// The same of an object with this spec: its platform, or the services that it names, may ask for more.
#[must_use]
pub fn refusal_of(kind: &str, name: &str, spec: &Value) -> Option<String> {
    refusal(kind, name).or_else(|| match kind {
        "NIMService" => {
            let spec: NIMServiceSpec = serde_json::from_value(spec.clone()).ok()?;
            platform(&spec)?.refusal("metadata.name", name)
        }
        "NIMPipeline" => {
            let spec: NIMPipelineSpec = serde_json::from_value(spec.clone()).ok()?;
            spec.services.iter().flatten().enumerate().find_map(|(index, service)| {
                let named = service.name.as_deref().filter(|_| service.enabled == Some(true))?;
                refusal_in_pipeline(index, named, service.spec.as_ref())
            })
        }
        _ => None,
    })
}

/// Why a service of a pipeline cannot have this name; none if it can.
#[must_use]
pub fn refusal_in_pipeline(index: usize, name: &str, spec: Option<&NIMServiceSpec>) -> Option<String> {
    let field = format!("spec.services[{index}].name");
    let by_platform = || spec.and_then(platform)?.refusal(&field, name);
    MICROSERVICE.refusal(&field, name).or_else(by_platform)
}

/// What the platform of a NIMService asks of its name, beyond what every NIMService's has to be.
fn platform(spec: &NIMServiceSpec) -> Option<NameRule> {
    if spec.platform() == Ok(InferencePlatform::KServe) {
        return Some(ON_KSERVE);
    }
    spec.over_nodes()?;
    let scale = spec.scale.as_ref().filter(|scale| scale.enabled == Some(true));
    let most = scale.and_then(|scale| scale.hpa.as_ref()).map_or(1, |hpa| hpa.max_replicas);
    let most = most.max(spec.replicas.unwrap_or(1)).max(1);
    Some(over_nodes(most.unsigned_abs()))
}

impl NameRule {
    /// Why this field cannot have this name: value, limit and reason; none if it can.
    #[must_use]
    pub fn refusal(&self, field: &str, name: &str) -> Option<String> {
        let Self { longest, because, no_dots_because, letter_first_because, .. } = self;
        if name.len() > *longest {
            let characters = name.len();
            return Some(format!("{field} has {characters} characters: at most {longest}, {because}"));
        }
        let dots =
            no_dots_because.filter(|_| name.contains('.')).map(|because| format!("no dots, {because}"));
        let digit = name.starts_with(|first: char| !first.is_ascii_alphabetic());
        let digit =
            letter_first_because.filter(|_| digit).map(|because| format!("a letter first, {because}"));
        dots.or(digit).map(|problem| format!("{field} is {name:?}: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_name_is_refused_with_its_length_and_the_limit_or_for_its_dot() {
        for (kind, name, said) in [
            ("NIMPlacement", "p".repeat(63), None),
            (
                "NIMPlacement",
                "p".repeat(70),
                Some("metadata.name has 70 characters: at most 63, since it becomes a label of the objects"),
            ),
            ("NIMPlacement", "a.b".to_owned(), None),
            ("NIMService", "70b-chat".to_owned(), None),
            ("NIMService", "a".repeat(59), None),
            (
                "NemoGuardrail",
                "a".repeat(60),
                Some("metadata.name has 60 characters: at most 59, since its container is named <name>-ctr"),
            ),
            (
                "NIMService",
                "llama-3.1-8b".to_owned(),
                Some("metadata.name is \"llama-3.1-8b\": no dots, since its Service has the same name"),
            ),
            ("NIMCache", "nim.cache".to_owned(), None),
            ("GPUQuota", "q".repeat(200), None),
        ] {
            assert_eq!(refusal(kind, &name).as_deref(), said, "{kind} {name}");
        }
    }

    #[test]
    fn platforms_and_pipelines_ask_for_more() {
        let kserve = json!({"inferencePlatform": "kserve"});
        let nodes =
            |replicas: i32| json!({"replicas": replicas, "multiNode": {"parallelism": {"pipeline": 2}}});
        let of = |more: &Value| {
            let mut spec = json!({"image": {"repository": "r", "tag": "t"}, "storage": {"emptyDir": {}}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            spec
        };
        for (spec, name, said) in [
            (kserve.clone(), "a".repeat(53), None),
            (kserve.clone(), "a".repeat(54), Some("at most 53, since KServe names its Service")),
            (kserve.clone(), "70b".to_owned(), Some("a letter first, since KServe")),
            (nodes(1), "a".repeat(46), None),
            (nodes(10), "a".repeat(47), Some("at most 46, since LeaderWorkerSet")),
            (nodes(11), "a".repeat(46), Some("at most 45, since LeaderWorkerSet")),
            (nodes(1), "70b".to_owned(), Some("a letter first, since LeaderWorkerSet")),
            (json!({}), "70b".to_owned(), None),
        ] {
            for (kind, field, found) in [
                ("NIMService", "metadata.name", refusal_of("NIMService", &name, &of(&spec))),
                ("NIMPipeline", "spec.services[1].name", {
                    let service = json!({"name": name, "enabled": true, "spec": of(&spec)});
                    let off = json!({"name": "a.b", "enabled": false, "spec": of(&json!({}))});
                    refusal_of("NIMPipeline", "p", &json!({"services": [off, service]}))
                }),
            ] {
                match said {
                    None => assert_eq!(found, None, "{kind} {name} {spec}"),
                    Some(said) => {
                        let found = found.unwrap_or_else(|| panic!("{kind} {name} {spec} is taken"));
                        assert!(found.starts_with(field) && found.contains(said), "{found}");
                    }
                }
            }
        }
    }
}
