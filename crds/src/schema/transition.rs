//! Rules that compare with what was before have no place in lists.

use serde_json::{Map, Value};

/// Takes the rules that name `oldSelf` out of everything that lies in a list. An API server refuses a definition with
/// such a rule: it cannot tell which item an item was before. The spec of a NIMService has one, and a NIMPipeline is a
/// list of such specs.
pub(super) fn leave_out_of_lists(schema: &mut Map<String, Value>) {
    visit(schema, false);
}

fn visit(schema: &mut Map<String, Value>, in_list: bool) {
    if in_list && let Some(Value::Array(rules)) = schema.get_mut("x-kubernetes-validations") {
        rules.retain(|rule| !rule["rule"].as_str().unwrap_or_default().contains("oldSelf"));
    }
    for (keyword, value) in schema.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().filter_map(Value::as_object_mut).for_each(|one| visit(one, in_list));
            }
            ("items", Value::Object(items)) => visit(items, true),
            ("additionalProperties", Value::Object(values)) => visit(values, in_list),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_lists_lose_rules_and_only_those_that_look_back() {
        let rules = json!([{ "rule": "self == oldSelf" }, { "rule": "has(self.a)" }]);
        let part = json!({ "properties": { "a": { "x-kubernetes-validations": rules } } });
        let mut schema = json!({ "properties": { "once": part, "list": { "items": part } } });
        leave_out_of_lists(schema.as_object_mut().unwrap());
        let at = |path: &str| schema.pointer(path).unwrap()["x-kubernetes-validations"].clone();
        assert_eq!(at("/properties/once/properties/a"), rules);
        assert_eq!(at("/properties/list/items/properties/a"), json!([{ "rule": "has(self.a)" }]));
    }
}
