//! What a reconnect costs, what the hub finds out between reconnects, and what a spoke holds back.

use proto::{Buckets, Fingerprint};

use super::*;
use crate::fleet::HoldReason;

/// A spoke that compares by hash, and what it holds.
struct Spoke {
    held: BTreeMap<String, HeldObject>,
}

impl Spoke {
    fn holding(objects: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        Self { held: objects.into_iter().map(|(uid, hash)| (uid.clone(), held(&uid, hash))).collect() }
    }

    fn buckets(&self) -> Buckets {
        let mut buckets = Buckets::default();
        for (uid, held) in &self.held {
            buckets.add(uid, held.generation, &held.hash);
        }
        buckets
    }

    fn fingerprint(&self) -> Fingerprint {
        self.buckets().all()
    }

    /// Its first words, up to the hub's answer.
    fn connect(&self, bench: &mut Bench) -> Vec<Effect> {
        bench.session = session(bench.now);
        let FromSpoke::Hello(hello) = hello("east", Some(epoch("hub", 5, "x"))) else { panic!() };
        bench.said(FromSpoke::Hello(Hello { held: Some(self.fingerprint()), ..hello }));
        bench.on(Event::Claimed(true))
    }

    /// Its answer to a comparison.
    fn index(&self, effects: &[Effect]) -> FromSpoke {
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Send(ToSpoke::Compare(buckets)) => Some(buckets),
            _ => None,
        });
        let buckets = self.buckets().differing(asked.unwrap());
        let told = self.held.values().filter(|held| buckets.contains(&bucket(&held.object.uid)));
        FromSpoke::Index { held: told.cloned().collect(), last: true, buckets }
    }
}

fn many(n: usize, hash: &'static str) -> impl Iterator<Item = (String, &'static str)> {
    (0..n).map(move |n| (format!("u{n}"), hash))
}

fn accepted(effects: &[Effect]) -> usize {
    let results = effects.iter().filter_map(|effect| match effect {
        Effect::Report(LinkEvent::Results { results, .. }) => Some(results),
        _ => None,
    });
    results.flatten().filter(|result| result.answer == Answer::Accepted).count()
}

fn asks(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Send(ToSpoke::Compare(_))))
}

fn orphans(effects: &[Effect]) -> Option<Vec<String>> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Report(LinkEvent::Orphans { objects, .. }) => {
            Some(objects.iter().map(|held| held.object.uid.clone()).collect())
        }
        _ => None,
    })
}

#[test]
fn an_unchanged_fleet_is_in_sync_with_the_welcome() {
    let mut bench = Bench::new();
    for (uid, hash) in many(1000, "1") {
        bench.outbox.set_desired(desired(&uid, hash));
    }
    let effects = Spoke::holding(many(1000, "1")).connect(&mut bench);
    assert!(matches!(effects[0], Effect::Send(ToSpoke::Welcome { in_sync: true, .. })));
    assert!(!asks(&effects) && sent(&effects).is_empty());
    assert_eq!(accepted(&effects), 1000);
    assert_eq!(sent(&bench.want(desired("u7", "2"))), ["1 +u7:2"], "and is live at once");
}

#[test]
fn a_removal_that_waits_is_sent_though_all_that_is_wanted_is_held() {
    let mut bench = Bench::new();
    bench.outbox.set_desired(desired("a", "1"));
    bench.outbox.set_removal(removal("gone"));
    let effects = Spoke::holding([("a".to_owned(), "1")]).connect(&mut bench);
    assert_eq!(sent(&effects), ["1 -gone"]);
}

#[test]
fn what_differs_is_found_by_its_bucket() {
    let mut bench = Bench::new();
    for (uid, hash) in many(1000, "1") {
        bench.outbox.set_desired(desired(&uid, hash));
    }
    bench.outbox.set_desired(desired("u7", "2"));
    bench.outbox.set_desired(desired("new", "1"));
    let mut spoke = Spoke::holding(many(1000, "1"));
    spoke.held.insert("stray".to_owned(), held("stray", "1"));
    let effects = spoke.connect(&mut bench);
    assert!(asks(&effects) && sent(&effects).is_empty());
    let index = spoke.index(&effects);
    let FromSpoke::Index { held, .. } = &index else { panic!() };
    assert!(held.len() < 50, "{} of 1001 were told", held.len());
    let effects = bench.said(index);
    assert_eq!(sent(&effects), ["1 +new:1 +u7:2"]);
    assert_eq!(orphans(&effects), Some(vec!["stray".to_owned()]));
    assert_eq!(accepted(&effects), 999);
}

#[test]
fn what_is_held_of_another_hub_says_nothing() {
    let mut bench = Bench::new();
    bench.epoch = epoch("other", 1, "y");
    let effects = Spoke::holding([]).connect(&mut bench);
    assert!(matches!(effects[0], Effect::Send(ToSpoke::Welcome { in_sync: false, .. })), "{effects:?}");
    assert!(asks(&effects), "a spoke that obeys all the same is asked");
}

#[test]
fn what_was_lost_in_a_cluster_is_found_between_reconnects() {
    let mut bench = Bench::new();
    for (uid, hash) in many(100, "1") {
        bench.outbox.set_desired(desired(&uid, hash));
    }
    let mut spoke = Spoke::holding(many(100, "1"));
    spoke.connect(&mut bench);
    assert!(!asks(&bench.said(FromSpoke::Heartbeat(Some(spoke.fingerprint())))), "all is as it should be");
    spoke.held.remove("u7");
    spoke.held.insert("stray".to_owned(), held("stray", "1"));
    let effects = bench.said(FromSpoke::Heartbeat(Some(spoke.fingerprint())));
    assert!(asks(&effects));
    assert!(!asks(&bench.said(FromSpoke::Heartbeat(Some(spoke.fingerprint())))), "it is asked once");
    let effects = bench.said(spoke.index(&effects));
    assert_eq!(sent(&effects), ["1 +u7:1"]);
    assert_eq!(orphans(&effects), Some(vec!["stray".to_owned()]));
    assert!(accepted(&effects) < 10, "of the rest nothing new is told");
    assert!(!asks(&bench.said(FromSpoke::Heartbeat(Some(spoke.fingerprint())))), "u7 is under way");
    bench.ack(1, "u7", Answer::Accepted);
    spoke.held.insert("u7".to_owned(), held("u7", "1"));
    assert!(
        !asks(&bench.said(FromSpoke::Heartbeat(Some(spoke.fingerprint())))),
        "and the stray one is known"
    );
}

#[test]
fn a_new_generation_with_the_same_content_is_told_to_the_spoke() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    bench.ack(1, "a", Answer::Accepted);
    let next = DesiredObject { generation: 2, ..desired("a", "1") };
    assert_eq!(sent(&bench.want(next)), ["2 +a:1"]);
    assert!(sent(&bench.ack(2, "a", Answer::Accepted)).is_empty());
}

#[test]
fn an_index_that_does_not_come_or_does_not_end_is_a_broken_promise() {
    let mut bench = Bench::new();
    Spoke::holding([("a".to_owned(), "1")]).connect(&mut bench);
    bench.now += Duration::from_secs(9);
    bench.said(FromSpoke::Heartbeat(None));
    bench.now += Duration::from_secs(21);
    bench.session.sent = bench.now;
    assert_eq!(goodbye(&bench.on(Event::Tick)), Some(GoAwayReason::ProtocolError));

    let mut bench = Bench::new();
    Spoke::holding([("a".to_owned(), "1")]).connect(&mut bench);
    let chunk = || FromSpoke::Index {
        held: many(1000, "1").map(|(uid, hash)| held(&uid, hash)).collect(),
        last: false,
        buckets: BTreeSet::new(),
    };
    let ended = (0..1000).find(|_| goodbye(&bench.said(chunk())).is_some());
    assert_eq!(ended, Some(10), "an index is bounded");
}

#[test]
fn a_session_ends_at_its_age_and_asks_to_come_again() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.now += terms().max_age;
    bench.said(FromSpoke::Heartbeat(None));
    let effects = bench.on(Event::Tick);
    assert_eq!(goodbye(&effects), Some(GoAwayReason::Unavailable));
    assert!(
        matches!(effects[0], Effect::Send(ToSpoke::GoAway { retry_after, .. }) if retry_after < Duration::from_secs(2))
    );
}

#[test]
fn what_no_cluster_could_take_is_said_with_its_size_and_holds_nothing_up() {
    let mut bench = Bench::new();
    bench.outbox.set_desired(sized("a", "1", DesiredObject::MOST_BYTES + 1));
    bench.outbox.set_desired(desired("b", "1"));
    let effects = bench.connect(vec![]);
    assert_eq!(sent(&effects), ["1 +b:1"]);
    let told = effects.iter().find_map(|effect| match effect {
        Effect::Report(LinkEvent::Results { results, .. }) => results.first(),
        _ => None,
    });
    let Some(ObjectResult { answer: Answer::Rejected { class: RejectionClass::Invalid, message }, .. }) =
        told
    else {
        panic!("{told:?}")
    };
    assert!(message.contains("1572865 bytes") && message.contains("1572864"), "{message}");
    assert!(sent(&bench.want(desired("a", "2"))).len() == 1, "a smaller one goes");
}

#[test]
fn what_is_held_back_is_not_sent_again_until_it_is_confirmed() {
    let held_back = || Answer::Held { reason: HoldReason::TooMany, message: "5 of 5".to_owned() };
    let mut bench = Bench::new();
    bench.outbox.set_removal(removal("a"));
    bench.connect(vec![held("a", "1")]);
    assert!(sent(&bench.ack(1, "a", held_back())).is_empty());
    assert!(sent(&bench.on(Event::Changed)).is_empty());
    let told: Vec<_> = bench.outbox.held_back().into_iter().map(|held| held.object.uid).collect();
    assert_eq!(told, ["a"]);

    assert_eq!(bench.outbox.confirm_held_back(), 1);
    let effects = bench.on(Event::Changed);
    let confirmed = effects.iter().any(|effect| {
        matches!(effect, Effect::Send(ToSpoke::Delta { tombstones, .. }) if tombstones[0].cause == Cause::Confirmed)
    });
    assert!(confirmed, "{effects:?}");
    bench.ack(2, "a", Answer::Gone);
    assert!(bench.outbox.held_back().is_empty());
}

#[test]
fn what_is_wanted_again_is_held_back_no_longer() {
    let mut bench = Bench::new();
    bench.outbox.set_removal(removal("a"));
    bench.connect(vec![held("a", "1")]);
    bench.ack(1, "a", Answer::Held { reason: HoldReason::Stale, message: String::new() });
    assert_eq!(
        sent(&bench.want(desired("a", "1"))),
        ["2 +a:1"],
        "the spoke would count it as one that waits"
    );
    assert!(bench.outbox.held_back().is_empty());
    assert_eq!(bench.outbox.confirm_held_back(), 0);
}
