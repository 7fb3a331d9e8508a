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

/// An endpoint did not say what it serves.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// Not a URL.
    #[error("{url} is not a URL: {problem}")]
    Url { url: String, problem: String },
    /// Not reached, or it answered with an error.
    #[error("GET {url}: {problem}")]
    Refused { url: String, problem: String },
    /// It answers nobody whom it does not know.
    #[error("GET {url}: HTTP {code}")]
    Unauthorized { url: String, code: u16 },
    /// The same, and there is no token for it.
    #[error("GET {url}: HTTP {code}, the model wants a token: {problem}")]
    NoToken { url: String, code: u16, problem: String },
    /// No answer in time.
    #[error("GET {url}: no answer within {} s", LIMIT.as_secs())]
    Late { url: String },
    /// What it answered is no list of models.
    #[error("GET {url}: the answer is not a list of models")]
    Garbled { url: String },
}

/// The name of the model that is served; empty when the endpoint names none. It is asked without a credential at first,
/// and where it wants one over https, once more with a token made for it.
///
/// `authority` is a file with the CAs that https endpoints are known by; none leaves it to the public ones.
pub(super) async fn name<T>(
    base: &str,
    authority: Option<&Path>,
    token: impl FnOnce() -> T,
) -> Result<String, FetchError>
where
    T: Future<Output = Result<String, String>>,
{
    match name_as(base, authority, None).await {
        Err(FetchError::Unauthorized { url, code }) if base.starts_with("https://") => match token().await {
            Ok(token) => name_as(base, authority, Some(token)).await,
            Err(problem) => Err(FetchError::NoToken { url, code, problem }),
        },
        asked => asked,
    }
}

async fn name_as(base: &str, authority: Option<&Path>, token: Option<String>) -> Result<String, FetchError> {
    let client = client(base, authority, token)?;
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

/// A client that has nothing of this process's own: no credential of the cluster, and no proxy.
fn client(base: &str, authority: Option<&Path>, token: Option<String>) -> Result<Client, FetchError> {
    let wrong = |problem: &dyn std::fmt::Display| FetchError::Url {
        url: base.to_owned(),
        problem: problem.to_string(),
    };
    let uri: Uri = base.parse().map_err(|error| wrong(&error))?;
    let mut config = Config::new(uri);
    config.default_retry = false;
    config.connect_timeout = Some(LIMIT);
    config.root_cert_file = authority.map(Path::to_owned);
    config.auth_info = AuthInfo { token: token.map(Into::into), ..AuthInfo::default() };
    Client::try_from(config).map_err(|error| wrong(&super::root(&error)))
}

/// The answer as JSON; none when there is no such page.
async fn get(client: &Client, path: &str, url: &str) -> Result<Option<Value>, FetchError> {
    let refused = |problem: String| FetchError::Refused { url: url.to_owned(), problem };
    let request = Request::get(path).body(Vec::new()).map_err(|error| refused(error.to_string()))?;
    let stream = match client.request_stream(request).await {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
            return Err(FetchError::Unauthorized { url: url.to_owned(), code: status.code });
        }
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
