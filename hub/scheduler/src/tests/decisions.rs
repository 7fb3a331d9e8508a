//! Which clusters are chosen, and what is said about the rest.

use super::builder::{Build, H100, L40S, chosen, pool, request, service};
use crate::tests::schedule;
use crate::{Reason, fleet::Fleet};

fn three() -> Fleet {
    Fleet::default()
        .joined("east", vec![pool(H100, 81_559, &[(8, 2)], 8)])
        .joined("north", Vec::new())
        .joined("west", vec![pool(L40S, 46_068, &[(4, 2)], 4)])
}

#[test]
fn the_one_that_fits_is_chosen_and_the_others_are_explained() {
    let decision = schedule(&request("chat", vec![service("llm", 8, 1)]), &three());
    assert_eq!(chosen(&decision), ["east"]);
    assert_eq!((decision.outcome.complete, decision.outcome.reason), (true, Reason::Placed));
    let sentences: Vec<_> = decision.sentences().into_iter().map(|sentence| sentence.text).collect();
    insta::assert_snapshot!(sentences.join("\n"), @r"
    east: Placed: fits, score 60 (free capacity 50 × 20, freshness 100 × 5)
    north: NoGPU: NIMService llm needs a GPU; the cluster has no GPU
    west: InsufficientGPUs: NIMService llm needs 8 GPUs on one node; largest free block is 4 (NVIDIA-L40S, 2 nodes)
    ");
}

#[test]
fn the_cluster_that_keeps_most_free_wins_and_names_break_ties() {
    let fleet = |east, west| {
        Fleet::default()
            .joined("east", vec![pool(H100, 81_559, &[(8, east), (0, 4 - east)], 8)])
            .joined("west", vec![pool(H100, 81_559, &[(8, west), (0, 4 - west)], 8)])
    };
    for (east, west, winner) in [(2, 3, "west"), (3, 2, "east"), (2, 2, "east")] {
        let decision = schedule(&request("chat", vec![service("llm", 8, 1)]), &fleet(east, west));
        assert_eq!(chosen(&decision), [winner], "{east} {west}");
        assert_eq!(decision.spare.len(), 1);
    }
}

#[test]
fn fewer_clusters_than_wanted_is_partial() {
    let mut wants = request("chat", vec![service("llm", 8, 1)]);
    wants.policy.clusters = Some(2);
    let decision = schedule(&wants, &three());
    assert_eq!(chosen(&decision), ["east"]);
    assert!(!decision.outcome.complete);
    assert_eq!(decision.outcome.reason, Reason::PartiallyScheduled);
    assert_eq!(
        decision.outcome.message,
        "1 of 2 clusters, 1 of 2 replicas; refused: 1 NoGPU (north: NIMService llm needs a GPU; the cluster has no GPU), \
         1 InsufficientGPUs (west: NIMService llm needs 8 GPUs on one node; largest free block is 4 (NVIDIA-L40S, 2 nodes))"
    );
}

#[test]
fn none_that_fits_is_said_with_counts() {
    let decision = schedule(&request("chat", vec![service("llm", 16, 1)]), &three());
    assert_eq!(decision.outcome.reason, Reason::NoClusterFits);
    assert_eq!(
        decision.outcome.message,
        "no cluster fits; refused: 1 NoGPU (north: NIMService llm needs a GPU; the cluster has no GPU), 2 InsufficientGPUs \
         (east: NIMService llm needs 16 GPUs on one node; largest free block is 8 (NVIDIA-H100-80GB-HBM3, 2 nodes))"
    );
    let refusals = decision.refusals();
    assert_eq!((refusals[0].reason, refusals[0].count), (Reason::InsufficientGPUs, 2));
    assert_eq!(refusals[0].clusters, ["east", "west"]);
    assert!(
        refusals[0]
            .message
            .starts_with("east: NIMService llm needs 16 GPUs on one node; largest free block is 8")
    );
}

#[test]
fn an_empty_selection_places_nothing() {
    let decision = schedule(&request("chat", Vec::new()), &three());
    assert_eq!(decision.outcome.reason, Reason::NothingSelected);
    assert!(!decision.outcome.complete && decision.chosen.is_empty());
}

#[test]
fn objects_of_one_placement_go_together() {
    // Either alone fits in west; both only fit in east.
    let decision = schedule(&request("chat", vec![service("a", 4, 2), service("b", 4, 1)]), &three());
    assert_eq!(chosen(&decision), ["east"]);
}
