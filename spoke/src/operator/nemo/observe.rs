//! Reads what a microservice refers to, by name.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::core::{DynamicObject, ObjectMeta};

use super::need::{Content, Found, Need};
use crate::operator::engine::call::{CallError, call_opt};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::Subject;
use crate::operator::engine::world::World;
use crate::operator::references::{Reference, Thing};

/// References of one object that are read at the same time.
const AT_ONCE: usize = 6;

/// Reads everything, and has the object woken when any of it changes, its own Secret among it: no watch tells of that.
pub(super) async fn observe(
    needs: &[Need],
    makes_secret: bool,
    subject: &Subject,
    world: &World,
) -> Result<Found, CallError> {
    let mut wanted: BTreeMap<Reference, bool> = BTreeMap::new();
    for need in needs {
        *wanted.entry(need.reference.clone()).or_default() |= need.part.is_read();
    }
    let own = Reference {
        thing: Thing::Secret,
        namespace: subject.owner.namespace.clone(),
        name: subject.owner.name.clone(),
    };
    if makes_secret {
        wanted.entry(own).or_default();
    }
    // Boxed, since the compiler cannot tell that these futures are `Send` otherwise.
    let mut reads: Vec<BoxFuture<'_, _>> = Vec::new();
    for (reference, is_read) in &wanted {
        reads.push(Box::pin(async move { Ok((reference.clone(), read(world, reference, *is_read).await?)) }));
    }
    let read: Vec<Result<(Reference, Option<Content>), CallError>> =
        stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
    let (mut contents, mut versions) = (BTreeMap::new(), Vec::new());
    for one in read {
        let (reference, content) = one?;
        versions.push((reference.clone(), content.as_ref().and_then(|content| content.version.clone())));
        if let Some(content) = content {
            contents.insert(reference, content);
        }
    }
    world.references.hold(&subject.owner, versions);
    Ok(Found { contents })
}

async fn read(world: &World, reference: &Reference, is_read: bool) -> Result<Option<Content>, CallError> {
    let Reference { thing, namespace, name } = reference;
    let client = world.client.clone();
    let what = || format!("get {} {name}", thing.resource().kind);
    Ok(match thing {
        Thing::ConfigMap if is_read => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            call_opt(what, api.get(name)).await?.map(|found| {
                let texts = found.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
                let others = found.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
                content(found.metadata, texts.chain(others).collect())
            })
        }
        Thing::Secret if is_read => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            call_opt(what, api.get(name)).await?.map(|found| {
                let data = found.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0));
                content(found.metadata, data.collect())
            })
        }
        // What this operator made is in its cache.
        Thing::Service if world.child(ChildKind::Service, namespace, name).is_some() => Some(
            world
                .child(ChildKind::Service, namespace, name)
                .map(|found| content(found.metadata.clone(), BTreeMap::new())),
        )
        .flatten(),
        _ => {
            let resource = thing.resource();
            let api: Api<DynamicObject> = match namespace.as_str() {
                "" => Api::all_with(client, &resource),
                namespace => Api::namespaced_with(client, namespace, &resource),
            };
            call_opt(what, api.get_metadata(name))
                .await?
                .map(|found| content(found.metadata, BTreeMap::new()))
        }
    })
}

fn content(metadata: ObjectMeta, data: BTreeMap<String, Vec<u8>>) -> Content {
    Content { uid: metadata.uid.unwrap_or_default(), version: metadata.resource_version, data }
}
