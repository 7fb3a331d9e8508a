//! Services beside Kueue, under the endpoint picker and before Knative's validator, and placements as Argo CD and Flux judge them, as
//! all of these are released. Run by hand, since they take long to build: `cargo test -p e2e --test third_party`.

use std::time::{Duration, Instant};

use e2e::cluster::audit::Request;
use e2e::cluster::gpu::H100;
use e2e::command::run;
use e2e::controlplane::Controller;
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::site::Site;
use e2e::{foreign, objects, sample};
use serde_json::{Value, json};

/// Long enough for a busy machine.
const SOON: Duration = Duration::from_mins(2);
/// Label of what Kueue admits.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// A NIMService of four GPUs, with more of its spec; null takes a field away.
async fn apply(site: &Site, namespace: &str, name: &str, more: Value) -> Result<(), Failure> {
    let mut spec = json!({"resources": {"limits": {"nvidia.com/gpu": 4}}});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    objects::apply(site.cluster(), &sample::service(namespace, name, spec).to_string()).await
}

/// Waits until the service says Ready for the generation that it has, and how long that took.
async fn ready(site: &Site, namespace: &str, name: &str) -> Result<(), Failure> {
    let since = Instant::now();
    site.eventually(&format!("{name} is Ready"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", namespace, name).await?;
        objects::expect_ready(&found)
    })
    .await?;
    eprintln!("{namespace}/{name}: Ready after {:.1} s", since.elapsed().as_secs_f32());
    Ok(())
}

/// Waits until the service is not Ready for this reason; gives back the message.
async fn says(site: &Site, namespace: &str, name: &str, reason: &str) -> Result<String, Failure> {
    site.eventually(&format!("{name} says {reason}"), SOON, || async {
        let found = objects::get(site.cluster(), "NIMService", namespace, name).await?;
        objects::expect_not_ready(&found, reason)
    })
    .await
}

/// A queue for twenty GPUs.
async fn queue(site: &Site, namespace: &str) -> Result<(), Failure> {
    let version = "kueue.x-k8s.io/v1beta2";
    let quota = |name: &str, amount: &str| json!({"name": name, "nominalQuota": amount});
    let resources = [quota("cpu", "1000"), quota("memory", "1Ti"), quota("nvidia.com/gpu", "20")];
    let objects = [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        json!({"apiVersion": version, "kind": "ResourceFlavor", "metadata": {"name": "h100"},
            "spec": {"nodeLabels": {"nvidia.com/gpu.product": H100}}}),
        json!({"apiVersion": version, "kind": "ClusterQueue", "metadata": {"name": "gpus"}, "spec": {
            "namespaceSelector": {},
            "resourceGroups": [{"coveredResources": ["cpu", "memory", "nvidia.com/gpu"],
                "flavors": [{"name": "h100", "resources": resources}]}],
        }}),
        json!({"apiVersion": version, "kind": "LocalQueue", "metadata": {"name": "nims", "namespace": namespace},
            "spec": {"clusterQueue": "gpus"}}),
    ];
    for object in objects {
        let text = object.to_string();
        let arguments = ["apply", "--server-side", "-f", "-"];
        let applied = || async {
            site.cluster().kubectl(&arguments, Some(&text)).await.map(drop).map_err(Failure::from)
        };
        site.eventually("Kueue takes its objects", SOON, applied).await?;
    }
    Ok(())
}

/// Whether each of the pods of a LeaderWorkerSet has been let go, of which there are so many.
async fn admitted(site: &Site, namespace: &str, set: &str, count: usize) -> Result<(), Failure> {
    let pods = objects::list(site.cluster(), "Pod", namespace).await?;
    let of_set = |pod: &&Value| pod["metadata"]["labels"]["leaderworkerset.sigs.k8s.io/name"] == set;
    let of_set: Vec<_> = pods.iter().filter(of_set).collect();
    let gated = of_set.iter().filter(|pod| !pod["spec"]["schedulingGates"].is_null()).count();
    if of_set.len() == count && gated == 0 {
        return Ok(());
    }
    Err(Failure::new(format!("{gated} of {} pods are gated", of_set.len())))
}

#[tokio::test]
async fn kueue_admits_services_and_groups_in_turn() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 4).audited().start().await?;
    let namespace = "queued";
    let _lws = foreign::lws::start(site.ground(), site.cluster(), Controller::Lws09).await?;
    let _kueue = foreign::kueue::start(site.ground(), site.cluster()).await?;
    queue(&site, namespace).await?;

    let over_nodes = |tag: &str| {
        json!({
            "image": {"repository": "nvcr.io/nim/meta/llama", "tag": tag},
            "labels": {QUEUE: "nims"}, "resources": {"limits": {"nvidia.com/gpu": 8}},
            "multiNode": {"parallelism": {"pipeline": 2, "tensor": 8}, "mpi": {"mpiStartTimeout": 900}},
        })
    };
    apply(&site, namespace, "groups", over_nodes("1.12.0")).await?;
    ready(&site, namespace, "groups").await?;
    admitted(&site, namespace, "groups-lws", 2).await?;
    let set = objects::get(site.cluster(), "LeaderWorkerSet", namespace, "groups-lws").await?;
    assert_eq!(set["metadata"]["labels"][QUEUE], "nims");
    for template in ["leaderTemplate", "workerTemplate"] {
        let labels = &set["spec"]["leaderWorkerTemplate"][template]["metadata"]["labels"];
        assert!(labels.get(QUEUE).is_none(), "{template}: {labels}");
    }
    apply(&site, namespace, "plain", json!({"labels": {QUEUE: "nims"}})).await?;
    ready(&site, namespace, "plain").await?;

    // All twenty GPUs are given: the next one waits and says for what.
    let large = json!({"labels": {QUEUE: "nims"}, "resources": {"limits": {"nvidia.com/gpu": 8}}});
    apply(&site, namespace, "waits", large).await?;
    let message = says(&site, namespace, "waits", "SchedulingGated").await?;
    assert!(message.contains("Kueue"), "{message}");

    apply(&site, namespace, "groups", over_nodes("1.13.0")).await?;
    ready(&site, namespace, "groups").await?;
    site.eventually("the new pods are let go", SOON, || admitted(&site, namespace, "groups-lws", 2)).await?;
    let change = json!({"labels": {QUEUE: "nims"},
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.13.0"}});
    apply(&site, namespace, "plain", change).await?;
    ready(&site, namespace, "plain").await?;

    objects::delete(site.cluster(), "NIMService", namespace, "groups").await?;
    ready(&site, namespace, "waits").await?;
    Ok(())
}

#[tokio::test]
async fn the_endpoint_picker_runs_as_its_objects_say() -> Result<(), Failure> {
    let routes = ["HTTPRoute", "GRPCRoute"];
    let site = Site::new().gpus(H100, 8, 1).audited().with(&routes).prepare().await?;
    foreign::picker::install(site.cluster()).await?;
    site.start_operator().await?;
    let (namespace, name) = ("picked", "picker");
    let plugins = json!({
        "plugins": [{"type": "kv-cache-utilization-scorer"}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "kv-cache-utilization-scorer"}]}],
    });
    let image = json!({"repository": "registry.k8s.io/gateway-api-inference-extension/epp", "tag": "v1.3.0"});
    let pool = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name});
    let router = json!({
        "hostDomainName": "models.example.com",
        "gateway": {"name": "gate", "namespace": "gateways", "httpRoutesEnabled": true, "backendRef": pool},
        "eppConfig": {"config": plugins, "containerSpec": {"name": "epp", "image": image}},
    });
    let spec = json!({
        "replicas": 2, "resources": {"limits": {"nvidia.com/gpu": 1}},
        "expose": {"service": {"port": 8000}, "router": router},
    });
    apply(&site, namespace, name, spec).await?;
    ready(&site, namespace, name).await?;

    let since = Instant::now();
    let log = site.cluster().folder().join(format!("{name}-epp.log"));
    let picker = foreign::picker::start(site.cluster(), namespace, &format!("{name}-epp")).await?;
    site.eventually("it has both replicas in its pool", SOON, || async {
        if let Some(status) = picker.ended() {
            return Err(Failure::new(format!("it has ended: {status}")));
        }
        // It asks each pod of its pool for its load, and writes down that a pod of kwok's has none.
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let pods = objects::list(site.cluster(), "Pod", namespace).await?;
        let names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
        let asked = names.filter(|pod| log.contains(&format!("\"{pod}-rank-0\""))).count();
        if asked == 2 { Ok(()) } else { Err(Failure::new(format!("it asks {asked} of 2 pods"))) }
    })
    .await?;
    eprintln!("the picker has its pool after {:.1} s", since.elapsed().as_secs_f32());
    let account = format!("system:serviceaccount:{namespace}:{name}-epp");
    let of_picker = |request: &Request| request.user == account;
    let asked: Vec<_> = site.cluster().audit().requests().into_iter().filter(of_picker).collect();
    let refused: Vec<_> = asked.iter().filter(|request| request.code >= 400).collect();
    assert!(!asked.is_empty() && refused.is_empty(), "of {} requests: {refused:?}", asked.len());
    Ok(())
}

#[tokio::test]
async fn knatives_validator_takes_what_kserve_makes() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).start().await?;
    let _kserve = foreign::kserve::start(site.ground(), site.cluster()).await?;
    let validator = tokio::task::spawn_blocking(|| Controller::Knative.ready()).await??.program;
    let namespace = "served";
    let knative = |mode: &str, more: Value| {
        let mut annotations = json!({"serving.kserve.io/deploymentMode": mode});
        if let (Some(all), Value::Object(more)) = (annotations.as_object_mut(), more) {
            all.extend(more);
        }
        json!({"inferencePlatform": "kserve", "annotations": annotations})
    };
    let with = |mut spec: Value, more: Value| {
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        spec
    };
    let bounds = json!({"autoscaling.knative.dev/min-scale": "3", "autoscaling.knative.dev/max-scale": "5"});
    let claim = json!({"pvc": {"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteMany"}});
    let probe = json!({"enabled": true, "probe": {"httpGet": {"path": "/v1/health/ready", "port": 8000}, "failureThreshold": 120}});
    let features = [
        "kubernetes.podspec-persistent-volume-claim=enabled",
        "kubernetes.podspec-persistent-volume-write=enabled",
        "kubernetes.podspec-nodeselector=enabled",
        "kubernetes.podspec-tolerations=enabled",
    ];
    for (name, spec, refused) in [
        ("plain", knative("Knative", json!({})), None),
        ("bounded", knative("Serverless", bounds), None),
        (
            "stored",
            with(knative("Knative", json!({})), json!({"storage": claim})),
            Some("persistent volume claim"),
        ),
        (
            "pinned",
            with(
                knative("Serverless", json!({})),
                json!({
                    "nodeSelector": {"type": "kwok"}, "startupProbe": probe,
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
                }),
            ),
            Some("must not set the field"),
        ),
    ] {
        apply(&site, namespace, name, spec).await?;
        let service = format!("{name}-predictor");
        let get = ["get", "services.serving.knative.dev", &service, "-n", namespace, "-o", "json"];
        let mut found: Value = site
            .eventually(&format!("KServe makes {service}"), SOON, || async {
                Ok(serde_json::from_str(&site.cluster().kubectl(&get, None).await?)?)
            })
            .await?;
        // As it was sent: what the API server has added is not the user's.
        let kept = |field: &str| found["metadata"][field].clone();
        found["metadata"] = json!({"name": kept("name"), "namespace": namespace,
            "labels": kept("labels"), "annotations": kept("annotations")});
        found["status"] = json!({});
        let text = found.to_string();
        run(&validator, &features, Some(&text))
            .await
            .map_err(|error| Failure::new(format!("{name}: {error}")))?;
        let bare = run(&validator, &[], Some(&text)).await.map_err(|error| error.said);
        match (refused, &bare) {
            (None, Ok(_)) => {}
            (Some(words), Err(said)) if said.contains(words) => {}
            _ => return Err(Failure::new(format!("{name} without the features: {bare:?}"))),
        }
        objects::delete(site.cluster(), "NIMService", namespace, name).await?;
    }
    Ok(())
}

/// The script of docs/gitops.md.
const HEALTH: &str = include_str!("../../docs/gitops/health.lua");

/// Waits until Argo CD and Flux say so of an object of the hub, and kubectl of its condition `Ready`.
async fn judged(
    fleet: &Fleet,
    judge: &std::path::Path,
    (kind, namespace, name): (&str, &str, &str),
    (argo, flux, ready): (&str, &str, &str),
) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    let check = || async {
        let object = objects::get(hub, kind, namespace, name).await?;
        let asked = json!({"lua": HEALTH, "object": object}).to_string();
        let said: Value = serde_json::from_str(&run(judge, &[], Some(&asked)).await?)?;
        let says = (said["argo"].as_str(), said["flux"].as_str());
        if says == (Some(argo), Some(flux)) {
            Ok(said)
        } else {
            Err(Failure::new(format!("{said} of {}", object["status"])))
        }
    };
    let said = fleet.eventually(&format!("{kind} {name} is {argo} and {flux}"), SOON, check).await?;
    eprintln!("| {kind} {name} | {argo}: {} | {flux} |", said["argoMessage"].as_str().unwrap_or_default());
    let (of, condition) = (format!("{kind}/{name}"), format!("--for=condition=Ready={ready}"));
    let wait = ["wait", &condition, &of, "--namespace", namespace, "--timeout=5s"];
    hub.kubectl(&wait, None).await?;
    Ok(())
}

#[tokio::test]
async fn argo_cd_and_flux_judge_each_phase_as_it_is() -> Result<(), Failure> {
    let judge = tokio::task::spawn_blocking(|| Controller::GitOps.ready()).await??.program;
    let fleet = Fleet::new().cluster("east").gpus(H100, 8, 1).cluster("plain").cpu_nodes(1).start().await?;
    let (hub, namespace) = (fleet.hub().cluster(), sample::NAMESPACE);
    let healthy = ("Healthy", "Current", "True");
    let waits = ("Progressing", "InProgress", "False");

    // Placement before service, as a tool may apply them.
    objects::apply(hub, &sample::placement(sample::NAME, &json!({}))).await?;
    let placement = ("NIMPlacement", namespace, sample::NAME);
    judged(&fleet, &judge, placement, waits).await?;
    objects::apply(hub, sample::MANIFEST).await?;
    for kind in ["NIMPlacement", "NIMService", "NIMCache"] {
        judged(&fleet, &judge, (kind, namespace, sample::NAME), healthy).await?;
    }
    let quota = json!({
        "apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUQuota", "metadata": {"name": "team", "namespace": namespace},
        "spec": {"limits": [{"product": "*", "gpus": 8}]},
    });
    objects::apply(hub, &quota.to_string()).await?;
    judged(&fleet, &judge, ("GPUQuota", namespace, "team"), healthy).await?;
    judged(&fleet, &judge, ("GPUCluster", "", "east"), healthy).await?;

    // Nothing can take it.
    let large = sample::service(namespace, "large", json!({"resources": {"limits": {"nvidia.com/gpu": 64}}}));
    objects::apply(hub, &large.to_string()).await?;
    objects::apply(hub, &sample::placement("large", &json!({}))).await?;
    judged(&fleet, &judge, ("NIMPlacement", namespace, "large"), waits).await?;

    // A name that belongs to somebody in the cluster.
    let east = fleet.cluster("east")?;
    objects::apply(east.cluster(), &large.to_string().replace("large", "taken")).await?;
    objects::apply(hub, &sample::service(namespace, "taken", json!({})).to_string()).await?;
    objects::apply(hub, &sample::placement("taken", &json!({}))).await?;
    judged(&fleet, &judge, ("NIMPlacement", namespace, "taken"), ("Degraded", "Failed", "False")).await?;

    // Nobody hears of it.
    east.link().cut().await;
    judged(&fleet, &judge, placement, ("Degraded", "InProgress", "Unknown")).await?;
    judged(&fleet, &judge, ("GPUCluster", "", "east"), ("Degraded", "InProgress", "Unknown")).await?;
    objects::delete(hub, "NIMPlacement", namespace, sample::NAME).await?;
    judged(&fleet, &judge, placement, ("Progressing", "Terminating", "False")).await?;
    east.link().heal().await;
    Ok(())
}
