//! Certificates that live for seconds, on real API servers, while what clusters report flows to the hub.
//!
//! In every cluster a node is cordoned and uncordoned, once a second or so; each time the hub must show how many GPUs are free.

use std::time::{Duration, Instant};

use crds::fleet::GPUCluster;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde::Serialize;
use serde_json::json;

use crate::cluster::gpu::H100;
use crate::failure::Failure;
use crate::fleet::{Fleet, Member};

/// A report that has not reached the hub by then is a failure.
const LATEST: Duration = Duration::from_secs(10);
/// Between two looks at the hub.
const LOOK: Duration = Duration::from_millis(20);
/// GPUs of the one node of each cluster.
const GPUS: u32 = 8;

/// What was seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Seen {
    /// How long it ran, seconds.
    pub seconds: u64,
    /// Clusters.
    pub clusters: usize,
    /// Life of a certificate.
    pub certificate_life: String,
    /// Renewals the hub has counted.
    pub renewals: u64,
    /// Sessions the hub has welcomed.
    pub sessions: u64,
    /// Sessions that follow neither from joining nor from a renewal: the link was down before them.
    pub breaks: i64,
    /// Changes that reached the hub.
    pub reports: usize,
    /// How long a change took to be seen on the hub, half of them, ms; a report gathers changes for a second.
    pub report_p50_ms: u128,
    /// The slowest, ms.
    pub report_longest_ms: u128,
    /// Changes that did not reach the hub in time.
    pub failures: usize,
    /// Attempts of spokes to connect or to enrol that failed.
    pub failed_attempts: u64,
    /// Attempts of spokes to renew that failed.
    pub failed_renewals: u64,
}

impl Seen {
    /// Whether all was as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let trouble = self.failures > 0 || self.breaks > 0 || self.failed_attempts + self.failed_renewals > 0;
        !trouble && self.renewals > 0 && self.reports > 0
    }
}

/// Runs `clusters` clusters for that long.
pub async fn soak(clusters: usize, certificate_life: &str, time: Duration) -> Result<Seen, Failure> {
    let names: Vec<String> = (1..=clusters).map(|number| format!("soak-{number}")).collect();
    let plan = names.iter().fold(Fleet::new().certificates(certificate_life), |plan, name| {
        plan.cluster(name).gpus(H100, GPUS, 1)
    });
    let fleet = plan.start().await?;
    let (begin, before) = (Instant::now(), Counted::of(&fleet).await?);
    let told = join_all(fleet.clusters().iter().map(|member| report(&fleet, member, begin + time))).await;
    let after = Counted::of(&fleet).await?;
    let mut seen = Seen {
        seconds: begin.elapsed().as_secs(),
        clusters,
        certificate_life: certificate_life.to_owned(),
        renewals: after.renewals,
        sessions: after.sessions,
        failed_attempts: after.failed_attempts.saturating_sub(before.failed_attempts),
        failed_renewals: after.failed_renewals.saturating_sub(before.failed_renewals),
        ..Seen::default()
    };
    let expected = clusters as u64 + after.renewals;
    seen.breaks =
        i64::try_from(after.sessions).unwrap_or(i64::MAX) - i64::try_from(expected).unwrap_or(i64::MAX);
    let mut took = Vec::new();
    for one in told {
        let (of_cluster, failures) = one?;
        took.extend(of_cluster);
        seen.failures += failures;
    }
    took.sort();
    seen.reports = took.len();
    seen.report_p50_ms = took.get(took.len() / 2).map_or(0, Duration::as_millis);
    seen.report_longest_ms = took.last().map_or(0, Duration::as_millis);
    Ok(seen)
}

/// Changes one cluster again and again; how long each change took to the hub, and how many did not come.
async fn report(fleet: &Fleet, member: &Member, until: Instant) -> Result<(Vec<Duration>, usize), Failure> {
    let nodes: Api<Node> = Api::all(member.cluster().client());
    let hub: Api<GPUCluster> = Api::all(fleet.hub().cluster().client());
    let node =
        nodes.list(&ListParams::default()).await?.items.into_iter().find_map(|node| node.metadata.name);
    let node = node.ok_or_else(|| Failure::new(format!("{} has no node", member.name())))?;
    let (mut took, mut failures, mut cordoned) = (Vec::new(), 0, false);
    while Instant::now() < until {
        cordoned = !cordoned;
        let patch = Patch::Merge(json!({"spec": {"unschedulable": cordoned}}));
        nodes.patch(&node, &PatchParams::default(), &patch).await?;
        let free = if cordoned { 0 } else { i32::try_from(GPUS).unwrap_or_default() };
        let begin = Instant::now();
        loop {
            let shown = hub.get(member.name()).await?.status.unwrap_or_default().gpus;
            if shown.iter().map(|pool| pool.free).sum::<i32>() == free {
                took.push(begin.elapsed());
                break;
            }
            if begin.elapsed() > LATEST {
                failures += 1;
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok((took, failures))
}

/// What the programs have counted so far.
struct Counted {
    renewals: u64,
    sessions: u64,
    failed_attempts: u64,
    failed_renewals: u64,
}

impl Counted {
    async fn of(fleet: &Fleet) -> Result<Self, Failure> {
        let hub = fleet.hub().daemon().metrics().await?;
        let (mut failed_attempts, mut failed_renewals) = (0, 0);
        for member in fleet.clusters() {
            let spoke = member.spoke().metrics().await?;
            failed_attempts += counter(&spoke, "nimfleet_spoke_link_failed_attempts_total");
            failed_renewals += counter(&spoke, "nimfleet_spoke_link_failed_renewals_total");
        }
        Ok(Self {
            renewals: counter(&hub, "nimfleet_hub_link_renewals_total"),
            sessions: counter(&hub, "nimfleet_hub_link_sessions_total"),
            failed_attempts,
            failed_renewals,
        })
    }
}

fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}
