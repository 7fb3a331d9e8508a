//! What the hub holds in memory about the fleet. All of it is rebuilt from objects and from what spokes say again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use crate::fleet::{Answer, ClusterName, Fleet, FleetEvent, ObjectResult, PlacementKey};
use crate::link::LinkEvent;

/// Soft state of the hub.
#[derive(Debug, Default)]
pub struct Live {
    /// The model that scheduling and aggregation read.
    pub fleet: Fleet,
    /// Which placement has taken an object, by uid: known here before the label is seen.
    pub claims: HashMap<String, PlacementKey>,
    /// Placements that a change of capacity could help.
    pub wanting: BTreeSet<PlacementKey>,
    /// When each spoke was last heard and when its certificate ends.
    pub sessions: BTreeMap<ClusterName, Session>,
    answers: BTreeMap<ClusterName, BTreeMap<String, ObjectResult>>,
    gone: BTreeSet<(String, String)>,
}

/// What is known of a cluster's session.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// When the spoke was last heard, by the hub's clock.
    pub last_heard: Timestamp,
    /// When its certificate ends.
    pub certificate_expiry: Timestamp,
}

/// What has to be looked at after an event of the link.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// These placements.
    pub placements: BTreeSet<PlacementKey>,
    /// Whether the cluster's own status may have changed.
    pub cluster: bool,
    /// Whether more may fit now.
    pub capacity: bool,
}

impl Live {
    /// Takes in what a session says.
    pub fn hear(&mut self, event: LinkEvent, now: Timestamp) -> Touched {
        if let Some(session) = self.sessions.get_mut(event.cluster())
            && !matches!(event, LinkEvent::Disconnected { .. })
        {
            session.last_heard = now;
        }
        let mut touched = Touched::default();
        match event {
            LinkEvent::Connected { cluster, agent, certificate_expiry } => {
                self.sessions.insert(cluster.clone(), Session { last_heard: now, certificate_expiry });
                touched.placements = self.placements_in(&cluster);
                touched.cluster = true;
                touched.capacity = true;
                self.fleet.apply(FleetEvent::Connected { cluster, agent });
            }
            LinkEvent::Disconnected { cluster } => {
                touched.placements = self.placements_in(&cluster);
                touched.cluster = true;
                self.fleet.apply(FleetEvent::Disconnected { cluster, at: now });
            }
            LinkEvent::Heard { .. } => touched.cluster = true,
            LinkEvent::Capacity { cluster, capacity } => {
                touched.cluster = true;
                touched.capacity = true;
                self.fleet.apply(FleetEvent::Capacity { cluster, capacity });
            }
            LinkEvent::Status { cluster, objects } => {
                let owners = objects.iter().filter_map(|status| self.claims.get(&status.object.uid));
                touched.placements = owners.cloned().collect();
                self.fleet.apply(FleetEvent::Status { cluster, statuses: objects, at: now });
            }
            LinkEvent::Results { cluster, results } => {
                for result in results {
                    touched.placements.extend(self.claims.get(&result.uid).cloned());
                    self.answered(&cluster, result);
                }
            }
            LinkEvent::Orphans { cluster, objects } => {
                for held in objects {
                    let object = held.object;
                    tracing::warn!(%cluster, kind = object.kind, namespace = object.namespace, name = object.name,
                        "the cluster holds an object of this hub that the hub does not know; it is left alone");
                }
            }
        }
        touched
    }

    fn answered(&mut self, cluster: &ClusterName, result: ObjectResult) {
        if result.answer == Answer::Gone {
            self.gone.insert((cluster.to_string(), result.uid.clone()));
            if let Some(answers) = self.answers.get_mut(cluster) {
                answers.remove(&result.uid);
            }
            self.fleet.apply(FleetEvent::Gone { cluster: cluster.clone(), uid: result.uid });
        } else {
            self.answers.entry(cluster.clone()).or_default().insert(result.uid.clone(), result);
        }
    }

    /// What a spoke last answered to an object it was sent.
    #[must_use]
    pub fn answer(&self, cluster: &str, uid: &str) -> Option<&ObjectResult> {
        self.answers.get(cluster)?.get(uid)
    }

    /// Whether a spoke has said that an object is gone.
    #[must_use]
    pub fn is_gone(&self, cluster: &str, uid: &str) -> bool {
        self.gone.contains(&(cluster.to_owned(), uid.to_owned()))
    }

    /// A spoke's word that an object is gone has been written down, or is void because the object shall run again.
    pub fn settle(&mut self, cluster: &str, uid: &str) {
        self.gone.remove(&(cluster.to_owned(), uid.to_owned()));
    }

    /// A cluster has left the fleet.
    pub fn forget_cluster(&mut self, cluster: &ClusterName) {
        self.fleet.apply(FleetEvent::Left { cluster: cluster.clone() });
        self.answers.remove(cluster);
        self.sessions.remove(cluster);
        self.gone.retain(|(name, _)| name != cluster.as_str());
    }

    /// The placements that have something in a cluster.
    #[must_use]
    pub fn placements_in(&self, cluster: &ClusterName) -> BTreeSet<PlacementKey> {
        self.fleet.grants(cluster).into_iter().map(|(placement, _)| placement.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Admin, RejectionClass};

    fn result(uid: &str, answer: Answer) -> LinkEvent {
        let results = vec![ObjectResult { uid: uid.into(), hash: "h".into(), answer }];
        LinkEvent::Results { cluster: "east".parse().unwrap(), results }
    }

    fn live() -> (Live, PlacementKey) {
        let mut live = Live::default();
        let owner = PlacementKey { namespace: "ns".into(), name: "p".into() };
        live.claims.insert("u".into(), owner.clone());
        let cluster: ClusterName = "east".parse().unwrap();
        live.fleet.apply(FleetEvent::Admin { cluster, admin: Admin::default() });
        (live, owner)
    }

    #[test]
    fn an_answer_wakes_the_owner_and_stays_until_the_object_is_gone() {
        let (mut live, owner) = live();
        let refused = Answer::Rejected { class: RejectionClass::Invalid, message: "no".into() };
        let touched = live.hear(result("u", refused.clone()), Timestamp::UNIX_EPOCH);
        assert!(touched.placements.contains(&owner) && !touched.capacity);
        assert_eq!(live.answer("east", "u").unwrap().answer, refused);
        live.hear(result("u", Answer::Gone), Timestamp::UNIX_EPOCH);
        assert!(live.answer("east", "u").is_none() && live.is_gone("east", "u"));
        live.settle("east", "u");
        assert!(!live.is_gone("east", "u"));
    }

    #[test]
    fn a_cluster_that_left_is_forgotten() {
        let (mut live, _) = live();
        live.hear(result("u", Answer::Accepted), Timestamp::UNIX_EPOCH);
        live.hear(result("v", Answer::Gone), Timestamp::UNIX_EPOCH);
        live.forget_cluster(&"east".parse().unwrap());
        assert!(live.answer("east", "u").is_none() && !live.is_gone("east", "v"));
        assert!(live.fleet.cluster("east").is_none());
    }
}
