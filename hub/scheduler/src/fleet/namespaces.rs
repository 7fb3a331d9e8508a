//! Which namespaces of the hub a cluster admits.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::Selector;

/// Which namespaces may place in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All of them.
    #[default]
    All,
    /// Those whose labels match.
    Matching(Selector),
    /// Nobody can tell: the selector means nothing, for this reason. None is admitted.
    Unreadable(String),
}

impl Namespaces {
    /// Whether a namespace with these labels is admitted; one that is not known has none that match.
    #[must_use]
    pub fn admit(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        match self {
            Self::All => true,
            Self::Matching(selector) => labels.is_some_and(|labels| selector.matches(labels)),
            Self::Unreadable(_) => false,
        }
    }
}

impl From<Option<&LabelSelector>> for Namespaces {
    fn from(selector: Option<&LabelSelector>) -> Self {
        match selector.map(Selector::try_from) {
            None => Self::All,
            Some(Ok(selector)) => Self::Matching(selector),
            Some(Err(error)) => Self::Unreadable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_admitted_by_its_labels() {
        let read = |json: serde_json::Value| {
            Namespaces::from(Some(&serde_json::from_value::<LabelSelector>(json).unwrap()))
        };
        let ml = BTreeMap::from([("team".to_owned(), "ml".to_owned())]);
        let by_team = read(json!({"matchLabels": {"team": "ml"}}));
        let broken = read(json!({"matchExpressions": [{"key": "team", "operator": "Like"}]}));
        for (namespaces, labels, admitted) in [
            (&Namespaces::from(None), None, true),
            (&by_team, Some(&ml), true),
            (&by_team, Some(&BTreeMap::new()), false),
            (&by_team, None, false),
            (&read(json!({})), Some(&BTreeMap::new()), true),
            (&broken, Some(&ml), false),
        ] {
            assert_eq!(namespaces.admit(labels), admitted, "{namespaces:?} {labels:?}");
        }
        assert!(matches!(broken, Namespaces::Unreadable(why) if why.contains("Like")));
    }
}
