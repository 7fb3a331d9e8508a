//! A short-lived token of a model's own ServiceAccount, for its own endpoint and nobody else.

use http::Uri;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::operator::engine::call::call;
use crate::operator::engine::child::Owner;

/// How long a token lives, seconds: the least that API servers give.
const LIFE: i64 = 600;
/// The status of an answer to what one may not ask.
const FORBIDDEN: u16 = 403;

/// Asks the API server for tokens; without a client there are none. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Option<Client>);

impl Tokens {
    /// Tokens of this cluster.
    pub(crate) fn new(client: Client) -> Self {
        Self(Some(client))
    }

    /// A token of the ServiceAccount that the model's pods run as, whose only audience is the endpoint. An error says why
    /// there is none, and the remedy.
    pub(super) async fn of(&self, owner: &Owner, endpoint: &str) -> Result<String, String> {
        let Owner { namespace, name, .. } = owner;
        let audience = audience(endpoint, namespace, name).ok_or_else(|| {
            format!(
                "tokens are only for https and a Service of namespace {namespace} named {name} or {name}-…"
            )
        })?;
        let client = self.0.clone().ok_or("there is nobody to ask for a token")?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
        let spec = TokenRequestSpec {
            audiences: vec![audience],
            expiration_seconds: Some(LIFE),
            bound_object_ref: None,
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let what = || format!("create a token of ServiceAccount {name}");
        let params = PostParams::default();
        let asked = accounts.create_token_request(name, &params, &request);
        let made = call(what, asked).await.map_err(|error| match error.code() {
            Some(FORBIDDEN) => format!("{error}: set rbac.modelTokens=true in the values of nimfleet-spoke"),
            _ => error.to_string(),
        })?;
        made.status.map(|status| status.token).ok_or_else(|| "the API server made an empty token".to_owned())
    }
}

/// What a token for the endpoint is for: its origin, where that is a Service of the model's own. Nobody else, and no API
/// server, takes such a token.
fn audience(endpoint: &str, namespace: &str, name: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"))?;
    let mut labels = authority.host().split('.');
    let service = labels.next()?;
    let is_own = service == name || service.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    let is_there = labels.next() == Some(namespace) && labels.next() == Some("svc");
    let bare = authority.as_str() == authority.host() || authority.port().is_some();
    (is_own && is_there && bare && !authority.as_str().contains('@')).then(|| format!("https://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_a_service_of_the_model_alone() {
        for (endpoint, expected) in [
            ("https://llama.models.svc.cluster.local", Some("https://llama.models.svc.cluster.local")),
            ("https://llama-predictor.models.svc:8443/", Some("https://llama-predictor.models.svc:8443")),
            ("http://llama.models.svc.cluster.local", None),
            ("https://llama.other.svc.cluster.local", None),
            ("https://llamas.models.svc.cluster.local", None),
            ("https://kubernetes.default.svc", None),
            ("https://llama.models.svc@evil.example", None),
            ("https://me:word@llama.models.svc", None),
            ("https://evil.example/llama.models.svc", None),
            ("https://llama.models.evil.example", None),
            ("https://127.0.0.1:8443", None),
            ("llama.models.svc", None),
        ] {
            assert_eq!(audience(endpoint, "models", "llama").as_deref(), expected, "{endpoint}");
        }
    }
}
