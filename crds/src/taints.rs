//! Taints of nodes and the tolerations of pods, compared as kube-scheduler compares them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Key of the taint of GPU nodes that pods with GPUs tolerate, by hand or by the admission plugin ExtendedResourceToleration.
pub const GPU_TAINT: &str = "nvidia.com/gpu";

/// A taint of a node that repels pods: `NoSchedule` or `NoExecute`. `PreferNoSchedule` repels none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeTaint {
    /// Its key.
    pub key: String,
    /// Its value; empty where it has none.
    pub value: String,
    /// Its effect, as core/v1 spells it.
    pub effect: String,
}

/// A toleration of a pod, in the words of core/v1.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeToleration {
    /// Key; empty with `Exists`: every key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` (the default), `Exists`, or with numbers `Lt` and `Gt`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// The value that the taint's is compared with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect; empty: every effect.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub effect: String,
}

impl NodeTaint {
    /// Whether a taint of that effect repels pods.
    #[must_use]
    pub fn repels(effect: &str) -> bool {
        matches!(effect, "NoSchedule" | "NoExecute")
    }

    /// Whether one of the tolerations tolerates it.
    #[must_use]
    pub fn is_tolerated(&self, tolerations: &[NodeToleration]) -> bool {
        tolerations.iter().any(|toleration| toleration.tolerates(self))
    }
}

impl NodeToleration {
    /// Whether a pod with this toleration may run on a node with the taint.
    #[must_use]
    pub fn tolerates(&self, taint: &NodeTaint) -> bool {
        if !self.effect.is_empty() && self.effect != taint.effect {
            return false;
        }
        if !self.key.is_empty() && self.key != taint.key {
            return false;
        }
        let numbers = || Some((taint.value.parse::<i64>().ok()?, self.value.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "Exists" => true,
            // Without a key only `Exists` means anything.
            "" | "Equal" => !self.key.is_empty() && self.value == taint.value,
            "Lt" => numbers().is_some_and(|(taint, given)| taint < given),
            "Gt" => numbers().is_some_and(|(taint, given)| taint > given),
            _ => false,
        }
    }
}

impl fmt::Display for NodeTaint {
    /// `sku=gpu:NoSchedule`, as kubectl writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, effect } = self;
        if value.is_empty() { write!(f, "{key}:{effect}") } else { write!(f, "{key}={value}:{effect}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_mean_what_core_v1_says() {
        let taint =
            |effect: &str| NodeTaint { key: "sku".into(), value: "gpu".into(), effect: effect.into() };
        let toleration = |[key, operator, value, effect]: [&str; 4]| NodeToleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
        };
        for (parts, no_schedule, no_execute) in [
            (["sku", "Equal", "gpu", "NoSchedule"], true, false),
            (["sku", "", "gpu", "NoSchedule"], true, false),
            (["sku", "Equal", "gpu", ""], true, true),
            (["sku", "Equal", "cpu", ""], false, false),
            (["sku", "Equal", "", ""], false, false),
            (["sku", "Exists", "", "NoExecute"], false, true),
            (["", "Exists", "", ""], true, true),
            (["", "Exists", "", "NoSchedule"], true, false),
            (["", "Equal", "gpu", ""], false, false),
            (["other", "Exists", "", ""], false, false),
            (["sku", "Near", "gpu", ""], false, false),
        ] {
            let is_tolerated = |effect: &str| taint(effect).is_tolerated(&[toleration(parts)]);
            assert_eq!(is_tolerated("NoSchedule"), no_schedule, "{parts:?}");
            assert_eq!(is_tolerated("NoExecute"), no_execute, "{parts:?}");
        }
        assert!(!taint("NoSchedule").is_tolerated(&[]));
        assert!(NodeTaint::repels("NoExecute") && !NodeTaint::repels("PreferNoSchedule"));
        let level = NodeTaint { key: "sla".into(), value: "950".into(), effect: "NoSchedule".into() };
        assert!(toleration(["sla", "Gt", "900", ""]).tolerates(&level));
        assert!(!toleration(["sla", "Lt", "900", ""]).tolerates(&level));
        assert_eq!(level.to_string(), "sla=950:NoSchedule");
    }
}
