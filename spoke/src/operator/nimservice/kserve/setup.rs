//! Finds KServe's settings and what its definition knows. They are kept for minutes, so that objects in a steady state ask for nothing.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::Mutex;

use super::mode::{CONFIG, Setup};
use crate::operator::engine::call::{CallError, call, call_opt};

/// Names KServe's namespace where looking for its controller would not find it.
const NAMESPACE: &str = "KSERVE_NAMESPACE";
/// What KServe's controller is labelled with.
const CONTROLLER: &str = "control-plane=kserve-controller-manager";
/// How long settings are taken for true.
const KEPT: SignedDuration = SignedDuration::from_mins(5);
/// How long it is taken for true that there are none.
const MISSED: SignedDuration = SignedDuration::from_secs(20);

/// What was found last. A process looks after one cluster; whoever comes while one looks waits for what that one finds.
static LAST: Mutex<Option<Looked>> = Mutex::const_new(None);

/// What was found, and when.
#[derive(Clone, Debug)]
struct Looked {
    setup: Setup,
    at: Timestamp,
}

impl Looked {
    fn is_fresh(&self, now: Timestamp) -> bool {
        let limit = if matches!(self.setup, Setup::Found { .. }) { KEPT } else { MISSED };
        now.duration_since(self.at) < limit
    }
}

/// The settings, as they are or lately were.
pub(super) async fn setup(client: &Client, now: Timestamp) -> Result<Setup, CallError> {
    let mut last = LAST.lock().await;
    if let Some(looked) = last.as_ref().filter(|looked| looked.is_fresh(now)) {
        return Ok(looked.setup.clone());
    }
    let setup = look(client).await?;
    *last = Some(Looked { setup: setup.clone(), at: now });
    Ok(setup)
}

/// The definition of what KServe serves.
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceservices.serving.kserve.io";

/// What its definition told last, and when.
static DEFINED: Mutex<Option<(bool, Timestamp)>> = Mutex::const_new(None);

/// Whether this KServe scales by several metrics (`predictor.autoScaling`), as it is or lately was. The same version, 0.15,
/// brought replicas without an autoscaler.
pub(super) async fn scales_by_metrics(client: &Client, now: Timestamp) -> Result<bool, CallError> {
    let mut last = DEFINED.lock().await;
    if let Some((known, at)) = *last
        && now.duration_since(at) < KEPT
    {
        return Ok(known);
    }
    let request = http::Request::get(DEFINITION).body(Vec::new()).map_err(kube::Error::HttpError);
    let asked = call(|| "get the definition of InferenceServices".to_owned(), async {
        match client.request::<Definition>(request?).await {
            Ok(definition) => Ok(definition.knows_scaling()),
            // A definition without properties takes any.
            Err(kube::Error::SerdeError(_)) => Ok(true),
            Err(error) => Err(error),
        }
    });
    let known = asked.await?;
    *last = Some((known, now));
    Ok(known)
}

/// A CustomResourceDefinition, as far as the one field is concerned: it has thousands.
#[derive(Deserialize)]
struct Definition {
    spec: Versions,
}

#[derive(Deserialize)]
struct Versions {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Version {
    schema: Schema,
}

#[derive(Deserialize)]
struct Schema {
    #[serde(rename = "openAPIV3Schema")]
    object: Properties<Spec>,
}

#[derive(Deserialize)]
struct Properties<T> {
    properties: T,
}

#[derive(Deserialize)]
struct Spec {
    spec: Properties<Predictor>,
}

#[derive(Deserialize)]
struct Predictor {
    predictor: Properties<Known>,
}

#[derive(Deserialize)]
struct Known {
    #[serde(rename = "autoScaling")]
    auto_scaling: Option<IgnoredAny>,
}

impl Definition {
    fn knows_scaling(&self) -> bool {
        let known = |version: &Version| {
            version.schema.object.properties.spec.properties.predictor.properties.auto_scaling.is_some()
        };
        self.spec.versions.iter().any(known)
    }
}

async fn look(client: &Client) -> Result<Setup, CallError> {
    let given = std::env::var(NAMESPACE).ok().filter(|name| !name.is_empty());
    let namespace = match given {
        Some(namespace) => namespace,
        None => match only(controllers(client).await?) {
            Ok(namespace) => namespace,
            Err(setup) => return Ok(setup),
        },
    };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let found = call_opt(|| format!("get ConfigMap {namespace}/{CONFIG}"), api.get(CONFIG)).await?;
    Ok(Setup::Found { namespace, settings: found.map(|config| config.data.unwrap_or_default()) })
}

/// Namespaces of KServe's controllers, one for each controller.
async fn controllers(client: &Client) -> Result<Vec<String>, CallError> {
    let api: Api<Deployment> = Api::all(client.clone());
    let wanted = ListParams::default().labels(CONTROLLER);
    let found =
        call(|| format!("list Deployments labelled {CONTROLLER}"), api.list_metadata(&wanted)).await?;
    Ok(found.items.into_iter().filter_map(|one| one.metadata.namespace).collect())
}

/// The one namespace, or what to say if there is not exactly one controller.
fn only(mut namespaces: Vec<String>) -> Result<String, Setup> {
    match (namespaces.pop(), namespaces.is_empty()) {
        (None, _) => Err(Setup::NotFound),
        (Some(namespace), true) => Ok(namespace),
        (Some(last), false) => {
            let distinct: BTreeSet<_> = namespaces.into_iter().chain([last]).collect();
            Err(Setup::Ambiguous(distinct.into_iter().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_kept_for_minutes_and_their_absence_for_seconds() {
        let found = Setup::Found { namespace: "kserve".into(), settings: None };
        let at = Timestamp::from_second(1000).unwrap();
        for (setup, after, fresh) in [
            (found.clone(), 0, true),
            (found.clone(), 299, true),
            (found, 300, false),
            (Setup::NotFound, 19, true),
            (Setup::NotFound, 20, false),
            (Setup::Ambiguous(vec!["a".into()]), 20, false),
        ] {
            let now = Timestamp::from_second(1000 + after).unwrap();
            assert_eq!(Looked { setup: setup.clone(), at }.is_fresh(now), fresh, "{setup:?} after {after} s");
        }
    }

    #[test]
    fn a_definition_tells_what_it_knows() {
        let with = |predictor: serde_json::Value| {
            let predictor =
                serde_json::json!({"properties": {"spec": {"properties": {"predictor": predictor}}}});
            let version = serde_json::json!({"name": "v1beta1", "schema": {"openAPIV3Schema": predictor}});
            let definition =
                serde_json::json!({"kind": "CustomResourceDefinition", "spec": {"versions": [version]}});
            serde_json::from_value::<Definition>(definition).ok().map(|definition| definition.knows_scaling())
        };
        let fields =
            |name: &str| serde_json::json!({"type": "object", "properties": {name: {"type": "object"}}});
        assert_eq!(with(fields("autoScaling")), Some(true));
        assert_eq!(with(fields("scaleTarget")), Some(false));
        assert_eq!(
            with(serde_json::json!({"x-kubernetes-preserve-unknown-fields": true})),
            None,
            "it takes any"
        );
    }

    #[test]
    fn exactly_one_controller_tells_the_namespace() {
        let of = |names: &[&str]| only(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(of(&[]), Err(Setup::NotFound));
        assert_eq!(of(&["kserve"]), Ok("kserve".to_owned()));
        assert_eq!(of(&["b", "a"]), Err(Setup::Ambiguous(vec!["a".into(), "b".into()])));
        assert_eq!(of(&["a", "a"]), Err(Setup::Ambiguous(vec!["a".into()])));
    }
}
