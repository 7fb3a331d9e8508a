//! What registries answer: indexes, manifests, configs, and what they want to be told first.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::reference::is_digest;

/// Label of an image that says how it gets its model.
const LABEL: &str = "com.nvidia.nim.model_download_protocol";
/// Its value on native NIMs.
const NATIVE: &str = "native-v1";
/// Most platforms of one image that are looked at; those of today have two.
const MOST: usize = 16;

/// What a manifest leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// The manifests of its platforms, by digest.
    Index(Vec<String>),
    /// The config of its one platform, by digest.
    Image(String),
}

/// Reads a manifest; none when it is not one that has a config, or has no platform.
pub(super) fn manifest(answer: &Value) -> Option<Manifest> {
    let digest = |of: &Value| of["digest"].as_str().filter(|digest| is_digest(digest)).map(str::to_owned);
    let Some(all) = answer["manifests"].as_array() else {
        return digest(&answer["config"]).map(Manifest::Image);
    };
    let runs = |one: &&Value| {
        let platform = &one["platform"];
        one["annotations"]["vnd.docker.reference.type"].is_null()
            && platform["os"] != "unknown"
            && platform["architecture"] != "unknown"
    };
    let digests: Option<Vec<String>> = all.iter().filter(runs).map(digest).collect();
    digests.filter(|all| (1..=MOST).contains(&all.len())).map(Manifest::Index)
}

/// True when the config of an image says that it is a native NIM; none when it is no config.
pub(super) fn says_native(config: &Value) -> Option<bool> {
    let config = config.as_object()?.get("config");
    Some(config.is_some_and(|config| config["Labels"][LABEL] == NATIVE))
}

/// How a registry wants to be told who asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// By user and password.
    Basic,
    /// By a token that is fetched here.
    Bearer(String),
}

/// Reads the header `WWW-Authenticate`. `repository` is what is asked for where it does not say.
pub(super) fn challenge(header: &str, repository: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut fields = BTreeMap::new();
    let mut rest = rest.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        fields.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        rest = left.trim_start_matches([',', ' ']);
    }
    let realm = fields.remove("realm")?;
    let scope = fields.remove("scope").unwrap_or_else(|| format!("repository:{repository}:pull"));
    let join = if realm.contains('?') { '&' } else { '?' };
    let mut url = format!("{realm}{join}scope={}", escaped(&scope));
    if let Some(service) = fields.remove("service") {
        url = format!("{url}&service={}", escaped(&service));
    }
    Some(Challenge::Bearer(url))
}

/// The token that a token server answers with.
pub(super) fn token(answer: &Value) -> Option<&str> {
    let found = |field: &str| answer[field].as_str().filter(|token| !token.is_empty());
    found("token").or_else(|| found("access_token"))
}

/// Text as part of a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut done, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:/".contains(&byte) {
            done.push(char::from(byte));
        } else {
            // A string takes whatever is written.
            let _ = write!(done, "%{byte:02X}");
        }
        done
    })
}
