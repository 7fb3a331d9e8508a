//! Who the spoke is at a registry, out of the pull Secrets of the object that the image is for.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::reference::canonical_host;

/// A login at one registry. It has no `Debug`: what is secret must not get into a log.
#[derive(Clone)]
pub(crate) struct Credential {
    host: String,
    /// `user:password` in base64, as HTTP has it.
    basic: String,
}

impl Credential {
    /// The logins of a `.dockerconfigjson`; entries that cannot be read are left out.
    pub(crate) fn parse(config: &[u8]) -> Vec<Self> {
        let config: Value = serde_json::from_slice(config).unwrap_or_default();
        let entries = config["auths"].as_object().into_iter().flatten();
        entries.filter_map(|(key, entry)| Some(Self { host: host_of(key), basic: basic(entry)? })).collect()
    }

    /// The first login for a registry.
    pub(super) fn of<'a>(all: &'a [Self], host: &str) -> Option<&'a Self> {
        all.iter().find(|one| one.host == host)
    }

    /// Value of the header `Authorization`.
    pub(super) fn header(&self) -> String {
        format!("Basic {}", self.basic)
    }
}

/// `https://index.docker.io/v1/` and the like name a registry too.
fn host_of(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    canonical_host(bare.split('/').next().unwrap_or_default())
}

/// User and password are given side by side, or already joined.
fn basic(entry: &Value) -> Option<String> {
    let given = |field: &str| entry[field].as_str().filter(|text| !text.is_empty());
    let joined = match (given("username"), given("password"), given("auth")) {
        (Some(user), Some(password), _) => format!("{user}:{password}").into_bytes(),
        (_, _, Some(auth)) => serde_json::from_value::<ByteString>(json!(auth)).ok()?.0,
        _ => return None,
    };
    let encoded = serde_json::to_value(ByteString(joined)).ok()?;
    encoded.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}
