//! Objects of the hub and what spokes say about them.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One NIM object of the hub, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// `metadata.uid` on the hub: the identity on the link.
    pub uid: String,
    /// E.g. `apps.nvidia.com/v1alpha1`.
    pub api_version: String,
    /// E.g. `NIMService`.
    pub kind: String,
    /// Namespace, the same on hub and spoke.
    pub namespace: String,
    /// Name, the same on hub and spoke.
    pub name: String,
}

impl std::fmt::Display for ObjectRef {
    /// `NIMService nim/llm`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// An object that a spoke holds of this hub, read from the marks on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldObject {
    /// The object.
    pub object: ObjectRef,
    /// Generation on the hub of what was applied.
    pub generation: i64,
    /// SHA-256 of the payload that was applied, hex.
    pub hash: String,
}

/// `True`, `False` or `Unknown` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`, or any other word.
    Unknown,
}

impl Truth {
    /// The word that metav1.Condition uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<&str> for Truth {
    fn from(word: &str) -> Self {
        match word {
            "True" => Self::True,
            "False" => Self::False,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A condition as a spoke reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectCondition {
    /// E.g. `Ready`.
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// One word, CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// By the spoke's clock.
    pub last_transition: Timestamp,
}

/// The condition of an object whose pods cannot all be made or started.
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of pods that the scheduler has no node for.
const UNSCHEDULABLE: &str = "Unschedulable";
/// The reasons of pods that a quota or another admission of their cluster refuses.
const REFUSED: [&str; 2] = ["PodsNotCreated", "QuotaExceeded"];

impl ObjectCondition {
    /// Whether pods are refused by the API server of their cluster.
    #[must_use]
    pub fn is_of_refused_pods(&self) -> bool {
        REFUSED.contains(&self.reason.as_str())
    }

    /// Whether it is the cluster that keeps pods from starting: no node takes them, or its API server refuses them.
    #[must_use]
    pub fn is_of_place(&self) -> bool {
        self.reason == UNSCHEDULABLE || self.is_of_refused_pods()
    }
}

/// A model profile that a NIMCache holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedProfile {
    /// Profile ID.
    pub name: String,
    /// Tags such as `tp`, `gpu`, `precision`.
    pub tags: BTreeMap<String, String>,
}

/// Condition of an object that asks for more than the cluster's owner allows, and the reason of its other conditions where
/// nothing of it runs.
const DENIED: &str = "PolicyDenied";

/// Condition of an object of which the cluster's admission changes fields.
const MUTATED: &str = "MutatedHere";

/// What a spoke last said about one object. Soft state: lost with the hub, sent again on reconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatus {
    /// The object.
    pub object: ObjectRef,
    /// Hub generation this status is about.
    pub generation: i64,
    /// Hash of the payload this status is about.
    pub hash: String,
    /// `status.state`, in the words of the NIM Operator; empty before the first reconcile.
    pub state: String,
    /// Conditions of the object in that cluster.
    pub conditions: Vec<ObjectCondition>,
    /// Replicas that are available in that cluster.
    pub ready_replicas: u32,
    /// Replicas that are wanted in that cluster.
    pub wanted_replicas: u32,
    /// By the spoke's clock.
    pub observed_at: Timestamp,
    /// Profiles a NIMCache holds; empty for other kinds.
    pub profiles: Vec<CachedProfile>,
    /// Replicas that no node of that cluster takes, or whose pods cannot be made there; none while there are none.
    pub unschedulable: Option<Unschedulable>,
    /// The claim that a NIMCache has stored its model in; empty until then, and of other kinds.
    pub claim: String,
}

/// Replicas whose pods wait for a node, or for the API server to let them be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many, of those that are wanted and not ready.
    pub replicas: u32,
    /// What the scheduler says of the one that has waited longest.
    pub message: String,
    /// Since when that one waits, by the spoke's clock.
    pub since: Timestamp,
}

impl std::fmt::Display for Unschedulable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let replicas = if self.replicas == 1 { "replica waits" } else { "replicas wait" };
        write!(f, "{} {replicas} for a node since {:.0}: {}", self.replicas, self.since, self.message)
    }
}

impl ObjectStatus {
    /// The condition of that type, if reported.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&ObjectCondition> {
        self.conditions.iter().find(|c| c.kind == kind)
    }

    /// What the cluster's owner denies of an object that was delivered: the operator found it when it was to make the pods.
    #[must_use]
    pub fn denial(&self) -> Option<Answer> {
        let denied = self.condition(DENIED).filter(|condition| condition.status == Truth::True)?;
        let is_all = self.conditions.iter().any(|other| other.kind != DENIED && other.reason == DENIED);
        let class = RejectionClass::PolicyDenied { held: !is_all };
        Some(Answer::Rejected { class, message: denied.message.clone() })
    }

    /// Which fields the cluster's admission changes, of the object or of what was made for it.
    #[must_use]
    pub fn mutation(&self) -> Option<&str> {
        let told = self.condition(MUTATED).filter(|condition| condition.status == Truth::True)?;
        Some(&told.message)
    }

    /// Whether pods find no node, or cannot be made: the spoke counts them, or a condition says so by its reason.
    #[must_use]
    pub fn is_unschedulable(&self) -> bool {
        self.unschedulable.is_some() || self.conditions.iter().any(ObjectCondition::is_of_place)
    }

    /// What keeps pods from starting, while it does: a Deployment's `ReplicaFailure`, also where other replicas serve.
    #[must_use]
    pub fn replica_failure(&self) -> Option<&ObjectCondition> {
        self.condition(REPLICA_FAILURE).filter(|failure| failure.status == Truth::True)
    }

    /// Leaves what tells how the object is, in few words: state, replicas, and the conditions `Ready`, `Failed` and
    /// `ReplicaFailure`.
    pub fn make_bare(&mut self) {
        const MOST: usize = 256;
        self.profiles = Vec::new();
        self.conditions
            .retain(|condition| ["Ready", "Failed", REPLICA_FAILURE].contains(&condition.kind.as_str()));
        let messages = self.conditions.iter_mut().map(|condition| &mut condition.message);
        for message in messages.chain(self.unschedulable.as_mut().map(|waits| &mut waits.message)) {
            if message.len() > MOST {
                message.truncate(message.floor_char_boundary(MOST));
                message.push('…');
                message.shrink_to_fit();
            }
        }
        self.conditions.shrink_to_fit();
    }

    /// Whether the other says the same, whenever it was observed.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { observed_at: self.observed_at, ..other.clone() }
    }

    /// Ready in the operator's words: a spoke passes them on only if they are about the payload it holds. An object is Ready
    /// there as long as any replica serves; here one of which replicas that are wanted cannot start is not.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.replica_failure().is_some() && self.ready_replicas < self.wanted_replicas {
            return false;
        }
        match self.condition("Ready") {
            Some(condition) => condition.status == Truth::True,
            None => self.state == "Ready",
        }
    }
}

/// Why a spoke refused an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionClass {
    /// The API server refused the object.
    Invalid,
    /// An object of that name is there and is not this hub's.
    Conflict,
    /// The cluster lacks the kind.
    Unsupported,
    /// The spoke obeys another epoch.
    StaleEpoch,
    /// The cluster's owner does not let a hub do this there.
    PolicyDenied {
        /// Whether an earlier version of the object is there; it stays.
        held: bool,
    },
    /// The nodes that its pods need together are not free. Nothing was applied.
    NoRoom {
        /// [`Capacity::observed_at`](super::Capacity::observed_at) of the report that says what the spoke looked at.
        judged: Timestamp,
        /// Groups that would fit.
        groups: u32,
    },
}

impl RejectionClass {
    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "Invalid",
            Self::Conflict => "Conflict",
            Self::Unsupported => "Unsupported",
            Self::StaleEpoch => "StaleEpoch",
            Self::PolicyDenied { .. } => "PolicyDenied",
            Self::NoRoom { .. } => "NoRoom",
        }
    }
}

/// Why a spoke holds a deletion back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    /// Too many would go at once.
    TooMany,
    /// It was decided long before the spoke came back.
    Stale,
}

impl HoldReason {
    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooMany => "TooManyDeletions",
            Self::Stale => "StaleDeletions",
        }
    }
}

/// A spoke's answer to one object it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Persisted in the spoke's cluster.
    Accepted,
    /// Removed, or there was nothing to remove.
    Gone,
    /// Refused; the last good one stays.
    Rejected {
        /// Why, from a closed list.
        class: RejectionClass,
        /// What the API server or the spoke said.
        message: String,
    },
    /// The removal waits for the admin's word; nothing was removed.
    Held {
        /// Why, from a closed list.
        reason: HoldReason,
        /// In one sentence, with the numbers.
        message: String,
    },
    /// Neither done nor refused yet: the spoke keeps trying, and its last word is still to come.
    Retrying {
        /// What failed last.
        message: String,
    },
}

/// A spoke's answer to one object it was sent, with what it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectResult {
    /// `metadata.uid` of the object on the hub.
    pub uid: String,
    /// Hash of the payload that is answered; empty for a removal.
    pub hash: String,
    /// The answer.
    pub answer: Answer,
}
