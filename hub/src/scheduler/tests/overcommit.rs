//! Property: whatever the order of decisions, starts and reports, two placements never hold the same GPUs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{Build, H100, adopt, at, name, pool, report, request, service, status};
use crate::{
    fleet::{Capacity, Fleet, FleetEvent},
    scheduler::{Division, Request, schedule},
};

const NODE: u32 = 8;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create {
        gpus: u32,
        replicas: u32,
        clusters: u32,
        divided: bool,
    },
    Scale {
        which: usize,
        replicas: u32,
    },
    Delete {
        which: usize,
    },
    Decide {
        which: usize,
    },
    /// The cluster's own scheduler binds pods, from that node on.
    Bind {
        cluster: usize,
        from: usize,
    },
    /// The spoke reports; `starting`: pods bound since are not ready yet.
    Report {
        cluster: usize,
        starting: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u32..=NODE, 1u32..4, 1u32..3, any::<bool>()).prop_map(|(gpus, replicas, clusters, divided)| {
            Step::Create { gpus, replicas, clusters, divided }
        }),
        (0usize..8, 0u32..6).prop_map(|(which, replicas)| Step::Scale { which, replicas }),
        (0usize..8).prop_map(|which| Step::Delete { which }),
        (0usize..8).prop_map(|which| Step::Decide { which }),
        (0usize..2, 0usize..3).prop_map(|(cluster, from)| Step::Bind { cluster, from }),
        (0usize..2, any::<bool>()).prop_map(|(cluster, starting)| Step::Report { cluster, starting }),
    ]
}

/// A fleet, its placements, and what really runs.
struct World {
    fleet: Fleet,
    placements: Vec<Request>,
    nodes: Vec<usize>,
    /// Nodes of the bound pods, by cluster and object.
    bound: BTreeMap<(usize, String), Vec<usize>>,
    ready: BTreeMap<(usize, String), u32>,
    made: usize,
    now: i64,
    /// Whether spokes tell which pods are bound.
    tells_bound: bool,
}

impl World {
    fn new(nodes: Vec<usize>, tells_bound: bool) -> Self {
        let mut fleet = Fleet::default();
        for (cluster, nodes) in nodes.iter().enumerate() {
            let blocks = [(NODE, u32::try_from(*nodes).unwrap())];
            fleet = fleet.joined(&cluster_name(cluster), vec![pool(H100, 81_559, &blocks, NODE)]);
        }
        let (placements, bound, ready) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { fleet, placements, nodes, bound, ready, made: 0, now: 0, tells_bound }
    }

    fn act(&mut self, step: Step) {
        self.now += 1;
        match step {
            Step::Create { gpus, replicas, clusters, divided } => {
                self.made += 1;
                let name = format!("p{}", self.made);
                let mut wants = request(&name, vec![service(&name, gpus, replicas)]);
                wants.policy.clusters = Some(clusters);
                wants.policy.division = if divided { Division::Divided } else { Division::Duplicated };
                self.placements.push(wants);
                self.decide(self.placements.len() - 1);
            }
            Step::Scale { which, replicas } => {
                if let Some(wants) = self.placements.get_mut(which) {
                    wants.workloads[0].need.replicas = replicas;
                    self.decide(which);
                }
            }
            Step::Delete { which } if which < self.placements.len() => {
                let gone = self.placements.remove(which);
                self.bound.retain(|(_, uid), _| *uid != gone.placement.name);
                self.ready.retain(|(_, uid), _| *uid != gone.placement.name);
                self.fleet.apply(FleetEvent::Granted { placement: gone.placement, grants: Vec::new() });
            }
            Step::Decide { which } => self.decide(which),
            Step::Bind { cluster, from } => self.bind(cluster, from),
            Step::Report { cluster, starting } => self.report(cluster, starting),
            Step::Delete { .. } => {}
        }
        // A spoke reports every change within seconds.
        if self.now % 5 == 0 {
            (0..self.nodes.len()).for_each(|cluster| self.report(cluster, true));
        }
    }

    fn decide(&mut self, which: usize) {
        let Some(wants) = self.placements.get_mut(which) else { return };
        wants.now = at(self.now);
        let decision = schedule(wants, &self.fleet);
        assert_eq!(decision, schedule(wants, &self.fleet), "same input, same output");
        adopt(&mut self.fleet, wants, &decision);
    }

    fn free(&self, cluster: usize) -> Vec<u32> {
        let mut free = vec![NODE; self.nodes[cluster]];
        for wants in &self.placements {
            let per_pod = wants.workloads[0].need.gpu.as_ref().unwrap().per_pod;
            for node in self.bound.get(&(cluster, wants.placement.name.clone())).into_iter().flatten() {
                free[*node] -= per_pod;
            }
        }
        free
    }

    fn bind(&mut self, cluster: usize, from: usize) {
        for wants in self.placements.clone() {
            let per_pod = wants.workloads[0].need.gpu.as_ref().unwrap().per_pod;
            let wanted = granted(cluster, &wants) as usize;
            let key = (cluster, wants.placement.name.clone());
            self.bound.entry(key.clone()).or_default().truncate(wanted);
            while self.bound[&key].len() < wanted {
                let (free, nodes) = (self.free(cluster), self.nodes[cluster]);
                let Some(node) = (0..nodes).map(|i| (i + from) % nodes).find(|i| free[*i] >= per_pod) else {
                    break;
                };
                self.bound.get_mut(&key).unwrap().push(node);
            }
        }
    }

    fn report(&mut self, cluster: usize, starting: bool) {
        let mut statuses = Vec::new();
        for wants in &self.placements {
            let key = (cluster, wants.placement.name.clone());
            let bound = u32::try_from(self.bound.get(&key).map_or(0, Vec::len)).unwrap();
            let before = self.ready.get(&key).copied().unwrap_or(0);
            let ready = if starting { before.min(bound) } else { bound };
            statuses.push(status(&wants.placement.name, ready, self.now));
            self.ready.insert(key, ready);
        }
        let mut blocks: BTreeMap<u32, u32> = BTreeMap::new();
        for free in self.free(cluster) {
            *blocks.entry(free).or_default() += 1;
        }
        let blocks: Vec<_> = blocks.into_iter().collect();
        let of_cluster = self.bound.iter().filter(|((of, _), _)| *of == cluster);
        let bound = of_cluster.map(|((_, uid), nodes)| (uid.clone(), u32::try_from(nodes.len()).unwrap()));
        let bound = self.tells_bound.then(|| bound.collect());
        let cluster = name(&cluster_name(cluster));
        self.fleet.apply(FleetEvent::Status { cluster: cluster.clone(), statuses, at: at(self.now) });
        let capacity = Capacity { bound, ..report(vec![pool(H100, 81_559, &blocks, NODE)], self.now) };
        self.fleet.apply(FleetEvent::Capacity { cluster, capacity });
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for (cluster, nodes) in self.nodes.iter().enumerate() {
            let gpus = |wants: &Request| wants.workloads[0].need.gpu.as_ref().unwrap().per_pod;
            let given: u32 = self.placements.iter().map(|wants| granted(cluster, wants) * gpus(wants)).sum();
            let all = u32::try_from(*nodes).unwrap() * NODE;
            prop_assert!(given <= all, "cluster {} has {} GPUs and gave {}", cluster, all, given);
        }
        Ok(())
    }
}

fn granted(cluster: usize, wants: &Request) -> u32 {
    let row = wants.previous.iter().find(|row| row.cluster == name(&cluster_name(cluster)));
    row.map_or(0, |row| row.granted(&wants.placement.name))
}

fn cluster_name(cluster: usize) -> String {
    format!("c{cluster}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn two_placements_never_take_the_same_gpus(
        nodes in prop::collection::vec(1usize..4, 2),
        steps in prop::collection::vec(step(), 1..60),
        tells_bound in any::<bool>(),
    ) {
        let mut world = World::new(nodes, tells_bound);
        for step in steps {
            world.act(step);
            world.check()?;
        }
    }
}

#[test]
fn a_placement_that_still_starts_holds_its_gpus() {
    let mut world = World::new(vec![1, 1], false);
    let create = |clusters| Step::Create { gpus: NODE, replicas: 1, clusters, divided: false };
    for step in [create(1), create(1), create(1)] {
        world.act(step);
    }
    let places: Vec<Vec<&str>> = world
        .placements
        .iter()
        .map(|wants| wants.previous.iter().map(|row| row.cluster.as_str()).collect())
        .collect();
    assert_eq!(places, [vec!["c0"], vec!["c1"], vec![]], "the third finds both clusters promised");
}

#[test]
fn a_model_that_loads_is_counted_once_where_the_spoke_tells_bound_pods() {
    for (tells_bound, places) in [(true, vec!["c0"]), (false, vec![])] {
        let mut world = World::new(vec![2, 0], tells_bound);
        let create = Step::Create { gpus: NODE, replicas: 1, clusters: 1, divided: false };
        for step in
            [create, Step::Bind { cluster: 0, from: 0 }, Step::Report { cluster: 0, starting: true }, create]
        {
            world.act(step);
        }
        let second = &world.placements[1].previous;
        let second: Vec<_> = second.iter().map(|row| row.cluster.as_str()).collect();
        assert_eq!(second, places, "bound pods told: {tells_bound}");
    }
}
