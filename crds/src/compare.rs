//! Does a live object already hold what is desired, and where does it differ? Extra fields of others do not matter.
//!
//! There are two rules. [`holds`] compares as an API server merges: for objects that others write to, and that the API server
//! fills in. [`holds_as_written`] compares what was written before: for objects that nobody else changes by right.

use std::fmt;

use serde_json::Value;

use crate::quantity::amount;

/// Keys that identify an item of a list, most telling first: the merge keys of the Kubernetes API.
const ITEM_KEYS: &[&str] = &["name", "mountPath", "containerPort", "port", "type", "uid", "key"];

/// Maps below which every value that is one is a quantity; `target` is that of an autoscaler's metric.
const QUANTITY_MAPS: &[&str] = &["limits", "requests", "capacity", "target"];

/// How lists and absence are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    Merged,
    Written,
}

/// True when everything that `desired` says is so in `live`.
///
/// Empty maps, lists and strings are equal to absence, since the API server drops them; quantities are compared by
/// amount; list items are found by their merge key where they have one, by position otherwise. Items that share a key, as
/// two metrics of type `Resource` do, each need an item of their own, in any order.
#[must_use]
pub fn holds(desired: &Value, live: &Value) -> bool {
    covers(Rule::Merged, desired, Some(live), false)
}

/// True when everything that was `written` is still so in `live`.
///
/// Lists must be equal in length and order, since the API server never adds items to a list of ours by itself; what is empty
/// has to be there, and null is absence.
#[must_use]
pub fn holds_as_written(written: &Value, live: &Value) -> bool {
    covers(Rule::Written, written, Some(live), false)
}

fn covers(rule: Rule, desired: &Value, live: Option<&Value>, quantity: bool) -> bool {
    let is_merged = rule == Rule::Merged;
    let Some(live) = live else { return if is_merged { is_empty(desired) } else { desired.is_null() } };
    match (desired, live) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(key, value)| covers(rule, value, found.get(key), quantity || is_amount(key)))
        }
        (Value::Array(wanted), Value::Array(found)) => covers_list(rule, wanted, found),
        (Value::Null, _) if is_merged => true,
        _ if desired == live => true,
        // 1.0 is stored as 1.
        (Value::Number(wanted), Value::Number(found)) if wanted.is_f64() || found.is_f64() => {
            wanted.as_f64() == found.as_f64()
        }
        _ if quantity && is_merged => matches!((amount(desired), amount(live)), (Some(a), Some(b)) if a == b),
        _ => false,
    }
}

/// Whether what a key names is a quantity, or a map of them.
fn is_amount(key: &str) -> bool {
    key == "sizeLimit" || QUANTITY_MAPS.contains(&key)
}

fn covers_list(rule: Rule, wanted: &[Value], found: &[Value]) -> bool {
    match item_key(rule, wanted) {
        Some(key) => {
            let mut left: Vec<&Value> = found.iter().collect();
            wanted.iter().all(|item| {
                let is_twin = |other: &&Value| {
                    other.get(key) == item.get(key) && covers(rule, item, Some(other), false)
                };
                left.iter().position(is_twin).map(|twin| left.remove(twin)).is_some()
            })
        }
        None => {
            wanted.len() == found.len()
                && wanted.iter().zip(found).all(|(item, other)| covers(rule, item, Some(other), false))
        }
    }
}

/// The key that all items of a list have, where items are found by it.
fn item_key(rule: Rule, wanted: &[Value]) -> Option<&'static str> {
    let has_all = |key: &&&str| !wanted.is_empty() && wanted.iter().all(|item| item.get(**key).is_some());
    ITEM_KEYS.iter().filter(|_| rule == Rule::Merged).find(has_all).copied()
}

/// One field that is not as it is desired.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// For example `spec.template.spec.containers[main].image`.
    pub path: String,
    /// What is desired.
    pub wanted: Value,
    /// What there is; null where there is nothing.
    pub found: Value,
}

/// Longest value that is shown, in characters.
const LONGEST_VALUE: usize = 160;

impl Difference {
    /// True where both say the same in other words, as 0.5 and 500m do.
    #[must_use]
    pub fn is_spelling(&self) -> bool {
        matches!((amount(&self.wanted), amount(&self.found)), (Some(a), Some(b)) if a == b)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, found, .. } = self;
        let value = match found {
            Value::Null => return write!(f, "{path} is removed by this cluster's admission"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let shown: String = value.chars().take(LONGEST_VALUE).collect();
        write!(f, "{path} is changed by this cluster's admission to {shown}")
    }
}

/// Every field that `desired` says and that is otherwise in `live`; none exactly where [`holds`] is true.
#[must_use]
pub fn differences(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(Rule::Merged, "", desired, Some(live), false, &mut found);
    found
}

/// Every field that was `written` and that is otherwise in `live`; none exactly where [`holds_as_written`] is true.
#[must_use]
pub fn differences_as_written(written: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(Rule::Written, "", written, Some(live), false, &mut found);
    found
}

fn differ(
    rule: Rule,
    path: &str,
    desired: &Value,
    live: Option<&Value>,
    quantity: bool,
    found: &mut Vec<Difference>,
) {
    if covers(rule, desired, live, quantity) {
        return;
    }
    match (desired, live) {
        (Value::Object(wanted), Some(Value::Object(live))) => {
            for (key, value) in wanted {
                differ(rule, &below(path, key), value, live.get(key), quantity || is_amount(key), found);
            }
        }
        (Value::Array(wanted), Some(Value::Array(live)))
            if item_key(rule, wanted).is_some() || wanted.len() == live.len() =>
        {
            let key = item_key(rule, wanted);
            let mut left: Vec<&Value> = live.iter().collect();
            for (place, item) in wanted.iter().enumerate() {
                let (name, twin) = match key {
                    Some(key) => {
                        let same = |other: &&Value| other.get(key) == item.get(key);
                        let whole = |other: &&Value| same(other) && covers(rule, item, Some(other), false);
                        let twin = left.iter().position(whole).or_else(|| left.iter().position(same));
                        (text(&item[key]), twin.map(|twin| left.remove(twin)))
                    }
                    None => (place.to_string(), live.get(place)),
                };
                differ(rule, &format!("{path}[{name}]"), item, twin, false, found);
            }
        }
        _ => found.push(Difference {
            path: path.to_owned(),
            wanted: desired.clone(),
            found: live.cloned().unwrap_or_default(),
        }),
    }
}

fn below(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ if key.contains(['.', '/']) => format!("{path}[{key}]"),
        _ => format!("{path}.{key}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_what_holds() {
        for (desired, live, expected) in [
            (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({"a": 1}), json!({}), false),
            (json!({"a": {}, "b": [], "c": "", "d": null}), json!({}), true),
            (json!({"emptyDir": {}}), json!({"emptyDir": {}}), true),
            (json!({"limits": {"cpu": "1000m"}}), json!({"limits": {"cpu": "1"}}), true),
            (json!({"limits": {"memory": "1Gi"}}), json!({"limits": {"memory": "1024Mi"}}), true),
            (json!({"limits": {"gpu": 1}}), json!({"limits": {"gpu": "1"}}), true),
            (json!({"limits": {"gpu": "2"}}), json!({"limits": {"gpu": "1"}}), false),
            (json!({"requests": {"storage": "5e3"}}), json!({"requests": {"storage": "5k"}}), true),
            (json!({"sizeLimit": "0.5Gi"}), json!({"sizeLimit": "512Mi"}), true),
            (json!({"value": "1000m"}), json!({"value": "1"}), false),
            (json!(["a", "b"]), json!(["a", "b"]), true),
            (json!(["a", "b"]), json!(["b", "a"]), false),
            (json!(["a"]), json!(["a", "b"]), false),
            (json!([]), json!(["left"]), false),
            (json!({"weight": 1.0}), json!({"weight": 1}), true),
            (json!({"weight": 1.5}), json!({"weight": 1}), false),
            (json!({"bytes": 9_007_199_254_740_993_u64}), json!({"bytes": 9_007_199_254_740_992_u64}), false),
            (json!({"limits": {"gpu": 1.0}}), json!({"limits": {"gpu": "1"}}), true),
        ] {
            assert_eq!(holds(&desired, &live), expected, "{desired} in {live}");
        }
    }

    #[test]
    fn what_was_written_is_there_as_it_was_written() {
        let written = json!({"a": 1, "list": [{"name": "x"}], "none": null});
        for (what, live, expected) in [
            ("same", json!({"a": 1, "list": [{"name": "x"}], "none": null}), true),
            ("defaults added", json!({"a": 1, "list": [{"name": "x", "protocol": "TCP"}], "b": 2}), true),
            ("number in other spelling", json!({"a": 1.0, "list": [{"name": "x"}]}), true),
            ("changed", json!({"a": 2, "list": [{"name": "x"}]}), false),
            ("lost", json!({"list": [{"name": "x"}]}), false),
            ("item added", json!({"a": 1, "list": [{"name": "x"}, {"name": "y"}]}), false),
            ("item changed", json!({"a": 1, "list": [{"name": "y"}]}), false),
            ("other type", json!({"a": "1", "list": [{"name": "x"}]}), false),
            ("set where it was unset", json!({"a": 1, "list": [{"name": "x"}], "none": 1}), false),
        ] {
            let found = differences_as_written(&written, &live);
            assert_eq!(found.is_empty(), expected, "{what}: {found:?}");
            assert_eq!(holds_as_written(&written, &live), expected, "{what}");
        }
        for empty in [json!({"a": {}}), json!({"a": []}), json!({"a": ""})] {
            assert!(!holds_as_written(&empty, &json!({})), "{empty}");
        }
        assert!(!holds_as_written(&json!({"limits": {"cpu": "1"}}), &json!({"limits": {"cpu": "1000m"}})));
        let written =
            json!({"spec": {"image": {"repository": "nvcr.io/a"}, "env": [{"name": "A", "value": "1"}]}});
        let live =
            json!({"spec": {"image": {"repository": "mirror/a"}, "env": [{"name": "A", "value": "2"}]}});
        let told: Vec<_> = differences_as_written(&written, &live).iter().map(ToString::to_string).collect();
        let to = "is changed by this cluster's admission to";
        assert_eq!(
            told,
            [format!("spec.env[0].value {to} 2"), format!("spec.image.repository {to} mirror/a")]
        );
    }

    #[test]
    fn items_are_found_by_their_key_among_those_of_others() {
        let live = json!([{"name": "mesh", "image": "x"}, {"name": "main", "image": "y", "tty": false}]);
        assert!(holds(&json!([{"name": "main", "image": "y"}]), &live));
        assert!(!holds(&json!([{"name": "main", "image": "z"}]), &live));
        assert!(!holds(&json!([{"name": "gone"}]), &live));
    }

    #[test]
    fn metrics_of_one_type_are_compared_each_with_its_own_in_any_order() {
        let resource = |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
        let pods = |amount: &str| json!({"type": "Pods", "pods": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": amount}}});
        let cpu = resource("cpu", json!({"type": "Utilization", "averageUtilization": 70}));
        let memory =
            |amount: &str| resource("memory", json!({"type": "AverageValue", "averageValue": amount}));
        let desired = json!({"metrics": [cpu, memory("0.5Gi"), pods("0.75"), pods("1")]});
        let live = |memory: Value| json!({"metrics": [pods("750m"), pods("1"), cpu, memory]});
        assert!(holds(&desired, &live(memory("512Mi"))));
        assert!(!holds(&desired, &live(memory("9Gi"))), "the second metric of the type was changed");
        assert!(!holds(
            &json!({"metrics": [pods("1"), pods("1")]}),
            &json!({"metrics": [pods("1"), pods("2")]})
        ));
    }

    #[test]
    fn what_differs_is_named_with_what_is_there() {
        let desired = json!({
            "metadata": {"annotations": {"a.example/b": "1"}},
            "spec": {"replicas": 1, "containers": [{"name": "main", "image": "nvcr.io/a"}, {"name": "b", "image": "b"}],
                "args": ["x"], "gone": true},
        });
        let live = json!({
            "metadata": {"annotations": {"a.example/b": "2"}},
            "spec": {"replicas": 1, "containers": [{"name": "mesh"}, {"name": "main", "image": "mirror/a"}],
                "args": ["x", "y"]},
        });
        let told: Vec<String> = differences(&desired, &live).iter().map(ToString::to_string).collect();
        let to = "is changed by this cluster's admission to";
        let expected = [
            format!("metadata.annotations[a.example/b] {to} 2"),
            format!("spec.args {to} [\"x\",\"y\"]"),
            format!("spec.containers[main].image {to} mirror/a"),
            "spec.containers[b] is removed by this cluster's admission".to_owned(),
            "spec.gone is removed by this cluster's admission".to_owned(),
        ];
        assert_eq!(told, expected);
        let spelled = differences(&json!({"a": "0.5", "b": "0.5"}), &json!({"a": "500m", "b": "5"}));
        assert_eq!(spelled.iter().map(Difference::is_spelling).collect::<Vec<_>>(), [true, false]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
            any::<i32>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_holds_in_itself(value in any_json()) {
            prop_assert!(holds(&value, &value));
        }

        #[test]
        fn a_foreign_field_never_unsettles(value in any_json()) {
            let mut live = value.clone();
            if let Value::Object(fields) = &mut live {
                fields.insert("foreign".into(), json!({"x": 1}));
            }
            prop_assert!(holds(&value, &live));
        }

        #[test]
        fn there_is_a_difference_exactly_where_it_does_not_hold(desired in any_json(), live in any_json()) {
            prop_assert_eq!(differences(&desired, &live).is_empty(), holds(&desired, &live));
            let is_as_written = holds_as_written(&desired, &live);
            prop_assert_eq!(differences_as_written(&desired, &live).is_empty(), is_as_written);
        }

        #[test]
        fn a_changed_field_is_seen(value in any_json(), was in 0..9) {
            let desired = json!({"a": value, "n": was});
            let mut live = desired.clone();
            live["n"] = json!(was + 1);
            prop_assert!(!holds(&desired, &live));
        }
    }
}
