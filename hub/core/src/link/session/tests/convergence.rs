//! Whatever happens on the way, the cluster comes to hold what is wanted, and loses only what a tombstone names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::link::outbox::Desired;

#[derive(Clone, Debug)]
enum Step {
    Desired(u8, u8),
    Remove(u8),
    Forget(u8),
    /// The spoke carries out the oldest delta it has received.
    Work,
    /// It answers the oldest thing it has done, once or twice.
    Answer {
        twice: bool,
    },
    /// The connection is lost with all that is on its way.
    Cut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let uid = 0..5_u8;
    let step = prop_oneof![
        4 => (uid.clone(), 0..3_u8).prop_map(|(uid, hash)| Step::Desired(uid, hash)),
        2 => uid.clone().prop_map(Step::Remove),
        1 => uid.prop_map(Step::Forget),
        5 => Just(Step::Work),
        5 => any::<bool>().prop_map(|twice| Step::Answer { twice }),
        1 => Just(Step::Cut),
    ];
    prop::collection::vec(step, 0..80)
}

/// A hub's session and a spoke that is as simple as can be.
struct World {
    bench: Bench,
    holds: BTreeMap<String, String>,
    received: VecDeque<ToSpoke>,
    answers: VecDeque<(u64, String, Answer)>,
    /// uids that a tombstone was ever wanted for.
    doomed: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let holds = BTreeMap::from([("stray".to_owned(), "1".to_owned())]);
        let (received, answers, doomed) = (VecDeque::new(), VecDeque::new(), BTreeSet::new());
        let mut world = Self { bench: Bench::new(), holds, received, answers, doomed };
        world.cut();
        world
    }

    fn take(&mut self, effects: Vec<Effect>) {
        self.received.extend(effects.into_iter().filter_map(|effect| match effect {
            Effect::Send(message @ ToSpoke::Delta { .. }) => Some(message),
            _ => None,
        }));
    }

    fn cut(&mut self) {
        self.received.clear();
        self.answers.clear();
        let index = self.holds.iter().map(|(uid, hash)| held(uid, hash)).collect();
        let effects = self.bench.connect(index);
        self.take(effects);
    }

    fn work(&mut self) {
        let Some(ToSpoke::Delta { id, upserts, tombstones, .. }) = self.received.pop_front() else { return };
        for object in upserts {
            // Hash 0 is what this cluster's API server does not like.
            let answer = if object.hash == "0" {
                rejected(RejectionClass::Invalid)
            } else {
                self.holds.insert(object.object.uid.clone(), object.hash.clone());
                Answer::Accepted
            };
            self.answers.push_back((id, object.object.uid.clone(), answer));
        }
        for removal in tombstones {
            assert!(self.doomed.contains(&removal.object.uid), "nobody wanted {removal:?}");
            self.holds.remove(&removal.object.uid);
            self.answers.push_back((id, removal.object.uid.clone(), Answer::Gone));
        }
    }

    fn answer(&mut self, twice: bool) {
        let Some((id, uid, answer)) = self.answers.pop_front() else { return };
        for _ in 0..=u8::from(twice) {
            let effects = self.bench.ack(id, &uid, answer.clone());
            self.take(effects);
        }
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Desired(uid, hash) => {
                let effects = self.bench.want(desired(&format!("u{uid}"), &hash.to_string()));
                self.take(effects);
            }
            Step::Remove(uid) => {
                self.doomed.insert(format!("u{uid}"));
                self.bench.outbox.set_removal(removal(&format!("u{uid}")));
                let effects = self.bench.on(Event::Changed);
                self.take(effects);
            }
            Step::Forget(uid) => self.bench.outbox.forget(&format!("u{uid}")),
            Step::Work => self.work(),
            Step::Answer { twice } => self.answer(*twice),
            Step::Cut => self.cut(),
        }
    }

    fn settle(&mut self) {
        while !self.received.is_empty() || !self.answers.is_empty() {
            self.work();
            self.answer(false);
        }
    }
}

proptest! {
    #[test]
    fn a_cluster_comes_to_hold_what_is_wanted(steps in steps(), cut_at_the_end: bool) {
        let mut world = World::new();
        for step in steps {
            world.play(&step);
        }
        if cut_at_the_end {
            world.cut();
        }
        world.settle();
        let wanted: Vec<_> =
            world.bench.outbox.iter().map(|(uid, want)| (uid.clone(), want.clone())).collect();
        for (uid, want) in wanted {
            match want {
                Desired::Present(object) if object.hash == "0" => {}
                Desired::Present(object) => prop_assert_eq!(world.holds.get(&uid), Some(&object.hash)),
                Desired::Absent(_) => prop_assert!(!world.holds.contains_key(&uid)),
            }
        }
        prop_assert!(world.holds.contains_key("stray"), "what nobody mentions is left alone");
        // And now that all is well, a new connection is free.
        let index = world.holds.iter().map(|(uid, hash)| held(uid, hash)).collect();
        let effects = world.bench.connect(index);
        prop_assert!(sent(&effects).iter().all(|delta| !delta.contains('+')), "{:?}", sent(&effects));
    }
}
