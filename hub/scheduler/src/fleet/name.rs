//! The name of a joined cluster.

use std::{fmt, str::FromStr};

/// Longest name, characters: a name is also a DNS label in the certificate's SAN (RFC 1123).
const MAX_LENGTH: usize = 63;

/// Name of a joined cluster: `metadata.name` of its GPUCluster, a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

/// A string that cannot be a cluster's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster name {value:?}: {rule}")]
pub struct InvalidClusterName {
    /// What was given.
    pub value: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = InvalidClusterName;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let broken = |rule| Err(InvalidClusterName { value: value.to_owned(), rule });
        if value.is_empty() {
            return broken("must not be empty");
        }
        if value.len() > MAX_LENGTH {
            return broken("must have at most 63 characters");
        }
        if !value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return broken("must consist of lower-case letters, digits and '-'");
        }
        if value.starts_with('-') || value.ends_with('-') {
            return broken("must start and end with a letter or a digit");
        }
        Ok(Self(value.to_owned()))
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ClusterName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ClusterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dns_label_is_a_name() {
        for name in ["a", "east", "gpu-1", "0", &"x".repeat(63)] {
            assert_eq!(name.parse::<ClusterName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_names_the_value_and_the_rule() {
        let long = "x".repeat(64);
        for (value, rule) in [
            ("", "empty"),
            (long.as_str(), "63"),
            ("East", "lower-case"),
            ("a.b", "lower-case"),
            ("-a", "start and end"),
            ("a-", "start and end"),
        ] {
            let message = value.parse::<ClusterName>().unwrap_err().to_string();
            assert!(message.contains(rule) && message.contains(value), "{message}");
        }
    }
}
