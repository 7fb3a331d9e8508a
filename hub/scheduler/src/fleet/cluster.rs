//! One joined cluster as the hub knows it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Capacity, ClusterName, Comeback, Namespaces, Potential};

/// Whether the hub hears a spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A session is up.
    Connected,
    /// No session; by the hub's clock.
    Unreachable {
        /// End of the last session, or the start of this hub if that is later: a hub that was away blames no
        /// spoke.
        since: Timestamp,
    },
    /// No spoke has ever joined under this name.
    Never,
}

impl Link {
    /// How long nothing has been heard; zero while connected, none if it never was.
    #[must_use]
    pub fn silent_for(self, now: Timestamp) -> Option<SignedDuration> {
        match self {
            Self::Connected => Some(SignedDuration::ZERO),
            Self::Unreachable { since } => Some(now.duration_since(since).max(SignedDuration::ZERO)),
            Self::Never => None,
        }
    }

    /// The link as people are told of it, and when that changes by itself: a silence shorter than `after` is a restart or
    /// a moment without network, and nobody is told.
    #[must_use]
    pub fn as_told(self, now: Timestamp, after: SignedDuration) -> (Self, Option<Timestamp>) {
        match self {
            Self::Unreachable { since } => {
                let told_at = since.checked_add(after).unwrap_or(Timestamp::MAX);
                if now < told_at { (Self::Connected, Some(told_at)) } else { (self, None) }
            }
            Self::Connected | Self::Never => (self, None),
        }
    }
}

/// What a taint does to placements that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing new comes here; what is here stays.
    NoSchedule,
    /// Nothing new comes here, and what is here leaves.
    NoExecute,
}

impl Effect {
    /// The word of core/v1.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// A taint of a cluster, in the words of core/v1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Taint key.
    pub key: String,
    /// Taint value; empty if none.
    pub value: String,
    /// What it does.
    pub effect: Effect,
}

/// What a cluster is to the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It runs what the fleet places.
    #[default]
    Member,
    /// It is the hub's own: its NIM objects say what the fleet shall run, and nothing is placed there.
    Hub,
}

/// One joined cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// Labels of the GPUCluster.
    pub labels: BTreeMap<String, String>,
    /// Taints of the GPUCluster.
    pub taints: Vec<Taint>,
    /// The admin's half of the double opt-in.
    pub accepted: bool,
    /// Whether it runs what the fleet places, or is the hub's own.
    pub role: Role,
    /// The admin's word that it is lost, for when it vanished together with others.
    pub failover_confirmed: bool,
    /// Which namespaces of the hub may place here.
    pub allowed_namespaces: Namespaces,
    /// The admin wants it empty.
    pub drain: bool,
    /// Thousandths of the fleet's currency for one GPU and hour, by product as somebody named it; `*` is any other.
    pub cost_per_gpu_hour: BTreeMap<String, u64>,
    /// Pools that its autoscaler can bring.
    pub potential: Vec<Potential>,
    /// Its last report with all of these pools brought; none where there is no report or nothing to bring.
    pub grown: Option<Capacity>,
    /// Whether the hub hears it.
    pub link: Link,
    /// How it came back from its last outage in the life of this hub; none if it had none.
    pub comeback: Option<Comeback>,
    /// Its last report; none until the first one.
    pub capacity: Option<Capacity>,
    /// What its agent said when it connected; none until it did.
    pub agent: Option<Agent>,
}

/// What an agent says of itself when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// `metadata.uid` of the kube-system namespace.
    pub cluster_uid: String,
    /// Version of the spoke.
    pub version: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// Names what its cluster's owner lets a hub do; empty if it does not say.
    pub limits: String,
}

impl Cluster {
    /// A cluster of which nothing is known but its name: not accepted, never connected.
    #[must_use]
    pub const fn new(name: ClusterName) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            accepted: false,
            role: Role::Member,
            failover_confirmed: false,
            allowed_namespaces: Namespaces::All,
            drain: false,
            cost_per_gpu_hour: BTreeMap::new(),
            potential: Vec::new(),
            grown: None,
            link: Link::Never,
            comeback: None,
            capacity: None,
            agent: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_silence_is_not_told_and_the_end_of_patience_is_known() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let told = |link: Link, now| link.as_told(at(now), SignedDuration::from_secs(30));
        let silent = Link::Unreachable { since: at(100) };
        assert_eq!(told(silent, 100), (Link::Connected, Some(at(130))));
        assert_eq!(told(silent, 129), (Link::Connected, Some(at(130))));
        assert_eq!(told(silent, 130), (silent, None));
        assert_eq!(told(Link::Connected, 130), (Link::Connected, None));
        assert_eq!(told(Link::Never, 130), (Link::Never, None));
    }
}
