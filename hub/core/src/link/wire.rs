//! The protocol and the hub's own words: the one place that knows both.

mod capacity;

use std::time::Duration;

use crds::taints::NodeToleration;
use jiff::Timestamp;
use proto::{Fingerprint, capability, v1};

use super::message::{FromSpoke, Hello, Instance, ToSpoke};
use super::object::{Cause, DesiredObject, Gang, GoAwayReason, Removal, RemovalPolicy};
use crate::epoch::Epoch;
use crate::fleet::{
    Agent, Answer, HeldObject, HoldReason, ObjectCondition, ObjectRef, ObjectResult, ObjectStatus,
    RejectionClass, Truth, Unschedulable,
};
use crate::identity::EpochProof;

/// Whether an agent looks for a gang's nodes before it takes it.
pub(crate) fn looks_for_gangs(agent: &Agent) -> bool {
    agent.capabilities.iter().any(|can| can == capability::GANGS)
}

/// What a spoke said; `None` for a message that this hub does not know: the spoke is newer.
pub(super) fn from_spoke(message: v1::SpokeMessage, received_at: Timestamp) -> Option<FromSpoke> {
    use v1::spoke_message::Message;
    Some(match message.message? {
        Message::Hello(hello) => FromSpoke::Hello(from_hello(hello)),
        Message::Index(index) => FromSpoke::Index {
            held: index.held.into_iter().map(from_held).collect(),
            last: index.last,
            buckets: index.buckets.into_iter().filter_map(|bucket| u8::try_from(bucket).ok()).collect(),
        },
        Message::Ack(ack) => FromSpoke::Ack {
            delta: ack.delta_id,
            results: ack.results.into_iter().filter_map(from_result).collect(),
        },
        Message::Status(batch) => FromSpoke::Status(batch.items.into_iter().map(from_status).collect()),
        Message::Capacity(report) => FromSpoke::Capacity(capacity::from_spoke(report, received_at)),
        Message::Heartbeat(v1::Heartbeat { held }) => {
            FromSpoke::Heartbeat(held.as_ref().and_then(Fingerprint::from_wire))
        }
        // Taken beside the session.
        Message::TrustTaken(_) => return None,
    })
}

fn from_hello(hello: v1::Hello) -> Hello {
    let v1::Epoch { hub_id, term, incarnation, proof } = hello.highest_epoch.clone().unwrap_or_default();
    Hello {
        cluster: hello.cluster,
        agent: Agent {
            cluster_uid: hello.cluster_uid,
            version: hello.agent_version,
            capabilities: hello.capabilities,
            limits: hello.limits,
        },
        instance: Instance { id: hello.instance, started_ms: hello.instance_started_ms },
        highest_epoch: hello.highest_epoch.map(|_| Epoch { hub_id, term, incarnation }),
        epoch_proof: proof,
        held: hello.held.as_ref().and_then(Fingerprint::from_wire),
    }
}

fn from_object(object: Option<v1::ObjectRef>) -> ObjectRef {
    let v1::ObjectRef { uid, api_version, kind, namespace, name } = object.unwrap_or_default();
    ObjectRef { uid, api_version, kind, namespace, name }
}

fn from_held(held: v1::HeldObject) -> HeldObject {
    HeldObject { object: from_object(held.object), generation: held.generation, hash: held.hash }
}

fn from_result(result: v1::Result) -> Option<ObjectResult> {
    use v1::result::Outcome;
    let answer = match result.outcome? {
        Outcome::Accepted(v1::Accepted {}) => Answer::Accepted,
        Outcome::Gone(v1::Gone {}) => Answer::Gone,
        Outcome::Rejected(rejected) => Answer::Rejected {
            class: match rejected.class() {
                v1::RejectionClass::Conflict => RejectionClass::Conflict,
                v1::RejectionClass::Unsupported => RejectionClass::Unsupported,
                v1::RejectionClass::StaleEpoch => RejectionClass::StaleEpoch,
                v1::RejectionClass::PolicyDenied => RejectionClass::PolicyDenied { held: rejected.held },
                v1::RejectionClass::NoRoom => {
                    let fit = rejected.fit.unwrap_or_default();
                    RejectionClass::NoRoom { judged: from_ms(fit.observed_at_ms), groups: fit.groups }
                }
                v1::RejectionClass::Invalid | v1::RejectionClass::Unspecified => RejectionClass::Invalid,
            },
            message: rejected.message,
        },
        Outcome::Held(held) => Answer::Held {
            reason: match held.reason() {
                v1::HoldReason::Stale => HoldReason::Stale,
                v1::HoldReason::TooMany | v1::HoldReason::Unspecified => HoldReason::TooMany,
            },
            message: held.message,
        },
        Outcome::Retrying(v1::Retrying { message }) => Answer::Retrying { message },
    };
    Some(ObjectResult { uid: result.uid, hash: result.hash, answer })
}

fn from_status(status: v1::ObjectStatus) -> ObjectStatus {
    ObjectStatus {
        object: from_object(status.object),
        generation: status.generation,
        hash: status.hash,
        state: status.state,
        conditions: status.conditions.into_iter().map(from_condition).collect(),
        ready_replicas: u32::try_from(status.ready_replicas).unwrap_or_default(),
        wanted_replicas: u32::try_from(status.wanted_replicas).unwrap_or_default(),
        observed_at: from_ms(status.observed_at_ms),
        unschedulable: status.unschedulable.map(|one| Unschedulable {
            replicas: u32::try_from(one.replicas).unwrap_or_default(),
            message: one.message,
            since: from_ms(one.since_ms),
        }),
        profiles: status.profiles.into_iter().map(capacity::from_profile).collect(),
        claim: status.claim,
    }
}

fn from_condition(condition: v1::Condition) -> ObjectCondition {
    ObjectCondition {
        kind: condition.r#type,
        status: Truth::from(condition.status.as_str()),
        reason: condition.reason,
        message: condition.message,
        last_transition: from_ms(condition.last_transition_ms),
    }
}

/// A moment that no calendar has is a fault of the spoke's clock: the epoch's begin says "very old".
fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What the hub says.
pub(super) fn to_spoke(message: ToSpoke, now: Timestamp) -> v1::HubMessage {
    use v1::hub_message::Message;
    let message = match message {
        ToSpoke::Welcome { epoch, proof, heartbeat, longest_wait, in_sync } => {
            Message::Welcome(v1::Welcome {
                epoch: Some(to_epoch(epoch, proof)),
                heartbeat_seconds: to_seconds(heartbeat),
                server_time_ms: now.as_millisecond(),
                capabilities: [capability::COMPARE_BY_HASH, capability::DELETION_GUARD]
                    .map(str::to_owned)
                    .into(),
                in_sync,
                longest_wait_ms: to_ms(longest_wait),
                max_message_bytes: u32::try_from(proto::MAX_MESSAGE_BYTES).unwrap_or(u32::MAX),
            })
        }
        ToSpoke::Compare(buckets) => Message::Compare(v1::Compare { buckets }),
        ToSpoke::Delta { id, epoch, proof, upserts, tombstones } => Message::Desired(v1::DesiredDelta {
            delta_id: id,
            epoch: Some(to_epoch(epoch, proof)),
            upserts: upserts.iter().map(|object| to_upsert(object)).collect(),
            tombstones: tombstones.iter().map(|removal| to_tombstone(removal)).collect(),
        }),
        ToSpoke::Heartbeat => Message::Heartbeat(v1::Heartbeat { held: None }),
        ToSpoke::GoAway { reason, message, retry_after } => Message::GoAway(v1::GoAway {
            reason: i32::from(match reason {
                GoAwayReason::Unavailable => v1::GoAwayReason::Unavailable,
                GoAwayReason::DuplicateInstance => v1::GoAwayReason::DuplicateInstance,
                GoAwayReason::NotAccepted => v1::GoAwayReason::NotAccepted,
                GoAwayReason::ProtocolError => v1::GoAwayReason::ProtocolError,
                GoAwayReason::EpochUnproven => v1::GoAwayReason::EpochUnproven,
                GoAwayReason::Revoked => v1::GoAwayReason::Revoked,
            }),
            message,
            retry_after_seconds: to_seconds(retry_after),
            retry_after_ms: to_ms(retry_after),
        }),
    };
    v1::HubMessage { message: Some(message) }
}

fn to_epoch(epoch: Epoch, proof: EpochProof) -> v1::Epoch {
    let Epoch { hub_id, term, incarnation } = epoch;
    v1::Epoch { hub_id, term, incarnation, proof: proof.into() }
}

fn to_object(object: &ObjectRef) -> v1::ObjectRef {
    let ObjectRef { uid, api_version, kind, namespace, name } = object.clone();
    v1::ObjectRef { uid, api_version, kind, namespace, name }
}

fn to_upsert(object: &DesiredObject) -> v1::Upsert {
    v1::Upsert {
        object: Some(to_object(&object.object)),
        generation: object.generation,
        hash: object.hash.clone(),
        payload: object.payload.to_vec(),
        gang: object.gang.clone().map(to_gang),
    }
}

fn to_gang(gang: Gang) -> v1::Gang {
    let Gang { resource, products, gpus_per_node, nodes, groups, priority, tolerations } = gang;
    let toleration =
        |NodeToleration { key, operator, value, effect }| v1::NodeToleration { key, operator, value, effect };
    let tolerations = tolerations.into_iter().map(toleration).collect();
    v1::Gang { resource, products, gpus_per_node, nodes, groups, priority, tolerations }
}

fn to_tombstone(removal: &Removal) -> v1::Tombstone {
    let policy = match removal.policy {
        RemovalPolicy::Delete => v1::DeletionPolicy::Delete,
        RemovalPolicy::Retain => v1::DeletionPolicy::Retain,
    };
    let cause = match removal.cause {
        Cause::Admin => v1::DeletionCause::Unspecified,
        Cause::Failover => v1::DeletionCause::Failover,
        Cause::Confirmed => v1::DeletionCause::Confirmed,
    };
    v1::Tombstone {
        object: Some(to_object(&removal.object)),
        policy: i32::from(policy),
        reason: removal.reason.clone(),
        decided_ms: removal.decided.as_millisecond(),
        cause: i32::from(cause),
    }
}

/// Whole seconds, rounded up.
fn to_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

fn to_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
