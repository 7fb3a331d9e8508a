//! What the hub is told about one delivered object.

use std::collections::BTreeMap;

use crate::deliver::ObjectRef;

/// The state of one delivered object, seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStatus {
    /// Which object.
    pub object: ObjectRef,
    /// Generation of the hub's object that this status is about.
    pub generation: i64,
    /// Hash of the payload that this status is about.
    pub hash: String,
    /// status.state in the NIM Operator's words; empty until the operator has looked at this generation.
    pub state: String,
    /// Conditions, sorted by type; empty until the operator has looked at this generation.
    pub conditions: Vec<Condition>,
    /// Replicas that are available.
    pub ready_replicas: i32,
    /// Replicas that are wanted in this cluster.
    pub wanted_replicas: i32,
    /// Milliseconds since the Unix epoch, by this machine's clock.
    pub observed_at_ms: i64,
    /// Profiles that a NIMCache holds.
    pub profiles: Vec<CachedProfile>,
    /// Replicas that no node takes, or whose pods cannot be made.
    pub unschedulable: Option<Unschedulable>,
    /// The claim that a NIMCache has stored its model in; empty until then, and of other kinds.
    pub claim: String,
    /// Names of the NIMServices that a NIMPipeline has made. They do not travel.
    pub services: Vec<String>,
}

/// Replicas whose pods wait for a node, or for the API server to let them be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unschedulable {
    /// How many.
    pub replicas: i32,
    /// What the scheduler says of the one that has waited longest, or the API server of pods that it refused.
    pub message: String,
    /// Since when that one waits, milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// metav1.Condition, as far as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// For example `Ready`; the field `type` of the API.
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// One word.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// Milliseconds since the Unix epoch; 0 where the object does not say.
    pub last_transition_ms: i64,
}

/// One model profile that a NIMCache holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CachedProfile {
    /// Identifier of the profile.
    pub name: String,
    /// For example `tp: "1"`, `precision: fp8`.
    pub tags: BTreeMap<String, String>,
}
