//! `nimfleet-hub join-command`.

use std::collections::BTreeSet;
use std::io::Write;

use hub_core::audit::Action;
use jiff::{SignedDuration, Timestamp};

use super::connect::connect;
use super::{AppError, identity};
use crate::args::{CommonArgs, JoinArgs, Output};
use crate::audit::Record;
use crate::pki::{JoinLine, KubeSecrets, Tokens};

/// Makes a token and prints how to use it.
pub(super) async fn print(common: &CommonArgs, args: &JoinArgs) -> Result<(), AppError> {
    let cluster = args.cluster.parse()?;
    let address = common.advertise.first().cloned();
    let address = address.ok_or(AppError::Advertise { value: String::new(), problem: "is not set" })?;
    hosts(&common.advertise)?;
    let (client, _) = connect(common.kubeconfig.as_deref()).await?;
    let secrets = KubeSecrets::new(client.clone(), &common.namespace);
    let now = Timestamp::now();
    let authorities = identity::authorities(&client, &common.namespace, common.ca_life).await?;
    let ttl = SignedDuration::try_from(args.ttl).unwrap_or(crate::pki::DEFAULT_TTL);
    let token = Tokens::new(secrets.clone()).create(&cluster, ttl, now).await.map_err(AppError::Join)?;
    let record = Record::new(Action::Token, common.pod_name.as_deref(), "join-command").cluster(&cluster);
    record.hand_over(&secrets).await.map_err(AppError::Audit)?;
    let ca_hash = authorities.current().signer().hash().clone();
    let line = JoinLine { charts: args.charts.clone(), address, ca_hash, token, cluster };
    let text = match args.output {
        Output::Helm => line.to_string(),
        Output::Json => line.json().to_string(),
    };
    writeln!(std::io::stdout(), "{text}").map_err(AppError::Output)
}

/// The hosts that are advertised, each once.
pub(super) fn hosts(addresses: &[String]) -> Result<Vec<String>, AppError> {
    let hosts = addresses.iter().map(|address| host(address)).collect::<Result<BTreeSet<_>, _>>()?;
    Ok(hosts.into_iter().collect())
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host(address: &str) -> Result<String, AppError> {
    let invalid = |problem| AppError::Advertise { value: address.to_owned(), problem };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| invalid("has no port"))?;
    port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| invalid("has no valid port"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        return Err(invalid("has no host"));
    }
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_the_certificate_names() {
        for (address, expected) in [("hub:7443", "hub"), ("10.0.0.1:1", "10.0.0.1"), ("[::1]:7443", "::1")] {
            assert_eq!(host(address).unwrap(), expected);
        }
        let all = ["hub:7443", "hub.example.com:443", "hub:30443"].map(str::to_owned);
        assert_eq!(hosts(&all).unwrap(), ["hub", "hub.example.com"]);
        for (address, problem) in
            [("hub", "no port"), ("hub:x", "valid port"), (":7443", "no host"), ("hub:0", "valid port")]
        {
            let message = hosts(&["hub:7443".to_owned(), address.to_owned()]).unwrap_err().to_string();
            assert!(message.contains(problem) && message.contains(address), "{message}");
        }
    }
}
