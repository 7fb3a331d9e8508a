//! Asks one endpoint for its model.

use std::path::Path;
use std::time::Duration;

use futures::AsyncReadExt;
use http::{Request, Uri};
use kube::config::AuthInfo;
use kube::{Client, Config};
use serde_json::Value;

use super::answer;

/// How long one endpoint may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest answer, bytes; those of today are some KiB.
const LONGEST: u64 = 1024 * 1024;
/// Authority of endpoints that the cluster serves by https (OpenShift mounts it).
const AUTHORITY: &str = "/etc/pki/tls/service-ca/service-ca.crt";
/// Token that such endpoints know us by.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// An endpoint did not say what it serves.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Not a URL.
    #[error("{url} is not a URL: {problem}")]
    Url { url: String, problem: String },
    /// Not reached, or it answered with an error.
    #[error("GET {url}: {problem}")]
    Refused { url: String, problem: String },
    /// No answer in time.
    #[error("GET {url}: no answer within {} s", LIMIT.as_secs())]
    Late { url: String },
    /// What it answered is no list of models.
    #[error("GET {url}: the answer is not a list of models")]
    Garbled { url: String },
}

/// The name of the model that is served; empty when the endpoint names none.
pub(super) async fn name(base: &str) -> Result<String, FetchError> {
    let client = client(base)?;
    let url = format!("{}/v1/models", base.trim_end_matches('/'));
    let late = || FetchError::Late { url: url.clone() };
    let listed = tokio::time::timeout(LIMIT, get(&client, "/v1/models", &url)).await.map_err(|_| late())?;
    if let Some(listed) = listed? {
        return answer::listed(&listed).ok_or(FetchError::Garbled { url });
    }
    // Servers of other kinds than language models have no such list.
    let described = tokio::time::timeout(LIMIT, get(&client, "/v1/metadata", &url)).await;
    match described.map_err(|_| late())? {
        Ok(described) => Ok(described.map(|described| answer::described(&described)).unwrap_or_default()),
        Err(FetchError::Garbled { .. }) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn client(base: &str) -> Result<Client, FetchError> {
    let wrong = |problem: &dyn std::fmt::Display| FetchError::Url {
        url: base.to_owned(),
        problem: problem.to_string(),
    };
    let uri: Uri = base.parse().map_err(|error| wrong(&error))?;
    let secure = uri.scheme_str() == Some("https");
    let mut config = Config::new(uri);
    config.default_retry = false;
    config.connect_timeout = Some(LIMIT);
    if secure {
        config.root_cert_file = Some(AUTHORITY.into()).filter(|path: &std::path::PathBuf| path.exists());
        let token = Some(TOKEN.to_owned()).filter(|path| Path::new(path).exists());
        config.auth_info = AuthInfo { token_file: token, ..AuthInfo::default() };
    }
    Client::try_from(config).map_err(|error| wrong(&error))
}

/// The answer as JSON; none when there is no such page.
async fn get(client: &Client, path: &str, url: &str) -> Result<Option<Value>, FetchError> {
    let refused = |problem: String| FetchError::Refused { url: url.to_owned(), problem };
    let request = Request::get(path).body(Vec::new()).map_err(|error| refused(error.to_string()))?;
    let stream = match client.request_stream(request).await {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(kube::Error::Api(status)) => return Err(refused(format!("HTTP {}", status.code))),
        Err(error) => return Err(refused(root(&error))),
    };
    let mut body = Vec::new();
    let mut stream = std::pin::pin!(stream.take(LONGEST));
    stream.read_to_end(&mut body).await.map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&body).map(Some).map_err(|_| FetchError::Garbled { url: url.to_owned() })
}

/// The innermost cause, which is the one that says something.
pub(in crate::operator) fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
