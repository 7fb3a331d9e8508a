//! What an admin says about the hub, parsed before anything is dialled.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::proxy::Proxy;

/// A flag that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not host:port.
    #[error("hub address {value:?}: {problem}; give host:port, for example hub.example.com:7443")]
    Address {
        /// What was given.
        value: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Not a CA hash.
    #[error(
        "hub CA hash {value:?}: not sha256: and 64 hexadecimal digits; copy it from the output of `nimfleet-hub \
         join-command <cluster>`"
    )]
    CaHash {
        /// What was given.
        value: String,
    },
}

/// Where the hub listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubAddress {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl HubAddress {
    /// Host name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name that the hub's certificate must carry.
    pub(super) fn server_name(&self) -> ServerName<'static> {
        self.name.clone()
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for HubAddress {
    type Err = SettingsError;

    fn from_str(value: &str) -> Result<Self, SettingsError> {
        let wrong = |problem| SettingsError::Address { value: value.to_owned(), problem };
        if value.contains("://") {
            return Err(wrong("a scheme does not belong here"));
        }
        let (host, port) = value.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is no port"))?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').ok_or_else(|| wrong("a bracket is not closed"))?,
            None if host.contains(':') => return Err(wrong("an IPv6 address needs brackets")),
            None => host,
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| wrong("the host is neither a DNS name nor an IP address"))?;
        Ok(Self { host: host.to_owned(), port, name })
    }
}

/// SHA-256 of the SubjectPublicKeyInfo of the hub's CA.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CaHash([u8; 32]);

impl CaHash {
    /// Whether this is the hash of that SubjectPublicKeyInfo (DER).
    pub(super) fn is_of(&self, spki: &[u8]) -> bool {
        use sha2::Digest;
        self.0[..] == sha2::Sha256::digest(spki)[..]
    }
}

impl fmt::Display for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for CaHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CaHash {
    type Err = SettingsError;

    fn from_str(value: &str) -> Result<Self, SettingsError> {
        let mut hash = [0; 32];
        value
            .strip_prefix("sha256:")
            .and_then(|digits| hex::decode_to_slice(digits, &mut hash).ok())
            .map(|()| Self(hash))
            .ok_or_else(|| SettingsError::CaHash { value: value.to_owned() })
    }
}

/// What the link needs to know before it dials.
#[derive(Clone)]
pub struct Settings {
    /// Where the hub listens.
    pub address: HubAddress,
    /// What the hub's CA must hash to. Checked when joining with a token only; afterwards the stored CAs are trusted.
    pub ca_hash: CaHash,
    /// This cluster's name on the hub.
    pub cluster: String,
    /// Join token, `<id>.<secret>`; needed until a certificate is stored, and when that is no longer taken.
    pub token: Option<String>,
    /// metadata.uid of this cluster's kube-system namespace.
    pub cluster_uid: String,
    /// What this agent can do, beside what the link itself can.
    pub capabilities: Vec<String>,
    /// Names what the cluster's owner lets a hub do here; another word when that changes.
    pub limits: String,
    /// Random per process, with its start in milliseconds since the Unix epoch: of two live agents the hub keeps
    /// the one started last.
    pub instance: (String, i64),
    /// Whether the hub is reached through a proxy.
    pub proxy: Proxy,
    /// How often HTTP/2 asks the hub whether it lives; [`KEEPALIVE`], but for tests.
    pub keepalive: Duration,
}

/// Short enough for a proxy or load balancer that cuts connections which were idle for a minute, the strictest there are.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let table = [
            ("hub.example.com:7443", Ok(("hub.example.com", 7443))),
            ("127.0.0.1:1", Ok(("127.0.0.1", 1))),
            ("[::1]:7443", Ok(("::1", 7443))),
            ("https://hub:7443", Err("a scheme does not belong here")),
            ("hub", Err("the port is missing")),
            ("hub:0", Err("the port is no port")),
            ("hub:70000", Err("the port is no port")),
            ("::1:7443", Err("an IPv6 address needs brackets")),
            ("[::1:7443", Err("a bracket is not closed")),
            ("a b:7443", Err("the host is neither a DNS name nor an IP address")),
            (":7443", Err("the host is neither a DNS name nor an IP address")),
        ];
        for (given, expected) in table {
            match (given.parse::<HubAddress>(), expected) {
                (Ok(address), Ok(expected)) => {
                    assert_eq!((address.host(), address.port()), expected, "{given}");
                    assert_eq!(address.to_string(), given);
                }
                (Err(SettingsError::Address { value, problem }), Err(expected)) => {
                    assert_eq!((value.as_str(), problem), (given, expected));
                }
                (found, expected) => panic!("{given}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn ca_hashes() {
        let good = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(good.parse::<CaHash>().unwrap().to_string(), good);
        for bad in ["", "sha256:", "0f0f", "sha256:zz", "sha1:0f", &good[..70]] {
            assert!(bad.parse::<CaHash>().is_err(), "{bad}");
        }
    }
}
