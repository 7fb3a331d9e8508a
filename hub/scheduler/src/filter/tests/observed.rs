//! What else a spoke observes: profiles, devices, storage.

use std::sync::Arc;

use super::*;
use crate::{
    fleet::{Access, CachedProfile, DeviceGroup, HeldCache, StorageClass},
    need::{CacheKey, ClaimNeed, Comparison, DeviceNeed, Mounts, Profile, Profiles, Signature, Wanted},
};

fn with(change: impl FnOnce(&mut Capacity)) -> Fleet {
    let mut capacity = h100().cluster("east").unwrap().capacity.clone().unwrap();
    change(&mut capacity);
    h100().reports("east", capacity)
}

fn wanting(change: impl FnOnce(&mut crate::need::Need)) -> Request {
    let mut wants = fitting();
    change(&mut wants.workloads[0].need);
    wants
}

fn profile(name: &str, product: &str, tensor: u32, precision: &str) -> Profile {
    let signature = Signature { precision: precision.into(), engine: "tensorrt_llm".into() };
    Profile { name: name.into(), product: product.into(), tensor, pipeline: 1, signature, lora: false }
}

fn cached(choices: Vec<Profile>) -> Request {
    let signature = Some(choices[0].signature.clone());
    wanting(|need| {
        need.profiles = Some(Arc::new(Profiles { choices, named: true, signature }));
        need.cache = Some(CacheKey { namespace: "nim".into(), name: "weights".into() });
    })
}

#[test]
fn profiles() {
    accept(&h100(), &cached(vec![profile("p", "H100", 8, "fp8")]));
    accept(&h100(), &cached(vec![profile("p", "", 2, "fp8")]));
    let words = [
        "none of 2 cached profiles of NIMService llm runs here",
        "a is for gpu L40S, the cluster has NVIDIA-H100",
    ];
    let other = cached(vec![profile("a", "L40S", 8, "fp8"), profile("b", "H100", 16, "fp8")]);
    expect(&h100(), &other, Reason::NoProfileFits, &words);
    expect(
        &h100(),
        &other,
        Reason::NoProfileFits,
        &["b spreads over 16 GPUs (tp 16 × pp 1), a replica has 8"],
    );
    // Another profile of the same precision and engine is fine.
    accept(&h100(), &cached(vec![profile("a", "L40S", 8, "fp8"), profile("b", "H100", 8, "fp8")]));
}

#[test]
fn precision_does_not_change_unless_the_placement_lets_it() {
    let mut wants = cached(vec![profile("a", "L40S", 8, "fp8"), profile("b", "H100", 8, "bf16")]);
    let words = ["b has precision \"bf16\", not \"fp8\"", "spec.gpu.profileChange"];
    expect(&h100(), &wants, Reason::NoProfileFits, &words);
    wants.policy.gpu.profile_change = true;
    accept(&h100(), &wants);
}

#[test]
fn what_the_clusters_own_cache_holds_counts_there() {
    let holds = |gpu: &str| {
        let tags = [("gpu", gpu), ("tp", "8"), ("precision", "fp8"), ("llm_engine", "tensorrt_llm")];
        let tags = tags.map(|(tag, value)| (tag.to_owned(), value.to_owned())).into();
        let held = HeldCache {
            namespace: "nim".into(),
            name: "weights".into(),
            profiles: vec![CachedProfile { name: "there".into(), tags }],
            ..HeldCache::default()
        };
        with(|capacity| capacity.caches = vec![held])
    };
    let wants = cached(vec![profile("p", "H100", 8, "fp8")]);
    accept(&holds("H100"), &wants);
    expect(
        &holds("L40S"),
        &wants,
        Reason::NoProfileFits,
        &["none of 1 cached profiles", "there is for gpu L40S"],
    );
    let message = &schedule(&wants, &holds("H100")).chosen[0].message;
    assert!(message.contains("profile there (8 GPUs, fp8, tensorrt_llm)"), "{message}");
}

#[test]
fn what_one_cluster_chose_for_its_gpus_is_not_held_against_another() {
    let mut wants = cached(vec![profile("p", "L40S", 8, "fp8")]);
    expect(&h100(), &wants, Reason::NoProfileFits, &["p is for gpu L40S"]);
    for workload in &mut wants.workloads {
        let open = workload.need.profiles.as_deref().map(|known| Profiles { named: false, ..known.clone() });
        workload.need.profiles = open.map(Arc::new);
    }
    accept(&h100(), &wants);
}

fn devices(free_per_node: &[(u32, u32)]) -> DeviceGroup {
    let attributes =
        [("gpu.nvidia.com/productName", "NVIDIA H100"), ("gpu.nvidia.com/cudaComputeCapability", "9.0.0")];
    DeviceGroup {
        class: "gpu.nvidia.com".into(),
        driver: "gpu.nvidia.com".into(),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        capacity: [("gpu.nvidia.com/memory".to_owned(), "80Gi".to_owned())].into(),
        devices: 16,
        free: free_per_node.iter().map(|(free, nodes)| free * nodes).sum(),
        free_per_node: free_per_node.iter().copied().collect(),
        ..DeviceGroup::default()
    }
}

fn claims(class: &str, count: u32, selectors: Vec<crate::need::Selector>) -> Request {
    let device = DeviceNeed {
        field: "spec.draResources[0]".into(),
        class: class.into(),
        driver: "gpu.nvidia.com".into(),
        count,
        selectors,
    };
    wanting(|need| {
        need.gpu = None;
        need.gpu_nodes = false;
        need.devices = vec![device];
    })
}

#[test]
fn device_classes_and_free_devices() {
    let there = |blocks: &[(u32, u32)]| with(|capacity| capacity.devices = Some(vec![devices(blocks)]));
    let wants = claims("gpu.nvidia.com", 4, vec![]);
    accept(&there(&[(4, 2)]), &wants);
    accept(&there(&[(8, 1)]), &wants);
    let words = [
        "needs 4 devices of class gpu.nvidia.com on one node for each of 2 pods; 7 of 16 are free, 4 at most on one node, \
         enough for 1 pods",
    ];
    expect(&there(&[(4, 1), (3, 1)]), &wants, Reason::InsufficientDevices, &words);
    let words = ["no DeviceClass mig.nvidia.com; there are: gpu.nvidia.com"];
    expect(&there(&[(4, 2)]), &claims("mig.nvidia.com", 1, vec![]), Reason::DeviceClassMissing, &words);
    // An agent that tells no devices refuses nothing, nor does a class that it cannot read.
    accept(&h100(), &wants);
    let unread = DeviceGroup { class: "gpu.nvidia.com".into(), uncounted: true, ..DeviceGroup::default() };
    accept(&with(|capacity| capacity.devices = Some(vec![unread])), &wants);
}

#[test]
fn devices_must_have_what_is_selected() {
    let there = with(|capacity| capacity.devices = Some(vec![devices(&[(8, 2)])]));
    let selector =
        |key: &str, comparison, wanted| crate::need::Selector { key: key.into(), comparison, wanted };
    let domain = |key: &str| format!("gpu.nvidia.com/{key}");
    let lacks = |wants: &Request, fleet: &Fleet, lacking: &str| {
        let (reason, message) = refusal(fleet, wants);
        assert_eq!(reason, Reason::InsufficientDevices);
        let words = "needs 1 device of class gpu.nvidia.com for each of 2 pods; 0 of ";
        assert!(message.contains(words) && message.ends_with(lacking), "{message}");
    };
    for (key, comparison, wanted, fits) in [
        ("productName", Comparison::Equal, Wanted::Text("NVIDIA H100".into()), true),
        ("productName", Comparison::Equal, Wanted::Text("NVIDIA L40S".into()), false),
        ("productName", Comparison::NotEqual, Wanted::Text("NVIDIA H100".into()), false),
        ("cudaComputeCapability", Comparison::GreaterOrEqual, Wanted::Version(vec![8, 9, 0]), true),
        ("cudaComputeCapability", Comparison::Greater, Wanted::Version(vec![9, 0, 0]), false),
        ("memory", Comparison::GreaterOrEqual, Wanted::Quantity("80000Mi".into()), true),
        ("memory", Comparison::GreaterOrEqual, Wanted::Quantity("81Gi".into()), false),
        ("uuid", Comparison::Equal, Wanted::Text("GPU-1".into()), true),
    ] {
        let selector = selector(&domain(key), comparison, wanted);
        let lacking = format!("; none has {selector}");
        let wants = claims("gpu.nvidia.com", 1, vec![selector]);
        if fits {
            accept(&there, &wants);
        } else {
            lacks(&wants, &there, &lacking);
        }
    }
    // Each is met by some device, and both by none.
    let small = DeviceGroup {
        attributes: [(domain("productName"), "NVIDIA L4".to_owned())].into(),
        capacity: [(domain("memory"), "24Gi".to_owned())].into(),
        ..devices(&[(8, 2)])
    };
    let two = with(|capacity| capacity.devices = Some(vec![devices(&[(8, 2)]), small]));
    let large = selector(&domain("memory"), Comparison::Greater, Wanted::Quantity("40Gi".into()));
    let l4 = selector(&domain("productName"), Comparison::Equal, Wanted::Text("NVIDIA L4".into()));
    lacks(&claims("gpu.nvidia.com", 1, vec![large, l4]), &two, "; none has all that is selected");
    let other = DeviceGroup { driver: "other.example.com".into(), ..devices(&[(8, 2)]) };
    let other = with(|capacity| capacity.devices = Some(vec![other]));
    lacks(&claims("gpu.nvidia.com", 1, vec![]), &other, "; none is of driver gpu.nvidia.com");
    let none = DeviceGroup { driver: String::new(), devices: 0, ..devices(&[]) };
    let none = with(|capacity| capacity.devices = Some(vec![none]));
    lacks(&claims("gpu.nvidia.com", 1, vec![]), &none, "(spec.draResources[0])");
}

fn class(name: &str, access: Option<Access>, largest_mib: Option<u64>) -> StorageClass {
    StorageClass { name: name.into(), is_default: name == "standard", access, largest_mib }
}

fn claim(class: Option<&str>, mounts: Mounts, mib: u64) -> Request {
    let claim = ClaimNeed { field: "spec.storage.pvc".into(), class: class.map(str::to_owned), mounts, mib };
    wanting(|need| need.claims = vec![claim])
}

#[test]
fn storage_classes() {
    let there = |classes: Vec<StorageClass>| with(|capacity| capacity.storage = Some(classes));
    let one = there(vec![
        class("standard", Some(Access::OneNode), Some(1000)),
        class("nfs", Some(Access::ManyNodes), None),
    ]);
    accept(&one, &claim(Some("nfs"), Mounts::ManyNodes, 5000));
    accept(&one, &claim(None, Mounts::OneNode, 1000));
    let words = ["spec.storage.pvc.storageClass", "no storage class fast; there are: standard, nfs"];
    expect(&one, &claim(Some("fast"), Mounts::OneNode, 1), Reason::StorageClassMissing, &words);
    let words = ["storage class standard are mounted from one node at a time", "nimfleet.io/access-modes"];
    expect(&one, &claim(None, Mounts::ManyNodes, 1), Reason::NoSharedStorage, &words);
    let words = ["2 pods share the volume of spec.storage.pvc", "ReadWriteMany"];
    expect(&one, &claim(None, Mounts::OneNodeByAll, 0), Reason::NoSharedStorage, &words);
    let words = [
        "spec.storage.pvc.size: needs 1001 MiB of storage class standard; the largest volume it can make is 1000 MiB",
    ];
    expect(&one, &claim(None, Mounts::OneNode, 1001), Reason::InsufficientStorage, &words);
    // What is not told refuses nothing: no report of classes, no default class, an unknown provisioner.
    for silent in [h100(), there(vec![]), there(vec![class("standard", None, None)])] {
        accept(&silent, &claim(None, Mounts::ManyNodes, 1 << 40));
    }
}

#[test]
fn the_volume_of_one_replica_may_be_mounted_from_one_node() {
    let there =
        with(|capacity| capacity.storage = Some(vec![class("standard", Some(Access::OneNode), None)]));
    let mut wants = claim(None, Mounts::OneNodeByAll, 0);
    wants.workloads[0].need.replicas = 1;
    accept(&there, &wants);
    wants.workloads[0].need.gpu.as_mut().unwrap().pods = 2;
    expect(&there, &wants, Reason::NoSharedStorage, &["2 pods share"]);
}
