//! What a spoke keeps trying, and what it says of objects before they are wanted.

use super::*;
use crate::fleet::HoldReason;

fn retrying() -> Answer {
    Answer::Retrying { message: "no answer from the API server within 10 s".to_owned() }
}

fn told(effects: &[Effect]) -> Vec<(&str, &Answer)> {
    let results = effects.iter().filter_map(|effect| match effect {
        Effect::Report(LinkEvent::Results { results, .. }) => Some(results),
        _ => None,
    });
    results.flatten().map(|result| (result.uid.as_str(), &result.answer)).collect()
}

fn statuses(effects: &[Effect]) -> Vec<&str> {
    let statuses = effects.iter().filter_map(|effect| match effect {
        Effect::Report(LinkEvent::Status { objects, .. }) => Some(objects),
        _ => None,
    });
    statuses.flatten().map(|status| status.object.uid.as_str()).collect()
}

#[test]
fn what_is_tried_in_vain_holds_up_no_correction_and_no_tombstone() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["1 +a:1"]);
    assert!(sent(&bench.want(desired("a", "2"))).is_empty(), "nobody has said anything yet");
    let effects = bench.ack(1, "a", retrying());
    assert_eq!(told(&effects), [("a", &retrying())]);
    assert_eq!(sent(&effects), ["2 +a:2"]);
    assert!(sent(&bench.ack(1, "a", Answer::Accepted)).is_empty(), "an echo of what was replaced");
    bench.ack(2, "a", retrying());
    bench.outbox.set_removal(removal("a"));
    assert_eq!(sent(&bench.on(Event::Changed)), ["3 -a"]);
    assert_eq!(told(&bench.ack(3, "a", Answer::Gone)), [("a", &Answer::Gone)]);
}

#[test]
fn what_is_there_is_sent_again_where_the_spoke_tries_to_make_something_else_of_it() {
    let mut bench = Bench::new();
    bench.connect(vec![held("a", "1")]);
    bench.want(desired("a", "1"));
    bench.outbox.set_removal(removal("a"));
    assert_eq!(sent(&bench.on(Event::Changed)), ["1 -a"]);
    bench.ack(1, "a", retrying());
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["2 +a:1"], "or it would be removed in the end");
    assert_eq!(told(&bench.ack(2, "a", Answer::Accepted)), [("a", &Answer::Accepted)]);
    bench.outbox.set_removal(removal("a"));
    bench.on(Event::Changed);
    bench.ack(3, "a", Answer::Held { reason: HoldReason::TooMany, message: "5 of 5".to_owned() });
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["4 +a:1"], "or it would count as one that waits");
}

#[test]
fn the_last_word_on_what_was_tried_for_long_is_heard() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    for _ in 0..3 {
        assert!(sent(&bench.ack(1, "a", retrying())).is_empty(), "it is tried already");
    }
    assert!(bench.session.delivery.is_still(), "what is held can be compared meanwhile");
    assert_eq!(told(&bench.ack(1, "a", Answer::Accepted)), [("a", &Answer::Accepted)]);
    assert!(bench.session.delivery.holds("a"));
    assert!(told(&bench.ack(1, "a", Answer::Accepted)).is_empty(), "there is one last word");
}

#[test]
fn many_objects_that_are_tried_in_vain_leave_room_for_others() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    let large = 1 << 20;
    for uid in ["a", "b", "c", "d", "e"] {
        bench.outbox.set_desired(sized(uid, "1", large));
    }
    let first = sent(&bench.on(Event::Changed));
    assert_eq!(first.len(), 3, "what is under way is bounded: {first:?}");
    assert_eq!(sent(&bench.ack(1, "a", retrying())), ["4 +d:1"]);
}

#[test]
fn a_status_of_what_is_held_and_not_wanted_yet_waits_until_it_is() {
    let mut bench = Bench::new();
    bench.connect(vec![held("late", "1")]);
    assert!(statuses(&bench.said(FromSpoke::Status(vec![status("late"), status("stranger")]))).is_empty());
    let effects = bench.want(desired("late", "1"));
    assert_eq!(statuses(&effects), ["late"]);
    assert_eq!(told(&effects), [("late", &Answer::Accepted)], "it is there already, and nobody has said so");
    assert!(sent(&effects).is_empty());
    assert!(statuses(&bench.want(desired("stranger", "1"))).is_empty(), "made up: it was not held");
}

#[test]
fn a_status_of_what_is_no_longer_held_is_kept_no_longer() {
    let mut bench = Bench::new();
    bench.connect(vec![held("late", "1")]);
    bench.said(FromSpoke::Status(vec![status("late")]));
    bench.said(FromSpoke::Heartbeat(Some(proto::Buckets::default().all())));
    let buckets = (0..=u8::MAX).collect();
    bench.said(FromSpoke::Index { held: vec![], last: true, buckets });
    assert!(bench.session.unclaimed.len() == 0);
}

#[test]
fn a_status_that_comes_before_the_index_waits_for_what_that_says() {
    let mut bench = Bench::new();
    bench.said(hello("east", None));
    bench.on(Event::Claimed(true));
    bench.said(FromSpoke::Status(vec![status("late"), status("stranger")]));
    bench.said(FromSpoke::Index { held: vec![held("late", "1")], last: true, buckets: BTreeSet::new() });
    assert_eq!(bench.session.unclaimed.keys().collect::<Vec<_>>(), ["late"]);
    assert_eq!(statuses(&bench.want(desired("late", "1"))), ["late"]);
}

#[test]
fn a_gang_that_was_refused_is_sent_once_more_only_when_it_is_wanted_anew() {
    let no_room = || rejected(RejectionClass::NoRoom { judged: Timestamp::UNIX_EPOCH, groups: 0 });
    let mut bench = Bench::new();
    bench.connect(vec![]);
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["1 +a:1"]);
    assert_eq!(told(&bench.ack(1, "a", no_room())), [("a", &no_room())]);
    assert!(sent(&bench.want(desired("a", "1"))).is_empty(), "it has been answered");
    assert!(told(&bench.ack(1, "a", Answer::Accepted)).is_empty(), "an echo means nothing");
    // It stays wanted there, and there is room by now.
    bench.outbox.forget("a");
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["2 +a:1"]);
    bench.ack(2, "a", no_room());
    // It goes elsewhere, and comes back later.
    bench.outbox.set_removal(removal("a"));
    assert_eq!(sent(&bench.on(Event::Changed)), ["3 -a"]);
    assert_eq!(told(&bench.ack(3, "a", Answer::Gone)), [("a", &Answer::Gone)]);
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["4 +a:1"]);
    assert_eq!(told(&bench.ack(4, "a", Answer::Accepted)), [("a", &Answer::Accepted)]);
}

#[test]
fn what_was_refused_is_asked_again_within_two_minutes_until_it_is_taken() {
    let conflict = || rejected(RejectionClass::Conflict);
    let mut bench = Bench::new();
    bench.connect(vec![]);
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["1 +a:1"]);
    bench.ack(1, "a", conflict());
    let mut delta = 1;
    for wait in [15, 30, 60, 120, 120] {
        assert!(bench.session.wake_at() <= bench.now + Duration::from_secs(wait), "it wakes by itself");
        bench.now += Duration::from_secs(wait - 1);
        bench.said(FromSpoke::Heartbeat(None));
        assert!(sent(&bench.on(Event::Tick)).is_empty(), "{wait} s: it is too early");
        bench.now += Duration::from_secs(1);
        delta += 1;
        assert_eq!(sent(&bench.on(Event::Tick)), [format!("{delta} +a:1")], "after {wait} s");
        assert_eq!(told(&bench.ack(delta, "a", conflict())), [("a", &conflict())]);
    }
    // Another version is another question, and is asked at once.
    delta += 1;
    assert_eq!(sent(&bench.want(desired("a", "2"))), [format!("{delta} +a:2")]);
    bench.ack(delta, "a", conflict());
    bench.now += Duration::from_secs(15);
    bench.said(FromSpoke::Heartbeat(None));
    delta += 1;
    assert_eq!(sent(&bench.on(Event::Tick)), [format!("{delta} +a:2")]);
    assert_eq!(told(&bench.ack(delta, "a", Answer::Accepted)), [("a", &Answer::Accepted)]);
    for _ in 0..20 {
        bench.now += Duration::from_mins(1);
        bench.said(FromSpoke::Heartbeat(None));
        assert!(sent(&bench.on(Event::Tick)).is_empty(), "it has been taken");
    }
}
