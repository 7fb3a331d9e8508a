//! Asks for an image on behalf of a NIM object, with the pull Secrets of its namespace.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::{Credential, Layout};
use crate::operator::engine::call::call_opt;
use crate::operator::engine::kind::Subject;
use crate::operator::engine::world::World;

/// Key of a pull Secret.
const KEY: &str = ".dockerconfigjson";

/// What is known of an image. The Secrets are read only when its registry is to be asked.
pub(crate) async fn layout(world: &World, subject: &Subject, image: &str, secrets: &[&str]) -> Layout {
    if let Some(known) = world.images.known(subject, image) {
        return known;
    }
    let api: Api<Secret> = Api::namespaced(world.client.clone(), &subject.owner.namespace);
    let mut credentials = Vec::new();
    for name in secrets.iter().filter(|name| !name.is_empty()) {
        match call_opt(|| format!("get Secret {name}"), api.get(name)).await {
            Ok(found) => {
                let config = found.and_then(|secret| secret.data?.remove(KEY)).unwrap_or_default();
                credentials.extend(Credential::parse(&config.0));
            }
            // The registry then refuses, which is told and tried again.
            Err(error) => tracing::debug!(image, %error, "a pull secret cannot be read"),
        }
    }
    world.images.layout(subject, image, &credentials)
}
