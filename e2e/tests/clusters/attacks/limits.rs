//! Limits of the cluster's owner against delivered objects and the children rendered from them.

use std::path::PathBuf;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

/// A change on the hub is seen everywhere well within this time.
const SOON: Duration = Duration::from_mins(1);
/// Dozens of samples on a busy machine.
const ALL_SAMPLES: Duration = Duration::from_mins(4);

fn service(namespace: &str, name: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "image": {"repository": "nvcr.io/nim/meta/llama-3.2-1b-instruct", "tag": "1.12.0"},
            "authSecret": "ngc-api-secret", "replicas": 1, "storage": {"emptyDir": {}},
            "resources": {"limits": {"nvidia.com/gpu": "1"}},
            "expose": {"service": {"type": "ClusterIP", "port": 8000}},
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// What the people of a cluster have in the sample's namespace, before a hub sends anything.
async fn tenants(cluster: &Cluster) -> Result<(), Failure> {
    let claim = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": sample::NAMESPACE},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    };
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": sample::NAMESPACE}}),
        claim("tenant-data"),
        claim("grab-pvc"),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "front", "namespace": sample::NAMESPACE},
            "spec": {"selector": {"app": "payments"}, "ports": [{"port": 80}]},
        }),
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(&list.to_string())).await?;
    Ok(())
}

#[tokio::test]
async fn nothing_reaches_beyond_the_limits_by_what_is_delivered_or_rendered() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 2).start().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    tenants(east).await?;
    let made = json!({"pvc": {"create": true, "size": "1Gi", "volumeAccessMode": "ReadWriteOnce"}});
    let attacks = [
        // By the object itself.
        (
            "mesh",
            json!({"annotations": {"sidecar.istio.io/userVolume": "[]"}}),
            "spec.annotations has sidecar.istio.io/userVolume",
        ),
        (
            "net",
            json!({"annotations": {"k8s.v1.cni.cncf.io/networks": "other-ns/hostnet"}}),
            "limits.annotations is",
        ),
        ("injected", json!({"labels": {"sidecar.istio.io/inject": "true"}}), "limits.labels is"),
        (
            "reader",
            json!({"storage": {"pvc": {"name": "tenant-data"}}}),
            "spec.storage.pvc.name is \"tenant-data\": limits.volumes.referred is",
        ),
        (
            "public",
            json!({"expose": {"service": {"type": "LoadBalancer", "port": 8000}}}),
            "limits.serviceTypes is",
        ),
        ("shell", json!({"command": ["sh", "-c", "id"]}), "limits.commands is false"),
        // By what is rendered for it.
        ("payments", json!({}), "Service front, which is somebody else's"),
        ("grab", json!({"storage": made}), "claimName is \"grab-pvc\": limits.volumes.referred is"),
        ("early", json!({"storage": {"pvc": {"name": "not-there-yet"}}}), "claimName is \"not-there-yet\""),
    ];
    for (name, more, _) in &attacks {
        objects::apply(hub, &service(sample::NAMESPACE, name, more).to_string()).await?;
        objects::apply(hub, &sample::placement(name, &json!({}))).await?;
    }
    for (name, _, telling) in &attacks {
        let refused = || async {
            let message = sample::says(&fleet, name, "Scheduled", "PolicyDenied").await?;
            let placement = sample::placed(&fleet, name).await?;
            let said = format!("{message} {}", placement["status"]["refusals"]);
            if said.replace("\\\"", "\"").contains(telling) { Ok(()) } else { Err(Failure::new(said)) }
        };
        fleet.eventually(&format!("{name}: {telling}"), SOON, refused).await?;
        objects::absent(east, "Deployment", sample::NAMESPACE, name).await?;
        objects::absent(east, "ServiceAccount", sample::NAMESPACE, name).await?;
    }

    // The cluster's own people are not limited.
    let own = service(sample::NAMESPACE, "own", &json!({"annotations": {"sidecar.istio.io/inject": "true"}}));
    objects::apply(east, &own.to_string()).await?;
    let shows = || async { objects::get(east, "Deployment", sample::NAMESPACE, "own").await.map(drop) };
    fleet.eventually("an object of the cluster's people runs", SOON, shows).await
}

/// The manifests of NVIDIA's samples of NIM that the defaults take.
fn manifests() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/nvidia/nim"));
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Drops nulls, as kubectl does.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What NVIDIA's definitions say of samples that they refuse.
const REFUSED_BY_DEFINITION: [&str; 2] = ["cannot be set when", ".spec.router: field not declared"];

#[tokio::test]
async fn each_nim_sample_of_nvidias_is_rendered_within_the_default_limits() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let east = fleet.cluster("east")?.cluster();
    let (mut applied, mut refused) = (Vec::new(), Vec::new());
    for (number, path) in manifests().iter().enumerate() {
        let namespace = format!("sample-{number}");
        east.kubectl(&["create", "namespace", &namespace], None).await?;
        for mut object in serde_saphyr::from_multiple::<Value>(&std::fs::read_to_string(path)?)? {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if !text(&object["apiVersion"]).starts_with("apps.nvidia.com") {
                continue;
            }
            drop_nulls(&mut object);
            object["metadata"]["namespace"] = json!(namespace);
            // As a hub delivers it.
            object["metadata"]["labels"]["nimfleet.io/delivered"] = json!("true");
            if let Err(refusal) = objects::apply(east, &object.to_string()).await {
                let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                refused.push((file, text(&object["kind"]), refusal.to_string()));
                continue;
            }
            applied.push((
                path.clone(),
                text(&object["kind"]),
                namespace.clone(),
                text(&object["metadata"]["name"]),
            ));
        }
    }
    assert!(applied.len() > 50, "only {} objects", applied.len());
    // Definitions of NVIDIA's own refuse these, whoever applies them.
    let unexpected: Vec<_> = refused
        .iter()
        .filter(|(_, _, words)| !REFUSED_BY_DEFINITION.iter().any(|rule| words.contains(rule)))
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    for (path, kind, namespace, name) in &applied {
        let judged = || async {
            let found = objects::get(east, kind, namespace, name).await?;
            let conditions = found["status"]["conditions"].as_array().map_or(0, Vec::len);
            if conditions == 0 { Err(Failure::new("it has no conditions yet")) } else { Ok(found) }
        };
        let found =
            fleet.eventually(&format!("{kind} {name} of {}", path.display()), ALL_SAMPLES, judged).await?;
        assert_eq!(objects::condition(&found, "PolicyDenied"), None, "{}", path.display());
    }
    Ok(())
}

async fn limit(fleet: &Fleet, cluster: &str, limits: Value) -> Result<(), Failure> {
    let member = fleet.cluster(cluster)?;
    member.limit(fleet.ground(), &limits).await?;
    member.restart_spoke()?;
    fleet.eventually("the spoke is back", SOON, || fleet.hub().connected(cluster)).await
}

#[tokio::test]
async fn a_limit_that_was_narrowed_keeps_what_runs_where_it_runs() -> Result<(), Failure> {
    const NAME: &str = "kept";
    let wide = json!({"annotations": ["team.example.com/*"]});
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 2).limits(wide.clone());
    let fleet = fleet.cluster("west").gpus(H100, 8, 2).limits(wide).start().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let ours =
        json!({"annotations": {"team.example.com/owner": "chat"}, "env": [{"name": "STEP", "value": "1"}]});
    objects::apply(hub, &service(sample::NAMESPACE, NAME, &ours).to_string()).await?;
    let only_east = json!({"clusterAffinity": {"clusterNames": ["east", "west"]}});
    objects::apply(hub, &sample::placement(NAME, &only_east)).await?;
    assert_eq!(sample::ready(&fleet, NAME).await?, ["east"]);
    let deployment = || objects::get(east, "Deployment", sample::NAMESPACE, NAME);
    let before = deployment().await?;
    let namespace = objects::get(east, "Namespace", "", sample::NAMESPACE).await?;
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");

    // It goes on, and is shown as what it is.
    limit(&fleet, "east", json!({})).await?;
    let said = sample::says(&fleet, NAME, "Degraded", "PolicyDenied").await?;
    assert!(said.contains("team.example.com/owner") && said.contains("limits.annotations"), "{said}");
    assert_eq!(deployment().await?["metadata"]["uid"], before["metadata"]["uid"]);
    fleet
        .eventually("it is Ready all the same", SOON, || async {
            let local = objects::get(east, "NIMService", sample::NAMESPACE, NAME).await?;
            objects::expect(&local, "PolicyDenied", "True")?;
            objects::expect(&local, "Ready", "True")
        })
        .await?;

    // It is scaled, and healed.
    objects::patch(hub, "NIMService", sample::NAMESPACE, NAME, json!({"spec": {"replicas": 2}})).await?;
    let scaled = || async {
        match &deployment().await?["spec"]["replicas"] {
            found if *found == 2 => Ok(()),
            found => Err(Failure::new(format!("it has {found}"))),
        }
    };
    fleet.eventually("it is scaled", SOON, scaled).await?;
    objects::patch(east, "Deployment", sample::NAMESPACE, NAME, json!({"spec": {"replicas": 1}})).await?;
    fleet.eventually("it is healed", SOON, scaled).await?;

    // A new template is refused, and nothing is moved.
    let template = json!({"spec": {"env": [{"name": "STEP", "value": "2"}]}});
    objects::patch(hub, "NIMService", sample::NAMESPACE, NAME, template).await?;
    let told = || async {
        let metrics = fleet.hub().daemon().metrics().await?;
        let refused = metrics.contains("nimfleet_hub_link_rejections_total{class=\"PolicyDenied\"}");
        if refused { Ok(()) } else { Err(Failure::new("not refused yet")) }
    };
    fleet.eventually("the template is refused", SOON, told).await?;
    let local = objects::get(east, "NIMService", sample::NAMESPACE, NAME).await?;
    assert_eq!(local["spec"]["env"][0]["value"], "1");
    assert_eq!(sample::clusters_of(&sample::placed(&fleet, NAME).await?), ["east"]);
    objects::absent(fleet.cluster("west")?.cluster(), "NIMService", sample::NAMESPACE, NAME).await
}
