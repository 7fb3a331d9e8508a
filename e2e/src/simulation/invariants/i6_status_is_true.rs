//! I6: what a hub shows was so, and is not shown as if it held once nobody vouches for it.

use std::collections::BTreeSet;

use hub_core::aggregate::{Delivery, Place, View, object_status};
use hub_scheduler::fleet::Link;
use jiff::Timestamp;

use super::{Fact, Invariant, World};
use crate::simulation::agenda::Time;
use crate::simulation::hubs::{HEARTBEAT, HubSite};

/// A spoke that is silent for longer than this vouches for nothing, milliseconds: three heartbeats.
const LEASE: u128 = HEARTBEAT.as_millis() * 3;
/// The statuses that users see are looked at this often, milliseconds.
const LOOK_EVERY: Time = 5000;

#[derive(Default)]
pub(super) struct StatusIsTrue {
    reported: BTreeSet<(String, String, Timestamp, u32, String)>,
    looked: Time,
}

impl Invariant for StatusIsTrue {
    fn statement(&self) -> &'static str {
        "I6: a hub shows of an object what its spoke has reported, and never Ready when the spoke has been silent for \
         three heartbeats"
    }

    fn done(&mut self, fact: &Fact, _world: &World) -> Result<(), String> {
        match fact.clone() {
            Fact::Reported { cluster, uid, at, ready, hash } => {
                self.reported.insert((cluster, uid, at, ready, hash));
            }
            Fact::Heard { cluster, uid, at, ready, hash } => {
                let heard = (cluster, uid, at, ready, hash);
                if !self.reported.contains(&heard) {
                    return Err(format!("no spoke has reported {heard:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn hold(&mut self, world: &World) -> Result<(), String> {
        let look = world.stage.now >= self.looked + LOOK_EVERY;
        if look {
            self.looked = world.stage.now;
        }
        for hub in &world.hubs {
            let Some(process) = &hub.process else { continue };
            for cluster in process.live.fleet.clusters() {
                let heard = process.heard.get(cluster.name.as_str()).copied().unwrap_or_default();
                let silent = u128::from(world.stage.now - heard) > LEASE;
                if silent && cluster.link == Link::Connected {
                    return Err(format!(
                        "hub {} takes {} for connected, last heard at {heard} ms",
                        hub.index, cluster.name
                    ));
                }
                if look && silent {
                    shown_ready(hub, cluster.name.as_str(), world.stage.wall(hub.skew))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether an object that is placed in a silent cluster is shown as Ready.
fn shown_ready(hub: &HubSite, silent: &str, now: Timestamp) -> Result<(), String> {
    let Some(process) = &hub.process else { return Ok(()) };
    for book in process.books.values() {
        let Some(decision) = &book.decision else { continue };
        if !decision.chosen.iter().any(|row| row.cluster.as_str() == silent && !row.is_replaced()) {
            continue;
        }
        let objects: Vec<_> = book.sent.keys().filter(|(cluster, _)| cluster == silent).collect();
        for (_, uid) in objects {
            let Some(object) = hub.store.objects.get(uid) else { continue };
            let places = decision.chosen.iter().map(|row| {
                let cluster = row.cluster.as_str();
                let hash = book.sent.get(&(cluster.to_owned(), uid.clone()));
                let heard = process.live.fleet.statuses().get(&row.cluster, uid);
                Place {
                    row,
                    link: process.live.fleet.cluster(cluster).map_or(Link::Never, |cluster| cluster.link),
                    deliveries: vec![Delivery {
                        object: &object.identity,
                        replicas: None,
                        elastic: false,
                        payload: hash.map(String::as_str).ok_or_else(String::new),
                        answer: process.live.answer(cluster, uid).map(|answer| &answer.answer),
                        status: heard.map(|heard| &heard.status),
                    }],
                }
            });
            let view = View { generation: 1, decision, places: places.collect(), now };
            let status = object_status(&view, &object.identity.kind, uid, object.generation, &[]);
            if status["state"] == "Ready" {
                return Err(format!("hub {} shows {uid} as Ready, and {silent} is silent", hub.index));
            }
        }
    }
    Ok(())
}
