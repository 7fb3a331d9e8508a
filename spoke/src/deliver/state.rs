//! The highest accepted epoch, kept in this cluster.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::call::carried_out;
use super::{DeliverError, Epoch};
use crate::deliver::cluster::FIELD_MANAGER;

/// Name of the ConfigMap, in the spoke's own namespace.
pub(super) const NAME: &str = "nimfleet-spoke-state";

/// Reads and writes the epoch.
#[derive(Clone)]
pub(super) struct State {
    maps: Api<ConfigMap>,
    namespace: String,
}

impl State {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// `None` until a hub has been accepted once.
    pub(super) async fn read(&self) -> Result<Option<Epoch>, DeliverError> {
        let what = format!("read ConfigMap {}/{NAME}", self.namespace);
        let Some(map) = carried_out(&what, self.maps.get_opt(NAME)).await? else { return Ok(None) };
        parse(&map.data.unwrap_or_default()).map_err(|problem| DeliverError::State {
            namespace: self.namespace.clone(),
            name: NAME.to_owned(),
            problem,
        })
    }

    /// Returns once the epoch is persisted.
    pub(super) async fn write(&self, epoch: &Epoch) -> Result<(), DeliverError> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": self.namespace },
            "data": {
                "hubID": epoch.hub_id,
                "term": epoch.term.to_string(),
                "incarnation": epoch.incarnation,
                "proof": hex::encode(&epoch.proof),
            },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("write ConfigMap {}/{NAME}", self.namespace);
        carried_out(&what, self.maps.patch(NAME, &params, &Patch::Apply(map))).await.map(|_| ())
    }
}

/// A map without any of it is a spoke that has not heard a hub; a half-filled one is a mistake that must not pass for that.
fn parse(data: &BTreeMap<String, String>) -> Result<Option<Epoch>, String> {
    if !["hubID", "term", "incarnation"].iter().any(|key| data.contains_key(*key)) {
        return Ok(None);
    }
    let read = |key: &str| data.get(key).cloned().ok_or_else(|| format!("the key {key} is missing"));
    let term = read("term")?;
    let term = term.parse().map_err(|_| format!("term {term:?} is not a whole number"))?;
    // Versions before kept none.
    let proof = data.get("proof").map(String::as_str).unwrap_or_default();
    let proof = hex::decode(proof).map_err(|_| format!("proof {proof:?} is not hexadecimal"))?;
    Ok(Some(Epoch { hub_id: read("hubID")?, term, incarnation: read("incarnation")?, proof }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_epoch_is_read_whole_or_not_at_all() {
        let epoch = Epoch { hub_id: "hub".into(), term: 7, incarnation: "x".into(), proof: vec![] };
        let before = [("hubID", "hub"), ("term", "7"), ("incarnation", "x")];
        assert_eq!(parse(&data(&before)), Ok(Some(epoch.clone())));
        let proven = [&before[..], &[("proof", "0aff")]].concat();
        assert_eq!(parse(&data(&proven)), Ok(Some(Epoch { proof: vec![10, 255], ..epoch })));
        let damaged = [&before[..], &[("proof", "?")]].concat();
        assert_eq!(parse(&data(&damaged)), Err("proof \"?\" is not hexadecimal".to_owned()));
        assert_eq!(parse(&data(&[])), Ok(None));
        assert_eq!(parse(&data(&[("deletions", "[]")])), Ok(None));
        assert_eq!(
            parse(&data(&[("term", "7"), ("incarnation", "x")])),
            Err("the key hubID is missing".to_owned())
        );
        assert_eq!(
            parse(&data(&[("hubID", "hub"), ("term", "-1"), ("incarnation", "x")])),
            Err("term \"-1\" is not a whole number".to_owned())
        );
    }
}
