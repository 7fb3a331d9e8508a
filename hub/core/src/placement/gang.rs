//! What a spoke looks for before it takes an object whose pods run on several nodes at once.

use std::collections::BTreeSet;

use crate::fleet::Cluster;
use crate::link::{Gang, looks_for_gangs};
use crate::need::Need;
use crate::scheduler::suits;

/// The gang of an object in a cluster, of which so many replicas are granted where it has a number of them; none where there
/// is nothing to look for, or nobody who looks. Where an autoscaler can bring nodes, pods that find none are what it waits
/// for. Of a pipeline it is the service with the most pods together that is looked for.
#[must_use]
pub fn of(need: &Need, granted: Option<u32>, priority: i32, cluster: &Cluster) -> Option<Gang> {
    let gangs = need.parts().filter_map(|part| {
        let groups = if part.replicated { granted.unwrap_or(part.replicas) } else { part.granted(None) };
        of_part(part, groups, priority, cluster)
    });
    gangs.max_by_key(|gang| gang.nodes.saturating_mul(gang.groups))
}

fn of_part(need: &Need, groups: u32, priority: i32, cluster: &Cluster) -> Option<Gang> {
    let gpu = need.gpu.as_ref().filter(|gpu| gpu.pods > 1 && groups > 0)?;
    if !cluster.potential.is_empty() || !cluster.agent.as_ref().is_none_or(looks_for_gangs) {
        return None;
    }
    let products = if need.kind.is_any() {
        BTreeSet::new()
    } else {
        let pools = cluster.capacity.iter().flat_map(|capacity| &capacity.pools);
        let suitable = pools.filter(|pool| suits(pool, gpu, &need.kind));
        // Without one, which no cluster was chosen for, the spoke would take any.
        Some(suitable.map(|pool| pool.product.clone()).collect())
            .filter(|all: &BTreeSet<_>| !all.is_empty())?
    };
    Some(Gang {
        resource: gpu.resource.clone(),
        products: products.into_iter().collect(),
        gpus_per_node: gpu.per_pod,
        nodes: gpu.pods,
        groups,
        priority,
        tolerations: need.nodes.as_ref().map(|demand| demand.tolerations.clone()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Agent, Capacity, Pool, Potential};
    use crate::need::{GpuKind, GpuNeed};

    const H100: &str = "NVIDIA-H100-80GB-HBM3";

    fn pool(product: &str, memory_mib: u64) -> Pool {
        let resource = "nvidia.com/gpu".to_owned();
        Pool { product: product.to_owned(), resource, memory_mib, ..Pool::default() }
    }

    fn cluster() -> Cluster {
        let pools = vec![pool(H100, 81_559), pool("NVIDIA-L40S", 46_068)];
        let capacity = Some(Capacity { pools, ..Capacity::default() });
        let capabilities = vec!["gangs".to_owned()];
        let agent = Some(Agent { capabilities, ..Agent::default() });
        Cluster { capacity, agent, ..Cluster::new("east".parse().unwrap()) }
    }

    fn need(pods: u32, kind: GpuKind) -> Need {
        let gpu = Some(GpuNeed { resource: "nvidia.com/gpu".into(), per_pod: 8, pods });
        Need { gpu, kind, replicated: true, ..Need::default() }
    }

    fn named(product: &str) -> GpuKind {
        GpuKind { products: vec![vec![product.to_owned()]], min_memory_mib: 0 }
    }

    #[test]
    fn only_what_needs_nodes_together_is_looked_for_and_by_whom_it_helps() {
        let old = Cluster { agent: Some(Agent::default()), ..cluster() };
        let unheard = Cluster { agent: None, ..cluster() };
        let potential = Potential {
            product: H100.into(),
            resource: "nvidia.com/gpu".into(),
            gpus_per_node: 8,
            max_nodes: 2,
            memory_mib: 81_559,
            delay: jiff::SignedDuration::ZERO,
        };
        let grows = Cluster { potential: vec![potential], ..cluster() };
        let table = [
            ("two nodes", need(2, GpuKind::default()), 1, cluster(), true),
            ("one node", need(1, GpuKind::default()), 2, cluster(), false),
            ("no replicas", need(2, GpuKind::default()), 0, cluster(), false),
            ("no GPUs", Need::default(), 1, cluster(), false),
            ("an agent that does not look", need(2, GpuKind::default()), 1, old, false),
            ("one that has not been heard yet", need(2, GpuKind::default()), 1, unheard, true),
            ("a cluster that grows", need(2, GpuKind::default()), 1, grows, false),
            ("a product that is not there", need(2, named("B200")), 1, cluster(), false),
        ];
        for (case, need, groups, cluster, expected) in table {
            assert_eq!(of(&need, Some(groups), 0, &cluster).is_some(), expected, "{case}");
        }
    }

    #[test]
    fn products_are_named_as_the_cluster_names_them() {
        let products = |kind| of(&need(2, kind), Some(3), -1, &cluster()).unwrap().products;
        assert_eq!(products(GpuKind::default()), [""; 0]);
        assert_eq!(products(named("h100")), [H100]);
        assert_eq!(products(GpuKind { min_memory_mib: 40_000, ..GpuKind::default() }), [H100, "NVIDIA-L40S"]);
        let gang = of(&need(2, named("h100")), Some(3), -1, &cluster()).unwrap();
        assert_eq!((gang.nodes, gang.gpus_per_node, gang.groups, gang.priority), (2, 8, 3, -1));
    }

    #[test]
    fn of_a_pipeline_the_service_with_the_most_pods_is_looked_for() {
        let service = |name: &str, pods: u32, replicas: u32| Need {
            service: name.to_owned(),
            replicas,
            replicated: false,
            ..need(pods, GpuKind::default())
        };
        let pipeline = |services: Vec<Need>| Need { services, ..Need::default() };
        let wide = pipeline(vec![service("a", 2, 3), service("b", 4, 1), service("c", 1, 9)]);
        let gang = of(&wide, None, 0, &cluster()).unwrap();
        assert_eq!((gang.nodes, gang.groups), (2, 3));
        assert_eq!(of(&pipeline(vec![service("c", 1, 9)]), None, 0, &cluster()), None);
    }
}
