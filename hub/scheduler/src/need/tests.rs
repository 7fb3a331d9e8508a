//! Tables: what objects take.

use serde_json::{Value, json};

use super::*;

fn service(spec: &Value) -> Value {
    json!({"kind": "NIMService", "metadata": {"name": "llm"}, "spec": spec})
}

fn cache(model: &Value, profiles: &Value) -> Value {
    json!({"kind": "NIMCache", "metadata": {"name": "weights"},
           "spec": {"source": {"ngc": {"model": model}}}, "status": {"profiles": profiles}})
}

fn gpus(object: &Value, cache: Option<&Value>) -> Option<(String, u32, u32)> {
    need(object, cache).unwrap().gpu.map(|gpu| (gpu.resource, gpu.per_pod, gpu.pods))
}

#[test]
fn gpus_come_from_limits_then_requests() {
    for (resources, expected) in [
        (json!({}), None),
        (json!({"limits": {"nvidia.com/gpu": 2}}), Some(("nvidia.com/gpu", 2))),
        (json!({"limits": {"nvidia.com/gpu": "4"}}), Some(("nvidia.com/gpu", 4))),
        (json!({"limits": {"nvidia.com/gpu": "1k"}}), Some(("nvidia.com/gpu", 1000))),
        (json!({"requests": {"nvidia.com/gpu": 1, "cpu": "8"}}), Some(("nvidia.com/gpu", 1))),
        (json!({"limits": {"cpu": "8"}, "requests": {"nvidia.com/gpu": 3}}), Some(("nvidia.com/gpu", 3))),
        (json!({"limits": {"nvidia.com/mig-1g.10gb": 1}}), Some(("nvidia.com/mig-1g.10gb", 1))),
        (json!({"limits": {"nvidia.com/gpu.shared": 1}}), Some(("nvidia.com/gpu.shared", 1))),
        (json!({"limits": {"nvidia.com/pgpu": "1", "cpu": "8"}}), Some(("nvidia.com/pgpu", 1))),
        (
            json!({"limits": {"nvidia.com/gpu": 0, "nvidia.com/mig-1g.10gb": 1}}),
            Some(("nvidia.com/mig-1g.10gb", 1)),
        ),
        (json!({"limits": {"nvidia.com/gpu": 0}}), None),
        (json!({"limits": {"nvidia.com/hostdev": 1}}), None),
    ] {
        let expected = expected.map(|(name, count)| (name.to_owned(), count, 1));
        assert_eq!(gpus(&service(&json!({"resources": resources})), None), expected, "{resources}");
    }
}

#[test]
fn a_cached_profile_assigns_gpus_where_the_user_says_nothing() {
    let cached = cache(&json!({}), &json!([{"name": "p1", "config": {"tp": "4", "gpu": "H100"}}]));
    let with = |extra: &Value| {
        let mut spec = json!({"storage": {"nimCache": {"name": "weights", "profile": "p1"}}});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        service(&spec)
    };
    let one = |count| Some(("nvidia.com/gpu".to_owned(), count, 1));
    assert_eq!(gpus(&with(&json!({})), Some(&cached)), one(4));
    assert_eq!(gpus(&with(&json!({})), None), one(1), "profile not known yet");
    assert_eq!(gpus(&with(&json!({"resources": {"limits": {"nvidia.com/gpu": 2}}})), Some(&cached)), one(2));
    assert_eq!(gpus(&with(&json!({"resources": {"limits": {"nvidia.com/gpu": 0}}})), Some(&cached)), None);
    assert_eq!(gpus(&with(&json!({"draResources": [{"resourceClaimName": "x"}]})), Some(&cached)), None);
    assert_eq!(
        gpus(&with(&json!({"multiNode": {"parallelism": {"tensor": 8, "pipeline": 2}}})), Some(&cached)),
        Some(("nvidia.com/gpu".to_owned(), 8, 2))
    );
    let universal = json!({"kind": "NIMCache", "spec": {"source": {"hf": {}}}});
    assert_eq!(gpus(&with(&json!({})), Some(&universal)), None);
    assert_eq!(need(&with(&json!({})), Some(&cached)).unwrap().kind.products, [["H100"]]);
}

#[test]
fn replicas_and_who_owns_them() {
    for (spec, replicas, autoscaled) in [
        (json!({}), 1, false),
        (json!({"replicas": 0}), 0, false),
        (json!({"replicas": 3}), 3, false),
        (json!({"scale": {"enabled": true, "hpa": {"maxReplicas": 4}}}), 1, true),
        (json!({"scale": {"enabled": true, "hpa": {"minReplicas": 2, "maxReplicas": 4}}}), 2, true),
        (json!({"scale": {"enabled": true, "hpa": {"minReplicas": 0, "maxReplicas": 4}}}), 0, true),
        (json!({"replicas": 2, "scale": {"enabled": false}}), 2, false),
    ] {
        let need = need(&service(&spec), None).unwrap();
        assert_eq!(
            (need.replicas, need.autoscaled, need.divisible()),
            (replicas, autoscaled, !autoscaled),
            "{spec}"
        );
    }
}

#[test]
fn platforms_follow_the_kind_of_service() {
    for (spec, expected) in [
        (json!({"inferencePlatform": "standalone"}), vec![]),
        (json!({"inferencePlatform": "kserve"}), vec!["kserve"]),
        (
            json!({"inferencePlatform": "kserve", "annotations": {"serving.kserve.io/deploymentMode": "Knative"}}),
            vec!["knative", "kserve"],
        ),
        (
            json!({"inferencePlatform": "kserve", "annotations": {"serving.kserve.io/deploymentMode": "Standard"}}),
            vec!["kserve"],
        ),
        (json!({"multiNode": {"parallelism": {"pipeline": 2}}}), vec!["lws"]),
        (json!({"multiNode": {"parallelism": {"pipeline": 1}}}), vec![]),
    ] {
        let platforms = need(&service(&spec), None).unwrap().platforms;
        assert_eq!(platforms.into_iter().collect::<Vec<_>>(), expected, "{spec}");
    }
}

#[test]
fn devices_need_the_api_and_what_is_described() {
    let need_of = |claims: Value| need(&service(&json!({"draResources": claims})), None);
    let named = need_of(json!([{"resourceClaimTemplateName": "two-gpus"}])).unwrap();
    assert!(
        named.platforms.contains("dra") && named.devices.is_empty(),
        "only the cluster knows the template"
    );
    let described = need_of(json!([{"claimCreationSpec": {"devices": [
        {"name": "gpu"},
        {"name": "mig", "count": 2, "deviceClassName": "mig.nvidia.com", "driverName": "d",
         "attributeSelectors": [{"key": "a.b/profile", "op": "Equal", "value": {"stringValue": "1g.10gb"}},
                                {"key": "v", "op": "GreaterThanOrEqual", "value": {"versionValue": "9.0.0"}},
                                {"key": "n", "op": "LessThan", "value": {"intValue": 3}}],
         "capacitySelectors": [{"key": "memory", "op": "GreaterThan", "value": "40Gi"}]}]}}]))
    .unwrap();
    assert!(described.platforms.contains("dra"));
    let [plain, mig] = &described.devices[..] else { panic!("{:?}", described.devices) };
    assert_eq!(
        (plain.class.as_str(), plain.driver.as_str(), plain.count),
        ("gpu.nvidia.com", "gpu.nvidia.com", 1)
    );
    assert_eq!((mig.class.as_str(), mig.count), ("mig.nvidia.com", 2));
    assert_eq!(mig.field, "spec.draResources[0].claimCreationSpec.devices[1]");
    let told: Vec<_> =
        mig.selectors.iter().map(|one| (one.key.as_str(), one.comparison, one.wanted.clone())).collect();
    assert_eq!(
        told,
        [
            ("a.b/profile", Comparison::Equal, Wanted::Text("1g.10gb".into())),
            ("d/v", Comparison::GreaterOrEqual, Wanted::Version(vec![9, 0, 0])),
            ("d/n", Comparison::Less, Wanted::Number(3)),
            ("d/memory", Comparison::Greater, Wanted::Quantity("40Gi".into())),
        ]
    );
    let words: Vec<_> = mig.selectors.iter().map(ToString::to_string).collect();
    assert_eq!(words, ["a.b/profile = 1g.10gb", "d/v >= 9.0.0", "d/n < 3", "d/memory > 40Gi"]);
    assert!(need(&service(&json!({})), None).unwrap().platforms.is_empty());
    let error =
        need_of(json!([{"claimCreationSpec": {"devices": [{"name": "gpu", "count": 0}]}}])).unwrap_err();
    assert!(error.to_string().contains("devices[0].count: 0 is not a whole number"), "{error}");
}

#[test]
fn volumes_that_are_made_or_shared_are_needed() {
    let claim = |field: &str, class: Option<&str>, mounts, mib| ClaimNeed {
        field: field.into(),
        class: class.map(str::to_owned),
        mounts,
        mib,
    };
    let pvc = |mode: &str| json!({"create": true, "size": "100Gi", "storageClass": "fast", "volumeAccessMode": mode});
    let cache = |mode: &str| {
        json!({"kind": "NIMCache", "metadata": {"name": "weights", "namespace": "nim"},
                                    "spec": {"source": {"ngc": {}}, "storage": {"pvc": pvc(mode)}}})
    };
    let own = |pvc: &Value| need(&service(&json!({"storage": {"pvc": pvc}})), None).unwrap().claims;
    let field = "spec.storage.pvc";
    assert_eq!(own(&pvc("ReadWriteMany")), [claim(field, Some("fast"), Mounts::ManyNodes, 102_400)]);
    assert_eq!(own(&pvc("ReadWriteOnce")), [claim(field, Some("fast"), Mounts::OneNodeByAll, 102_400)]);
    assert_eq!(own(&json!({"create": true, "size": ""})), [claim(field, None, Mounts::OneNodeByAll, 0)]);
    assert_eq!(own(&json!({"name": "there"})), []);

    let weights = need(&cache("ReadWriteOnce"), None).unwrap();
    assert_eq!(weights.claims, [claim(field, Some("fast"), Mounts::OneNode, 102_400)]);
    let key = CacheKey { namespace: "nim".into(), name: "weights".into() };
    assert_eq!(weights.cache, Some(key.clone()));
    let mut served = service(&json!({"storage": {"nimCache": {"name": "weights"}}}));
    served["metadata"]["namespace"] = json!("nim");
    let served = need(&served, Some(&cache("ReadWriteOnce"))).unwrap();
    let shared = claim("NIMCache weights spec.storage.pvc", Some("fast"), Mounts::OneNodeByAll, 0);
    assert_eq!((served.claims, served.cache), (vec![shared], Some(key)));
}

#[test]
fn processor_and_memory_of_a_pod() {
    for (resources, expected) in [
        (json!({}), (0, 0)),
        (json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": 4}}), (500, 1024)),
        (json!({"limits": {"cpu": 4, "memory": "16Gi"}}), (4000, 16_384)),
        (json!({"requests": {"cpu": "2e3"}}), (2_000_000, 0)),
    ] {
        let object = service(&json!({"resources": resources}));
        let of_service = need(&object, None).unwrap();
        assert_eq!((of_service.millicores, of_service.memory_mib), expected, "{resources}");
        let nemo =
            need(&json!({"kind": "NemoGuardrail", "metadata": {"name": "g"}, "spec": object["spec"]}), None)
                .unwrap();
        assert_eq!((nemo.millicores, nemo.memory_mib), expected, "{resources}");
    }
}

#[test]
fn a_service_that_names_no_profile_brings_those_of_its_cache() {
    let profiles = json!([{"name": "p1", "config": {"tp": "4", "gpu": "H100", "precision": "fp8"}},
                          {"name": "p2", "config": {"tp": "1", "gpu": "L40S", "precision": "fp8"}}]);
    let named = cache(&json!({"profiles": ["p1", "p2"]}), &profiles);
    let of = |cached: &Value, profile: &str| {
        let spec = json!({"storage": {"nimCache": {"name": "weights", "profile": profile}}});
        need(&service(&spec), Some(cached)).unwrap().profiles
    };
    let free = of(&named, "").unwrap();
    let told: Vec<_> =
        free.choices.iter().map(|one| (one.name.as_str(), one.product.as_str(), one.gpus())).collect();
    assert_eq!(told, [("p1", "H100", 4), ("p2", "L40S", 1)]);
    assert_eq!(of(&named, "p1"), None, "its GPUs are those of the profile");
    let open = cache(&json!({}), &profiles);
    assert_eq!((free.named, of(&open, "").unwrap().named), (true, false));
}

#[test]
fn a_cache_takes_no_gpu_but_wants_gpu_nodes_and_fixes_the_product() {
    let need_of = |cache: &Value| need(cache, None).unwrap();
    let plain = need_of(&cache(&json!({}), &json!([])));
    assert!(plain.gpu.is_none() && plain.gpu_nodes && !plain.replicated);

    let named =
        cache(&json!({"gpus": [{"product": "h100"}, {"product": "l40s"}, {"ids": ["2330"]}]}), &json!([]));
    assert_eq!(need_of(&named).kind.products, [["h100", "l40s"]]);
    let mut free = cache(&json!({}), &json!([]));
    free["spec"]["nodeSelector"] = json!({});
    assert!(!need_of(&free).gpu_nodes, "an empty node selector takes the operator's default away");
}

#[test]
fn a_service_takes_the_products_of_its_cache_and_of_its_node_selector() {
    let spec = json!({"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}});
    let need =
        need(&service(&spec), Some(&cache(&json!({"gpus": [{"product": "h100"}]}), &json!([])))).unwrap();
    assert_eq!(need.kind.products, [["h100"], ["NVIDIA-H100-80GB-HBM3"]]);
}

#[test]
fn bad_numbers_are_named_with_path_and_value() {
    for (spec, words) in [
        (
            json!({"resources": {"limits": {"nvidia.com/gpu": "two"}}}),
            ["spec.resources.limits.nvidia.com/gpu", "two"],
        ),
        (
            json!({"resources": {"limits": {"nvidia.com/gpu": -1}}}),
            ["spec.resources.limits.nvidia.com/gpu", "-1"],
        ),
        (json!({"replicas": 1.5}), ["spec.replicas", "1.5"]),
        (
            json!({"resources": {"requests": {"memory": "much"}}}),
            ["spec.resources.requests.memory", "write it like 16Gi"],
        ),
        (
            json!({"storage": {"pvc": {"create": true, "size": "large"}}}),
            ["spec.storage.pvc.size", "write it like 200Gi"],
        ),
        (
            json!({"multiNode": {"parallelism": {"pipeline": 0}}}),
            ["spec.multiNode.parallelism.pipeline", "0"],
        ),
        (
            json!({"resources": {"limits": {"nvidia.com/gpu": 1, "nvidia.com/mig-1g.10gb": 1}}}),
            ["spec.resources.limits", "nvidia.com/mig-1g.10gb"],
        ),
    ] {
        let message = need(&service(&spec), None).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)) && message.contains("llm"), "{message}");
    }
}

#[test]
fn the_cache_of_a_service_has_a_name() {
    assert_eq!(cache_name(&service(&json!({"storage": {"nimCache": {"name": "weights"}}}))), Some("weights"));
    assert_eq!(cache_name(&service(&json!({"storage": {"pvc": {"create": true}}}))), None);
}

#[test]
fn other_kinds_are_refused_by_name() {
    let error = need(&json!({"kind": "Pod", "metadata": {"name": "x"}}), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Pod x: cannot be placed: only NIMService, NIMCache, NIMPipeline, NIMBuild and the NeMo kinds can"
    );
}

#[test]
fn a_slice_is_asked_for_beside_no_whole_gpu() {
    let limits = json!({"nvidia.com/gpu": "0", "nvidia.com/mig-1g.24gb": 1});
    for resources in [json!({"limits": limits}), json!({"limits": limits, "requests": limits})] {
        let service =
            json!({"kind": "NIMService", "metadata": {"name": "embed"}, "spec": {"resources": resources}});
        let gpu = need(&service, None).unwrap().gpu.unwrap();
        assert_eq!((gpu.resource.as_str(), gpu.total()), ("nvidia.com/mig-1g.24gb", 1), "{resources}");
    }
}
