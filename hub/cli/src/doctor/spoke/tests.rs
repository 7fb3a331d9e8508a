//! What a spoke's checks say of objects that are as they should be, and of such that are not.

use serde_json::{Value, json};

use super::*;
use crate::doctor::Outcome;

fn service(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": "nim"}, "spec": spec,
    }))
    .unwrap()
}

#[test]
fn a_platform_is_missed_where_a_service_asks_for_it() {
    let plain = service("plain", &json!({"inferencePlatform": "standalone"}));
    let kserve = service("served", &json!({"inferencePlatform": "kserve", "multiNode": {}}));
    let many = service("many", &json!({"multiNode": {"parallelism": {"pipeline": 2}}}));
    let found = |services: &[DynamicObject], groups: &[&str]| -> Vec<(Outcome, String)> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let checks = judge_platforms("platforms", services, &groups);
        checks.into_iter().map(|check| (check.outcome, check.found)).collect()
    };
    assert_eq!(found(std::slice::from_ref(&plain), &[])[0].0, Outcome::Ok);
    let both = found(&[plain, kserve.clone(), many], &[]);
    assert_eq!(
        both,
        [
            (
                Outcome::Failed,
                "LeaderWorkerSet is not installed, and 1 NIMService asks for it (first nim/many)".to_owned()
            ),
            (
                Outcome::Failed,
                "KServe is not installed, and 1 NIMService asks for it (first nim/served)".to_owned()
            ),
        ]
    );
    assert_eq!(found(&[kserve], &["serving.kserve.io"]), [(Outcome::Ok, "KServe is installed".to_owned())]);
}

#[test]
fn nodes_whose_gpus_nobody_names_are_told() {
    let node = |name: &str, gpus: &str, labels: Value| -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels}, "status": {"allocatable": {"nvidia.com/gpu": gpus}},
        }))
        .unwrap()
    };
    let known = || node("a", "8", json!({PRODUCT: "NVIDIA-H100-80GB-HBM3"}));
    let well = judge_gpus("gpus", &[known(), node("cpu", "0", json!({}))]);
    assert_eq!((well.outcome, well.found.as_str()), (Outcome::Ok, "8 GPUs on 1 node"));
    let some = judge_gpus("gpus", &[known(), node("b", "4", json!({}))]);
    assert_eq!(some.outcome, Outcome::Warning);
    assert!(
        some.found.contains("12 GPUs on 2 nodes; 1 node without") && some.found.contains("first b"),
        "{some:?}"
    );
    assert_eq!(judge_gpus("gpus", &[]).outcome, Outcome::Warning);
}

#[test]
fn the_spokes_flags_and_token_are_read_from_its_deployment() {
    let deployment: Deployment = serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {"containers": [{
        "name": "spoke", "args": ["--mode=delegate", "--hub-address=hub:7443"],
        "env": [{"name": "NIMFLEET_HUB_TOKEN", "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}],
    }]}}}}))
    .unwrap();
    assert_eq!(flag(&deployment, "--hub-address").as_deref(), Some("hub:7443"));
    assert_eq!(flag(&deployment, "--hub"), None);
    assert_eq!(token_secret(&deployment).as_deref(), Some("token"));
}
