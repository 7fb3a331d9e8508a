//! The hub tells the truth: what runs nowhere is not Ready, what was refused is asked again and moves, the hub's own cluster is no
//! member, and kubectl shows and awaits all of it.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::objects;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
/// So soon something is delivered after what it was refused for is gone.
const ASKED_AGAIN: Duration = Duration::from_mins(2);
const NAMESPACE: &str = "truth";

fn service(name: &str) -> String {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "tag": "1.8"},
            "authSecret": "ngc-api-secret", "replicas": 1, "storage": {"emptyDir": {}},
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        },
    })
    .to_string()
}

fn placement(name: &str, more: &Value) -> String {
    let mut spec = json!({"resourceSelectors": [{"kind": "NIMService", "name": name}]});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec,
    })
    .to_string()
}

fn only(cluster: &str) -> Value {
    json!({"clusterAffinity": {"clusterNames": [cluster]}})
}

async fn has_namespace(cluster: &Cluster) -> Result<(), Failure> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    objects::apply(cluster, &namespace.to_string()).await
}

/// Waits until a condition of an object of the hub has that status and reason; gives its message.
async fn until(
    fleet: &Fleet,
    (kind, name): (&str, &str),
    (condition, status, reason): (&str, &str, &str),
) -> Result<String, Failure> {
    let namespace = if kind == "GPUCluster" { "" } else { NAMESPACE };
    let check = || async {
        let found = objects::get(fleet.hub().cluster(), kind, namespace, name).await?;
        match objects::condition(&found, condition) {
            Some((is, why, message)) if is == status && why == reason => Ok(message),
            other => Err(Failure::new(format!("{condition}: {other:?}"))),
        }
    };
    fleet.eventually(&format!("{kind} {name}: {condition}={status} {reason}"), SOON, check).await
}

/// Events about an object of the hub: type, reason and note.
async fn events(fleet: &Fleet, kind: &str, name: &str) -> Result<Vec<(String, String, String)>, Failure> {
    let all = objects::list(fleet.hub().cluster(), "Event", NAMESPACE).await?;
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let about =
        |event: &&Value| event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name;
    let told = |event: &Value| (text(event, "type"), text(event, "reason"), text(event, "message"));
    Ok(all.iter().filter(about).map(told).collect())
}

async fn kubectl(fleet: &Fleet, arguments: &str) -> Result<String, Failure> {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    Ok(fleet.hub().cluster().kubectl(&arguments, None).await?)
}

/// What kubectl prints of one row, by column.
fn cell(table: &str, column: &str) -> String {
    let mut lines = table.lines();
    let (header, row) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Some(start) = header.find(column) else { return format!("no column {column}") };
    row.get(start..).unwrap_or_default().split("  ").next().unwrap_or_default().trim().to_owned()
}

/// kubectl shows where a placement runs and what a cluster has, and waits for both; nothing warns of a placement that was applied a
/// moment before its service.
async fn is_seen_with_kubectl(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    objects::apply(hub, &placement("chat", &only("east"))).await?;
    until(fleet, ("NIMPlacement", "chat"), ("Scheduled", "False", "NoObjectsSelected")).await?;
    objects::apply(hub, &service("chat")).await?;
    kubectl(fleet, "wait --for=condition=Ready nimplacement/chat -n truth --timeout=180s").await?;
    kubectl(fleet, "wait --for=condition=Ready gc/east --timeout=180s").await?;
    let warnings = events(fleet, "NIMPlacement", "chat").await?;
    assert!(warnings.iter().all(|(kind, ..)| kind == "Normal"), "{warnings:?}");

    let table = kubectl(fleet, "get nimplacement chat -n truth -o wide").await?;
    let expected = [
        ("WHERE", "east"),
        ("CLUSTERS", "1/1"),
        ("REPLICAS", "1/1"),
        ("PHASE", "Available"),
        ("REASON", "Ready"),
    ];
    for (column, value) in expected.into_iter().chain([("MESSAGE", "ready in east")]) {
        assert_eq!(cell(&table, column), value, "{column} of\n{table}");
    }
    let taint = json!({"spec": {"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]}});
    objects::patch(hub, "GPUCluster", "", "west", taint).await?;
    let shown = [("TAINTS", "team=a:NoSchedule"), ("READY", "True"), ("FREE/TOTAL", "8/8"), ("PLACED", "0")];
    let check = || async {
        let table = kubectl(fleet, "get gc west -o wide").await?;
        let all = shown.iter().all(|(column, value)| cell(&table, column) == *value);
        if all { Ok(table) } else { Err(Failure::new(table)) }
    };
    let table = fleet.eventually("the taint is shown", SOON, check).await?;
    assert!(cell(&table, "PRODUCTS").starts_with("8x NVIDIA-H100"), "{table}");
    assert!(table.contains("HELD"), "{table}");
    objects::patch(hub, "GPUCluster", "", "west", json!({"spec": {"taints": []}})).await
}

/// Slices that somebody else empties or deletes are written again as they were, and nothing that runs is touched.
async fn has_slices_that_only_the_hub_changes(fleet: &Fleet) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let slice = || objects::get(hub, "NIMPlacementDecision", NAMESPACE, "chat-0");
    let (before, pods) = (slice().await?, objects::pod_uids(east, NAMESPACE, "chat").await?);
    assert_eq!(before["spec"]["decisions"][0]["clusters"][0]["name"], "east", "{before}");
    let is_as_before = || async {
        let now = slice().await?;
        if now["spec"] == before["spec"] { Ok(()) } else { Err(Failure::new(now.to_string())) }
    };
    objects::patch(hub, "NIMPlacementDecision", NAMESPACE, "chat-0", json!({"spec": {"decisions": []}}))
        .await?;
    fleet.eventually("the slice is as it was", SOON, is_as_before).await?;
    objects::delete(hub, "NIMPlacementDecision", NAMESPACE, "chat-0").await?;
    fleet.eventually("the slice is there again", SOON, is_as_before).await?;
    assert_eq!(objects::pod_uids(east, NAMESPACE, "chat").await?, pods);
    Ok(())
}

/// What no placement selects is not Ready, with one event, and neither is what an earlier process of the hub left Ready.
async fn is_not_ready_when_it_runs_nowhere(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    objects::delete(hub, "NIMPlacement", NAMESPACE, "chat").await?;
    let not_placed = ("Ready", "False", "NotPlaced");
    let nowhere = || async {
        let found = objects::get(hub, "NIMService", NAMESPACE, "chat").await?;
        let status = &found["status"];
        let message = objects::condition(&found, "Ready").map(|(_, _, message)| message).unwrap_or_default();
        let is_told = status["state"] == "NotPlaced"
            && status["availableReplicas"] == 0
            && message == "no NIMPlacement selects it";
        if is_told { Ok(()) } else { Err(Failure::new(status.to_string())) }
    };
    until(fleet, ("NIMService", "chat"), not_placed).await?;
    fleet.eventually("nothing is told to run", SOON, nowhere).await?;
    let told = || async {
        let all = events(fleet, "NIMService", "chat").await?;
        let told = all.iter().filter(|(_, reason, _)| reason == "NotPlaced").count();
        if told == 1 { Ok(()) } else { Err(Failure::new(format!("{all:?}"))) }
    };
    fleet.eventually("one event tells it", SOON, told).await?;

    fleet.hub().kill();
    let stale = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "chat", "namespace": NAMESPACE},
        "status": {"state": "Ready", "availableReplicas": 3, "conditions": [{
            "type": "Ready", "status": "True", "reason": "Ready", "message": "ready in 1 cluster: east",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let arguments = [
        "apply",
        "--server-side",
        "--subresource=status",
        "--field-manager=nimfleet-hub-status",
        "--force-conflicts",
        "-f",
        "-",
    ];
    hub.kubectl(&arguments, Some(&stale.to_string())).await?;
    fleet.hub().restart()?;
    fleet.eventually("a hub that starts mends what is stale", SOON, nowhere).await
}

/// What a name in the way had refused is delivered soon after the name is free; and what may go elsewhere goes there.
async fn is_asked_again_and_moves(fleet: &Fleet) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    has_namespace(east).await?;
    for name in ["blocked", "moving"] {
        // Somebody's own, and too large to run.
        let foreign = service(name).replace("\"nvidia.com/gpu\":1", "\"nvidia.com/gpu\":64");
        objects::apply(east, &foreign).await?;
        objects::apply(hub, &service(name)).await?;
    }
    objects::apply(hub, &placement("blocked", &only("east"))).await?;
    let prefers = json!({
        "failover": {"unschedulableAfter": "5s"},
        "tiers": [
            {"name": "first", "clusterNames": ["east"]},
            {"name": "second", "clusterNames": ["west"]},
        ],
    });
    objects::apply(hub, &placement("moving", &prefers)).await?;
    until(fleet, ("NIMPlacement", "blocked"), ("Degraded", "True", "Rejected")).await?;
    let arrived = || async {
        kubectl(fleet, "wait --for=condition=Ready nimplacement/moving -n truth --timeout=1s").await?;
        let table = kubectl(fleet, "get nimplacement moving -n truth").await?;
        if cell(&table, "WHERE") == "west" { Ok(()) } else { Err(Failure::new(table)) }
    };
    fleet.eventually("what east refuses runs in west", SOON, arrived).await?;

    objects::delete(east, "NIMService", NAMESPACE, "blocked").await?;
    let delivered = || async {
        let found = objects::get(east, "NIMService", NAMESPACE, "blocked").await?;
        let is_ours = found["metadata"]["labels"]["nimfleet.io/delivered"] == "true";
        if is_ours { Ok(()) } else { Err(Failure::new(found["metadata"].to_string())) }
    };
    fleet.eventually("the name is free, and the object is delivered", ASKED_AGAIN, delivered).await?;
    until(fleet, ("NIMPlacement", "blocked"), ("Ready", "True", "Ready")).await?;
    let told = || async {
        let all = events(fleet, "NIMPlacement", "blocked").await?;
        let is_told = all.iter().any(|(kind, reason, note)| {
            kind == "Normal" && reason == "Recovered" && note.starts_with("no longer Degraded")
        });
        if is_told { Ok(()) } else { Err(Failure::new(format!("{all:?}"))) }
    };
    fleet.eventually("that it has recovered is an event", SOON, told).await
}

/// Replicas that an autoscaler of a cluster's people adds are theirs: they stay, are counted, and are asked for by nobody here.
async fn is_counted_as_it_is_scaled(fleet: &Fleet) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    objects::apply(hub, &service("elastic").replace("\"replicas\":1,", "")).await?;
    objects::apply(hub, &placement("elastic", &only("east"))).await?;
    until(fleet, ("NIMPlacement", "elastic"), ("Ready", "True", "Ready")).await?;
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}});
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-elastic", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "elastic"},
            "minReplicas": 3, "maxReplicas": 5, "metrics": [{"type": "Resource", "resource": cpu}],
        },
    });
    let delivered = objects::get(east, "NIMService", NAMESPACE, "elastic").await?;
    objects::apply(east, &hpa.to_string()).await?;
    let counted = || async {
        let found = objects::get(hub, "NIMService", NAMESPACE, "elastic").await?;
        let placed = objects::get(hub, "NIMPlacement", NAMESPACE, "elastic").await?;
        let (serve, row) = (&found["status"]["availableReplicas"], &placed["status"]["decisions"][0]);
        let summary = &placed["status"]["replicasSummary"];
        if *serve == 3 && *summary == "3/3" && row["replicas"] == 3 && row["readyReplicas"] == 3 {
            return objects::expect(&placed, "Ready", "True");
        }
        Err(Failure::new(format!("{serve} serve, {summary}, {row}")))
    };
    fleet.eventually("the real number is counted", SOON, counted).await?;
    // Once from one to three, and never back.
    let scaled = objects::get(east, "Deployment", NAMESPACE, "elastic").await?;
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(3), &json!(2)));
    let now = objects::get(east, "NIMService", NAMESPACE, "elastic").await?;
    assert_eq!(now["metadata"]["generation"], delivered["metadata"]["generation"]);
    assert!(now["spec"]["replicas"].is_null(), "{}", now["spec"]);
    Ok(())
}

#[tokio::test]
async fn the_hub_tells_where_it_runs_what_runs_nowhere_and_asks_again_what_was_refused() -> Result<(), Failure>
{
    let fleet =
        Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("west").gpus(H100, 8, 1).start().await?;
    has_namespace(fleet.hub().cluster()).await?;
    is_seen_with_kubectl(&fleet).await?;
    has_slices_that_only_the_hub_changes(&fleet).await?;
    is_not_ready_when_it_runs_nowhere(&fleet).await?;
    is_asked_again_and_moves(&fleet).await?;
    is_counted_as_it_is_scaled(&fleet).await
}

/// No Deployment is in the hub's cluster, and none of its services has an operator's finalizer.
async fn is_untouched(hub: &Cluster) -> Result<(), Failure> {
    let made = objects::list(hub, "Deployment", NAMESPACE).await?;
    let services = objects::list(hub, "NIMService", NAMESPACE).await?;
    let finalizers: Vec<_> = services.iter().map(|one| one["metadata"]["finalizers"].to_string()).collect();
    let is_clean = finalizers.iter().all(|all| !all.contains("nvidia.com"));
    if made.is_empty() && is_clean { Ok(()) } else { Err(Failure::new(format!("{made:?} {finalizers:?}"))) }
}

#[tokio::test]
async fn the_hubs_own_cluster_is_no_member_and_its_objects_stay_what_they_are() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let hub = fleet.hub().cluster();
    has_namespace(hub).await?;
    for name in ["chat", "idle"] {
        objects::apply(hub, &service(name)).await?;
    }
    let _local = fleet.join_hub("local").await?;
    let message = until(&fleet, ("GPUCluster", "local"), ("IsHub", "True", "IsHub")).await?;
    assert!(message.starts_with("this is the hub's own cluster") && !message.contains("delete"), "{message}");
    until(&fleet, ("GPUCluster", "local"), ("Ready", "False", "IsHub")).await?;

    objects::apply(hub, &placement("chat", &only("local"))).await?;
    let message = until(&fleet, ("NIMPlacement", "chat"), ("Ready", "False", "NoClusterFits")).await?;
    assert!(message.contains("HubItself (local: it is the hub's own cluster"), "{message}");
    assert!(!message.contains("delete"), "{message}");
    let both = json!({"spec": {"clusterAffinity": {"clusterNames": ["local", "east"]}}});
    objects::patch(hub, "NIMPlacement", NAMESPACE, "chat", both).await?;
    assert_eq!(until(&fleet, ("NIMPlacement", "chat"), ("Ready", "True", "Ready")).await?, "ready in east");
    until(&fleet, ("NIMService", "idle"), ("Ready", "False", "NotPlaced")).await?;
    is_untouched(hub).await?;

    // What an agent made of it before the placement took it goes, and so does its finalizer.
    let chat = objects::get(hub, "NIMService", NAMESPACE, "chat").await?;
    let finalizer = "finalizer.nimservice.apps.nvidia.com";
    let held = json!({"metadata": {"finalizers": ["nimfleet.io/fleet", finalizer]}});
    objects::patch(hub, "NIMService", NAMESPACE, "chat", held).await?;
    let labels = json!({"app": "chat", "app.kubernetes.io/managed-by": "k8s-nim-operator"});
    let early = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": NAMESPACE, "labels": labels, "ownerReferences": [{
            "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": "chat",
            "uid": chat["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}, "replicas": 1, "template": {
            "metadata": {"labels": {"app": "chat"}},
            "spec": {"containers": [{"name": "c", "image": "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8"}]}}},
    });
    objects::apply(hub, &early.to_string()).await?;
    fleet.eventually("what was made too early is gone", SOON, || is_untouched(hub)).await?;
    let chat = objects::get(hub, "NIMService", NAMESPACE, "chat").await?;
    assert_eq!(chat["metadata"]["finalizers"], json!(["nimfleet.io/fleet"]), "the hub's own stays");
    until(&fleet, ("NIMService", "chat"), ("Ready", "True", "Ready")).await.map(drop)
}
