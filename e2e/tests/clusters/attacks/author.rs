//! What an author of placements can ask of the hub: Secrets of others, priority, the pace of moves, names.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::{Fleet, NAMESPACE as HUB};
use e2e::{objects, sample};
use serde_json::{Value, json};

/// How long an API server may take to put a policy in force, and the hub to say what came of it.
const SOON: Duration = Duration::from_mins(1);
/// A user who may write placements and read one Secret.
const ALICE: &str = "alice";
/// The user that the hub is for its API server.
const HUB_USER: &str = "system:serviceaccount:nimfleet:nimfleet-hub";
/// The Secret that [`ALICE`] may read, and one that she may not.
const HERS: &str = "hers";
const THEIRS: &str = "theirs";

/// The rights of [`ALICE`], with the Secrets and the NIMService that placements speak of.
fn rights() -> String {
    let at = |name: &str| json!({"name": name, "namespace": sample::NAMESPACE});
    let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": at(name), "stringData": {"key": "value"}});
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": at(ALICE),
        "rules": [
            {"apiGroups": ["nimfleet.io"], "resources": ["nimplacements"], "verbs": ["get", "create", "update", "patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [HERS], "verbs": ["get"]},
        ],
    });
    [role, binding(ALICE, "Role", ALICE), secret(HERS), secret(THEIRS)]
        .map(|one| one.to_string())
        .join("\n---\n")
}

/// Gives [`ALICE`] a role in the namespace of the placements.
fn binding(name: &str, kind: &str, role: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": sample::NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ALICE}],
    })
}

/// Creates an object as a user, or as the admin who may everything; what the API server says if it refuses.
async fn create(cluster: &Cluster, user: Option<&str>, manifest: &str) -> Result<(), String> {
    let user: Vec<&str> = user.into_iter().flat_map(|user| ["--as", user]).collect();
    let arguments = [&user[..], &["create", "-f", "-"]].concat();
    cluster.kubectl(&arguments, Some(manifest)).await.map(|_| ()).map_err(|error| error.said)
}

/// Merges a change into a placement as [`ALICE`].
async fn change(cluster: &Cluster, name: &str, change: &Value) -> Result<(), String> {
    let patch = change.to_string();
    let arguments =
        ["--as", ALICE, "patch", "nimplacement", name, "-n", sample::NAMESPACE, "--type=merge", "-p", &patch];
    cluster.kubectl(&arguments, None).await.map(|_| ()).map_err(|error| error.said)
}

/// Waits until the API server refuses the object with these words, which it does once roles and policies are in force.
async fn refused(fleet: &Fleet, user: Option<&str>, manifest: &str, words: &[&str]) -> Result<(), Failure> {
    let cluster = fleet.hub().cluster();
    let user: Vec<&str> = user.into_iter().flat_map(|user| ["--as", user]).collect();
    let arguments = [&user[..], &["create", "--dry-run=server", "-f", "-"]].concat();
    let check = || async {
        match cluster.kubectl(&arguments, Some(manifest)).await {
            Ok(_) => Err(Failure::new(format!("taken: {manifest}"))),
            Err(error) if words.iter().all(|word| error.said.contains(word)) => Ok(()),
            Err(error) => Err(Failure::new(error.said)),
        }
    };
    fleet.eventually(&format!("refused with {words:?}"), SOON, check).await
}

fn names(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// The condition as the object has it once its reason is this one; its message.
async fn says(
    fleet: &Fleet,
    (kind, namespace, name): (&str, &str, &str),
    condition: (&str, &str, &str),
) -> Result<String, Failure> {
    let (of_type, status, reason) = condition;
    let check = || async {
        let object = objects::get(fleet.hub().cluster(), kind, namespace, name).await?;
        match objects::condition(&object, of_type) {
            Some((is, why, message)) if is == status && why == reason => Ok(message),
            other => Err(Failure::new(format!("{of_type} of {kind} {name} is {other:?}"))),
        }
    };
    fleet.eventually(&format!("{kind} {name}: {of_type} is {status}, {reason}"), SOON, check).await
}

#[tokio::test]
async fn an_author_lists_only_secrets_that_he_may_read_and_raises_no_priority() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let hub = fleet.hub().cluster();
    objects::apply(hub, &rights()).await?;

    // At creation: each name that is listed is asked for.
    let chat = |more: &Value| sample::placement("chat", more);
    let words = ["spec.secrets[1]", THEIRS, "get", sample::NAMESPACE];
    refused(&fleet, Some(ALICE), &chat(&json!({"secrets": [HERS, THEIRS]})), &words).await?;
    let words = ["spec.priority", "5", "nimplacements/priority", "use"];
    refused(&fleet, Some(ALICE), &chat(&json!({"priority": 5})), &words).await?;
    let taken = json!({"secrets": [HERS], "priority": -5});
    assert_eq!(create(hub, Some(ALICE), &chat(&taken)).await, Ok(()));

    // At a change: only what is new.
    let said = change(hub, "chat", &json!({"spec": {"secrets": [HERS, THEIRS]}})).await.expect_err("refused");
    names(&said, &["spec.secrets[1]", THEIRS]);
    let by_admin = json!({"spec": {"secrets": [HERS, THEIRS], "priority": 7}});
    objects::patch(hub, "NIMPlacement", sample::NAMESPACE, "chat", by_admin).await?;
    assert_eq!(change(hub, "chat", &json!({"spec": {"evictionBudget": 3}})).await, Ok(()));
    assert_eq!(
        change(hub, "chat", &json!({"spec": {"secrets": [THEIRS, HERS]}})).await,
        Ok(()),
        "another order"
    );
    assert_eq!(change(hub, "chat", &json!({"spec": {"priority": 6}})).await, Ok(()), "less than it was");
    let said = change(hub, "chat", &json!({"spec": {"priority": 8}})).await.expect_err("refused");
    names(&said, &["spec.priority", "8"]);
    assert_eq!(change(hub, "chat", &json!({"spec": {"secrets": [HERS]}})).await, Ok(()));
    let said = change(hub, "chat", &json!({"spec": {"secrets": [THEIRS]}})).await.expect_err("refused");
    names(&said, &["spec.secrets[0]", THEIRS]);

    // All sixteen that a placement can list are asked for, not only as many as one expression may.
    let mut many: Vec<String> = (0..15).map(|index| format!("{HERS}-{index}")).collect();
    let rules = json!([
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": many, "verbs": ["get"]},
        {"apiGroups": ["nimfleet.io"], "resources": ["nimplacements"], "verbs": ["create"]},
    ]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "many", "namespace": sample::NAMESPACE}, "rules": rules,
    });
    objects::apply(hub, &[role, binding("many", "Role", "many")].map(|one| one.to_string()).join("\n---\n"))
        .await?;
    let placement = |names: &[String]| sample::placement("many", &json!({"secrets": names}));
    let taken = || async { create(hub, Some(ALICE), &placement(&many)).await.map_err(Failure::new) };
    fleet.eventually("fifteen that she may read are taken", SOON, taken).await?;
    many.push(THEIRS.to_owned());
    let other = placement(&many).replace("\"many\"", "\"more\"");
    refused(&fleet, Some(ALICE), &other, &["spec.secrets[15]", THEIRS]).await?;

    // The right that the chart's role gives.
    objects::apply(hub, &binding("priority", "ClusterRole", "nimfleet-hub-priority").to_string()).await?;
    let raised =
        || async { change(hub, "chat", &json!({"spec": {"priority": 8}})).await.map_err(Failure::new) };
    fleet.eventually("who may use priority raises it", SOON, raised).await?;
    Ok(())
}

#[tokio::test]
async fn no_secret_of_the_hubs_own_namespace_is_listed_by_anybody() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let hub = fleet.hub().cluster();
    let placement = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement", "metadata": {"name": "ca", "namespace": HUB},
        "spec": {"resourceSelectors": [{"kind": "NIMService", "name": "ca"}], "secrets": ["nimfleet-hub-ca"]},
    })
    .to_string();
    refused(&fleet, None, &placement, &["spec.secrets", HUB, "another namespace"]).await?;

    // Without policies the hub refuses by itself.
    hub.kubectl(&["delete", "validatingadmissionpolicybinding", "--all"], None).await?;
    let stored = || async { create(hub, None, &placement).await.map_err(Failure::new) };
    fleet.eventually("without policies it is stored", SOON, stored).await?;
    let said = says(&fleet, ("NIMPlacement", HUB, "ca"), ("Scheduled", "False", "SecretNotAllowed")).await?;
    names(&said, &["spec.secrets", "nimfleet-hub-ca", HUB]);
    Ok(())
}

/// A NIMService of the sample under another name.
fn service(name: &str) -> String {
    let manifest = sample::named(name);
    let documents: Vec<&str> = manifest.split("---").filter(|one| one.contains("kind: NIMService")).collect();
    documents.join("---")
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_written() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let long = "p".repeat(70);
    let many = |prefix: &str| (0..1001).map(|index| format!("{prefix}{index}")).collect::<Vec<_>>();
    let labels: serde_json::Map<String, Value> =
        (0..65).map(|index| (format!("k{index}"), json!("v"))).collect();
    let quota = |product: &str| {
        json!({
            "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota",
            "metadata": {"name": "q", "namespace": sample::NAMESPACE}, "spec": {"limits": [{"product": product, "gpus": -1}]},
        })
        .to_string()
    };
    let cluster = |name: &str, spec: Value| {
        let metadata = json!({"name": name});
        json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "metadata": metadata, "spec": spec}).to_string()
    };
    objects::apply(fleet.hub().cluster(), &rights()).await?;
    for (manifest, words) in [
        (sample::placement(&long, &json!({})), &["metadata.name has 70 characters: at most 63"][..]),
        (
            sample::placement("x", &json!({"clusterAffinity": {"clusterNames": many("c")}})),
            &["clusterNames", "1000"],
        ),
        (sample::placement("x", &json!({"clusterAffinity": {"exclude": many("c")}})), &["exclude", "1000"]),
        (
            sample::placement("x", &json!({"clusterAffinity": {"required": [{"matchLabels": labels}]}})),
            &["matchLabels", "64"],
        ),
        (
            sample::placement(
                "x",
                &json!({"clusterAffinity": {"required": [
                {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}]}}),
            ),
            &["operator", "Gt", "NotIn"],
        ),
        (
            sample::placement("x", &json!({"tolerations": [{"key": "a", "operator": "Like"}]})),
            &["operator", "Like", "Exists"],
        ),
        (sample::placement("x", &json!({"gpu": {"minMemory": "-8Gi"}})), &["minMemory", "more than 0"]),
        (sample::placement("x", &json!({"gpu": {"products": many("g")}})), &["products", "64"]),
        (cluster("big.one", json!({})), &["metadata.name", "big.one", "no dots"]),
        (cluster(&long, json!({})), &["metadata.name has 70 characters: at most 63"]),
        (
            cluster(
                "x",
                json!({"taints": many("t").iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect::<Vec<_>>()}),
            ),
            &["taints", "64"],
        ),
        (quota("*"), &["gpus", "-1"]),
        (service("llama-3.1-8b"), &["metadata.name", "llama-3.1-8b", "no dots"]),
        (service(&"a".repeat(60)), &["metadata.name has 60 characters: at most 59"]),
    ] {
        refused(&fleet, None, &manifest, words).await?;
    }
    let fits = "a".repeat(59);
    assert_eq!(
        create(fleet.hub().cluster(), None, &service(&fits)).await,
        Ok(()),
        "the longest name that fits"
    );
    Ok(())
}

#[tokio::test]
async fn names_that_were_stored_before_there_was_a_rule_are_said_and_take_nothing() -> Result<(), Failure> {
    let fleet = Fleet::new().start().await?;
    let hub = fleet.hub().cluster();
    objects::apply(hub, &rights()).await?;
    hub.kubectl(&["delete", "validatingadmissionpolicybinding", "--all"], None).await?;
    let (long, dotted) = ("p".repeat(70), "llama-3.1-8b");
    for manifest in [
        sample::placement(&long, &json!({"resourceSelectors": [{"kind": "NIMService", "name": dotted}]})),
        service(dotted),
        sample::placement(dotted, &json!({})),
    ] {
        let stored = || async { create(hub, None, &manifest).await.map_err(Failure::new) };
        fleet.eventually("it is stored", SOON, stored).await?;
    }
    let invalid = ("Scheduled", "False", "InvalidName");
    let said = says(&fleet, ("NIMPlacement", sample::NAMESPACE, &long), invalid).await?;
    names(&said, &["metadata.name has 70 characters: at most 63, since it becomes a label of the objects"]);
    let said = says(&fleet, ("NIMPlacement", sample::NAMESPACE, dotted), invalid).await?;
    names(&said, &["NIMService", dotted, "no dots"]);

    // Where the policies are back in force they go all the same.
    let policies: Result<Vec<_>, _> =
        crds::policy::all().iter().map(crds::policy::Policy::document).collect();
    let policies = policies.map_err(|error| Failure::new(error.to_string()))?.join("---\n");
    hub.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&policies)).await?;
    let words = ["metadata.name has 69 characters"];
    refused(&fleet, None, &sample::placement(&"q".repeat(69), &json!({})), &words).await?;
    for name in [long.as_str(), dotted] {
        objects::delete(hub, "NIMPlacement", sample::NAMESPACE, name).await?;
        let gone = || objects::absent(hub, "NIMPlacement", sample::NAMESPACE, name);
        fleet.eventually(&format!("{name} is gone"), SOON, gone).await?;
    }
    Ok(())
}

/// A policy that refuses the write with words of its own.
fn obstacle(write: &Write) -> String {
    let Write { name, resource: (group, resource), takes, .. } = write;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": [resource],
            }]},
            "matchConditions": [{"name": "hub", "expression": format!("request.userInfo.username == '{HUB_USER}'")}],
            "validations": [{"expression": takes, "message": format!("{name} says no")}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    format!("{policy}\n---\n{binding}")
}

/// Something that the hub writes, and that the API server shall refuse.
struct Write {
    /// Names the policy, and what is written about.
    name: &'static str,
    /// Group and plural, with the subresource.
    resource: (&'static str, &'static str),
    /// CEL: what the API server takes all the same.
    takes: &'static str,
    /// The kind on which the hub says it.
    told_on: &'static str,
    /// The controller that fails.
    controller: &'static str,
    /// What shows that the policy is in force: kind, and a change of the object `probe` that it refuses.
    probe: (&'static str, Value),
}

fn writes() -> [Write; 7] {
    const NVIDIA: &str = "apps.nvidia.com";
    const FLEET: &str = "nimfleet.io";
    let label = || json!({"metadata": {"labels": {"probe": "yes"}}});
    let write = |name, resource, probe| Write {
        name,
        resource,
        takes: "false",
        told_on: "NIMPlacement",
        controller: "placement",
        probe,
    };
    [
        write("marks", (NVIDIA, "nimservices"), ("nimservice", label())),
        write("slices", (FLEET, "nimplacementdecisions"), ("nimplacementdecision", label())),
        write("holds", (FLEET, "nimplacements"), ("nimplacement", label())),
        Write {
            takes: "!has(object.status.phase)",
            controller: "report",
            ..write(
                "reports",
                (FLEET, "nimplacements/status"),
                ("nimplacement", json!({"status": {"phase": "x"}})),
            )
        },
        Write {
            controller: "report",
            ..write(
                "services",
                (NVIDIA, "nimservices/status"),
                ("nimservice", json!({"status": {"state": "x"}})),
            )
        },
        Write {
            takes: "!has(object.status.models)",
            told_on: "GPUCluster",
            controller: "cluster",
            ..write(
                "clusters",
                (FLEET, "gpuclusters/status"),
                ("gpucluster", json!({"status": {"models": 7}})),
            )
        },
        Write {
            takes: "!has(object.status.summary)",
            told_on: "GPUQuota",
            controller: "quota",
            ..write("quotas", (FLEET, "gpuquotas/status"), ("gpuquota", json!({"status": {"summary": "x"}})))
        },
    ]
}

/// A cluster, a quota or a placement with its objects, of that name.
fn subject(kind: &str, name: &str) -> String {
    let object = |metadata: Value, spec: Value| {
        json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
            .to_string()
    };
    let here = json!({"name": name, "namespace": sample::NAMESPACE});
    match kind {
        "GPUCluster" => object(json!({"name": name}), json!({})),
        "GPUQuota" => object(here, json!({"limits": [{"product": "*", "gpus": 800}]})),
        "NIMPlacementDecision" => object(here, json!({"placementRef": {"name": "nobody"}, "decisions": []})),
        _ => format!("{}\n---\n{}", sample::named(name), sample::placement(name, &json!({}))),
    }
}

/// The hub's user reads no statuses one by one, as kubectl does before it changes them.
fn right_to_probe() -> String {
    let name = json!({"name": "probe"});
    let rbac = "rbac.authorization.k8s.io";
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": name,
        "rules": [{"apiGroups": ["nimfleet.io", "apps.nvidia.com"], "resources": ["*"], "verbs": ["get"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": name,
        "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "probe"},
        "subjects": [{"apiGroup": rbac, "kind": "User", "name": HUB_USER}],
    });
    format!("{role}\n---\n{binding}")
}

/// Waits until the API server refuses what the hub's own user would write, or does so no longer.
async fn in_force(fleet: &Fleet, write: &Write, expected: bool) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let (kind, change) = &write.probe;
    let change = change.to_string();
    let mut arguments = vec!["--as", HUB_USER, "patch", kind, "probe", "--type=merge", "-p", &change];
    arguments.extend(["--dry-run=server", "-n", sample::NAMESPACE]);
    if write.resource.1.ends_with("/status") {
        arguments.push("--subresource=status");
    }
    let said = format!("{} says no", write.name);
    let check = || async {
        let answer = hub.kubectl(&arguments, None).await;
        let is_refused = answer.as_ref().is_err_and(|error| error.said.contains(&said));
        if is_refused == expected { Ok(()) } else { Err(Failure::new(format!("{answer:?}"))) }
    };
    fleet.eventually(&format!("policy {} is in force: {expected}", write.name), SOON, check).await
}

#[tokio::test]
async fn every_write_that_fails_is_a_condition_with_the_api_servers_words() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 8).start().await?;
    let hub = fleet.hub().cluster();
    objects::apply(hub, &rights()).await?;
    objects::apply(hub, &right_to_probe()).await?;
    for kind in ["NIMPlacement", "NIMPlacementDecision", "GPUCluster", "GPUQuota"] {
        objects::apply(hub, &subject(kind, "probe")).await?;
    }
    for write in writes() {
        let Write { name, told_on: kind, controller, .. } = write;
        objects::apply(hub, &obstacle(&write)).await?;
        in_force(&fleet, &write, true).await?;
        objects::apply(hub, &subject(kind, name)).await?;
        let namespace = if kind == "GPUCluster" { "" } else { sample::NAMESPACE };
        let place = (kind, namespace, name);
        let said = says(&fleet, place, ("Reconciled", "False", "Invalid")).await?;
        names(&said, &[&format!("{name} says no")]);
        let fault = format!("reconcile_faults_total{{controller=\"{controller}\",fault=\"Invalid\"}}");
        let is_counted = || async {
            let metrics = fleet.hub().daemon().metrics().await?;
            if metrics.contains(&fault) { Ok(()) } else { Err(Failure::new(metrics)) }
        };
        fleet.eventually(&format!("{fault} is counted"), SOON, is_counted).await?;
        let events = || async {
            let events = hub.kubectl(&["get", "events.events.k8s.io", "-A", "-o", "json"], None).await?;
            let events: Value = serde_json::from_str(&events)?;
            let about = |event: &&Value| event["regarding"]["name"] == name && event["reason"] == "Invalid";
            match events["items"].as_array().into_iter().flatten().filter(about).count() {
                1 => Ok(()),
                count => Err(Failure::new(format!("{count} events"))),
            }
        };
        fleet.eventually(&format!("{name}: one event"), SOON, events).await?;

        // What stood in the way is gone: the next try goes through, and that is said.
        hub.kubectl(&["delete", "validatingadmissionpolicybinding", name], None).await?;
        in_force(&fleet, &write, false).await?;
        objects::patch(hub, kind, namespace, name, json!({"metadata": {"labels": {"again": "yes"}}})).await?;
        says(&fleet, place, ("Reconciled", "True", "Reconciled")).await?;
    }
    Ok(())
}
