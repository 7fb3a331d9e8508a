//! What may be deleted, and when.

use super::*;

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
fn many_deletions_are_held_whole_however_they_are_sent() {
    let uids = ["a", "b", "c", "d", "e"];
    let mut bench = Bench::holding(&uids).welcomed();
    for (id, uid) in (1..).zip(uids) {
        assert!(bench.delta(id, 5, vec![tombstone(uid)]).is_empty(), "{uid}");
        bench.now += Duration::from_millis(200);
    }
    let held = bench.quiet();
    assert_eq!(outcomes(&held), uids.map(|uid| format!("TooMany {uid}")));
    let Effect::Send(ToHub::Ack { outcome: Outcome::Held { message, .. }, .. }) = &held[0] else { panic!() };
    assert!(message.contains("5 within 10 min, of 5 objects; more than 3"), "{message}");
    // While they are held nothing else goes either; what the admin has confirmed does.
    bench.delta(6, 5, vec![tombstone("a")]);
    assert_eq!(outcomes(&bench.quiet()), ["TooMany a"]);
    let effects = bench.delta(7, 5, uids.map(|uid| decided(uid, BEGAN, Cause::Confirmed)).to_vec());
    assert_eq!(outcomes(&effects), uids.map(|uid| format!("go {uid}")));
}

#[test]
fn a_new_session_is_no_way_around_the_brake() {
    let mut bench = Bench::holding(&["a", "b", "c", "d", "e"]).welcomed();
    bench.delta(1, 5, ["a", "b", "c"].map(tombstone).to_vec());
    assert_eq!(bench.quiet().len(), 3);
    bench.session =
        Session::new(None, ["c", "d", "e"].map(|uid| object_held(uid, "1")).to_vec(), bench.now).0;
    let mut bench = bench.welcomed();
    bench.delta(1, 5, vec![tombstone("c"), tombstone("d")]);
    assert_eq!(outcomes(&bench.quiet()), ["TooMany d", "go c"], "c was let go already");
    bench.now += Duration::from_mins(10);
    bench.said(FromHub::Heartbeat);
    bench.said(FromHub::Delta(Delta { id: 2, epoch: epoch(5), work: vec![tombstone("d")] }));
    assert!(outcomes(&bench.quiet()).contains(&"go d".to_owned()), "the window is over");
}

#[test]
fn old_deletions_are_held_unless_failover_decided_them() {
    let minutes = |minutes: i64| BEGAN - minutes * 60_000;
    let table = [
        ("fresh", minutes(0), Cause::Admin, "go a"),
        ("decided a while ago", minutes(14), Cause::Admin, "go a"),
        ("decided while it was away", minutes(15), Cause::Admin, "Stale a"),
        ("after the session began", BEGAN + 1, Cause::Admin, "go a"),
        ("by a hub that does not say", 0, Cause::Admin, "go a"),
        ("by failover", minutes(600), Cause::Failover, "go a"),
        ("confirmed", minutes(600), Cause::Confirmed, "go a"),
    ];
    for (case, at, cause, expected) in table {
        let mut bench = Bench::holding(&["a"]).welcomed();
        let mut effects = bench.delta(1, 5, vec![decided("a", at, cause)]);
        effects.extend(bench.quiet());
        assert_eq!(outcomes(&effects), [expected], "{case}");
    }
}

#[test]
fn a_hub_that_does_not_know_the_brake_is_told_in_words_it_knows() {
    let mut bench = Bench::holding(&["a", "b", "c", "d"]);
    bench.said(welcome_of(Hub::default()));
    bench.on(Event::EpochJudged(Judgement::Obeyed));
    bench.delta(1, 5, ["a", "b", "c", "d"].map(tombstone).to_vec());
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
fn what_is_being_applied_may_be_here_and_passes_the_brake() {
    let mut bench = Bench::holding(&["a", "b", "c"]).welcomed();
    bench.delta(1, 5, vec![upsert("d", "1")]);
    let all = ["a", "b", "c", "d"].map(tombstone);
    assert!(bench.delta(2, 5, all.into()).is_empty(), "they are gathered");
    assert!(bench.quiet().iter().all(|effect| !matches!(effect, Effect::Deliver(..))), "four are too many");
}
