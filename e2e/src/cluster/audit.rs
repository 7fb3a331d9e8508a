//! Reads what an API server noted about the requests it was sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

/// Where an API server says which of a ServiceAccount's tokens was used.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// Requests of one cluster, oldest first.
#[derive(Debug, Clone)]
pub struct AuditLog {
    path: PathBuf,
}

/// One finished request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who sent it, e.g. `system:serviceaccount:nimfleet:nimfleet-hub`.
    pub user: String,
    /// Which of the user's credentials was used; empty where the API server does not tell.
    pub credential: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Plural resource, with `/subresource` where there is one.
    pub resource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty where the request names none.
    pub name: String,
    /// HTTP status of the answer; 0 when there was none.
    pub code: i32,
    /// When it arrived.
    pub time: Timestamp,
}

impl Request {
    /// Whether it asked to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// Notes who did what to which object, once per request, without bodies.
pub(super) fn policy() -> serde_json::Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata"}],
    })
}

impl AuditLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Every request that has been answered.
    pub fn requests(&self) -> Vec<Request> {
        // A line that is still being written is not yet a request.
        let text = fs::read(&self.path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).map(Request::from).collect()
    }

    /// Changes asked for by users whose name contains `user`, since `since`. Leases are left out: they are how a
    /// process says that it lives.
    #[must_use]
    pub fn writes_by(&self, user: &str, since: Timestamp) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|r| r.is_write() && r.user.contains(user) && r.time >= since && r.resource != "leases")
            .collect()
    }

    /// Changes to `resource` (plural) by anybody, since `since`.
    #[must_use]
    pub fn writes_to(&self, resource: &str, since: Timestamp) -> Vec<Request> {
        self.requests()
            .into_iter()
            .filter(|r| r.is_write() && r.resource.split('/').next() == Some(resource) && r.time >= since)
            .collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: i32,
}

impl From<Line> for Request {
    fn from(mut line: Line) -> Self {
        let credential = line.user.extra.remove(CREDENTIAL).and_then(|mut ids| ids.pop());
        let ObjectRef { resource, subresource, namespace, name } = line.object_ref;
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        Self {
            user: line.user.username,
            credential: credential.unwrap_or_default(),
            verb: line.verb,
            resource,
            namespace,
            name,
            code: line.response_status.code,
            time: line.request_received_timestamp,
        }
    }
}
