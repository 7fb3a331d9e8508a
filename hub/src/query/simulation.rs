//! What would be decided: for a placement and objects that are not applied, or with clusters gone.

use crds::fleet::NIMPlacementSpec;
use hub_core::objects::NIM_KINDS;
use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;

/// What is supposed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SimulationSpec {
    /// Name of a NIMPlacement of the namespace: what it has counts as placed. Absent: a new one.
    #[serde(default)]
    pub(crate) placement_name: Option<String>,
    /// Its spec. Absent: as it is on the hub.
    #[serde(default)]
    pub(crate) placement: Option<NIMPlacementSpec>,
    /// Objects that are not applied, or not like this; those on the hub are there too.
    #[serde(default)]
    pub(crate) manifests: Vec<Value>,
    /// Clusters that are supposed to be gone.
    #[serde(default)]
    pub(crate) without_clusters: Vec<String>,
}

/// The manifests as objects of `namespace`, by kind.
pub(crate) fn manifests(
    given: &[Value],
    namespace: &str,
) -> Result<Vec<(&'static str, DynamicObject)>, String> {
    let read = |(index, manifest): (usize, &Value)| {
        let field = format!("spec.manifests[{index}]");
        let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("/kind"), text("/metadata/name"));
        let Some(known) = NIM_KINDS.into_iter().find(|known| *known == kind) else {
            return Err(format!(
                "{field}.kind: {kind:?} cannot be placed: give one of {}",
                NIM_KINDS.join(", ")
            ));
        };
        if name.is_empty() {
            return Err(format!("{field}.metadata.name: is missing"));
        }
        let elsewhere = text("/metadata/namespace");
        if !elsewhere.is_empty() && elsewhere != namespace {
            return Err(format!(
                "{field}.metadata.namespace: is {elsewhere}, and the simulation's is {namespace}"
            ));
        }
        let mut object: DynamicObject =
            serde_json::from_value(manifest.clone()).map_err(|error| format!("{field}: {error}"))?;
        object.metadata.namespace = Some(namespace.to_owned());
        object.metadata.deletion_timestamp = None;
        object.metadata.uid = Some(format!("simulated {kind} {name}"));
        Ok((known, object))
    };
    given.iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_that_cannot_be_placed_are_named() {
        for (manifest, words) in [
            (json!({"kind": "Secret", "metadata": {"name": "a"}}), "spec.manifests[0].kind: \"Secret\""),
            (json!({"kind": "NIMService", "metadata": {}}), "spec.manifests[0].metadata.name"),
            (json!({"kind": "NIMService", "metadata": {"name": "a", "namespace": "b"}}), "is b, and"),
        ] {
            let error = manifests(&[manifest], "nim").unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let read = manifests(&[json!({"kind": "NIMService", "metadata": {"name": "a"}, "spec": {}})], "nim")
            .unwrap();
        assert_eq!((read[0].0, read[0].1.metadata.namespace.as_deref()), ("NIMService", Some("nim")));
    }

    #[test]
    fn what_is_not_known_is_not_passed_over() {
        let error = serde_json::from_value::<SimulationSpec>(json!({"withoutCluster": ["a"]})).unwrap_err();
        assert!(error.to_string().contains("withoutCluster"), "{error}");
    }
}
