//! I3: once nothing goes wrong any more, every spoke is soon as its hub wants it, and the hub knows.

use std::collections::BTreeSet;

use spoke::deliver::marks_of;

use super::{Invariant, World};

pub(super) struct Converges;

impl Invariant for Converges {
    fn statement(&self) -> &'static str {
        "I3: three minutes after faults and changes have ended every spoke holds what its hub wants of it, and the hub \
         knows its state"
    }

    fn hold(&mut self, world: &World) -> Result<(), String> {
        if !world.verdict {
            return Ok(());
        }
        let hub = &world.hubs[world.survivor];
        let Some(process) = &hub.process else { return Err("the hub is down".to_owned()) };
        for (placement, rows) in &hub.store.rows {
            if let Some((cluster, _, object)) = rows.leaving().next() {
                return Err(format!("{} of {placement} has yet to leave {cluster}", object.uid));
            }
        }
        for spoke in world.spokes.iter().filter(|spoke| !spoke.is_imposter) {
            let cluster = spoke.cluster.as_str();
            let mut wanted = BTreeSet::new();
            for (placement, book) in &process.books {
                for ((name, uid), hash) in &book.sent {
                    if name != cluster {
                        continue;
                    }
                    wanted.insert(uid.as_str());
                    let live = spoke.kube.objects.values().find(|live| live.uid().as_ref() == Some(uid));
                    let held = live.and_then(|live| marks_of(&live.meta)).map(|marks| marks.hash);
                    let answer = process.live.answer(cluster, uid);
                    let refused = answer.is_some_and(|answer| {
                        answer.hash == *hash
                            && matches!(answer.answer, hub_scheduler::fleet::Answer::Rejected { .. })
                    });
                    if held.as_ref() != Some(hash) && !refused && !world.stage.bad.contains(uid) {
                        return Err(format!(
                            "{cluster} holds {held:?} of {uid} of {placement}, wanted is {hash}"
                        ));
                    }
                    if let (Some(live), Ok(name)) = (live, cluster.parse()) {
                        let heard = process.live.fleet.statuses().get(&name, uid);
                        let known =
                            heard.map(|heard| (heard.status.ready_replicas, heard.status.hash.as_str()));
                        if known != Some((live.ready, held.as_deref().unwrap_or_default())) {
                            return Err(format!(
                                "{uid} has {} ready replicas of {held:?} in {cluster}, and the hub knows {known:?}",
                                live.ready
                            ));
                        }
                    }
                }
            }
            let none = BTreeSet::new();
            let orphans = process.orphans.get(cluster).unwrap_or(&none);
            for marks in spoke.kube.objects.values().filter_map(|live| marks_of(&live.meta)) {
                let is_ours = marks.hub_id == process.epoch.hub_id;
                // A hub that has lost nothing of its memory has no orphans at all.
                let is_told = world.forgetful && orphans.contains(&marks.uid);
                if is_ours && !wanted.contains(marks.uid.as_str()) && !is_told {
                    return Err(format!(
                        "{cluster} holds {}, which nobody wants and nobody was told of",
                        marks.uid
                    ));
                }
            }
        }
        Ok(())
    }
}
