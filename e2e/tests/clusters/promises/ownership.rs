//! What the operator makes costs few requests, stays its own to the last field, and waits for kinds that come late.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::objects;
use jiff::Timestamp;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "owned";
/// Requests that one new NIMService may cost the API server, besides watches: its finalizer, five children, a status
/// when it has begun, a status and an event when it is ready, and a status when its model answered or did not.
const MOST: usize = 10;
/// The spoke's identity: system:serviceaccount:nimfleet:…
const OURS: &str = "system:serviceaccount:nimfleet:";

fn service(name: &str, more: &Value) -> Value {
    let mut service = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "tag": "1.8", "pullSecrets": ["ngc-secret"]},
            "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {"sizeLimit": "10Gi"}},
            "replicas": 1,
            "resources": {"limits": {"nvidia.com/gpu": 1}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    });
    if let (Some(spec), Some(more)) = (service["spec"].as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    service
}

async fn operator() -> Result<Fleet, Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).audited().not_joined().start().await?;
    let member = fleet.cluster("east")?;
    member.start_operator()?;
    fleet.eventually("the operator is ready", SOON, || async { Ok(member.spoke().ready().await?) }).await?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    objects::apply(member.cluster(), &namespace.to_string()).await?;
    Ok(fleet)
}

async fn ready(fleet: &Fleet, east: &Cluster, name: &str) -> Result<(), Failure> {
    fleet
        .eventually("the service is ready", SOON, || async {
            let found = objects::get(east, "NIMService", NAMESPACE, name).await?;
            if found["status"]["state"] == "Ready" {
                Ok(())
            } else {
                Err(Failure::new(found["status"].to_string()))
            }
        })
        .await
}

#[tokio::test]
async fn a_new_service_costs_few_requests_and_its_fields_go_when_they_are_no_longer_wanted()
-> Result<(), Failure> {
    let fleet = operator().await?;
    let east = fleet.cluster("east")?.cluster();
    // The first of its kind is not counted: it finds the namespace new.
    objects::apply(east, &service("first", &json!({})).to_string()).await?;
    ready(&fleet, east, "first").await?;
    let since = fleet
        .eventually("the operator is done with it", SOON, || async {
            let since = Timestamp::now();
            tokio::time::sleep(Duration::from_secs(2)).await;
            let writes = east.audit().writes_by(OURS, since);
            if writes.is_empty() { Ok(Timestamp::now()) } else { Err(Failure::new(format!("{writes:?}"))) }
        })
        .await?;
    let labelled = json!({"nodeSelector": {"kubernetes.io/os": "linux"}, "labels": {"team": "a"}});
    objects::apply(east, &service("second", &labelled).to_string()).await?;
    ready(&fleet, east, "second").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests: Vec<_> = east
        .audit()
        .requests()
        .into_iter()
        .filter(|r| r.user.contains(OURS) && r.time >= since && r.verb != "watch" && r.resource != "leases")
        .map(|r| format!("{} {} {} {}", r.verb, r.resource, r.name, r.code))
        .collect();
    assert!(requests.len() <= MOST, "{} requests: {requests:#?}", requests.len());

    let deployment = || objects::get(east, "Deployment", NAMESPACE, "second");
    assert_eq!(deployment().await?["spec"]["template"]["spec"]["nodeSelector"]["kubernetes.io/os"], "linux");
    let nothing =
        json!([{"op": "remove", "path": "/spec/nodeSelector"}, {"op": "remove", "path": "/spec/labels"}]);
    east.kubectl(
        &["patch", "nimservice", "second", "-n", NAMESPACE, "--type=json", "-p", &nothing.to_string()],
        None,
    )
    .await?;
    fleet
        .eventually("the fields are gone", SOON, || async {
            let found = deployment().await?;
            let gone = found["spec"]["template"]["spec"]["nodeSelector"].is_null()
                && found["metadata"]["labels"]["team"].is_null();
            if gone { Ok(()) } else { Err(Failure::new(found.to_string())) }
        })
        .await?;
    ready(&fleet, east, "second").await?;
    let found = deployment().await?;
    assert_eq!(
        found["metadata"]["generation"], 2,
        "one change of its fields is one change of the Deployment"
    );
    let owners: Vec<_> = found["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["manager"] == "nimfleet-spoke")
        .map(|entry| entry["operation"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(owners, ["Apply"]);
    Ok(())
}

/// A definition that lets everything through, as good as the real one for what is tried here.
fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

#[tokio::test]
async fn b15_a_kind_that_comes_late_is_waited_for_and_its_going_holds_nothing_up() -> Result<(), Failure> {
    let fleet = operator().await?;
    let east = fleet.cluster("east")?.cluster();
    let monitored = json!({"metrics": {"enabled": true, "serviceMonitor": {"interval": "30s"}}});
    objects::apply(east, &service("watched", &monitored).to_string()).await?;
    fleet
        .eventually("the service says what is missing", SOON, || async {
            let found = objects::get(east, "NIMService", NAMESPACE, "watched").await?;
            match objects::condition(&found, "Failed") {
                Some((_, reason, message))
                    if reason == "ServiceMonitorUnavailable"
                        && message.contains("servicemonitors.monitoring.coreos.com is not installed") =>
                {
                    Ok(())
                }
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await?;
    objects::get(east, "Deployment", NAMESPACE, "watched").await?;

    objects::apply(east, &definition().to_string()).await?;
    ready(&fleet, east, "watched").await?;
    let monitors = ["get", "servicemonitors.monitoring.coreos.com", "-n", NAMESPACE, "-o", "name"];
    fleet
        .eventually("the monitor is there", SOON, || async {
            let found = east.kubectl(&monitors, None).await?;
            if found.contains("watched") { Ok(()) } else { Err(Failure::new(found)) }
        })
        .await?;

    let name = "servicemonitors.monitoring.coreos.com";
    east.kubectl(&["delete", "customresourcedefinition", name, "--timeout=180s"], None).await?;
    objects::delete(east, "NIMService", NAMESPACE, "watched").await?;
    let gone = || objects::absent(east, "NIMService", NAMESPACE, "watched");
    fleet.eventually("the service goes without the kind", SOON, gone).await
}

#[tokio::test]
async fn nothing_is_written_beside_another_operator() -> Result<(), Failure> {
    let fleet = operator().await?;
    let member = fleet.cluster("east")?;
    let east = member.cluster();
    let lease = |seconds: i64| {
        let renewed = format!("{:.6}", Timestamp::now());
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "a0715c6e.nvidia.com", "namespace": "default"},
            "spec": {"holderIdentity": "other_1", "leaseDurationSeconds": seconds, "renewTime": renewed}})
        .to_string()
    };
    objects::apply(east, &lease(600)).await?;
    let refused = r#"nimfleet_operator_refused{reason="AnotherOperator"} "#;
    let tells = |number: &'static str| async move {
        let metrics = member.spoke().metrics().await?;
        let wanted = format!("{refused}{number}");
        if metrics.contains(&wanted) { Ok(()) } else { Err(Failure::new(metrics)) }
    };
    fleet.eventually("the other operator is seen", SOON, || tells("1")).await?;
    fleet
        .eventually("the operator is not ready", SOON, || async {
            match member.spoke().ready().await {
                Err(_) => Ok(()),
                Ok(()) => Err(Failure::new("it is ready")),
            }
        })
        .await?;
    let since = Timestamp::now();
    objects::apply(east, &service("waits", &json!({})).to_string()).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes = east.audit().writes_by(OURS, since);
    assert!(writes.is_empty(), "{writes:?}");

    objects::apply(east, &lease(1)).await?;
    fleet.eventually("the other operator is gone", SOON, || tells("0")).await?;
    ready(&fleet, east, "waits").await?;
    fleet
        .eventually("the operator is ready again", SOON, || async { Ok(member.spoke().ready().await?) })
        .await
}
