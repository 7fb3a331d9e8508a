//! Who may speak for users: the front proxy of the hub's API server, as it says in the ConfigMap
//! `extension-apiserver-authentication` of kube-system; and whom it speaks for.

use std::collections::BTreeMap;

use http::HeaderMap;

/// What the API server says of its front proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrontProxy {
    /// PEM of the CAs that sign its client certificate.
    pub(super) ca_pem: String,
    /// Common names that it may have; empty: any.
    names: Vec<String>,
    user: Vec<String>,
    groups: Vec<String>,
    extra: Vec<String>,
}

/// Somebody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

/// The ConfigMap does not say what is needed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ConfigMap kube-system/extension-apiserver-authentication: {key} {problem}")]
pub(super) struct Unusable {
    key: &'static str,
    problem: &'static str,
}

impl FrontProxy {
    /// Reads the ConfigMap's data.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Result<Self, Unusable> {
        let ca = "requestheader-client-ca-file";
        let missing = "is missing: start kube-apiserver with --requestheader-client-ca-file";
        let ca_pem =
            data.get(ca).filter(|pem| !pem.is_empty()).ok_or(Unusable { key: ca, problem: missing })?;
        let user = list(data, "requestheader-username-headers")?;
        if user.is_empty() {
            let problem =
                "is empty: start kube-apiserver with --requestheader-username-headers=X-Remote-User";
            return Err(Unusable { key: "requestheader-username-headers", problem });
        }
        Ok(Self {
            ca_pem: ca_pem.clone(),
            names: list(data, "requestheader-allowed-names")?,
            user,
            groups: list(data, "requestheader-group-headers")?,
            extra: list(data, "requestheader-extra-headers-prefix")?,
        })
    }

    /// Whether a certificate of that common name is the front proxy's.
    pub(super) fn is(&self, common_name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| name == common_name)
    }

    /// Whom a request is for; none if it does not say.
    pub(super) fn user(&self, headers: &HeaderMap) -> Option<User> {
        let values = |name: &String| {
            let all = headers.get_all(name.as_str()).iter();
            all.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect::<Vec<_>>()
        };
        let name = self.user.iter().flat_map(values).find(|name| !name.is_empty())?;
        let groups = self.groups.iter().flat_map(values).collect();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (header, value) in headers {
            // Header names come in lower case, and what they carry of a key is escaped by percent signs.
            let key = self
                .extra
                .iter()
                .find_map(|prefix| header.as_str().strip_prefix(prefix.to_ascii_lowercase().as_str()));
            if let (Some(key), Ok(value)) = (key, value.to_str()) {
                let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
                extra.entry(key).or_default().push(value.to_owned());
            }
        }
        Some(User { name, groups, extra })
    }
}

/// A JSON list of words; one that is not there is empty.
fn list(data: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, Unusable> {
    match data.get(key).filter(|text| !text.is_empty()) {
        None => Ok(Vec::new()),
        Some(text) => {
            serde_json::from_str(text).map_err(|_| Unusable { key, problem: "is no JSON list of words" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let base = [
            ("requestheader-client-ca-file", "PEM"),
            ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ];
        base.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_user_is_whom_the_headers_name() {
        let proxy = FrontProxy::read(&data(&[])).unwrap();
        let mut headers = HeaderMap::new();
        assert_eq!(proxy.user(&headers), None);
        headers.insert("X-Remote-User", "jane".parse().unwrap());
        headers.append("X-Remote-Group", "ml".parse().unwrap());
        headers.append("X-Remote-Group", "system:authenticated".parse().unwrap());
        headers.insert("X-Remote-Extra-Example.com%2Fscope", "a".parse().unwrap());
        headers.insert("Authorization", "no".parse().unwrap());
        let extra = BTreeMap::from([("example.com/scope".to_owned(), vec!["a".to_owned()])]);
        let groups = vec!["ml".to_owned(), "system:authenticated".to_owned()];
        assert_eq!(proxy.user(&headers), Some(User { name: "jane".into(), groups, extra }));
    }

    #[test]
    fn only_certificates_of_its_names_are_the_proxys() {
        let proxy = FrontProxy::read(&data(&[])).unwrap();
        assert!(proxy.is("front-proxy-client") && !proxy.is("jane"));
        assert!(FrontProxy::read(&data(&[("requestheader-allowed-names", "[]")])).unwrap().is("anybody"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_flag_that_sets_it() {
        for (key, value, word) in [
            ("requestheader-client-ca-file", "", "--requestheader-client-ca-file"),
            ("requestheader-username-headers", "[]", "--requestheader-username-headers"),
            ("requestheader-allowed-names", "front", "no JSON list"),
        ] {
            let error = FrontProxy::read(&data(&[(key, value)])).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(word), "{error}");
        }
    }
}
