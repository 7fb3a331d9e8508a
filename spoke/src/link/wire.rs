//! The protocol and the spoke's own words: the one place that knows both.

pub(super) mod capacity;

use std::time::Duration;

use crds::taints::NodeToleration;
use proto::{capability, v1};

use super::message::{Delta, FromHub, GoAway, GoAwayReason, Hub, ToHub, Work};
use super::settings::Settings;
use crate::deliver::{
    Cause, Epoch, Gang, HeldObject, HoldReason, LargestFit, ObjectRef, Outcome, Policy, RejectionClass,
    Tombstone, Upsert,
};
use crate::report::{Condition, ObjectStatus};

/// What the hub said; `None` for a message that this spoke does not know: the hub is newer.
pub(super) fn from_hub(message: v1::HubMessage) -> Option<FromHub> {
    use v1::hub_message::Message;
    Some(match message.message? {
        Message::Welcome(welcome) => FromHub::Welcome {
            heartbeat: Duration::from_secs(u64::from(welcome.heartbeat_seconds)),
            hub: from_hub_itself(&welcome),
            epoch: from_epoch(welcome.epoch),
        },
        Message::Compare(compare) => FromHub::Compare(compare.buckets),
        Message::Desired(delta) => {
            let upserts = delta.upserts.into_iter().map(|upsert| Work::Upsert(from_upsert(upsert)));
            let tombstones = delta.tombstones.into_iter().filter_map(from_tombstone).map(Work::Remove);
            FromHub::Delta(Delta {
                id: delta.delta_id,
                epoch: from_epoch(delta.epoch),
                work: upserts.chain(tombstones).collect(),
            })
        }
        Message::Heartbeat(_) => FromHub::Heartbeat,
        // Taken beside the session.
        Message::TrustBundle(_) => return None,
        Message::GoAway(goodbye) => FromHub::GoAway(GoAway {
            reason: match goodbye.reason() {
                v1::GoAwayReason::DuplicateInstance => GoAwayReason::DuplicateInstance,
                v1::GoAwayReason::NotAccepted => GoAwayReason::NotAccepted,
                v1::GoAwayReason::ProtocolError => GoAwayReason::ProtocolError,
                v1::GoAwayReason::EpochUnproven => GoAwayReason::EpochUnproven,
                v1::GoAwayReason::Revoked => GoAwayReason::Revoked,
                v1::GoAwayReason::Unavailable | v1::GoAwayReason::Unspecified => GoAwayReason::Unavailable,
            },
            message: goodbye.message,
            retry_after: match goodbye.retry_after_ms {
                0 => Duration::from_secs(u64::from(goodbye.retry_after_seconds)),
                ms => Duration::from_millis(u64::from(ms)),
            },
        }),
    })
}

fn from_hub_itself(welcome: &v1::Welcome) -> Hub {
    let can = |capability: &str| welcome.capabilities.iter().any(|known| known == capability);
    let said = |number: u32| Some(number).filter(|number| *number > 0);
    Hub {
        compares: can(capability::COMPARE_BY_HASH),
        knows_guard: can(capability::DELETION_GUARD),
        time_ms: welcome.server_time_ms,
        longest_wait: said(welcome.longest_wait_ms).map(|ms| Duration::from_millis(u64::from(ms))),
        most_bytes: said(welcome.max_message_bytes).and_then(|bytes| usize::try_from(bytes).ok()),
    }
}

fn from_epoch(epoch: Option<v1::Epoch>) -> Epoch {
    let v1::Epoch { hub_id, term, incarnation, proof } = epoch.unwrap_or_default();
    Epoch { hub_id, term, incarnation, proof }
}

fn from_object(object: Option<v1::ObjectRef>) -> ObjectRef {
    let v1::ObjectRef { uid, api_version, kind, namespace, name } = object.unwrap_or_default();
    ObjectRef { uid, api_version, kind, namespace, name }
}

fn from_upsert(upsert: v1::Upsert) -> Upsert {
    Upsert {
        object: from_object(upsert.object),
        generation: upsert.generation,
        hash: upsert.hash,
        payload: upsert.payload,
        gang: upsert.gang.map(from_gang).map(Box::new),
    }
}

fn from_gang(gang: v1::Gang) -> Gang {
    let v1::Gang { resource, products, gpus_per_node, nodes, groups, priority, tolerations } = gang;
    let toleration =
        |v1::NodeToleration { key, operator, value, effect }| NodeToleration { key, operator, value, effect };
    let tolerations = tolerations.into_iter().map(toleration).collect();
    Gang { resource, products, gpus_per_node, nodes, groups, priority, tolerations }
}

/// A policy that this spoke does not know removes nothing.
fn from_tombstone(tombstone: v1::Tombstone) -> Option<Tombstone> {
    let policy = match tombstone.policy() {
        v1::DeletionPolicy::Delete => Policy::Delete,
        v1::DeletionPolicy::Retain => Policy::Retain,
        v1::DeletionPolicy::Unspecified => return None,
    };
    let cause = match tombstone.cause() {
        v1::DeletionCause::Unspecified => Cause::Admin,
        v1::DeletionCause::Failover => Cause::Failover,
        v1::DeletionCause::Confirmed => Cause::Confirmed,
    };
    Some(Tombstone {
        object: from_object(tombstone.object),
        policy,
        reason: tombstone.reason,
        decided_ms: tombstone.decided_ms,
        cause,
    })
}

/// What the spoke says, as it travels.
pub(super) fn to_hub(message: ToHub, settings: &Settings) -> v1::SpokeMessage {
    use v1::spoke_message::Message;
    let message = match message {
        ToHub::Hello { highest_epoch, held } => Message::Hello(v1::Hello {
            cluster: settings.cluster.clone(),
            cluster_uid: settings.cluster_uid.clone(),
            instance: settings.instance.0.clone(),
            instance_started_ms: settings.instance.1,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: [capability::COMPARE_BY_HASH, capability::DELETION_GUARD]
                .into_iter()
                .map(str::to_owned)
                .chain(settings.capabilities.iter().cloned())
                .collect(),
            limits: settings.limits.clone(),
            highest_epoch: highest_epoch.map(|Epoch { hub_id, term, incarnation, proof }| v1::Epoch {
                hub_id,
                term,
                incarnation,
                proof,
            }),
            held: Some(held.to_wire()),
            // Said by whoever opens the stream.
            trusted_authorities: Vec::new(),
        }),
        ToHub::Index { held, last, buckets } => Message::Index(v1::Index {
            held: held.into_iter().map(to_held).collect(),
            last,
            buckets: buckets.into_iter().map(u32::from).collect(),
        }),
        ToHub::Ack { delta, uid, hash, outcome } => Message::Ack(v1::Ack {
            delta_id: delta,
            results: vec![v1::Result { uid, hash, outcome: Some(to_outcome(outcome)) }],
        }),
        ToHub::Heartbeat { held } => {
            Message::Heartbeat(v1::Heartbeat { held: held.map(|held| held.to_wire()) })
        }
    };
    v1::SpokeMessage { message: Some(message) }
}

fn to_object(object: ObjectRef) -> v1::ObjectRef {
    let ObjectRef { uid, api_version, kind, namespace, name } = object;
    v1::ObjectRef { uid, api_version, kind, namespace, name }
}

fn to_held(held: HeldObject) -> v1::HeldObject {
    v1::HeldObject { object: Some(to_object(held.object)), generation: held.generation, hash: held.hash }
}

fn to_outcome(outcome: Outcome) -> v1::result::Outcome {
    match outcome {
        Outcome::Accepted => v1::result::Outcome::Accepted(v1::Accepted {}),
        Outcome::Gone => v1::result::Outcome::Gone(v1::Gone {}),
        Outcome::Rejected { class, message } => {
            let held = class == RejectionClass::PolicyDenied { held: true };
            let fit = match class {
                RejectionClass::NoRoom(fit) => Some(to_fit(fit)),
                _ => None,
            };
            let class = match class {
                RejectionClass::Invalid => v1::RejectionClass::Invalid,
                RejectionClass::Conflict => v1::RejectionClass::Conflict,
                RejectionClass::Unsupported => v1::RejectionClass::Unsupported,
                RejectionClass::StaleEpoch => v1::RejectionClass::StaleEpoch,
                RejectionClass::PolicyDenied { .. } => v1::RejectionClass::PolicyDenied,
                RejectionClass::NoRoom(_) => v1::RejectionClass::NoRoom,
            };
            v1::result::Outcome::Rejected(v1::Rejected { class: i32::from(class), message, held, fit })
        }
        Outcome::Held { reason, message } => {
            let reason = match reason {
                HoldReason::TooMany => v1::HoldReason::TooMany,
                HoldReason::Stale => v1::HoldReason::Stale,
            };
            v1::result::Outcome::Held(v1::Held { reason: i32::from(reason), message })
        }
        Outcome::Retrying { message } => v1::result::Outcome::Retrying(v1::Retrying { message }),
    }
}

fn to_fit(fit: LargestFit) -> v1::LargestFit {
    let LargestFit { observed_at_ms, groups, nodes, gpus_per_node } = fit;
    v1::LargestFit { observed_at_ms, groups, nodes, gpus_per_node }
}

pub(super) fn to_status(status: ObjectStatus) -> v1::ObjectStatus {
    v1::ObjectStatus {
        object: Some(to_object(status.object)),
        generation: status.generation,
        hash: status.hash,
        state: status.state,
        conditions: status.conditions.into_iter().map(to_condition).collect(),
        ready_replicas: status.ready_replicas,
        wanted_replicas: status.wanted_replicas,
        observed_at_ms: status.observed_at_ms,
        unschedulable: status.unschedulable.map(|one| v1::Unschedulable {
            replicas: one.replicas,
            message: one.message,
            since_ms: one.since_ms,
        }),
        profiles: status.profiles.into_iter().map(capacity::to_profile).collect(),
        claim: status.claim,
    }
}

fn to_condition(condition: Condition) -> v1::Condition {
    v1::Condition {
        r#type: condition.kind,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
        last_transition_ms: condition.last_transition_ms,
    }
}

#[cfg(test)]
mod tests;
