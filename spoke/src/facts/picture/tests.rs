//! When a report is made, and of what.

use serde_json::json;

use super::*;

fn node(gpus: &str) -> SlimNode {
    serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "a"}},
        "status": {
            "capacity": {"nvidia.com/gpu": gpus},
            "allocatable": {"nvidia.com/gpu": gpus},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
    .unwrap()
}

fn pod(gpus: &str) -> SlimPod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "models"},
        "spec": {"nodeName": "n1", "containers": [{"resources": {"requests": {"nvidia.com/gpu": gpus}}}]},
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

#[test]
fn half_a_picture_is_not_reported() {
    let mut picture = Picture::default();
    picture.set_platforms(("v1.36.3".into(), vec![]));
    picture.fold(News::Node(Event::Init));
    picture.fold(News::Node(Event::InitApply(node("8"))));
    picture.fold(News::Node(Event::InitDone));
    assert_eq!(picture.report(&BTreeMap::new(), 1), None, "pods are unknown");
    picture.fold(News::Pod(Event::Init));
    picture.fold(News::Pod(Event::InitApply(pod("3"))));
    assert_eq!(picture.report(&BTreeMap::new(), 1), None, "pods are half known");
    assert!(picture.fold(News::Pod(Event::InitDone)));
    let report = picture.report(&BTreeMap::new(), 7).unwrap();
    assert_eq!((report.observed_at_ms, report.zone.as_str()), (7, "a"));
    assert_eq!((report.pools[0].allocatable, report.pools[0].free), (8, 5));
}

#[test]
fn a_pod_that_goes_frees_its_gpus() {
    let mut picture = Picture::default();
    picture.set_platforms(("v1.36.3".into(), vec![]));
    picture.fold(News::Node(Event::InitDone));
    picture.fold(News::Pod(Event::InitDone));
    assert!(picture.fold(News::Node(Event::Apply(node("8")))));
    assert!(picture.fold(News::Pod(Event::Apply(pod("8")))));
    assert_eq!(picture.report(&BTreeMap::new(), 1).unwrap().pools[0].free, 0);
    assert!(picture.fold(News::Pod(Event::Delete(pod("8")))));
    assert_eq!(picture.report(&BTreeMap::new(), 1).unwrap().pools[0].free, 8);
    assert!(!picture.fold(News::Node(Event::Apply(node("8")))), "a heartbeat of the node is no news");
}

#[test]
fn what_is_not_known_is_not_told_and_what_is_there_is() {
    let mut picture = Picture::default();
    let dra = Platform { name: "dra".into(), version: "v1".into(), served: vec!["v1".into()] };
    picture.set_platforms(("v1.36.3".into(), vec![dra]));
    picture.fold(News::Node(Event::InitDone));
    picture.fold(News::Pod(Event::InitDone));
    let report = |picture: &Picture| picture.report(&BTreeMap::new(), 1).unwrap();
    assert_eq!((report(&picture).storage, report(&picture).devices), (None, None));
    picture.fold(News::StorageClass(Event::InitDone));
    picture.fold(News::DeviceClass(Event::InitDone));
    picture.fold(News::Slice(Event::InitDone));
    assert_eq!((report(&picture).storage, report(&picture).devices), (Some(vec![]), None));
    picture.fold(News::Claim(Event::InitDone));
    assert_eq!(report(&picture).devices, Some(vec![]));
    picture.set_platforms(("v1.36.3".into(), vec![]));
    assert_eq!(report(&picture).devices, None, "the API is gone");
}

#[test]
fn bound_pods_of_delivered_objects_are_counted_by_uid() {
    let mut picture = Picture::default();
    picture.set_platforms(("v1.36.3".into(), vec![]));
    picture.fold(News::Node(Event::InitDone));
    picture.fold(News::Pod(Event::InitDone));
    for (name, of) in [("llm-0", "llm"), ("llm-1", "llm"), ("local-0", "local")] {
        let mut pod = pod("2");
        pod.metadata.name = Some(name.to_owned());
        let labels =
            [("app.kubernetes.io/managed-by", "k8s-nim-operator"), ("app.kubernetes.io/instance", of)];
        pod.metadata.labels = Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        picture.fold(News::Pod(Event::Apply(pod)));
    }
    let delivered = BTreeMap::from([(("models".to_owned(), "llm".to_owned()), "u1".to_owned())]);
    let bound = picture.report(&delivered, 1).unwrap().bound;
    assert_eq!(bound, Some(BTreeMap::from([("u1".to_owned(), 2)])));
}

#[test]
fn devices_that_pods_get_as_a_resource_are_a_pool_and_no_device_is_free_twice() {
    let mut picture = Picture::default();
    let dra = Platform { name: "dra".into(), version: "v1".into(), served: vec!["v1".into()] };
    picture.set_platforms(("v1.36.3".into(), vec![dra]));
    let mut bare = node("0");
    bare.metadata.labels = None;
    for news in [News::Node(Event::Init), News::Node(Event::InitApply(bare)), News::Node(Event::InitDone)] {
        picture.fold(news);
    }
    let asks: SlimPod = pod("1");
    for news in [News::Pod(Event::Init), News::Pod(Event::InitApply(asks)), News::Pod(Event::InitDone)] {
        picture.fold(news);
    }
    let device = |name: &str| {
        json!({
            "name": name, "attributes": {"productName": {"string": "NVIDIA H100 80GB HBM3"}},
            "capacity": {"memory": {"value": "81559Mi"}},
        })
    };
    let given =
        |device: &str| json!({"request": "r", "driver": "gpu.nvidia.com", "pool": "n1", "device": device});
    let class = json!({"metadata": {"name": "gpu.nvidia.com"}, "spec": {"extendedResourceName": "nvidia.com/gpu",
        "selectors": [{"cel": {"expression": "device.driver == 'gpu.nvidia.com'"}}]}});
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "gpu.nvidia.com", "nodeName": "n1",
        "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 1},
        "devices": [device("gpu-0"), device("gpu-1"), device("gpu-2"), device("gpu-3")]}});
    // One is the pod's, another one somebody's claim.
    let claim = |name: &str, device: &str| {
        json!({"metadata": {"name": name, "namespace": "nim"}, "spec": {},
        "status": {"allocation": {"devices": {"results": [given(device)]}}}})
    };
    picture.fold(News::DeviceClass(Event::InitDone));
    picture.fold(News::Slice(Event::InitDone));
    picture.fold(News::DeviceClass(Event::Apply(serde_json::from_value(class).unwrap())));
    picture.fold(News::Slice(Event::Apply(serde_json::from_value(slice).unwrap())));
    assert!(picture.report(&BTreeMap::new(), 1).unwrap().pools.is_empty(), "claims are not known yet");
    picture.fold(News::Claim(Event::InitDone));
    for (name, device) in [("pod", "gpu-0"), ("own", "gpu-1")] {
        picture.fold(News::Claim(Event::Apply(serde_json::from_value(claim(name, device)).unwrap())));
    }
    let pool = picture.report(&BTreeMap::new(), 1).unwrap().pools.remove(0);
    assert_eq!((pool.product.as_str(), pool.resource.as_str()), ("NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu"));
    assert_eq!((pool.memory_mib, pool.capacity, pool.free), (81_559, 4, 2));
}
