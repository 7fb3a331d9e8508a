//! What the endpoint picker reads: a file, from a ConfigMap of ours or of the user's.

use std::collections::BTreeMap;

use crds::nim::{EndpointPickerConfig, EppConfig};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::metadata;
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Failure;
use crate::operator::nimservice::scene::Scene;

/// The file of a configuration that the spec holds itself.
const FILE: &str = "default-plugins.yaml";

/// A ConfigMap and the file in it.
pub(super) struct Source {
    pub(super) map: String,
    pub(super) file: String,
}

/// Where the picker's configuration lies.
pub(super) fn source(scene: &Scene<'_>, wanted: &EppConfig) -> Result<Source, Failure> {
    match (&wanted.config, &wanted.config_map_ref) {
        (Some(_), _) => Ok(Source { map: own(scene), file: FILE.to_owned() }),
        (None, Some(given)) => Ok(Source { map: given.name.clone(), file: key(&given.key)?.to_owned() }),
        (None, None) => {
            let message = "spec.expose.router.eppConfig needs one of config and configMapRef; neither is set";
            Err(Failure::new("ConfigMapFailed", message))
        }
    }
}

/// A key that the API server takes for one of a ConfigMap: as the name of a file it leads nowhere else.
fn key(given: &str) -> Result<&str, Failure> {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '-' | '_');
    if !given.is_empty() && !given.starts_with("..") && given != "." && given.chars().all(is_sign) {
        return Ok(given);
    }
    let message = format!(
        "spec.expose.router.eppConfig.configMapRef.key is {given:?}, which is no key of a ConfigMap: use letters, digits, \
         \"-\", \"_\" and \".\""
    );
    Err(Failure::new("ConfigMapFailed", message))
}

fn own(scene: &Scene<'_>) -> String {
    format!("{}-epp-config", scene.name())
}

/// The ConfigMap, where the spec holds the configuration itself.
pub(super) fn child(scene: &Scene<'_>, wanted: &EppConfig) -> Result<Option<Child>, Failure> {
    let Some(config) = &wanted.config else { return Ok(None) };
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(&document(config), options).map_err(|why| {
        let message = format!("spec.expose.router.eppConfig.config cannot be written as YAML: {why}");
        Failure::new("ConfigMapFailed", message)
    })?;
    let name = own(scene);
    let map = ConfigMap {
        metadata: metadata(scene, &name),
        data: Some(BTreeMap::from([(FILE.to_owned(), text)])),
        ..ConfigMap::default()
    };
    Ok(Some(Child::new(ChildKind::ConfigMap, &name, Keep::Owned, &map)))
}

/// The configuration as NVIDIA's operator writes it: what is not set is null where it writes null. A ConfigMap that it
/// made stays as it is.
fn document(config: &EndpointPickerConfig) -> Value {
    let mut document = json!(config);
    document["data"] = json!(config.data);
    document["plugins"] = config
        .plugins
        .iter()
        .map(|plugin| {
            let parameters = plugin.parameters.as_deref().map(parameters);
            let name = plugin.name.as_deref().unwrap_or_default();
            json!({"name": name, "parameters": parameters, "type": plugin.r#type})
        })
        .collect();
    document["schedulingProfiles"] = config
        .scheduling_profiles
        .iter()
        .map(|profile| {
            let plugins: Vec<Value> = profile
                .plugins
                .iter()
                .map(|plugin| json!({"pluginRef": plugin.plugin_ref, "weight": plugin.weight}))
                .collect();
            json!({"name": profile.name, "plugins": plugins})
        })
        .collect();
    document
}

/// A plugin's parameters. The schema takes them only as JSON in base64, the picker only as an object.
fn parameters(text: &str) -> Value {
    let decoded = serde_json::from_value::<ByteString>(Value::from(text)).ok();
    decoded.and_then(|bytes| serde_json::from_slice(&bytes.0).ok()).unwrap_or_else(|| Value::from(text))
}
