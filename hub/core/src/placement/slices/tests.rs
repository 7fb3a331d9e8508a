//! How assignments are stored, through crashes, conflicts and lost answers.

use crds::fleet::RemovalPolicy;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// The slices as an API server has them: resourceVersion and content.
#[derive(Clone, Debug, Default)]
struct Server {
    slices: BTreeMap<u32, (u64, Vec<Decision>)>,
    revision: u64,
}

impl Server {
    /// Carries a call out.
    fn serve(&mut self, call: &SliceCall) -> SliceOutcome {
        let index = call.index();
        let current = self.slices.get(&index).map(|(version, _)| version.to_string());
        match call {
            SliceCall::Put { version, .. } if *version != current => SliceOutcome::Conflict,
            SliceCall::Delete { .. } if current.is_none() => SliceOutcome::Deleted,
            SliceCall::Delete { version, .. } if Some(version) != current.as_ref() => SliceOutcome::Conflict,
            SliceCall::Put { decisions, .. } => {
                self.revision += 1;
                self.slices.insert(index, (self.revision, decisions.clone()));
                SliceOutcome::Stored(self.revision.to_string())
            }
            SliceCall::Delete { .. } => {
                self.slices.remove(&index);
                SliceOutcome::Deleted
            }
            SliceCall::Read { .. } => {
                let found = self.slices.get(&index);
                SliceOutcome::Read(found.map(|(version, content)| (version.to_string(), content.clone())))
            }
        }
    }

    /// What a process that starts now reads.
    fn restart(&self) -> Slices {
        let mut slices = Slices::default();
        for (index, (version, decisions)) in &self.slices {
            slices.restore(*index, version.to_string(), decisions);
        }
        slices
    }

    fn clusters(&self, index: u32) -> BTreeSet<&str> {
        let decisions =
            self.slices.get(&index).map(|(_, decisions)| decisions.as_slice()).unwrap_or_default();
        decisions.iter().flat_map(|one| &one.clusters).map(|cluster| cluster.name.as_str()).collect()
    }
}

/// Stores what was decided, without faults. How many calls that took.
fn store(server: &mut Server, slices: &mut Slices, decided: &Assignments) -> usize {
    let mut count = 0;
    loop {
        let calls = slices.next(decided);
        if calls.is_empty() {
            assert!(slices.is_idle());
            return count;
        }
        count += calls.len();
        assert!(count < 10_000, "it does not come to an end");
        for call in calls {
            let outcome = server.serve(&call);
            slices.ended(call.index(), outcome);
        }
    }
}

fn objects(uids: std::ops::Range<usize>) -> Vec<PlacedObject> {
    let object = |n: usize| {
        let (kind, name, uid) = ("NIMService".to_owned(), format!("s{n}"), format!("{n:036}"));
        PlacedObject { kind, name, uid, ..PlacedObject::default() }
    };
    uids.map(object).collect()
}

fn placed(objects: Vec<PlacedObject>) -> PlacedAssignment {
    let (reason, since) = ("Placed".to_owned(), Timestamp::UNIX_EPOCH);
    PlacedAssignment { reason, score: 7, since, objects, replaced: false }
}

fn removing(objects: Vec<PlacedObject>) -> RemovingAssignment {
    RemovingAssignment { reason: "NotSelected".to_owned(), since: Timestamp::UNIX_EPOCH, objects }
}

fn everywhere(clusters: usize, objects: &[PlacedObject]) -> Assignments {
    let placed = (0..clusters).map(|n| (format!("c{n:04}"), placed(objects.to_vec())));
    Assignments { placed: placed.collect(), ..Assignments::default() }
}

/// Each cluster runs another number of replicas, so that none is like another.
fn divided(clusters: usize, uids: std::ops::Range<usize>) -> Assignments {
    let mut assignments = everywhere(clusters, &objects(uids));
    for (n, row) in assignments.placed.values_mut().enumerate() {
        row.objects.iter_mut().for_each(|object| object.replicas = i32::try_from(n).ok());
    }
    assignments
}

#[test]
fn a_cluster_has_one_slice_and_what_clusters_do_alike_is_written_once() {
    let mut decided = everywhere(150, &objects(0..2));
    decided.removing.insert("c0003".to_owned(), removing(objects(5..6)));
    decided.placed.insert("c0004".to_owned(), PlacedAssignment { score: 9, ..placed(objects(0..2)) });
    decided.placed.insert("c0005".to_owned(), PlacedAssignment { replaced: true, ..placed(objects(0..2)) });
    let (mut server, mut slices) = (Server::default(), Slices::default());
    assert_eq!(store(&mut server, &mut slices, &decided), 2);
    let counts = |index: u32| {
        let decisions = server.slices[&index].1.iter();
        decisions.map(|one| (one.state, one.clusters.len())).collect::<Vec<_>>()
    };
    let (replaced, removing) = ((DecisionState::Replaced, 1), (DecisionState::Removing, 1));
    assert_eq!(counts(0), [(DecisionState::Placed, 99), replaced, removing]);
    assert_eq!(counts(1), [(DecisionState::Placed, 50)]);
    assert_eq!(server.restart().assignments(), decided);
    assert_eq!(store(&mut server, &mut slices, &decided), 0, "nothing is written twice");
    assert_eq!(store(&mut server.clone(), &mut server.restart(), &decided), 0, "nor after a restart");
}

#[test]
fn a_cluster_that_comes_or_goes_is_one_write_of_one_slice() {
    let (mut server, mut slices) = (Server::default(), Slices::default());
    let mut decided = everywhere(1000, &objects(0..2));
    store(&mut server, &mut slices, &decided);
    let row = decided.placed.remove("c0000").unwrap();
    decided.removing.insert("c0000".to_owned(), removing(row.objects.clone()));
    let calls = slices.next(&decided);
    let [SliceCall::Put { index: 0, decisions, .. }] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(decisions.len(), 2);
    let mut slices = server.restart();
    assert_eq!(store(&mut server, &mut slices, &decided), 1);
    decided.removing.clear();
    assert_eq!(store(&mut server, &mut slices, &decided), 1);
    decided.placed.insert("b".to_owned(), row);
    assert_eq!(store(&mut server, &mut slices, &decided), 1, "it takes the room of the one that left");
    assert!(server.clusters(0).contains("b") && server.slices.len() == 10);
}

#[test]
fn what_no_longer_fits_moves_to_a_slice_of_a_higher_number() {
    let (mut server, mut slices) = (Server::default(), Slices::default());
    store(&mut server, &mut slices, &divided(100, 0..10));
    assert_eq!(server.slices.len(), 1);
    let decided = divided(100, 0..100);
    store(&mut server, &mut slices, &decided);
    assert_eq!(server.restart().assignments(), decided);
    for (_, decisions) in server.slices.values() {
        assert!(decisions.len() <= DECISIONS, "{} decisions", decisions.len());
        assert!(decisions.iter().map(|one| one.objects.len()).sum::<usize>() <= OBJECTS);
    }
    // Twenty clusters fill a slice; of those that are copied eighteen do, since each has room as it is stored as well.
    assert_eq!(server.slices.len(), 6);
    store(&mut server, &mut slices, &Assignments::default());
    assert!(server.slices.is_empty(), "nothing is left");
}

#[test]
fn no_slice_is_near_what_etcd_takes() {
    let long = |mut object: PlacedObject| {
        object.name = "x".repeat(63);
        object
    };
    let mut decided = everywhere(0, &[]);
    let all: Vec<PlacedObject> = objects(0..4500).into_iter().map(long).collect();
    for n in 0..120 {
        decided.placed.insert(format!("{n:x>63}"), placed(all.clone()));
    }
    let (mut server, mut slices) = (Server::default(), Slices::default());
    store(&mut server, &mut slices, &decided);
    let bytes = |(_, decisions): &(u64, Vec<Decision>)| serde_json::to_string(decisions).unwrap().len();
    let largest = server.slices.values().map(bytes).max().unwrap();
    assert!(largest < 1_048_576, "{largest} bytes");
    assert_eq!(server.restart().assignments(), decided);
}

#[test]
fn slices_of_an_earlier_version_are_brought_to_one_home() {
    let decision = |state, objects: Vec<PlacedObject>| {
        let since = Time(Timestamp::UNIX_EPOCH);
        let clusters = vec![DecidedCluster { name: "east".into(), score: Some(7), since }];
        let reason = Some(if state == DecisionState::Removing { "NotSelected" } else { "Placed" }.into());
        Decision { clusters, state, reason, objects }
    };
    let mut server = Server::default();
    server.slices.insert(0, (1, vec![decision(DecisionState::Placed, objects(0..2))]));
    server.slices.insert(1, (2, vec![decision(DecisionState::Removing, objects(2..3))]));
    server.revision = 2;
    let mut slices = server.restart();
    let found = slices.assignments();
    assert_eq!((found.placed["east"].objects.len(), found.removing["east"].objects.len()), (2, 1));
    let calls = slices.next(&found);
    let [SliceCall::Put { index: 1, .. }] = &calls[..] else { panic!("{calls:?}") };
    let outcome = server.serve(&calls[0]);
    slices.ended(1, outcome);
    assert_eq!(server.restart().assignments(), found, "a process that ends here has lost nothing");
    store(&mut server, &mut slices, &found);
    assert_eq!((server.slices.len(), server.restart().assignments()), (1, found));
}

#[test]
fn what_others_change_is_read_and_put_right() {
    let (mut server, mut slices) = (Server::default(), Slices::default());
    let decided = everywhere(2, &objects(0..1));
    store(&mut server, &mut slices, &decided);
    let (version, content) = server.slices[&0].clone();
    assert!(!slices.is_changed_by_others(0, Some((&version.to_string(), &content))), "its own write");
    assert!(!slices.is_changed_by_others(0, Some(("0", &[]))), "a watch that lags");
    server.revision += 1;
    server.slices.insert(0, (server.revision, Vec::new()));
    assert!(slices.is_changed_by_others(0, Some((&server.revision.to_string(), &[]))));
    assert_eq!(slices.next(&decided), [SliceCall::Read { index: 0 }]);
    let outcome = server.serve(&SliceCall::Read { index: 0 });
    slices.ended(0, outcome);
    assert_eq!(store(&mut server, &mut slices, &decided), 1);
    assert_eq!(server.restart().assignments(), decided);
    server.slices.clear();
    assert!(slices.is_changed_by_others(0, None));
    store(&mut server, &mut slices, &decided);
    assert_eq!(server.restart().assignments(), decided);
}

#[test]
fn a_slice_that_somebody_else_made_is_put_right_and_counts_no_more_after_a_restart() {
    let (mut server, mut slices) = (Server::default(), Slices::default());
    let decided = everywhere(2, &objects(0..1));
    store(&mut server, &mut slices, &decided);
    // A backup, or a write that was answered by nobody: older rows of a cluster that has others now, and one of a cluster that left.
    let old = decisions_of(&everywhere(3, &objects(7..9)));
    server.revision += 1;
    server.slices.insert(5, (server.revision, old.clone()));
    assert!(slices.is_changed_by_others(5, Some((&server.revision.to_string(), &old))));
    store(&mut server, &mut slices, &decided);
    assert_eq!(server.restart().assignments(), decided);
    // One that holds nothing is not kept.
    server.revision += 1;
    server.slices.insert(9, (server.revision, Vec::new()));
    assert!(slices.is_changed_by_others(9, Some((&server.revision.to_string(), &[]))));
    store(&mut server, &mut slices, &decided);
    assert_eq!((server.slices.contains_key(&9), server.restart().assignments()), (false, decided));
}

#[test]
fn what_was_listed_before_the_start_is_not_read_again() {
    let (mut server, mut slices) = (Server::default(), Slices::default());
    let decided = everywhere(2, &objects(0..1));
    store(&mut server, &mut slices, &decided);
    let (version, content) = server.slices[&0].clone();
    let mut slices = Slices::default();
    assert!(slices.is_changed_by_others(0, Some((&version.to_string(), &content))));
    slices.restore(0, version.to_string(), &content);
    assert_eq!(slices.next(&decided), []);
}

/// All of these in one slice.
fn decisions_of(assignments: &Assignments) -> Vec<Decision> {
    decisions(assignments.placed.keys().map(|name| (name.as_str(), Entry::of(assignments, name))))
}

fn is_within_bounds(decisions: &[Decision]) -> bool {
    let clusters: BTreeSet<&str> =
        decisions.iter().flat_map(|one| &one.clusters).map(|cluster| cluster.name.as_str()).collect();
    let objects = decisions.iter().map(|one| one.objects.len()).sum::<usize>();
    decisions.len() <= DECISIONS && clusters.len() <= CLUSTERS && (objects <= OBJECTS || clusters.len() == 1)
}

#[test]
fn what_is_copied_has_room_as_it_is_stored() {
    // 95 clusters with replicas of their own are in slice 1; ten of slice 0 become like the first of them, and have to move there.
    let mut server = Server::default();
    let row = |replicas: usize, count: usize| {
        let mut objects = objects(0..count);
        objects[0].replicas = i32::try_from(replicas).ok();
        placed(objects)
    };
    let first = |count| (0..100).map(move |n| (format!("a{n:03}"), row(n, count)));
    let second = |count| (0..95).map(move |n| (format!("b{n:03}"), row(n, count)));
    let slice = |rows: Vec<(String, PlacedAssignment)>| {
        let all = Assignments { placed: rows.into_iter().collect(), ..Assignments::default() };
        decisions_of(&all)
    };
    server.slices.insert(0, (1, slice(first(3).collect())));
    server.slices.insert(1, (2, slice(second(1).collect())));
    server.revision = 2;
    let mut slices = server.restart();
    // What the first hundred hold grows, so that some of them leave their slice.
    let rows = first(25).map(|(name, _)| (name, row(0, 25))).chain(second(1));
    let mut decided = Assignments { placed: rows.collect(), ..Assignments::default() };
    for n in 0..60 {
        decided.placed.insert(format!("a{n:03}"), row(n, 40));
    }
    loop {
        let calls = slices.next(&decided);
        if calls.is_empty() {
            break;
        }
        for call in calls {
            if let SliceCall::Put { decisions, .. } = &call {
                assert!(is_within_bounds(decisions), "{} decisions", decisions.len());
            }
            let outcome = server.serve(&call);
            slices.ended(call.index(), outcome);
        }
    }
    assert_eq!(server.restart().assignments(), decided);
}

#[test]
fn thousands_of_clusters_of_an_earlier_version_are_brought_home_in_one_pass() {
    // By the order of rows, as the version before wrote them: what is placed in one slice, what leaves in another.
    let mut server = Server::default();
    let mut decided = everywhere(5000, &objects(0..2));
    for (name, row) in &decided.placed {
        decided.removing.insert(
            name.clone(),
            removing(vec![PlacedObject { uid: "gone".into(), ..row.objects[0].clone() }]),
        );
    }
    let names: Vec<&String> = decided.placed.keys().collect();
    for (part, names) in names.chunks(100).enumerate() {
        for (state, at) in [(true, part), (false, part + 50)] {
            let entry = |name: &&String| {
                let Entry { placed, removing } = Entry::of(&decided, name);
                if state { Entry { placed, removing: None } } else { Entry { placed: None, removing } }
            };
            let content = decisions(names.iter().map(|name| (name.as_str(), entry(name))));
            server.revision += 1;
            server.slices.insert(u32::try_from(at).unwrap(), (server.revision, content));
        }
    }
    let began = std::time::Instant::now();
    let mut slices = server.restart();
    assert_eq!(slices.assignments(), decided);
    let calls = slices.next(&decided);
    assert!(!calls.is_empty());
    // Some two seconds of a debug build, more on a busy machine; with a pass over all slices for each cluster it takes minutes.
    assert!(began.elapsed() < std::time::Duration::from_mins(1), "{:?}", began.elapsed());
}

#[test]
fn names_of_slices_are_those_of_their_placement() {
    assert_eq!(Slices::index("a", &Slices::name("a", 12)), Some(12));
    for other in ["a", "a-", "a-01", "a-1-0", "b-1", "a-x", "a-1000000", "a-4294967295"] {
        assert_eq!(Slices::index("a", other), None, "{other}");
    }
}

/// One cluster's part of a decision.
fn entry() -> impl Strategy<Value = (bool, usize, usize)> {
    (prop::bool::weighted(0.9), 0..500_usize, 0..4_usize)
}

/// What is decided one after the other: few clusters with so many objects that slices overflow.
fn decisions_in_turn() -> impl Strategy<Value = Vec<BTreeMap<usize, (bool, usize, usize)>>> {
    let decided = prop::collection::btree_map(0..24_usize, entry(), 0..24);
    prop::collection::vec(decided, 1..5)
}

fn assignments_of(entries: &BTreeMap<usize, (bool, usize, usize)>) -> Assignments {
    let mut all = Assignments::default();
    for (n, (runs, count, leaving)) in entries {
        let name = format!("c{n:03}");
        if *runs {
            let mut objects = objects(0..count + 1);
            objects[0].replicas = i32::try_from(*n).ok();
            all.placed.insert(name.clone(), placed(objects));
        }
        let delete = |object| PlacedObject { policy: Some(RemovalPolicy::Delete), ..object };
        let left: Vec<_> = objects(600..600 + leaving).into_iter().map(delete).collect();
        if !left.is_empty() {
            all.removing.insert(name, removing(left));
        }
    }
    all
}

type EntryOf = (Option<PlacedAssignment>, Option<RemovingAssignment>);

fn entry_of(assignments: &Assignments, cluster: &str) -> EntryOf {
    (assignments.placed.get(cluster).cloned(), assignments.removing.get(cluster).cloned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// After every single call a process may end, lose the answer or meet a conflict: whoever reads the slices then finds of each
    /// cluster what was decided or what was stored before, and in the end what was decided last, each cluster in one slice.
    #[test]
    fn no_crash_loses_or_mixes_an_assignment(turns in decisions_in_turn(), faults in prop::collection::vec(0..12_u8, 1..200)) {
        let (mut server, mut slices) = (Server::default(), Slices::default());
        let mut faults = faults.into_iter().cycle();
        let mut budget = 400;
        let mut stored = Assignments::default();
        for turn in &turns {
            let decided = assignments_of(turn);
            loop {
                let mut calls = slices.next(&decided);
                if calls.is_empty() {
                    prop_assert!(slices.is_idle());
                    break;
                }
                if faults.next() == Some(1) {
                    calls.reverse();
                }
                let mut is_over = false;
                for call in calls {
                    if let SliceCall::Put { decisions, .. } = &call {
                        prop_assert!(is_within_bounds(decisions), "{} decisions", decisions.len());
                    }
                    budget -= 1;
                    let fault = if budget > 0 { faults.next().unwrap_or_default() } else { 9 };
                    let outcome = match fault {
                        0 => {
                            drop(server.serve(&call));
                            SliceOutcome::Unknown
                        }
                        1 => SliceOutcome::Unknown,
                        2 => SliceOutcome::Failed,
                        3 => {
                            drop(server.serve(&call));
                            is_over = true;
                            break;
                        }
                        _ => server.serve(&call),
                    };
                    slices.ended(call.index(), outcome);
                    let found = server.restart().assignments();
                    let names: BTreeSet<&String> = [&found, &decided, &stored]
                        .into_iter()
                        .flat_map(|all| all.placed.keys().chain(all.removing.keys()))
                        .collect();
                    for name in names {
                        let now = entry_of(&found, name);
                        prop_assert!(
                            now == entry_of(&decided, name) || now == entry_of(&stored, name),
                            "{name} is {now:?}"
                        );
                    }
                }
                if is_over {
                    slices = server.restart();
                }
            }
            let found = server.restart().assignments();
            prop_assert_eq!(&found, &decided);
            let all: Vec<&str> = server.slices.keys().flat_map(|index| server.clusters(*index)).collect();
            let distinct: BTreeSet<&str> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len(), "a cluster is in two slices");
            for (_, decisions) in server.slices.values() {
                prop_assert!(decisions.len() <= DECISIONS);
                prop_assert!(decisions.iter().map(|one| one.objects.len()).sum::<usize>() <= OBJECTS);
            }
            stored = found;
        }
    }
}
