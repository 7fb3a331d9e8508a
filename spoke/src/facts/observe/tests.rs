//! When a report is made, and when it is news.

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
    assert_eq!(picture.report(1), None, "pods are unknown");
    picture.fold(News::Pod(Event::Init));
    picture.fold(News::Pod(Event::InitApply(pod("3"))));
    assert_eq!(picture.report(1), None, "pods are half known");
    assert!(picture.fold(News::Pod(Event::InitDone)));
    let report = picture.report(7).unwrap();
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
    assert_eq!(picture.report(1).unwrap().pools[0].free, 0);
    assert!(picture.fold(News::Pod(Event::Delete(pod("8")))));
    assert_eq!(picture.report(1).unwrap().pools[0].free, 8);
    assert!(!picture.fold(News::Node(Event::Apply(node("8")))), "a heartbeat of the node is no news");
}

#[test]
fn time_alone_is_no_news() {
    let (sender, mut receiver) = watch::channel(None);
    let report = CapacityReport { zone: "a".into(), observed_at_ms: 1, ..CapacityReport::default() };
    publish(&sender, report.clone());
    assert!(receiver.has_changed().unwrap());
    receiver.mark_unchanged();
    publish(&sender, CapacityReport { observed_at_ms: 2, ..report.clone() });
    assert!(!receiver.has_changed().unwrap());
    publish(&sender, CapacityReport { observed_at_ms: 3, zone: "b".into(), ..report });
    assert!(receiver.has_changed().unwrap());
}
