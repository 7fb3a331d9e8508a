//! Data that goes away: claims with models, NIMCaches that are replaced while services run from them, manifests that cannot be read.

use std::time::Duration;

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::objects;
use e2e::site::{IDENTITY, Site};
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(1);
const NAMESPACE: &str = "data";
const PVC: &str = "PersistentVolumeClaim";
const CREATED: &str = "NIM_CACHE_PVC_CREATED";

fn cache(name: &str, image: &str, pvc: &Value) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMCache",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "source": {"ngc": {"modelPuller": image, "pullSecret": "ngc-secret", "authSecret": "ngc-api-secret", "model": {"profiles": ["all"]}}},
            "storage": {"pvc": pvc},
        },
    })
}

fn made(name: &str, tag: &str) -> Value {
    let pvc = json!({"create": true, "size": "25Gi", "volumeAccessMode": "ReadWriteOnce"});
    cache(name, &format!("nvcr.io/nim/nvidia/embed:{tag}"), &pvc)
}

fn service(name: &str, cache: &str, tag: &str) -> Value {
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/nvidia/embed", "tag": tag}, "authSecret": "ngc-api-secret", "replicas": 1,
            "storage": {"nimCache": {"name": cache}}, "resources": {"limits": {"nvidia.com/gpu": 1}},
            "expose": {"service": {"port": 8000}},
        },
    })
}

fn claim(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": PVC, "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "50Gi"}}},
    })
}

async fn get(site: &Site, kind: &str, name: &str) -> Result<Value, Failure> {
    objects::get(site.cluster(), kind, NAMESPACE, name).await
}

/// Waits until an object is as `check` wants it, which otherwise says what it is.
async fn until(
    site: &Site,
    kind: &str,
    name: &str,
    check: impl Fn(&Value) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    site.eventually(&format!("{kind} {name}"), SOON, || async {
        let found = get(site, kind, name).await?;
        check(&found).map(|()| found)
    })
    .await
}

fn is_ready(object: &Value) -> Result<(), Failure> {
    if object["status"]["state"] == "Ready" {
        Ok(())
    } else {
        Err(Failure::new(object["status"].to_string()))
    }
}

/// The NIMCache is not ready, and its claim is told about for this reason.
fn says(reason: &str) -> impl Fn(&Value) -> Result<(), Failure> {
    move |found| match objects::condition(found, CREATED) {
        Some((status, is, _)) if status == "False" && is == reason && found["status"]["state"] != "Ready" => {
            Ok(())
        }
        other => Err(Failure::new(format!("{other:?} in {}", found["status"]))),
    }
}

/// Ready on a claim that has another uid than the one before.
async fn ready_anew(site: &Site, name: &str, before: &Value) -> Result<Value, Failure> {
    site.eventually(&format!("{name} is Ready on a new claim"), SOON, || async {
        let found = get(site, "NIMCache", name).await?;
        is_ready(&found)?;
        let claim = get(site, PVC, found["status"]["pvc"].as_str().unwrap_or_default()).await?;
        if claim["metadata"]["uid"] == before["metadata"]["uid"] {
            return Err(Failure::new("it is the old claim"));
        }
        Ok(claim)
    })
    .await
}

/// How often an object was warned about for this reason.
async fn warned(site: &Site, name: &str, reason: &str) -> Result<u64, Failure> {
    let events = objects::list(site.cluster(), "Event", NAMESPACE).await?;
    let told = events.iter().filter(|event| {
        event["involvedObject"]["name"] == name && event["type"] == "Warning" && event["reason"] == reason
    });
    Ok(told.map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum())
}

/// Waits until an object was warned about so often for this reason, and no more. The operator publishes an event after
/// the status that it is about.
async fn is_warned(site: &Site, name: &str, reason: &str, times: u64) -> Result<(), Failure> {
    let found = site
        .eventually(&format!("{name} is warned about: {reason}"), SOON, || async {
            let found = warned(site, name, reason).await?;
            if found >= times { Ok(found) } else { Err(Failure::new(format!("{found} warnings"))) }
        })
        .await?;
    assert_eq!(found, times, "{name}: {reason}");
    Ok(())
}

/// Waits until the operator may not read logs any more: the API server reads a role a moment after it is stored.
async fn reads_no_logs(site: &Site) -> Result<(), Failure> {
    let asked = ["auth", "can-i", "get", "pods", "--subresource=log", "--as", IDENTITY, "-n", NAMESPACE];
    site.eventually("the operator may not read logs", SOON, || async {
        // The answer "no" is an exit status of its own.
        match site.cluster().kubectl(&asked, None).await {
            Ok(answer) => Err(Failure::new(answer)),
            Err(_) => Ok(()),
        }
    })
    .await
}

async fn delete(site: &Site, kind: &str, name: &str) -> Result<(), Failure> {
    objects::delete(site.cluster(), kind, NAMESPACE, name).await
}

async fn apply(site: &Site, object: &Value) -> Result<(), Failure> {
    objects::apply(site.cluster(), &object.to_string()).await
}

async fn uid(site: &Site, kind: &str, name: &str) -> Result<Value, Failure> {
    Ok(get(site, kind, name).await?["metadata"]["uid"].clone())
}

/// Uids of the pods of a service.
async fn pods(site: &Site, name: &str) -> Result<Vec<Value>, Failure> {
    objects::pod_uids(site.cluster(), NAMESPACE, name).await
}

/// The same of a service of one replica, once the pods of an older template have gone.
async fn one_pod(site: &Site, name: &str) -> Result<Vec<Value>, Failure> {
    site.eventually(&format!("{name} has one pod"), SOON, || async {
        let found = pods(site, name).await?;
        if found.len() == 1 { Ok(found) } else { Err(Failure::new(format!("{} pods", found.len()))) }
    })
    .await
}

#[tokio::test]
async fn a_model_whose_claim_goes_is_not_ready_and_is_stored_again() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 2).start().await?;
    a_claim_that_was_made(&site).await?;
    a_claim_that_was_given(&site).await?;
    a_claim_that_pods_hold(&site).await?;
    a_manifest_that_cannot_be_read(&site).await?;
    a_service_that_was_changed_with_its_cache(&site).await
}

/// Nobody uses it: it goes at once, for the finished download holds nothing.
async fn a_claim_that_was_made(site: &Site) -> Result<(), Failure> {
    apply(site, &made("embed", "1.9.0")).await?;
    until(site, "NIMCache", "embed", is_ready).await?;
    let before = get(site, PVC, "embed-pvc").await?;
    let job = uid(site, "Job", "embed-job").await?;
    delete(site, PVC, "embed-pvc").await?;
    ready_anew(site, "embed", &before).await?;
    site.eventually("it is downloaded again", SOON, || async {
        if uid(site, "Job", "embed-job").await? == job { Err(Failure::new("the old job")) } else { Ok(()) }
    })
    .await?;
    site.eventually("a warning says so", SOON, || async {
        let told = warned(site, "embed", "PVCLost").await? + warned(site, "embed", "PVCTerminating").await?;
        if told > 0 { Ok(()) } else { Err(Failure::new("no warning")) }
    })
    .await?;
    // While nobody looks as well.
    let before = get(site, PVC, "embed-pvc").await?;
    let told = warned(site, "embed", "PVCLost").await?;
    site.operator().kill();
    for (kind, name) in [("job", "embed-job"), ("pvc", "embed-pvc")] {
        let delete = ["delete", kind, name, "-n", NAMESPACE, "--timeout=180s"];
        site.cluster().kubectl(&delete, None).await?;
    }
    apply(site, &claim("embed-pvc")).await?;
    site.start_operator().await?;
    // The status that the NIMCache had says Ready until it is looked at.
    site.eventually("it is downloaded again", SOON, || uid(site, "Job", "embed-job")).await?;
    ready_anew(site, "embed", &before).await?;
    is_warned(site, "embed", "PVCLost", told + 1).await
}

async fn a_claim_that_was_given(site: &Site) -> Result<(), Failure> {
    let pvc = json!({"create": false, "name": "given", "subPath": "rerank"});
    apply(site, &claim("given")).await?;
    apply(site, &cache("rerank", "nvcr.io/nim/nvidia/rerank:1.8.0", &pvc)).await?;
    until(site, "NIMCache", "rerank", is_ready).await?;
    let before = get(site, PVC, "given").await?;
    delete(site, PVC, "given").await?;
    until(site, "NIMCache", "rerank", says("PVCNotFound")).await?;
    objects::absent(site.cluster(), PVC, NAMESPACE, "given").await?;
    apply(site, &claim("given")).await?;
    ready_anew(site, "rerank", &before).await?;
    is_warned(site, "rerank", "PVCNotFound", 1).await?;
    delete(site, "NIMCache", "rerank").await
}

async fn a_claim_that_pods_hold(site: &Site) -> Result<(), Failure> {
    apply(site, &service("runs", "embed", "1.9.0")).await?;
    until(site, "NIMService", "runs", is_ready).await?;
    let (running, before) = (pods(site, "runs").await?, get(site, PVC, "embed-pvc").await?);
    delete(site, PVC, "embed-pvc").await?;
    until(site, "NIMCache", "embed", says("PVCTerminating")).await?;
    apply(site, &service("waits", "embed", "1.9.0")).await?;
    let waits = |found: &Value| match objects::condition(found, "Ready") {
        Some((_, reason, _)) if reason == "NIMCacheNotReady" => Ok(()),
        other => Err(Failure::new(format!("{other:?}"))),
    };
    until(site, "NIMService", "waits", waits).await?;
    site.operator().kill();
    site.start_operator().await?;
    until(site, "NIMCache", "embed", says("PVCTerminating")).await?;
    let runs = until(site, "NIMService", "runs", is_ready).await?;
    assert_eq!(runs["status"]["availableReplicas"], 1, "what runs goes on, and is told");
    assert_eq!(pods(site, "runs").await?, running);
    delete(site, "NIMService", "runs").await?;
    ready_anew(site, "embed", &before).await?;
    until(site, "NIMService", "waits", is_ready).await?;
    delete(site, "NIMService", "waits").await?;
    delete(site, "NIMCache", "embed").await
}

/// The right to read logs is taken from the operator, as a kubelet that cannot be reached does.
async fn a_manifest_that_cannot_be_read(site: &Site) -> Result<(), Failure> {
    let roles = site.cluster().kubectl(&["get", "clusterrole", "-o", "json"], None).await?;
    let roles: Value = serde_json::from_str(&roles)?;
    let grants_logs = |role: &&Value| {
        let granted = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        role["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("nimfleet"))
            && granted.iter().any(|rule| rule["resources"].to_string().contains("pods/log"))
    };
    let role = roles["items"].as_array().into_iter().flatten().find(grants_logs);
    let role = role.ok_or_else(|| Failure::new("no role of the operator's reads logs"))?;
    let mut without = serde_json::from_str::<Value>(&role.to_string().replace("pods/log", "pods/none"))?;
    without["metadata"]["resourceVersion"] = Value::Null;
    site.cluster().kubectl(&["replace", "-f", "-"], Some(&without.to_string())).await?;
    reads_no_logs(site).await?;
    apply(site, &made("unread", "2.0.0")).await?;
    let unreadable = |found: &Value| match objects::condition(found, "NIM_CACHE_RECONCILE_FAILED") {
        Some((status, reason, message))
            if status == "True" && reason == "ManifestUnreadable" && message.contains("pod unread-pod") =>
        {
            Ok(())
        }
        other => Err(Failure::new(format!("{other:?} in {}", found["status"]))),
    };
    let found = until(site, "NIMCache", "unread", unreadable).await?;
    assert_eq!(found["status"]["state"], "NotReady");
    is_warned(site, "unread", "ManifestUnreadable", 1).await?;
    let mut with = role.clone();
    with["metadata"]["resourceVersion"] = Value::Null;
    site.cluster().kubectl(&["replace", "-f", "-"], Some(&with.to_string())).await?;
    until(site, "NIMCache", "unread", is_ready).await?;
    delete(site, "NIMCache", "unread").await
}

/// NVIDIA's way to a new image: delete NIMCache and claim, change the service, apply the NIMCache again.
async fn a_service_that_was_changed_with_its_cache(site: &Site) -> Result<(), Failure> {
    let gone = |kind: &'static str, name: &'static str| {
        site.eventually("it is gone", SOON, move || objects::absent(site.cluster(), kind, NAMESPACE, name))
    };
    apply(site, &made("up", "1.9.0")).await?;
    apply(site, &service("up", "up", "1.9.0")).await?;
    until(site, "NIMService", "up", is_ready).await?;
    let (old, before) = (one_pod(site, "up").await?, get(site, PVC, "up-pvc").await?);

    delete(site, "NIMCache", "up").await?;
    let held = |found: &Value| match objects::condition(found, "Held") {
        Some((status, reason, message))
            if status == "True" && reason == "InUse" && message.contains("NIMService up:") =>
        {
            Ok(())
        }
        other => Err(Failure::new(format!("{other:?}"))),
    };
    until(site, "NIMCache", "up", held).await?;
    let Err(refused) = apply(site, &made("up", "1.13.0")).await else {
        return Err(Failure::new("a change of what is being deleted would be lost"));
    };
    let refused = refused.to_string();
    for word in ["NIMCache up is being deleted", "used by NIMService up", "apply again when it has gone"] {
        assert!(refused.contains(word), "{refused}");
    }
    until(site, "NIMService", "up", is_ready).await?;

    // The service is changed: it needs the old model no more.
    apply(site, &service("up", "up", "1.13.0")).await?;
    gone("NIMCache", "up").await?;
    assert_eq!(pods(site, "up").await?, old, "nothing was stopped for it");
    apply(site, &made("up", "1.13.0")).await?;
    ready_anew(site, "up", &before).await?;
    // What the NIMService says may still be of the Deployment before.
    let renewed = |deployment: &Value| {
        let template = deployment["spec"]["template"].to_string();
        if template.contains("embed:1.13.0") { Ok(()) } else { Err(Failure::new(template)) }
    };
    until(site, "Deployment", "up", renewed).await?;
    until(site, "NIMService", "up", is_ready).await?;
    gone(PVC, "up-pvc").await?;

    // With its claim, and both at once.
    let claim = get(site, "NIMCache", "up").await?["status"]["pvc"].as_str().unwrap_or_default().to_owned();
    let (old, before) = (one_pod(site, "up").await?, get(site, PVC, &claim).await?);
    delete(site, "NIMCache", "up").await?;
    delete(site, PVC, &claim).await?;
    gone("NIMCache", "up").await?;
    assert_eq!(pods(site, "up").await?, old);
    apply(site, &service("up", "up", "1.14.0")).await?;
    apply(site, &made("up", "1.14.0")).await?;
    ready_anew(site, "up", &before).await?;
    until(site, "NIMService", "up", is_ready).await?;
    let all = ["delete", "nimcache,nimservice", "--all", "-n", NAMESPACE, "--timeout=180s"];
    site.cluster().kubectl(&all, None).await.map(drop)?;
    site.cluster().kubectl(&["delete", "namespace", NAMESPACE, "--timeout=180s"], None).await.map(drop)?;
    Ok(())
}

/// The same from the hub: it says what keeps the NIMCache, and both become new.
#[tokio::test]
async fn a_cache_is_replaced_from_the_hub_while_its_service_runs() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).start().await?;
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let apply = |object: Value| async move { objects::apply(hub, &object.to_string()).await };
    apply(made("up", "1.9.0")).await?;
    apply(service("up", "up", "1.9.0")).await?;
    let selects = json!({"resourceSelectors": [{"kind": "NIMService", "name": "up"}]});
    apply(json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement",
        "metadata": {"name": "up", "namespace": NAMESPACE}, "spec": selects}))
    .await?;
    let ready = |tag: &'static str| {
        fleet.eventually("it is Ready", SOON * 2, move || async move {
            let found = objects::get(hub, "NIMService", NAMESPACE, "up").await?;
            objects::expect(&found, "Ready", "True")?;
            let runs = objects::get(east, "Deployment", NAMESPACE, "up").await?;
            let image = runs["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            if image == format!("nvcr.io/nim/nvidia/embed:{tag}") {
                Ok(())
            } else {
                Err(Failure::new(image.to_string()))
            }
        })
    };
    ready("1.9.0").await?;
    objects::delete(hub, "NIMCache", NAMESPACE, "up").await?;
    fleet
        .eventually("the hub says what holds it", SOON, || async {
            let found = objects::get(hub, "NIMCache", NAMESPACE, "up").await?;
            match objects::condition(&found, "Held") {
                Some((status, _, message))
                    if status == "True" && message.contains("NIMService up in east") =>
                {
                    Ok(())
                }
                other => Err(Failure::new(format!("{other:?} in {}", found["status"]))),
            }
        })
        .await?;
    let refused = apply(made("up", "1.13.0")).await.map_err(|error| error.to_string());
    let refused = refused.expect_err("a change of what is being deleted would be lost");
    assert!(refused.contains("used by NIMService up in east: apply again when it has gone"), "{refused}");
    apply(service("up", "up", "1.13.0")).await?;
    let gone = || objects::absent(hub, "NIMCache", NAMESPACE, "up");
    fleet.eventually("the hub's NIMCache is gone", SOON, gone).await?;
    apply(made("up", "1.13.0")).await?;
    ready("1.13.0").await?;
    a_claim_that_goes_is_told_on_the_hub(&fleet).await
}

/// The hub says that the claim of a Ready NIMCache goes in a cluster while what runs from it goes on, and follows when the model is
/// stored again.
async fn a_claim_that_goes_is_told_on_the_hub(fleet: &Fleet) -> Result<(), Failure> {
    let (hub, east) = (fleet.hub().cluster(), fleet.cluster("east")?.cluster());
    let cache = || objects::get(hub, "NIMCache", NAMESPACE, "up");
    // The hub hears of NIMCache and NIMService one after the other, and a rollout may still go on.
    let claim = fleet
        .eventually("the hub says on which claim the model is", SOON, || async {
            let cache = cache().await?;
            objects::expect(&cache, "Ready", "True")?;
            let claim = cache["status"]["pvc"].as_str().unwrap_or_default().to_owned();
            if claim.is_empty() { Err(Failure::new(cache["status"].to_string())) } else { Ok(claim) }
        })
        .await?;
    let before = objects::get(east, PVC, NAMESPACE, &claim).await?["metadata"]["uid"].clone();
    let running = fleet
        .eventually("only the new pod is left", SOON, || async {
            let found = objects::pods(east, NAMESPACE, "up").await?;
            match &found[..] {
                [pod] if pod["spec"].to_string().contains("embed:1.13.0") => {
                    Ok(vec![pod["metadata"]["uid"].clone()])
                }
                other => Err(Failure::new(format!("{} pods", other.len()))),
            }
        })
        .await?;
    objects::delete(east, PVC, NAMESPACE, &claim).await?;
    let words = format!("PersistentVolumeClaim {claim} is being deleted");
    let told = |kind: &'static str, condition: &'static str| {
        let (words, what) = (words.clone(), format!("{kind} says that the claim goes"));
        async move {
            let check = || async {
                let found = objects::get(hub, kind, NAMESPACE, "up").await?;
                match objects::condition(&found, condition) {
                    Some((status, _, message)) if status == "False" && message.contains(&words) => Ok(()),
                    other => Err(Failure::new(format!("{other:?}"))),
                }
            };
            fleet.eventually(&what, SOON, check).await
        }
    };
    told("NIMCache", "Ready").await?;
    told("NIMPlacement", "Available").await?;
    fleet
        .eventually("the service is Ready all the same", SOON, || async {
            let runs = objects::get(hub, "NIMService", NAMESPACE, "up").await?;
            objects::expect(&runs, "Ready", "True")
        })
        .await?;
    assert_eq!(objects::pod_uids(east, NAMESPACE, "up").await?, running, "what runs goes on");

    // Nothing mounts it any more: it goes, and is filled anew.
    objects::delete(hub, "NIMService", NAMESPACE, "up").await?;
    fleet
        .eventually("the model is stored again, and the hub says so", SOON * 2, || async {
            let cache = cache().await?;
            let claim = cache["status"]["pvc"].as_str().unwrap_or_default();
            let is = objects::get(east, PVC, NAMESPACE, claim).await?["metadata"]["uid"].clone();
            if is == before {
                return Err(Failure::new("it is the old claim"));
            }
            objects::expect(&cache, "Ready", "True")
        })
        .await
}
