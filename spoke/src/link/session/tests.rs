//! The session by table.

use super::*;
use crate::deliver::{ObjectRef, Policy, Tombstone, Upsert};

struct Bench {
    session: Session,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new(None, now).0, now }
    }

    /// Up to the index.
    fn live() -> Self {
        let mut bench = Self::new();
        bench.said(welcome());
        bench.on(Event::EpochJudged(Judgement::Obeyed));
        bench.on(Event::Held(vec![]));
        assert!(bench.session.is_live());
        bench
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.session.on(event, self.now)
    }

    fn said(&mut self, said: FromHub) -> Vec<Effect> {
        self.on(Event::Said(said))
    }

    fn delta(&mut self, id: u64, term: u64, work: Vec<Work>) -> Vec<Effect> {
        self.said(FromHub::Delta(Delta { id, epoch: epoch(term), work }))
    }

    fn done(&mut self, uid: &str, outcome: Outcome) -> Vec<Effect> {
        self.on(Event::Delivered { uid: uid.to_owned(), outcome })
    }
}

fn epoch(term: u64) -> Epoch {
    Epoch { hub_id: "hub".to_owned(), term, incarnation: format!("i{term}") }
}

fn welcome() -> FromHub {
    FromHub::Welcome { epoch: epoch(5), heartbeat: Duration::from_secs(10) }
}

fn object(uid: &str) -> ObjectRef {
    ObjectRef {
        uid: uid.to_owned(),
        api_version: "apps.nvidia.com/v1alpha1".to_owned(),
        kind: "NIMService".to_owned(),
        namespace: "models".to_owned(),
        name: uid.to_owned(),
    }
}

fn upsert(uid: &str, hash: &str) -> Work {
    Work::Upsert(Upsert { object: object(uid), generation: 1, hash: hash.to_owned(), payload: vec![] })
}

fn tombstone(uid: &str) -> Work {
    Work::Remove(Tombstone { object: object(uid), policy: Policy::Delete, reason: String::new() })
}

fn acked(delta: u64, uid: &str, hash: &str, outcome: Outcome) -> Effect {
    ack(delta, uid, hash, outcome)
}

#[test]
fn the_first_words_are_hello_with_what_is_known() {
    let (_, effects) = Session::new(Some(epoch(3)), Instant::now());
    assert_eq!(effects, [Effect::Send(ToHub::Hello { highest_epoch: Some(epoch(3)) })]);
}

#[test]
fn nothing_is_done_before_the_epoch_is_obeyed() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(welcome()), [Effect::AcceptEpoch(epoch(5))]);
    assert!(!bench.session.is_live());
    assert_eq!(bench.on(Event::EpochJudged(Judgement::Obeyed)), [Effect::ReadHeld]);
}

#[test]
fn a_refused_epoch_ends_the_session() {
    let mut bench = Bench::new();
    bench.said(welcome());
    let end = End::EpochRefused("older".to_owned());
    assert_eq!(
        bench.on(Event::EpochJudged(Judgement::Refused("older".into()))),
        [Effect::Close(end.clone())]
    );
    assert!(end.needs_somebody());
    assert!(bench.said(FromHub::Heartbeat).is_empty(), "it is over");
}

#[test]
fn the_index_travels_in_chunks() {
    let held = |n: usize| {
        let hash = "1".to_owned();
        (0..n)
            .map(|n| HeldObject { object: object(&n.to_string()), generation: 1, hash: hash.clone() })
            .collect()
    };
    for (objects, chunks) in [(0, vec![0]), (1000, vec![1000]), (1001, vec![1000, 1])] {
        let mut bench = Bench::new();
        bench.said(welcome());
        bench.on(Event::EpochJudged(Judgement::Obeyed));
        let effects = bench.on(Event::Held(held(objects)));
        let lengths: Vec<_> = effects
            .iter()
            .enumerate()
            .map(|(n, effect)| match effect {
                Effect::Send(ToHub::Index { held, last }) => {
                    assert_eq!(*last, n + 1 == effects.len());
                    held.len()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(lengths, chunks, "{objects}");
    }
}

#[test]
fn work_is_done_and_answered_one_by_one() {
    let mut bench = Bench::live();
    let effects = bench.delta(1, 5, vec![upsert("a", "1"), tombstone("b")]);
    assert_eq!(
        effects,
        [Effect::Deliver(upsert("a", "1"), epoch(5)), Effect::Deliver(tombstone("b"), epoch(5))]
    );
    assert_eq!(bench.done("b", Outcome::Gone), [acked(1, "b", "", Outcome::Gone)]);
    assert_eq!(bench.done("a", Outcome::Accepted), [acked(1, "a", "1", Outcome::Accepted)]);
    assert!(bench.done("a", Outcome::Accepted).is_empty(), "an outcome counts once");
}

#[test]
fn of_one_object_one_work_runs_and_the_latest_waits() {
    let mut bench = Bench::live();
    bench.delta(1, 5, vec![upsert("a", "1")]);
    assert!(bench.delta(2, 5, vec![upsert("a", "2")]).is_empty());
    assert!(bench.delta(3, 5, vec![tombstone("a")]).is_empty());
    let effects = bench.done("a", Outcome::Accepted);
    assert_eq!(effects, [acked(1, "a", "1", Outcome::Accepted), Effect::Deliver(tombstone("a"), epoch(5))]);
    assert_eq!(bench.done("a", Outcome::Gone), [acked(3, "a", "", Outcome::Gone)]);
}

#[test]
fn a_higher_epoch_is_accepted_before_its_delta_is_touched() {
    let mut bench = Bench::live();
    assert_eq!(bench.delta(1, 6, vec![upsert("a", "1")]), [Effect::AcceptEpoch(epoch(6))]);
    assert!(bench.delta(2, 6, vec![upsert("b", "1")]).is_empty(), "waits as well");
    let effects = bench.on(Event::EpochJudged(Judgement::Obeyed));
    assert_eq!(
        effects,
        [Effect::Deliver(upsert("a", "1"), epoch(6)), Effect::Deliver(upsert("b", "1"), epoch(6))]
    );
}

#[test]
fn a_lower_epoch_is_answered_as_stale_and_nothing_is_done() {
    let mut bench = Bench::live();
    bench.delta(1, 4, vec![upsert("a", "1"), tombstone("b")]);
    let effects = bench.on(Event::EpochJudged(Judgement::Refused("older".into())));
    let stale = || Outcome::Rejected { class: RejectionClass::StaleEpoch, message: "older".to_owned() };
    assert_eq!(effects, [acked(1, "a", "1", stale()), acked(1, "b", "", stale())]);
    assert_eq!(
        bench.delta(2, 5, vec![upsert("a", "1")]),
        [Effect::Deliver(upsert("a", "1"), epoch(5))],
        "the accepted epoch still holds"
    );
}

#[test]
fn goodbyes_and_who_has_to_act() {
    let table = [
        (GoAwayReason::Unavailable, false),
        (GoAwayReason::DuplicateInstance, true),
        (GoAwayReason::NotAccepted, true),
        (GoAwayReason::ProtocolError, true),
    ];
    for (reason, needs_somebody) in table {
        let goodbye = GoAway { reason, message: "bye".to_owned(), retry_after: Duration::from_secs(3) };
        let effects = Bench::new().said(FromHub::GoAway(goodbye.clone()));
        assert_eq!(effects, [Effect::Close(End::GoneAway(goodbye.clone()))], "{reason:?}");
        assert_eq!(End::GoneAway(goodbye).needs_somebody(), needs_somebody, "{reason:?}");
    }
}

#[test]
fn signs_of_life_and_the_want_of_them() {
    let mut bench = Bench::live();
    let start = bench.now;
    bench.now = start + Duration::from_secs(10);
    assert_eq!(bench.session.wake_at(), bench.now);
    assert_eq!(bench.on(Event::Tick), [Effect::Send(ToHub::Heartbeat)]);
    bench.said(FromHub::Heartbeat);
    bench.now = start + Duration::from_secs(40);
    assert!(matches!(bench.on(Event::Tick)[..], [Effect::Close(End::Lost(_))]));
}

#[test]
fn a_hub_that_does_not_greet_is_left() {
    let mut bench = Bench::new();
    bench.now = bench.session.wake_at();
    assert!(matches!(bench.on(Event::Tick)[..], [Effect::Close(End::Lost(_))]));
}

#[test]
fn messages_out_of_turn_end_the_session() {
    assert!(matches!(Bench::new().delta(1, 5, vec![])[..], [Effect::Close(_)]), "a delta first");
    assert!(matches!(Bench::live().said(welcome())[..], [Effect::Close(_)]), "a second welcome");
}
