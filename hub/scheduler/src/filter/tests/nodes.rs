//! Node selectors, required affinity and taints of nodes; GPUs that no label names, and GPUs that are devices.

use std::sync::Arc;

use crds::taints::{GPU_TAINT, NodeTaint};
use serde_json::{Value, json};

use super::*;
use crate::{
    Workload,
    fleet::{
        DeviceGroup, NodeGroup, NodeLabel, NodeSet, NodeSets, Platform, Pool, Sets, Tainted, UNKNOWN_PRODUCT,
        Unlabelled,
    },
    need::need,
};

const NFD: &str = "feature.node.kubernetes.io/pci-10de.present";

fn taint(key: &str) -> NodeTaint {
    NodeTaint { key: key.into(), value: "gpu".into(), effect: "NoSchedule".into() }
}

/// One node per set: labels, taints, and free GPUs of four.
type Node<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], u32);

/// A cluster of such nodes, as its spoke reports it.
fn cluster(nodes: &[Node<'_>]) -> Capacity {
    let group = |(place, (_, _, free)): (u8, &Node<'_>)| NodeGroup {
        free: *free,
        millicores: 64_000,
        memory_mib: 524_288,
        nodes: 1,
        set: place,
    };
    let mut groups: Vec<_> = (0..).zip(nodes).map(group).collect();
    groups.sort_unstable();
    let foreign = |(_, (_, taints, _)): &(u8, &Node<'_>)| taints.iter().any(|key| *key != GPU_TAINT);
    let tainted = (0..).zip(nodes).filter(foreign);
    let blocks: Vec<_> = groups.iter().map(|group| (group.free, 1)).collect();
    let mut whole = Pool {
        tainted: tainted.map(|(set, _)| Tainted { set, nodes: 1, allocatable: 4 }).collect(),
        ..pool(H100, 81_559, &blocks, 4)
    };
    (whole.nodes, whole.groups) = (u32::try_from(groups.len()).unwrap(), groups);
    (whole.capacity, whole.allocatable) = (whole.nodes * 4, whole.nodes * 4);
    let sets = nodes
        .iter()
        .map(|(_, taints, _)| NodeSet { taints: taints.iter().map(|key| taint(key)).collect(), nodes: 1 });
    let mut labels: Vec<NodeLabel> = Vec::new();
    for (place, (node, ..)) in nodes.iter().enumerate() {
        for (key, value) in *node {
            match labels.iter_mut().find(|label| label.key == *key && label.value == *value) {
                Some(label) => label.sets = label.sets.or(Sets(1 << place)),
                None => labels.push(NodeLabel {
                    key: (*key).into(),
                    value: (*value).into(),
                    sets: Sets(1 << place),
                    partial: false,
                }),
            }
        }
    }
    let known = NodeSets::new(sets.collect(), labels, vec!["beta.kubernetes.io/".into()]);
    Capacity { nodes: Some(Arc::new(known)), ..report(vec![whole], 0) }
}

fn east(capacity: Capacity) -> Fleet {
    Fleet::default().joined("east", Vec::new()).reports("east", capacity)
}

fn workload(kind: &str, name: &str, spec: &Value, cache: Option<&Value>) -> Workload {
    let object = json!({"kind": kind, "metadata": {"name": name, "namespace": "nim"}, "spec": spec});
    let known = service(name, 0, 1);
    Workload {
        object: crate::fleet::ObjectRef { kind: kind.into(), ..known.object },
        need: need(&object, cache).unwrap(),
    }
}

/// A service of so many GPUs, with more of its spec.
fn llm(gpus: u32, more: &Value) -> Request {
    let mut spec = json!({"resources": {"limits": {"nvidia.com/gpu": gpus}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request("chat", vec![workload("NIMService", "nim-llm", &spec, None)])
}

fn tolerating(key: &str) -> Value {
    json!({"tolerations": [{"key": key, "operator": "Exists"}]})
}

#[test]
fn gpus_with_a_taint_are_for_those_who_tolerate_it_and_others_are_told_of_it() {
    let tainted = || east(cluster(&[(&[], &["sku"], 4)]));
    let words = "4 GPUs of NVIDIA-H100-80GB-HBM3 on 1 node with taint sku=gpu:NoSchedule, which NIMService nim-llm does not \
                 tolerate";
    let refused = refusal(&tainted(), &llm(1, &json!({})));
    assert_eq!(refused, (Reason::TaintNotTolerated, words.to_owned()));
    for tolerations in [
        json!([{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]),
        json!([{"key": "sku", "value": "gpu"}]),
        json!([{"operator": "Exists"}]),
    ] {
        accept(&tainted(), &llm(1, &json!({"tolerations": tolerations})));
    }
    let other = json!({"tolerations": [{"key": "sku", "value": "cpu"}]});
    expect(&tainted(), &llm(1, &other), Reason::TaintNotTolerated, &["sku=gpu:NoSchedule"]);
    accept(&east(cluster(&[(&[], &[GPU_TAINT], 4)])), &llm(1, &json!({})));
}

#[test]
fn of_nodes_with_and_without_a_taint_each_counts_what_it_may_use() {
    let half = || east(cluster(&[(&[], &["sku"], 4), (&[], &[], 3)]));
    accept(&half(), &llm(3, &json!({})));
    let words =
        ["largest free block is 3 (NVIDIA-H100-80GB-HBM3, 1 node)", "; 4 more free on nodes whose taints"];
    expect(&half(), &llm(4, &json!({})), Reason::InsufficientGPUs, &words);
    accept(&half(), &llm(4, &tolerating("sku")));
    let mut both = llm(3, &tolerating("sku"));
    both.workloads[0].need.replicas = 2;
    accept(&half(), &both);
    // Two nodes of one product seat a service over two nodes, with or without taints.
    let mut gang = llm(3, &tolerating("sku"));
    gang.workloads[0].need.gpu.as_mut().unwrap().pods = 2;
    accept(&half(), &gang);
}

#[test]
fn what_is_promised_to_those_who_tolerate_leaves_the_rest_to_others() {
    let mut fleet = east(cluster(&[(&[], &["sku"], 4), (&[], &[], 4)]));
    let mut first = llm(4, &json!({"tolerations": [{"operator": "Exists"}], "nodeSelector": {}}));
    first.workloads[0].object.uid = "first".into();
    let decision = schedule(&first, &fleet);
    adopt(&mut fleet, &mut first, &decision);
    let mut second = llm(4, &json!({}));
    second.placement.name = "second".into();
    // The first may use either node: what is left is sure only for who tolerates as well, or the other node is.
    let mut third = llm(4, &tolerating("sku"));
    third.placement.name = "third".into();
    let chosen = |wants: &Request| schedule(wants, &fleet).chosen.len();
    assert_eq!((chosen(&second), chosen(&third)), (1, 1));
}

#[test]
fn it_is_said_which_of_service_and_cache_is_repelled() {
    let tainted = || east(cluster(&[(&[(NFD, "true")], &["sku"], 4)]));
    let mut wants = llm(1, &tolerating("sku"));
    wants.workloads.push(workload("NIMCache", "weights", &json!({"source": {}}), None));
    let words = "1 node with taint sku=gpu:NoSchedule, which NIMCache weights does not tolerate";
    assert_eq!(refusal(&tainted(), &wants), (Reason::TaintNotTolerated, words.to_owned()));
    wants.workloads[1] = workload("NIMCache", "weights", &tolerating("sku"), None);
    accept(&tainted(), &wants);
}

#[test]
fn labels_that_no_node_has_are_named_beforehand() {
    let nodes =
        || cluster(&[(&[("zone", "a"), ("accelerator", "nvidia")], &[], 4), (&[("zone", "b")], &[], 0)]);
    let selecting = |labels: Value| llm(1, &json!({"nodeSelector": labels}));
    accept(&east(nodes()), &selecting(json!({"accelerator": "nvidia"})));
    let words = ["NIMService nim-llm: no node has label instanceType=g5-gpu-karpenter"];
    let karpenter = selecting(json!({"accelerator": "nvidia", "instanceType": "g5-gpu-karpenter"}));
    expect(&east(nodes()), &karpenter, Reason::NoMatchingNode, &words);
    expect(
        &east(nodes()),
        &selecting(json!({"zone": "c"})),
        Reason::NoMatchingNode,
        &["zone=c (there: a, b)"],
    );
    let together = selecting(json!({"zone": "b", "accelerator": "nvidia"}));
    expect(&east(nodes()), &together, Reason::NoMatchingNode, &["all labels together", "zone=b"]);
    // The node is there, and full.
    expect(
        &east(nodes()),
        &selecting(json!({"zone": "b"})),
        Reason::InsufficientGPUs,
        &["4 more free on nodes"],
    );
    accept(&east(nodes()), &selecting(json!({"beta.kubernetes.io/os": "linux"})));
    let silent = Capacity { nodes: None, ..nodes() };
    accept(&east(silent), &karpenter);

    let affinity = |key: &str, operator: &str, values: &[&str]| {
        let terms = json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]);
        llm(
            1,
            &json!({"affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
        )
    };
    accept(&east(nodes()), &affinity("zone", "In", &["a", "c"]));
    accept(&east(nodes()), &affinity("zone", "NotIn", &["b"]));
    let host = affinity("kubernetes.io/hostname", "In", &["west-gpu-0"]);
    let words = ["no node has label kubernetes.io/hostname=west-gpu-0"];
    expect(&east(nodes()), &host, Reason::NoMatchingNode, &words);
    expect(
        &east(nodes()),
        &affinity("zone", "DoesNotExist", &[]),
        Reason::NoMatchingNode,
        &["every node has label zone"],
    );
    let in_zones = affinity("zone", "NotIn", &["a", "b"]);
    expect(&east(nodes()), &in_zones, Reason::NoMatchingNode, &["every node has label zone in (a, b)"]);
}

#[test]
fn where_nodes_may_come_labels_are_waited_for() {
    for autoscaler in ["karpenter", "cluster-autoscaler"] {
        let mut capacity = cluster(&[(&[], &[], 4)]);
        capacity.platforms.push(Platform { name: autoscaler.into(), ..Platform::default() });
        accept(&east(capacity), &llm(1, &json!({"nodeSelector": {"instanceType": "g5-gpu-karpenter"}})));
    }
    let potential = Potential {
        product: H100.into(),
        resource: "nvidia.com/gpu".into(),
        gpus_per_node: 4,
        max_nodes: 2,
        memory_mib: 81_559,
        delay: jiff::SignedDuration::from_mins(7),
    };
    let grows =
        east(cluster(&[(&[], &[], 4)])).admin("east", |admin| admin.potential = vec![potential.clone()]);
    let decision = schedule(&llm(1, &json!({"nodeSelector": {"pool": "big"}})), &grows);
    assert!(decision.chosen[0].message.contains("once its autoscaler brings nodes"), "{decision:?}");
    // A NIMCache asks for nodes with GPUs, and those that come have some.
    let bare = Capacity { pools: Vec::new(), ..cluster(&[(&[], &[], 0)]) };
    let grows = east(bare).admin("east", |admin| admin.potential = vec![potential]);
    let both = request(
        "both",
        vec![
            workload("NIMCache", "weights", &json!({}), None),
            workload("NIMService", "llm", &json!({"resources": {"limits": {"nvidia.com/gpu": 1}}}), None),
        ],
    );
    let decision = schedule(&both, &grows);
    assert_eq!(decision.chosen.len(), 1, "{decision:?}");
}

#[test]
fn a_cache_with_the_default_selector_needs_a_node_with_that_label() {
    let cache = |spec: &Value| request("cache", vec![workload("NIMCache", "weights", spec, None)]);
    let bare = || east(cluster(&[(&[], &[], 4)]));
    let words = "no node of east has feature.node.kubernetes.io/pci-10de.present=true, which a NIMCache without \
                 spec.nodeSelector asks for (set nodeSelector: {} for any node)";
    assert_eq!(refusal(&bare(), &cache(&json!({}))), (Reason::NoMatchingNode, words.to_owned()));
    accept(&bare(), &cache(&json!({"nodeSelector": {}})));
    accept(&east(cluster(&[(&[(NFD, "true")], &[], 0)])), &cache(&json!({})));
    let empty = Capacity { nodes: Some(Arc::default()), ..report(Vec::new(), 0) };
    expect(&east(empty), &cache(&json!({})), Reason::NoMatchingNode, &["no node of east has"]);
}

#[test]
fn jobs_go_where_their_own_selector_lets_them() {
    let customizer = |training: Value| {
        request("tune", vec![workload("NemoCustomizer", "tune", &json!({"trainingConfig": training}), None)])
    };
    let fleet = || east(cluster(&[(&[], &["sku"], 4), (&[("cpu", "only")], &[], 0)]));
    accept(&fleet(), &customizer(tolerating("sku")));
    let selecting = customizer(json!({"nodeSelector": {"train": "yes"}}));
    expect(
        &fleet(),
        &selecting,
        Reason::NoMatchingNode,
        &["jobs of NemoCustomizer tune: no node has label train=yes"],
    );
}

#[test]
fn gpus_of_which_no_label_says_what_they_are_refuse_only_who_asks() {
    let unlabelled = || {
        let unknown = pool(UNKNOWN_PRODUCT, 0, &[(1, 1)], 1);
        let unlabelled = Unlabelled { nodes: 1, names: vec!["gke-gpu-0".to_owned()] };
        let mut known = NodeSets::new(vec![NodeSet { nodes: 1, ..NodeSet::default() }], vec![], vec![]);
        known.unlabelled = unlabelled;
        let nodes = Some(Arc::new(known));
        east(Capacity { nodes, ..report(vec![unknown], 0) })
    };
    accept(&unlabelled(), &llm(1, &json!({})));
    let words = "1 GPU node of east has no labels of GPU feature discovery (nvidia.com/gpu.product, .memory): product and memory \
                 are not known";
    let mut large = llm(1, &json!({}));
    large.policy.gpu.min_memory_mib = Some(16_384);
    expect(&unlabelled(), &large, Reason::GPUUnknown, &[words, "needs 16384 MiB on each GPU", "gfd.enabled"]);
    let mut named = llm(1, &json!({}));
    named.policy.gpu.products = vec!["L4".into()];
    expect(&unlabelled(), &named, Reason::GPUUnknown, &[words, "runs on L4"]);
    // Beside one that is labelled only that one counts.
    let mixed = vec![pool(UNKNOWN_PRODUCT, 0, &[(8, 1)], 8), pool(H100, 81_559, &[(2, 1)], 2)];
    let mut four = llm(4, &json!({}));
    four.policy.gpu.min_memory_mib = Some(16_384);
    expect(
        &east(report(mixed, 0)),
        &four,
        Reason::InsufficientGPUs,
        &["largest free block is 2 (NVIDIA-H100"],
    );
}

/// Two H100 as devices, so many of them free, and a node with the label that caches look for.
fn devices(free: u32, taints: Vec<NodeTaint>) -> Capacity {
    let group = DeviceGroup {
        class: "gpu.nvidia.com".into(),
        driver: "gpu.nvidia.com".into(),
        attributes: [("gpu.nvidia.com/productName".to_owned(), "NVIDIA H100 80GB HBM3".to_owned())].into(),
        capacity: [("gpu.nvidia.com/memory".to_owned(), "81559Mi".to_owned())].into(),
        devices: 2,
        free,
        free_per_node: [(free, 1)].into(),
        taints,
        ..DeviceGroup::default()
    };
    let mut capacity = Capacity { devices: Some(vec![group]), ..cluster(&[(&[(NFD, "true")], &[], 0)]) };
    capacity.pools.clear();
    capacity.platforms.push(Platform { name: "dra".into(), ..Platform::default() });
    capacity
}

fn claiming(more: &Value) -> Request {
    let mut spec =
        json!({"draResources": [{"claimCreationSpec": {"devices": [{"name": "gpu", "count": 1}]}}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request("solo", vec![workload("NIMService", "solo", &spec, None)])
}

#[test]
fn gpus_that_are_given_out_as_devices_are_gpus() {
    assert_eq!(devices(1, vec![]).totals(), (1, 2));
    let mut wants = claiming(&json!({}));
    wants.workloads.push(workload("NIMCache", "llm", &json!({"source": {}}), None));
    wants.policy.gpu.products = vec!["H100".into()];
    wants.policy.gpu.min_memory_mib = Some(40_960);
    accept(&east(devices(2, vec![])), &wants);
    wants.policy.gpu.products = vec!["L40S".into()];
    let words = ["NIMService solo runs on L40S; the cluster has NVIDIA H100 80GB HBM3 (devices)"];
    expect(&east(devices(2, vec![])), &wants, Reason::GPUProductMismatch, &words);
    wants.policy.gpu.products.clear();
    wants.policy.gpu.min_memory_mib = Some(102_400);
    let words =
        ["needs 102400 MiB on each GPU; the cluster has NVIDIA H100 80GB HBM3 (devices) with 81559 MiB"];
    expect(&east(devices(2, vec![])), &wants, Reason::GPUMemoryTooSmall, &words);
    let words = ["NIMService solo needs 1 device of class gpu.nvidia.com; 0 of 2 are free"];
    expect(&east(devices(0, vec![])), &claiming(&json!({})), Reason::InsufficientDevices, &words);
    // A template says by itself what it asks for; its GPUs are devices all the same.
    let named = json!({"draResources": [{"resourceClaimTemplateName": "gpus"}]});
    let mut named = request("named", vec![workload("NIMService", "named", &named, None)]);
    named.policy.gpu.products = vec!["L40S".into()];
    expect(&east(devices(2, vec![])), &named, Reason::GPUProductMismatch, &["(devices)"]);
}

#[test]
fn only_devices_of_a_kind_that_will_do_are_counted() {
    let mut capacity = devices(0, vec![]);
    let groups = capacity.devices.as_mut().unwrap();
    let l40s = [("gpu.nvidia.com/productName".to_owned(), "NVIDIA L40S".to_owned())].into();
    groups.push(DeviceGroup {
        attributes: l40s,
        free: 2,
        free_per_node: [(2, 1)].into(),
        ..groups[0].clone()
    });
    let mut wants = claiming(&json!({}));
    accept(&east(capacity.clone()), &wants);
    wants.policy.gpu.products = vec!["H100".into()];
    expect(&east(capacity), &wants, Reason::InsufficientDevices, &["0 of 4 are free"]);
}

#[test]
fn devices_on_tainted_nodes_are_for_those_who_tolerate_it() {
    let tainted = || east(devices(2, vec![taint("sku")]));
    let words = [
        "2 devices of class gpu.nvidia.com on nodes with taint sku=gpu:NoSchedule, which NIMService solo does not tolerate",
    ];
    expect(&tainted(), &claiming(&json!({})), Reason::TaintNotTolerated, &words);
    accept(&tainted(), &claiming(&tolerating("sku")));
}

#[test]
fn who_asks_for_a_resource_where_gpus_are_devices_is_told_so() {
    let words = [
        "NIMService nim-llm needs a GPU; its 2 GPUs are given out as devices (DeviceClass gpu.nvidia.com)",
        "spec.draResources",
    ];
    expect(&east(devices(2, vec![])), &llm(1, &json!({})), Reason::NoGPU, &words);
}
