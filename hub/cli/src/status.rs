//! `status`: the fleet at a glance.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crds::condition::{self, Truth};
use crds::fleet::{GPUCluster, GPUQuota, NIMPlacement, TaintEffect, Tally};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use serde::Serialize;

use crate::failure::Failure;
use crate::print::Printer;
use crate::session::{self, Hidden, Seen, Session};
use crate::table::{Cell, Table, Tone, age_of, count, paint};

/// Conditions of a GPUCluster that are wrong when they are True.
const WRONG_WHEN_TRUE: [&str; 6] =
    ["IsHub", "DuplicateAgent", "Orphans", "DeletionHeld", "FailoverHeld", "ReportTruncated"];
/// Conditions of a GPUCluster that are wrong when they are False.
const WRONG_WHEN_FALSE: [&str; 6] =
    ["AgentUpToDate", "CertificateValid", "TrustUpToDate", "EpochProven", "GPUsLabelled", "Reconciled"];
/// Those of them that an admin's word ends.
const CONFIRMED: [&str; 3] = ["DeletionHeld", "FailoverHeld", "Orphans"];

/// The fleet as one caller sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FleetStatus {
    pub(crate) gpus: Gpus,
    pub(crate) clusters: Vec<ClusterRow>,
    pub(crate) placements: Vec<PlacementRow>,
    /// What is wrong, the worst first.
    pub(crate) problems: Vec<Problem>,
    /// What the caller may not see.
    pub(crate) hidden: Vec<Hidden>,
}

/// GPUs, of all products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Gpus {
    pub(crate) free: u32,
    pub(crate) total: u32,
}

/// GPUs of one product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProductRow {
    pub(crate) product: String,
    /// What pods ask for.
    pub(crate) resource: String,
    pub(crate) free: i32,
    pub(crate) allocatable: i32,
    #[serde(rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    pub(crate) memory_mib: Option<i64>,
    /// How many nodes have so many free GPUs.
    pub(crate) free_per_node: BTreeMap<String, i32>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterRow {
    pub(crate) name: String,
    /// `True`, `False` or `Unknown`: whether placements may come.
    pub(crate) ready: &'static str,
    pub(crate) accepted: bool,
    pub(crate) connected: &'static str,
    pub(crate) gpus: Gpus,
    pub(crate) products: Vec<ProductRow>,
    /// Models that the fleet has placed there.
    pub(crate) models: i32,
    /// What keeps placements away: `drain`, and taints.
    pub(crate) taints: Vec<String>,
    pub(crate) region: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) certificate_expiry: Option<Timestamp>,
    /// What the condition Ready says.
    pub(crate) message: String,
}

/// One placement.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlacementRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The first clusters that count, and how many more.
    #[serde(rename = "where")]
    pub(crate) place: String,
    pub(crate) clusters: Tally,
    pub(crate) replicas: Tally,
    pub(crate) phase: String,
    pub(crate) reason: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) ready: &'static str,
    /// What the condition Ready says.
    pub(crate) message: String,
    /// Since when Ready is what it is.
    pub(crate) since: Option<Timestamp>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Models are not served as they should be, or somebody has to act.
    Error,
    /// It will become one, or is on its way.
    Warning,
}

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    /// `gpucluster/east`, `nimplacement/nim-service/llama`.
    pub(crate) object: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// A command that goes on from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

impl FleetStatus {
    /// What these objects come to.
    pub(crate) fn of(
        clusters: &Seen<impl Borrow<GPUCluster>>,
        placements: &Seen<impl Borrow<NIMPlacement>>,
        quotas: &Seen<impl Borrow<GPUQuota>>,
    ) -> Self {
        let members = || clusters.items.iter().map(Borrow::borrow);
        let selecting = || placements.items.iter().map(Borrow::borrow);
        let mut rows: Vec<ClusterRow> = members().map(ClusterRow::of).collect();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        let mut placed: Vec<PlacementRow> = selecting().map(PlacementRow::of).collect();
        placed.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let mut problems: Vec<Problem> = members().flat_map(of_cluster).collect();
        problems.extend(placed.iter().filter_map(of_placement));
        problems.extend(selecting().filter_map(not_reconciled));
        problems.extend(quotas.items.iter().map(Borrow::borrow).filter_map(of_quota));
        problems.sort_by(|a, b| (a.severity, &a.object, &a.reason).cmp(&(b.severity, &b.object, &b.reason)));
        let hidden = [
            Hidden::of("GPUCluster", clusters),
            Hidden::of("NIMPlacement", placements),
            Hidden::of("GPUQuota", quotas),
        ];
        Self {
            gpus: rows.iter().fold(Gpus::default(), |sum, row| Gpus {
                free: sum.free + row.gpus.free,
                total: sum.total + row.gpus.total,
            }),
            clusters: rows,
            placements: placed,
            problems,
            hidden: hidden.into_iter().flatten().collect(),
        }
    }

    /// What the caller may see of it.
    pub(crate) async fn read(session: &Session) -> Result<Self, Failure> {
        let (clusters, placements, quotas) = tokio::try_join!(
            session.clusters(),
            session.list_widely::<NIMPlacement>(),
            session.list_widely::<GPUQuota>(),
        )?;
        Ok(Self::of(&clusters, &placements, &quotas))
    }
}

/// The status of a condition as the API spells it.
pub(crate) fn word(conditions: &[Condition], kind: &str) -> &'static str {
    condition::truth(conditions, kind).as_str()
}

impl ClusterRow {
    fn of(cluster: &GPUCluster) -> Self {
        let status = cluster.status.clone().unwrap_or_default();
        let conditions = &status.conditions;
        let product = |pool: &crds::fleet::GPUPool| ProductRow {
            product: pool.product.clone(),
            resource: pool.resource.clone(),
            free: pool.free,
            allocatable: pool.allocatable,
            memory_mib: pool.memory_mib,
            free_per_node: pool.free_per_node.clone(),
        };
        let taint = |taint: &crds::fleet::Taint| {
            let value = taint.value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            let effect = match taint.effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            };
            format!("{}{value}:{effect}", taint.key)
        };
        let drain = cluster.spec.drain.then(|| "drain".to_owned());
        Self {
            name: cluster.name_any(),
            ready: word(conditions, "Ready"),
            accepted: cluster.spec.accepted,
            connected: word(conditions, "Connected"),
            gpus: status.gpu_summary.as_deref().and_then(gpus).unwrap_or_default(),
            products: status.gpus.iter().map(product).collect(),
            models: status.models.unwrap_or_default(),
            taints: drain.into_iter().chain(cluster.spec.taints.iter().map(taint)).collect(),
            region: status.region,
            agent_version: status.agent_version,
            last_seen: status.last_seen.map(|time| time.0),
            certificate_expiry: status.certificate_expiry.map(|time| time.0),
            message: condition::find(conditions, "Ready")
                .map(|ready| ready.message.clone())
                .unwrap_or_default(),
        }
    }
}

/// `12/16`, as the hub sums GPUs and devices up.
fn gpus(summary: &str) -> Option<Gpus> {
    let (free, total) = summary.split_once('/')?;
    Some(Gpus { free: free.parse().ok()?, total: total.parse().ok()? })
}

impl PlacementRow {
    pub(crate) fn of(placement: &NIMPlacement) -> Self {
        let status = placement.status.clone().unwrap_or_default();
        let ready = condition::find(&status.conditions, "Ready");
        Self {
            namespace: placement.namespace().unwrap_or_default(),
            name: placement.name_any(),
            place: status.where_summary.unwrap_or_default(),
            clusters: status.clusters.unwrap_or_default(),
            replicas: status.replicas.unwrap_or_default(),
            phase: status.phase.unwrap_or_else(|| "Unknown".to_owned()),
            reason: status.reason.unwrap_or_default(),
            ready: word(&status.conditions, "Ready"),
            message: ready.map(|ready| ready.message.clone()).unwrap_or_default(),
            since: ready.map(|ready| ready.last_transition_time.0),
        }
    }

    /// The tone of the phase.
    pub(crate) fn tone(&self) -> Tone {
        match self.phase.as_str() {
            "Available" => Tone::Good,
            "Degraded" => Tone::Bad,
            _ => Tone::Warning,
        }
    }
}

/// What is wrong with a cluster.
pub(crate) fn of_cluster(cluster: &GPUCluster) -> Vec<Problem> {
    let name = cluster.name_any();
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let problem = |severity, found: &Condition, remedy: Option<String>| Problem {
        severity,
        object: format!("gpucluster/{name}"),
        reason: found.reason.clone(),
        message: found.message.clone(),
        remedy,
    };
    let mut problems = Vec::new();
    let found = |kind: &str| condition::find(conditions, kind);
    if !cluster.spec.accepted {
        let waits = Problem {
            severity: Severity::Error,
            object: format!("gpucluster/{name}"),
            reason: "NotAccepted".to_owned(),
            message: "the cluster waits to be accepted".to_owned(),
            remedy: Some(format!("kubectl nimfleet accept {name}")),
        };
        problems.push(waits);
    } else if let Some(connected) = found("Connected").filter(|connected| connected.status != "True") {
        let remedy = "kubectl nimfleet doctor spoke, with a context of that cluster".to_owned();
        problems.push(problem(Severity::Error, connected, Some(remedy)));
    } else if let Some(fresh) = found("CapacityFresh").filter(|fresh| fresh.status == "False") {
        problems.push(problem(Severity::Warning, fresh, None));
    }
    for kind in WRONG_WHEN_TRUE {
        let remedy = CONFIRMED.contains(&kind).then(|| format!("kubectl nimfleet confirm {name}"));
        problems.extend(
            found(kind)
                .filter(|found| found.status == "True")
                .map(|found| problem(Severity::Error, found, remedy)),
        );
    }
    for kind in WRONG_WHEN_FALSE {
        problems.extend(
            found(kind)
                .filter(|found| found.status == "False")
                .map(|found| problem(Severity::Warning, found, None)),
        );
    }
    problems.extend(
        found("Drained").filter(|drained| cluster.spec.drain && drained.status == "False").map(|drained| {
            problem(Severity::Warning, drained, Some(format!("kubectl nimfleet drain {name}")))
        }),
    );
    problems
}

fn of_placement(row: &PlacementRow) -> Option<Problem> {
    let severity = match (row.ready, row.phase.as_str()) {
        ("True", _) | (_, "Terminating") => return None,
        (_, "Progressing" | "Unknown") => Severity::Warning,
        _ => Severity::Error,
    };
    let (namespace, name) = (&row.namespace, &row.name);
    Some(Problem {
        severity,
        object: format!("nimplacement/{namespace}/{name}"),
        reason: if row.reason.is_empty() { row.phase.clone() } else { row.reason.clone() },
        message: row.message.clone(),
        remedy: Some(format!("kubectl nimfleet why {name} --namespace {namespace}")),
    })
}

fn not_reconciled(placement: &NIMPlacement) -> Option<Problem> {
    let conditions = &placement.status.as_ref()?.conditions;
    let found = condition::find(conditions, "Reconciled").filter(|found| found.status == "False")?;
    Some(Problem {
        severity: Severity::Error,
        object: format!(
            "nimplacement/{}/{}",
            placement.namespace().unwrap_or_default(),
            placement.name_any()
        ),
        reason: found.reason.clone(),
        message: found.message.clone(),
        remedy: None,
    })
}

fn of_quota(quota: &GPUQuota) -> Option<Problem> {
    let status = quota.status.as_ref()?;
    let exceeded = condition::find(&status.conditions, "Exceeded")?;
    if condition::truth(&status.conditions, "Exceeded") != Truth::True {
        return None;
    }
    Some(Problem {
        severity: Severity::Warning,
        object: format!("gpuquota/{}/{}", quota.namespace().unwrap_or_default(), quota.name_any()),
        reason: exceeded.reason.clone(),
        message: exceeded.message.clone(),
        remedy: None,
    })
}

/// Prints the fleet.
pub(crate) async fn print(session: &Session, printer: Printer) -> Result<(), Failure> {
    let status = FleetStatus::read(session).await?;
    let now = Timestamp::now();
    printer.answer("FleetStatus", &status, |status| render(status, now))
}

fn render(status: &FleetStatus, now: Timestamp) -> String {
    let FleetStatus { gpus, clusters, placements, problems, hidden } = status;
    let mut out = String::new();
    let are_hidden = |kind| hidden.iter().any(|hidden| hidden.kind == kind);
    if !are_hidden("GPUCluster") || !clusters.is_empty() {
        let ready = clusters.iter().filter(|row| row.ready == "True").count();
        let Gpus { free, total } = gpus;
        let _ = writeln!(
            out,
            "{}, {ready} ready; {free} of {total} GPUs free\n",
            paint(&count(clusters.len(), "cluster"), Tone::Heading)
        );
        out += &cluster_table(clusters, now).render(0);
        out.push('\n');
    }
    let ready = placements.iter().filter(|row| row.ready == "True").count();
    let _ = writeln!(out, "{}, {ready} ready\n", paint(&count(placements.len(), "placement"), Tone::Heading));
    let table = placement_table(placements);
    if !table.is_empty() {
        out += &table.render(0);
        out.push('\n');
    }
    out += &problem_list(problems, hidden.is_empty());
    out += &session::hidden(hidden);
    out
}

fn cluster_table(clusters: &[ClusterRow], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "READY",
        "GPUS FREE/TOTAL",
        "PRODUCTS",
        "MODELS",
        "TAINTS",
        "AGENT",
        "LAST SEEN",
    ]);
    for row in clusters {
        let products: Vec<&str> = row.products.iter().map(|product| product.product.as_str()).collect();
        table.row([
            row.name.as_str().into(),
            Cell::of(row.ready, Tone::of_truth(row.ready)),
            format!("{}/{}", row.gpus.free, row.gpus.total).into(),
            first_of(&products, 2).into(),
            row.models.to_string().into(),
            first_of(&row.taints.iter().map(String::as_str).collect::<Vec<_>>(), 2).into(),
            row.agent_version.clone().unwrap_or_default().into(),
            row.last_seen.map_or_else(String::new, |seen| age_of(Some(seen), now)).into(),
        ]);
    }
    table
}

/// The first few of a list, and how many more.
fn first_of(items: &[&str], most: usize) -> String {
    let shown = items.iter().take(most).copied().collect::<Vec<_>>().join(", ");
    if items.len() > most { format!("{shown} and {} more", items.len() - most) } else { shown }
}

fn placement_table(placements: &[PlacementRow]) -> Table {
    let mut table = Table::new(&["NAMESPACE", "NAME", "WHERE", "CLUSTERS", "REPLICAS", "PHASE", "REASON"]);
    for row in placements {
        table.row([
            row.namespace.as_str().into(),
            row.name.as_str().into(),
            row.place.as_str().into(),
            row.clusters.to_string().into(),
            row.replicas.to_string().into(),
            Cell::of(row.phase.as_str(), row.tone()),
            row.reason.as_str().into(),
        ]);
    }
    table
}

fn problem_list(problems: &[Problem], all_is_seen: bool) -> String {
    if problems.is_empty() {
        let words = if all_is_seen { "nothing is wrong" } else { "nothing is wrong with what you may see" };
        return format!("{}\n", paint(words, Tone::Good));
    }
    let mut out = format!("{}\n\n", paint(&count(problems.len(), "problem"), Tone::Heading));
    for Problem { severity, object, reason, message, remedy } in problems {
        let tone = match severity {
            Severity::Error => Tone::Bad,
            Severity::Warning => Tone::Warning,
        };
        let _ = writeln!(out, "{} {reason}: {message}", paint(object, tone));
        if let Some(remedy) = remedy {
            let _ = writeln!(out, "    {}", paint(remedy, Tone::Faint));
        }
    }
    out
}

#[cfg(test)]
mod tests;
