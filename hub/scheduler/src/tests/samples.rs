//! Where the samples that NVIDIA ships for serving would run, in a fleet of five unlike clusters, and why not elsewhere.
//!
//! `samples.jsonl` says of each what placement reads: our own condensed description, one a line. [`EXPECTED`] says of each what
//! its manifest and the fleet, read by a person, lead to; the snapshot shows the sentences that people get.
//!
//! What some of them ask for besides, and nobody is refused for: what no report tells (devices for RDMA, the class of a virtual
//! machine's runtime, the mode that KServe makes services in, claims and templates that somebody made, CEL over devices), and
//! what a model runs without (a gateway with its routes and endpoint picker).

use std::collections::BTreeSet;

use serde_json::Value;

use super::builder::{Build, H100, L40S, at, chosen, name, object, pool, report, request};
use crate::tests::schedule;
use crate::{
    Reason, Workload,
    fleet::{
        Access, Agent, Capacity, ClusterName, DeviceGroup, Fleet, FleetEvent, Platform, Pool, StorageClass,
    },
    need::need,
};

const A100: &str = "NVIDIA-A100-SXM4-80GB";
const GIB: u64 = 1024;

/// What a sample leads to.
struct Expected {
    sample: &'static str,
    /// Where it goes; nowhere if empty.
    goes: &'static [&'static str],
    /// Where else it could.
    could: &'static [&'static str],
    /// Where it cannot, beside `plain`, whose agent knows no NIMService.
    cannot: &'static [Cannot],
}

type Cannot = (&'static str, Reason, &'static str);

/// GPUs by dynamic resource allocation are in `mig` and `mixed`.
const NO_DRA: [Cannot; 2] = [
    ("h100", Reason::PlatformMissing, "needs platform dra; found: standalone, kserve, lws"),
    ("l40s", Reason::PlatformMissing, "needs platform dra; found: standalone"),
];

/// The same, and no GPU of NVIDIA's Ampere generation, since `mixed` has Hopper and Ada.
const NO_AMPERE: [Cannot; 3] = [
    NO_DRA[0],
    NO_DRA[1],
    (
        "mixed",
        Reason::InsufficientDevices,
        "needs 1 device of class gpu.nvidia.com; 0 of 16 are free \
         (spec.draResources[0].claimCreationSpec.devices[0]); none has gpu.nvidia.com/architecture = Ampere",
    ),
];

/// Two pods with eight GPUs each and a volume that both mount: `l40s` makes no groups of pods, the volumes of `mig` are one
/// node's, and `mixed` has one node with eight GPUs.
const NO_TWO_NODES: [Cannot; 3] = [
    ("l40s", Reason::PlatformMissing, "needs platform lws; found: standalone"),
    ("mig", Reason::NoSharedStorage, "volumes of storage class local are mounted from one node at a time"),
    (
        "mixed",
        Reason::InsufficientGPUs,
        "needs 2 × 8 GPUs per replica, each on one node, of one product; largest fit is 1 × 8 (NVIDIA-H100-80GB-HBM3)",
    ),
];

/// `KServe` is in `h100` and `mixed`.
const NO_KSERVE: [Cannot; 2] = [
    ("l40s", Reason::PlatformMissing, "needs platform kserve; found: standalone"),
    ("mig", Reason::PlatformMissing, "needs platform kserve; found: standalone, dra, lws"),
];

/// A cache of 50 GiB, where `l40s` can make 40.
const NO_SPACE: [Cannot; 1] = [(
    "l40s",
    Reason::InsufficientStorage,
    "spec.storage.pvc.size: needs 51200 MiB of storage class local; the largest volume it can make is 40960 MiB",
)];

/// GPUs that are passed through to virtual machines are in `mixed`.
const NO_PASSTHROUGH: [Cannot; 3] = [
    (
        "h100",
        Reason::NoGPU,
        "needs nvidia.com/pgpu; the cluster has no GPU of that resource, only nvidia.com/gpu",
    ),
    (
        "l40s",
        Reason::NoGPU,
        "needs nvidia.com/pgpu; the cluster has no GPU of that resource, only nvidia.com/gpu",
    ),
    ("mig", Reason::NoGPU, "only nvidia.com/gpu, nvidia.com/mig-2g.20gb"),
];

const fn row(
    sample: &'static str,
    goes: &'static [&'static str],
    could: &'static [&'static str],
    cannot: &'static [Cannot],
) -> Expected {
    Expected { sample, goes, could, cannot }
}

/// Where nothing else speaks, `h100` has the largest share of GPUs free, and of equals the first by name is taken.
const EXPECTED: [Expected; 29] = [
    // One device, of any kind.
    row("advanced/dra/auto-creation/example0/llm", &["mig"], &["mixed"], &NO_DRA),
    // One of Ampere with 40 GiB.
    row("advanced/dra/auto-creation/example1/llm", &["mig"], &[], &NO_AMPERE),
    // One A100 or H100 with 40 GiB, in CEL: either has one.
    row("advanced/dra/auto-creation/example2/llm", &["mig"], &["mixed"], &NO_DRA),
    // What a template of the cluster says.
    row("advanced/dra/manual/llm", &["mig"], &["mixed"], &NO_DRA),
    // Two replicas of one GPU, from a cache that is not part of the sample.
    row("advanced/epp/nimservice", &["h100"], &["l40s", "mig", "mixed"], &[]),
    row("advanced/multi-node/multi-node-nimservice-rdma", &["h100"], &[], &NO_TWO_NODES),
    row("advanced/multi-node/multi-node-nimservice", &["h100"], &[], &NO_TWO_NODES),
    row("kserve/knative/llm", &["h100"], &["mixed"], &NO_KSERVE),
    row("kserve/knative/multi-llm", &["h100"], &["mixed"], &NO_KSERVE),
    row("kserve/standard/llm", &["h100"], &["mixed"], &NO_KSERVE),
    row("kserve/standard/multi-llm", &["h100"], &["mixed"], &NO_KSERVE),
    // One GPU and a cache.
    row("standalone/autoscaling/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/autoscaling/multi-llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/basic/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/basic/multi-llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/confidential-computing/llm-kata-sandbox", &["mixed"], &[], &NO_PASSTHROUGH),
    row("standalone/full/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/full/multi-llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    // One GPU, and a volume that somebody made.
    row("standalone/lora/llm", &["h100"], &["l40s", "mig", "mixed"], &[]),
    row("standalone/lora/multi-llm", &["h100"], &["l40s", "mig", "mixed"], &[]),
    // One GPU, and 10 GiB of the node's disk or of a volume.
    row("standalone/no-precaching/llm-emptydir", &["h100"], &["l40s", "mig", "mixed"], &[]),
    row("standalone/no-precaching/llm", &["h100"], &["l40s", "mig", "mixed"], &[]),
    row("standalone/no-precaching/multi-llm-hf", &["h100"], &["l40s", "mig", "mixed"], &[]),
    row("standalone/no-precaching/multi-llm-ngc", &["h100"], &["l40s", "mig", "mixed"], &[]),
    // One GPU and a cache.
    row("standalone/routers/grpcroutes/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/routers/httproutes/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/routers/httproutes/multi-llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/routers/ingress/llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
    row("standalone/routers/ingress/multi-llm", &["h100"], &["mig", "mixed"], &NO_SPACE),
];

/// A report with platforms, each in the version that objects are made in, and the default class of volumes: its name, from where
/// they are mounted, and the largest.
fn with(
    pools: Vec<Pool>,
    platforms: &[(&str, &str)],
    (class, access, gib): (&str, Access, u64),
    devices: Option<Vec<DeviceGroup>>,
) -> Capacity {
    let platform = |(name, version): &(&str, &str)| Platform {
        name: (*name).into(),
        version: (*version).into(),
        served: vec![(*version).into()],
    };
    let class = StorageClass {
        name: class.into(),
        is_default: true,
        access: Some(access),
        largest_mib: Some(gib * GIB),
    };
    Capacity {
        platforms: platforms.iter().map(platform).collect(),
        // The first that serves it.
        kubernetes_version: if platforms.contains(&DRA) { "v1.34.2" } else { "v1.33.6" }.into(),
        storage: Some(vec![class]),
        devices,
        ..report(pools, 0)
    }
}

/// GPUs as devices, all of them free, on nodes with so many each.
fn devices(product: &str, architecture: &str, memory: &str, (each, nodes): (u32, u32)) -> DeviceGroup {
    let named = |pairs: &[(&str, &str)]| {
        let pair = |&(key, value): &(&str, &str)| (format!("gpu.nvidia.com/{key}"), value.to_owned());
        pairs.iter().map(pair).collect()
    };
    DeviceGroup {
        class: "gpu.nvidia.com".into(),
        driver: "gpu.nvidia.com".into(),
        attributes: named(&[("productName", product), ("architecture", architecture)]),
        capacity: named(&[("memory", memory)]),
        devices: each * nodes,
        free: each * nodes,
        free_per_node: [(each, nodes)].into(),
        ..DeviceGroup::default()
    }
}

const STANDALONE: (&str, &str) = ("standalone", "v1");
const KSERVE: (&str, &str) = ("kserve", "v1beta1");
const LWS: (&str, &str) = ("lws", "v1");
const DRA: (&str, &str) = ("dra", "v1");

/// `h100`: eight nodes of eight, `KServe`, groups of pods, shared volumes. `l40s`: two small nodes, and small volumes. `mig`: four
/// nodes of A100, two of them cut; groups of pods, claimed devices, volumes of one node. `mixed`: a node of eight H100, two of
/// four L40S and one whose GPUs are passed through; all platforms, shared volumes. `plain`: no GPU, and an agent of long ago.
fn fleet() -> Fleet {
    let of = |resource: &str, pool: Pool| Pool { resource: resource.into(), ..pool };
    let h100 = with(
        vec![pool(H100, 81_559, &[(8, 8)], 8)],
        &[STANDALONE, KSERVE, LWS],
        ("nfs", Access::ManyNodes, 10_000),
        None,
    );
    let l40s = with(
        vec![pool(L40S, 46_068, &[(4, 1), (2, 1)], 4)],
        &[STANDALONE],
        ("local", Access::OneNode, 40),
        None,
    );
    let cut = of("nvidia.com/mig-2g.20gb", pool(A100, 19_968, &[(28, 2)], 28));
    let mig = with(
        vec![pool(A100, 81_920, &[(8, 2)], 8), cut],
        &[STANDALONE, DRA, LWS],
        ("local", Access::OneNode, 2000),
        Some(vec![devices("NVIDIA A100-SXM4-80GB", "Ampere", "80Gi", (8, 2))]),
    );
    let passed_through = of("nvidia.com/pgpu", pool("unknown", 0, &[(8, 1)], 8));
    let mixed = with(
        vec![pool(H100, 81_559, &[(8, 1)], 8), pool(L40S, 46_068, &[(4, 2)], 4), passed_through],
        &[STANDALONE, KSERVE, LWS, DRA],
        ("nfs", Access::ManyNodes, 1000),
        Some(vec![
            devices("NVIDIA H100 80GB HBM3", "Hopper", "80Gi", (8, 1)),
            devices("NVIDIA L40S", "Ada Lovelace", "46068Mi", (4, 2)),
        ]),
    );
    let knows = vec!["apps.nvidia.com/v1alpha1/NIMCache".to_owned()];
    let old = Agent { version: "0.0.9".into(), capabilities: knows, ..Agent::default() };
    let clusters = [("h100", h100), ("l40s", l40s), ("mig", mig), ("mixed", mixed)];
    let fleet = clusters.into_iter().fold(Fleet::default(), |fleet, (cluster, capacity)| {
        fleet.joined(cluster, Vec::new()).reports(cluster, capacity)
    });
    fleet.joined("plain", Vec::new()).with(FleetEvent::Connected {
        cluster: name("plain"),
        agent: old,
        at: at(0),
    })
}

/// The objects of a sample: the service, and the cache that it names.
fn workloads(sample: &Value) -> Vec<Workload> {
    let cache = sample.get("cache");
    let of = |json: &Value| {
        let mut object = object(json["metadata"]["name"].as_str().unwrap());
        object.kind = json["kind"].as_str().unwrap().to_owned();
        object.uid = format!("{}-{}", object.kind, object.name);
        Workload { object, need: need(json, cache).unwrap() }
    };
    [sample.get("service"), cache].into_iter().flatten().map(of).collect()
}

fn samples() -> Vec<(String, Vec<Workload>)> {
    let of = |line: &str| {
        let sample: Value = serde_json::from_str(line).unwrap();
        (sample["sample"].as_str().unwrap().to_owned(), workloads(&sample))
    };
    include_str!("samples.jsonl").lines().map(of).collect()
}

#[test]
fn every_sample_goes_where_its_manifest_leads() {
    let (fleet, samples) = (fleet(), samples());
    let names: BTreeSet<_> = samples.iter().map(|(sample, _)| sample.as_str()).collect();
    assert_eq!(
        names,
        EXPECTED.iter().map(|row| row.sample).collect(),
        "samples, and what is expected of them"
    );
    for (sample, workloads) in samples {
        let expected = EXPECTED.iter().find(|row| row.sample == sample).unwrap();
        let decision = schedule(&request("sample", workloads), &fleet);
        assert_eq!(chosen(&decision), expected.goes, "{sample}");
        assert_eq!(decision.outcome.complete, !expected.goes.is_empty(), "{sample}");
        let spare: Vec<_> = decision.spare.iter().map(ClusterName::as_str).collect();
        assert_eq!(spare, expected.could, "{sample}");
        let plain =
            ("plain", Reason::AgentTooOld, "apps.nvidia.com/v1alpha1/NIMService; version 0.0.9 does not");
        let cannot: Vec<_> = expected.cannot.iter().copied().chain([plain]).collect();
        let refused = decision.refused.iter().map(|refused| (refused.cluster.as_str(), refused.reason));
        let reasons: Vec<_> = cannot.iter().map(|(cluster, reason, _)| (*cluster, *reason)).collect();
        assert_eq!(refused.collect::<Vec<_>>(), reasons, "{sample}");
        for (refused, (_, _, words)) in decision.refused.iter().zip(cannot) {
            assert!(refused.message.contains(words), "{sample}: {words:?} in {:?}", refused.message);
        }
    }
}

#[test]
fn every_sample_is_placed_where_it_can_run_and_the_rest_is_explained() {
    let fleet = fleet();
    let mut told: Vec<String> = Vec::new();
    for (sample, workloads) in samples() {
        let decision = schedule(&request("sample", workloads), &fleet);
        let sentences = decision.sentences().into_iter().map(|sentence| format!("  {}", sentence.text));
        let outcome = &decision.outcome;
        told.push(format!("{sample}: {}: {}", outcome.reason, outcome.message));
        told.extend(sentences);
    }
    insta::assert_snapshot!(told.join("\n"));
}
