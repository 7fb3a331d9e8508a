//! Filter: the cluster has nodes whose labels the pods select and whose taints they tolerate, free or not.

use std::collections::BTreeMap;

use crds::taints::{GPU_TAINT, NodeTaint};

use super::{Reason, Verdict, refuse};
use crate::{
    Workload,
    fleet::{Capacity, ClusterName, NodeSets, Sets},
    need::{GpuNeed, NodeDemand, Operator, Requirement},
    nodes::{Suited, has_nodes, suited, suited_to_jobs},
    room,
};

/// Values of a label that are named where none is the one that is asked for.
const NAMED: usize = 4;

/// An agent that does not tell sets refuses nothing: its cluster's own scheduler does.
pub(super) fn check(workloads: &[Workload], cluster: &ClusterName, capacity: &Capacity) -> Verdict {
    let Some(known) = capacity.nodes.as_deref() else { return Ok(()) };
    for workload in workloads {
        let need = &workload.need;
        let pods = Pods {
            title: workload.title(),
            workload,
            gpu: need.gpu.as_ref(),
            demand: need.nodes.as_deref(),
            suited: suited(need, capacity, known),
        };
        pods.check(cluster, capacity, known)?;
        if need.jobs.is_some() {
            let jobs = Pods {
                title: format!("jobs of {}", workload.title()),
                workload,
                gpu: need.jobs.as_ref(),
                demand: need.job_nodes.as_deref(),
                suited: suited_to_jobs(need, capacity, known),
            };
            jobs.check(cluster, capacity, known)?;
        }
    }
    Ok(())
}

/// Pods that are alike.
struct Pods<'a> {
    title: String,
    workload: &'a Workload,
    gpu: Option<&'a GpuNeed>,
    demand: Option<&'a NodeDemand>,
    suited: Suited,
}

impl Pods<'_> {
    fn check(&self, cluster: &ClusterName, capacity: &Capacity, known: &NodeSets) -> Verdict {
        let has = |sets: Sets| has_nodes(self.gpu, &self.workload.need, sets, capacity);
        let waits = capacity.is_autoscaled() || self.demand.is_none_or(|demand| !demand.selects());
        // A cluster without nodes, or without such GPUs, is refused for that by other filters.
        if (known.all().is_empty() && waits) || !has(Sets::ALL) || has(self.suited.both()) {
            return Ok(());
        }
        if let Some(demand) = self.demand
            && !has(self.suited.selected)
        {
            return refuse(Reason::NoMatchingNode, self.mismatch(demand, cluster, capacity, known));
        }
        let title = &self.title;
        let repelling = match self.gpu {
            Some(_) => self.repelling_gpus(self.suited.selected, capacity, known),
            None => repelling(known, self.suited),
        };
        refuse(
            Reason::TaintNotTolerated,
            format!("{}, which {title} does not tolerate", repelling.join("; ")),
        )
    }

    /// What no node has of what is selected.
    fn mismatch(
        &self,
        demand: &NodeDemand,
        cluster: &ClusterName,
        capacity: &Capacity,
        known: &NodeSets,
    ) -> String {
        if let ([requirement], true) = (&demand.selector[..], demand.by_default) {
            return format!(
                "no node of {cluster} has {requirement}, which a NIMCache without spec.nodeSelector asks for (set \
                 nodeSelector: {{}} for any node)"
            );
        }
        let has = |sets: Sets| has_nodes(self.gpu, &self.workload.need, sets, capacity);
        let mut unmet: Vec<String> =
            demand.selector.iter().filter_map(|requirement| lacking(requirement, known, &has)).collect();
        if let Some(terms) = &demand.any_of {
            let of_term = |term: &Vec<Requirement>| {
                let lacks = term.iter().filter_map(|requirement| lacking(requirement, known, &has));
                lacks.collect::<Vec<_>>().join(" and ")
            };
            // Where a term can be met, it is not the affinity that is in the way.
            let lacks: Vec<String> = terms.iter().map(of_term).collect();
            if terms.is_empty() {
                unmet.push("the required node affinity has no term that selects a node".to_owned());
            } else if lacks.iter().all(|lack| !lack.is_empty()) {
                unmet.push(lacks.join(", or "));
            }
        }
        let title = &self.title;
        if unmet.is_empty() {
            return format!("{title}: no node has all labels together that it selects: {}", words(demand));
        }
        let gpus = if self.gpu.is_some() { " (of the nodes with GPUs that will do)" } else { "" };
        format!("{title}: {}{gpus}", unmet.join("; "))
    }

    /// The GPUs of selected nodes by the taints that repel the pods.
    fn repelling_gpus(&self, selected: Sets, capacity: &Capacity, known: &NodeSets) -> Vec<String> {
        let Some(gpu) = self.gpu else { return Vec::new() };
        let mut found: BTreeMap<(&str, String), (u32, u32)> = BTreeMap::new();
        for pool in capacity.pools.iter().filter(|pool| room::suits(pool, gpu, &self.workload.need.kind)) {
            for nodes in pool.tainted.iter().filter(|nodes| selected.holds(nodes.set)) {
                let Some(set) = known.sets().get(usize::from(nodes.set)) else { continue };
                let taints = untolerated(&set.taints, self.demand, true);
                let (gpus, count) = found.entry((&pool.product, taints)).or_default();
                *gpus = gpus.saturating_add(nodes.allocatable);
                *count = count.saturating_add(nodes.nodes);
            }
        }
        let row = |((product, taints), (gpus, nodes)): ((&str, String), (u32, u32))| {
            let plural = if gpus == 1 { "" } else { "s" };
            format!("{gpus} GPU{plural} of {product} on {} with {taints}", count(nodes))
        };
        found.into_iter().map(row).collect()
    }
}

/// Selected nodes by the taints that repel pods without GPUs.
fn repelling(known: &NodeSets, suited: Suited) -> Vec<String> {
    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for (_, set) in known.among(suited.selected.without(suited.tolerated)) {
        let nodes = found.entry(taints(&set.taints.iter().collect::<Vec<_>>())).or_default();
        *nodes = nodes.saturating_add(set.nodes);
    }
    found.into_iter().map(|(taints, nodes)| format!("{} with {taints}", count(nodes))).collect()
}

/// The taints that pods do not tolerate.
pub(super) fn untolerated(all: &[NodeTaint], demand: Option<&NodeDemand>, has_gpus: bool) -> String {
    let tolerations = demand.map_or(&[][..], |demand| &demand.tolerations);
    let repels =
        |taint: &&NodeTaint| !(taint.is_tolerated(tolerations) || has_gpus && taint.key == GPU_TAINT);
    taints(&all.iter().filter(repels).collect::<Vec<_>>())
}

fn taints(taints: &[&NodeTaint]) -> String {
    let words: Vec<_> = taints.iter().map(ToString::to_string).collect();
    let plural = if words.len() == 1 { "" } else { "s" };
    format!("taint{plural} {}", words.join(", "))
}

fn count(nodes: u32) -> String {
    let plural = if nodes == 1 { "" } else { "s" };
    format!("{nodes} node{plural}")
}

/// That no node meets a requirement; nothing where one does. `has` says whether some of these sets have nodes that count.
fn lacking(requirement: &Requirement, known: &NodeSets, has: &impl Fn(Sets) -> bool) -> Option<String> {
    if has(known.meeting(requirement)) {
        return None;
    }
    let key = &requirement.key;
    Some(match requirement.operator {
        Operator::DoesNotExist => format!("every node has label {key}"),
        Operator::NotIn => format!("every node has label {key} in ({})", requirement.values.join(", ")),
        _ => {
            let there: Vec<_> = known.values(key).take(NAMED).collect();
            let there =
                if there.is_empty() { String::new() } else { format!(" (there: {})", there.join(", ")) };
            format!("no node has label {requirement}{there}")
        }
    })
}

fn words(demand: &NodeDemand) -> String {
    let list = |all: &[Requirement]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let terms = demand.any_of.iter().flatten().map(|term| list(term)).collect::<Vec<_>>().join(" or ");
    let parts = [list(&demand.selector), terms];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What is free on nodes of suitable products on which the pods may not run; empty where nothing is.
pub(super) fn elsewhere(free: u32) -> String {
    match free {
        0 => String::new(),
        gpus => format!(
            "; {gpus} more free on nodes whose taints it does not tolerate, or whose labels it does not select"
        ),
    }
}
