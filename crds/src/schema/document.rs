//! Definitions as files: one YAML document each, ready for kubectl and for the chart.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::SchemaError;

/// Says that a file is not written by hand.
pub(crate) const HEADER: &str = "# Made by crdgen from the types of the crate crds; change those.\n";

/// The definition as a YAML document, with a comment on top and a line break at the end.
///
/// # Errors
/// When the definition holds something that YAML cannot say.
pub fn document(crd: &CustomResourceDefinition) -> Result<String, SchemaError> {
    let name = || crd.metadata.name.clone().unwrap_or_default();
    let yaml = serde_saphyr::to_string(crd).map_err(|source| SchemaError::Yaml { name: name(), source })?;
    Ok(format!("{HEADER}{}\n", yaml.trim_end()))
}

/// The name of the definition's file, `<group>_<plural>.yaml`.
#[must_use]
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}
