//! The CustomResourceDefinitions, made from the Rust types: raw schema, facts on Kubernetes' own types, all inlined.

mod document;
mod facts;
mod inline;
mod raw;
mod reference;
mod transition;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceValidation, JSONSchemaProps,
};
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

pub(crate) use document::HEADER;
pub use document::{document, file_name};
pub use reference::reference;

use crate::fleet::{GPUCluster, GPUQuota, NIMPlacement, NIMPlacementDecision};
use crate::nemo::{NemoCustomizer, NemoDatastore, NemoEntitystore, NemoEvaluator, NemoGuardrail};
use crate::nim::{NIMBuild, NIMCache, NIMPipeline, NIMService};

/// Why no definition could be made. Each of these is a defect of this crate; users never cause one.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A line of the table of facts that cannot be read.
    #[error("line {line} of the facts: {text:?}: write `<type> <property> <JSON object>`")]
    Fact {
        /// Number of the line, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A fact about a property that its type no longer has.
    #[error("line {line} of the facts: {type_name} has no property {property}: correct or remove the line")]
    Vanished {
        /// Number of the line, from 1.
        line: usize,
        /// The type.
        type_name: String,
        /// The property that the fact names.
        property: String,
    },
    /// A schema that refers to a definition which is not there.
    #[error("{reference} is not among the definitions of its schema")]
    Reference {
        /// The reference.
        reference: String,
    },
    /// A type that contains itself: no structural schema can say that.
    #[error("{type_name} contains itself: cut the circle with x-kubernetes-preserve-unknown-fields")]
    Recursive {
        /// The type.
        type_name: String,
    },
    /// A schema with a keyword that a definition cannot hold.
    #[error("the schema of {kind} does not fit into a CustomResourceDefinition")]
    Shape {
        /// The kind.
        kind: String,
        /// What did not fit.
        source: serde_json::Error,
    },
    /// A definition that cannot be written as YAML.
    #[error("{name} cannot be written as YAML")]
    Yaml {
        /// Name of the definition.
        name: String,
        /// Why.
        source: serde_saphyr::ser::Error,
    },
}

/// Whether an API server takes an object of the kind that has nothing but metadata.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// It does not, as the Rust type says.
    AsTyped,
    /// It does, as NVIDIA's definitions do, and where an empty spec has a meaning.
    Optional,
}

/// Whose kind it is: of NVIDIA's, bounds are as NVIDIA's definitions have them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nvidia,
    Fleet,
}

/// All definitions, always in the same order: NVIDIA's kinds, then the fleet's own.
///
/// # Errors
/// When the table of facts and the types no longer fit each other.
pub fn all() -> Result<Vec<CustomResourceDefinition>, SchemaError> {
    Ok(vec![
        definition::<NemoCustomizer>(Spec::Optional)?,
        definition::<NemoDatastore>(Spec::Optional)?,
        definition::<NemoEntitystore>(Spec::Optional)?,
        definition::<NemoEvaluator>(Spec::Optional)?,
        definition::<NemoGuardrail>(Spec::Optional)?,
        definition::<NIMBuild>(Spec::Optional)?,
        definition::<NIMCache>(Spec::Optional)?,
        definition::<NIMPipeline>(Spec::Optional)?,
        definition::<NIMService>(Spec::Optional)?,
        definition::<GPUCluster>(Spec::Optional)?,
        definition::<NIMPlacement>(Spec::AsTyped)?,
        definition::<NIMPlacementDecision>(Spec::AsTyped)?,
        definition::<GPUQuota>(Spec::AsTyped)?,
    ])
}

/// kube's definition of a kind, with the schema replaced by ours and nothing left empty.
fn definition<K: CustomResourceExt + JsonSchema>(
    spec: Spec,
) -> Result<CustomResourceDefinition, SchemaError> {
    let mut crd = K::crd();
    let kind = crd.spec.names.kind.clone();
    let owner = if crd.spec.group == FLEET_GROUP { Owner::Fleet } else { Owner::Nvidia };
    let schema: JSONSchemaProps = serde_json::from_value(Value::Object(root::<K>(owner, spec)?))
        .map_err(|source| SchemaError::Shape { kind: kind.clone(), source })?;
    let names = &mut crd.spec.names;
    names.list_kind = Some(format!("{kind}List"));
    names.categories = names.categories.take().filter(|list| !list.is_empty());
    names.short_names = names.short_names.take().filter(|list| !list.is_empty());
    for version in &mut crd.spec.versions {
        version.schema = Some(CustomResourceValidation { open_api_v3_schema: Some(schema.clone()) });
        let columns = &mut version.additional_printer_columns;
        *columns = columns.take().filter(|list| !list.is_empty());
        let fields = &mut version.selectable_fields;
        *fields = fields.take().filter(|list| !list.is_empty());
    }
    Ok(crd)
}

/// The structural schema of a whole object.
fn root<K: JsonSchema>(owner: Owner, spec: Spec) -> Result<Map<String, Value>, SchemaError> {
    let facts: &[&str] = match owner {
        Owner::Fleet => &[facts::KUBERNETES, facts::BOUNDS],
        Owner::Nvidia => &[facts::KUBERNETES],
    };
    let mut root = structural(raw::schema::<K>(), facts)?;
    if spec == Spec::Optional {
        root.remove("required");
    }
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({ "type": "string", "description": API_VERSION }));
        properties.insert("kind".to_owned(), json!({ "type": "string", "description": KIND }));
        properties.insert("metadata".to_owned(), json!({ "type": "object" }));
    }
    Ok(root)
}

/// A schema with named definitions as one without: the facts go to the definitions by name, then each takes the place
/// of the references to it.
fn structural(mut schema: Map<String, Value>, tables: &[&str]) -> Result<Map<String, Value>, SchemaError> {
    let mut definitions = match schema.remove("$defs") {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    raw::drop_kubernetes_descriptions(&mut definitions);
    for table in tables {
        facts::apply(&facts::parse(table)?, &mut definitions)?;
    }
    inline::inline(&mut schema, &definitions)?;
    transition::leave_out_of_lists(&mut schema);
    Ok(schema)
}

/// The group of the fleet's own kinds, whose bounds are ours to set.
const FLEET_GROUP: &str = "nimfleet.io";

const API_VERSION: &str = "The group and version of the schema that this object is written in.";
const KIND: &str = "The kind of this object; clients that name it by its path may leave it out.";

#[cfg(test)]
mod tests;
