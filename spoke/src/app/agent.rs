//! The agent beside the operator: link, delivery, facts and reports, wired together.

use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use proto::capability;
use runtime::Tasks;
use runtime::backoff::jittered;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::deliver::{self, ClusterDeliver, KINDS, Limits};
use crate::facts::{self, Look};
use crate::link::{
    CaHash, Counters, HubAddress, KEEPALIVE, KubeIdentityStore, Link, LinkState, Proxy, Settings,
};
use crate::operator::Mutations;
use crate::report::{self, Outbox};

/// The namespace whose uid is the cluster's: every cluster has it, and it lives as long as the cluster.
const CLUSTER_NAMESPACE: &str = "kube-system";

/// Capability of an agent that takes Secrets.
const SECRETS: &str = "v1/Secret";

/// First and longest pause between attempts to read the cluster's identity.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What an agent is started with.
pub struct Agent {
    /// Talks to this cluster.
    pub client: kube::Client,
    /// The spoke's own namespace.
    pub namespace: String,
    /// Where the hub listens.
    pub hub_address: HubAddress,
    /// What the hub's CA must hash to.
    pub hub_ca_hash: CaHash,
    /// Join token; needed until a certificate is stored.
    pub token: Option<String>,
    /// This cluster's name on the hub.
    pub cluster: String,
    /// Random per process.
    pub instance: String,
    /// Told how the link is.
    pub state: watch::Sender<LinkState>,
    /// The link's counts.
    pub counters: Counters,
    /// Whether the hub is reached through a proxy.
    pub proxy: Proxy,
    /// What the cluster's owner lets a hub do here.
    pub limits: Limits,
    /// Where it is noted what this cluster's admission changes of what the hub sends.
    pub(crate) mutations: Mutations,
}

impl Agent {
    /// Runs until `stop` is cancelled. Whatever fails is logged and tried again.
    pub async fn run(self, tasks: Tasks, stop: CancellationToken) {
        let started_ms = jiff::Timestamp::now().as_millisecond();
        let Some(Some(cluster_uid)) = stop.run_until_cancelled(cluster_uid(&self.client)).await else {
            return;
        };
        let capabilities = KINDS
            .into_iter()
            .map(|kind| format!("{}/{}", kind.api_version(), kind.kind))
            .chain([capability::RETAIN, capability::GANGS, SECRETS].map(str::to_owned))
            .collect();
        let limits = self.limits.name();
        let (look, looks) = Look::new();
        let deliver =
            ClusterDeliver::new(self.client.clone(), &self.namespace, self.limits, look, self.mutations);
        let statuses = Outbox::default();
        let (capacity_sender, capacity) = watch::channel(None);
        let link = Link {
            settings: Settings {
                address: self.hub_address,
                ca_hash: self.hub_ca_hash,
                cluster: self.cluster,
                token: self.token,
                cluster_uid,
                capabilities,
                limits,
                instance: (self.instance, started_ms),
                proxy: self.proxy,
                keepalive: KEEPALIVE,
            },
            identity: KubeIdentityStore::new(self.client.clone(), &self.namespace),
            deliver: Arc::new(deliver.clone()),
            statuses: statuses.clone(),
            capacity,
            state: self.state,
            counters: self.counters,
        };
        // None of these ends before it is told to.
        tasks.spawn("drift correction", deliver::heal(deliver, stop.clone()));
        let facts =
            facts::observe(self.client.clone(), statuses.clone(), looks, capacity_sender, stop.clone());
        tasks.spawn("facts", facts);
        tasks.spawn("report", report::report(self.client, statuses, stop.clone()));
        link.run(stop).await;
    }
}

/// Reads what tells this cluster from any other, for as long as it takes.
async fn cluster_uid(client: &kube::Client) -> Option<String> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let read = || async { namespaces.get(CLUSTER_NAMESPACE).await };
    let found = read
        .retry(jittered(RETRY.0, RETRY.1))
        .notify(|error, _| tracing::warn!(%error, namespace = CLUSTER_NAMESPACE, "the cluster's uid cannot be read"))
        .await;
    found.ok()?.metadata.uid
}
