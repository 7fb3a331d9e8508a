//! The protocol and the spoke's own words: the one place that knows both.

use std::time::Duration;

use proto::v1;

use super::message::{Delta, FromHub, GoAway, GoAwayReason, ToHub, Work};
use super::settings::Settings;
use crate::deliver::{Epoch, HeldObject, ObjectRef, Outcome, Policy, RejectionClass, Tombstone, Upsert};
use crate::facts::CapacityReport;
use crate::report::{Condition, ObjectStatus};

/// What the hub said; `None` for a message that this spoke does not know: the hub is newer.
pub(super) fn from_hub(message: v1::HubMessage) -> Option<FromHub> {
    use v1::hub_message::Message;
    Some(match message.message? {
        Message::Welcome(welcome) => FromHub::Welcome {
            epoch: from_epoch(welcome.epoch),
            heartbeat: Duration::from_secs(u64::from(welcome.heartbeat_seconds)),
        },
        Message::Desired(delta) => {
            let upserts = delta.upserts.into_iter().map(|upsert| Work::Upsert(from_upsert(upsert)));
            let tombstones = delta.tombstones.into_iter().filter_map(from_tombstone).map(Work::Remove);
            FromHub::Delta(Delta {
                id: delta.delta_id,
                epoch: from_epoch(delta.epoch),
                work: upserts.chain(tombstones).collect(),
            })
        }
        Message::Heartbeat(v1::Heartbeat {}) => FromHub::Heartbeat,
        // Taken beside the session.
        Message::TrustBundle(_) => return None,
        Message::GoAway(goodbye) => FromHub::GoAway(GoAway {
            reason: match goodbye.reason() {
                v1::GoAwayReason::DuplicateInstance => GoAwayReason::DuplicateInstance,
                v1::GoAwayReason::NotAccepted => GoAwayReason::NotAccepted,
                v1::GoAwayReason::ProtocolError => GoAwayReason::ProtocolError,
                v1::GoAwayReason::Revoked => GoAwayReason::Revoked,
                v1::GoAwayReason::Unavailable | v1::GoAwayReason::Unspecified => GoAwayReason::Unavailable,
            },
            message: goodbye.message,
            retry_after: Duration::from_secs(u64::from(goodbye.retry_after_seconds)),
        }),
    })
}

fn from_epoch(epoch: Option<v1::Epoch>) -> Epoch {
    let v1::Epoch { hub_id, term, incarnation } = epoch.unwrap_or_default();
    Epoch { hub_id, term, incarnation }
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
    }
}

/// A policy that this spoke does not know removes nothing.
fn from_tombstone(tombstone: v1::Tombstone) -> Option<Tombstone> {
    let policy = match tombstone.policy() {
        v1::DeletionPolicy::Delete => Policy::Delete,
        v1::DeletionPolicy::Retain => Policy::Retain,
        v1::DeletionPolicy::Unspecified => return None,
    };
    Some(Tombstone { object: from_object(tombstone.object), policy, reason: tombstone.reason })
}

/// What the spoke says, as it travels.
#[must_use]
pub fn to_hub(message: ToHub, settings: &Settings) -> v1::SpokeMessage {
    use v1::spoke_message::Message;
    let message = match message {
        ToHub::Hello { highest_epoch } => Message::Hello(v1::Hello {
            cluster: settings.cluster.clone(),
            cluster_uid: settings.cluster_uid.clone(),
            instance: settings.instance.0.clone(),
            instance_started_ms: settings.instance.1,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: settings.capabilities.clone(),
            limits: settings.limits.clone(),
            highest_epoch: highest_epoch.map(|Epoch { hub_id, term, incarnation }| v1::Epoch {
                hub_id,
                term,
                incarnation,
            }),
            // Said by whoever opens the stream.
            trusted_authorities: Vec::new(),
        }),
        ToHub::Index { held, last } => {
            Message::Index(v1::Index { held: held.into_iter().map(to_held).collect(), last })
        }
        ToHub::Ack { delta, uid, hash, outcome } => Message::Ack(v1::Ack {
            delta_id: delta,
            results: vec![v1::Result { uid, hash, outcome: Some(to_outcome(outcome)) }],
        }),
        ToHub::Status(items) => {
            Message::Status(v1::StatusBatch { items: items.into_iter().map(to_status).collect() })
        }
        ToHub::Capacity(report) => Message::Capacity(to_capacity(report)),
        ToHub::Heartbeat => Message::Heartbeat(v1::Heartbeat {}),
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
            let class = match class {
                RejectionClass::Invalid => v1::RejectionClass::Invalid,
                RejectionClass::Conflict => v1::RejectionClass::Conflict,
                RejectionClass::Unsupported => v1::RejectionClass::Unsupported,
                RejectionClass::StaleEpoch => v1::RejectionClass::StaleEpoch,
                RejectionClass::PolicyDenied { .. } => v1::RejectionClass::PolicyDenied,
            };
            v1::result::Outcome::Rejected(v1::Rejected { class: i32::from(class), message, held })
        }
    }
}

fn to_status(status: ObjectStatus) -> v1::ObjectStatus {
    v1::ObjectStatus {
        object: Some(to_object(status.object)),
        generation: status.generation,
        hash: status.hash,
        state: status.state,
        conditions: status.conditions.into_iter().map(to_condition).collect(),
        ready_replicas: status.ready_replicas,
        wanted_replicas: status.wanted_replicas,
        observed_at_ms: status.observed_at_ms,
        profiles: status
            .profiles
            .into_iter()
            .map(|profile| v1::CachedProfile { name: profile.name, tags: profile.tags.into_iter().collect() })
            .collect(),
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

fn to_capacity(report: CapacityReport) -> v1::CapacityReport {
    v1::CapacityReport {
        observed_at_ms: report.observed_at_ms,
        kubernetes_version: report.kubernetes_version,
        region: report.region,
        zone: report.zone,
        provider: report.provider,
        pools: report
            .pools
            .into_iter()
            .map(|pool| v1::GpuPool {
                product: pool.product,
                resource: pool.resource,
                memory_mib: pool.memory_mib,
                nodes: pool.nodes,
                capacity: pool.capacity,
                allocatable: pool.allocatable,
                free: pool.free,
                free_per_node: pool.free_per_node.into_iter().collect(),
            })
            .collect(),
        platforms: report
            .platforms
            .into_iter()
            .map(|platform| v1::Platform { name: platform.name, version: platform.version })
            .collect(),
        caches: report
            .caches
            .into_iter()
            .map(|cache| v1::HeldCache {
                namespace: cache.namespace,
                name: cache.name,
                model: cache.model,
                profiles: cache.profiles,
            })
            .collect(),
    }
}
