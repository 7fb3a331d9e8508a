//! The key that the pods of a service by MPI log in with at each other. It is made once and kept: a service that is
//! taken over keeps its own. To change it, delete the Secret; the pods must be restarted to take the new one.

use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rsa::Generate;
use rsa::pkcs1::{EncodeRsaPrivateKey, LineEnding};

use crate::operator::engine::call::{CallError, call_opt};
use crate::operator::engine::child::{ChildKind, Owner};
use crate::operator::engine::world::World;
use kube::core::DynamicObject;

/// Where it lies in the Secret.
pub(super) const FIELD: &str = "private.key";

/// A private key, as the Secret holds it.
#[derive(Clone, PartialEq)]
pub(super) struct Key(pub(super) ByteString);

impl fmt::Debug for Key {
    /// Keys do not belong into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Name of the Secret.
pub(super) fn secret(service: &str) -> String {
    format!("{service}-ssh-pk")
}

/// The key that is in use, or a fresh one. The API server is asked before one is made, since the watch cache sees only
/// labelled objects: a second key would lock out pods that run.
pub(super) async fn observe(owner: &Owner, world: &World) -> Result<Key, CallError> {
    let name = secret(&owner.name);
    let cached = world.child(ChildKind::Secret, &owner.namespace, &name);
    if let Some(key) = cached.as_deref().and_then(read) {
        return Ok(key);
    }
    let api = world.api(&owner.namespace, &ChildKind::Secret.resource());
    let found = call_opt(|| format!("get Secret {name}"), api.get(&name)).await?;
    match found.as_ref().and_then(read) {
        Some(key) => Ok(key),
        None => fresh().await,
    }
}

fn read(found: &DynamicObject) -> Option<Key> {
    let secret: Secret = found.clone().try_parse().ok()?;
    secret.data?.remove(FIELD).filter(|key| !key.0.is_empty()).map(Key)
}

/// Makes a key of 3072 bits: RSA in PKCS#1, the form that every OpenSSH reads and that the images are used to.
async fn fresh() -> Result<Key, CallError> {
    let made = tokio::task::spawn_blocking(|| {
        let key = rsa::PrivateKey::try_generate().map_err(|error| error.to_string())?;
        let text = key.to_pkcs1_pem(LineEnding::LF).map_err(|error| error.to_string())?;
        Ok::<_, String>(Key(ByteString(text.as_bytes().to_vec())))
    });
    let failed = |why: String| CallError::Call {
        what: "make an SSH key".to_owned(),
        source: kube::Error::Service(why.into()).into(),
    };
    made.await.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fresh_key_is_one_that_ssh_reads() {
        let Key(ByteString(bytes)) = fresh().await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "PKCS#1");
        assert!(text.ends_with("-----END RSA PRIVATE KEY-----\n"));
        assert_eq!(format!("{:?}", Key(ByteString(text.into_bytes()))), "Key(..)");
    }

    #[test]
    fn a_key_that_is_there_is_kept() {
        let with = |data: serde_json::Value| {
            let secret = serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": data});
            read(&serde_json::from_value(secret).unwrap())
        };
        assert_eq!(with(serde_json::json!({"private.key": "azE="})), Some(Key(ByteString(b"k1".to_vec()))));
        assert_eq!(with(serde_json::json!({"private.key": ""})), None);
        assert_eq!(with(serde_json::json!({"other": "azE="})), None);
    }
}
