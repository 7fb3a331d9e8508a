//! Reads what a microservice refers to, by name.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::core::{DynamicObject, ObjectMeta};

use super::need::{Content, Found, Need};
use super::render::CHECKSUM;
use crate::operator::diagnosis::Diagnosis;
use crate::operator::engine::call::{CallError, call_opt};
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::engine::template::{RECORD, Record};
use crate::operator::engine::world::World;
use crate::operator::references::{Reference, Thing};

/// References of one object that are read at the same time.
const AT_ONCE: usize = 6;
/// The status of an answer to a question that one may not ask.
const FORBIDDEN: u16 = 403;

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
        wanted.entry(own.clone()).or_default();
    }
    // Boxed, since the compiler cannot tell that these futures are `Send` otherwise.
    let mut reads: Vec<BoxFuture<'_, _>> = Vec::new();
    for (reference, is_read) in &wanted {
        reads.push(Box::pin(async move { (reference.clone(), read(world, reference, *is_read).await) }));
    }
    let read: Vec<(Reference, Result<Option<Content>, CallError>)> =
        stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
    let (mut found, mut versions) = (Found::default(), Vec::new());
    for (reference, read) in read {
        match read {
            Ok(content) => {
                let version = content.as_ref().and_then(|content| content.version.clone());
                // Nobody waits for a Secret that is about to be made, or is not to be made at all.
                if version.is_some() || reference != own {
                    versions.push((reference.clone(), version));
                }
                found.contents.extend(content.map(|content| (reference, content)));
            }
            // No retry helps against a missing right: it has to be told.
            Err(error) if error.code() == Some(FORBIDDEN) => {
                let reason = format!("{}Failed", reference.thing.resource().kind);
                found.refused.get_or_insert(Failure::new(reason, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    world.references.hold(&subject.owner, versions);
    found.diagnosis = Diagnosis::observe(subject, world, [None, None]).await;
    found.previous = world
        .child(ChildKind::Deployment, &own.namespace, &own.name)
        .and_then(|deployment| previous(&deployment));
    Ok(found)
}

/// The checksum that the pods have, or were to have and got with no template yet.
fn previous(deployment: &DynamicObject) -> Option<String> {
    let on_pods = &deployment.data["spec"]["template"]["metadata"]["annotations"][CHECKSUM];
    let record = deployment.metadata.annotations.as_ref().and_then(|all| all.get(RECORD));
    let noted = || Found::checksum_in(Record::read(record)?.inputs.content()?);
    on_pods.as_str().map(str::to_owned).or_else(noted)
}

async fn read(world: &World, reference: &Reference, is_read: bool) -> Result<Option<Content>, CallError> {
    let Reference { thing, namespace, name } = reference;
    let client = world.client.clone();
    // What this operator made is in its cache.
    if *thing == Thing::Service
        && let Some(made) = world.child(ChildKind::Service, namespace, name)
    {
        return Ok(Some(content(made.metadata.clone(), BTreeMap::new())));
    }
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
