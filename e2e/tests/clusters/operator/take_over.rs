//! A cluster that NVIDIA's operator ran is taken over without a restart: its objects, as that operator leaves them
//! (`fixtures/take-over`, recorded), are put on a cluster under its field manager; then our operator starts.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::site::Site;
use e2e::{objects, take_over};
use serde_json::{Value, json};

use super::service::SOON;

/// Name of the NIMService and of its Deployment in every fixture.
const NAME: &str = "meta-llama-3-2-1b-instruct";

const FIXTURES: [(&str, &str); 4] = [
    ("cache", include_str!("../../../fixtures/take-over/cache.json")),
    ("claim", include_str!("../../../fixtures/take-over/claim.json")),
    ("hugging-face", include_str!("../../../fixtures/take-over/hugging-face.json")),
    ("ingress", include_str!("../../../fixtures/take-over/ingress.json")),
];

/// The recorded objects as they are left in a namespace.
fn left(text: &str, namespace: &str) -> Result<Vec<Value>, Failure> {
    Ok(serde_json::from_str(&text.replace("take-over", namespace))?)
}

/// What releases 3.1.3 and later make of the same spec: the key of NGC may be missing.
fn of_a_newer_release(mut objects: Vec<Value>) -> Vec<Value> {
    for object in objects.iter_mut().filter(|object| object["kind"] == "Deployment") {
        let pod = &mut object["spec"]["template"]["spec"];
        for variable in pod["containers"][0]["env"].as_array_mut().into_iter().flatten() {
            if variable["name"] == "NGC_API_KEY" {
                variable["valueFrom"]["secretKeyRef"]["optional"] = json!(true);
            }
        }
    }
    objects
}

/// The same with a proxy and its certificates, as the specification says that upstream renders it: the init container that
/// it adds has the environment that every container begins with.
fn behind_a_proxy(mut objects: Vec<Value>) -> Vec<Value> {
    let proxied = [
        ("NIM_SDK_USE_NATIVE_TLS", "1"),
        ("HTTPS_PROXY", "http://proxy:3128"),
        ("HTTP_PROXY", ""),
        ("NO_PROXY", ""),
        ("https_proxy", "http://proxy:3128"),
        ("http_proxy", ""),
        ("no_proxy", ""),
    ];
    let proxied: Vec<Value> =
        proxied.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    for object in &mut objects {
        match object["kind"].as_str() {
            Some("NIMService") => {
                object["spec"]["proxy"] = json!({"httpsProxy": "http://proxy:3128", "certConfigMap": "ca"});
            }
            Some("Deployment") => {
                for annotations in ["/metadata/annotations", "/spec/template/metadata/annotations"] {
                    if let Some(found) = object.pointer_mut(annotations) {
                        found["openshift.io/required-scc"] = json!("anyuid");
                    }
                }
                let pod = &mut object["spec"]["template"]["spec"];
                let mounts = pod["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
                let model: Vec<Value> =
                    mounts.iter().filter(|mount| mount["name"] == "model-store").cloned().collect();
                let serving = &mut pod["containers"][0];
                let own = serving["env"].as_array().cloned().unwrap_or_default();
                let env: Vec<Value> = proxied.iter().cloned().chain(own).collect();
                serving["env"] = json!(env);
                let mut with = mounts;
                with.push(json!({"name": "ca-cert-volume", "mountPath": "/etc/ssl"}));
                serving["volumeMounts"] = json!(with);
                let certificates = [("ca-cert-volume", "/ca-certs"), ("custom-ca", "/custom")];
                let certificates =
                    certificates.iter().map(|(name, path)| json!({"name": name, "mountPath": path}));
                let mounts: Vec<Value> = model.into_iter().chain(certificates).collect();
                pod["initContainers"] = json!([{
                    "name": "update-ca-certificates", "image": pod["containers"][0]["image"],
                    "imagePullPolicy": pod["containers"][0]["imagePullPolicy"],
                    "command": ["/bin/sh", "-c", "update-ca-certificates"], "env": env, "volumeMounts": mounts,
                    "securityContext": {"runAsUser": 0, "runAsNonRoot": false},
                }]);
                if let Some(volumes) = pod["volumes"].as_array_mut() {
                    volumes.push(json!({"name": "ca-cert-volume", "emptyDir": {}}));
                    volumes.push(json!({"name": "custom-ca", "configMap": {"name": "ca"}}));
                }
            }
            _ => {}
        }
    }
    objects
}

#[tokio::test]
async fn no_pod_template_changes_when_a_cluster_is_taken_over() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).prepare().await?;
    let cluster = site.cluster();
    let mut all: Vec<(&str, Vec<Value>)> = Vec::new();
    for (namespace, text) in FIXTURES {
        all.push((namespace, left(text, namespace)?));
    }
    let claim = include_str!("../../../fixtures/take-over/claim.json");
    all.push(("newer", of_a_newer_release(left(claim, "newer")?)));
    all.push(("proxied", behind_a_proxy(left(claim, "proxied")?)));
    let namespaces: Vec<&str> = all.iter().map(|(namespace, _)| *namespace).collect();
    let mut before = BTreeMap::new();
    for (namespace, objects) in all {
        cluster.kubectl(&["create", "namespace", namespace], None).await?;
        take_over::leave(cluster, objects).await?;
        before.insert(namespace, rolled_out(&site, namespace).await?);
    }

    site.start_operator().await?;
    for namespace in namespaces {
        site.eventually(&format!("{namespace} is taken over"), SOON, || async {
            let found = objects::get(cluster, "NIMService", namespace, NAME).await?;
            objects::expect(&found, "Ready", "True")?;
            let deployment = objects::get(cluster, "Deployment", namespace, NAME).await?;
            let marked = &deployment["metadata"]["annotations"]["nimfleet.io/desired-hash"];
            if marked.is_string() { Ok(()) } else { Err(Failure::new("the Deployment is not yet ours")) }
        })
        .await?;
    }
    // Whatever would still be written is written by now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (namespace, old) in &before {
        let new = objects::get(cluster, "Deployment", namespace, NAME).await?;
        assert_eq!(new["spec"]["template"], old["spec"]["template"], "{namespace}");
        assert_eq!(new["spec"], old["spec"], "{namespace}");
    }
    what_is_no_longer_wanted_goes(&site).await
}

/// The fields that the other operator wrote are ours to take away, too.
async fn what_is_no_longer_wanted_goes(site: &Site) -> Result<(), Failure> {
    let cluster = site.cluster();
    let change = json!({"spec": {"env": null, "authSecret": "other"}});
    objects::patch(cluster, "NIMService", "hugging-face", NAME, change).await?;
    site.eventually("the variable is gone", SOON, || async {
        let found = objects::get(cluster, "Deployment", "hugging-face", NAME).await?;
        let env = found["spec"]["template"]["spec"]["containers"][0]["env"].to_string();
        if env.contains("hf://") || env.contains("hf-secret") { Err(Failure::new(env)) } else { Ok(()) }
    })
    .await
}

/// The Deployment once its pods run.
async fn rolled_out(site: &Site, namespace: &str) -> Result<Value, Failure> {
    site.eventually(&format!("{namespace} runs before the take-over"), SOON, || async {
        let found = objects::get(site.cluster(), "Deployment", namespace, NAME).await?;
        objects::expect(&found, "Available", "True")?;
        Ok(found)
    })
    .await
}
