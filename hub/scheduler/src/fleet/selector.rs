//! Label selectors, parsed once and then asked.

use std::collections::HashSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Labelled;

/// A label selector: all of its requirements must hold. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Requirement {
    In(String, Values),
    NotIn(String, Values),
    Exists(String),
    Absent(String),
}

/// What a requirement compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Values {
    /// As they were given.
    given: Vec<String>,
    /// The same, where looking through them takes long.
    known: Option<HashSet<String>>,
}

/// Values that are looked through; more are looked up.
const FEW: usize = 16;
/// Most requirements of one selector: every decision asks every cluster.
const MOST: usize = 64;

impl std::hash::Hash for Values {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.given.hash(state);
    }
}

impl Values {
    fn new(given: Vec<String>) -> Self {
        let known = (given.len() > FEW).then(|| given.iter().cloned().collect());
        Self { given, known }
    }

    fn has(&self, value: &str) -> bool {
        match &self.known {
            Some(known) => known.contains(value),
            None => self.given.iter().any(|one| one == value),
        }
    }
}

/// A selector that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// The operator is none of the four.
    #[error("label selector: key {key:?}: operator {operator:?} is none of In, NotIn, Exists, DoesNotExist")]
    Operator {
        /// Label key of the requirement.
        key: String,
        /// What was given.
        operator: String,
    },
    /// More requirements than are asked of every cluster.
    #[error("label selector: {count} requirements, at most {MOST}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// `In` and `NotIn` compare with something.
    #[error("label selector: key {key:?}: operator {operator} needs at least one value")]
    NoValues {
        /// Label key of the requirement.
        key: String,
        /// The operator.
        operator: &'static str,
    },
}

impl Selector {
    /// Whether the labels satisfy every requirement. Of a key with several values, `In` needs one that is listed, `NotIn` none.
    #[must_use]
    pub fn matches(&self, labels: &impl Labelled) -> bool {
        self.matches_but(labels, &|_| false)
    }

    /// The same, where requirements on some keys count as met.
    #[must_use]
    pub fn matches_but(&self, labels: &impl Labelled, is_met: &dyn Fn(&str) -> bool) -> bool {
        self.requirements.iter().all(|requirement| is_met(requirement.key()) || requirement.holds(labels))
    }
}

impl std::fmt::Display for Selector {
    /// As kubectl takes it: `team in (ml),!batch`; of one value `team=ml`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.requirements.is_empty() {
            return f.write_str("any");
        }
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, Values { given, .. }) if given.len() == 1 => {
                    write!(f, "{key}={}", given[0])?;
                }
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.given.join(","))?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.given.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Absent(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::Absent(key) => key,
        }
    }

    fn holds(&self, labels: &impl Labelled) -> bool {
        match self {
            Self::In(key, values) => labels.any(key, &mut |value| values.has(value)) == Some(true),
            Self::NotIn(key, values) => labels.any(key, &mut |value| values.has(value)) != Some(true),
            Self::Exists(key) => labels.any(key, &mut |_| true).is_some(),
            Self::Absent(key) => labels.any(key, &mut |_| true).is_none(),
        }
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = InvalidSelector;

    fn try_from(selector: &LabelSelector) -> Result<Self, Self::Error> {
        let expressions = selector.match_expressions.iter().flatten();
        let count = selector.match_labels.as_ref().map_or(0, std::collections::BTreeMap::len)
            + expressions.clone().count();
        if count > MOST {
            return Err(InvalidSelector::TooMany { count });
        }
        let labels = selector.match_labels.iter().flatten();
        let mut requirements: Vec<_> = labels
            .map(|(key, value)| Requirement::In(key.clone(), Values::new(vec![value.clone()])))
            .collect();
        for expression in expressions {
            let key = expression.key.clone();
            let values = expression.values.clone().unwrap_or_default();
            let empty = values.is_empty();
            requirements.push(match expression.operator.as_str() {
                "In" if empty => return Err(InvalidSelector::NoValues { key, operator: "In" }),
                "NotIn" if empty => return Err(InvalidSelector::NoValues { key, operator: "NotIn" }),
                "In" => Requirement::In(key, Values::new(values)),
                "NotIn" => Requirement::NotIn(key, Values::new(values)),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Absent(key),
                other => return Err(InvalidSelector::Operator { key, operator: other.to_owned() }),
            });
        }
        Ok(Self { requirements })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn parse(json: &serde_json::Value) -> Result<Selector, InvalidSelector> {
        Selector::try_from(&serde_json::from_value::<LabelSelector>(json.clone()).unwrap())
    }

    #[test]
    fn every_operator_means_what_it_means_in_kubernetes() {
        let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        for (operator, values, key, matches) in [
            ("In", vec!["gold", "silver"], "tier", true),
            ("In", vec!["silver"], "tier", false),
            ("In", vec!["gold"], "zone", false),
            ("NotIn", vec!["silver"], "tier", true),
            ("NotIn", vec!["gold"], "tier", false),
            ("NotIn", vec!["gold"], "zone", true),
            ("Exists", vec![], "tier", true),
            ("Exists", vec![], "zone", false),
            ("DoesNotExist", vec![], "zone", true),
            ("DoesNotExist", vec![], "tier", false),
        ] {
            let selector = parse(&serde_json::json!({"matchExpressions": [
                {"key": key, "operator": operator, "values": values}]}))
            .unwrap();
            assert_eq!(selector.matches(&labels), matches, "{key} {operator} {values:?}");
        }
    }

    #[test]
    fn all_requirements_must_hold_and_none_holds_always() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(parse(&serde_json::json!({})).unwrap().matches(&labels));
        let both = parse(&serde_json::json!({"matchLabels": {"a": "1", "b": "2"}})).unwrap();
        assert!(!both.matches(&labels));
    }

    #[test]
    fn a_selector_is_said_as_kubectl_takes_it() {
        let selector = parse(&serde_json::json!({"matchLabels": {"team": "ml"}, "matchExpressions": [
            {"key": "zone", "operator": "NotIn", "values": ["a", "b"]}, {"key": "batch", "operator": "DoesNotExist"}]}));
        assert_eq!(selector.unwrap().to_string(), "team=ml,zone notin (a,b),!batch");
        assert_eq!(parse(&serde_json::json!({})).unwrap().to_string(), "any");
    }

    #[test]
    fn long_lists_mean_what_short_ones_mean_and_too_many_requirements_are_refused() {
        let values: Vec<String> = (0..100).map(|index| format!("v{index}")).collect();
        let labels = BTreeMap::from([("a".to_owned(), "v99".to_owned())]);
        for (operator, matches) in [("In", true), ("NotIn", false)] {
            let json = serde_json::json!({"matchExpressions": [{"key": "a", "operator": operator, "values": values}]});
            assert_eq!(parse(&json).unwrap().matches(&labels), matches);
        }
        let many: Vec<_> = (0..65)
            .map(|index| serde_json::json!({"key": format!("k{index}"), "operator": "DoesNotExist"}))
            .collect();
        let error = parse(&serde_json::json!({"matchExpressions": many})).unwrap_err().to_string();
        assert!(error.contains("65 requirements, at most 64"), "{error}");
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let error = parse(&serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Like"}]}));
        assert!(error.unwrap_err().to_string().contains("\"Like\""));
        let error = parse(&serde_json::json!({"matchExpressions": [{"key": "a", "operator": "In"}]}));
        assert!(error.unwrap_err().to_string().contains("at least one value"));
    }
}
