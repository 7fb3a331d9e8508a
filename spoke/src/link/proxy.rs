//! The way to the hub: straight, or through the proxy that the environment names.

use std::io;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use runtime::chain;
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::settings::HubAddress;

/// The variables that name a proxy for the link, the first that is set; curl's, in its order but for case.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// The variables that name what is reached without one.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A proxy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "HTTPS_PROXY: not a proxy that the link can use: give http://host:port or http://user:password@host:port (the link is \
     encrypted within), or list the hub's host in NO_PROXY"
)]
pub struct ProxyError;

/// Which addresses are reached through which proxy. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    matcher: Arc<Matcher>,
}

impl Default for Proxy {
    /// None: the hub is reached straight.
    fn default() -> Self {
        Self { matcher: Arc::new(Matcher::builder().build()) }
    }
}

impl Proxy {
    /// What `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say, in capitals or not.
    pub fn from_env() -> Result<Self, ProxyError> {
        let first = |names: &[&str]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        };
        Self::new(&first(&PROXY).unwrap_or_default(), &first(&NO_PROXY).unwrap_or_default())
    }

    /// Through `proxy` (`http://user:password@host:port`; empty: straight) to all but what `no_proxy` lists: hosts with
    /// the domains below them, addresses and networks, separated by commas, or `*`.
    pub fn new(proxy: &str, no_proxy: &str) -> Result<Self, ProxyError> {
        let usable = || {
            let anywhere =
                Matcher::builder().https(proxy).build().intercept(&Uri::from_static("https://hub:1"))?;
            let uri = anywhere.uri();
            (uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()))
                .then_some(())
        };
        if !proxy.is_empty() && usable().is_none() {
            return Err(ProxyError);
        }
        Ok(Self { matcher: Arc::new(Matcher::builder().https(proxy).no(no_proxy).build()) })
    }

    /// Connects to the hub; what is written is on its way at once. The error names the proxy, if there is one, without
    /// its password.
    pub(super) async fn connect(&self, address: &HubAddress) -> io::Result<TcpStream> {
        let uri: Uri = format!("https://{address}").parse().map_err(io::Error::other)?;
        let Some(proxy) = self.matcher.intercept(&uri) else {
            let tcp = TcpStream::connect((address.host(), address.port())).await?;
            // Acks are small, and the hub waits for them.
            tcp.set_nodelay(true)?;
            return Ok(tcp);
        };
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        let failed = |error: &dyn std::error::Error| {
            let host = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
            io::Error::other(format!("through the proxy {host}: {}", chain(error)))
        };
        let ready = tunnel.ready().await.map_err(|error| failed(&error))?;
        Ok(ready.call(uri).await.map_err(|error| failed(&error))?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn a_proxy_is_used_for_what_is_not_excepted() {
        let through = |proxy: &str, no_proxy: &str, hub: &str| {
            let proxy = Proxy::new(proxy, no_proxy).unwrap();
            let found = proxy.matcher.intercept(&format!("https://{hub}").parse().unwrap());
            found.map(|found| found.uri().authority().unwrap().to_string())
        };
        let table = [
            ("", "", "hub.example.com:7443", None),
            ("http://p:3128", "", "hub.example.com:7443", Some("p:3128")),
            ("p:3128", "", "hub.example.com:7443", Some("p:3128")),
            ("http://p:3128", "example.com", "hub.example.com:7443", None),
            ("http://p:3128", ".example.com", "hub.example.com:7443", None),
            ("http://p:3128", "example.org, 10.0.0.0/8", "10.1.2.3:7443", None),
            ("http://p:3128", "10.0.0.0/8", "192.0.2.1:7443", Some("p:3128")),
            ("http://p:3128", "::1", "[::1]:7443", None),
            ("http://p:3128", "*", "hub:7443", None),
            ("http://u:s%40@p:3128", "", "hub:7443", Some("p:3128")),
        ];
        for (proxy, no_proxy, hub, expected) in table {
            assert_eq!(through(proxy, no_proxy, hub).as_deref(), expected, "{proxy} {no_proxy} {hub}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_before_anything_is_dialled() {
        for proxy in ["https://p:3128", "socks5://p:1080", "ftp://p", "http://", "a b"] {
            assert_eq!(Proxy::new(proxy, "").err(), Some(ProxyError), "{proxy}");
        }
    }

    /// A proxy that answers one request like this; gives what it was asked.
    async fn answering(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        (address, asked)
    }

    #[tokio::test]
    async fn the_proxy_is_asked_for_a_tunnel_with_the_credentials_of_its_url() {
        let (address, asked) = answering("HTTP/1.1 200 Connection established\r\n\r\n").await;
        let proxy = Proxy::new(&format!("http://user:s%40cret@{address}"), "").unwrap();
        proxy.connect(&"hub.example.com:7443".parse().unwrap()).await.unwrap();
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("CONNECT hub.example.com:7443 HTTP/1.1\r\n"), "{asked}");
        // "user:s@cret"
        assert!(asked.contains("Proxy-Authorization: Basic dXNlcjpzQGNyZXQ=\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named_without_its_password() {
        let (address, _asked) = answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        let proxy = Proxy::new(&format!("http://user:secret@{address}"), "").unwrap();
        let error = proxy.connect(&"hub:7443".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("authorization required"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}
