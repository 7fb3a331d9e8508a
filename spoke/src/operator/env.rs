//! Environment variables: building and merging lists of them.

use crds::nim::ProxySpec;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

/// A variable with a value.
pub(crate) fn var(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), value_from: None }
}

/// A variable from a key, of the same name, of a Secret.
pub(crate) fn secret_var(name: &str, secret: &str, optional: bool) -> EnvVar {
    let selector = SecretKeySelector {
        name: secret.to_owned(),
        key: name.to_owned(),
        optional: optional.then_some(true),
    };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// All of `second`, then those of `first` that `second` does not name.
pub(crate) fn merge(first: &[EnvVar], second: &[EnvVar]) -> Vec<EnvVar> {
    let missing = first.iter().filter(|old| !second.iter().any(|new| new.name == old.name));
    second.iter().chain(missing).cloned().collect()
}

/// Adds variables that are not yet there, at the end.
pub(crate) fn add_missing(list: &mut Vec<EnvVar>, more: impl IntoIterator<Item = EnvVar>) {
    for var in more {
        if !list.iter().any(|old| old.name == var.name) {
            list.push(var);
        }
    }
}

/// Sets variables, in their place where they are there already.
pub(crate) fn set(list: &mut Vec<EnvVar>, more: impl IntoIterator<Item = EnvVar>) {
    for var in more {
        match list.iter_mut().find(|old| old.name == var.name) {
            Some(old) => *old = var,
            None => list.push(var),
        }
    }
}

/// One variable per name, the last given: what a container sees of a list with duplicates, which server-side apply
/// would refuse.
pub(crate) fn distinct(list: Vec<EnvVar>) -> Vec<EnvVar> {
    let mut all: Vec<EnvVar> = Vec::with_capacity(list.len());
    set(&mut all, list);
    all
}

/// What a proxy asks for. Empty values are written as empty.
pub(crate) fn proxy(proxy: &ProxySpec) -> Vec<EnvVar> {
    let value = |given: &Option<String>| given.clone().unwrap_or_default();
    let (https, http, no) = (value(&proxy.https_proxy), value(&proxy.http_proxy), value(&proxy.no_proxy));
    vec![
        var("NIM_SDK_USE_NATIVE_TLS", "1"),
        var("HTTPS_PROXY", https.as_str()),
        var("HTTP_PROXY", http.as_str()),
        var("NO_PROXY", no.as_str()),
        var("https_proxy", https.as_str()),
        var("http_proxy", http.as_str()),
        var("no_proxy", no.as_str()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> Vec<EnvVar> {
        pairs.iter().map(|(name, value)| var(name, *value)).collect()
    }

    #[test]
    fn the_second_list_wins_and_comes_first() {
        let merged = merge(&list(&[("A", "1"), ("B", "1")]), &list(&[("C", "2"), ("A", "2")]));
        assert_eq!(merged, list(&[("C", "2"), ("A", "2"), ("B", "1")]));
        assert_eq!(merge(&list(&[("A", "1")]), &[]), list(&[("A", "1")]));
        assert_eq!(merge(&[], &list(&[("A", "1"), ("A", "2")])), list(&[("A", "1"), ("A", "2")]));
    }

    #[test]
    fn of_duplicates_the_last_counts() {
        assert_eq!(distinct(list(&[("A", "1"), ("B", "1"), ("A", "2")])), list(&[("A", "2"), ("B", "1")]));
    }

    #[test]
    fn missing_ones_are_added_and_set_ones_replaced() {
        let mut vars = list(&[("A", "1")]);
        add_missing(&mut vars, list(&[("A", "2"), ("B", "2")]));
        assert_eq!(vars, list(&[("A", "1"), ("B", "2")]));
        set(&mut vars, list(&[("A", "3"), ("C", "3")]));
        assert_eq!(vars, list(&[("A", "3"), ("B", "2"), ("C", "3")]));
    }
}
