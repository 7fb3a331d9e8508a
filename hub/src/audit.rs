//! Writes the audit trail: one structured record per act, of target `audit`.
//!
//! The names of the fields are an interface, documented in docs/operate.md.

mod command;

use std::sync::OnceLock;

use hub_core::audit::{Act, Actor};
use hub_scheduler::fleet::ClusterName;

pub(crate) use command::{Record, follow};

/// Writes acts into the audit trail.
pub(crate) trait RecordAct {
    /// Writes the record.
    fn record(self);
}

impl RecordAct for Act {
    fn record(self) {
        let hub = HUB.get().map(String::as_str);
        let (actor, subject) = match &self.actor {
            Actor::Admin(manager) => ("admin", manager.as_deref()),
            Actor::Token => ("token", None),
            Actor::Spoke(serial) => ("spoke", Some(serial.as_str())),
            Actor::Hub => ("hub", hub),
            Actor::Command(pod) => ("command", pod.as_deref()),
        };
        let object = self.object.as_ref();
        tracing::info!(
            target: "audit",
            action = self.action.as_str(),
            actor,
            subject,
            cause = self.cause,
            cluster = self.cluster.as_ref().map(ClusterName::as_str),
            placement = self.placement.as_ref().map(tracing::field::display),
            kind = object.map(|object| object.kind.as_str()),
            namespace = object.map(|object| object.namespace.as_str()),
            name = object.map(|object| object.name.as_str()),
            uid = object.map(|object| object.uid.as_str()),
            hash = self.hash,
            serial = self.serial,
            term = self.term,
            count = self.count,
            at = self.at,
        );
    }
}

static HUB: OnceLock<String> = OnceLock::new();

/// This process leads under this identity from now on; the first call counts.
pub(crate) fn hub_is(identity: &str) {
    drop(HUB.set(identity.to_owned()));
}

#[cfg(test)]
pub(crate) mod tests;
