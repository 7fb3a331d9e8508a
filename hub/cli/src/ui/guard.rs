//! Who may ask: whoever knows the token in the path, by the loopback's own name.
//!
//! Every user of a machine reaches its loopback, and the page speaks to the API server with the caller's credentials. So a path
//! without the token is not there. A page elsewhere on the web whose name was bound to the loopback (DNS rebinding) is sent
//! away by its own name, and nothing but the page's own files is loaded, or may frame it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

/// What a page may load: its own style and script, and what that script asks of this server.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; script-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

/// The token and the names of one server.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: String,
    port: u16,
}

impl Guard {
    /// A guard of the server on that port, with a token of 256 random bits.
    pub(super) fn new(port: u16) -> Self {
        Self { token: hex::encode(rand::random::<[u8; 32]>()), port }
    }

    /// Where the page is.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{}/", self.port, self.token)
    }

    /// Whether a browser was led here by one of the loopback's own names.
    fn is_named(&self, host: Option<&HeaderValue>) -> bool {
        let names = ["127.0.0.1", "localhost"].map(|name| format!("{name}:{}", self.port));
        // A browser leaves the port of HTTP out.
        let is_it = |host: &str, name: &String| name == host || name.strip_suffix(":80") == Some(host);
        host.and_then(|host| host.to_str().ok())
            .is_some_and(|host| names.iter().any(|name| is_it(host, name)))
    }

    /// Whether the path begins with the token; how long that takes tells nothing about it.
    fn is_known(&self, path: &str) -> bool {
        let shown = path.split('/').nth(1).unwrap_or_default();
        shown.as_bytes().ct_eq(self.token.as_bytes()).into()
    }
}

/// Answers only who may ask, and says in every answer what the browser is to keep to.
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = if !guard.is_named(request.headers().get(header::HOST)) {
        StatusCode::MISDIRECTED_REQUEST.into_response()
    } else if guard.is_known(request.uri().path()) {
        next.run(request).await
    } else {
        StatusCode::NOT_FOUND.into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        // The address holds the token: no other server is to read it.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_only_the_whole_one_is_known() {
        let (guard, other) = (Guard::new(80), Guard::new(80));
        assert_ne!(guard.token, other.token);
        let path = |path: &str| guard.is_known(path);
        assert!(path(&format!("/{}/", guard.token)) && path(&format!("/{}/cluster/a", guard.token)));
        assert!(!path("/") && !path("//") && !path("") && !path(&format!("/{}/", other.token)));
        assert!(!path(&format!("/{}/", &guard.token[1..])) && !path(&format!("/x/{}/", guard.token)));
    }

    #[test]
    fn other_names_of_the_loopback_are_sent_away() {
        let guard = Guard::new(4711);
        for (host, known) in [
            ("127.0.0.1:4711", true),
            ("localhost:4711", true),
            ("127.0.0.1", false),
            ("127.0.0.1:4712", false),
            ("evil.example:4711", false),
            ("127.0.0.1:4711.evil.example", false),
        ] {
            assert_eq!(guard.is_named(Some(&HeaderValue::from_static(host))), known, "{host}");
        }
        assert!(!guard.is_named(None));
    }
}
