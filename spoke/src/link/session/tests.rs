//! The session by table.

mod deletions;

use super::*;
use crate::deliver::{Cause, ObjectRef, Policy, Tombstone, Upsert};

struct Bench {
    session: Session,
    guard: DeletionGuard,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::holding(&[])
    }

    fn holding(uids: &[&str]) -> Self {
        let now = Instant::now();
        let held = uids.iter().map(|uid| object_held(uid, "1")).collect();
        Self { session: Session::new(None, held, now).0, guard: DeletionGuard::default(), now }
    }

    /// Up to the welcome of a hub that can all that this spoke can.
    fn live() -> Self {
        Self::new().welcomed()
    }

    fn welcomed(mut self) -> Self {
        self.said(welcome());
        self.on(Event::EpochJudged(Judgement::Obeyed));
        assert!(self.session.is_live());
        self
    }

    /// Takes an event; what the guard lets through is stored at once.
    fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        for effect in self.session.on(event, &mut self.guard, self.now) {
            match effect {
                Effect::StoreReleases(version, _) => effects.extend(self.on(Event::ReleasesStored(version))),
                effect => effects.push(effect),
            }
        }
        effects
    }

    /// What happens when no more deletions come for a while.
    fn quiet(&mut self) -> Vec<Effect> {
        self.now += Duration::from_secs(1);
        self.on(Event::Tick)
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
    Epoch { hub_id: "hub".to_owned(), term, incarnation: format!("i{term}"), proof: Vec::new() }
}

fn welcome() -> FromHub {
    welcome_of(Hub { compares: true, knows_guard: true, time_ms: BEGAN, ..Hub::default() })
}

fn welcome_of(hub: Hub) -> FromHub {
    FromHub::Welcome { epoch: epoch(5), heartbeat: Duration::from_secs(10), hub }
}

/// The hub's clock at the Welcome.
const BEGAN: i64 = 1_700_000_000_000;

fn object_held(uid: &str, hash: &str) -> HeldObject {
    HeldObject { object: object(uid), generation: 1, hash: hash.to_owned() }
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
    Work::Upsert(Upsert {
        object: object(uid),
        generation: 1,
        hash: hash.to_owned(),
        payload: vec![],
        gang: None,
    })
}

fn tombstone(uid: &str) -> Work {
    decided(uid, BEGAN, Cause::Admin)
}

fn decided(uid: &str, decided_ms: i64, cause: Cause) -> Work {
    let (object, reason) = (object(uid), String::new());
    Work::Remove(Tombstone { object, policy: Policy::Delete, reason, decided_ms, cause })
}

fn acked(delta: u64, uid: &str, hash: &str, outcome: Outcome) -> Effect {
    ack(delta, uid, hash, outcome)
}

#[test]
fn the_first_words_are_hello_with_what_is_known() {
    let (_, effects) = Session::new(Some(epoch(3)), vec![object_held("a", "1")], Instant::now());
    let [Effect::Send(ToHub::Hello { highest_epoch, held })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((highest_epoch, held.count()), (&Some(epoch(3)), 1));
}

#[test]
fn nothing_is_done_before_the_epoch_is_obeyed() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(welcome()), [Effect::AcceptEpoch(epoch(5))]);
    assert!(!bench.session.is_live());
    assert!(bench.delta(1, 5, vec![upsert("a", "1")]).is_empty(), "it waits");
    let effects = bench.on(Event::EpochJudged(Judgement::Obeyed));
    assert_eq!(effects, [Effect::Deliver(upsert("a", "1"), epoch(5))]);
    assert!(bench.session.is_live());
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
fn a_hub_that_does_not_compare_is_sent_the_whole_index_in_chunks() {
    for (objects, chunks) in [(0, vec![0]), (1000, vec![1000]), (1001, vec![1000, 1])] {
        let uids: Vec<_> = (0..objects).map(|n| n.to_string()).collect();
        let mut bench = Bench::holding(&uids.iter().map(String::as_str).collect::<Vec<_>>());
        bench.said(welcome_of(Hub::default()));
        let effects = bench.on(Event::EpochJudged(Judgement::Obeyed));
        assert_eq!(index_lengths(&effects), chunks, "{objects}");
    }
}

fn index_lengths(effects: &[Effect]) -> Vec<usize> {
    let lengths = effects.iter().enumerate().map(|(n, effect)| match effect {
        Effect::Send(ToHub::Index { held, last, .. }) => {
            assert_eq!(*last, n + 1 == effects.len());
            held.len()
        }
        other => panic!("{other:?}"),
    });
    lengths.collect()
}

#[test]
fn a_difference_costs_its_bucket_only() {
    let uids: Vec<_> = (0..2000).map(|n| n.to_string()).collect();
    let mut hubs = proto::Buckets::default();
    for uid in &uids {
        hubs.add(uid, 1, if uid == "7" { "2" } else { "1" });
    }
    let mut bench = Bench::holding(&uids.iter().map(String::as_str).collect::<Vec<_>>());
    bench.said(welcome());
    assert!(bench.said(FromHub::Compare(hubs.to_wire())).is_empty(), "not before the epoch is obeyed");
    let effects = bench.on(Event::EpochJudged(Judgement::Obeyed));
    let [Effect::Send(ToHub::Index { held, last: true, buckets })] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(buckets, &[proto::bucket("7")]);
    assert!(held.len() < 40 && held.iter().any(|held| held.object.uid == "7"), "{}", held.len());
}

#[test]
fn what_the_cluster_holds_is_told_now_and_then_unless_work_is_done_meanwhile() {
    let mut bench = Bench::live();
    let mut reads = 0;
    for beat in 1..=20 {
        bench.now += Duration::from_secs(10);
        bench.said(FromHub::Heartbeat);
        let effects = bench.on(Event::Tick);
        assert_eq!(effects[0], Effect::Send(ToHub::Heartbeat { held: None }), "{beat}");
        reads += effects.iter().filter(|effect| **effect == Effect::ReadHeld).count();
    }
    assert_eq!(reads, 2);
    let effects = bench.on(Event::Held(Some(vec![object_held("a", "1")])));
    let [Effect::Send(ToHub::Heartbeat { held: Some(held) })] = effects[..] else { panic!("{effects:?}") };
    assert_eq!(held.count(), 1);
    assert!(bench.on(Event::Held(Some(vec![]))).is_empty(), "nobody has asked");

    bench.session.reading = Some(Reading::Still);
    bench.delta(1, 5, vec![upsert("b", "1")]);
    assert!(bench.on(Event::Held(Some(vec![]))).is_empty(), "b may or may not have been there");
    bench.session.reading = Some(Reading::Still);
    assert!(bench.on(Event::Held(None)).is_empty(), "the cluster does not answer");
    assert!(bench.session.is_live());
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
    assert_eq!(bench.delta(2, 5, vec![upsert("a", "2")]), [Effect::GiveUp("a".to_owned())]);
    assert!(bench.delta(3, 5, vec![tombstone("a")]).is_empty(), "it passes the guard first");
    assert_eq!(bench.done("a", Outcome::Accepted), [acked(1, "a", "1", Outcome::Accepted)]);
    assert_eq!(bench.quiet(), [Effect::Deliver(tombstone("a"), epoch(5))]);
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
        (GoAwayReason::EpochUnproven, true),
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
    assert_eq!(bench.on(Event::Tick), [Effect::Send(ToHub::Heartbeat { held: None })]);
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

#[test]
fn a_hub_that_never_waits_for_answers_is_left() {
    let mut bench = Bench::new();
    bench.said(welcome());
    let mut closed = false;
    for id in 0..100 {
        closed |= matches!(bench.delta(id, 5, vec![])[..], [Effect::Close(_)]);
    }
    assert!(closed);
    assert!(bench.session.waiting.len() <= MOST_DELTAS);
}

#[test]
fn what_is_wanted_instead_takes_the_place_of_what_is_tried_in_vain() {
    let mut bench = Bench::live();
    let retrying = || Outcome::Retrying { message: "no answer".to_owned() };
    let failed = || Event::Retrying { uid: "a".to_owned(), message: "no answer".to_owned() };
    bench.delta(1, 5, vec![upsert("a", "1")]);
    assert_eq!(bench.on(failed()), [acked(1, "a", "1", retrying())]);
    assert_eq!(bench.delta(2, 5, vec![upsert("a", "2")]), [Effect::GiveUp("a".to_owned())]);
    assert!(bench.on(failed()).is_empty(), "of what is given up there is nothing more to tell");
    let effects = bench.on(Event::GivenUp { uid: "a".to_owned() });
    assert_eq!(effects, [Effect::Deliver(upsert("a", "2"), epoch(5))]);
    bench.delta(3, 5, vec![upsert("a", "3")]);
    let effects = bench.done("a", Outcome::Accepted);
    let expected = [acked(2, "a", "2", Outcome::Accepted), Effect::Deliver(upsert("a", "3"), epoch(5))];
    assert_eq!(effects, expected, "an outcome after all");
}

#[test]
fn what_is_tried_for_long_does_not_keep_the_cluster_from_being_read() {
    let mut bench = Bench::live();
    bench.delta(1, 5, vec![upsert("a", "1")]);
    bench.on(Event::Retrying { uid: "a".to_owned(), message: String::new() });
    let reads = |bench: &mut Bench| {
        (0..CHECKED_EVERY).any(|_| {
            bench.now += HEARTBEAT;
            bench.said(FromHub::Heartbeat);
            bench.on(Event::Tick).contains(&Effect::ReadHeld)
        })
    };
    assert!(reads(&mut bench));
    bench.done("a", Outcome::Accepted);
    assert!(bench.on(Event::Held(Some(vec![]))).is_empty(), "what was read was overtaken");
}
