//! Property: whatever the order of decisions, starts and reports, two placements never hold the same GPUs, but where one of
//! higher priority has taken what one of lower priority was promised and did not run yet.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{Build, H100, adopt, at, name, pending, pool, report, request, service, status};
use crate::tests::schedule;
use crate::{
    Decision, Division, Reason, Request,
    fleet::{Capacity, Fleet, FleetEvent},
};

const NODE: u32 = 8;

#[derive(Clone, Copy, Debug)]
enum Step {
    Create {
        gpus: u32,
        replicas: u32,
        clusters: u32,
        divided: bool,
        priority: i32,
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
    /// The cluster's own scheduler, which knows no priorities, binds pods: from that node and that placement on.
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
        (1u32..=NODE, 1u32..4, 1u32..3, any::<bool>(), 0..3).prop_map(
            |(gpus, replicas, clusters, divided, priority)| Step::Create {
                gpus,
                replicas,
                clusters,
                divided,
                priority
            }
        ),
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
    /// What the last report of each cluster said: free GPUs, and bound pods by object.
    reported: Vec<(u32, BTreeMap<String, u32>)>,
    /// When a placement was last given more than it had, by cluster and object.
    given: BTreeMap<(usize, String), i64>,
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
        let reported = nodes.iter().map(|nodes| (gpus_of(*nodes), BTreeMap::new())).collect();
        let (placements, bound, ready, given) =
            (Vec::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { fleet, placements, nodes, bound, ready, reported, given, made: 0, now: 0, tells_bound }
    }

    fn act(&mut self, step: Step) {
        self.now += 1;
        match step {
            Step::Create { gpus, replicas, clusters, divided, priority } => {
                self.made += 1;
                let name = format!("p{}", self.made);
                let mut wants = request(&name, vec![service(&name, gpus, replicas)]);
                wants.policy.clusters = Some(clusters);
                wants.policy.priority = priority;
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
                self.given.retain(|(_, uid), _| *uid != gone.placement.name);
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
        let before = wants.clone();
        let decision = schedule(wants, &self.fleet);
        assert_eq!(decision, schedule(wants, &self.fleet), "same input, same output");
        adopt(&mut self.fleet, wants, &decision);
        let after = wants.clone();
        for cluster in 0..self.nodes.len() {
            if granted(cluster, &after) > granted(cluster, &before) {
                self.given.insert((cluster, after.placement.name.clone()), self.now);
                self.is_covered(cluster, after.policy.priority);
            }
        }
        self.is_taken_by_higher(&before, &decision);
    }

    /// What has been given just now is covered by what the cluster's last report says is free, beside all that equals and
    /// betters were promised and the report does not show as used.
    fn is_covered(&self, cluster: usize, priority: i32) {
        let (free, bound) = &self.reported[cluster];
        let owed = |wants: &Request| {
            let seen = bound.get(&wants.placement.name).copied().unwrap_or(0);
            granted(cluster, wants).saturating_sub(seen) * per_pod(wants)
        };
        let equals = self.placements.iter().filter(|wants| wants.policy.priority >= priority);
        let owed: u32 = equals.map(owed).sum();
        assert!(
            owed <= *free,
            "cluster {cluster} reported {free} free GPUs and owes {owed} from {priority} up"
        );
    }

    /// Only one of higher priority takes what somebody was promised.
    fn is_taken_by_higher(&self, before: &Request, decision: &Decision) {
        for removed in decision.removed.iter().filter(|removed| removed.reason == Reason::Preempted) {
            let is_there = |cluster: &usize| name(&cluster_name(*cluster)) == removed.cluster;
            let cluster = (0..self.nodes.len()).find(is_there).unwrap();
            let higher = |wants: &Request| {
                wants.policy.priority > before.policy.priority && granted(cluster, wants) > 0
            };
            assert!(self.placements.iter().any(higher), "{removed:?}");
        }
    }

    fn free(&self, cluster: usize) -> Vec<u32> {
        let mut free = vec![NODE; self.nodes[cluster]];
        for wants in &self.placements {
            for node in self.bound.get(&(cluster, wants.placement.name.clone())).into_iter().flatten() {
                free[*node] -= per_pod(wants);
            }
        }
        free
    }

    fn bind(&mut self, cluster: usize, from: usize) {
        let mut placements = self.placements.clone();
        placements.rotate_left(from.min(self.placements.len()));
        for wants in placements {
            let wanted = granted(cluster, &wants) as usize;
            let key = (cluster, wants.placement.name.clone());
            self.bound.entry(key.clone()).or_default().truncate(wanted);
            while self.bound[&key].len() < wanted {
                let (free, nodes) = (self.free(cluster), self.nodes[cluster]);
                let Some(node) = (0..nodes).map(|i| (i + from) % nodes).find(|i| free[*i] >= per_pod(&wants))
                else {
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
            let (uid, waits) = (&wants.placement.name, bound < granted(cluster, wants));
            let says = if waits { pending(uid, ready, self.now) } else { status(uid, ready, self.now) };
            statuses.push(says);
            self.ready.insert(key, ready);
        }
        let mut blocks: BTreeMap<u32, u32> = BTreeMap::new();
        for free in self.free(cluster) {
            *blocks.entry(free).or_default() += 1;
        }
        let blocks: Vec<_> = blocks.into_iter().collect();
        let of_cluster = self.bound.iter().filter(|((of, _), _)| *of == cluster);
        let bound = of_cluster.map(|((_, uid), nodes)| (uid.clone(), u32::try_from(nodes.len()).unwrap()));
        let bound: BTreeMap<String, u32> = bound.collect();
        self.reported[cluster] = (self.free(cluster).iter().sum(), bound.clone());
        let bound = self.tells_bound.then_some(bound);
        let cluster = name(&cluster_name(cluster));
        self.fleet.apply(FleetEvent::Status { cluster: cluster.clone(), statuses, at: at(self.now) });
        let capacity = Capacity { bound, ..report(vec![pool(H100, 81_559, &blocks, NODE)], self.now) };
        self.fleet.apply(FleetEvent::Capacity { cluster, capacity });
    }

    /// Beside what its equals and betters had been given by then, each placement's own finds room.
    fn check(&self) -> Result<(), TestCaseError> {
        for (cluster, nodes) in self.nodes.iter().enumerate() {
            let since = |wants: &Request| self.given.get(&(cluster, wants.placement.name.clone()));
            for own in self.placements.iter().filter(|wants| granted(cluster, wants) > 0) {
                let counts = |wants: &&Request| {
                    wants.policy.priority >= own.policy.priority && since(wants) <= since(own)
                };
                let gpus = |wants: &Request| granted(cluster, wants) * per_pod(wants);
                let given: u32 = self.placements.iter().filter(counts).map(gpus).sum();
                let all = gpus_of(*nodes);
                prop_assert!(
                    given <= all,
                    "cluster {} has {} GPUs and gave {} up to {}",
                    cluster,
                    all,
                    given,
                    own.placement
                );
            }
        }
        Ok(())
    }
}

fn gpus_of(nodes: usize) -> u32 {
    u32::try_from(nodes).unwrap() * NODE
}

fn per_pod(wants: &Request) -> u32 {
    wants.workloads[0].need.gpu.as_ref().unwrap().per_pod
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

    /// Of placements of any priorities, decided, started and reported in any order:
    ///
    /// 1. At each decision that gives a placement more in a cluster than it had, all that placements of its priority and of
    ///    higher ones hold there, and that the cluster's last report does not show as bound, is within the free GPUs of
    ///    that report. What runs is thus never given away, whoever runs it; what a lower priority was promised and does not
    ///    run may be.
    /// 2. At all times each placement finds room in the whole cluster beside everything that placements of its priority and
    ///    of higher ones had been given before it. What exceeds the cluster is therefore what a higher one has taken
    ///    since; among equals nothing exceeds it ever.
    /// 3. A placement is told that its GPUs were taken only where one of higher priority holds some.
    ///
    /// Nothing is said of the sum over all priorities: a higher one is given what a lower one is promised, and which of them
    /// the cluster's own scheduler binds first is not the hub's to decide.
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
    let create = |clusters| Step::Create { gpus: NODE, replicas: 1, clusters, divided: false, priority: 0 };
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
        let create = Step::Create { gpus: NODE, replicas: 1, clusters: 1, divided: false, priority: 0 };
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
