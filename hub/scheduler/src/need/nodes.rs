//! Which nodes the pods of an object may run on: node selector, required node affinity and tolerations.

use std::fmt;
use std::sync::Arc;

use crds::taints::NodeToleration;
use serde_json::Value;

use super::text;

/// The label of nodes with NVIDIA devices, to which the operator sends the pods of a NIMCache that selects no nodes.
pub(super) const NVIDIA_NODE: (&str, &str) = ("feature.node.kubernetes.io/pci-10de.present", "true");

/// The nodes that pods may run on, in the words of core/v1. The empty demand is met by every node without taints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeDemand {
    /// `nodeSelector`: all of them.
    pub selector: Vec<Requirement>,
    /// Terms of the required node affinity, one of which must hold; none where there is no affinity.
    pub any_of: Option<Vec<Vec<Requirement>>>,
    /// Taints that do not matter.
    pub tolerations: Vec<NodeToleration>,
    /// Whether the selector is the operator's, since the object has none.
    pub by_default: bool,
}

/// What must hold of a node's label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How it compares.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How a label compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
    /// It is a greater number.
    Gt,
    /// It is a lesser number.
    Lt,
}

impl NodeDemand {
    /// Whether it asks for labels at all.
    #[must_use]
    pub const fn selects(&self) -> bool {
        !self.selector.is_empty() || self.any_of.is_some()
    }
}

/// The demand of the pods whose `nodeSelector`, `affinity` and `tolerations` are at a JSON pointer; none where they have none.
pub(super) fn of(object: &Value, at: &str) -> Option<Arc<NodeDemand>> {
    let demand = NodeDemand {
        selector: selector(object, at).unwrap_or_default(),
        any_of: affinity(object, at),
        tolerations: tolerations(object, at),
        by_default: false,
    };
    (demand != NodeDemand::default()).then(|| Arc::new(demand))
}

/// The demand of the pods of a NIMCache, which go to nodes with NVIDIA devices unless it has a selector, were it an empty one.
pub(super) fn of_cache(cache: &Value) -> Option<Arc<NodeDemand>> {
    let own = selector(cache, "/spec");
    let demand = NodeDemand {
        by_default: own.is_none(),
        selector: own.unwrap_or_else(|| {
            let (key, value) = NVIDIA_NODE;
            vec![Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }]
        }),
        any_of: None,
        tolerations: tolerations(cache, "/spec"),
    };
    (demand != NodeDemand::default()).then(|| Arc::new(demand))
}

fn selector(object: &Value, at: &str) -> Option<Vec<Requirement>> {
    let labels = object.pointer(&format!("{at}/nodeSelector"))?.as_object()?;
    let is = |(key, value): (&String, &Value)| {
        let values = vec![value.as_str()?.to_owned()];
        Some(Requirement { key: key.clone(), operator: Operator::In, values })
    };
    Some(labels.iter().filter_map(is).collect())
}

fn affinity(object: &Value, at: &str) -> Option<Vec<Vec<Requirement>>> {
    let required = "affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = object.pointer(&format!("{at}/{required}"))?.as_array()?;
    let list =
        |term: &Value, name: &str| term.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let read = |term: &Value| {
        let (expressions, fields) = (list(term, "matchExpressions"), list(term, "matchFields"));
        // Fields name a node, and names are not known here.
        let says_something = !expressions.is_empty() || !fields.is_empty();
        says_something.then(|| expressions.iter().filter_map(requirement).collect())
    };
    Some(terms.iter().filter_map(read).collect())
}

/// An operator that is not known asks for nothing here: the cluster's scheduler knows it.
fn requirement(expression: &Value) -> Option<Requirement> {
    let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
    Some(Requirement {
        key: text(expression, "/key").to_owned(),
        operator: match text(expression, "/operator") {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => return None,
        },
        values: values.filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

fn tolerations(object: &Value, at: &str) -> Vec<NodeToleration> {
    let all = object.pointer(&format!("{at}/tolerations")).and_then(Value::as_array);
    let read = |one: &Value| NodeToleration {
        key: text(one, "/key").to_owned(),
        operator: text(one, "/operator").to_owned(),
        value: text(one, "/value").to_owned(),
        effect: text(one, "/effect").to_owned(),
    };
    all.into_iter().flatten().map(read).collect()
}

impl fmt::Display for Requirement {
    /// `zone=a`, `zone in (a, b)`, `zone`, `gpus > 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        let list = values.join(", ");
        match (operator, &values[..]) {
            (Operator::In, [value]) => write!(f, "{key}={value}"),
            (Operator::In, _) => write!(f, "{key} in ({list})"),
            (Operator::NotIn, _) => write!(f, "{key} not in ({list})"),
            (Operator::Exists, _) => f.write_str(key),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
            (Operator::Gt, _) => write!(f, "{key} > {list}"),
            (Operator::Lt, _) => write!(f, "{key} < {list}"),
        }
    }
}
