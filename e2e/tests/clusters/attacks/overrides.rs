//! JSON patches that grow, overrides past a quota, expensive expressions.

use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
/// Until the API server has taken up by which CA it knows the hub: it looks again after half a minute.
const PASSED_ON: Duration = Duration::from_mins(2);
const MEBIBYTE: u64 = 1024 * 1024;
/// What one placement may add to the hub's memory while it is refused. At 8125f13 sixteen copies added 310 MiB.
const FLAT: u64 = 32 * MEBIBYTE;

/// A service without a cache, so that a placement has one object.
fn service(name: &str) -> String {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0", "pullSecrets": ["ngc-secret"]},
            "authSecret": "ngc-api-secret", "replicas": 1,
            "storage": {"emptyDir": {}},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    })
    .to_string()
}

fn overrides(operations: &Value) -> Value {
    json!({"overrides": [{"clusterNames": ["west"], "jsonPatch": operations}]})
}

/// Annotations that each operation doubles.
fn doubling(times: usize) -> Value {
    let first = json!({"op": "add", "path": "/spec/annotations", "value": {"k": "x".repeat(1000)}});
    let copy = |index| json!({"op": "copy", "from": "/spec/annotations", "path": format!("/spec/annotations/a{index}")});
    std::iter::once(first).chain((0..times).map(copy)).collect()
}

/// What the API server says of a placement that it refuses.
async fn refused(hub: &Cluster, name: &str, more: &Value) -> String {
    match objects::apply(hub, &sample::placement(name, more)).await {
        Err(failure) => failure.to_string(),
        Ok(()) => format!("{name} was taken"),
    }
}

fn has(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// Takes the rules out of the definition of NIMPlacement: what an older version let in is stored like this.
async fn without_rules(hub: &Cluster) -> Result<(), Failure> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for rule in ["x-kubernetes-validations", "maxItems"] {
                    fields.remove(rule);
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let name = "nimplacements.nimfleet.io";
    let mut definition = objects::get(hub, "CustomResourceDefinition", "", name).await?;
    let mut versions = definition["spec"]["versions"].take();
    strip(&mut versions);
    objects::patch(hub, "CustomResourceDefinition", "", name, json!({"spec": {"versions": versions}})).await
}

/// Waits until the API server takes what it refused before.
async fn taken(fleet: &Fleet, name: &str, more: &Value) -> Result<(), Failure> {
    let manifest = sample::placement(name, more);
    let apply = || objects::apply(fleet.hub().cluster(), &manifest);
    fleet.eventually(&format!("{name} is stored"), SOON, apply).await
}

async fn used(fleet: &Fleet, summary: &str) -> Result<(), Failure> {
    let shown = || async {
        let quota = objects::get(fleet.hub().cluster(), "GPUQuota", sample::NAMESPACE, "q").await?;
        let is = quota["status"]["summary"].as_str().unwrap_or_default();
        if is == summary { Ok(()) } else { Err(Failure::new(format!("it says {is}"))) }
    };
    fleet.eventually(&format!("the quota says {summary}"), SOON, shown).await
}

fn quota(gpus: u32) -> String {
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota",
        "metadata": {"name": "q", "namespace": sample::NAMESPACE},
        "spec": {"limits": [{"product": "*", "gpus": gpus}]},
    })
    .to_string()
}

#[tokio::test]
async fn overrides_are_bounded_and_count_for_what_they_make() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("west").gpus(H100, 8, 1).start().await?;
    let (hub, west) = (fleet.hub().cluster(), fleet.cluster("west")?.cluster());
    for name in ["grows", "large", "counts", "replicas", "whole"] {
        objects::apply(hub, &service(name)).await?;
    }

    // Written now: refused, with the remedy.
    has(&refused(hub, "grows", &overrides(&doubling(4))).await, &["jsonPatch[1]", "copy", "add"]);
    let moved = json!([{"op": "move", "from": "/spec/env", "path": "/spec/args"}]);
    has(&refused(hub, "grows", &overrides(&moved)).await, &["jsonPatch[0]", "move", "add"]);
    let one = json!({"op": "add", "path": "/spec/annotations", "value": {}});
    let many: Vec<Value> = (0..33).map(|_| one.clone()).collect();
    let many = json!({"overrides": [
        {"clusterNames": ["west"], "jsonPatch": many}, {"clusterNames": ["west"], "jsonPatch": many},
    ]});
    has(&refused(hub, "grows", &many).await, &["spec.overrides", "64 operations"]);
    for path in ["/spec/replicas", "/spec/scale", "/spec/scale/hpa/maxReplicas"] {
        let said =
            refused(hub, "replicas", &overrides(&json!([{"op": "add", "path": path, "value": 3}]))).await;
        has(&said, &[&format!("{path} is the scheduler's: use replicaScheduling")]);
    }

    // Overrides count: a quota of one GPU does not give three, and the numbers name the cluster.
    objects::apply(hub, &quota(1)).await?;
    let three =
        overrides(&json!([{"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": 3}]));
    objects::apply(hub, &sample::placement("counts", &three)).await?;
    let said = sample::says(&fleet, "counts", "Scheduled", "QuotaExceeded").await?;
    has(&said, &["west", "needs 3 GPUs", "1 of 1 left in GPUQuota q"]);
    objects::absent(west, "NIMService", sample::NAMESPACE, "counts").await?;
    objects::apply(hub, &quota(3)).await?;
    sample::says(&fleet, "counts", "Scheduled", "Placed").await?;
    used(&fleet, "*: 3/3").await?;
    // Placed is what is decided: west gets it after that.
    let sent = || objects::get(west, "NIMService", sample::NAMESPACE, "counts");
    fleet.eventually("it is sent", SOON, sent).await?;
    // It runs with three; four are one too many: nothing of it changes.
    let four = json!({"spec": overrides(&json!([
        {"op": "replace", "path": "/spec/resources/limits/nvidia.com~1gpu", "value": 4},
    ]))});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, "counts", four).await?;
    let said = sample::says(&fleet, "counts", "Scheduled", "QuotaExceeded").await?;
    has(&said, &["west", "needs 1 GPUs", "0 of 3 left in GPUQuota q"]);
    assert_eq!(sent().await?["spec"]["resources"]["limits"]["nvidia.com/gpu"], 3);

    // What an older version let in is refused by the hub, with the remedy, and its memory stays flat.
    without_rules(hub).await?;
    let before = fleet.hub().daemon().resident_bytes()?;
    taken(&fleet, "grows", &overrides(&doubling(16))).await?;
    let said = sample::says(&fleet, "grows", "Scheduled", "InvalidPlacement").await?;
    has(&said, &["spec.overrides[0].jsonPatch[1]", "copy", "add"]);
    let large: Value = (0..40)
        .map(|index| json!({"op": "add", "path": format!("/spec/annotations/a{index}"), "value": "x".repeat(20_000)}))
        .collect();
    let mut operations =
        vec![json!({"op": "add", "path": "/spec/annotations", "value": {"k": "x".repeat(400_000)}})];
    operations.extend(large.as_array().cloned().unwrap_or_default());
    objects::patch(
        hub,
        "NIMService",
        sample::NAMESPACE,
        "large",
        json!({
            "metadata": {"annotations": {"note": "x".repeat(200_000)}},
            "spec": {"labels": {}, "env": [{"name": "LONG", "value": "x".repeat(500_000)}]},
        }),
    )
    .await?;
    objects::apply(hub, &sample::placement("large", &overrides(&Value::from(operations)))).await?;
    let said = sample::says(&fleet, "large", "Scheduled", "NoClusterFits").await?;
    has(
        &said,
        &[
            "west",
            "bytes, more than the 1572864 that a cluster's API server takes",
            "make NIMService smaller",
        ],
    );
    let three = overrides(&json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]));
    objects::apply(hub, &sample::placement("replicas", &three)).await?;
    let said = sample::says(&fleet, "replicas", "Scheduled", "InvalidPlacement").await?;
    has(&said, &["/spec/replicas is the scheduler's: use replicaScheduling"]);
    let mut spec: Value = serde_json::from_str::<Value>(&service("whole"))?["spec"].take();
    spec["scale"] = json!({"enabled": true, "hpa": {"minReplicas": 1, "maxReplicas": 8}});
    let whole = overrides(&json!([{"op": "replace", "path": "/spec", "value": spec}]));
    objects::apply(hub, &sample::placement("whole", &whole)).await?;
    let said = sample::says(&fleet, "whole", "Scheduled", "NoClusterFits").await?;
    has(&said, &["west", "spec.scale", "is the scheduler's: use replicaScheduling"]);
    for name in ["grows", "large", "replicas", "whole"] {
        objects::absent(west, "NIMService", sample::NAMESPACE, name).await?;
    }
    let grown = fleet.hub().daemon().peak_resident_bytes()?.saturating_sub(before);
    assert!(grown < FLAT, "the hub's memory has grown by {} MiB", grown / MEBIBYTE);
    Ok(())
}

/// Asks the hub what it would decide of a placement.
fn simulation(placement: &Value) -> String {
    json!({
        "apiVersion": "query.nimfleet.io/v1alpha1", "kind": "PlacementSimulation",
        "metadata": {"name": "what-if", "namespace": sample::NAMESPACE},
        "spec": {"placement": placement},
    })
    .to_string()
}

#[tokio::test]
async fn hostile_expressions_and_questions_cost_nobody_else() -> Result<(), Failure> {
    let fleet = Fleet::new().queried().cluster("west").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    // A hub that starts tells the API server at once by which CA it knows the hub.
    fleet.hub().daemon().stop();
    fleet.hub().restart()?;
    for name in ["hostile", "good", "free"] {
        objects::apply(hub, &service(name)).await?;
    }
    // Each pattern is far larger than it looks.
    let pattern = r"cluster.name.matches('((\\pL{40}){40}|(\\w{40}){40})+')";
    let expressions = vec![pattern; 16];
    let hostile = json!({"clusterAffinity": {"expressions": expressions}});
    objects::apply(hub, &sample::placement("hostile", &hostile)).await?;
    let said = sample::says(&fleet, "hostile", "Scheduled", "InvalidPlacement").await?;
    has(&said, &["spec.clusterAffinity.expressions[0]", "matches", "128 KiB"]);
    let began = Instant::now();
    let good = json!({"clusterAffinity": {"expressions": ["cluster.name.matches('^we')"]}});
    objects::apply(hub, &sample::placement("good", &good)).await?;
    sample::says(&fleet, "good", "Scheduled", "Placed").await?;
    assert!(began.elapsed() < SOON, "another placement waited for {:?}", began.elapsed());

    // A question is held to what a placement is held to.
    let ask = async |placement: Value| -> Result<String, String> {
        let asked = simulation(&placement);
        hub.kubectl(&["create", "-o", "json", "-f", "-"], Some(&asked)).await.map_err(|failure| failure.said)
    };
    let selects = json!([{"kind": "NIMService", "name": "free"}]);
    let question = json!({"resourceSelectors": selects});
    fleet
        .eventually("the API server passes questions on", PASSED_ON, || async {
            Ok(hub.kubectl(&["get", "nimassignments", "-n", sample::NAMESPACE], None).await?)
        })
        .await?;
    let answer = ask(question.clone()).await.map_err(Failure::new)?;
    has(&answer, &["\"verdict\": \"Chosen\""]);
    let many = json!({"resourceSelectors": selects, "tiers": vec![json!({"clusterNames": ["west"]}); 17]});
    has(&ask(many).await.unwrap_err(), &["spec.placement.tiers", "16"]);
    let long =
        json!({"resourceSelectors": selects, "clusterAffinity": {"expressions": ["true ".repeat(300)]}});
    has(&ask(long).await.unwrap_err(), &["spec.placement.clusterAffinity.expressions[0]", "1024"]);
    let copies = json!({"resourceSelectors": selects, "overrides": overrides(&doubling(16))["overrides"]});
    has(&ask(copies).await.unwrap_err(), &["spec.placement.overrides[0].jsonPatch[1]", "copy"]);

    // Who asks without end is told to wait.
    let many = vec![simulation(&question); 40].join("\n---\n");
    let Err(refusal) = hub.kubectl(&["create", "-f", "-"], Some(&many)).await else {
        return Err(Failure::new("40 questions at once are answered"));
    };
    let said = refusal.said;
    assert!(said.contains("TooManyRequests") || said.contains("ask again in"), "{said}");
    Ok(())
}
