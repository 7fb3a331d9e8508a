//! What a NeMo microservice takes, and what else of its namespace it calls.

use serde_json::Value;

use super::{GpuKind, GpuNeed, Need, NeedError, cache, gpu, nodes, pod, service, storage, text};

/// The resources of a microservice's own pod.
const POD: &str = "/spec/resources";
/// The resources of a training job that a NemoCustomizer starts.
const JOB: &str = "/spec/trainingConfig/resources";

/// Need of a NeMo microservice. Its replicas are never divided over clusters: they share a database and a volume.
pub(super) fn need(object: &Value) -> Result<Need, NeedError> {
    let own = gpu::of(object, POD)?.map(|(resource, per_pod)| GpuNeed { resource, per_pod, pods: 1 });
    let jobs = if text(object, "/kind") == "NemoCustomizer" { Some(job(object)?) } else { None };
    let products = [
        cache::selected_product(object, cache::NODES),
        cache::selected_product(object, "/spec/trainingConfig/nodeSelector"),
    ];
    let products: Vec<_> = products.into_iter().filter(|list| !list.is_empty()).collect();
    let (replicas, autoscaled) = service::replicas(object)?;
    let (millicores, memory_mib) = pod::of(object, POD)?;
    let claims = ["/spec/pvc", "/spec/configStore/pvc", "/spec/trainingConfig/modelPVC"];
    let claims = claims.into_iter().filter_map(|pvc| storage::claim(object, pvc).transpose());
    Ok(Need {
        gpu_nodes: own.is_some() || jobs.is_some() || !products.is_empty(),
        gpu: own,
        jobs,
        kind: GpuKind { products, min_memory_mib: 0 },
        nodes: nodes::of(object, "/spec"),
        job_nodes: nodes::of(object, "/spec/trainingConfig"),
        millicores,
        memory_mib,
        claims: claims.collect::<Result<_, _>>()?,
        replicas,
        autoscaled,
        ..Need::default()
    })
}

/// GPUs of one training job: what the customizer says, and one where it says nothing, since training takes one.
fn job(customizer: &Value) -> Result<GpuNeed, NeedError> {
    let (resource, per_pod) =
        gpu::of(customizer, JOB)?.unwrap_or_else(|| (gpu::DEFAULT_RESOURCE.to_owned(), 1));
    Ok(GpuNeed { resource, per_pod, pods: 1 })
}

/// Where a NeMo microservice names what it calls, and the kind of that.
const ENDPOINTS: [(&str, &str); 3] = [
    ("/spec/datastore/endpoint", "NemoDatastore"),
    ("/spec/entitystore/endpoint", "NemoEntitystore"),
    ("/spec/nimEndpoint/baseURL", "NIMService"),
];

/// What of its own namespace an object calls by URL: kinds and names. `spec` is the object with its `/spec`.
#[must_use]
pub fn called<'a>(spec: &'a Value, namespace: &str) -> Vec<(&'static str, &'a str)> {
    let urls = ENDPOINTS.into_iter().map(|(path, kind)| (kind, text(spec, path)));
    urls.filter_map(|(kind, url)| Some((kind, service_of(url, namespace)?))).collect()
}

/// The Service of `namespace` that a URL leads to: `http://name`, `http://name.namespace`, and with `.svc` and what
/// may follow. `None` for every other host.
fn service_of<'a>(url: &'a str, namespace: &str) -> Option<&'a str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let host = rest.split(['/', ':', '?', '#']).next()?;
    let mut labels = host.split('.');
    let name = labels.next().filter(|name| !name.is_empty())?;
    let here = labels.next().is_none_or(|label| label == namespace);
    (here && labels.next().is_none_or(|label| label == "svc")).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, spec: &Value) -> Value {
        json!({"kind": kind, "metadata": {"name": "x"}, "spec": spec})
    }

    #[test]
    fn a_customizer_needs_nodes_for_its_jobs_and_sets_no_gpu_aside() {
        for (training, resource, per_pod) in [
            (json!({}), "nvidia.com/gpu", 1),
            (json!({"resources": {"limits": {"nvidia.com/gpu": "8"}}}), "nvidia.com/gpu", 8),
            (json!({"resources": {"requests": {"nvidia.com/mig-1g.10gb": 2}}}), "nvidia.com/mig-1g.10gb", 2),
        ] {
            let need = need(&object("NemoCustomizer", &json!({"trainingConfig": training}))).unwrap();
            let jobs = need.jobs.clone().unwrap();
            assert_eq!(
                (jobs.resource.as_str(), jobs.per_pod, jobs.pods),
                (resource, per_pod, 1),
                "{training}"
            );
            assert!(need.gpu_nodes && need.gpu.is_none() && need.kind.is_any());
        }
        let spec = json!({"trainingConfig": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100"}}});
        assert_eq!(need(&object("NemoCustomizer", &spec)).unwrap().kind.products, [["NVIDIA-H100"]]);
        let spec = json!({"trainingConfig": {"resources": {"limits": {"nvidia.com/gpu": "many"}}}});
        let error = need(&object("NemoCustomizer", &spec)).unwrap_err().to_string();
        assert!(error.contains("spec.trainingConfig.resources.limits.nvidia.com/gpu"), "{error}");
    }

    #[test]
    fn other_microservices_need_what_their_own_pod_says() {
        let plain = need(&object("NemoDatastore", &json!({"replicas": 2}))).unwrap();
        assert_eq!((plain.replicas, plain.divisible(), plain.gpu_nodes), (2, false, false));
        assert_eq!((plain.gpu, plain.jobs), (None, None));
        let spec = json!({"resources": {"limits": {"nvidia.com/gpu": 1}},
                          "scale": {"enabled": true, "hpa": {"minReplicas": 3, "maxReplicas": 4}}});
        let scaled = need(&object("NemoGuardrail", &spec)).unwrap();
        assert_eq!((scaled.gpu.map(|gpu| gpu.per_pod), scaled.gpu_nodes), (Some(1), true));
        assert_eq!((scaled.replicas, scaled.autoscaled), (3, true));
    }

    #[test]
    fn what_is_called_in_the_own_namespace_is_found() {
        for (url, found) in [
            ("http://store:8000", Some("store")),
            ("https://store", Some("store")),
            ("http://store.nemo:8000/v1/hf", Some("store")),
            ("http://store.nemo.svc/v1", Some("store")),
            ("http://store.nemo.svc.cluster.local:8000/v1", Some("store")),
            ("http://store.other.svc.cluster.local:8000/v1", None),
            ("https://integrate.api.nvidia.com/v1", None),
            ("https://store.nemo.example.com", None),
            ("http://", None),
            ("ftp://store", None),
            ("", None),
        ] {
            assert_eq!(service_of(url, "nemo"), found, "{url}");
        }
        let spec = json!({"spec": {
            "datastore": {"endpoint": "http://data.nemo.svc.cluster.local:8000/v1/hf"},
            "entitystore": {"endpoint": "http://entities:8000"},
            "nimEndpoint": {"baseURL": "http://llm.nemo:8000/v1"},
            "vectorDB": {"endpoint": "http://milvus:19530"},
        }});
        let expected = [("NemoDatastore", "data"), ("NemoEntitystore", "entities"), ("NIMService", "llm")];
        assert_eq!(called(&spec, "nemo"), expected);
        assert_eq!(called(&json!({"spec": {}}), "nemo"), []);
    }
}
