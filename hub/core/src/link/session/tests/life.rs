//! Signs of life, the want of them, and what ends a session.

use super::*;

#[test]
fn signs_of_life_and_the_want_of_them() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    let start = bench.now;
    bench.now = start + Duration::from_secs(10);
    assert_eq!(bench.session.wake_at(), bench.now);
    assert_eq!(bench.on(Event::Tick), [Effect::Send(ToSpoke::Heartbeat)]);
    bench.said(FromSpoke::Heartbeat(None));
    bench.now = start + Duration::from_secs(39);
    assert!(!matches!(bench.on(Event::Tick)[..], [Effect::Close(_)]), "heard 29 s ago");
    bench.now = start + Duration::from_secs(40);
    assert!(matches!(bench.on(Event::Tick)[..], [Effect::Close(_)]));
}

#[test]
fn nobody_waits_for_a_hello_for_ever() {
    let mut bench = Bench::new();
    bench.now = bench.session.wake_at();
    assert_eq!(goodbye(&bench.on(Event::Tick)), Some(GoAwayReason::ProtocolError));
}

#[test]
fn messages_out_of_turn_end_the_session() {
    type Say = fn(&mut Bench) -> Vec<Effect>;
    let cases: [(&str, Say); 4] = [
        ("ack first", |bench| bench.ack(1, "a", Answer::Accepted)),
        ("status first", |bench| bench.said(FromSpoke::Status(vec![]))),
        ("two Hellos", |bench| {
            bench.connect(vec![]);
            bench.said(hello("east", None))
        }),
        ("an index again", |bench| {
            bench.connect(vec![]);
            bench.said(FromSpoke::Index { held: vec![], last: true, buckets: BTreeSet::new() })
        }),
    ];
    for (case, play) in cases {
        assert_eq!(goodbye(&play(&mut Bench::new())), Some(GoAwayReason::ProtocolError), "{case}");
    }
}

#[test]
fn heard_is_told_at_most_every_five_seconds() {
    let mut bench = Bench::new();
    bench.connect(vec![]);
    let heard = |effects: Vec<Effect>| {
        effects.iter().any(|effect| matches!(effect, Effect::Report(LinkEvent::Alive { .. })))
    };
    assert!(!heard(bench.said(FromSpoke::Heartbeat(None))), "the index was told already");
    bench.now += ALIVE_EVERY;
    assert!(heard(bench.said(FromSpoke::Heartbeat(None))));
}
