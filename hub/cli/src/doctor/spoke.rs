//! The checks of a spoke.

use std::time::Duration;

use crds::marks::HUB_LEASE;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, ResourceExt};
use runtime::call::within;
use tokio::net::TcpStream;

use super::{Check, definitions, installed};
use crate::args::Side;
use crate::failure::Failure;
use crate::session::{Session, call, list};
use crate::table::count;

/// Name of the spoke's Lease, and of its chart.
const SPOKE: &str = "nimfleet-spoke";
/// The Secret with the spoke's key and certificate.
const IDENTITY: &str = "nimfleet-spoke-identity";
/// How long the hub's address may take to accept a connection.
const DIAL: Duration = Duration::from_secs(3);
/// How long the spoke's metrics may take.
const METRICS: Duration = Duration::from_secs(5);
/// The label by which GPU feature discovery names the GPUs of a node.
const PRODUCT: &str = "nvidia.com/gpu.product";
/// The resource that nodes with GPUs offer.
const GPU: &str = "nvidia.com/gpu";

/// Platforms that a NIMService can ask for: what asks, the API group, and how it is installed.
const PLATFORMS: [(&str, &str, &str); 2] = [
    (
        "LeaderWorkerSet",
        "leaderworkerset.x-k8s.io",
        "install LeaderWorkerSet (0.8 or later): https://lws.sigs.k8s.io",
    ),
    (
        "KServe",
        "serving.kserve.io",
        "install KServe (0.15 or later): https://kserve.github.io, or set spec.inferencePlatform to standalone",
    ),
];

/// Looks at everything; what cannot be looked at is unknown.
pub(super) async fn checks(session: &Session) -> Vec<Check> {
    let (definitions, runs, leader, identity, link, others, platforms, gpus) = tokio::join!(
        definitions::check(session),
        installed::runs(session, Side::Spoke, "spoke-deployment"),
        leader(session),
        identity(session),
        link(session),
        other_operator(session),
        platforms(session),
        gpus(session),
    );
    let mut checks = vec![
        Check::from("definitions", definitions),
        Check::from("spoke-deployment", runs),
        Check::from("spoke-leader", leader),
        Check::from("spoke-identity", identity),
    ];
    match link {
        Ok(link) => checks.extend(link),
        Err(failure) => checks.push(Check::from("spoke-link", Err(failure))),
    }
    checks.push(Check::from("other-operator", others));
    match platforms {
        Ok(platforms) => checks.extend(platforms),
        Err(failure) => checks.push(Check::from("platforms", Err(failure))),
    }
    checks.push(Check::from("gpus", gpus));
    checks
}

async fn leader(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "spoke-leader";
    let namespace = session.installed_in();
    let found = installed::lease(session, SPOKE).await?;
    Ok(match found.and_then(|lease| installed::holder(&lease, Timestamp::now())) {
        Some(holder) => Check::ok(ID, format!("{holder} works")),
        None => Check::failed(
            ID,
            format!("no spoke works: Lease {namespace}/{SPOKE} is not held"),
            format!(
                "kubectl --namespace {namespace} logs deploy/{SPOKE}: a spoke that cannot begin says why"
            ),
        ),
    })
}

/// A key of its own, or a token to get a certificate with. Only whether these Secrets are there is read, nothing of them.
async fn identity(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "spoke-identity";
    let namespace = session.installed_in();
    let secrets: Api<Secret> = Api::namespaced(session.client(), namespace);
    let is_there = async |name: &str| {
        let found = call(format!("Secret {namespace}/{name}"), secrets.get_metadata_opt(name)).await?;
        Ok::<_, Failure>(found.is_some())
    };
    if is_there(IDENTITY).await? {
        return Ok(Check::ok(ID, format!("Secret {namespace}/{IDENTITY} is there")));
    }
    let deployment = installed::deployment(session, Side::Spoke).await?;
    let token = deployment.as_ref().and_then(token_secret);
    let Some(token) = token else {
        return Ok(match deployment {
            Some(_) => Check::ok(ID, "the spoke works without a hub"),
            None => Check::failed(
                ID,
                format!("Secret {namespace}/{IDENTITY} is not there: this cluster has not joined"),
                "on the hub: kubectl nimfleet join NAME",
            ),
        });
    };
    Ok(if is_there(&token).await? {
        Check::warning(
            ID,
            format!("Secret {namespace}/{IDENTITY} is not there yet: the spoke has a token and no key"),
            format!("kubectl --namespace {namespace} logs deploy/{SPOKE}: it says what the hub answered"),
        )
    } else {
        Check::failed(
            ID,
            format!(
                "neither the Secret {namespace}/{IDENTITY} nor the token {namespace}/{token} is there: the spoke cannot join"
            ),
            "on the hub: kubectl nimfleet join NAME, and run here what it prints",
        )
    })
}

/// The Secret from which the spoke reads its join token.
fn token_secret(deployment: &Deployment) -> Option<String> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    let variables = containers.iter().flat_map(|container| container.env.iter().flatten());
    let token = variables
        .filter(|variable| variable.name == "NIMFLEET_HUB_TOKEN")
        .find_map(|variable| variable.value_from.as_ref()?.secret_key_ref.as_ref());
    Some(token?.name.clone())
}

/// A flag of the spoke's container, for example `--hub-address`.
fn flag(deployment: &Deployment, name: &str) -> Option<String> {
    let containers = &deployment.spec.as_ref()?.template.spec.as_ref()?.containers;
    let mut arguments = containers.iter().flat_map(|container| container.args.iter().flatten());
    arguments.find_map(|argument| argument.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Whether the spoke has a session with its hub, and whether the hub can be reached from here.
async fn link(session: &Session) -> Result<Vec<Check>, Failure> {
    let Some(deployment) = installed::deployment(session, Side::Spoke).await? else { return Ok(Vec::new()) };
    let Some(address) = flag(&deployment, "--hub-address") else {
        return Ok(vec![Check::ok("spoke-link", "the spoke works without a hub")]);
    };
    let (connected, reached) = tokio::join!(connected(session, &deployment), reached(&address));
    Ok(vec![connected, reached])
}

/// What the spoke itself says, by its metrics, through the API server.
async fn connected(session: &Session, deployment: &Deployment) -> Check {
    const ID: &str = "spoke-link";
    let namespace = session.installed_in();
    let path = format!(
        "/api/v1/namespaces/{namespace}/services/{}-metrics:metrics/proxy/metrics",
        deployment.name_any()
    );
    let look = format!(
        "kubectl --namespace {namespace} logs deploy/{SPOKE}: it says whom it dials and what answers"
    );
    let request = match http::Request::get(&path).body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return Check::unknown(ID, error.to_string(), look),
    };
    match within(METRICS, session.client().request_text(request)).await {
        Err(error) => {
            Check::unknown(ID, format!("the spoke's metrics cannot be read: {}", error.words()), look)
        }
        Ok(metrics) => {
            match metrics.lines().find_map(|line| line.strip_prefix("nimfleet_spoke_link_connected ")) {
                Some("1") => Check::ok(ID, "the spoke has a session with its hub"),
                _ => Check::failed(ID, "the spoke has no session with its hub", look),
            }
        }
    }
}

/// Whether the hub's address accepts a connection from this machine, which may see another network than the spoke.
async fn reached(address: &str) -> Check {
    const ID: &str = "hub-address";
    let problem = match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return Check::ok(ID, format!("{address} accepts connections from this machine")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", DIAL.as_secs()),
    };
    Check::warning(
        ID,
        format!("{address} does not accept connections from this machine: {problem}"),
        "check hub.address of the spoke's chart, DNS, firewalls, and the proxy (HTTPS_PROXY in extraEnv); the spoke may \
         have a way that this machine has not",
    )
}

async fn other_operator(session: &Session) -> Result<Check, Failure> {
    const ID: &str = "other-operator";
    let deployment = installed::deployment(session, Side::Spoke).await?;
    let delegates =
        deployment.as_ref().and_then(|deployment| flag(deployment, "--mode")).as_deref() == Some("delegate");
    let nvidias = installed::nvidias_operator(session).await?;
    if installed::lease(session, HUB_LEASE).await?.is_some() {
        return Ok(Check::failed(
            ID,
            format!(
                "Lease {}/{HUB_LEASE}: this is a hub's own cluster, where no model runs",
                session.installed_in()
            ),
            "uninstall the spoke here, and join a cluster beside the hub's",
        ));
    }
    Ok(match (nvidias, delegates) {
        (None, false) => Check::ok(ID, "the spoke is the only NIM operator here"),
        (Some(sign), true) => {
            Check::ok(ID, format!("NVIDIA's NIM Operator works here, as the mode delegate wants it ({sign})"))
        }
        (Some(sign), false) => Check::failed(
            ID,
            format!(
                "NVIDIA's NIM Operator runs here too ({sign}): the spoke writes nothing until it has gone"
            ),
            "uninstall it (its definitions and objects stay), or set operator.mode of the spoke's chart to delegate",
        ),
        (None, true) => Check::failed(
            ID,
            "the mode is delegate, and NVIDIA's NIM Operator does not run here: nobody runs what is delivered",
            "install NVIDIA's NIM Operator, or set operator.mode of the spoke's chart to native",
        ),
    })
}

/// Platforms that NIMServices of this cluster ask for, and that it lacks.
async fn platforms(session: &Session) -> Result<Vec<Check>, Failure> {
    const ID: &str = "platforms";
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", "NIMService"));
    let api: Api<DynamicObject> = Api::all_with(session.client(), &resource);
    let client = session.client();
    let (services, groups) = tokio::join!(
        list(&api, "NIMServices: list in all namespaces"),
        call("API groups", client.list_api_groups())
    );
    let groups: Vec<String> = groups?.groups.into_iter().map(|group| group.name).collect();
    Ok(judge_platforms(ID, &services?, &groups))
}

fn judge_platforms(id: &'static str, services: &[DynamicObject], groups: &[String]) -> Vec<Check> {
    let asks = |service: &DynamicObject| {
        let spec = &service.data["spec"];
        if spec["inferencePlatform"] == "kserve" {
            Some("KServe")
        } else if spec["multiNode"].is_object() {
            Some("LeaderWorkerSet")
        } else {
            None
        }
    };
    let mut checks = Vec::new();
    for (platform, group, remedy) in PLATFORMS {
        let asking: Vec<String> = services
            .iter()
            .filter(|service| asks(service) == Some(platform))
            .map(|service| format!("{}/{}", service.namespace().unwrap_or_default(), service.name_any()))
            .collect();
        let served = groups.iter().any(|name| name == group);
        match (asking.first(), served) {
            (Some(first), false) => checks.push(Check::failed(
                id,
                format!("{platform} is not installed, and {} (first {first})", asks_for(asking.len())),
                remedy,
            )),
            (_, true) => checks.push(Check::ok(id, format!("{platform} is installed"))),
            (None, false) => {}
        }
    }
    if checks.is_empty() {
        checks.push(Check::ok(id, "no NIMService asks for a platform beside Kubernetes itself"));
    }
    checks
}

fn asks_for(number: usize) -> String {
    format!("{} {} for it", count(number, "NIMService"), if number == 1 { "asks" } else { "ask" })
}

async fn gpus(session: &Session) -> Result<Check, Failure> {
    let api: Api<Node> = Api::all(session.client());
    Ok(judge_gpus("gpus", &list(&api, "Nodes: list").await?))
}

fn judge_gpus(id: &'static str, nodes: &[Node]) -> Check {
    let offered = |node: &Node| -> u64 {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        allocatable.and_then(|all| all.get(GPU)?.0.parse().ok()).unwrap_or(0)
    };
    let with: Vec<&Node> = nodes.iter().filter(|node| offered(node) > 0).collect();
    if with.is_empty() {
        return Check::warning(
            id,
            format!("none of {} offers {GPU}", count(nodes.len(), "node")),
            "install the NVIDIA GPU Operator, or the device plugin, if the nodes have GPUs; devices of DRA are not counted here",
        );
    }
    let number: u64 = with.iter().map(|node| offered(node)).sum();
    let unlabelled: Vec<String> =
        with.iter().filter(|node| !node.labels().contains_key(PRODUCT)).map(|node| node.name_any()).collect();
    let found = format!("{number} GPUs on {}", count(with.len(), "node"));
    match unlabelled.first() {
        None => Check::ok(id, found),
        Some(first) => Check::warning(
            id,
            format!(
                "{found}; {} without the label {PRODUCT} (first {first})",
                count(unlabelled.len(), "node")
            ),
            "run GPU feature discovery, as the NVIDIA GPU Operator and gfd.enabled of the device plugin's chart do",
        ),
    }
}

#[cfg(test)]
mod tests;
