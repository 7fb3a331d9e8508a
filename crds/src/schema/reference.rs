//! The API reference: what `docs/api.md` says of the fleet's own kinds, written from their definitions.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// What stands above the kinds.
const HEAD: &str = "<!-- Made from the types of the crate crds by a test: UPDATE=1 cargo test -p crds --test generated -->

# API reference

The kinds of group `nimfleet.io`. A field in bold is required. `[]` is an item of a list, `{}` a value of a map.

`kubectl explain nimplacement.spec` says the same in a cluster. The kinds of group `apps.nvidia.com` are NVIDIA's, field for field: see
`kubectl explain nimservice.spec` and NVIDIA's own reference, and [what differs](nim-operator.md).
";

/// Types of Kubernetes that every reader knows, by properties that only they have. Their fields are not listed.
const KNOWN: [(&str, &[&str]); 3] = [
    ("LabelSelector", &["matchExpressions", "matchLabels"]),
    ("Condition", &["lastTransitionTime", "reason", "status"]),
    ("Toleration", &["operator", "tolerationSeconds"]),
];

/// The reference as Markdown: of each kind its columns, fields and rules. NVIDIA's kinds are left out.
#[must_use]
pub fn reference(definitions: &[CustomResourceDefinition]) -> String {
    let own = definitions.iter().filter(|crd| crd.spec.group == super::FLEET_GROUP);
    let mut text = HEAD.to_owned();
    for crd in own {
        kind(&mut text, crd);
    }
    text
}

fn kind(text: &mut String, crd: &CustomResourceDefinition) {
    let names = &crd.spec.names;
    for version in &crd.spec.versions {
        let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let Some(schema) = schema else { continue };
        let says = schema.description.as_deref().unwrap_or_default();
        let names_of_kubectl: Vec<String> = std::iter::once(&names.plural)
            .chain(names.short_names.iter().flatten())
            .map(|name| format!("`{name}`"))
            .collect();
        let _ = write!(
            text,
            "\n## {}\n\n`{}/{}`, {}; for kubectl {}. {}\n",
            names.kind,
            crd.spec.group,
            version.name,
            crd.spec.scope,
            names_of_kubectl.join(", "),
            one_line(says)
        );
        for part in ["spec", "status"] {
            let Some(part_schema) = schema.properties.as_ref().and_then(|all| all.get(part)) else {
                continue;
            };
            let _ = write!(text, "\n### {} {part}\n\n", names.kind);
            if let Some(says) = &part_schema.description {
                let _ = write!(text, "{}\n\n", one_line(says));
            }
            text.push_str("| field | type | what |\n| --- | --- | --- |\n");
            fields(text, part, part_schema);
            rules(text, part, part_schema);
        }
    }
}

/// One row for each field below `path`, depth first.
fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let shown = if required.contains(name) { format!("**`{path}`**") } else { format!("`{path}`") };
        let says = one_line(field.description.as_deref().unwrap_or_default());
        let _ = writeln!(text, "| {shown} | {} | {says} |", type_of(field));
        below(text, &path, field);
    }
}

/// Rows of what a field is made of.
fn below(text: &mut String, path: &str, field: &JSONSchemaProps) {
    if known(field).is_some() {
        return;
    }
    fields(text, path, field);
    if let Some(item) = item(field) {
        below(text, &format!("{path}[]"), item);
    }
    if let Some(value) = value(field) {
        below(text, &format!("{path}{{}}"), value);
    }
}

/// What the API server checks beyond types and bounds, in the words of a refusal.
fn rules(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let mut found = Vec::new();
    collect_rules(&mut found, path, schema);
    if found.is_empty() {
        return;
    }
    text.push_str("\nRules:\n\n");
    for (path, says) in found {
        let _ = writeln!(text, "* `{path}`: {says}");
    }
}

fn collect_rules(found: &mut Vec<(String, String)>, path: &str, schema: &JSONSchemaProps) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        let says = match (&rule.message, &rule.message_expression) {
            (Some(message), _) => one_line(message),
            (None, Some(expression)) => {
                format!("`{}`", expression.split_whitespace().collect::<Vec<_>>().join(" "))
            }
            (None, None) => format!("`{}`", rule.rule),
        };
        found.push((path.to_owned(), says));
    }
    if known(schema).is_some() {
        return;
    }
    for (name, field) in schema.properties.iter().flatten() {
        collect_rules(found, &format!("{path}.{name}"), field);
    }
    if let Some(item) = item(schema) {
        collect_rules(found, &format!("{path}[]"), item);
    }
    if let Some(value) = value(schema) {
        collect_rules(found, &format!("{path}{{}}"), value);
    }
}

/// The name of a type of Kubernetes.
fn known(schema: &JSONSchemaProps) -> Option<&'static str> {
    let properties = schema.properties.as_ref()?;
    let is = |keys: &[&str]| keys.iter().all(|key| properties.contains_key(*key));
    KNOWN.iter().find(|(_, keys)| is(keys)).map(|(name, _)| *name)
}

fn item(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn value(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.additional_properties.as_ref()? {
        JSONSchemaPropsOrBool::Schema(value) => Some(value),
        JSONSchemaPropsOrBool::Bool(_) => None,
    }
}

/// The type in a few words, with its bounds.
fn type_of(schema: &JSONSchemaProps) -> String {
    if let Some(name) = known(schema) {
        return name.to_owned();
    }
    if let Some(item) = item(schema) {
        let most = schema.max_items.map(|most| format!(", at most {most}")).unwrap_or_default();
        return format!("list of {}{most}", type_of(item));
    }
    if let Some(value) = value(schema) {
        let most = schema.max_properties.map(|most| format!(", at most {most}")).unwrap_or_default();
        return format!("map of {}{most}", type_of(value));
    }
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> =
            values.iter().map(|value| format!("`{}`", value.0.as_str().unwrap_or("null"))).collect();
        return values.join(", ");
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".to_owned();
    }
    let name = match (schema.type_.as_deref(), schema.format.as_deref()) {
        (Some("string"), Some("date-time")) => "time",
        (Some(name), _) => name,
        (None, _) => "any JSON",
    };
    let bounds = match (schema.minimum, schema.maximum) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    format!("{name}{bounds}")
}

/// Text for a cell of a table.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
