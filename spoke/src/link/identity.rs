//! Who this spoke is: its key and certificate, and the CA it trusts, kept in one Secret.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};

const NAME: &str = "nimfleet-spoke-identity";
const FIELD_MANAGER: &str = "nimfleet-spoke-link";
const KEY: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";
const CA: &str = "ca.crt";

/// The API server is local to the spoke; a call that takes longer than this is as good as lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Key, and what enrolment added to it. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Private key, PKCS#8. Made once; it never leaves the cluster.
    pub key_pem: String,
    /// Certificate of this spoke and the CA it trusts, once enrolled.
    pub certificate: Option<(String, String)>,
}

/// The identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The API server did not carry it out.
    #[error("Secret {namespace}/{NAME}: the API server did not carry it out")]
    Api {
        /// Namespace of the spoke.
        namespace: String,
        /// What the API server or the connection said.
        #[source]
        source: kube::Error,
    },
    /// The API server did not answer in time.
    #[error("Secret {namespace}/{NAME}: no answer from the API server within {} s", CALL_TIMEOUT.as_secs())]
    Timeout {
        /// Namespace of the spoke.
        namespace: String,
    },
    /// The Secret's content cannot be used.
    #[error(
        "Secret {namespace}/{NAME}: {field} is not text; delete the Secret and join again with a new token"
    )]
    Content {
        /// Namespace of the spoke.
        namespace: String,
        /// Key of the data.
        field: &'static str,
    },
}

/// Where the identity is kept.
pub trait IdentityStore: Send + Sync + 'static {
    /// What was kept, if anything.
    fn load(&self) -> impl Future<Output = Result<Option<Identity>, IdentityError>> + Send;

    /// Keeps it; returns once it is persisted.
    fn save(&self, identity: &Identity) -> impl Future<Output = Result<(), IdentityError>> + Send;
}

/// Keeps the identity in the Secret `nimfleet-spoke-identity` of the spoke's namespace.
#[derive(Clone)]
pub struct KubeIdentityStore {
    secrets: Api<Secret>,
    namespace: String,
}

impl KubeIdentityStore {
    /// A store in the spoke's own namespace.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned() }
    }

    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>> + Send,
    ) -> Result<T, IdentityError> {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(source)) => Err(IdentityError::Api { namespace: self.namespace.clone(), source }),
            Err(_) => Err(IdentityError::Timeout { namespace: self.namespace.clone() }),
        }
    }

    fn text(
        &self,
        data: &mut BTreeMap<String, ByteString>,
        field: &'static str,
    ) -> Result<Option<String>, IdentityError> {
        let Some(ByteString(bytes)) = data.remove(field) else { return Ok(None) };
        let text = String::from_utf8(bytes)
            .map_err(|_| IdentityError::Content { namespace: self.namespace.clone(), field })?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }
}

impl IdentityStore for KubeIdentityStore {
    async fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let Some(secret) = self.call(self.secrets.get_opt(NAME)).await? else { return Ok(None) };
        let mut data = secret.data.unwrap_or_default();
        let Some(key_pem) = self.text(&mut data, KEY)? else { return Ok(None) };
        let certificate = self.text(&mut data, CERTIFICATE)?.zip(self.text(&mut data, CA)?);
        Ok(Some(Identity { key_pem, certificate }))
    }

    async fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        let mut data = BTreeMap::from([(KEY.to_owned(), ByteString(identity.key_pem.clone().into_bytes()))]);
        if let Some((certificate, ca)) = &identity.certificate {
            data.insert(CERTIFICATE.to_owned(), ByteString(certificate.clone().into_bytes()));
            data.insert(CA.to_owned(), ByteString(ca.clone().into_bytes()));
        }
        let secret = Secret {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(data),
            ..Secret::default()
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.call(self.secrets.patch(NAME, &params, &Patch::Apply(&secret))).await.map(|_| ())
    }
}
