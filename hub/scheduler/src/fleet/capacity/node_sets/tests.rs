//! Which nodes pods may run on, by table and by property.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::need::need;

fn taint(key: &str, effect: &str) -> NodeTaint {
    NodeTaint { key: key.into(), value: "gpu".into(), effect: effect.into() }
}

fn label(key: &str, value: &str, sets: u32, partial: bool) -> NodeLabel {
    NodeLabel { key: key.into(), value: value.into(), sets: Sets(sets), partial }
}

/// Three sets: of GPUs for everybody, of GPUs with a taint, and without GPUs.
fn known() -> NodeSets {
    let set = |taints: Vec<NodeTaint>| NodeSet { taints, nodes: 2 };
    let sets =
        vec![set(vec![taint(GPU_TAINT, "NoSchedule")]), set(vec![taint("sku", "NoSchedule")]), set(vec![])];
    let labels = vec![
        label("zone", "b", 0b110, false),
        label("zone", "a", 0b001, false),
        label("kubernetes.io/hostname", "n1", 0b001, true),
        label("kubernetes.io/hostname", "n2", 0b010, true),
        label("gpus", "8", 0b001, false),
        label("gpus", "4", 0b010, false),
    ];
    NodeSets::new(sets, labels, vec!["feature.node.kubernetes.io/cpu-".into()])
}

fn demand(spec: &Value) -> NodeDemand {
    let service = json!({"kind": "NIMService", "metadata": {"name": "llm"}, "spec": spec});
    let nodes = need(&service, None).unwrap().nodes;
    nodes.as_deref().cloned().unwrap_or_default()
}

fn selected(spec: &Value) -> u32 {
    known().selected(&demand(spec)).0
}

#[test]
fn node_selectors_and_required_affinity_select_sets() {
    let affinity = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let one = |key: &str, operator: &str, values: &[&str]| {
        affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
    };
    for (spec, expected) in [
        (json!({}), 0b111),
        (json!({"nodeSelector": {"zone": "a"}}), 0b001),
        (json!({"nodeSelector": {"zone": "b", "gpus": "4"}}), 0b010),
        (json!({"nodeSelector": {"zone": "a", "gpus": "4"}}), 0),
        (json!({"nodeSelector": {"instanceType": "g5"}}), 0),
        (json!({"nodeSelector": {"feature.node.kubernetes.io/cpu-model.vendor_id": "AMD"}}), 0b111),
        (one("zone", "In", &["a", "c"]), 0b001),
        (one("zone", "NotIn", &["a", "c"]), 0b110),
        (one("zone", "Exists", &[]), 0b111),
        (one("zone", "DoesNotExist", &[]), 0),
        (one("gpus", "DoesNotExist", &[]), 0b100),
        (one("gpus", "NotIn", &["8"]), 0b110),
        (one("gpus", "Gt", &["4"]), 0b001),
        (one("gpus", "Lt", &["8"]), 0b010),
        (one("zone", "Gt", &["1"]), 0),
        (one("kubernetes.io/hostname", "In", &["n1"]), 0b001),
        (one("kubernetes.io/hostname", "In", &["n9"]), 0),
        // Another node of the set may be without it.
        (one("kubernetes.io/hostname", "NotIn", &["n1"]), 0b111),
        (one("kubernetes.io/hostname", "DoesNotExist", &[]), 0b111),
        (
            affinity(json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
                         {"matchExpressions": [{"key": "gpus", "operator": "In", "values": ["4"]}]}])),
            0b011,
        ),
        (
            affinity(json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]},
                                               {"key": "gpus", "operator": "Exists"}]}])),
            0b010,
        ),
        // A term that is empty selects nothing, one of fields anything.
        (affinity(json!([{}])), 0),
        (
            affinity(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["x"]}]}])),
            0b111,
        ),
        (
            json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["x"]}]}}]}}}),
            0b111,
        ),
    ] {
        assert_eq!(selected(&spec), expected, "{spec}");
    }
}

#[test]
fn taints_leave_the_sets_that_are_tolerated() {
    let tolerated = |spec: Value, has_gpus| known().tolerated(&demand(&spec).tolerations, has_gpus).0;
    let sku = json!([{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]);
    assert_eq!((tolerated(json!({}), true), tolerated(json!({}), false)), (0b101, 0b100));
    assert_eq!(tolerated(json!({"tolerations": sku}), true), 0b111);
    assert_eq!(tolerated(json!({"tolerations": sku}), false), 0b110);
    assert_eq!(tolerated(json!({"tolerations": [{"operator": "Exists"}]}), false), 0b111);
    assert_eq!(tolerated(json!({"tolerations": [{"key": "sku", "value": "cpu"}]}), true), 0b101);
}

#[test]
fn what_is_no_label_is_not_known_and_too_many_sets_are_not_kept() {
    let sets = vec![NodeSet::default(); 40];
    let known =
        NodeSets::new(sets, vec![label("a\u{1b}b", "c", 1, false), label("d", "e\n", 1, false)], vec![]);
    assert_eq!((known.sets().len(), known.all()), (MOST_SETS, Sets::ALL));
    assert!(!known.is_known("d") && known.is_known("e"));
    assert!(Sets(1).holds(0) && !Sets(1).holds(40) && Sets(0).holds(Sets::ANY));
}

proptest! {
    #[test]
    fn every_label_is_found(labels in prop::collection::btree_set(("[a-c]{1,2}", "[x-z]{0,2}"), 0..30)) {
        let rows = labels.iter().map(|(key, value)| label(key, value, 1, false)).rev().collect();
        let known = NodeSets::new(vec![NodeSet::default()], rows, vec![]);
        for key in ["a", "b", "cc", "ab", "d", ""] {
            let found: Vec<_> = known.values(key).collect();
            let expected: Vec<_> =
                labels.iter().filter(|(has, _)| has == key).map(|(_, value)| value.as_str()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
