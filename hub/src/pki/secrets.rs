//! The few things that are asked of Secrets, so that tests need no API server.

use std::collections::BTreeMap;
use std::future::Future;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use runtime::call::{CallError, LIMIT, within};

const FIELD_MANAGER: &str = "nimfleet-hub-pki";

/// The API server did not carry out a call.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It refused, did not answer, or the connection broke.
    #[error("Secret {name}: {source}")]
    Call {
        /// Name of the Secret, or the label that was listed.
        name: String,
        /// Why the call came to nothing.
        source: CallError,
    },
    /// What it holds cannot be used.
    #[error(
        "Secret {name}: {field} has {length} bytes instead of {expected}: restore it from a backup, or delete it and begin \
         anew (`nimfleet-hub serve --help`, --begin-anew)"
    )]
    Content {
        /// Name of the Secret.
        name: String,
        /// Key of its data.
        field: &'static str,
        /// Bytes that are there; 0 where the key is missing.
        length: usize,
        /// Bytes that it has to have.
        expected: usize,
    },
}

/// One Secret as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Name.
    pub name: String,
    /// Guards an update.
    pub version: String,
    /// Content.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// Secrets of the hub's own namespace.
pub trait Secrets: Send + Sync + 'static {
    /// One Secret, if it is there.
    fn get(&self, name: &str) -> impl Future<Output = Result<Option<Stored>, SecretError>> + Send;

    /// Makes a Secret that is not there yet; `false` if it is, and then nothing is changed.
    fn create(
        &self,
        name: &str,
        label: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> impl Future<Output = Result<bool, SecretError>> + Send;

    /// Changes a Secret that is still as it was read; `false` if it is not, and then nothing is changed.
    fn update(
        &self,
        old: &Stored,
        label: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> impl Future<Output = Result<bool, SecretError>> + Send;

    /// All Secrets with a label.
    fn list(&self, label: (&str, &str)) -> impl Future<Output = Result<Vec<Stored>, SecretError>> + Send;

    /// Deletes a Secret; one that is gone already is no error.
    fn delete(&self, name: &str) -> impl Future<Output = Result<(), SecretError>> + Send;
}

/// Secrets of one namespace on an API server.
#[derive(Clone)]
pub struct KubeSecrets {
    api: Api<Secret>,
}

impl KubeSecrets {
    /// The Secrets of that namespace.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace) }
    }
}

impl Secrets for KubeSecrets {
    async fn get(&self, name: &str) -> Result<Option<Stored>, SecretError> {
        Ok(call(name, self.api.get_opt(name)).await?.map(stored))
    }

    async fn create(
        &self,
        name: &str,
        label: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        // Not an apply: that would overwrite what another hub has made in the meantime.
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        unless_taken(call(name, self.api.create(&params, &secret(name, None, label, data))).await)
    }

    async fn update(
        &self,
        old: &Stored,
        label: Option<(&str, &str)>,
        data: BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, SecretError> {
        let object = secret(&old.name, Some(old.version.clone()), label, data);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        unless_taken(call(&old.name, self.api.patch(&old.name, &params, &Patch::Apply(&object))).await)
    }

    async fn list(&self, (key, value): (&str, &str)) -> Result<Vec<Stored>, SecretError> {
        let label = format!("{key}={value}");
        let params = ListParams::default().labels(&label);
        Ok(call(&label, self.api.list(&params)).await?.items.into_iter().map(stored).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), SecretError> {
        match call(name, self.api.delete(name, &DeleteParams::default())).await {
            Err(SecretError::Call { source, .. }) if source.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

async fn call<T>(
    name: &str,
    call: impl Future<Output = Result<T, kube::Error>> + Send,
) -> Result<T, SecretError> {
    within(LIMIT, call).await.map_err(|source| SecretError::Call { name: name.to_owned(), source })
}

fn unless_taken<T>(outcome: Result<T, SecretError>) -> Result<bool, SecretError> {
    match outcome {
        Ok(_) => Ok(true),
        // 409 covers both: a name that is taken and a resourceVersion that has passed. An update may also find
        // the Secret gone.
        Err(SecretError::Call { source, .. }) if source.is_conflict() || source.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

fn secret(
    name: &str,
    version: Option<String>,
    label: Option<(&str, &str)>,
    data: BTreeMap<String, Vec<u8>>,
) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: version,
            labels: label.map(|(key, value)| BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(|(key, bytes)| (key, ByteString(bytes))).collect()),
        ..Secret::default()
    }
}

fn stored(secret: Secret) -> Stored {
    Stored {
        name: secret.metadata.name.unwrap_or_default(),
        version: secret.metadata.resource_version.unwrap_or_default(),
        data: secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, ByteString(bytes))| (key, bytes))
            .collect(),
    }
}

#[cfg(test)]
pub(crate) mod memory;
