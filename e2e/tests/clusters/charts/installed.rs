//! The charts on a real API server: definitions that are taken over, upgraded and kept, and manifests that it takes.

use std::time::Duration;

use e2e::cluster::{Cluster, Ground, Shape};
use e2e::command::{self, CommandError};
use e2e::failure::Failure;
use e2e::fleet::NAMESPACE;
use e2e::{foreign, objects};
use serde_json::{Value, json};

use super::{EVERYTHING, folder, manifests};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// helm against a cluster, with every right.
async fn helm(ground: &Ground, cluster: &Cluster, arguments: &[&str]) -> Result<String, CommandError> {
    let kubeconfig = cluster.kubeconfig();
    let kubeconfig = kubeconfig.to_string_lossy();
    let arguments = [arguments, &["--kubeconfig", &*kubeconfig, "--timeout", "5m"]].concat();
    command::run(&ground.programs().path("helm"), &arguments, None).await
}

/// A definition of the chart, as something else would have installed it.
fn definition(file: &str, change: impl FnOnce(&mut Value)) -> Result<String, Failure> {
    let text = std::fs::read_to_string(format!("{}/crds-generated/{file}", folder("nimfleet-crds")))?;
    let mut definition: Value = serde_saphyr::from_str(&text)?;
    change(
        &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"],
    );
    Ok(definition.to_string())
}

/// Puts a definition there that no helm knows.
async fn installed(cluster: &Cluster, definition: &str) -> Result<(), Failure> {
    cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(definition)).await?;
    Ok(())
}

#[tokio::test]
async fn definitions_are_taken_over_when_asked_upgraded_and_kept() -> Result<(), Failure> {
    let ground = Ground::prepare().await?;
    let cluster = Cluster::start(&ground, "site", &Shape::new()).await?;
    let chart = folder("nimfleet-crds");
    let install = ["install", "nimfleet-crds", &chart, "--take-ownership"];
    let adopting = [&install[..], &["--set", "adopt=true"]].concat();
    let (services, caches) = ("apps.nvidia.com_nimservices.yaml", "apps.nvidia.com_nimcaches.yaml");
    let take = |fields: &mut Value, field: &str| {
        fields.as_object_mut().and_then(|fields| fields.remove(field)).expect("the field is there");
    };

    installed(&cluster, &definition(caches, |fields| take(fields, "certConfig"))?).await?;
    let wait = ["wait", "--for=condition=Established", "--timeout=180s", "crd", "nimcaches.apps.nvidia.com"];
    cluster.kubectl(&wait, None).await?;
    let cache = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
        "metadata": {"name": "llama", "namespace": "models"},
        "spec": {
            "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1", "pullSecret": "ngc-secret", "authSecret": "ngc-api-secret"}},
            "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
        },
    });
    objects::apply(&cluster, &cache.to_string()).await?;
    let uid = objects::get(&cluster, "NIMCache", "models", "llama").await?["metadata"]["uid"].clone();

    let said = helm(&ground, &cluster, &install).await.expect_err("it was not asked for").said;
    for words in ["nimcaches.apps.nvidia.com", "--take-ownership", "--set adopt=true"] {
        assert!(said.contains(words), "{words} is not in {said}");
    }
    // What an operator before 3.0.0 installed.
    installed(&cluster, &definition(services, |fields| take(fields, "inferencePlatform"))?).await?;
    let said = helm(&ground, &cluster, &adopting).await.expect_err("it is too old").said;
    assert!(said.contains("nimservices.apps.nvidia.com") && said.contains("3.0.0"), "{said}");
    // What a later one did.
    let newer = definition(services, |fields| {
        fields["storage"]["properties"]["future"] = json!({"type": "string"});
    })?;
    installed(&cluster, &newer).await?;
    let said = helm(&ground, &cluster, &adopting).await.expect_err("a field would be lost").said;
    assert!(said.contains("nimservices.apps.nvidia.com: spec.storage.future"), "{said}");

    installed(&cluster, &definition(services, |_| {})?).await?;
    helm(&ground, &cluster, &adopting).await?;
    let shown = ["get", "crd", "nimcaches.apps.nvidia.com", "-o", "json"];
    let crd = cluster.kubectl(&shown, None).await?;
    assert!(crd.contains("\"certConfig\""), "the definition is this chart's now");
    let kept = objects::get(&cluster, "NIMCache", "models", "llama").await?;
    assert_eq!(kept["metadata"]["uid"], uid);

    // An upgrade changes definitions, and an end leaves them with all objects.
    helm(&ground, &cluster, &["upgrade", "nimfleet-crds", &chart, "--set", "policies.enabled=false"]).await?;
    let policies = cluster.kubectl(&["get", "validatingadmissionpolicies", "-o", "name"], None).await?;
    assert!(!policies.contains("nimfleet-nimcache"), "{policies}");
    helm(&ground, &cluster, &["uninstall", "nimfleet-crds"]).await?;
    let kept = objects::get(&cluster, "NIMCache", "models", "llama").await?;
    assert_eq!(kept["metadata"]["uid"], uid);
    // The same release takes what it left behind.
    helm(&ground, &cluster, &["install", "nimfleet-crds", &chart]).await?;

    people_have_the_rights_of_kubernetes_own_roles(&cluster).await?;
    the_api_server_takes_what_is_rendered(&cluster).await?;
    the_hub_changes_one_label_of_its_pods(&ground, &cluster).await
}

/// Whoever may edit or view a namespace may do so with models and placements; clusters and quotas take a role of their own.
async fn people_have_the_rights_of_kubernetes_own_roles(cluster: &Cluster) -> Result<(), Failure> {
    for (role, user) in [("view", "vera"), ("edit", "edgar"), ("admin", "adam")] {
        let (role, user) = (format!("--clusterrole={role}"), format!("--user={user}"));
        let name = user.replace("--user=", "people-");
        cluster.kubectl(&["create", "rolebinding", &name, &role, &user, "-n", "models"], None).await?;
    }
    let fleet = [
        "create",
        "clusterrolebinding",
        "people-flora",
        "--clusterrole=nimfleet-fleet-admin",
        "--user=flora",
    ];
    cluster.kubectl(&fleet, None).await?;
    let may = async |user: &str, verb: &str, what: &str| {
        let what: Vec<&str> = what.split(' ').collect();
        let asked = [&["auth", "can-i", verb][..], &what, &["-n", "models", "--as", user]].concat();
        // The answer "no" is an exit status of its own.
        cluster.kubectl(&asked, None).await.is_ok_and(|answer| answer.trim() == "yes")
    };
    let begun = tokio::time::Instant::now();
    // The roles are put together by a controller, each by itself.
    let may_at_last = async |user: &str, verb: &str, what: &str| {
        while !may(user, verb, what).await {
            if begun.elapsed() > SOON {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        true
    };
    assert!(may_at_last("adam", "create", "nimplacements.nimfleet.io").await, "an admin may not place");
    for (user, verb, what, expected) in [
        ("vera", "list", "nimservices.apps.nvidia.com", true),
        ("vera", "get", "nimplacementdecisions.nimfleet.io", true),
        ("vera", "patch", "nimservices.apps.nvidia.com", false),
        ("edgar", "watch", "nemoguardrails.apps.nvidia.com", true),
        ("edgar", "patch", "nimcaches.apps.nvidia.com", true),
        ("edgar", "delete", "nimplacements.nimfleet.io", true),
        ("edgar", "patch", "nimplacementdecisions.nimfleet.io", false),
        ("adam", "create", "gpuquotas.nimfleet.io", false),
        ("adam", "patch", "gpuclusters.nimfleet.io", false),
        ("flora", "patch", "gpuclusters.nimfleet.io", true),
        ("flora", "create", "gpuquotas.nimfleet.io", true),
        ("flora", "use", "nimplacements.nimfleet.io --subresource=priority", true),
        ("flora", "create", "nimplacements.nimfleet.io", false),
    ] {
        let is_so = if expected { may_at_last(user, verb, what).await } else { may(user, verb, what).await };
        assert_eq!(is_so, expected, "{user} {verb} {what}");
    }
    Ok(())
}

async fn the_api_server_takes_what_is_rendered(cluster: &Cluster) -> Result<(), Failure> {
    cluster.kubectl(&["create", "namespace", NAMESPACE], None).await?;
    foreign::install(cluster, &["ServiceMonitor", "PodMonitor", "PrometheusRule"]).await?;
    let node_port = ["--set", "link.service.type=NodePort,link.service.nodePort=31443"];
    let dual = "link.service.ipFamilyPolicy=PreferDualStack,link.service.externalTrafficPolicy=Local";
    let class =
        "link.service.loadBalancerClass=example.com/lb,link.service.loadBalancerSourceRanges={192.0.2.0/24}";
    let from_outside = ["--set", dual, "--set", class, "--set", "link.service.healthCheckNodePort=31444"];
    let spread = r#"topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]"#;
    let everything: Vec<&str> =
        EVERYTHING.iter().flat_map(|pair| ["--set", pair]).chain(["--set-json", spread]).collect();
    let large = [&from_outside[..], &everything].concat();
    for (chart, values) in [
        ("nimfleet-hub", &[][..]),
        ("nimfleet-hub", &node_port[..]),
        ("nimfleet-hub", &large[..]),
        ("nimfleet-spoke", &[][..]),
        ("nimfleet-spoke", &everything[..]),
    ] {
        let manifests = manifests(chart, values).await?;
        let apply = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
        let answer = cluster.kubectl(&apply, Some(&manifests)).await;
        answer.map_err(|error| Failure::new(format!("{chart} {values:?}: {error}")))?;
    }
    Ok(())
}

/// With the hub's own token: of a pod in its namespace it may change the label of the leader, and nothing else.
async fn the_hub_changes_one_label_of_its_pods(ground: &Ground, cluster: &Cluster) -> Result<(), Failure> {
    let (chart, name) = (folder("nimfleet-hub"), "nimfleet-hub");
    let install = ["install", name, &chart, "--namespace", NAMESPACE, "--set", "link.service.type=ClusterIP"];
    helm(ground, cluster, &install).await?;
    for (pod, app) in [("hub", name), ("spoke", "nimfleet-spoke")] {
        let labels = json!({"app.kubernetes.io/name": app});
        let spec = json!({"containers": [{"name": "c", "image": "hub.example/hub:1"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod, "namespace": NAMESPACE, "labels": labels}, "spec": spec});
        objects::apply(cluster, &pod.to_string()).await?;
    }
    let token = cluster.kubectl(&["create", "token", name, "-n", NAMESPACE], None).await?;
    let kubeconfig = cluster.kubeconfig_for("hub", token.trim())?;
    let kubeconfig = kubeconfig.to_string_lossy().into_owned();
    let tries = async |pod: &str, patch: Value| {
        let patch = patch.to_string();
        let arguments = [
            "--kubeconfig",
            &kubeconfig,
            "patch",
            "pod",
            pod,
            "-n",
            NAMESPACE,
            "--type=strategic",
            "--dry-run=server",
            "--patch",
            &patch,
        ];
        command::run(&ground.programs().path("kubectl"), &arguments, None).await.map_err(|error| error.said)
    };
    let leads = json!({"metadata": {"labels": {"nimfleet.io/leader": "true"}}});
    let begun = tokio::time::Instant::now();
    let image = json!({"spec": {"containers": [{"name": "c", "image": "evil.example/x"}]}});
    let refusal = "changes the label nimfleet.io/leader of its own pods";
    // Roles and policies count a moment after they were made.
    while !tries("hub", image.clone()).await.is_err_and(|said| said.contains(refusal)) {
        assert!(begun.elapsed() < SOON, "an image may be changed");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tries("hub", leads.clone()).await.map_err(Failure::new)?;
    for (pod, patch) in [
        ("spoke", leads),
        ("hub", image),
        ("hub", json!({"metadata": {"labels": {"app.kubernetes.io/name": "other"}}})),
        ("hub", json!({"metadata": {"labels": {"more": "x"}}})),
        ("hub", json!({"metadata": {"annotations": {"more": "x"}}})),
        ("hub", json!({"metadata": {"finalizers": ["example.com/x"]}})),
    ] {
        let said = tries(pod, patch.clone()).await.expect_err(&format!("{pod} {patch}"));
        assert!(said.contains(refusal), "{patch}: {said}");
    }
    Ok(())
}
