//! What is asked of the hub by kubectl, and what it writes for those who know other kinds.

use e2e::cluster::gpu::{H100, L40S};
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{foreign, objects, sample};
use http::{HeaderName, HeaderValue, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use super::shares::SOON;

/// What kubectl prints, as JSON.
async fn raw(fleet: &Fleet, path: &str) -> Result<Value, Failure> {
    let path = format!("/apis/query.nimfleet.io/v1alpha1/namespaces/{}/{path}", sample::NAMESPACE);
    let printed = fleet.hub().cluster().kubectl(&["get", "--raw", &path], None).await?;
    Ok(serde_json::from_str(&printed)?)
}

/// Speaks to the hub itself with this certificate and says that it is for `user`: the API server, with its own rules, is not
/// in between.
async fn past_the_api_server(fleet: &Fleet, certificate: &str, user: &str) -> Result<Client, Failure> {
    let service = objects::get(fleet.hub().cluster(), "APIService", "", "v1alpha1.query.nimfleet.io").await?;
    let keys = fleet.ground().folder();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [{"name": "x", "cluster": {
            "server": format!("https://127.0.0.1:{}", service["spec"]["service"]["port"]),
            "certificate-authority-data": service["spec"]["caBundle"],
            "tls-server-name": "nimfleet-hub-query.nimfleet.svc",
        }}],
        "users": [{"name": "x", "user": {
            "client-certificate": keys.join(format!("{certificate}.crt")),
            "client-key": keys.join(format!("{certificate}.key")),
        }}],
    });
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((HeaderName::from_static("x-remote-user"), HeaderValue::from_str(user)?));
    Ok(Client::try_from(config)?)
}

/// Asks for the assignments of the sample's namespace.
fn assignments() -> Result<Request<Vec<u8>>, Failure> {
    let path = format!("/apis/query.nimfleet.io/v1alpha1/namespaces/{}/nimassignments", sample::NAMESPACE);
    Ok(Request::get(path).body(Vec::new())?)
}

fn verdict<'a>(answer: &'a Value, cluster: &str) -> &'a Value {
    let clusters = answer["status"]["clusters"].as_array();
    clusters.and_then(|all| all.iter().find(|one| one["cluster"] == cluster)).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn kubectl_asks_where_why_and_what_if_and_nothing_of_it_is_stored() -> Result<(), Failure> {
    let plan = Fleet::new().queried().cluster("east").gpus(H100, 8, 1).cluster("west").gpus(L40S, 4, 1);
    let fleet = plan.start().await?;
    let hub = fleet.hub().cluster();
    // A hub that starts looks at once whether these kinds are there.
    foreign::install(hub, &["ClusterProfile", "PlacementDecision"]).await?;
    fleet.hub().daemon().stop();
    fleet.hub().restart()?;
    sample::place(&fleet, sample::NAME, &json!({"clusterAffinity": {"clusterNames": ["east"]}})).await?;
    sample::ready(&fleet, sample::NAME).await?;

    // Where: a table, as for every kind.
    let table = fleet
        .eventually("the API server passes questions on", SOON, || async {
            Ok(hub.kubectl(&["get", "nimassignments", "-n", sample::NAMESPACE], None).await?)
        })
        .await?;
    assert!(table.contains("PLACEMENT") && table.contains("east") && table.contains("Available"), "{table}");

    // Why, and why not: every cluster, with numbers and the age of what is known.
    let answer = raw(&fleet, &format!("placementexplanations/{}", sample::NAME)).await?;
    assert_eq!(verdict(&answer, "east")["verdict"], "Stays", "{answer}");
    assert_eq!(verdict(&answer, "west")["reason"], "AffinityMismatch", "{answer}");
    assert!(verdict(&answer, "east")["reportAgeSeconds"].is_number(), "{answer}");
    let table =
        hub.kubectl(&["get", "placementexplanations", sample::NAME, "-n", sample::NAMESPACE], None).await?;
    assert!(table.contains("VERDICT") && table.contains("AffinityMismatch"), "{table}");

    let unnamed = hub.kubectl(&["get", "placementexplanations", "-n", sample::NAMESPACE], None).await;
    let said = unnamed.expect_err("there is no list").said;
    assert!(said.contains("kubectl get placementexplanations NAME"), "{said}");

    // What if: a manifest that nobody has applied, with a cluster gone.
    let manifest = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "metadata": {"name": "supposed"},
        "spec": {"replicas": 1, "resources": {"limits": {"nvidia.com/gpu": 8}}},
    });
    let simulation = |without: Value| {
        json!({
            "apiVersion": "query.nimfleet.io/v1alpha1", "kind": "PlacementSimulation",
            "metadata": {"name": "what-if", "namespace": sample::NAMESPACE},
            "spec": {
                "placement": {"resourceSelectors": [{"kind": "NIMService", "name": "supposed"}]},
                "manifests": [manifest], "withoutClusters": without,
            },
        })
        .to_string()
    };
    let ask = async |without: Value| -> Result<Value, Failure> {
        let printed = hub.kubectl(&["create", "-o", "json", "-f", "-"], Some(&simulation(without))).await?;
        Ok(serde_json::from_str(&printed)?)
    };
    // The sample has one of the eight; its pod is reported after its status.
    fleet
        .eventually("the GPU of the sample counts", SOON, || async {
            let answer = ask(json!([])).await?;
            let message = verdict(&answer, "east")["message"].to_string();
            if message.contains("largest free block is 7") { Ok(()) } else { Err(Failure::new(message)) }
        })
        .await?;
    let answer = ask(json!(["east"])).await?;
    assert_eq!(verdict(&answer, "east"), &Value::Null, "{answer}");
    objects::absent(hub, "NIMService", sample::NAMESPACE, "supposed").await?;

    // Who may not look is told so, by the hub as well: it takes its front proxy's word for who asks, and nobody's for what
    // they may. Other certificates of the same authority are not the front proxy's.
    let in_namespace = ["-n", sample::NAMESPACE];
    let role = ["create", "role", "asks", "--verb=list", "--resource=nimassignments.query.nimfleet.io"];
    hub.kubectl(&[&role[..], &in_namespace].concat(), None).await?;
    let binding = ["create", "rolebinding", "asks", "--role=asks", "--user=somebody"];
    hub.kubectl(&[&binding[..], &in_namespace].concat(), None).await?;
    let somebody = past_the_api_server(&fleet, "front-proxy", "somebody").await?;
    fleet
        .eventually("somebody may ask", SOON, || async { Ok(somebody.request_text(assignments()?).await?) })
        .await?;
    let nobody = past_the_api_server(&fleet, "front-proxy", "nobody").await?;
    let said = nobody.request_text(assignments()?).await.expect_err("nobody may ask").to_string();
    let words =
        format!("nobody cannot list nimassignments.query.nimfleet.io in namespace {}", sample::NAMESPACE);
    assert!(said.contains(&words), "{said}");
    let other = past_the_api_server(&fleet, "serving", "somebody").await?;
    let cut = other.request_text(assignments()?).await;
    assert!(matches!(cut, Err(kube::Error::HyperError(_) | kube::Error::Service(_))), "{cut:?}");

    // For programs that know other kinds.
    fleet
        .eventually("the fleet is there in the words of SIG Multicluster", SOON, || async {
            let profile = objects::get(hub, "ClusterProfile", "nimfleet", "east").await?;
            objects::expect(&profile, "ControlPlaneHealthy", "True")?;
            let name = format!("{}-nimfleet-0", sample::NAME);
            let decision = objects::get(hub, "PlacementDecision", sample::NAMESPACE, &name).await?;
            let is_east = decision["decisions"][0]["clusterProfileRef"]["name"] == "east";
            let told = is_east && profile["status"]["properties"].to_string().contains(H100);
            if told { Ok(()) } else { Err(Failure::new(format!("{decision} {profile}"))) }
        })
        .await
}
