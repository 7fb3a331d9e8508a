//! What a NIMPipeline takes: all that its enabled services take, together in one cluster.

use serde_json::{Value, json};

use super::{Need, NeedError, service, text};

/// Need of a NIMPipeline. Its services become NIMServices in the cluster, and are never divided over clusters.
pub(super) fn need<'a>(
    pipeline: &Value,
    cache_of: impl Fn(&str) -> Option<&'a Value>,
) -> Result<Need, NeedError> {
    let part = |(place, entry): (usize, &Value)| {
        let named = json!({
            "kind": "NIMService",
            "metadata": {"namespace": text(pipeline, "/metadata/namespace"), "name": text(entry, "/name")},
            "spec": entry.get("spec"),
        });
        let cache = super::cache_name(entry).and_then(&cache_of);
        let of_service = service::need(&named, cache).map_err(|reason| NeedError::Service {
            name: text(pipeline, "/metadata/name").to_owned(),
            place,
            reason: Box::new(reason),
        })?;
        Ok(Need { service: text(entry, "/name").to_owned(), replicated: false, ..of_service })
    };
    let services: Result<Vec<Need>, NeedError> = enabled(pipeline).map(part).collect();
    Ok(Need { services: services?, ..Need::default() })
}

/// The services of a pipeline that are enabled, with their place in the list; none of another object.
pub(super) fn enabled(pipeline: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let services = pipeline.pointer("/spec/services").and_then(Value::as_array);
    let is_enabled = |service: &Value| service.get("enabled").and_then(Value::as_bool) == Some(true);
    services.into_iter().flatten().enumerate().filter(move |(_, service)| is_enabled(service))
}

/// Names of the NIMServices that a pipeline has made. `pipeline` needs no kind.
pub fn service_names(pipeline: &Value) -> impl Iterator<Item = &str> {
    enabled(pipeline).map(|(_, service)| text(service, "/name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::need::{GpuNeed, caches, of};

    fn service(name: &str, enabled: bool, spec: &Value) -> Value {
        json!({"name": name, "enabled": enabled, "spec": spec})
    }

    fn pipeline(services: &[Value]) -> Value {
        json!({"kind": "NIMPipeline", "metadata": {"name": "rag", "namespace": "nim"}, "spec": {"services": services}})
    }

    fn gpus(count: u32) -> Value {
        json!({"limits": {"nvidia.com/gpu": count}})
    }

    #[test]
    fn a_pipeline_takes_what_its_enabled_services_take() {
        let profiles = json!([{"name": "p", "config": {"tp": "2", "gpu": "L40S"}}]);
        let cache = json!({
            "metadata": {"name": "weights"}, "spec": {"source": {"ngc": {}}}, "status": {"profiles": profiles},
        });
        let wide = json!({"resources": gpus(8), "multiNode": {"parallelism": {"pipeline": 2}}});
        let on_cache = json!({"storage": {"nimCache": {"name": "weights", "profile": "p"}}, "replicas": 3});
        let scaled = json!({"resources": gpus(1), "scale": {"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 4}}});
        let object = pipeline(&[
            service("wide", true, &wide),
            service("off", false, &json!({"resources": gpus(64)})),
            service("cached", true, &on_cache),
            service("scaled", true, &scaled),
        ]);
        let need = of(&object, |name| (name == "weights").then_some(&cache)).unwrap();
        assert_eq!((need.gpu.clone(), need.replicated, need.divisible()), (None, false, false));
        let told: Vec<_> =
            need.parts().map(|part| (part.service.as_str(), part.replicas, part.most_replicas)).collect();
        assert_eq!(told, [("wide", 1, 0), ("cached", 3, 0), ("scaled", 2, 4)]);
        let gpu = |per_pod, pods| GpuNeed { resource: "nvidia.com/gpu".into(), per_pod, pods };
        let taken: Vec<_> = need.parts().map(|part| part.gpu.clone().unwrap()).collect();
        assert_eq!(taken, [gpu(8, 2), gpu(2, 1), gpu(1, 1)]);
        assert!(need.services[0].platforms.contains("lws"));
        assert_eq!(need.services[1].kind.products, [["L40S"]], "as its profile says");
        assert_eq!(
            (caches(&object), service_names(&object).collect::<Vec<_>>()),
            (vec!["weights"], vec!["wide", "cached", "scaled"])
        );
        assert_eq!(need.services[1].pods_of("u"), "u/cached");
    }

    #[test]
    fn a_pipeline_without_services_takes_nothing() {
        for object in [pipeline(&[]), pipeline(&[service("off", false, &json!({"resources": gpus(1)}))])] {
            let need = of(&object, |_| None).unwrap();
            assert!(need.parts().all(|part| part.gpu.is_none()) && !need.runs());
        }
    }

    #[test]
    fn what_means_nothing_is_told_with_the_place_of_the_service() {
        let object = pipeline(&[
            service("a", true, &json!({})),
            service("b", true, &json!({"resources": gpus(0), "replicas": "many"})),
        ]);
        let error = of(&object, |_| None).unwrap_err().to_string();
        assert_eq!(
            error,
            "NIMPipeline rag: spec.services[1].spec: NIMService b: spec.replicas: \"many\" is not a whole number from 0 to 100000"
        );
    }
}
