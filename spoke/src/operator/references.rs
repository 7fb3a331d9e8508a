//! What objects refer to by name and others keep: ConfigMaps, Secrets, claims, services. A change of one wakes the
//! objects that were rendered from it.
//!
//! ConfigMaps and claims are watched, by their metadata alone, from when the first one is referred to. Secrets are neither listed
//! nor watched: the metadata of those that are referred to is asked for by name, once a minute, spread over it, and so is
//! whatever is missing; a missing Secret every ten seconds, since an object waits for it. Content is read when
//! an object is rendered, and kept nowhere.

mod follow;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::ApiResource;
use tokio::sync::watch;

use super::engine::child::Owner;
use super::engine::kind::Subject;
use super::engine::wake::Waker;
use super::engine::world::World;

/// Kinds of what is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Thing {
    ConfigMap,
    Secret,
    Claim,
    Service,
    ServiceAccount,
    /// What another product defines; it has no namespace.
    Definition,
}

impl Thing {
    pub(crate) fn resource(self) -> ApiResource {
        match self {
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::Claim => ApiResource::erase::<PersistentVolumeClaim>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Definition => ApiResource::erase::<CustomResourceDefinition>(&()),
        }
    }
}

/// One thing by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reference {
    pub(crate) thing: Thing,
    /// Empty for what has none.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// The resource version that something had; none when there is no such thing.
pub(crate) type Version = Option<String>;

/// What an object knows of something that it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// Nobody has asked for it yet.
    Unasked,
    Missing,
    /// It is there, in this version.
    There(String),
}

impl From<Version> for Seen {
    fn from(version: Version) -> Self {
        version.map_or(Self::Missing, Self::There)
    }
}

/// Kind, namespace and name of an object that refers to something.
type Referer = (String, String, String);

/// All that is referred to. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct References {
    /// By what is referred to: who refers to it, and what version each was rendered from.
    rows: Arc<Mutex<BTreeMap<Reference, BTreeMap<Referer, Seen>>>>,
    /// Told when something is referred to that was not before.
    added: Arc<watch::Sender<()>>,
    waker: Waker,
}

impl References {
    /// References whose changes wake by `waker`.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { waker, ..Self::default() }
    }

    /// Notes what an object refers to, all of it, in the versions that it is rendered from.
    pub(crate) fn hold(&self, owner: &Owner, seen: impl IntoIterator<Item = (Reference, Version)>) {
        let referer = referer(owner);
        let mut rows = self.rows();
        for row in rows.values_mut() {
            row.remove(&referer);
        }
        for (reference, version) in seen {
            rows.entry(reference).or_default().insert(referer.clone(), version.into());
        }
        rows.retain(|_, row| !row.is_empty());
        drop(rows);
        self.added.send_replace(());
    }

    /// Notes the one claim that an object refers to, in the version that it is rendered from.
    pub(crate) fn hold_claim(&self, owner: &Owner, namespace: &str, name: &str, version: Version) {
        let referer = referer(owner);
        let claim = Reference { thing: Thing::Claim, namespace: namespace.to_owned(), name: name.to_owned() };
        let mut rows = self.rows();
        for (_, row) in rows.iter_mut().filter(|(reference, _)| reference.thing == Thing::Claim) {
            row.remove(&referer);
        }
        rows.entry(claim).or_default().insert(referer, version.into());
        rows.retain(|_, row| !row.is_empty());
        drop(rows);
        self.added.send_replace(());
    }

    /// Notes what an object refers to without being rendered from it, all of it but claims, and gives what of that is missing as far as
    /// is known. Asks nobody: what is new is asked for at the next tick, which wakes the object if it is missing.
    pub(crate) fn missing(&self, owner: &Owner, named: &[Reference]) -> Vec<Reference> {
        let referer = referer(owner);
        let mut rows = self.rows();
        for (reference, row) in rows.iter_mut() {
            if reference.thing != Thing::Claim && !named.contains(reference) {
                row.remove(&referer);
            }
        }
        let mut missing = Vec::new();
        for reference in named {
            let row = rows.entry(reference.clone()).or_default();
            let known = row.values().find(|seen| **seen != Seen::Unasked).cloned();
            let seen = row.entry(referer.clone()).or_insert_with(|| known.unwrap_or(Seen::Unasked));
            if *seen == Seen::Missing {
                missing.push(reference.clone());
            }
        }
        rows.retain(|_, row| !row.is_empty());
        missing
    }

    /// Forgets an object that refers to nothing any more.
    pub(crate) fn release(&self, owner: &Owner) {
        self.hold(owner, []);
    }

    /// Takes the version that something has now, and wakes those who were rendered from another.
    fn noticed(&self, reference: &Reference, now: &Version) {
        let mut rows = self.rows();
        let now = Seen::from(now.clone());
        for ((kind, namespace, name), seen) in rows.get_mut(reference).into_iter().flatten() {
            if *seen != now {
                let is_expected = *seen == Seen::Unasked && now != Seen::Missing;
                seen.clone_from(&now);
                if !is_expected {
                    self.waker.wake(kind, namespace, name);
                }
            }
        }
    }

    /// What is referred to, and whether someone misses it or does not know yet.
    fn listed(&self, wanted: impl Fn(&Reference) -> bool) -> Vec<(Reference, bool)> {
        let rows = self.rows();
        let wanted = rows.iter().filter(|(reference, _)| wanted(reference));
        let is_missed = |seen: &Seen| !matches!(seen, Seen::There(_));
        wanted.map(|(reference, row)| (reference.clone(), row.values().any(is_missed))).collect()
    }

    /// A panic elsewhere does not make the map wrong.
    fn rows(&self) -> MutexGuard<'_, BTreeMap<Reference, BTreeMap<Referer, Seen>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A Secret that an object names in a field and pods start without, in words if it is known to be missing. Where no
/// Secret is named the object refers to nothing.
pub(crate) fn missing_secret(
    world: &World,
    subject: &Subject,
    name: Option<&str>,
    field: &str,
) -> Vec<String> {
    let namespace = &subject.owner.namespace;
    let reference =
        |name: &str| Reference { thing: Thing::Secret, namespace: namespace.clone(), name: name.to_owned() };
    let named: Vec<Reference> = name.into_iter().map(reference).collect();
    let missing = world.references.missing(&subject.owner, &named).into_iter();
    missing.map(|secret| format!("Secret {} ({field})", secret.name)).collect()
}

fn referer(owner: &Owner) -> Referer {
    (owner.kind.clone(), owner.namespace.clone(), owner.name.clone())
}

#[cfg(test)]
mod tests;
