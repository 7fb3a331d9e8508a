//! The brake and the pace, as tables and as properties.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::fleet::{Admin, Agent, Cluster, ClusterName, Fleet, FleetEvent, PlacementKey};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn name(index: usize) -> ClusterName {
    format!("c{index}").parse().unwrap()
}

/// A fleet of clusters, each connected or silent since so many seconds.
fn fleet(clusters: &[Option<i64>]) -> Fleet {
    let mut fleet = Fleet::default();
    for (index, silent) in clusters.iter().enumerate() {
        let cluster = name(index);
        let admin = Admin { accepted: true, ..Admin::default() };
        fleet.apply(FleetEvent::Admin { cluster: cluster.clone(), admin });
        fleet.apply(FleetEvent::Connected {
            cluster: cluster.clone(),
            agent: Agent::default(),
            at: at(-1000),
        });
        if let Some(since) = silent {
            fleet.apply(FleetEvent::Disconnected { cluster, at: at(*since) });
        }
    }
    fleet
}

fn is_held(fleet: &Fleet, index: usize) -> bool {
    let cluster: &Cluster = fleet.cluster(name(index).as_str()).unwrap();
    Outages::of(fleet).held(cluster, &Limits::default()).is_some()
}

/// So many connected, and so many silent since the same moment.
fn together(connected: usize, silent: usize) -> Fleet {
    let mut clusters = vec![Some(0); silent];
    clusters.resize(connected + silent, None);
    fleet(&clusters)
}

#[test]
fn one_of_few_fails_over_and_many_together_do_not() {
    for (connected, silent, expected) in [
        (0, 1, false),
        (1, 1, false),
        (2, 1, false),
        (0, 2, true),
        (1, 2, true),
        (4, 2, true),
        (5, 2, false),
        (4, 3, true),
        (7, 3, false),
        (6, 4, true),
        (700, 300, false),
        (699, 301, true),
    ] {
        assert_eq!(is_held(&together(connected, silent), 0), expected, "{silent} of {}", connected + silent);
    }
}

#[test]
fn those_that_vanish_apart_are_not_together() {
    // Two of five have been away for an hour: they neither hold the third nor are held by it.
    let apart = fleet(&[Some(-3600), Some(-3600), Some(0), None, None]);
    assert!(!is_held(&apart, 2));
    // A wave: each within five minutes of the one before.
    let wave = fleet(&[Some(0), Some(240), Some(480), None, None]);
    assert!((0..3).all(|index| is_held(&wave, index)));
    let slow = fleet(&[Some(0), Some(301), None, None, None]);
    assert!(!is_held(&slow, 0) && !is_held(&slow, 1));
}

#[test]
fn those_that_return_release_the_rest() {
    let mut fleet = together(4, 3);
    assert!(is_held(&fleet, 0));
    fleet.apply(FleetEvent::Connected { cluster: name(2), agent: Agent::default(), at: at(60) });
    assert!(!is_held(&fleet, 0), "two of seven are no large share");
}

#[test]
fn the_admins_word_releases_the_cluster_it_names() {
    let mut fleet = together(4, 3);
    let admin = Admin { accepted: true, failover_confirmed: true, ..Admin::default() };
    fleet.apply(FleetEvent::Admin { cluster: name(0), admin });
    assert!(!is_held(&fleet, 0) && is_held(&fleet, 1));
}

#[test]
fn a_percentage_of_a_hundred_never_holds() {
    let fleet = together(0, 9);
    let cluster = fleet.cluster("c0").unwrap();
    assert_eq!(Outages::of(&fleet).held(cluster, &Limits { brake_percent: 100, ..Limits::default() }), None);
    let told = Outages::of(&fleet).held(cluster, &Limits::default()).unwrap();
    assert_eq!(told.to_string(), "9 of 9 clusters went silent within 5 minutes of each other");
}

fn placement(namespace: &str, index: usize) -> PlacementKey {
    PlacementKey { namespace: namespace.to_owned(), name: format!("p{index}") }
}

fn failovers(moves: usize) -> PerLane<usize> {
    PerLane { failover: moves, relocation: 0 }
}

#[test]
fn the_pace_says_when_there_will_be_more() {
    let (mut pace, chat) = (Pace::default(), placement("a", 0));
    let failover = |pace: &Pace, second| pace.allowance(&chat, 2, at(second)).failover;
    assert_eq!(failover(&pace, 0), Allowance { now: 2, more_at: None });
    pace.begin(&chat, &failovers(1), at(0));
    pace.begin(&chat, &failovers(1), at(20));
    assert_eq!(failover(&pace, 59), Allowance { now: 0, more_at: Some(at(60)) });
    assert_eq!(failover(&pace, 60), Allowance { now: 1, more_at: Some(at(80)) });
}

#[test]
fn wishes_never_take_the_pace_of_lost_clusters() {
    let (mut pace, chat) = (Pace::default(), placement("a", 0));
    pace.begin(&chat, &PerLane { failover: 0, relocation: 10 }, at(0));
    let allowed = pace.allowance(&placement("b", 0), 10, at(1));
    assert_eq!((allowed.failover.now, allowed.relocation.now), (10, 0));
}

/// Placements of some namespaces that all want to move at once, each asked whenever it was told to be, those of the first
/// namespace always first. How many have moved by then, by namespace.
fn race(counts: &[usize], per_minute: u32, seconds: i64) -> Vec<usize> {
    let mut pace = Pace::default();
    let name = |index: usize| format!("n{index}");
    let mut asks: Vec<(PlacementKey, i64)> = counts
        .iter()
        .enumerate()
        .flat_map(|(index, count)| (0..*count).map(move |one| (placement(&name(index), one), 0)))
        .collect();
    let mut moved = vec![0; counts.len()];
    for second in 0..seconds {
        let now = at(second);
        asks.retain_mut(|(key, due)| {
            if *due > second {
                return true;
            }
            let allowed = pace.allowance(key, per_minute, now).failover;
            if allowed.now > 0 {
                pace.begin(key, &failovers(1), now);
                pace.wait(key, &PerLane::default());
                let index: usize = key.namespace[1..].parse().unwrap();
                moved[index] += 1;
                return false;
            }
            pace.wait(key, &PerLane { failover: allowed.more_at, relocation: None });
            *due = allowed.more_at.unwrap().duration_since(at(0)).as_secs();
            true
        });
    }
    moved
}

#[test]
fn a_namespace_with_hundreds_of_moves_starves_no_other() {
    // The first takes the first minute, since nobody else was there before it; from then on each gets its share.
    assert_eq!(race(&[300, 1], 10, 62), [19, 1]);
    assert_eq!(race(&[300, 30], 10, 241), [30, 20]);
    // More namespaces than moves: each has its turn before any has a second one.
    let moved = race(&[100; 25], 10, 181);
    assert!(moved[0] == 11 && moved[1..].iter().all(|moved| (1..=2).contains(moved)), "{moved:?}");
    assert_eq!(moved.iter().sum::<usize>(), 40, "what is free is used: {moved:?}");
    // One that is alone has all of it.
    assert_eq!(race(&[300], 10, 121), [30]);
}

#[test]
fn who_does_not_come_when_told_loses_its_claim() {
    let (mut pace, first, other) = (Pace::default(), placement("a", 0), placement("b", 0));
    pace.begin(&first, &failovers(1), at(0));
    pace.wait(&other, &PerLane { failover: Some(at(60)), relocation: None });
    let allowed = pace.allowance(&first, 1, at(60)).failover;
    assert_eq!(allowed, Allowance { now: 0, more_at: Some(at(65)) }, "the other one goes first");
    assert_eq!(pace.allowance(&other, 1, at(60)).failover.now, 1);
    assert_eq!(pace.allowance(&first, 1, at(71)).failover.now, 1, "and has not come");
}

proptest! {
    /// Whoever takes no more than it is allowed never exceeds the pace in any minute, and what is free goes to somebody.
    #[test]
    fn no_minute_has_more_than_the_pace(
        per_minute in 0u32..8,
        steps in prop::collection::vec((0i64..30, 0usize..4, 0u32..6), 0..60),
    ) {
        let (mut pace, mut now, mut moves) = (Pace::default(), 0, Vec::new());
        for (wait, namespace, wanted) in steps {
            now += wait;
            let key = placement(&format!("n{namespace}"), 0);
            let allowed = pace.allowance(&key, per_minute, at(now)).failover;
            let taken = wanted.min(allowed.now);
            pace.begin(&key, &failovers(taken as usize), at(now));
            let until = (taken < wanted).then_some(allowed.more_at).flatten();
            pace.wait(&key, &PerLane { failover: until, relocation: None });
            moves.extend(std::iter::repeat_n(now, taken as usize));
            if allowed.now == 0 && per_minute > 0 {
                let more_at = allowed.more_at.expect("something is in use, or somebody else goes first");
                prop_assert!(more_at > at(now));
            }
        }
        for first in &moves {
            let within = moves.iter().filter(|other| (0..60).contains(&(**other - first))).count();
            prop_assert!(within <= per_minute as usize, "{within} moves in the minute from {first}");
        }
    }

    /// Whether a cluster is held depends on those that are silent with it and those that are there, and more silent
    /// ones never release anybody.
    #[test]
    fn more_silence_never_releases(connected in 0usize..12, silent in 1usize..12) {
        let before = is_held(&together(connected + 1, silent), 0);
        let after = is_held(&together(connected, silent + 1), 0);
        prop_assert!(!before || after);
    }
}
