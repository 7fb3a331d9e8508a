//! What a cluster's own admission does to what a hub sends and to what is made of it: it is told, not fought; and while it is
//! away, what serves goes on.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, Member};
use e2e::site::IDENTITY;
use e2e::{mirror, objects};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
/// How long the spoke has for a write that it must not make.
const QUIET: Duration = Duration::from_secs(2);
/// How often the status of what is changed changes.
const STATUS_CHANGES: u32 = 5;
/// What the hub sends.
const REPOSITORY: &str = "nvcr.io/nim/meta/llama";
/// What the cluster makes of it.
const MIRRORED: &str = "mirror.example.com/nim/meta/llama";
/// Where NIMServices are changed.
const DELIVERED: &str = "delivered";
/// Where Deployments are changed.
const RENDERED: &str = "rendered";

#[tokio::test]
async fn what_a_clusters_admission_changes_is_told_and_not_fought_and_its_absence_is_no_failure()
-> Result<(), Failure> {
    let images = json!({"images": ["nvcr.io", "mirror.example.com"]});
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 2).limits(images).audited().start().await?;
    let east = fleet.cluster("east")?;
    mirror::of_services(east.cluster(), DELIVERED).await?;
    mirror::of_deployments(east.cluster(), RENDERED).await?;
    replaced(&fleet, &probe_service(DELIVERED)).await?;
    replaced(&fleet, &mirror::probe(RENDERED)).await?;
    for namespace in [DELIVERED, RENDERED] {
        place(&fleet, namespace, "1.12.0").await?;
    }
    changed_objects_are_left_alone(&fleet, east).await?;
    changed_children_are_left_alone(&fleet, east).await?;
    a_spoke_that_starts_again_asks_for_none_of_it(&fleet, east).await?;
    a_webhook_that_is_away_hides_nothing(&fleet, east).await?;
    a_refusal_hides_nothing(&fleet, east).await
}

/// A NIMService `chat` and its placement on the hub.
async fn place(fleet: &Fleet, namespace: &str, tag: &str) -> Result<(), Failure> {
    let service = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "image": {"repository": REPOSITORY, "tag": tag, "pullSecrets": ["ngc-secret"]},
            "authSecret": "ngc-api-secret", "storage": {"emptyDir": {}},
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "expose": {"service": {"port": 8000}},
        },
    });
    let placement = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"resourceSelectors": [{"kind": "NIMService", "name": "chat"}]},
    });
    objects::apply(fleet.hub().cluster(), &service.to_string()).await?;
    objects::apply(fleet.hub().cluster(), &placement.to_string()).await
}

/// Waits until the policy replaces the registry of this object in east.
async fn replaced(fleet: &Fleet, probe: &Value) -> Result<(), Failure> {
    let east = fleet.cluster("east")?.cluster();
    fleet.eventually("the policy has effect", SOON, || mirror::has_effect(east, probe)).await
}

fn probe_service(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {
            "image": {"repository": REPOSITORY, "tag": "1"}, "authSecret": "a", "storage": {"emptyDir": {}},
            "expose": {"service": {"port": 8000}},
        },
    })
}

/// The message of a condition of the service in east that is True.
async fn told(east: &Cluster, namespace: &str, condition: &str) -> Result<String, Failure> {
    let found = objects::get(east, "NIMService", namespace, "chat").await?;
    match objects::condition(&found, condition) {
        Some((status, _, message)) if status == "True" => Ok(message),
        other => Err(Failure::new(format!("{condition} is {other:?}"))),
    }
}

/// Waits until the service is ready in east, `field` is told there as changed, and the hub's row says it too.
async fn told_on_both(fleet: &Fleet, namespace: &str, field: &str) -> Result<(), Failure> {
    let east = fleet.cluster("east")?.cluster();
    let line = format!("{field} is changed by this cluster's admission to {MIRRORED}");
    fleet
        .eventually(&format!("{namespace} says what was changed"), SOON, || async {
            told(east, namespace, "Ready").await?;
            let said = told(east, namespace, "MutatedHere").await?;
            if !said.contains(&line) {
                return Err(Failure::new(said));
            }
            let placement = objects::get(fleet.hub().cluster(), "NIMPlacement", namespace, "chat").await?;
            let row = &placement["status"]["decisions"][0];
            let message = row["message"].as_str().unwrap_or_default();
            if row["reason"] == "MutatedHere" && row["state"] == "Available" && message.contains(&line) {
                return Ok(());
            }
            Err(Failure::new(row.to_string()))
        })
        .await
}

/// Has the status of the service change again and again, and counts what the spoke writes of what is changed.
async fn status_changes(fleet: &Fleet, namespace: &str) -> Result<Vec<String>, Failure> {
    let east = fleet.cluster("east")?.cluster();
    tokio::time::sleep(QUIET).await;
    let since = Timestamp::now();
    for _ in 0..STATUS_CHANGES {
        let pods = objects::list(east, "Pod", namespace).await?;
        let pod = pods.first().ok_or_else(|| Failure::new("no pod"))?;
        let (name, uid) = (pod["metadata"]["name"].as_str().unwrap_or_default(), &pod["metadata"]["uid"]);
        let forced = ["delete", "pod", name, "-n", namespace, "--force", "--grace-period=0"];
        east.kubectl(&forced, None).await?;
        fleet
            .eventually("another pod is ready", SOON, || async {
                let pods = objects::list(east, "Pod", namespace).await?;
                let is_new = |pod: &&Value| pod["metadata"]["uid"] != *uid;
                let new = pods.iter().find(is_new).ok_or_else(|| Failure::new("no other pod"))?;
                objects::expect(new, "Ready", "True")
            })
            .await?;
    }
    tokio::time::sleep(QUIET).await;
    let writes = east.audit().writes_by(IDENTITY, since);
    let written = writes.iter().filter(|one| ["nimservices", "deployments"].contains(&one.resource.as_str()));
    Ok(written.map(|one| format!("{} {} {} {}", one.verb, one.resource, one.name, one.code)).collect())
}

/// Lines of the spoke's log that contain all of these words.
fn lines(member: &Member, words: &[&str]) -> Vec<String> {
    let log = std::fs::read_to_string(member.spoke().log()).unwrap_or_default();
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(has_all).map(str::to_owned).collect()
}

async fn changed_objects_are_left_alone(fleet: &Fleet, member: &Member) -> Result<(), Failure> {
    let east = member.cluster();
    told_on_both(fleet, DELIVERED, "spec.image.repository").await?;
    let writes = east.audit().writes_by(IDENTITY, Timestamp::UNIX_EPOCH);
    let applied = writes.iter().filter(|one| one.resource == "nimservices" && one.namespace == DELIVERED);
    let applied = applied.count();
    assert!(applied <= 4, "{applied} writes of one NIMService, its finalizer included");
    assert_eq!(status_changes(fleet, DELIVERED).await?, Vec::<String>::new());

    let edit = json!({"spec": {"image": {"tag": "6.6.6"}}});
    objects::patch(east, "NIMService", DELIVERED, "chat", edit).await?;
    fleet
        .eventually("an edit of another field is undone", SOON, || async {
            let found = objects::get(east, "NIMService", DELIVERED, "chat").await?;
            let image = &found["spec"]["image"];
            let is_back = image["tag"] == "1.12.0" && image["repository"] == MIRRORED;
            if is_back { Ok(()) } else { Err(Failure::new(image.to_string())) }
        })
        .await?;
    let undone = fleet
        .eventually("the log names the edit", SOON, || async {
            let undone = lines(member, &["a local edit was undone"]);
            if undone.is_empty() { Err(Failure::new("no such line")) } else { Ok(undone) }
        })
        .await?;
    assert!(undone.iter().all(|line| line.contains("spec.image.tag")), "{undone:?}");
    assert!(!undone.iter().any(|line| line.contains("repository")), "admission is no local edit: {undone:?}");
    told_on_both(fleet, DELIVERED, "spec.image.repository").await
}

async fn changed_children_are_left_alone(fleet: &Fleet, member: &Member) -> Result<(), Failure> {
    let east = member.cluster();
    let field = "Deployment chat: spec.template.spec.containers[chat-ctr].image";
    let line = format!("{field} is changed by this cluster's admission to {MIRRORED}");
    fleet
        .eventually("the changed Deployment is told", SOON, || async {
            let said = told(east, RENDERED, "MutatedHere").await?;
            if said.contains(&line) { Ok(()) } else { Err(Failure::new(said)) }
        })
        .await?;
    fleet.eventually("it is ready", SOON, || told(east, RENDERED, "Ready")).await?;
    assert_eq!(status_changes(fleet, RENDERED).await?, Vec::<String>::new());
    let edit = json!({"metadata": {"labels": {"app.kubernetes.io/part-of": "edited"}}});
    objects::patch(east, "Deployment", RENDERED, "chat", edit).await?;
    fleet
        .eventually("an edit of another field of a child is undone", SOON, || async {
            let found = objects::get(east, "Deployment", RENDERED, "chat").await?;
            let label = &found["metadata"]["labels"]["app.kubernetes.io/part-of"];
            if label == "nim-service" { Ok(()) } else { Err(Failure::new(label.to_string())) }
        })
        .await
}

async fn a_spoke_that_starts_again_asks_for_none_of_it(
    fleet: &Fleet,
    member: &Member,
) -> Result<(), Failure> {
    tokio::time::sleep(QUIET).await;
    member.kill_spoke();
    let since = Timestamp::now();
    member.restart_spoke()?;
    fleet.eventually("east is back", SOON, || async { Ok(member.spoke().ready().await?) }).await?;
    fleet.eventually("east is connected", SOON, || fleet.hub().connected("east")).await?;
    tokio::time::sleep(QUIET).await;
    let writes = member.cluster().audit().writes_by(IDENTITY, since);
    let written: Vec<_> =
        writes.iter().filter(|one| ["nimservices", "deployments"].contains(&one.resource.as_str())).collect();
    assert!(written.is_empty(), "{written:?}");
    told_on_both(fleet, DELIVERED, "spec.image.repository").await
}

async fn a_webhook_that_is_away_hides_nothing(fleet: &Fleet, member: &Member) -> Result<(), Failure> {
    let east = member.cluster();
    let hook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "away"},
        "webhooks": [{
            "name": "away.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail", "timeoutSeconds": 2,
            // Port 1 of this machine: nobody listens.
            "clientConfig": {"url": "https://127.0.0.1:1/validate"},
            "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
                "resources": ["deployments"]}],
        }],
    });
    objects::apply(east, &hook.to_string()).await?;
    fleet
        .eventually("the webhook is asked", SOON, || async {
            let arguments =
                ["annotate", "deployment", "chat", "-n", RENDERED, "a=b", "--overwrite", "--dry-run=server"];
            match east.kubectl(&arguments, None).await {
                Ok(_) => Err(Failure::new("it is not asked yet")),
                Err(_) => Ok(()),
            }
        })
        .await?;
    place(fleet, RENDERED, "1.13.0").await?;
    fleet
        .eventually("what serves is told beside what waits", SOON, || async {
            let found = objects::get(east, "NIMService", RENDERED, "chat").await?;
            objects::expect(&found, "Failed", "False")?;
            let (status, _, message) = objects::condition(&found, "Ready").unwrap_or_default();
            let status_of = &found["status"];
            let is_told = status == "False"
                && message.starts_with("not applied yet: ")
                && message.contains("failed calling webhook")
                && status_of["state"] == "NotReady"
                && status_of["availableReplicas"] == 1
                && status_of["model"]["clusterEndpoint"].is_string();
            if !is_told {
                return Err(Failure::new(status_of.to_string()));
            }
            let placement = objects::get(fleet.hub().cluster(), "NIMPlacement", RENDERED, "chat").await?;
            let status = &placement["status"];
            let row = &status["decisions"][0];
            let is_told = status["phase"] == "Progressing"
                && status["replicasSummary"] == "1/1"
                && row["message"].as_str().is_some_and(|message| message.contains("not applied yet"));
            if is_told { Ok(()) } else { Err(Failure::new(status.to_string())) }
        })
        .await?;
    objects::delete(east, "ValidatingWebhookConfiguration", "", "away").await?;
    fleet
        .eventually("it is applied by itself", SOON, || async {
            let found = objects::get(east, "Deployment", RENDERED, "chat").await?;
            let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
            if *image == format!("{MIRRORED}:1.13.0") { Ok(()) } else { Err(Failure::new(image.to_string())) }
        })
        .await
}

async fn a_refusal_hides_nothing(fleet: &Fleet, member: &Member) -> Result<(), Failure> {
    let east = member.cluster();
    let version = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "old-only"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"],
                "operations": ["UPDATE"], "resources": ["deployments"]}]},
            "validations": [{
                "expression": "!object.spec.template.spec.containers[0].image.endsWith(':6.6.6')",
                "message": "6.6.6 is not let in",
            }],
        },
    });
    let binding = json!({
        "apiVersion": version, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "old-only"},
        "spec": {"policyName": "old-only", "validationActions": ["Deny"]},
    });
    for object in [&policy, &binding] {
        objects::apply(east, &object.to_string()).await?;
    }
    fleet
        .eventually("the policy has effect", SOON, || async {
            let image = "chat-ctr=nvcr.io/x:6.6.6";
            let arguments = ["set", "image", "deployment/chat", image, "-n", RENDERED, "--dry-run=server"];
            match east.kubectl(&arguments, None).await {
                Ok(_) => Err(Failure::new("it has none yet")),
                Err(_) => Ok(()),
            }
        })
        .await?;
    place(fleet, RENDERED, "6.6.6").await?;
    fleet
        .eventually("the refusal is told beside what serves", SOON, || async {
            let found = objects::get(east, "NIMService", RENDERED, "chat").await?;
            let (status, _, message) = objects::condition(&found, "Failed").unwrap_or_default();
            let is_told = status == "True" && message.contains("6.6.6 is not let in");
            if !is_told || found["status"]["availableReplicas"] != 1 {
                return Err(Failure::new(found["status"].to_string()));
            }
            let placement = objects::get(fleet.hub().cluster(), "NIMPlacement", RENDERED, "chat").await?;
            let status = &placement["status"];
            let is_told = status["phase"] == "Degraded" && status["replicasSummary"] == "1/1";
            if is_told { Ok(()) } else { Err(Failure::new(status.to_string())) }
        })
        .await
}
