//! Which NIM objects a changed object concerns.

use kube::core::{DynamicObject, Resource};
use serde_json::Value;
use tokio::sync::watch;

use super::cluster::ClusterFacts;
use super::engine::condition::Conditions;
use super::engine::contested::{self, CONTESTED};
use super::engine::kind::{GROUP, Kind};
use super::engine::world::World;
use super::nimcache::NimCaches;
use super::nimservice::{NimServices, SET_NAME, service_of};
use super::rival::Rival;

/// Where each kind names the NIMCache that it uses.
const USERS_OF_CACHES: &[(&str, &str)] =
    &[("NIMService", "/spec/storage/nimCache/name"), ("NIMBuild", "/spec/nimCache/name")];

/// Wakes what a change concerns.
#[derive(Clone)]
pub(super) struct Router {
    pub(super) world: World,
}

impl Router {
    /// Takes an object that somebody has made, edited or deleted.
    pub(super) fn edited(&self, object: &DynamicObject) {
        if let Some(types) = object.types.as_ref().filter(|types| in_group(&types.api_version)) {
            let (namespace, name) = (object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
            self.world.waker.wake_edited(
                &types.kind,
                namespace.unwrap_or_default(),
                name.unwrap_or_default(),
            );
        }
        self.route(object);
    }

    /// Takes an object that came, changed or went.
    pub(super) fn route(&self, object: &DynamicObject) {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let types = object.types.as_ref();
        match types.map(|types| (types.api_version.as_str(), types.kind.as_str())) {
            Some((version, kind)) if in_group(version) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                self.world.waker.wake(kind, namespace, name);
                match kind {
                    NimCaches::KIND => self.wake_users_of(namespace, name),
                    NimServices::KIND => self.wake_held_caches(namespace),
                    _ => {}
                }
            }
            Some((_, "ResourceClaim")) => self.wake_claimants(namespace),
            Some((_, "Pod")) => {
                let set = object.metadata.labels.as_ref().and_then(|labels| labels.get(SET_NAME));
                if let Some(service) = set.and_then(|set| service_of(set)) {
                    self.world.waker.wake(NimServices::KIND, namespace, service);
                }
            }
            Some((_, "HorizontalPodAutoscaler")) => self.wake_contested(namespace, object),
            Some((_, "ComputeDomain")) => {
                self.wake_guests_of(namespace, object.metadata.name.as_deref().unwrap_or_default());
            }
            _ => {}
        }
        for owner in object.meta().owner_references.iter().flatten() {
            if in_group(&owner.api_version) {
                self.world.waker.wake(&owner.kind, namespace, &owner.name);
            } else if owner.kind == "InferenceService" {
                // The Deployment that KServe made of one: it tells how far the predictor has come.
                self.world.waker.wake(NimServices::KIND, namespace, &owner.name);
            } else if owner.kind == "Job" {
                // A pod of a download: its job has the name of the NIMCache and a suffix.
                let cache = owner.name.strip_suffix("-job").unwrap_or_default();
                self.world.waker.wake(NimCaches::KIND, namespace, cache);
            }
        }
    }

    /// Wakes everything when the facts of the cluster change: a profile may fit now that did not before, a child may
    /// be of a kind that is there now, another operator may have gone.
    pub(super) async fn follow(
        self,
        mut facts: watch::Receiver<ClusterFacts>,
        mut rival: watch::Receiver<Rival>,
    ) {
        loop {
            let changed = tokio::select! {
                changed = facts.changed() => changed,
                changed = rival.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            for cache in self.world.subjects.values() {
                cache.store.state().iter().for_each(|object| self.route(object));
            }
        }
    }

    fn wake_users_of(&self, namespace: &str, cache: &str) {
        for (kind, path) in USERS_OF_CACHES {
            self.wake_where(kind, namespace, |object| {
                object.data.pointer(path).and_then(Value::as_str) == Some(cache)
            });
        }
    }

    /// A NIMCache that is being deleted waits until no NIMService uses it.
    fn wake_held_caches(&self, namespace: &str) {
        self.wake_where(NimCaches::KIND, namespace, |cache| cache.metadata.deletion_timestamp.is_some());
    }

    fn wake_claimants(&self, namespace: &str) {
        self.wake_where(NimServices::KIND, namespace, |service| {
            let spec = &service.data["spec"];
            spec["draResources"].as_array().is_some_and(|list| !list.is_empty())
                || spec["multiNode"]["computeDomain"].is_object()
        });
    }

    /// Objects whose workload an autoscaler scales, and those that say so of one that may scale another now.
    fn wake_contested(&self, namespace: &str, autoscaler: &DynamicObject) {
        let names = contested::owners(autoscaler);
        for kind in self.world.subjects.keys() {
            for name in &names {
                self.world.waker.wake(kind, namespace, name);
            }
            let says_so =
                |object: &DynamicObject| Conditions::read(&object.data["status"]).is_true(CONTESTED);
            self.wake_where(kind, namespace, says_so);
        }
    }

    /// NIMServices that use a compute domain that someone else made.
    fn wake_guests_of(&self, namespace: &str, domain: &str) {
        self.wake_where(NimServices::KIND, namespace, |service| {
            service.data["spec"]["multiNode"]["computeDomain"]["name"] == domain
        });
    }

    fn wake_where(&self, kind: &str, namespace: &str, wanted: impl Fn(&DynamicObject) -> bool) {
        let Some(cache) = self.world.subjects.get(kind) else { return };
        for object in cache.of_namespace(namespace, wanted) {
            self.world.waker.wake(kind, namespace, object.metadata.name.as_deref().unwrap_or_default());
        }
    }
}

fn in_group(api_version: &str) -> bool {
    api_version.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
