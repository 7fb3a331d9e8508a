//! When a report is news.

use super::*;

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

#[test]
fn optional_kinds_are_watched_in_the_version_that_is_read() {
    let platform = |name: &str, versions: &[&str]| Platform {
        name: name.into(),
        version: versions[0].into(),
        served: versions.iter().map(|version| (*version).to_owned()).collect(),
    };
    assert_eq!(Served::of(&[]), Served::default());
    assert!(!Served::of(&[platform("dra", &["v1beta1"])]).devices);
    let both = Served::of(&[platform("dra", &["v1beta2", "v1"]), platform("kueue", &["v1beta1"])]);
    assert_eq!(both, Served { devices: true, kueue: Some("v1beta1".into()) });
}
