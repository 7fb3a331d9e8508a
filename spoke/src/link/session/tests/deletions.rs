//! What may be deleted, and when.

use super::*;
use crate::deliver::Release;

fn outcomes(effects: &[Effect]) -> Vec<String> {
    let tell = |effect: &Effect| match effect {
        Effect::Deliver(work, _) => format!("go {}", work.uid()),
        Effect::Send(ToHub::Ack { uid, outcome: Outcome::Held { reason, .. }, .. }) => {
            format!("{reason:?} {uid}")
        }
        Effect::Send(ToHub::Ack { uid, outcome, .. }) => format!("{outcome:?} {uid}"),
        other => format!("{other:?}"),
    };
    effects.iter().map(tell).collect()
}

/// So many uids, in their order.
fn uids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number:03}")).collect()
}

fn holding(count: usize) -> Bench {
    let uids = uids(count);
    Bench::holding(&uids.iter().map(String::as_str).collect::<Vec<_>>()).welcomed()
}

fn all(word: &str, uids: &[String]) -> Vec<String> {
    uids.iter().map(|uid| format!("{word} {uid}")).collect()
}

fn tombstones(uids: &[String], cause: Cause) -> Vec<Work> {
    uids.iter().map(|uid| decided(uid, BEGAN, cause)).collect()
}

fn message(effect: &Effect) -> &str {
    let Effect::Send(ToHub::Ack { outcome: Outcome::Held { message, .. }, .. }) = effect else {
        panic!("{effect:?}")
    };
    message
}

#[test]
fn few_deletions_go_after_a_moment_and_others_at_once() {
    let mut bench = Bench::holding(&["a", "b", "c", "d", "e"]).welcomed();
    let retained = Work::Remove(Tombstone {
        object: object("e"),
        policy: Policy::Retain,
        reason: String::new(),
        decided_ms: 0,
        cause: Cause::Admin,
    });
    let effects = bench.delta(1, 5, vec![tombstone("a"), tombstone("not here"), retained, tombstone("b")]);
    assert_eq!(outcomes(&effects), ["go not here", "go e"]);
    assert!(bench.session.wake_at() <= bench.now + Duration::from_millis(300));
    assert_eq!(outcomes(&bench.quiet()), ["go a", "go b"]);
}

#[test]
fn a_cluster_of_ten_objects_has_nothing_held_and_many_are_held_above_a_fifth() {
    // Objects here, deletions that come together, and whether they are held.
    let table = [
        (1, 1, false),
        (4, 4, false),
        (10, 10, false),
        (11, 10, false),
        (11, 11, true),
        (40, 10, false),
        (40, 11, true),
        (100, 20, false),
        (100, 21, true),
    ];
    for (here, go, held) in table {
        for cause in [Cause::Admin, Cause::Failover] {
            let (mut bench, gone) = (holding(here), uids(go));
            assert!(bench.delta(1, 5, tombstones(&gone, cause)).is_empty());
            let word = if held { "TooMany" } else { "go" };
            assert_eq!(outcomes(&bench.quiet()), all(word, &gone), "{go} of {here} by {cause:?}");
        }
    }
}

#[test]
fn many_deletions_are_held_whole_however_they_are_sent() {
    let uids = uids(11);
    let mut bench = holding(11);
    for (id, uid) in (1..).zip(&uids) {
        assert!(bench.delta(id, 5, vec![tombstone(uid)]).is_empty(), "{uid}");
        bench.now += Duration::from_millis(150);
    }
    let held = bench.quiet();
    assert_eq!(outcomes(&held), all("TooMany", &uids));
    assert_eq!(
        message(&held[0]),
        "11 more deletions would make 11 within 10 min, of 11 objects in this cluster; more than 10 wait to be \
         confirmed"
    );
    // While they are held nothing else goes either; what the admin has confirmed does.
    bench.delta(20, 5, vec![tombstone(&uids[0])]);
    let held = bench.quiet();
    assert_eq!(outcomes(&held), [format!("TooMany {}", uids[0])]);
    assert!(message(&held[0]).starts_with("1 more deletion would make 11 within"), "{}", message(&held[0]));
    let effects = bench.delta(21, 5, tombstones(&uids, Cause::Confirmed));
    assert_eq!(outcomes(&effects), all("go", &uids));
}

#[test]
fn what_failover_and_admins_decided_counts_together() {
    let (mut bench, uids) = (holding(12), uids(12));
    bench.delta(1, 5, tombstones(&uids[..6], Cause::Failover));
    assert_eq!(bench.quiet().len(), 6);
    bench.delta(2, 5, tombstones(&uids[6..10], Cause::Admin));
    assert_eq!(outcomes(&bench.quiet()), all("go", &uids[6..10]));
    bench.delta(3, 5, tombstones(&uids[10..], Cause::Failover));
    assert_eq!(outcomes(&bench.quiet()), all("TooMany", &uids[10..]));
}

#[test]
fn neither_a_new_session_nor_a_new_process_is_a_new_budget() {
    let (mut bench, uids) = (holding(12), uids(12));
    bench.delta(1, 5, tombstones(&uids[..10], Cause::Admin));
    assert_eq!(bench.quiet().len(), 10);
    let left: Vec<_> = uids[9..].iter().map(|uid| object_held(uid, "1")).collect();
    bench.session = Session::new(None, left.clone(), bench.now).0;
    let mut bench = bench.welcomed();
    bench.delta(1, 5, tombstones(&uids[9..11], Cause::Admin));
    let expected = [format!("TooMany {}", uids[10]), format!("go {}", uids[9])];
    assert_eq!(outcomes(&bench.quiet()), expected, "{} was let go already", uids[9]);

    let stored = bench.guard.releases(bench.now);
    assert_eq!(stored.len(), 10);
    bench.guard = DeletionGuard::default();
    assert!(!bench.guard.is_restored());
    // Four minutes later, in which nobody was there.
    bench.now += Duration::from_mins(4);
    let age = |release: Release| Release { age: release.age + Duration::from_mins(4), ..release };
    bench.guard.restore(stored.into_iter().map(age).collect(), bench.now);
    bench.session = Session::new(None, left, bench.now).0;
    let mut bench = bench.welcomed();
    bench.delta(1, 5, vec![tombstone(&uids[10])]);
    assert_eq!(outcomes(&bench.quiet()), [format!("TooMany {}", uids[10])]);
    bench.now += Duration::from_mins(6);
    bench.said(FromHub::Heartbeat);
    bench.said(FromHub::Delta(Delta { id: 2, epoch: epoch(5), work: vec![tombstone(&uids[11])] }));
    let told = outcomes(&bench.quiet());
    assert!(told.contains(&format!("go {}", uids[11])), "the window is over: {told:?}");
}

#[test]
fn nothing_is_deleted_before_it_is_stored_that_it_was_let_through() {
    let mut bench = holding(3);
    let uids = uids(3);
    bench.delta(1, 5, tombstones(&uids[..2], Cause::Admin));
    bench.now += Duration::from_secs(1);
    let effects = bench.session.on(Event::Tick, &mut bench.guard, bench.now);
    let [Effect::StoreReleases(version, releases)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(releases.iter().map(|release| &release.object.uid).collect::<Vec<_>>(), [&uids[0], &uids[1]]);
    // What comes meanwhile waits, and what is wanted again is not deleted.
    assert!(bench.delta(2, 5, tombstones(&uids[2..], Cause::Failover)).is_empty());
    assert_eq!(outcomes(&bench.delta(3, 5, vec![upsert(&uids[1], "2")])), [format!("go {}", uids[1])]);
    bench.now += Duration::from_secs(1);
    assert!(bench.session.on(Event::Tick, &mut bench.guard, bench.now).is_empty(), "it is not stored yet");
    let effects = bench.session.on(Event::ReleasesStored(*version), &mut bench.guard, bench.now);
    assert_eq!(outcomes(&effects), [format!("go {}", uids[0])]);
    assert_eq!(outcomes(&bench.quiet()), [format!("go {}", uids[2])]);

    // Where it could not be stored, the next session stores it first.
    let mut bench = holding(1);
    bench.delta(1, 5, vec![tombstone(&uids[0])]);
    bench.now += Duration::from_secs(1);
    bench.session.on(Event::Tick, &mut bench.guard, bench.now);
    bench.session.on(Event::Failed("no answer".to_owned()), &mut bench.guard, bench.now);
    bench.session = Session::new(None, vec![object_held(&uids[0], "1")], bench.now).0;
    let mut bench = bench.welcomed();
    bench.delta(1, 5, vec![tombstone(&uids[0])]);
    bench.now += Duration::from_secs(1);
    let effects = bench.session.on(Event::Tick, &mut bench.guard, bench.now);
    assert!(matches!(effects[..], [Effect::StoreReleases(..)]), "{effects:?}");
}

#[test]
fn one_uid_for_many_objects_is_no_way_around_the_guard() {
    let (mut bench, uids) = (holding(12), uids(12));
    let named = |name: &str| ObjectRef { uid: "same".to_owned(), ..object(name) };
    let take_over = |name: &str| {
        let (generation, hash) = (1, "2".to_owned());
        Work::Upsert(Upsert { object: named(name), generation, hash, payload: vec![], gang: None })
    };
    let delete = |name: &str| {
        let (object, reason) = (named(name), String::new());
        Work::Remove(Tombstone {
            object,
            policy: Policy::Delete,
            reason,
            decided_ms: BEGAN,
            cause: Cause::Admin,
        })
    };
    let mut gone = 0;
    for (id, name) in (1..).zip(&uids) {
        // The hub gives each object in turn to one uid that was deleted before, and deletes that.
        bench.delta(2 * id, 5, vec![take_over(name)]);
        bench.done("same", Outcome::Accepted);
        let mut effects = bench.delta(2 * id + 1, 5, vec![delete(name)]);
        effects.extend(bench.quiet());
        if outcomes(&effects).contains(&"go same".to_owned()) {
            gone += 1;
            bench.done("same", Outcome::Gone);
        }
    }
    assert_eq!(gone, 10);
    // Nor are objects that lost their uid to another one deleted as if they were not there.
    let mut bench = holding(12);
    for (id, name) in (1..).zip(&uids) {
        bench.delta(id, 5, vec![take_over(name)]);
        bench.done("same", Outcome::Accepted);
    }
    let mut gone = 0;
    for (id, name) in (100..).zip(&uids) {
        let mut effects = bench.delta(id, 5, vec![delete(name)]);
        effects.extend(bench.quiet());
        if outcomes(&effects).contains(&"go same".to_owned()) {
            gone += 1;
            bench.done("same", Outcome::Gone);
        }
    }
    assert_eq!(gone, 10);
}

#[test]
fn old_deletions_are_held_above_ten_unless_failover_decided_them() {
    let minutes = |minutes: i64| BEGAN - minutes * 60_000;
    let table = [
        ("fresh", minutes(0), Cause::Admin, "go"),
        ("decided a while ago", minutes(14), Cause::Admin, "go"),
        ("decided while it was away", minutes(15), Cause::Admin, "Stale"),
        ("after the session began", BEGAN + 1, Cause::Admin, "go"),
        ("by a hub that does not say", 0, Cause::Admin, "go"),
        ("by failover", minutes(600), Cause::Failover, "go"),
        ("confirmed", minutes(600), Cause::Confirmed, "go"),
    ];
    for (case, at, cause, expected) in table {
        // A fifth of a hundred may go, and of what is old no more than ten.
        for (count, expected) in [(11, expected), (10, "go")] {
            let (mut bench, gone) = (holding(100), uids(count));
            let work = gone.iter().map(|uid| decided(uid, at, cause)).collect();
            let mut effects = bench.delta(1, 5, work);
            effects.extend(bench.quiet());
            assert_eq!(outcomes(&effects), all(expected, &gone), "{count} {case}");
            if expected == "Stale" {
                assert_eq!(
                    message(&effects[0]),
                    "decided 15 min before this cluster came back; 11 would go within 10 min, and of deletions that \
                     old more than 10 wait to be confirmed"
                );
            }
        }
    }
}

#[test]
fn a_hub_that_does_not_know_the_guard_is_told_in_words_it_knows() {
    let uids = uids(11);
    let mut bench = Bench::holding(&uids.iter().map(String::as_str).collect::<Vec<_>>());
    bench.said(welcome_of(Hub::default()));
    bench.on(Event::EpochJudged(Judgement::Obeyed));
    bench.delta(1, 5, tombstones(&uids, Cause::Admin));
    let effects = bench.quiet();
    let Effect::Send(ToHub::Ack { outcome: Outcome::Rejected { message, .. }, .. }) = &effects[0] else {
        panic!("{effects:?}")
    };
    assert!(message.contains("held back") && message.contains("upgrade"), "{message}");
}

#[test]
fn what_is_wanted_again_is_not_deleted() {
    let mut bench = Bench::holding(&["a"]).welcomed();
    bench.delta(1, 5, vec![tombstone("a")]);
    assert_eq!(outcomes(&bench.delta(2, 5, vec![upsert("a", "2")])), ["go a"]);
    assert!(bench.quiet().iter().all(|effect| !matches!(effect, Effect::Deliver(..))));
}

#[test]
fn what_is_being_applied_may_be_here_and_passes_the_guard() {
    let mut bench = holding(10);
    bench.delta(1, 5, vec![upsert("d", "1")]);
    let mut all = uids(10);
    all.push("d".to_owned());
    assert!(bench.delta(2, 5, tombstones(&all, Cause::Admin)).is_empty(), "they are gathered");
    assert!(bench.quiet().iter().all(|effect| !matches!(effect, Effect::Deliver(..))), "eleven are too many");
}
