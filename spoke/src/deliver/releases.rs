//! What the deletion guard has let through lately, kept in this cluster.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::carried_out;
use super::state::NAME;
use super::{DeliverError, ObjectRef, Release};

/// The owner of the one key: the epoch in the same ConfigMap is written by another, without it.
const FIELD_MANAGER: &str = "nimfleet-deletion-guard";
/// Key in the ConfigMap.
const KEY: &str = "deletions";

/// Reads and writes what was let through.
#[derive(Clone)]
pub(super) struct Releases {
    maps: Api<ConfigMap>,
    namespace: String,
}

/// A deletion, as it is stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    /// Seconds since the Unix epoch, by this cluster's clock.
    at: u64,
}

impl Releases {
    pub(super) fn new(client: kube::Client, namespace: &str) -> Self {
        Self { maps: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    /// Nothing until something was let through.
    pub(super) async fn read(&self) -> Result<Vec<Release>, DeliverError> {
        let what = format!("read ConfigMap {}/{NAME}", self.namespace);
        let data = carried_out(&what, self.maps.get_opt(NAME)).await?.and_then(|map| map.data);
        let Some(text) = data.and_then(|mut data| data.remove(KEY)) else { return Ok(Vec::new()) };
        parse(&text, now()).map_err(|problem| DeliverError::State {
            namespace: self.namespace.clone(),
            name: NAME.to_owned(),
            problem,
        })
    }

    /// Returns once it is persisted.
    pub(super) async fn write(&self, releases: &[Release]) -> Result<(), DeliverError> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": NAME, "namespace": self.namespace },
            "data": { KEY: text(releases, now()) },
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let what = format!("write ConfigMap {}/{NAME}", self.namespace);
        carried_out(&what, self.maps.patch(NAME, &params, &Patch::Apply(map))).await.map(|_| ())
    }
}

/// Since the Unix epoch.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn text(releases: &[Release], now: Duration) -> String {
    let row = |release: &Release| {
        let ObjectRef { kind, namespace, name, uid, .. } = release.object.clone();
        Row { kind, namespace, name, uid, at: now.saturating_sub(release.age).as_secs() }
    };
    let rows: Vec<Row> = releases.iter().map(row).collect();
    json!(rows).to_string()
}

/// What is written there by mistake must not pass for a cluster in which nothing was deleted. A time that is yet to come was
/// written before the clock was set back: it counts from now.
fn parse(text: &str, now: Duration) -> Result<Vec<Release>, String> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(|error| format!("the key {KEY}: {error}"))?;
    let release = |Row { kind, namespace, name, uid, at }| {
        let object = ObjectRef { uid, api_version: String::new(), kind, namespace, name };
        Release { object, age: now.saturating_sub(Duration::from_secs(at)) }
    };
    Ok(rows.into_iter().map(release).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(name: &str, age: u64) -> Release {
        let (uid, kind) = (format!("uid-{name}"), "NIMService".to_owned());
        let (namespace, name) = ("models".to_owned(), name.to_owned());
        let object = ObjectRef { uid, api_version: String::new(), kind, namespace, name };
        Release { object, age: Duration::from_secs(age) }
    }

    #[test]
    fn what_was_let_through_is_read_as_it_was_written_and_older_by_the_time_between() {
        let at = Duration::from_secs;
        let stored = text(&[release("a", 60), release("b", 0)], at(1_000));
        assert_eq!(parse(&stored, at(1_100)), Ok(vec![release("a", 160), release("b", 100)]));
        assert_eq!(parse(&stored, at(10)), Ok(vec![release("a", 0), release("b", 0)]), "a clock set back");
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_and_no_empty_list() {
        for text in ["", "{}", "[{\"kind\": \"NIMService\"}]"] {
            let problem = parse(text, Duration::ZERO).unwrap_err();
            assert!(problem.starts_with("the key deletions: "), "{problem}");
        }
    }
}
