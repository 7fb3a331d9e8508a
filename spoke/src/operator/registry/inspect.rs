//! Asks a registry for the config of every platform of an image.

use axum::body::to_bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use kube::client::Body;
use kube::{Client, Config};
use serde_json::Value;

use super::answer::{self, Challenge, Manifest};
use super::credentials::Credential;
use super::reference::Reference;
use crate::operator::models::root;

/// Longest answer, bytes; configs of today are some ten KiB.
const LONGEST: usize = 4 * 1024 * 1024;
/// Every form of manifest that leads to a config.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
const ANYTHING: &str = "*/*";

/// A registry did not say what an image is. No message has an address that was signed, or anything else secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum InspectError {
    /// Not the name of an image.
    #[error("not the name of an image")]
    Name,
    /// Not reached.
    #[error("{host}: {problem}")]
    Unreachable { host: String, problem: String },
    /// It answered with an error.
    #[error("{host}: HTTP {code} for {what}")]
    Refused { host: String, code: u16, what: &'static str },
    /// It leads to where nothing may be asked, or answers with what cannot be read.
    #[error("{host}: {what} cannot be used")]
    Garbled { host: String, what: &'static str },
    /// Its platforms are not of one kind.
    #[error("some platforms of the image are native and some are not")]
    Mixed,
}

/// True when the image is a native NIM on all of its platforms.
pub(super) async fn is_native(image: &str, credentials: &[Credential]) -> Result<bool, InspectError> {
    let reference = Reference::parse(image).ok_or(InspectError::Name)?;
    let mut registry = Registry::new(&reference, credentials)?;
    let configs = match registry.manifest(&reference.version).await? {
        Manifest::Image(config) => vec![config],
        Manifest::Index(platforms) => {
            let mut configs = Vec::new();
            for platform in platforms {
                match registry.manifest(&platform).await? {
                    Manifest::Image(config) => configs.push(config),
                    Manifest::Index(_) => return Err(registry.garbled("an index within an index")),
                }
            }
            configs
        }
    };
    let mut found = None;
    for config in configs {
        let config = registry.config(&config).await?;
        let native = answer::says_native(&config).ok_or_else(|| registry.garbled("the config"))?;
        if found.is_some_and(|found| found != native) {
            return Err(InspectError::Mixed);
        }
        found = Some(native);
    }
    found.ok_or_else(|| registry.garbled("an image without platforms"))
}

/// One registry while one image of it is looked at.
struct Registry<'a> {
    client: Client,
    base: Uri,
    reference: &'a Reference,
    login: Option<&'a Credential>,
    authorization: Option<HeaderValue>,
    challenged: bool,
}

impl<'a> Registry<'a> {
    fn new(reference: &'a Reference, credentials: &'a [Credential]) -> Result<Self, InspectError> {
        let host = reference.api_host();
        let scheme = if cfg!(test) && is_loopback(host) { "http" } else { "https" };
        let base: Uri = format!("{scheme}://{host}").parse().map_err(|_| InspectError::Name)?;
        let login = Credential::of(credentials, &reference.host);
        let client = client(&base)?;
        Ok(Self { client, base, reference, login, authorization: None, challenged: false })
    }

    async fn manifest(&mut self, version: &str) -> Result<Manifest, InspectError> {
        let path = format!("/v2/{}/manifests/{version}", self.reference.repository);
        let answer = self.get(&path, MANIFESTS).await?;
        let answer = read(&self.base, answer, "the manifest").await?;
        answer::manifest(&answer).ok_or_else(|| self.garbled("the manifest"))
    }

    /// A config may lie elsewhere: where it does is asked without saying who asks.
    async fn config(&mut self, digest: &str) -> Result<Value, InspectError> {
        let path = format!("/v2/{}/blobs/{digest}", self.reference.repository);
        let answer = self.get(&path, ANYTHING).await?;
        if !answer.status().is_redirection() {
            return read(&self.base, answer, "the config").await;
        }
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.map(|location| {
            if location.starts_with('/') {
                format!("{}{location}", origin(&self.base))
            } else {
                location.to_owned()
            }
        });
        let location = location.and_then(|location| location.parse().ok()).filter(is_allowed);
        let location: Uri = location.ok_or_else(|| self.garbled("the redirect to the config"))?;
        let answer = send(&client(&location)?, &location, ANYTHING, None).await?;
        read(&location, answer, "the config").await
    }

    /// Asks, and once more with a token when the registry wants one.
    async fn get(&mut self, path: &str, accept: &str) -> Result<Response<Body>, InspectError> {
        let url: Uri = format!("{}{path}", origin(&self.base)).parse().map_err(|_| InspectError::Name)?;
        let answer = send(&self.client, &url, accept, self.authorization.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || self.challenged {
            return Ok(answer);
        }
        self.challenged = true;
        let mut wanted = answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok());
        let wanted = wanted.find_map(|it| answer::challenge(it, &self.reference.repository));
        self.authorization = match wanted {
            Some(Challenge::Bearer(url)) => Some(self.token(&url).await?),
            Some(Challenge::Basic) if self.login.is_some() => self.login.and_then(login),
            _ => return Ok(answer),
        };
        send(&self.client, &url, accept, self.authorization.as_ref()).await
    }

    async fn token(&self, url: &str) -> Result<HeaderValue, InspectError> {
        let url = url.parse().ok().filter(is_allowed);
        let url: Uri = url.ok_or_else(|| self.garbled("the address of its tokens"))?;
        let login = self.login.and_then(login);
        let answer = send(&client(&url)?, &url, ANYTHING, login.as_ref()).await?;
        let answer = read(&url, answer, "a token").await?;
        let token = answer::token(&answer).and_then(|token| secret(&format!("Bearer {token}")));
        token.ok_or_else(|| self.garbled("the token"))
    }

    fn garbled(&self, what: &'static str) -> InspectError {
        InspectError::Garbled { host: host(&self.base), what }
    }
}

fn login(credential: &Credential) -> Option<HeaderValue> {
    secret(&credential.header())
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Only https is ever asked; tests have registries without certificates.
fn is_allowed(url: &Uri) -> bool {
    let loopback = cfg!(test) && url.host().is_some_and(is_loopback);
    url.authority().is_some() && (url.scheme_str() == Some("https") || loopback)
}

fn is_loopback(host: &str) -> bool {
    host == "127.0.0.1" || host.starts_with("127.0.0.1:")
}

fn host(url: &Uri) -> String {
    url.authority().map(ToString::to_string).unwrap_or_default()
}

fn origin(url: &Uri) -> String {
    format!("{}://{}", url.scheme_str().unwrap_or("https"), host(url))
}

fn client(url: &Uri) -> Result<Client, InspectError> {
    let unreachable = |problem: String| InspectError::Unreachable { host: host(url), problem };
    let base = origin(url).parse().map_err(|_| InspectError::Name)?;
    let mut config = Config::new(base);
    config.default_retry = false;
    config.connect_timeout = Some(super::LIMIT);
    Client::try_from(config).map_err(|error| unreachable(root(&error)))
}

async fn send(
    client: &Client,
    url: &Uri,
    accept: &str,
    authorization: Option<&HeaderValue>,
) -> Result<Response<Body>, InspectError> {
    let unreachable = |problem: String| InspectError::Unreachable { host: host(url), problem };
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::get(path).header(USER_AGENT, "nimfleet-spoke").header(ACCEPT, accept);
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value.clone());
    }
    let request = request.body(Body::empty()).map_err(|error| unreachable(error.to_string()))?;
    client.send(request).await.map_err(|error| unreachable(root(&error)))
}

async fn read(url: &Uri, answer: Response<Body>, what: &'static str) -> Result<Value, InspectError> {
    if !answer.status().is_success() {
        return Err(InspectError::Refused { host: host(url), code: answer.status().as_u16(), what });
    }
    let garbled = || InspectError::Garbled { host: host(url), what };
    let body = to_bytes(axum::body::Body::new(answer.into_body()), LONGEST).await.map_err(|_| garbled())?;
    serde_json::from_slice(&body).map_err(|_| garbled())
}
