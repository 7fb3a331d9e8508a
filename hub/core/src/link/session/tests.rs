//! The session by table, and against a spoke that loses its connection whenever it likes.

mod convergence;
mod life;
mod reconnect;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::fleet::{Agent, Answer, HeldObject, ObjectRef, ObjectResult, RejectionClass};
use crate::link::message::Instance;
use crate::link::object::{Cause, DesiredObject, Removal, RemovalPolicy};

/// A session with all that it sees.
struct Bench {
    session: Session,
    outbox: Outbox,
    epoch: Epoch,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: session(now), outbox: Outbox::default(), epoch: epoch("hub", 5, "x"), now }
    }

    fn on(&mut self, event: Event) -> Vec<Effect> {
        self.session.on(event, &mut View { now: self.now, epoch: &self.epoch, outbox: &mut self.outbox })
    }

    fn said(&mut self, said: FromSpoke) -> Vec<Effect> {
        self.on(Event::Said(said))
    }

    /// A new connection of an agent that does not compare by hash, up to the comparison with what is held.
    fn connect(&mut self, held: Vec<HeldObject>) -> Vec<Effect> {
        self.session = session(self.now);
        self.said(hello("east", None));
        self.on(Event::Claimed(true));
        self.said(FromSpoke::Index { held, last: true, buckets: BTreeSet::new() })
    }

    fn want(&mut self, object: DesiredObject) -> Vec<Effect> {
        self.outbox.set_desired(object);
        self.on(Event::Changed)
    }

    fn ack(&mut self, delta: u64, uid: &str, answer: Answer) -> Vec<Effect> {
        let results = vec![ObjectResult { uid: uid.to_owned(), hash: "echo".to_owned(), answer }];
        self.said(FromSpoke::Ack { delta, results })
    }
}

fn session(now: Instant) -> Session {
    Session::new("east".parse().unwrap(), Timestamp::UNIX_EPOCH, terms(), key(), now)
}

fn key() -> EpochKey {
    EpochKey::new([7; 32])
}

fn terms() -> Terms {
    Terms::of(1, Duration::from_secs(10), [0.0; 2])
}

fn epoch(hub: &str, term: u64, incarnation: &str) -> Epoch {
    Epoch { hub_id: hub.to_owned(), term, incarnation: incarnation.to_owned() }
}

fn hello(cluster: &str, highest_epoch: Option<Epoch>) -> FromSpoke {
    FromSpoke::Hello(Hello {
        cluster: cluster.to_owned(),
        agent: Agent::default(),
        instance: Instance { id: "i".to_owned(), started_ms: 1 },
        highest_epoch,
        epoch_proof: Vec::new(),
        held: None,
    })
}

fn object(uid: &str) -> ObjectRef {
    let kind = if uid.starts_with("cache") { "NIMCache" } else { "NIMService" };
    ObjectRef {
        uid: uid.to_owned(),
        api_version: "apps.nvidia.com/v1alpha1".to_owned(),
        kind: kind.to_owned(),
        namespace: "models".to_owned(),
        name: uid.to_owned(),
    }
}

fn desired(uid: &str, hash: &str) -> DesiredObject {
    sized(uid, hash, 10)
}

fn sized(uid: &str, hash: &str, bytes: usize) -> DesiredObject {
    let payload = Arc::from(vec![0; bytes]);
    DesiredObject { object: object(uid), generation: 1, hash: hash.to_owned(), payload, gang: None }
}

fn removal(uid: &str) -> Removal {
    Removal {
        object: object(uid),
        policy: RemovalPolicy::Delete,
        reason: "moved".to_owned(),
        decided: Timestamp::UNIX_EPOCH,
        cause: Cause::Admin,
    }
}

fn held(uid: &str, hash: &str) -> HeldObject {
    HeldObject { object: object(uid), generation: 1, hash: hash.to_owned() }
}

fn rejected(class: RejectionClass) -> Answer {
    Answer::Rejected { class, message: "no".to_owned() }
}

/// What was sent, shortly: `3 +cache-a:h1 +b:h2 -c`.
fn sent(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send(ToSpoke::Delta { id, upserts, tombstones, .. }) => {
                let upserts = upserts.iter().map(|object| format!(" +{}:{}", object.object.uid, object.hash));
                let tombstones = tombstones.iter().map(|removal| format!(" -{}", removal.object.uid));
                Some(format!("{id}{}", upserts.chain(tombstones).collect::<String>()))
            }
            _ => None,
        })
        .collect()
}

fn goodbye(effects: &[Effect]) -> Option<GoAwayReason> {
    match effects {
        [.., Effect::Send(ToSpoke::GoAway { reason, .. }), Effect::Close(_)] => Some(*reason),
        _ => None,
    }
}

#[test]
fn a_spoke_in_sync_is_sent_nothing_and_told_as_accepted() {
    let mut bench = Bench::new();
    bench.outbox.set_desired(desired("a", "1"));
    let effects = bench.connect(vec![held("a", "1")]);
    assert!(sent(&effects).is_empty());
    let result = ObjectResult { uid: "a".into(), hash: "1".into(), answer: Answer::Accepted };
    assert!(effects.contains(&Effect::Report(LinkEvent::Results {
        cluster: "east".parse().unwrap(),
        results: vec![result]
    })));
}

#[test]
fn only_differences_are_sent_and_caches_first() {
    let mut bench = Bench::new();
    for object in [desired("a", "1"), desired("b", "2"), desired("cache-z", "1"), desired("c", "1")] {
        bench.outbox.set_desired(object);
    }
    bench.outbox.set_removal(removal("gone"));
    let effects = bench.connect(vec![held("a", "1"), held("b", "1")]);
    assert_eq!(sent(&effects), ["1 +cache-z:1 +b:2 +c:1 -gone"]);
}

#[test]
fn what_is_held_and_not_wanted_is_reported_and_never_removed() {
    let mut bench = Bench::new();
    let effects = bench.connect(vec![held("stray", "1")]);
    assert!(sent(&effects).is_empty());
    let orphans = LinkEvent::Orphans { cluster: "east".parse().unwrap(), objects: vec![held("stray", "1")] };
    assert!(effects.contains(&Effect::Report(orphans)));
}

#[test]
fn a_foreign_name_is_refused_before_anything_is_said() {
    let mut bench = Bench::new();
    let effects = bench.said(hello("west", None));
    assert_eq!(goodbye(&effects), Some(GoAwayReason::ProtocolError));
    assert!(bench.on(Event::Claimed(true)).is_empty(), "it is over");
}

#[test]
fn an_older_instance_is_told_that_it_is_a_duplicate() {
    let mut bench = Bench::new();
    bench.said(hello("east", None));
    assert_eq!(goodbye(&bench.on(Event::Claimed(false))), Some(GoAwayReason::DuplicateInstance));
}

/// First words with the epoch that was accepted, proven by this hub's key.
fn proven(known: Epoch) -> FromSpoke {
    let epoch_proof = key().prove(&known, &"east".parse().unwrap(), "").to_vec();
    match hello("east", Some(known)) {
        FromSpoke::Hello(hello) => FromSpoke::Hello(Hello { epoch_proof, ..hello }),
        other => other,
    }
}

#[test]
fn the_term_rises_above_what_the_spoke_proves_before_anything_is_sent() {
    let table = [
        ("never heard a hub", None, None),
        ("older", Some(epoch("hub", 4, "w")), None),
        ("the same", Some(epoch("hub", 5, "x")), None),
        ("same term, other incarnation", Some(epoch("hub", 5, "y")), Some(5)),
        ("newer", Some(epoch("hub", 9, "y")), Some(9)),
        ("another hub's: the spoke refuses", Some(epoch("other", 9, "y")), None),
    ];
    for (case, known, raised) in table {
        let mut bench = Bench::new();
        bench.said(known.map_or_else(|| hello("east", None), proven));
        let effects = bench.on(Event::Claimed(true));
        let Some(term) = raised else {
            assert!(matches!(effects[0], Effect::Send(ToSpoke::Welcome { .. })), "{case}");
            continue;
        };
        assert_eq!(effects, [Effect::RaiseEpoch(term)], "{case}");
        bench.epoch = epoch("hub", term + 1, "z");
        let effects = bench.on(Event::EpochRaised);
        assert!(
            matches!(&effects[0], Effect::Send(ToSpoke::Welcome { epoch, .. }) if *epoch == bench.epoch),
            "{case}"
        );
    }
}

#[test]
fn an_epoch_that_is_not_proven_raises_nothing_and_is_told() {
    let foreign = EpochKey::new([8; 32]).prove(&epoch("hub", 9, "y"), &"east".parse().unwrap(), "").to_vec();
    let of_another = key().prove(&epoch("hub", 9, "y"), &"west".parse().unwrap(), "").to_vec();
    let of_a_lower = key().prove(&epoch("hub", 4, "y"), &"east".parse().unwrap(), "").to_vec();
    let table = [
        ("before proofs", 9, vec![]),
        ("same term, other incarnation", 5, vec![]),
        ("the last of all numbers", u64::MAX, vec![]),
        ("a key of another hub", 9, foreign),
        ("the proof of another cluster", 9, of_another),
        ("the proof of a lower term", 9, of_a_lower),
    ];
    for (case, theirs, epoch_proof) in table {
        let mut bench = Bench::new();
        let FromSpoke::Hello(hello) = hello("east", Some(epoch("hub", theirs, "y"))) else { panic!() };
        let has_proof = !epoch_proof.is_empty();
        bench.said(FromSpoke::Hello(Hello { epoch_proof, ..hello }));
        let effects = bench.on(Event::Claimed(true));
        let unproven = UnprovenEpoch { theirs, ours: 5, has_proof };
        let cluster = "east".parse().unwrap();
        assert_eq!(
            effects[0],
            Effect::Report(LinkEvent::EpochUnproven { cluster, epoch: unproven }),
            "{case}"
        );
        assert_eq!((effects.len(), goodbye(&effects)), (3, Some(GoAwayReason::EpochUnproven)), "{case}");
        assert!(bench.on(Event::EpochRaised).is_empty(), "{case}: it is over");
    }
}

#[test]
fn a_spoke_without_proofs_is_let_in_while_its_epoch_is_not_above_the_hubs() {
    for known in [None, Some(epoch("hub", 4, "w")), Some(epoch("hub", 5, "x")), Some(epoch("other", 9, "y"))]
    {
        let mut bench = Bench::new();
        bench.said(hello("east", known.clone()));
        let effects = bench.on(Event::Claimed(true));
        let proof = key().prove(&bench.epoch, &"east".parse().unwrap(), "");
        assert!(
            matches!(&effects[0], Effect::Send(ToSpoke::Welcome { proof: given, .. }) if *given == proof),
            "{known:?}: {effects:?}"
        );
    }
}

#[test]
fn a_term_that_cannot_rise_ends_the_session() {
    let mut bench = Bench::new();
    bench.said(proven(epoch("hub", 9, "y")));
    bench.on(Event::Claimed(true));
    assert_eq!(goodbye(&bench.on(Event::EpochFailed("no API".into()))), Some(GoAwayReason::Unavailable));
}

#[test]
fn one_object_is_under_way_once_and_the_latest_wins() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    assert_eq!(sent(&bench.want(desired("a", "1"))), ["1 +a:1"]);
    assert!(sent(&bench.want(desired("a", "2"))).is_empty());
    assert!(sent(&bench.want(desired("a", "3"))).is_empty());
    assert_eq!(sent(&bench.ack(1, "a", Answer::Accepted)), ["2 +a:3"]);
    assert!(sent(&bench.ack(2, "a", Answer::Accepted)).is_empty());
}

#[test]
fn a_change_back_sends_nothing() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    bench.want(desired("a", "2"));
    bench.want(desired("a", "1"));
    assert!(sent(&bench.ack(1, "a", Answer::Accepted)).is_empty());
}

#[test]
fn an_echo_of_an_old_delta_means_nothing() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    assert!(
        bench
            .ack(7, "a", Answer::Accepted)
            .iter()
            .all(|effect| !matches!(effect, Effect::Report(LinkEvent::Results { .. })))
    );
    assert!(sent(&bench.want(desired("a", "2"))).is_empty(), "still under way");
}

#[test]
fn what_was_rejected_is_not_sent_again_until_its_hash_changes() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    assert!(sent(&bench.ack(1, "a", rejected(RejectionClass::Invalid))).is_empty());
    assert!(sent(&bench.want(desired("a", "1"))).is_empty(), "same hash");
    assert!(sent(&bench.connect(vec![])).is_empty(), "same hash, new connection");
    assert_eq!(sent(&bench.want(desired("a", "2"))), ["1 +a:2"]);
}

#[test]
fn a_rejection_of_what_is_no_longer_wanted_stops_nothing() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    bench.want(desired("a", "2"));
    assert_eq!(sent(&bench.ack(1, "a", rejected(RejectionClass::Invalid))), ["2 +a:2"]);
}

#[test]
fn a_tombstone_is_sent_until_the_spoke_says_gone() {
    let mut bench = Bench::new();
    bench.outbox.set_removal(removal("a"));
    assert_eq!(sent(&bench.connect(vec![held("a", "1")])), ["1 -a"]);
    assert_eq!(sent(&bench.connect(vec![held("a", "1")])), ["1 -a"], "the connection was lost");
    assert!(sent(&bench.ack(1, "a", Answer::Gone)).is_empty());
    bench.outbox.forget("a");
    assert!(sent(&bench.connect(vec![])).is_empty());
}

#[test]
fn forgotten_is_not_removed() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    bench.outbox.forget("a");
    assert!(sent(&bench.on(Event::Changed)).is_empty());
    assert!(sent(&bench.ack(1, "a", Answer::Accepted)).is_empty());
}

#[test]
fn a_stale_epoch_ends_the_session_and_is_no_verdict() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    bench.want(desired("a", "1"));
    let effects = bench.ack(1, "a", rejected(RejectionClass::StaleEpoch));
    assert_eq!(goodbye(&effects), Some(GoAwayReason::Unavailable));
    assert_eq!(sent(&bench.connect(vec![])), ["1 +a:1"]);
}

#[test]
fn deltas_are_cut_and_a_spoke_that_does_not_answer_holds_a_bounded_amount() {
    const HALF: usize = 512 * 1024;
    let mut bench = Bench::new();
    for n in 0..20 {
        bench.outbox.set_desired(sized(&format!("{n:02}"), "1", HALF));
    }
    let effects = bench.connect(vec![]);
    assert_eq!(sent(&effects), ["1 +00:1", "2 +01:1", "3 +02:1", "4 +03:1", "5 +04:1", "6 +05:1", "7 +06:1"]);
    assert_eq!(sent(&bench.ack(2, "01", Answer::Accepted)), ["8 +07:1"]);
}

#[test]
fn an_object_larger_than_a_delta_travels_alone() {
    let mut bench = Bench::new();
    bench.outbox.set_desired(sized("a", "1", 1 << 20));
    bench.outbox.set_desired(desired("b", "1"));
    assert_eq!(sent(&bench.connect(vec![])), ["1 +a:1", "2 +b:1"]);
}

#[test]
fn status_of_what_is_not_wanted_here_goes_no_further() {
    let mut bench = Bench::new();
    bench.outbox.set_desired(desired("a", "1"));
    bench.connect(vec![held("a", "1")]);
    let effects = bench.said(FromSpoke::Status(vec![status("a"), status("stranger")]));
    let expected = LinkEvent::Status { cluster: "east".parse().unwrap(), objects: vec![status("a")] };
    assert!(effects.contains(&Effect::Report(expected)));
}

fn status(uid: &str) -> ObjectStatus {
    ObjectStatus {
        object: object(uid),
        generation: 1,
        hash: "1".to_owned(),
        state: "Ready".to_owned(),
        conditions: vec![],
        ready_replicas: 1,
        wanted_replicas: 1,
        observed_at: Timestamp::UNIX_EPOCH,
        profiles: vec![],
        unschedulable: None,
        claim: String::new(),
    }
}
