//! GPUs that are there: behind taints, without labels of GPU feature discovery, as devices; and labels that nodes lack.

use e2e::cluster::gpu::{H100, NVIDIA_NODE};
use e2e::failure::Failure;
use e2e::fleet::Fleet;
use e2e::{objects, sample};
use serde_json::{Value, json};

use super::shares::{SOON, knows_labels};

/// A service with more of its spec.
fn service(name: &str, more: &Value) -> String {
    let mut object = json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": name, "namespace": sample::NAMESPACE},
        "spec": {
            "image": {"repository": "nvcr.io/nim/example", "tag": "1"}, "authSecret": "ngc-api-secret",
            "storage": {"emptyDir": {}}, "replicas": 1,
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object.to_string()
}

/// The same with one GPU.
fn with_gpu(name: &str, more: &Value) -> String {
    let mut spec = json!({"resources": {"limits": {"nvidia.com/gpu": 1}}});
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    service(name, &spec)
}

/// The cache of the sample, and its service.
fn documents() -> [&'static str; 2] {
    let mut documents = sample::MANIFEST.split("---\n").filter(|document| !document.is_empty());
    [documents.next().unwrap_or_default(), documents.next().unwrap_or_default()]
}

/// The sample, service and cache with these tolerations.
fn sample_with(name: &str, service: &Value, cache: &Value) -> String {
    let [first, second] = documents();
    let of = |document: &str, tolerations: &Value| {
        document.replacen("\nspec:\n", &format!("\nspec:\n  tolerations: {tolerations}\n"), 1)
    };
    format!("{}---\n{}", of(first, cache), of(second, service)).replace(sample::NAME, name)
}

/// Places what has been applied in one cluster, and gives back the reasons why it is not there, if it is not.
async fn place(fleet: &Fleet, name: &str, cluster: &str, gpu: &Value) -> Result<Option<String>, Failure> {
    let more = json!({"clusterAffinity": {"clusterNames": [cluster]}, "gpu": gpu});
    objects::apply(fleet.hub().cluster(), &sample::placement(name, &more)).await?;
    decided(fleet, name).await
}

async fn decided(fleet: &Fleet, name: &str) -> Result<Option<String>, Failure> {
    fleet
        .eventually(&format!("{name} is decided"), SOON, || async {
            let placement = sample::placed(fleet, name).await?;
            match objects::condition(&placement, "Scheduled") {
                Some((_, reason, _)) if reason == "Placed" => Ok(None),
                Some((_, reason, _)) if reason == "NoClusterFits" => {
                    let of_cluster = placement["status"]["refusals"].as_array().cloned().unwrap_or_default();
                    let told = of_cluster.iter().find(|refusal| refusal["reason"] != "AffinityMismatch");
                    told.map(|refusal| Some(refusal.to_string()))
                        .ok_or_else(|| Failure::new(placement["status"].to_string()))
                }
                other => Err(Failure::new(format!("{other:?}"))),
            }
        })
        .await
}

fn says(refusal: Option<String>, reason: &str, words: &str) {
    let refusal = refusal.unwrap_or_default();
    assert!(refusal.contains(reason) && refusal.contains(words), "{reason}: {words}: {refusal}");
}

/// Waits until the status of a GPUCluster is so.
async fn reported(
    fleet: &Fleet,
    cluster: &str,
    what: &str,
    is: impl Fn(&Value) -> bool,
) -> Result<(), Failure> {
    fleet
        .eventually(&format!("{cluster} {what}"), SOON, || async {
            let known = objects::get(fleet.hub().cluster(), "GPUCluster", "", cluster).await?;
            if is(&known["status"]) { Ok(()) } else { Err(Failure::new(known["status"].to_string())) }
        })
        .await
}

async fn patch_node(fleet: &Fleet, cluster: &str, change: Value) -> Result<(), Failure> {
    let name = format!("{cluster}-0");
    objects::patch(fleet.cluster(cluster)?.cluster(), "Node", "", &name, change).await
}

#[tokio::test]
async fn gpus_behind_taints_go_to_those_who_tolerate_them_and_labels_that_no_node_has_are_named_beforehand()
-> Result<(), Failure> {
    let fleet = Fleet::new().cluster("aks").gpus(H100, 4, 1).cluster("gke").gpus(H100, 4, 1).start().await?;
    let hub = fleet.hub().cluster();
    let sku = json!([{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]);
    patch_node(&fleet, "aks", json!({"spec": {"taints": sku}})).await?;
    reported(&fleet, "aks", "tells its taint", |status| {
        status["gpuSummary"] == "4/4"
            && status["gpus"][0]["tainted"][0]["taints"] == json!(["sku=gpu:NoSchedule"])
    })
    .await?;

    let tolerates = json!([{"key": "sku", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}]);
    objects::apply(hub, &sample_with("tolerant", &tolerates, &tolerates)).await?;
    assert_eq!(place(&fleet, "tolerant", "aks", &json!({})).await?, None);
    assert_eq!(sample::ready(&fleet, "tolerant").await?, ["aks"]);

    objects::apply(hub, &with_gpu("plain", &json!({}))).await?;
    let words = "4 GPUs of NVIDIA-H100-80GB-HBM3 on 1 node with taint sku=gpu:NoSchedule, which NIMService plain does not \
                 tolerate";
    says(place(&fleet, "plain", "aks", &json!({})).await?, "TaintNotTolerated", words);
    objects::apply(hub, &sample_with("half", &json!([{"operator": "Exists"}]), &json!([]))).await?;
    let words = "1 node with taint sku=gpu:NoSchedule, which NIMCache half does not tolerate";
    says(place(&fleet, "half", "aks", &json!({})).await?, "TaintNotTolerated", words);

    // Nothing of GPU feature discovery, nor of node feature discovery.
    let silent = json!({"nvidia.com/gpu.product": null, "nvidia.com/gpu.memory": null,
                        NVIDIA_NODE: null});
    patch_node(&fleet, "gke", json!({"metadata": {"labels": silent}})).await?;
    reported(&fleet, "gke", "names the node without labels", |status| {
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "GPUsLabelled"
                && condition["status"] == "False"
                && condition["message"].as_str().is_some_and(|message| message.contains("gke-0"))
        })
    })
    .await?;
    objects::apply(hub, &with_gpu("any", &json!({}))).await?;
    assert_eq!(place(&fleet, "any", "gke", &json!({})).await?, None);
    objects::apply(hub, &with_gpu("large", &json!({}))).await?;
    let words = "1 GPU node of gke has no labels of GPU feature discovery (nvidia.com/gpu.product, .memory): product and memory \
                 are not known";
    says(place(&fleet, "large", "gke", &json!({"minMemory": "16Gi"})).await?, "GPUUnknown", words);
    objects::apply(hub, &sample::named("cached")).await?;
    let words = "no node of gke has feature.node.kubernetes.io/pci-10de.present=true, which a NIMCache without \
                 spec.nodeSelector asks for (set nodeSelector: {} for any node)";
    says(place(&fleet, "cached", "gke", &json!({})).await?, "NoMatchingNode", words);
    // The cloud says what it is.
    patch_node(
        &fleet,
        "gke",
        json!({"metadata": {"labels": {"cloud.google.com/gke-accelerator": "nvidia-l4"}}}),
    )
    .await?;
    sample::says(&fleet, "large", "Scheduled", "Placed").await?;

    let selecting = json!({"nodeSelector": {"accelerator": "nvidia", "instanceType": "g5-gpu-karpenter"}});
    objects::apply(hub, &with_gpu("chosen", &selecting)).await?;
    let words = "no node has label instanceType=g5-gpu-karpenter";
    says(place(&fleet, "chosen", "gke", &json!({})).await?, "NoMatchingNode", words);
    let labels = json!({"accelerator": "nvidia", "instanceType": "g5-gpu-karpenter"});
    patch_node(&fleet, "gke", json!({"metadata": {"labels": labels}})).await?;
    sample::says(&fleet, "chosen", "Scheduled", "Placed").await?;
    let terms = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["west-gpu-0"]}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    objects::apply(hub, &with_gpu("pinned", &json!({"affinity": {"nodeAffinity": required}}))).await?;
    let words = "no node has label kubernetes.io/hostname=west-gpu-0 (there: gke-0)";
    says(place(&fleet, "pinned", "gke", &json!({})).await?, "NoMatchingNode", words);
    Ok(())
}

/// The class of NVIDIA's devices, with more of its spec.
fn class(more: &Value) -> String {
    let mut class = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "gpu.nvidia.com"},
        "spec": {"selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]},
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        class["spec"][field] = value.clone();
    }
    class.to_string()
}

/// Two of NVIDIA's devices on a node.
fn devices(node: &str) -> String {
    let device = |name: &str| {
        json!({
            "name": name,
            "attributes": {"type": {"string": "gpu"}, "productName": {"string": "NVIDIA H100 80GB HBM3"}},
            "capacity": {"memory": {"value": "81559Mi"}},
        })
    };
    let slice = json!({
        "apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": format!("{node}-slice")},
        "spec": {
            "driver": "gpu.nvidia.com", "nodeName": node, "devices": [device("gpu-0"), device("gpu-1")],
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
        },
    });
    format!("{}\n---\n{slice}", class(&json!({})))
}

#[tokio::test]
async fn a_cluster_whose_gpus_are_devices_has_gpus() -> Result<(), Failure> {
    let fleet = Fleet::new().cluster("dra").cpu_nodes(1).start().await?;
    let hub = fleet.hub().cluster();
    let nvidia = json!({NVIDIA_NODE: "true"});
    patch_node(&fleet, "dra", json!({"metadata": {"labels": nvidia}})).await?;
    knows_labels(&fleet, "dra").await?;
    objects::apply(fleet.cluster("dra")?.cluster(), &devices("dra-0")).await?;
    reported(&fleet, "dra", "counts its devices", |status| status["gpuSummary"] == "2/2").await?;

    let claims = json!([{"claimCreationSpec": {"devices": [
        {"name": "gpu", "count": 1, "deviceClassName": "gpu.nvidia.com", "driverName": "gpu.nvidia.com"}]}}]);
    let claiming = |name: &str, more: Value| {
        let mut spec = json!({"draResources": claims});
        if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        service(name, &spec)
    };
    let [cache, _] = documents();
    objects::apply(hub, &cache.replace(sample::NAME, "first")).await?;
    objects::apply(hub, &claiming("first", json!({"storage": {"nimCache": {"name": "first"}}}))).await?;
    let wants = json!({"minMemory": "40Gi", "products": ["H100"]});
    assert_eq!(place(&fleet, "first", "dra", &wants).await?, None);
    assert_eq!(sample::ready(&fleet, "first").await?, ["dra"]);

    for (name, gpu, reason, words) in [
        ("other", json!({"products": ["L40S"]}), "GPUProductMismatch", "NVIDIA H100 80GB HBM3 (devices)"),
        ("larger", json!({"minMemory": "100Gi"}), "GPUMemoryTooSmall", "needs 102400 MiB on each GPU"),
    ] {
        objects::apply(hub, &claiming(name, json!({}))).await?;
        says(place(&fleet, name, "dra", &gpu).await?, reason, words);
    }
    objects::apply(hub, &with_gpu("resource", &json!({}))).await?;
    let words = "its 2 GPUs are given out as devices (DeviceClass gpu.nvidia.com)";
    says(place(&fleet, "resource", "dra", &json!({})).await?, "NoGPU", words);
    // Where the class has an extended resource pods get its devices by that name too.
    let extended = class(&json!({"extendedResourceName": "nvidia.com/gpu"}));
    objects::apply(fleet.cluster("dra")?.cluster(), &extended).await?;
    sample::says(&fleet, "resource", "Scheduled", "Placed").await?;
    assert_eq!(
        sample::ready(&fleet, "resource").await?,
        ["dra"],
        "kube-scheduler makes the claim of its pod"
    );
    reported(&fleet, "dra", "has given both devices", |status| status["gpuSummary"] == "0/2").await?;
    objects::apply(hub, &claiming("third", json!({}))).await?;
    let words = "NIMService third needs 1 device of class gpu.nvidia.com; 0 of 2 are free";
    says(place(&fleet, "third", "dra", &json!({})).await?, "InsufficientDevices", words);
    Ok(())
}
