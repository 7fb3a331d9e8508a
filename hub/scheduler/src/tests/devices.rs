//! Devices of dynamic resource allocation are given once: from the decision on, not from the claim on.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::builder::{Build, adopt, chosen, report, request, service, shares};
use crate::tests::schedule;
use crate::{
    Division, Reason, Request,
    fleet::{Capacity, DeviceGroup, Fleet, FleetEvent},
    need::DeviceNeed,
};

const CLASS: &str = "gpu.nvidia.com";

fn free(free_per_node: &[(u32, u32)], second: i64) -> Capacity {
    let free = free_per_node.iter().map(|(free, nodes)| free * nodes).sum();
    let group = DeviceGroup {
        class: CLASS.into(),
        driver: CLASS.into(),
        devices: 16,
        free,
        free_per_node: free_per_node.iter().copied().collect(),
        ..DeviceGroup::default()
    };
    Capacity { devices: Some(vec![group]), ..report(Vec::new(), second) }
}

fn wants(uid: &str, count: u32, replicas: u32) -> Request {
    let mut service = service(uid, 0, replicas);
    service.need.gpu_nodes = false;
    service.need.devices = vec![DeviceNeed {
        field: "spec.draResources[0]".into(),
        class: CLASS.into(),
        driver: CLASS.into(),
        count,
        selectors: Vec::new(),
    }];
    request(uid, vec![service])
}

fn refusal(request: &Request, fleet: &Fleet) -> String {
    let decision = schedule(request, fleet);
    let refused = decision.refused.first().unwrap();
    assert_eq!(refused.reason, Reason::InsufficientDevices, "{}", refused.message);
    refused.message.clone()
}

#[test]
fn two_placements_within_one_report_do_not_get_the_same_devices() {
    let mut fleet = Fleet::default().joined("east", Vec::new()).reports("east", free(&[(8, 1)], 0));
    let (mut first, second) = (wants("first", 4, 1), wants("second", 8, 1));
    let decision = schedule(&first, &fleet);
    assert_eq!(chosen(&decision), ["east"]);
    adopt(&mut fleet, &mut first, &decision);
    let said = refusal(&second, &fleet);
    assert!(
        said.contains("needs 8 devices of class gpu.nvidia.com on one node; 4 of 16 are free")
            && said.contains("promised"),
        "{said}"
    );
    // Its pod is bound: the next report shows its claim, and nothing is counted twice.
    let bound = BTreeMap::from([("first".to_owned(), 1)]);
    fleet = fleet.reports("east", Capacity { bound: Some(bound), ..free(&[(4, 1)], 5) });
    assert!(!refusal(&second, &fleet).contains("promised"), "the report itself says it");
    assert_eq!(chosen(&schedule(&wants("third", 4, 1), &fleet)), ["east"]);
    fleet.apply(FleetEvent::Granted { placement: first.placement.clone(), grants: Vec::new() });
    fleet = fleet.reports("east", free(&[(8, 1)], 9));
    assert_eq!(chosen(&schedule(&second, &fleet)), ["east"]);
}

#[test]
fn divided_replicas_go_where_there_are_devices_for_them() {
    let fleet = ["east", "west"].into_iter().fold(Fleet::default(), |fleet, cluster| {
        fleet
            .joined(cluster, Vec::new())
            .reports(cluster, free(&[(if cluster == "east" { 2 } else { 8 }, 1)], 0))
    });
    let mut request = wants("llm", 2, 4);
    request.policy.division = Division::Divided;
    request.policy.clusters = Some(2);
    let decision = schedule(&request, &fleet);
    assert_eq!(shares(&decision, "llm"), [("east".to_owned(), 1), ("west".to_owned(), 3)]);
}

proptest! {
    #[test]
    fn all_that_is_given_fits(
        nodes in prop::collection::btree_map(1u32..9, 1u32..4, 1..4),
        asked in prop::collection::vec((1u32..9, 1u32..4, any::<bool>()), 1..8),
    ) {
        let nodes: Vec<_> = nodes.into_iter().collect();
        let mut fleet = Fleet::default().joined("east", Vec::new()).reports("east", free(&nodes, 0));
        let mut given = Vec::new();
        for (number, (count, replicas, divided)) in asked.into_iter().enumerate() {
            let mut request = wants(&format!("p{number}"), count, replicas);
            request.policy.division = if divided { Division::Divided } else { Division::Duplicated };
            let decision = schedule(&request, &fleet);
            let granted: u32 = shares(&decision, &format!("p{number}")).iter().map(|(_, granted)| granted).sum();
            given.extend(std::iter::repeat_n(count, granted as usize));
            adopt(&mut fleet, &mut request, &decision);
        }
        let all: u32 = nodes.iter().map(|(free, nodes)| free * nodes).sum();
        prop_assert!(given.iter().sum::<u32>() <= all, "{given:?} of {nodes:?}");
        // Node by node, in the order of the decisions: each pod finds a node.
        let mut blocks: Vec<u32> = nodes.iter().flat_map(|(free, nodes)| vec![*free; *nodes as usize]).collect();
        for count in given {
            let fits = blocks.iter_mut().filter(|block| **block >= count).min();
            prop_assert!(fits.is_some(), "{count} finds no node");
            if let Some(block) = fits {
                *block -= count;
            }
        }
    }
}
