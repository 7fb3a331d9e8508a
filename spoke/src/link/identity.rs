//! Who this spoke is: its key and certificate, and the CA it trusts, kept in one Secret.

use std::collections::BTreeMap;
use std::future::Future;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use runtime::call::{CallError, LIMIT, within};

const NAME: &str = "nimfleet-spoke-identity";
const FIELD_MANAGER: &str = "nimfleet-spoke-link";
const KEY: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";
const CA: &str = "ca.crt";
const JOINING_KEY: &str = "joining.key";
const SPENT_TOKEN: &str = "spentToken";

/// What is kept of this spoke's identity.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// What it is known by, once it has been enrolled.
    pub enrolled: Option<Enrolled>,
    /// Private key (PKCS#8, PEM) that the next token is, or will be, bound to.
    pub joining_key_pem: Option<String>,
    /// Public half of the token it joined with: that one is of no more use.
    pub spent_token: Option<String>,
}

/// Key, certificate and what the hub is known by. All PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Private key, PKCS#8. It never leaves the cluster.
    pub key_pem: String,
    /// Certificate of this spoke.
    pub certificate_pem: String,
    /// The CAs that it trusts.
    pub ca_pem: String,
}

/// The identity could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The API server did not carry it out, or did not answer in time.
    #[error("Secret {namespace}/{NAME}: {source}")]
    Call {
        /// Namespace of the spoke.
        namespace: String,
        /// Why the call came to nothing.
        source: CallError,
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
        let answer = within(LIMIT, call).await;
        answer.map_err(|source| IdentityError::Call { namespace: self.namespace.clone(), source })
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
        let certificate = self.text(&mut data, CERTIFICATE)?.zip(self.text(&mut data, CA)?);
        let (key_pem, joining) = (self.text(&mut data, KEY)?, self.text(&mut data, JOINING_KEY)?);
        let spent_token = self.text(&mut data, SPENT_TOKEN)?;
        Ok(Some(match (key_pem, certificate) {
            (Some(key_pem), Some((certificate_pem, ca_pem))) => Identity {
                enrolled: Some(Enrolled { key_pem, certificate_pem, ca_pem }),
                joining_key_pem: joining,
                spent_token,
            },
            // Until a spoke was enrolled, older versions kept the key it asked with in the place of the other.
            (key_pem, _) => Identity { enrolled: None, joining_key_pem: joining.or(key_pem), spent_token },
        }))
    }

    async fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        let Identity { enrolled, joining_key_pem, spent_token } = identity;
        let enrolled = enrolled.iter().flat_map(|Enrolled { key_pem, certificate_pem, ca_pem }| {
            [(KEY, key_pem), (CERTIFICATE, certificate_pem), (CA, ca_pem)]
        });
        let joining = joining_key_pem.iter().map(|key| (JOINING_KEY, key));
        let spent = spent_token.iter().map(|token| (SPENT_TOKEN, token));
        let data: BTreeMap<_, _> = enrolled
            .chain(joining)
            .chain(spent)
            .map(|(field, text)| (field.to_owned(), ByteString(text.clone().into_bytes())))
            .collect();
        let secret = Secret {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            data: Some(data),
            ..Secret::default()
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.call(self.secrets.patch(NAME, &params, &Patch::Apply(&secret))).await.map(|_| ())
    }
}
