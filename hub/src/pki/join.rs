//! The lines that join a cluster.

use std::fmt;

use hub_core::identity::CaHash;
use hub_scheduler::fleet::ClusterName;

use super::token::Token;

/// All that a new spoke needs to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLine {
    /// Registry (`oci://…`) or folder of the charts.
    pub charts: String,
    /// `host:port` that spokes dial.
    pub address: String,
    /// What the spoke pins.
    pub ca_hash: CaHash,
    /// Single use.
    pub token: Token,
    /// The cluster it is for.
    pub cluster: ClusterName,
}

impl JoinLine {
    /// The same for programs: `{"address", "caHash", "token", "cluster"}`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "address": self.address,
            "caHash": self.ca_hash.as_str(),
            "token": self.token.to_string(),
            "cluster": self.cluster.as_str(),
        })
    }
}

impl fmt::Display for JoinLine {
    /// The helm commands, ready to paste: the definitions, which a spoke cannot do without, and the spoke. The version is this
    /// hub's own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { charts, address, ca_hash, token, cluster } = self;
        let (charts, version) = (charts.trim_end_matches('/'), env!("CARGO_PKG_VERSION"));
        write!(
            f,
            "helm upgrade --install nimfleet-crds {charts}/nimfleet-crds --version {version}\n\
             helm upgrade --install nimfleet-spoke {charts}/nimfleet-spoke --version {version} \
             --namespace nimfleet --create-namespace --set hub.address={address} --set hub.caHash={ca_hash} --set hub.token={token} \
             --set cluster.name={cluster}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_and_the_json_say_the_same() {
        let token = "abc123.abcdefghijklmnopqrstuvwxyz012345";
        let line = JoinLine {
            charts: "oci://registry.example/charts/".to_owned(),
            address: "hub:7443".to_owned(),
            ca_hash: CaHash::reported("sha256:00"),
            token: token.parse().unwrap(),
            cluster: "east".parse().unwrap(),
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            line.to_string(),
            format!(
                "helm upgrade --install nimfleet-crds oci://registry.example/charts/nimfleet-crds --version {version}\n\
                 helm upgrade --install nimfleet-spoke oci://registry.example/charts/nimfleet-spoke --version {version} \
                 --namespace nimfleet --create-namespace --set hub.address=hub:7443 --set hub.caHash=sha256:00 \
                 --set hub.token=abc123.abcdefghijklmnopqrstuvwxyz012345 --set cluster.name=east"
            )
        );
        let json = line.json();
        assert_eq!(json["address"], "hub:7443");
        assert_eq!(json["caHash"], "sha256:00");
        assert_eq!(json["token"], token);
        assert_eq!(json["cluster"], "east");
    }
}
