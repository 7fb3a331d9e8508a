//! Learns that something which is referred to has changed: by watches of ConfigMaps and claims, and by asking for the rest.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim};
use kube::core::{DynamicObject, PartialObjectMeta, Resource};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client};
use tokio::time::{MissedTickBehavior, interval};

use super::{Reference, References, Thing};
use crate::operator::engine::call::{CallError, call};

/// How often what an object cannot go on without is asked for while it is missing.
pub(super) const TICK: Duration = Duration::from_secs(10);
/// Everything else is asked for every so many ticks: once a minute.
pub(super) const ROUND: u64 = 6;

impl References {
    /// Follows everything that is referred to, for ever.
    pub(crate) async fn follow(self, client: Client) {
        futures::join!(
            self.watch::<ConfigMap>(&client, Thing::ConfigMap, "ConfigMap"),
            self.watch::<PersistentVolumeClaim>(&client, Thing::Claim, "PersistentVolumeClaim"),
            self.ask(&client),
        );
    }

    async fn watch<K>(&self, client: &Client, thing: Thing, kind: &'static str)
    where
        K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + 'static,
    {
        let is_watched = |reference: &Reference| reference.thing == thing;
        let reference = |found: &PartialObjectMeta<K>| reference(thing, found);
        let mut added = self.added.subscribe();
        while self.listed(is_watched).is_empty() {
            // The sender lives as long as this does.
            let _ = added.changed().await;
        }
        let api: Api<PartialObjectMeta<K>> = Api::all(client.clone());
        let mut events = runtime::watch::events(api, Config::default(), kind).boxed();
        let mut there = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Event::Init => there.clear(),
                Event::InitApply(found) => {
                    let reference = reference(&found);
                    self.noticed(&reference, &found.metadata.resource_version);
                    there.insert(reference);
                }
                Event::InitDone => {
                    for (absent, _) in self.listed(|one| is_watched(one) && !there.contains(one)) {
                        self.noticed(&absent, &None);
                    }
                    there.clear();
                }
                Event::Apply(found) => self.noticed(&reference(&found), &found.metadata.resource_version),
                Event::Delete(gone) => self.noticed(&reference(&gone), &None),
            }
        }
    }

    async fn ask(&self, client: &Client) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 0.. {
            ticks.tick().await;
            for (reference, missed) in self.listed(|reference| !is_watched(reference.thing)) {
                if !is_due(&reference, missed, tick) {
                    continue;
                }
                match version(client, &reference).await {
                    Ok(now) => self.noticed(&reference, &now),
                    Err(error) => {
                        tracing::debug!(%error, "what is referred to cannot be asked for");
                        // An API server that does not answer will not answer the next question either.
                        if error.code().is_none() {
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// Whether something is to be asked for now: at every tick what an object cannot go on without, and once a round what is
/// told of alone, and Secrets that are there. Other things that are there change in no way that matters.
pub(super) fn is_due(reference: &Reference, missed: bool, tick: u64) -> bool {
    let turn = BuildHasherDefault::<DefaultHasher>::default().hash_one(reference) % ROUND;
    match reference.thing {
        Thing::Secret if missed => true,
        Thing::Secret => turn == tick % ROUND,
        _ => missed && turn == tick % ROUND,
    }
}

/// The version that something has now.
async fn version(client: &Client, reference: &Reference) -> Result<super::Version, CallError> {
    let resource = reference.thing.resource();
    let Reference { namespace, name, .. } = reference;
    let api: Api<DynamicObject> = match namespace.as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let what = || format!("get the metadata of {} {name}", resource.kind);
    let found = call(what, api.get_metadata_opt(name)).await?;
    Ok(found.and_then(|found| found.metadata.resource_version))
}

/// Whether a watch tells of it, so that nobody has to ask.
fn is_watched(thing: Thing) -> bool {
    matches!(thing, Thing::ConfigMap | Thing::Claim)
}

fn reference<K>(thing: Thing, found: &PartialObjectMeta<K>) -> Reference {
    Reference {
        thing,
        namespace: found.metadata.namespace.clone().unwrap_or_default(),
        name: found.metadata.name.clone().unwrap_or_default(),
    }
}
