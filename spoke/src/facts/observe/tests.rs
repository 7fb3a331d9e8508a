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

/// A picture of a cluster without nodes.
fn empty() -> Picture {
    let mut picture = Picture::default();
    picture.set_platforms(("v1".into(), vec![]));
    picture.fold(News::Node(Event::InitDone));
    picture.fold(News::Pod(Event::InitDone));
    picture
}

#[test]
fn who_looks_is_told_by_which_report_and_that_is_published_at_once() {
    let (report, mut published) = watch::channel(None);
    let outbox = Outbox::default();
    assert_eq!(tell(&Picture::default(), &outbox, &report), None, "nothing has been seen");
    let first = tell(&empty(), &outbox, &report).unwrap();
    let told = published.borrow_and_update().clone().unwrap();
    assert_eq!((first.observed_at_ms, &first.pools), (told.observed_at_ms, &told.pools));
    std::thread::sleep(Duration::from_millis(2));
    let again = tell(&empty(), &outbox, &report).unwrap();
    assert_eq!(again.observed_at_ms, first.observed_at_ms, "the hub has that report");
    assert!(!published.has_changed().unwrap());
}

#[tokio::test]
async fn a_look_is_answered_or_comes_to_nothing_where_nobody_observes() {
    let (look, mut looks) = super::super::Look::new();
    let answering = tokio::spawn(async move {
        let answer = looks.next().await.unwrap();
        answer.send(Some(Free { observed_at_ms: 7, ..Free::default() })).unwrap();
    });
    assert_eq!(look.now().await.map(|free| free.observed_at_ms), Some(7));
    answering.await.unwrap();
    assert_eq!(look.now().await, None);
}
