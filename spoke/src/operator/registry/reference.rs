//! The name of an image, taken apart as container runtimes do.

/// Where Docker's own registry is called when an image names none.
const DOCKER: &str = "docker.io";
/// Where it is asked.
const DOCKER_API: &str = "registry-1.docker.io";
/// Other names of it, in images and in pull secrets.
const DOCKER_ALIASES: &[&str] = &[DOCKER, "index.docker.io", DOCKER_API, "registry.docker.io"];

/// An image of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Registry with its port, under the one name that credentials are looked up by.
    pub(super) host: String,
    /// Path within the registry.
    pub(super) repository: String,
    /// Tag or digest; the digest where both are given.
    pub(super) version: String,
}

impl Reference {
    /// Takes a name apart; none when it is not the name of an image.
    pub(super) fn parse(image: &str) -> Option<Self> {
        let (name, digest) = match image.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (image, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DOCKER, name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let host = canonical_host(host);
        let alone = host == DOCKER && !path.contains('/');
        let repository = if alone { format!("library/{path}") } else { path.to_owned() };
        let right = is_host(&host)
            && repository.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest);
        let version = digest.or(tag).unwrap_or("latest").to_owned();
        right.then_some(Self { host, repository, version })
    }

    /// The host that is asked.
    pub(super) fn api_host(&self) -> &str {
        if self.host == DOCKER { DOCKER_API } else { &self.host }
    }
}

/// The major version in the tag of an image such as `nvcr.io/nim/meta/llama:2.0.10`; none where the tag is no version.
pub(crate) fn major_version(image: &str) -> Option<u32> {
    let Reference { version, .. } = Reference::parse(image)?;
    let digits: String = version.trim_start_matches('v').chars().take_while(char::is_ascii_digit).collect();
    let rest = &version.trim_start_matches('v')[digits.len()..];
    if rest.is_empty() || rest.starts_with(['.', '-']) { digits.parse().ok() } else { None }
}

/// A host by the one name that it is compared by.
pub(super) fn canonical_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER_ALIASES.contains(&host.as_str()) { DOCKER.to_owned() } else { host }
}

/// True for `sha256:…` and its like: nothing else may become part of a path that is asked for.
pub(super) fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty()
            && algorithm.chars().all(|one| one.is_ascii_alphanumeric() || "+._-".contains(one))
            && hex.len() >= 32
            && hex.chars().all(|one| one.is_ascii_hexdigit())
    })
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| one.is_ascii_alphanumeric() || ".:-[]".contains(one))
}

fn is_component(text: &str) -> bool {
    let plain = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || "._-".contains(one);
    text.starts_with(|one: char| one.is_ascii_alphanumeric()) && text.chars().all(plain)
}

fn is_tag(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|one| one.is_ascii_alphanumeric() || "._-".contains(one))
}
