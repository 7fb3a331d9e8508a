//! Where the samples that NVIDIA ships for serving would run, in a fleet of five unlike clusters, and why not elsewhere.
//!
//! `samples.jsonl` says of each what placement reads: our own condensed description, one a line.

use serde_json::Value;

use super::builder::{Build, H100, L40S, name, object, pool, report, request};
use crate::{
    fleet::{Agent, Capacity, Fleet, FleetEvent, Platform},
    need::need,
    scheduler::{Workload, schedule},
};

const A100: &str = "NVIDIA-A100-SXM4-80GB";

fn with(mut capacity: Capacity, platforms: &[&str], region: &str) -> Capacity {
    capacity.platforms =
        platforms.iter().map(|name| Platform { name: (*name).into(), ..Platform::default() }).collect();
    capacity.region = region.into();
    capacity.kubernetes_version = "v1.34.2".into();
    capacity
}

/// `h100`: eight nodes of eight, with LWS and KServe. `mig`: A100, half of them cut. `l40s`: two small nodes. `mixed`: two kinds and
/// DRA. `plain`: no GPU, and an agent of long ago.
fn fleet() -> Fleet {
    let mut cut = pool(A100, 81_920, &[(28, 2)], 28);
    cut.resource = "nvidia.com/mig-2g.20gb".into();
    let h100 = report(vec![pool(H100, 81_559, &[(8, 8)], 8)], 0);
    let mig = report(vec![pool(A100, 81_920, &[(8, 2)], 8), cut], 0);
    let l40s = report(vec![pool(L40S, 46_068, &[(4, 1), (2, 1)], 4)], 0);
    let mixed = report(vec![pool(H100, 81_559, &[(8, 1)], 8), pool(L40S, 46_068, &[(4, 2)], 4)], 0);
    let kinds = ["NIMCache", "NIMService"].map(|kind| format!("apps.nvidia.com/v1alpha1/{kind}"));
    let old = Agent { version: "0.0.9".into(), capabilities: kinds[..1].to_vec(), ..Agent::default() };
    Fleet::default()
        .joined("h100", Vec::new())
        .reports("h100", with(h100, &["standalone", "lws", "kserve"], "eu"))
        .joined("l40s", Vec::new())
        .reports("l40s", with(l40s, &["standalone"], "eu"))
        .joined("mig", Vec::new())
        .reports("mig", with(mig, &["standalone"], "us"))
        .joined("mixed", Vec::new())
        .reports("mixed", with(mixed, &["standalone", "kserve", "dra"], "us"))
        .joined("plain", Vec::new())
        .with(FleetEvent::Connected { cluster: name("plain"), agent: old, at: super::builder::at(0) })
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

#[test]
fn every_sample_is_placed_where_it_can_run_and_the_rest_is_explained() {
    let fleet = fleet();
    let mut told: Vec<String> = Vec::new();
    for line in include_str!("samples.jsonl").lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        let decision = schedule(&request("sample", workloads(&sample)), &fleet);
        let sentences = decision.sentences().into_iter().map(|sentence| format!("  {}", sentence.text));
        let outcome = &decision.outcome;
        told.push(format!("{}: {}: {}", sample["sample"].as_str().unwrap(), outcome.reason, outcome.message));
        told.extend(sentences);
    }
    insta::assert_snapshot!(told.join("\n"));
}
