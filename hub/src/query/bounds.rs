//! What a simulation is held to: the spec of its placement to the definition of NIMPlacement, as the API server holds the stored
//! one, and the rest to numbers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::extractors::This;
use cel::objects::{Key, Value as Cel};
use cel::{Context, Env, Program};
use crds::quantity;
use hub_core::resolve;
use regex::Regex;
use serde_json::Value;

/// Most manifests of one simulation: as many objects as one placement may have.
const MOST_MANIFESTS: usize = 256;
/// Most clusters that are supposed to be gone.
const MOST_CLUSTERS: usize = 10_000;

/// Looks at the spec of a PlacementSimulation as it was sent. An error names the field, its value and the limit.
pub(super) fn check(spec: &Value) -> Result<(), String> {
    for (field, most) in [("manifests", MOST_MANIFESTS), ("withoutClusters", MOST_CLUSTERS)] {
        let items = spec.get(field).and_then(Value::as_array).map_or(0, Vec::len);
        if items > most {
            return Err(format!("spec.{field}: {items} items, at most {most}"));
        }
    }
    for (index, manifest) in spec.get("manifests").and_then(Value::as_array).into_iter().flatten().enumerate()
    {
        let bytes = resolve::size(manifest);
        if bytes > resolve::MOST_BYTES {
            let most = resolve::MOST_BYTES;
            return Err(format!("spec.manifests[{index}]: {bytes} bytes, at most {most}: make it smaller"));
        }
    }
    match spec.get("placement") {
        None | Some(Value::Null) => Ok(()),
        Some(placement) => Checker::default().check(definition()?, placement, "spec.placement"),
    }
}

/// The schema of `NIMPlacement.spec`.
fn definition() -> Result<&'static Value, String> {
    static SCHEMA: OnceLock<Result<Value, String>> = OnceLock::new();
    let read = || {
        let all = crds::all().map_err(|error| error.to_string())?;
        let kind = all.iter().find(|one| one.spec.names.kind == "NIMPlacement");
        let schema = kind.and_then(|kind| kind.spec.versions.first()?.schema.as_ref());
        let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
        let spec = schema.pointer("/openAPIV3Schema/properties/spec").cloned();
        spec.ok_or_else(|| "the definition of NIMPlacement has no spec".to_owned())
    };
    SCHEMA.get_or_init(read).as_ref().map_err(Clone::clone)
}

/// Holds values to schemas; each rule and pattern is compiled once.
#[derive(Default)]
struct Checker<'s> {
    rules: HashMap<&'s str, Result<Program, String>>,
    patterns: HashMap<&'s str, Option<Regex>>,
}

impl<'s> Checker<'s> {
    fn check(&mut self, schema: &'s Value, value: &Value, at: &str) -> Result<(), String> {
        if value.is_null() && schema["nullable"] == true {
            return Ok(());
        }
        self.plain(schema, value, at)?;
        match value {
            Value::Object(fields) => {
                let known = schema.get("properties").and_then(Value::as_object);
                for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if !fields.contains_key(name) {
                        return Err(format!("{at}.{name}: is missing"));
                    }
                }
                for (name, field) in fields {
                    let below = format!("{at}.{name}");
                    let schema_of = known.and_then(|known| known.get(name));
                    match schema_of
                        .or_else(|| schema.get("additionalProperties").filter(|other| other.is_object()))
                    {
                        Some(schema) => self.check(schema, field, &below)?,
                        None if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                        None => return Err(format!("{below}: there is no such field")),
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.get("items") else { return Ok(()) };
                for (index, item) in items.iter().enumerate() {
                    self.check(schema, item, &format!("{at}[{index}]"))?;
                }
            }
            _ => {}
        }
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            self.rule(rule, value, at)?;
        }
        Ok(())
    }

    /// Type, length and range.
    fn plain(&mut self, schema: &'s Value, value: &Value, at: &str) -> Result<(), String> {
        let is_either = schema["x-kubernetes-int-or-string"] == true;
        let fits = match schema["type"].as_str() {
            _ if is_either => value.is_string() || value.is_i64() || value.is_u64(),
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            _ => true,
        };
        if !fits {
            let wanted = schema["type"].as_str().unwrap_or("integer or string");
            return Err(format!("{at}: is of another type than {wanted}"));
        }
        let (size, unit, least, most) = match value {
            Value::String(text) => (text.chars().count(), "characters", "minLength", "maxLength"),
            Value::Array(items) => (items.len(), "items", "minItems", "maxItems"),
            Value::Object(fields) => (fields.len(), "fields", "minProperties", "maxProperties"),
            _ => (0, "", "", ""),
        };
        let bound = |name: &str| {
            schema.get(name).and_then(Value::as_u64).and_then(|bound| usize::try_from(bound).ok())
        };
        if let Some(most) = bound(most).filter(|most| size > *most) {
            return Err(format!("{at}: {size} {unit}, at most {most}"));
        }
        if let Some(least) = bound(least).filter(|least| size < *least) {
            return Err(format!("{at}: {size} {unit}, at least {least}"));
        }
        let number = |name: &str| schema.get(name).and_then(Value::as_f64);
        if let Some(is) = value.as_f64() {
            if let Some(most) = number("maximum").filter(|most| is > *most) {
                return Err(format!("{at}: {value} is more than {most}"));
            }
            if let Some(least) = number("minimum").filter(|least| is < *least) {
                return Err(format!("{at}: {value} is less than {least}"));
            }
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            let allowed: Vec<_> = allowed.iter().map(Value::to_string).collect();
            return Err(format!("{at}: {value} is none of {}", allowed.join(", ")));
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
            let compiled = self.patterns.entry(pattern).or_insert_with(|| Regex::new(pattern).ok());
            if !compiled.as_ref().is_some_and(|compiled| compiled.is_match(text)) {
                return Err(format!("{at}: {text:?} does not match {pattern}"));
            }
        }
        Ok(())
    }

    /// A CEL rule of the definition.
    fn rule(&mut self, rule: &'s Value, value: &Value, at: &str) -> Result<(), String> {
        let source = rule["rule"].as_str().unwrap_or_default();
        if source.contains("oldSelf") {
            // It compares with what is stored.
            return Ok(());
        }
        let context = context(value);
        match self.evaluate(source, &context) {
            Ok(Cel::Bool(true)) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(format!("{at}: {source}: {error}")),
        }
        let said = rule["messageExpression"].as_str().map(|source| self.evaluate(source, &context));
        let message = match said {
            Some(Ok(Cel::String(text))) => text.as_str().to_owned(),
            _ => rule["message"].as_str().unwrap_or(source).to_owned(),
        };
        Err(format!("{at}: {message}"))
    }

    fn evaluate(&mut self, source: &'s str, context: &Context<'_, '_>) -> Result<Cel, String> {
        let compile = || Program::compile(source).map_err(|error| error.to_string());
        let program = self.rules.entry(source).or_insert_with(compile).as_ref().map_err(Clone::clone)?;
        program.execute(context).map_err(|error| error.to_string())
    }
}

/// Where rules are evaluated: `self`, and what of the API server's functions our rules use beside CEL's own.
fn context(value: &Value) -> Context<'static, 'static> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    let mut context = Context::with_env(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())).clone());
    context.add_variable_from_value("self", cel(value));
    // The environment has no functions of these names.
    let _ = context.add_function("isQuantity", |text: Arc<String>| quantity::canonical(&text).is_some());
    let _ = context.add_function("quantity", |text: Arc<String>| text);
    let _ = context.add_function("isGreaterThan", |This(one): This<Arc<String>>, other: Arc<String>| {
        quantity::compare(&one, &other).is_some_and(std::cmp::Ordering::is_gt)
    });
    let _ = context.add_function("sum", |This(list): This<Arc<Vec<Cel>>>| -> i64 {
        let numbers = list.iter().map(|item| if let Cel::Int(number) = item { *number } else { 0 });
        numbers.fold(0, i64::saturating_add)
    });
    context
}

/// A JSON value as the API server shows it to rules.
fn cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(truth) => Cel::Bool(*truth),
        Value::Number(number) => {
            number.as_i64().map_or_else(|| Cel::Float(number.as_f64().unwrap_or_default()), Cel::Int)
        }
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(cel).collect::<Vec<_>>().into(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (Key::from(name.as_str()), cel(field)));
            fields.collect::<HashMap<Key, Cel>>().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placement(more: &Value) -> Value {
        let mut placement = json!({"resourceSelectors": [{"kind": "NIMService", "name": "chat"}]});
        placement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"placement": placement})
    }

    fn rules(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                for rule in
                    fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
                {
                    found.extend(
                        [&rule["rule"], &rule["messageExpression"]]
                            .iter()
                            .filter_map(|one| one.as_str().map(str::to_owned)),
                    );
                }
                fields.values().for_each(|below| rules(below, found));
            }
            Value::Array(items) => items.iter().for_each(|below| rules(below, found)),
            _ => {}
        }
    }

    #[test]
    fn every_rule_of_the_definition_can_be_asked_here() {
        let mut found = Vec::new();
        rules(definition().unwrap(), &mut found);
        assert!(found.len() > 8, "{found:?}");
        for rule in found {
            assert!(Program::compile(&rule).is_ok(), "{rule}");
        }
    }

    #[test]
    fn what_the_api_server_takes_is_taken() {
        for more in [
            json!({}),
            json!({
                "clusterAffinity": {"required": [{"matchLabels": {"a": "b"}}], "expressions": ["true"]},
                "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 3}],
                "gpu": {"minMemory": "40Gi"}, "priority": -5, "numberOfClusters": 3,
                "replicaScheduling": {"type": "Divided", "division": "Weighted", "minPerCluster": 1, "maxPerCluster": 2,
                    "weights": [{"clusterNames": ["a"], "weight": 1}]},
                "overrides": [{"clusterNames": ["a"], "jsonPatch": [{"op": "add", "path": "/spec/x", "value": {"a": [1, null]}}]}],
                "failover": {"onUnreachable": "Replace", "lostAfter": "5m"},
            }),
        ] {
            assert_eq!(check(&placement(&more)), Ok(()));
        }
        assert_eq!(check(&json!({"placementName": "chat"})), Ok(()));
    }

    #[test]
    fn what_the_api_server_refuses_is_refused_with_its_numbers() {
        let operation = json!({"op": "add", "path": "/spec/x", "value": 1});
        let many: Vec<Value> = (0..33).map(|_| operation.clone()).collect();
        let one = json!({"clusterNames": ["a"], "jsonPatch": many});
        for (more, words) in [
            (
                json!({"tiers": vec![json!({"clusterNames": ["a"]}); 17]}),
                ["spec.placement.tiers", "17 items, at most 16"],
            ),
            (
                json!({"tiers": [{}]}),
                ["spec.placement.tiers[0]", "set clusterNames, clusterSelector or both"],
            ),
            (json!({"gpu": {"minMemory": "-1Gi"}}), ["spec.placement.gpu", "more than 0"]),
            (json!({"gpu": {"minMemory": "much"}}), ["spec.placement.gpu", "much"]),
            (json!({"priority": 2_000_000}), ["spec.placement.priority", "more than 1000000"]),
            (json!({"numberOfClusters": "3"}), ["spec.placement.numberOfClusters", "integer"]),
            (json!({"numberOfCluster": 3}), ["spec.placement.numberOfCluster", "no such field"]),
            (json!({"cacheLocality": "Always"}), ["spec.placement.cacheLocality", "\"Require\""]),
            (
                json!({"clusterAffinity": {"expressions": ["x".repeat(1025)]}}),
                ["spec.placement.clusterAffinity.expressions[0]", "1025 characters, at most 1024"],
            ),
            (json!({"overrides": [one, one]}), ["spec.placement", "at most 64 operations"]),
            (
                json!({"overrides": [{"clusterNames": ["a"], "jsonPatch": [{"op": "copy", "from": "/spec", "path": "/spec/x"}]}]}),
                ["spec.placement.overrides[0].jsonPatch[0]", "copy is refused"],
            ),
            (
                json!({"overrides": [{"clusterNames": ["a"], "jsonPatch": [{"op": "add", "path": "/spec/scale", "value": {}}]}]}),
                ["jsonPatch[0]", "/spec/scale is the scheduler's: use replicaScheduling"],
            ),
        ] {
            let refused = check(&placement(&more)).unwrap_err();
            assert!(words.iter().all(|word| refused.contains(word)), "{words:?} are not in {refused}");
        }
        let refused = check(&json!({"placement": {}})).unwrap_err();
        assert!(refused.contains("spec.placement.resourceSelectors: is missing"), "{refused}");
        let refused = check(&json!({"manifests": vec![json!({}); 257]})).unwrap_err();
        assert!(refused.contains("257 items, at most 256"), "{refused}");
    }
}
