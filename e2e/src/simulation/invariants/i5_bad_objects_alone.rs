//! I5: one bad object never delays another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fact, Invariant, World};
use crate::simulation::agenda::Time;

/// With nothing in the way a change is answered within this, milliseconds.
const BUDGET: Time = 3000;

/// Hub, its process, cluster and uid.
type Change = (usize, u64, String, String);

#[derive(Default)]
pub(super) struct BadObjectsAlone {
    /// Changes that wait for their answer, and since when.
    waiting: BTreeMap<Change, Time>,
    /// What was in the way of a fault and has not been answered since: it is tried again after a while, and what follows
    /// of the same object waits for that.
    hit: BTreeSet<Change>,
}

impl Invariant for BadObjectsAlone {
    fn statement(&self) -> &'static str {
        "I5: while nothing is wrong with hub, path and spoke, a change of an object that is not bad itself is answered \
         within three seconds, whatever others do"
    }

    fn done(&mut self, fact: &Fact, world: &World) -> Result<(), String> {
        match fact.clone() {
            Fact::Wanted { hub, life, cluster, uid } => {
                let change = (hub, life, cluster, uid);
                if !self.hit.contains(&change) {
                    self.waiting.insert(change, world.stage.now);
                }
            }
            Fact::Answered { hub, life, cluster, uid } => {
                let change = (hub, life, cluster, uid);
                self.waiting.remove(&change);
                self.hit.remove(&change);
            }
            _ => {}
        }
        Ok(())
    }

    fn hold(&mut self, world: &World) -> Result<(), String> {
        let now = world.stage.now;
        let mut late = None;
        let hit = &mut self.hit;
        self.waiting.retain(|change, since| {
            let (hub, life, cluster, uid) = change;
            // Nothing can be made of what a finalizer keeps from leaving.
            let is_calm =
                world.calm_since(*hub, *life, cluster).is_some_and(|calm_since| calm_since <= *since);
            if !is_calm || world.is_leaving(cluster, uid) {
                hit.insert(change.clone());
                return false;
            }
            if world.stage.bad.contains(uid)
                || world.shares_name(uid)
                || world.is_carried_out(*hub, cluster, uid)
            {
                return false;
            }
            if now > *since + BUDGET && late.is_none() {
                late = Some(format!("hub {hub} waits for {cluster} to answer to {uid} since {since} ms"));
            }
            true
        });
        late.map_or(Ok(()), Err)
    }
}
