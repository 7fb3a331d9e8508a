//! Finds KServe's settings. They are kept for minutes, so that objects in a steady state ask for nothing.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client};
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
    fn exactly_one_controller_tells_the_namespace() {
        let of = |names: &[&str]| only(names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(of(&[]), Err(Setup::NotFound));
        assert_eq!(of(&["kserve"]), Ok("kserve".to_owned()));
        assert_eq!(of(&["b", "a"]), Err(Setup::Ambiguous(vec!["a".into(), "b".into()])));
        assert_eq!(of(&["a", "a"]), Err(Setup::Ambiguous(vec!["a".into()])));
    }
}
