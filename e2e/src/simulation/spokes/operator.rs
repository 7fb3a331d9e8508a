//! What the operator and the scheduler of a spoke's cluster do with delivered objects, and what is observed of it.

use std::collections::BTreeMap;

use spoke::deliver::{ObjectRef, marks_of};
use spoke::facts::{CapacityReport, GpuPool, Platform};
use spoke::report::{Condition, ObjectStatus};

use super::kube::{Live, PER_NODE};
use super::{Event, SpokeSite};
use crate::cluster::gpu::node_sets;
use crate::simulation::stage::{Fact, Stage};

impl SpokeSite {
    /// Binds what fits, lets go what is too many.
    pub(in crate::simulation) fn operate(&mut self, stage: &mut Stage) {
        let keys: Vec<_> = self.kube.objects.keys().cloned().collect();
        let mut changed = false;
        for key in keys {
            let mut free = self.kube.free();
            let Some(live) = self.kube.objects.get_mut(&key) else { continue };
            let (before, had) = (live.ready, live.pods.len());
            let wanted = if live.meta.deletion_timestamp.is_some() { 0 } else { live.spec.replicas };
            live.pods.truncate(wanted as usize);
            while live.pods.len() < wanted as usize {
                let Some(node) = free.iter().position(|free| *free >= live.spec.gpus) else { break };
                free[node] -= live.spec.gpus;
                live.pods.push(node);
            }
            let bound = u32::try_from(live.pods.len()).unwrap_or(u32::MAX);
            live.ready = live.ready.min(bound);
            changed |= live.ready != before || live.pods.len() != had;
            if live.ready < bound
                && let Some(uid) = live.uid()
            {
                stage.plan_between(200, 5000, Event::Ready { spoke: self.index, uid, replicas: bound });
            }
        }
        self.report_all(stage);
        if changed {
            // Observers wait a moment for more.
            stage.plan_between(500, 2000, Event::Observe { spoke: self.index });
        }
    }

    /// Pods that are bound have come up.
    pub(in crate::simulation) fn ready(&mut self, uid: &str, replicas: u32, stage: &mut Stage) {
        let found = self.kube.objects.values_mut().find(|live| live.uid().as_deref() == Some(uid));
        if let Some(live) = found {
            let bound = u32::try_from(live.pods.len()).unwrap_or(u32::MAX);
            live.ready = live.ready.max(replicas.min(bound));
        }
        self.report_all(stage);
    }

    /// An object that was being deleted is gone.
    pub(in crate::simulation) fn vanish(&mut self, local: u64, stage: &mut Stage) {
        let key = self.kube.objects.iter().find(|(_, live)| live.local == local).map(|(key, _)| key.clone());
        let Some(live) = key.and_then(|key| self.kube.objects.remove(&key)) else { return };
        if let (Some(agent), Some(uid)) = (&self.agent, live.uid()) {
            agent.outbox.forget(&uid);
        }
        stage.plan_between(50, 800, Event::Operate { spoke: self.index });
        stage.plan_between(500, 2000, Event::Observe { spoke: self.index });
    }

    /// What the agent's watch shows of every delivered object.
    pub(in crate::simulation) fn report_all(&mut self, stage: &mut Stage) {
        let Some(agent) = &self.agent else { return };
        let now = stage.wall(self.skew);
        for ((kind, name), live) in &self.kube.objects {
            let Some(status) = status(kind, name, live, now.as_millisecond()) else { continue };
            stage.facts.push(Fact::Reported {
                cluster: self.cluster.clone(),
                uid: status.object.uid.clone(),
                at: now,
                ready: u32::try_from(status.ready_replicas).unwrap_or_default(),
                hash: status.hash.clone(),
            });
            agent.outbox.put(status);
        }
        self.poke_news(stage);
    }

    /// Counts free GPUs.
    pub(in crate::simulation) fn observe(&mut self, stage: &mut Stage) {
        let now = stage.wall(self.skew);
        let free = self.kube.free();
        let mut free_per_node: BTreeMap<u32, u32> = BTreeMap::new();
        for free in &free {
            *free_per_node.entry(*free).or_default() += 1;
        }
        let nodes = u32::try_from(free.len()).unwrap_or_default();
        let total: u32 = free.iter().sum();
        let nodes_by_free = free_per_node.clone();
        let report = CapacityReport {
            observed_at_ms: now.as_millisecond(),
            kubernetes_version: "v1.34.1".to_owned(),
            pools: vec![GpuPool {
                product: "NVIDIA-H100-80GB-HBM3".to_owned(),
                resource: "nvidia.com/gpu".to_owned(),
                memory_mib: 81_559,
                nodes,
                capacity: nodes * PER_NODE,
                allocatable: nodes * PER_NODE,
                free: total,
                free_per_node,
                ..GpuPool::default()
            }],
            platforms: vec![Platform { name: "standalone".to_owned(), ..Platform::default() }],
            bound: Some(self.bound(|_| 1)),
            node_sets: node_sets(nodes),
            ..CapacityReport::default()
        };
        let bound = self.bound(|live| live.spec.gpus);
        stage.note(|| format!("spoke {} has {free:?} free GPUs: bound {bound:?}", self.index));
        stage.facts.push(Fact::Observed {
            cluster: self.cluster.clone(),
            at: now,
            free: nodes_by_free,
            bound,
        });
        if let Some(agent) = &mut self.agent {
            agent.capacity = Some(report);
        }
        self.poke_news(stage);
    }

    /// By uid, the bound pods of every object, each counted with its weight.
    fn bound(&self, weight: impl Fn(&Live) -> u32) -> BTreeMap<String, u32> {
        let weigh = |live: &Live| u32::try_from(live.pods.len()).unwrap_or_default() * weight(live);
        self.kube.objects.values().filter_map(|live| Some((live.uid()?, weigh(live)))).collect()
    }
}

/// What the watch of delivered objects makes of one.
fn status(kind: &str, name: &str, live: &Live, observed_at_ms: i64) -> Option<ObjectStatus> {
    let marks = marks_of(&live.meta)?;
    let is_ready = live.ready >= live.spec.replicas;
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    Some(ObjectStatus {
        object: ObjectRef {
            uid: marks.uid,
            api_version: super::API_VERSION.to_owned(),
            kind: kind.to_owned(),
            namespace: super::NAMESPACE.to_owned(),
            name: name.to_owned(),
        },
        generation: marks.generation,
        hash: marks.hash,
        state: if is_ready { "Ready" } else { "NotReady" }.to_owned(),
        conditions: vec![Condition {
            kind: "Ready".to_owned(),
            status: if is_ready { "True" } else { "False" }.to_owned(),
            reason: if is_ready { "Ready" } else { "NotReady" }.to_owned(),
            message: String::new(),
            last_transition_ms: 0,
        }],
        ready_replicas: count(live.ready),
        wanted_replicas: count(live.spec.replicas),
        observed_at_ms,
        profiles: Vec::new(),
        unschedulable: None,
        claim: String::new(),
        services: Vec::new(),
    })
}
