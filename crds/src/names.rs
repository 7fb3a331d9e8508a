//! Names that no child can carry: what is made from `metadata.name` of each kind, and what it may therefore be.
//!
//! The numbers are those of the API server: a label value, a container name and a DNS label have at most 63 characters, and
//! a Service's name has no dot. Policies refuse such a name when an object is made; the hub says it of an object that was
//! stored before.

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
}

/// 63 characters of a container's name, less `-ctr`.
const MICROSERVICE: NameRule = NameRule {
    kind: "NIMService",
    longest: 59,
    because: "since its container is named <name>-ctr",
    no_dots_because: Some("since its Service has the same name"),
};

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
    },
    NameRule {
        kind: "NIMBuild",
        longest: 63,
        because: "since it becomes a label of its pods",
        no_dots_because: None,
    },
    NameRule {
        kind: "NIMPlacement",
        longest: 63,
        because: "since it becomes a label of the objects",
        no_dots_because: None,
    },
    NameRule {
        kind: "GPUCluster",
        longest: 63,
        because: "since it is a DNS label in the certificate of its agent",
        no_dots_because: Some("since it is a DNS label in the certificate of its agent"),
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
    let NameRule { longest, because, no_dots_because, .. } = rule(kind)?;
    if name.len() > *longest {
        let characters = name.len();
        return Some(format!("metadata.name has {characters} characters: at most {longest}, {because}"));
    }
    no_dots_because
        .filter(|_| name.contains('.'))
        .map(|because| format!("metadata.name is {name:?}: no dots, {because}"))
}

#[cfg(test)]
mod tests {
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
}
