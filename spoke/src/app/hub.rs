//! The link to the hub, if there is one: flags are read here, the agent runs beside the operator.

use std::fmt::Display;
use std::str::FromStr;

use kube::Client;
use runtime::Tasks;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::agent::Agent;
use crate::args::Args;
use crate::deliver::Limits;
use crate::link::{CaHash, Counters, HubAddress, LinkState, Proxy};
use crate::operator::Mutations;

/// What the flags say about the hub.
pub(super) struct Hub {
    address: HubAddress,
    ca_hash: CaHash,
    token: Option<String>,
    cluster: String,
    proxy: Proxy,
}

/// Reads the flags. `None` with `--no-hub`; an `Err` is a line for the user.
pub(super) fn wanted(args: &Args) -> Result<Option<Hub>, String> {
    if args.no_hub {
        return Ok(None);
    }
    Ok(Some(Hub {
        address: read(args.hub_address.as_deref())?,
        ca_hash: read(args.hub_ca_hash.as_deref())?,
        token: args.hub_token.clone().filter(|token| !token.is_empty()),
        cluster: args.cluster_name.clone().unwrap_or_default(),
        proxy: Proxy::from_env().map_err(|error| error.to_string())?,
    }))
}

fn read<T: FromStr<Err: Display>>(flag: Option<&str>) -> Result<T, String> {
    flag.unwrap_or_default().parse().map_err(|error: T::Err| error.to_string())
}

/// Starts the agent, which runs until stopped; without a hub there is nothing to run.
pub(super) fn start(
    hub: Option<Hub>,
    client: Client,
    namespace: &str,
    (limits, mutations): (Limits, Mutations),
    counters: Counters,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let Some(hub) = hub else { return };
    let (state, _) = watch::channel(LinkState::Connecting { problem: String::new() });
    let agent = Agent {
        client,
        namespace: namespace.to_owned(),
        hub_address: hub.address,
        hub_ca_hash: hub.ca_hash,
        token: hub.token,
        cluster: hub.cluster,
        proxy: hub.proxy,
        instance: Uuid::new_v4().to_string(),
        state,
        counters,
        limits,
        mutations,
    };
    tasks.spawn("agent", agent.run(tasks.clone(), stop.clone()));
}
