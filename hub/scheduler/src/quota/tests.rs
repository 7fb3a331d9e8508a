//! What is charged, what is refused with which numbers, and that nothing that runs is ever removed for a quota.

use proptest::prelude::*;

use super::*;
use crate::{
    Division, Reason,
    tests::builder::{Build, H100, L40S, adopt, chosen, pool, request, service},
};

fn two_clusters() -> Fleet {
    Fleet::default()
        .joined("east", vec![pool(H100, 81_559, &[(8, 4)], 8)])
        .joined("west", vec![pool(L40S, 46_068, &[(8, 2)], 8)])
}

fn quota(limits: &[(&str, u32)]) -> Vec<Quota> {
    let limits = limits.iter().map(|(product, gpus)| Limit { product: (*product).into(), gpus: *gpus });
    vec![Quota { name: "team".into(), limits: limits.collect() }]
}

/// Decides, and keeps what the controllers keep.
fn place(
    fleet: &mut Fleet,
    request: &mut Request,
    quotas: &[Quota],
    ledger: &mut Charged,
) -> Result<Decision, Exceeded> {
    request.over_quota.clear();
    let (decision, charges) = decide(request, fleet, quotas, ledger)?;
    ledger.insert(request.placement.clone(), charges);
    adopt(fleet, request, &decision);
    Ok(decision)
}

#[test]
fn what_would_exceed_a_quota_is_refused_with_numbers() {
    let (mut fleet, mut ledger, quotas) = (two_clusters(), Charged::new(), quota(&[("*", 16)]));
    let mut first = request("first", vec![service("a", 4, 3)]);
    assert_eq!(chosen(&place(&mut fleet, &mut first, &quotas, &mut ledger).unwrap()).len(), 1);
    let mut second = request("second", vec![service("b", 8, 1)]);
    let decision = place(&mut fleet, &mut second, &quotas, &mut ledger).unwrap();
    assert_eq!(decision.outcome.reason, Reason::QuotaExceeded, "{decision:?}");
    for refused in &decision.refused {
        assert_eq!(refused.reason, Reason::QuotaExceeded);
        assert!(
            refused.message.contains("needs 8 GPUs, 4 of 16 left in GPUQuota team"),
            "{}",
            refused.message
        );
    }
    assert_eq!(used("nim", &quotas[0].limits[0], &fleet, &ledger), 12);
    // Another namespace has quotas of its own.
    assert_eq!(used("other", &quotas[0].limits[0], &fleet, &ledger), 0);
}

#[test]
fn another_product_is_taken_where_its_quota_allows() {
    let (mut fleet, mut ledger) = (two_clusters(), Charged::new());
    let quotas = quota(&[("NVIDIA-H100*", 4), ("L40S", 8)]);
    let mut request = request("chat", vec![service("llm", 8, 1)]);
    let decision = place(&mut fleet, &mut request, &quotas, &mut ledger).unwrap();
    assert_eq!(chosen(&decision), ["west"]);
    assert!(
        decision.refused.iter().any(|one| one.cluster == "east" && one.message.contains("(NVIDIA-H100*)"))
    );
}

#[test]
fn an_autoscaler_is_charged_the_most_it_may_come_to() {
    let (mut fleet, mut ledger, quotas) = (two_clusters(), Charged::new(), quota(&[("*", 16)]));
    let scaled = |most| {
        let mut workload = service("llm", 4, 1);
        (workload.need.autoscaled, workload.need.most_replicas) = (true, most);
        request("chat", vec![workload])
    };
    let refused = place(&mut fleet, &mut scaled(5), &quotas, &mut ledger).unwrap();
    assert!(refused.chosen.is_empty() && refused.refused[0].message.contains("needs 20 GPUs, 16 of 16 left"));
    assert_eq!(chosen(&place(&mut fleet, &mut scaled(4), &quotas, &mut ledger).unwrap()).len(), 1);
}

#[test]
fn growth_is_refused_where_it_runs_and_what_runs_stays() {
    let (mut fleet, mut ledger) = (two_clusters(), Charged::new());
    let mut chat = request("chat", vec![service("llm", 8, 1)]);
    place(&mut fleet, &mut chat, &quota(&[("*", 8)]), &mut ledger).unwrap();
    chat.workloads = vec![service("llm", 8, 2)];
    let exceeded = place(&mut fleet, &mut chat, &quota(&[("*", 8)]), &mut ledger).unwrap_err();
    assert_eq!((exceeded.needs, exceeded.left), (8, 0));
    // Lowered below what is taken: nothing moves.
    chat.workloads = vec![service("llm", 8, 1)];
    let decision = place(&mut fleet, &mut chat, &quota(&[("*", 0)]), &mut ledger).unwrap();
    assert!(decision.removed.is_empty() && decision.chosen.len() == 1, "{decision:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However placements come, grow and shrink: what all are charged never exceeds the limit, and a refusal names it.
    #[test]
    fn a_quota_is_never_exceeded_by_growth(
        limit in 0u32..40,
        turns in prop::collection::vec((0usize..4, 1u32..9, 0u32..4, any::<bool>()), 1..24),
    ) {
        let (mut fleet, mut ledger, quotas) = (two_clusters(), Charged::new(), quota(&[("*", limit)]));
        let mut requests: Vec<Request> =
            ["a", "b", "c", "d"].map(|name| request(name, Vec::new())).into();
        for (which, gpus, replicas, divided) in turns {
            let one = &mut requests[which];
            one.workloads = vec![service(&format!("llm-{which}"), gpus, replicas)];
            one.policy.division = if divided { Division::Divided } else { Division::Duplicated };
            let placed = place(&mut fleet, one, &quotas, &mut ledger);
            prop_assert!(used("nim", &quotas[0].limits[0], &fleet, &ledger) <= limit);
            if let Err(exceeded) = placed {
                prop_assert!(exceeded.needs > exceeded.left);
                prop_assert!(!requests[which].previous.is_empty());
            }
        }
    }
}

/// What one object takes in some clusters.
fn overridden(request: &mut Request, gpus: u32, clusters: &[&str]) {
    let need = service("x", gpus, request.workloads[0].need.replicas).need;
    request.variants.add(Ok(vec![need]), clusters.iter().map(|name| name.parse().unwrap()));
}

#[test]
fn an_override_is_charged_where_it_counts_and_the_numbers_are_those_of_the_cluster() {
    let (mut fleet, mut ledger, quotas) = (two_clusters(), Charged::new(), quota(&[("*", 2)]));
    let mut chat = request("chat", vec![service("llm", 1, 1)]);
    chat.policy.affinity.cluster_names = vec!["west".into()];
    overridden(&mut chat, 3, &["west"]);
    let decision = place(&mut fleet, &mut chat, &quotas, &mut ledger).unwrap();
    assert_eq!(decision.outcome.reason, Reason::QuotaExceeded, "{decision:?}");
    assert!(
        decision.outcome.message.contains("west: needs 3 GPUs, 2 of 2 left in GPUQuota team"),
        "{decision:?}"
    );
    // Where no override makes it larger it fits, and it goes there.
    chat.policy.affinity.cluster_names.clear();
    let decision = place(&mut fleet, &mut chat, &quotas, &mut ledger).unwrap();
    assert_eq!(chosen(&decision), ["east"]);
    assert_eq!(used("nim", &quotas[0].limits[0], &fleet, &ledger), 1);
    let west = decision.refused.iter().find(|one| one.cluster == "west");
    assert!(west.is_none_or(|west| west.message.contains("needs 3 GPUs")), "{decision:?}");
}

#[test]
fn an_override_that_grows_where_it_runs_is_refused_and_names_the_cluster() {
    let (mut fleet, mut ledger, quotas) = (two_clusters(), Charged::new(), quota(&[("*", 3)]));
    let mut chat = request("chat", vec![service("llm", 1, 1)]);
    overridden(&mut chat, 3, &["east", "west"]);
    let first = place(&mut fleet, &mut chat, &quotas, &mut ledger).unwrap();
    assert_eq!(used("nim", &quotas[0].limits[0], &fleet, &ledger), 3);
    let place_of = chosen(&first)[0].to_owned();
    let mut more = request("chat", vec![service("llm", 1, 1)]);
    more.previous.clone_from(&chat.previous);
    overridden(&mut more, 4, &["east", "west"]);
    let exceeded = place(&mut fleet, &mut more, &quotas, &mut ledger).unwrap_err();
    assert_eq!((exceeded.needs, exceeded.left), (1, 0));
    let words = format!("it runs in {place_of}, where it would take 4");
    assert!(exceeded.to_string().contains(&words), "{exceeded}");
}

#[test]
fn what_was_reserved_is_what_the_override_takes() {
    let (mut fleet, mut ledger) = (two_clusters(), Charged::new());
    let mut chat = request("chat", vec![service("llm", 1, 1)]);
    chat.policy.affinity.cluster_names = vec!["west".into()];
    overridden(&mut chat, 8, &["west"]);
    place(&mut fleet, &mut chat, &[], &mut ledger).unwrap();
    // Two nodes of 8: one is taken as a whole.
    let mut next = request("next", vec![service("b", 8, 2)]);
    next.policy.affinity.cluster_names = vec!["west".into()];
    let decision = place(&mut fleet, &mut next, &[], &mut ledger).unwrap();
    assert_eq!(decision.outcome.reason, Reason::NoClusterFits, "{decision:?}");
    assert!(decision.outcome.message.contains("8 more promised"), "{decision:?}");
}
