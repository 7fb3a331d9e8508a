//! What people said: of the cluster whether it drains, of the placement its tiers, expressions, spread and caches, of a
//! namespace its quota.

use super::*;
use crate::{
    ClusterSet, Division, Expression, SpreadConstraint, Tier,
    fleet::{HeldCache, properties},
};

fn tier(name: &str, clusters: ClusterSet) -> Tier {
    Tier { name: name.into(), clusters, least: 0 }
}

fn named(names: &[&str]) -> ClusterSet {
    ClusterSet { names: names.iter().map(|&name| name.to_owned()).collect(), selector: None }
}

fn labelled(key: &str, value: &str) -> ClusterSet {
    ClusterSet { names: Vec::new(), selector: Some(selector(key, value)) }
}

#[test]
fn tiers() {
    let gold = || h100().labelled("east", "level", "gold");
    let in_tier = |tiers: Vec<Tier>| {
        let mut wants = fitting();
        wants.policy.tiers = tiers;
        wants
    };
    for (tiers, is_in) in [
        (vec![], None),
        (vec![tier("own", named(&["east"]))], Some("own")),
        (vec![tier("own", named(&["west", "east"]))], Some("own")),
        (vec![tier("own", named(&["west"])), tier("rented", labelled("level", "gold"))], Some("rented")),
        // The first that has it counts.
        (vec![tier("own", labelled("level", "gold")), tier("rented", named(&["east"]))], Some("own")),
    ] {
        let decision = schedule(&in_tier(tiers.clone()), &gold());
        let message = &decision.chosen[0].message;
        let told =
            is_in.map_or_else(|| "fits, score".to_owned(), |tier| format!("fits in tier {tier}, score"));
        assert!(message.starts_with(&told), "{tiers:?}: {message}");
    }
    for tiers in [
        vec![tier("own", ClusterSet::default()), tier("rented", ClusterSet::default())],
        vec![tier("own", named(&["west"])), tier("rented", labelled("level", "silver"))],
        vec![tier("own", named(&["eas"])), tier("rented", labelled("leve", "gold"))],
    ] {
        expect(&gold(), &in_tier(tiers), Reason::NotInTier, &["in no tier of spec.tiers (own, rented)"]);
    }
    let silver = in_tier(vec![tier("own", labelled("level", "silver"))]);
    accept(&gold().labelled("east", "level", "silver"), &silver);
}

#[test]
fn expressions() {
    for (expression, holds) in [
        ("cluster.name == 'east'", Ok(())),
        ("cluster.name == 'west'", Err("is false")),
        ("cluster.labels.site == 'a'", Ok(())),
        ("cluster.labels.site in ['b', 'c']", Err("is false")),
        ("cluster.labels.rack == '1'", Err("has no value here")),
        ("has(cluster.labels.rack) && cluster.labels.rack == '1'", Err("is false")),
        ("cluster.labels.site", Err("has no value here")),
        ("cluster.capacity.freeGPUs >= 16", Ok(())),
        ("cluster.capacity.freeGPUs > 16", Err("is false")),
    ] {
        let mut wants = fitting();
        wants.policy.affinity.expressions =
            ["cluster.connected", expression].map(|source| Expression::compile(source).unwrap()).into();
        let fleet = h100().labelled("east", "site", "a");
        match holds {
            Ok(()) => accept(&fleet, &wants),
            Err(why) => {
                let words = [&format!("spec.clusterAffinity.expressions[1] ({expression}) "), why];
                expect(&fleet, &wants, Reason::ExpressionFalse, &words);
            }
        }
    }
}

#[test]
fn spread() {
    let over = |key: &str, is_hard| {
        let mut wants = fitting();
        wants.policy.spread = vec![
            SpreadConstraint { key: properties::ZONE.into(), max_skew: 1, is_hard: false },
            SpreadConstraint { key: key.into(), max_skew: 1, is_hard },
        ];
        wants
    };
    let words = ["has no topology.kubernetes.io/region: spec.topologySpreadConstraints[1]"];
    expect(&h100(), &over(properties::REGION, true), Reason::TopologySpread, &words);
    accept(&h100(), &over(properties::REGION, false));
    accept(&h100().labelled("east", properties::REGION, "eu"), &over(properties::REGION, true));
    // What a spoke observes is a property as well.
    let mut capacity = h100().cluster("east").unwrap().capacity.clone().unwrap();
    capacity.region = "eu".into();
    accept(&h100().reports("east", capacity), &over(properties::REGION, true));
    accept(&h100(), &over(properties::CLUSTER, true));
}

#[test]
fn one_cluster_too_many_of_a_region_is_refused_until_another_region_has_as_many() {
    let more = |fleet: Fleet, cluster: &str, region: &str, free: u32| {
        let pools = vec![pool(H100, 81_559, &[(free, 2)], 8)];
        fleet.joined(cluster, pools).labelled(cluster, properties::REGION, region)
    };
    let mut wants = fitting();
    wants.policy.clusters = Some(4);
    let refused = |max_skew, fleet: &Fleet| {
        let mut wants = wants.clone();
        wants.policy.spread =
            vec![SpreadConstraint { key: properties::REGION.into(), max_skew, is_hard: true }];
        let refused = schedule(&wants, fleet).refused;
        refused.into_iter().map(|one| (one.cluster, one.reason, one.message)).collect::<Vec<_>>()
    };
    let three = more(
        more(more(h100().labelled("east", properties::REGION, "eu"), "a", "us", 8), "b", "eu", 8),
        "c",
        "eu",
        8,
    );
    let [(cluster, reason, message)] = &refused(1, &three)[..] else { panic!("{:?}", refused(1, &three)) };
    assert_eq!((cluster.as_str(), *reason), ("east", Reason::TopologySpread));
    let key = properties::REGION;
    assert_eq!(*message, format!("{key} eu would have 3 clusters and another 1: maxSkew of {key} is 1"));
    assert_eq!(refused(2, &three), [], "of larger skew none is too many");
    assert_eq!(refused(1, &more(three, "d", "us", 8)), [], "the other region has as many");
}

#[test]
fn drain() {
    let drains = |drain| h100().admin("east", |admin| admin.drain = drain);
    expect(&drains(true), &fitting(), Reason::Draining, &["spec.drain of the GPUCluster is true"]);
    accept(&drains(false), &fitting());
}

#[test]
fn quotas_of_the_namespace() {
    let over = |cluster: &str| {
        let message = "GPUQuota team: 12 of 16 GPUs are used, 8 more are wanted".to_owned();
        Request { over_quota: [(cluster.to_owned(), message)].into(), ..fitting() }
    };
    expect(&h100(), &over("east"), Reason::QuotaExceeded, &["GPUQuota team: 12 of 16 GPUs"]);
    assert_eq!(schedule(&over("east"), &h100()).outcome.reason, Reason::QuotaExceeded);
    accept(&h100(), &over("west"));
    // It is said where all else fits, and only there.
    let full = Fleet::default().joined("east", vec![pool(H100, 81_559, &[(4, 2)], 8)]);
    expect(&full, &over("east"), Reason::InsufficientGPUs, &[]);
}

#[test]
fn caches_that_are_required() {
    let holding = |caches: &[(&str, &str)]| {
        let mut capacity = h100().cluster("east").unwrap().capacity.clone().unwrap();
        let held = |(namespace, name): &(&str, &str)| HeldCache {
            namespace: (*namespace).into(),
            name: (*name).into(),
            ..HeldCache::default()
        };
        capacity.caches = caches.iter().map(held).collect();
        h100().reports("east", capacity)
    };
    let wanting = |cache_locality, caches: &[&str]| {
        let mut wants = fitting();
        wants.policy.cache_locality = cache_locality;
        wants.policy.division = Division::Divided;
        let of_cache = |name: &&str| {
            let mut workload = service(name, 1, 1);
            workload.need.cache = Some(CacheKey { namespace: "nim".into(), name: (*name).into() });
            workload
        };
        wants.workloads = caches.iter().map(of_cache).collect();
        wants
    };
    let words =
        |name: &str| format!("NIMCache nim/{name} is not ready here, and spec.cacheLocality is Require");
    for (held, wanted, missing) in [
        (&[("nim", "a"), ("nim", "b")][..], &["a", "b"][..], None),
        (&[("nim", "a")], &["a", "b"], Some("b")),
        (&[("nim", "b")], &["a", "b"], Some("a")),
        (&[("other", "a")], &["a"], Some("a")),
        (&[], &["a"], Some("a")),
    ] {
        let wants = wanting(CacheLocality::Require, wanted);
        match missing {
            None => accept(&holding(held), &wants),
            Some(name) => expect(&holding(held), &wants, Reason::ModelNotCached, &[&words(name)]),
        }
        accept(&holding(held), &wanting(CacheLocality::Prefer, wanted));
        accept(&holding(held), &wanting(CacheLocality::Ignore, wanted));
    }
    accept(&holding(&[]), &Request { policy: wanting(CacheLocality::Require, &[]).policy, ..fitting() });
}
