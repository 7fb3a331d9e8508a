//! Names that one child takes and another does not: refused where they are written, and by the operator where they were stored.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "names";

fn spec(more: &Value) -> Value {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.8.3"}, "authSecret": "s", "storage": {"emptyDir": {}},
        "resources": {"limits": {"nvidia.com/gpu": 1}}, "expose": {"service": {"port": 8000}},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
}

fn cache() -> Value {
    json!({
        "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1.8.3", "pullSecret": "s", "authSecret": "s",
            "model": {"profiles": ["all"]}}},
        "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
    })
}

/// Objects that cannot be made, with the field and what is said of it.
fn refused() -> Vec<(Value, String, &'static str, &'static str)> {
    let nodes = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 1}}});
    let pipeline = |name: &str| {
        let service = json!({"name": name, "enabled": true, "spec": spec(&json!({}))});
        object("NIMPipeline", "line", &json!({"services": [service]}))
    };
    let service = |name: &str, more: &Value| object("NIMService", name, &spec(more));
    let kserve = json!({"inferencePlatform": "kserve"});
    vec![
        (service("llama-3.1-8b", &json!({})), "llama-3.1-8b".to_owned(), "metadata.name", "no dots"),
        (service(&"a".repeat(60), &json!({})), "a".repeat(60), "metadata.name has 60", "at most 59"),
        (service(&"b".repeat(64), &json!({})), "b".repeat(64), "metadata.name has 64", "at most 59"),
        (service(&"k".repeat(54), &kserve), "k".repeat(54), "metadata.name has 54", "at most 53"),
        (service("70b-kserve", &kserve), "70b-kserve".to_owned(), "metadata.name", "a letter first"),
        (service(&"n".repeat(47), &nodes), "n".repeat(47), "metadata.name has 47", "at most 46"),
        (object("NIMCache", &"c".repeat(60), &cache()), "c".repeat(60), "metadata.name has 60", "at most 59"),
        (pipeline("a.b"), "line".to_owned(), "spec.services[0].name", "no dots"),
    ]
}

#[tokio::test]
async fn a_name_that_a_child_refuses_makes_nothing_and_one_that_all_take_works_wholly() -> Result<(), Failure>
{
    let site = Site::new().gpus(H100, 8, 1).start().await?;
    let cluster = site.cluster();
    for (object, name, field, said) in refused() {
        let told = objects::apply(cluster, &object.to_string()).await.map_err(|error| error.to_string());
        let told = told.err().unwrap_or_else(|| panic!("{name} is taken"));
        assert!(told.contains(field) && told.contains(said), "{told}");
    }

    // What was stored before there were policies.
    for policy in ["names-microservices", "names-nimcaches", "names-nimpipelines", "nimservice-names"] {
        let binding = format!("nimfleet-{policy}");
        cluster.kubectl(&["delete", "validatingadmissionpolicybinding", &binding], None).await?;
    }
    for (object, name, field, said) in refused() {
        // The API server takes a moment to forget a policy.
        let text = object.to_string();
        let stored = || objects::apply(cluster, &text);
        site.eventually("it is stored", SOON, stored).await?;
        let kind = object["kind"].as_str().unwrap_or_default();
        site.eventually(&format!("{kind} {name} says what is wrong"), SOON, || async {
            let found = objects::get(cluster, kind, NAMESPACE, &name).await?;
            let told = found["status"].to_string();
            if told.contains(field) && told.contains(said) && told.contains("InvalidSpec") {
                Ok(())
            } else {
                Err(Failure::new(told))
            }
        })
        .await?;
    }
    for kind in ["Deployment", "Service", "Job", "PersistentVolumeClaim", "Pod", "HorizontalPodAutoscaler"] {
        let made = objects::list(cluster, kind, NAMESPACE).await?;
        assert!(made.is_empty(), "{kind}: {}", made[0]["metadata"]);
    }

    // What has just the length that is permitted, and what begins with a digit, works.
    let longest = format!("ok-{}", "a".repeat(56));
    let taken = [
        ("NIMService", longest.as_str(), spec(&json!({}))),
        ("NIMService", "70b-chat", spec(&json!({"expose": {"service": {"name": "8b", "port": 8000}}}))),
        ("NIMCache", longest.as_str(), cache()),
        ("NIMCache", "nim.cache", cache()),
    ];
    for (kind, name, spec) in &taken {
        objects::apply(cluster, &object(kind, name, spec).to_string()).await?;
    }
    for (kind, name, _) in &taken {
        site.eventually(&format!("{kind} {name} is Ready"), SOON, || async {
            let found = objects::get(cluster, kind, NAMESPACE, name).await?;
            let state = &found["status"]["state"];
            if state == "Ready" { Ok(()) } else { Err(Failure::new(found["status"].to_string())) }
        })
        .await?;
    }
    what_ran_before_with_a_dot_in_its_name_goes_on(&site).await
}

/// A Deployment of another operator's, whose Service was refused.
async fn what_ran_before_with_a_dot_in_its_name_goes_on(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let name = "ran-1.0";
    site.operator().kill();
    objects::apply(cluster, &object("NIMService", name, &spec(&json!({}))).to_string()).await?;
    let owner = objects::get(cluster, "NIMService", NAMESPACE, name).await?["metadata"]["uid"].clone();
    let labels = json!({"app": name, "app.kubernetes.io/name": name, "app.kubernetes.io/instance": name,
        "app.kubernetes.io/part-of": "nim-service", "app.kubernetes.io/managed-by": "k8s-nim-operator"});
    let container = json!({"name": "ran", "image": "nvcr.io/nim/meta/llama:1.8.3"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels, "ownerReferences": [{
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": name, "uid": owner,
            "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}},
    });
    objects::apply(cluster, &deployment.to_string()).await?;
    let pods = || async {
        let own = objects::pods(cluster, NAMESPACE, name).await?;
        if own.is_empty() { Err(Failure::new("no pod")) } else { Ok(own) }
    };
    let before = site.eventually("it runs", SOON, pods).await?;
    site.start_operator().await?;
    site.eventually("the operator speaks of it", SOON, || async {
        let found = objects::get(cluster, "NIMService", NAMESPACE, name).await?;
        if found["status"].is_object() { Ok(()) } else { Err(Failure::new("no status")) }
    })
    .await?;
    let after = pods().await?;
    assert_eq!((after.len(), &after[0]["metadata"]["uid"]), (1, &before[0]["metadata"]["uid"]));
    Ok(())
}
