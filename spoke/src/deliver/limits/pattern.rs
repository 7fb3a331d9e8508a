//! How limits name what they are about: patterns of names, and prefixes of paths.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name in which `*` stands for any run of characters, also none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

/// A registry or a folder: it covers what lies below it. `*` covers everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prefix(String);

/// A label or an annotation: its key, or `key=value`, where `*` in either stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pair(String);

/// Covers everything.
const ANY: &str = "*";

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether a name is meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            let Some(at) = rest.find(part) else { return false };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }
}

impl Prefix {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether an image comes from there: `nvcr.io/nim` covers `nvcr.io/nim/llm:1`, but neither `nvcr.io/nimble` nor
    /// `nvcr.io:5000/nim`.
    pub(super) fn covers(&self, image: &str) -> bool {
        let prefix = self.0.trim_end_matches('/');
        let Some(rest) = image.strip_prefix(prefix) else { return self.0 == ANY };
        // Behind a whole repository comes its tag or digest; behind a bare registry a colon is another port.
        let is_tag = prefix.contains('/') && rest.starts_with([':', '@']) && !rest.contains('/');
        self.0 == ANY || rest.is_empty() || rest.starts_with('/') || is_tag
    }

    /// Whether a folder of a node lies there. A path with `..` lies nowhere for certain.
    pub(super) fn covers_folder(&self, path: &str) -> bool {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return false;
        }
        let rest = path.strip_prefix(self.0.trim_end_matches('/'));
        self.0 == ANY || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Pair {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether a label or annotation is meant. A bare key means every value.
    pub(super) fn matches(&self, key: &str, value: &str) -> bool {
        let is = |pattern: &str, text: &str| Pattern::new(pattern).matches(text);
        match self.0.split_once('=') {
            Some((wanted, content)) => is(wanted, key) && is(content, value),
            None => is(&self.0, key),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A list as a person writes it.
pub(super) fn quoted(all: &[impl fmt::Display]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    format!("[{}]", all.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters() {
        let table = [
            ("nim", "nim", true),
            ("nim", "nims", false),
            ("nim", "", false),
            ("*", "", true),
            ("*", "anything", true),
            ("ngc-*", "ngc-", true),
            ("ngc-*", "ngc-api-secret", true),
            ("ngc-*", "my-ngc-secret", false),
            ("*-secret", "ngc-secret", true),
            ("*-secret", "ngc-secrets", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(Pattern::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pair_means_every_value_unless_it_names_one() {
        let table = [
            ("a.io/k", "a.io/k", "anything", true),
            ("a.io/k", "a.io/kk", "", false),
            ("a.io/*", "a.io/k", "v", true),
            ("a.io/k=v", "a.io/k", "v", true),
            ("a.io/k=v", "a.io/k", "v2", false),
            ("a.io/k=v-*", "a.io/k", "v-2", true),
            ("a.io/k=", "a.io/k", "v", false),
            ("a.io/k=x=y", "a.io/k", "x=y", true),
            ("*", "a.io/k", "v", true),
        ];
        for (pair, key, value, expected) in table {
            assert_eq!(Pair::new(pair).matches(key, value), expected, "{pair} {key}={value}");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_part_ends() {
        let table = [
            ("nvcr.io", "nvcr.io/nim/llm:1", true),
            ("nvcr.io/", "nvcr.io/nim/llm:1", true),
            ("nvcr.io", "nvcr.io.example.com/nim/llm", false),
            ("nvcr.io", "nvcr.io:5000/nim/llm", false),
            ("nvcr.io", "nvcr.io:5000", false),
            ("nvcr.io", "docker.io/nvcr.io/llm", false),
            ("nvcr.io/nim", "nvcr.io/nimble/llm", false),
            ("nvcr.io/nim/llm", "nvcr.io/nim/llm:1", true),
            ("nvcr.io/nim/llm", "nvcr.io/nim/llm@sha256:00", true),
            ("nvcr.io/nim/llm", "nvcr.io/nim/llm", true),
            ("nvcr.io/nim/llm", "nvcr.io/nim/llm:1/x", false),
            ("*", "busybox", true),
            ("docker.io", "busybox", false),
        ];
        for (prefix, image, expected) in table {
            assert_eq!(Prefix::new(prefix).covers(image), expected, "{prefix} {image}");
        }
    }

    #[test]
    fn a_folder_is_taken_as_written() {
        let table = [
            ("/data", "/data", true),
            ("/data", "/data/models", true),
            ("/data/", "/data/models", true),
            ("/data", "/database", false),
            ("/data", "/data/../etc", false),
            ("/data", "data", false),
            ("/", "/etc", true),
            ("*", "/etc", true),
            ("*", "/data/..", false),
        ];
        for (prefix, path, expected) in table {
            assert_eq!(Prefix::new(prefix).covers_folder(path), expected, "{prefix} {path}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_itself_with_any_part_starred(name in "[a-z-]{0,12}", from in 0_usize..13, to in 0_usize..13) {
            let (from, to) = (from.min(name.len()), to.min(name.len()));
            let (from, to) = (from.min(to), from.max(to));
            let starred = format!("{}*{}", &name[..from], &name[to..]);
            prop_assert!(Pattern::new(&starred).matches(&name), "{starred} {name}");
            prop_assert!(Pattern::new(&name).matches(&name));
        }
    }
}
