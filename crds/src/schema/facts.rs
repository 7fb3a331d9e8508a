//! Facts about Kubernetes' own types that its published schemas lack, stated once per type.

use serde_json::{Map, Value};

use super::SchemaError;

/// What an API server knows of Kubernetes' own types, wherever they are used.
pub(super) const KUBERNETES: &str = include_str!("facts.txt");

/// How much of Kubernetes' own types the fleet's kinds take.
pub(super) const BOUNDS: &str = include_str!("bounds.txt");

/// Something to add to the schema of a type or of one of its properties.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    line: usize,
    pub(super) type_name: String,
    /// `None`: the type itself.
    pub(super) property: Option<String>,
    pub(super) keywords: Map<String, Value>,
}

/// Reads a table. Blank lines and lines that begin with `#` say nothing.
pub(super) fn parse(table: &str) -> Result<Vec<Fact>, SchemaError> {
    (1..)
        .zip(table.lines())
        .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
        .map(|(line, text)| fact(line, text).ok_or_else(|| SchemaError::Fact { line, text: text.to_owned() }))
        .collect()
}

fn fact(line: usize, text: &str) -> Option<Fact> {
    let mut words = text.splitn(3, ' ');
    let (type_name, property, keywords) = (words.next()?, words.next()?, words.next()?);
    Some(Fact {
        line,
        type_name: type_name.to_owned(),
        property: (property != ".").then(|| property.to_owned()),
        keywords: serde_json::from_str(keywords).ok()?,
    })
}

/// Merges the facts into the definitions. A type that this schema does not use is no fault; a property that its type
/// does not have is one.
pub(super) fn apply(facts: &[Fact], definitions: &mut Map<String, Value>) -> Result<(), SchemaError> {
    for fact in facts {
        let Some(definition) = definitions.get_mut(&fact.type_name) else { continue };
        let target = match &fact.property {
            None => Some(definition),
            Some(property) => definition.get_mut("properties").and_then(|all| all.get_mut(property)),
        };
        let target = target.and_then(Value::as_object_mut).ok_or_else(|| SchemaError::Vanished {
            line: fact.line,
            type_name: fact.type_name.clone(),
            property: fact.property.clone().unwrap_or_else(|| ".".to_owned()),
        })?;
        target.extend(fact.keywords.clone());
    }
    Ok(())
}
