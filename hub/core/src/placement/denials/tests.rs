//! What is refused, for how long, and what comes back.

use crds::fleet::PlacedObject;

use super::*;

fn denied(held: bool) -> Answer {
    Answer::Rejected { class: RejectionClass::PolicyDenied { held }, message: "no host paths".into() }
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

/// By the report of that moment so many replicas fit, as the spoke counts.
fn no_room(judged: i64, groups: u32) -> Answer {
    let class = RejectionClass::NoRoom { judged: moment(judged), groups };
    Answer::Rejected { class, message: "the largest fit is 1 × 8".into() }
}

fn invalid() -> Answer {
    Answer::Rejected { class: RejectionClass::Invalid, message: "no".into() }
}

fn placed(cluster: &str) -> BTreeMap<String, PlacedAssignment> {
    let object = |kind: &str, uid: &str| PlacedObject {
        kind: kind.into(),
        name: uid.into(),
        uid: uid.into(),
        ..PlacedObject::default()
    };
    let objects = vec![object("NIMCache", "c"), object("NIMService", "s")];
    let since = Timestamp::UNIX_EPOCH;
    let row = PlacedAssignment { reason: "Placed".into(), score: 1, since, objects, replaced: false };
    BTreeMap::from([(cluster.to_owned(), row)])
}

struct World {
    before: Denials,
    placed: BTreeMap<String, PlacedAssignment>,
    generation: i64,
    limits: Option<&'static str>,
    cache: Option<Answer>,
    service: Option<Answer>,
    /// When the report was made, and how many replicas of the service fit by it.
    room: Option<(i64, u32)>,
    minutes: i64,
}

impl World {
    fn new(cache: Option<Answer>, service: Option<Answer>) -> Self {
        let (before, placed) = (Denials::new(), placed("east"));
        Self { before, placed, generation: 1, limits: Some("a"), cache, service, room: None, minutes: 0 }
    }

    fn follow(&self) -> Denials {
        self.followed().denials
    }

    fn followed(&self) -> Followed {
        follow(&Input {
            before: &self.before,
            placed: &self.placed,
            asked: Asked { placement: self.generation, objects: BTreeMap::new() },
            working: &["s"],
            answer: &|_, uid| if uid == "s" { self.service.as_ref() } else { self.cache.as_ref() },
            limits: &|_| self.limits.map(ToOwned::to_owned),
            room: &|_, _| self.room.map(|(at, fit)| Shown { at: moment(at), fit }),
            now: Timestamp::UNIX_EPOCH + SignedDuration::from_mins(self.minutes),
        })
    }
}

#[test]
fn a_row_is_taken_back_only_where_nothing_that_works_can_be() {
    let accepted = || Some(Answer::Accepted);
    let table = [
        ("the service is denied and is not there", accepted(), Some(denied(false)), Some(false)),
        ("an earlier version of it is there", accepted(), Some(denied(true)), Some(true)),
        ("it is there, its cache is denied", Some(denied(false)), accepted(), Some(true)),
        ("it has not been answered for", Some(denied(false)), None, Some(true)),
        ("it is refused for another reason", Some(denied(false)), Some(invalid()), Some(true)),
        ("nothing is denied", accepted(), Some(invalid()), None),
    ];
    for (case, cache, service, expected) in table {
        let found = World::new(cache, service).follow();
        assert_eq!(found.get("east").map(|denial| denial.denied.stays), expected, "{case}");
        assert!(found.values().all(|denial| denial.denied.message.contains("no host paths")), "{case}");
    }
}

#[test]
fn a_denial_outlives_its_row_until_the_object_or_the_limit_changes() {
    let denied = World::new(None, Some(denied(false))).follow();
    let later = || World { before: denied.clone(), placed: BTreeMap::new(), ..World::new(None, None) };
    let table = [
        ("nothing changed", later(), true),
        ("the spoke is away", World { limits: None, ..later() }, true),
        ("the object changed", World { generation: 2, ..later() }, false),
        ("the limit changed", World { limits: Some("b"), ..later() }, false),
    ];
    for (case, world, expected) in table {
        assert_eq!(world.follow().contains_key("east"), expected, "{case}");
    }
    let placed_again = World { placed: placed("east"), ..later() };
    assert!(placed_again.follow().is_empty(), "what is placed is judged by its own answers");
}

#[test]
fn a_denial_is_asked_again_after_two_minutes_then_after_twice_as_long_until_half_an_hour() {
    let mut world = World::new(None, Some(denied(false)));
    let mut asked = Vec::new();
    while asked.len() < 7 {
        // The cluster denies it, the row is taken back, and nobody has answered anything since.
        let first = world.followed();
        assert_eq!(first.news.len(), usize::from(asked.is_empty()), "told once: {:?}", first.news);
        let since = world.minutes;
        world = World { before: first.denials, placed: BTreeMap::new(), service: None, ..world };
        while world.follow()["east"].holds() {
            world.minutes += 1;
            assert!(ends(&world.before) >= Some(moment((world.minutes - 1) * 60)), "{:?}", world.before);
        }
        asked.push(world.minutes - since);
        let lapsed = world.follow();
        assert_eq!(ends(&lapsed), None);
        // It is placed and sent once more, and remembered until the answer comes.
        world = World { before: lapsed, placed: placed("east"), ..world };
        let waiting = world.follow();
        assert!(!waiting["east"].holds());
        world = World { before: waiting, service: Some(denied(false)), ..world };
    }
    assert_eq!(asked, [2, 4, 8, 16, 30, 30, 30]);
    world.service = Some(Answer::Accepted);
    assert!(world.follow().is_empty(), "it is let in");
}

#[test]
fn want_of_room_takes_the_row_back_unless_something_works_there() {
    let accepted = || Some(Answer::Accepted);
    let table = [
        ("it is not there", accepted(), Some(no_room(9, 0)), Some((Reason::NoRoom, false))),
        (
            "its cache has no room, which is no such thing",
            Some(no_room(9, 0)),
            accepted(),
            Some((Reason::NoRoom, true)),
        ),
        (
            "its cache is denied",
            Some(denied(false)),
            Some(no_room(9, 0)),
            Some((Reason::PolicyDenied, false)),
        ),
    ];
    for (case, cache, service, expected) in table {
        let found = World::new(cache, service).follow();
        let found = found.get("east").map(|denial| (denial.denied.reason, denial.denied.stays));
        assert_eq!(found, expected, "{case}");
    }
    let found = World::new(accepted(), Some(no_room(9, 0))).follow();
    assert_eq!(found["east"].denied.message, "NIMService s: the largest fit is 1 × 8");
}

#[test]
fn a_spoke_without_room_is_asked_again_once_a_later_report_shows_more_and_never_for_the_same() {
    // What a report of a moment shows, one after the other; whether the cluster is still refused after each.
    type Reports = &'static [(Option<(i64, u32)>, bool)];
    let table: [(&str, u32, Reports); 8] = [
        ("nothing has been reported", 0, &[(None, true), (None, true)]),
        ("an older picture says that it fits", 0, &[(Some((8, 1)), true), (Some((8, 1)), true)]),
        (
            "the report itself comes, and a later one shows room",
            0,
            &[(Some((9, 0)), true), (Some((10, 1)), false)],
        ),
        ("only the later one comes", 0, &[(Some((8, 1)), true), (Some((10, 1)), false)]),
        (
            "a later one shows none either",
            0,
            &[(Some((9, 0)), true), (Some((10, 0)), true), (Some((11, 1)), false)],
        ),
        (
            "hub and spoke count differently",
            0,
            &[(Some((9, 1)), true), (Some((10, 1)), true), (Some((11, 1)), true)],
        ),
        ("and then there is really more", 0, &[(Some((9, 1)), true), (Some((10, 2)), false)]),
        (
            "room was lost and is back",
            1,
            &[(Some((9, 1)), true), (Some((10, 0)), true), (Some((11, 1)), false)],
        ),
    ];
    for (case, groups, reports) in table {
        let mut before = World::new(None, Some(no_room(9, groups))).follow();
        for (step, (room, refused)) in reports.iter().enumerate() {
            // The row is gone, and with it the answer.
            let world = World { before, placed: BTreeMap::new(), room: *room, ..World::new(None, None) };
            before = world.follow();
            assert_eq!(before.contains_key("east"), *refused, "{case}: {step}");
        }
    }
}

#[test]
fn what_is_asked_again_is_judged_by_its_new_answer_alone() {
    let refused = World::new(None, Some(no_room(9, 0))).follow();
    // Placed again by a later report, and not answered yet: the answer that is known is of before.
    let placed_again =
        World { before: Denials::new(), room: Some((10, 1)), ..World::new(None, Some(no_room(9, 0))) };
    assert!(placed_again.follow().is_empty());
    // Refused again, by a picture that the hub has not heard of.
    let again =
        World { before: Denials::new(), room: Some((10, 1)), ..World::new(None, Some(no_room(11, 0))) };
    assert!(again.follow().contains_key("east"));
    // The object changed: whatever was said was said of another one.
    let changed = World { generation: 2, placed: BTreeMap::new(), before: refused, ..World::new(None, None) };
    assert!(changed.follow().is_empty());
}

#[test]
fn it_is_asked_again_after_a_while_whatever_reports_say() {
    let before = World::new(None, Some(no_room(9, 0))).follow();
    assert_eq!(ends(&before), Some(Timestamp::UNIX_EPOCH + ASKED_AGAIN_AFTER));
    for (minutes, refused) in [(4, true), (5, false)] {
        let world =
            World { before: before.clone(), placed: BTreeMap::new(), minutes, ..World::new(None, None) };
        assert_eq!(world.follow().contains_key("east"), refused, "{minutes}");
    }
    assert_eq!(ends(&Denials::new()), None);
}

#[test]
fn what_stays_beside_something_that_works_is_sent_once_more_when_there_is_room() {
    let beside = || World::new(Some(no_room(9, 0)), Some(Answer::Accepted));
    let first = beside().followed();
    assert!(first.denials["east"].denied.stays && first.again.is_empty());
    let before = || first.denials.clone();
    let waits = World { before: before(), minutes: 3, ..beside() }.followed();
    assert_eq!(ends(&waits.denials), ends(&first.denials), "it is the refusal of then");
    let room = World { before: before(), room: Some((10, 1)), ..beside() }.followed();
    assert!(room.denials.is_empty() && room.again == [("east".to_owned(), "c".to_owned())]);
    let later = World { before: before(), minutes: 5, ..beside() }.followed();
    assert!(later.denials.is_empty() && later.again.len() == 1);
}
