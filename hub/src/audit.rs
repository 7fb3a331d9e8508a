//! Who did what, and why: one structured record per act, of target `audit`.
//!
//! The names of the fields are an interface, documented in docs/operate.md. A record has no field for a payload, so no
//! value of a Secret can get into one; the hash of a Secret is salted.

mod command;

use std::sync::OnceLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde::{Deserialize, Serialize};

use crate::fleet::{ClusterName, ObjectRef, PlacementKey};

pub(crate) use command::{Record, follow};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Action {
    /// A join token was made.
    Token,
    /// A cluster asks to join.
    Join,
    /// A certificate was issued.
    Certify,
    /// `spec.accepted` of a GPUCluster was set.
    Accept,
    /// `spec.accepted` of a GPUCluster was taken back.
    Refuse,
    /// `spec.revokedCertificates` of a GPUCluster was changed.
    Revoke,
    /// A GPUCluster was deleted.
    Leave,
    /// An object is to be in a cluster, in this version.
    Place,
    /// An object shall leave a cluster.
    Evict,
    /// Others take the place of lost clusters.
    Failover,
    /// A spoke was sent a tombstone.
    Tombstone,
    /// A spoke was sent a Secret.
    DeliverSecret,
    /// Deletions that a spoke holds back were confirmed.
    ConfirmDeletions,
    /// The removal of an orphan was confirmed.
    RemoveOrphan,
    /// A step of the rollover of the CA.
    RotateCa,
    /// The hub's term was raised, or is to be, above what it would be by itself.
    RaiseTerm,
    /// What a hub is known by was made anew in place of what was lost.
    BeginAnew,
}

impl Action {
    #[cfg(test)]
    const ALL: [Self; 17] = [
        Self::Token,
        Self::Join,
        Self::Certify,
        Self::Accept,
        Self::Refuse,
        Self::Revoke,
        Self::Leave,
        Self::Place,
        Self::Evict,
        Self::Failover,
        Self::Tombstone,
        Self::DeliverSecret,
        Self::ConfirmDeletions,
        Self::RemoveOrphan,
        Self::RotateCa,
        Self::RaiseTerm,
        Self::BeginAnew,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Join => "join",
            Self::Certify => "certify",
            Self::Accept => "accept",
            Self::Refuse => "refuse",
            Self::Revoke => "revoke",
            Self::Leave => "leave",
            Self::Place => "place",
            Self::Evict => "evict",
            Self::Failover => "failover",
            Self::Tombstone => "tombstone",
            Self::DeliverSecret => "deliver-secret",
            Self::ConfirmDeletions => "confirm-deletions",
            Self::RemoveOrphan => "remove-orphan",
            Self::RotateCa => "rotate-ca",
            Self::RaiseTerm => "raise-term",
            Self::BeginAnew => "begin-anew",
        }
    }
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actor<'a> {
    /// A user of the hub's API server, by the field manager that wrote, where that is known. Which user that was is in the
    /// audit log of the API server.
    Admin(Option<&'a str>),
    /// Whoever shows a join token.
    Token,
    /// A spoke, by the serial of its certificate.
    Spoke(&'a str),
    /// This hub by itself, by the identity with which it leads.
    Hub,
    /// Whoever may run a command of `nimfleet-hub` beside the hub, by the pod that it was run in.
    Command(Option<&'a str>),
}

/// One act. What does not belong to it is left out of the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act<'a> {
    action: Action,
    actor: Actor<'a>,
    cause: &'a str,
    cluster: Option<&'a ClusterName>,
    placement: Option<&'a PlacementKey>,
    object: Option<&'a ObjectRef>,
    hash: Option<&'a str>,
    serial: Option<&'a str>,
    term: Option<u64>,
    count: Option<u64>,
    at: Option<&'a str>,
}

impl<'a> Act<'a> {
    /// `actor` did this because of `cause`, one sentence.
    pub(crate) const fn new(action: Action, actor: Actor<'a>, cause: &'a str) -> Self {
        Self {
            action,
            actor,
            cause,
            cluster: None,
            placement: None,
            object: None,
            hash: None,
            serial: None,
            term: None,
            count: None,
            at: None,
        }
    }

    /// In or to this cluster.
    pub(crate) const fn cluster(mut self, cluster: &'a ClusterName) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// For this placement.
    pub(crate) const fn placement(mut self, placement: &'a PlacementKey) -> Self {
        self.placement = Some(placement);
        self
    }

    /// With this object.
    pub(crate) const fn object(mut self, object: &'a ObjectRef) -> Self {
        self.object = Some(object);
        self
    }

    /// In the version of this hash.
    pub(crate) const fn hash(mut self, hash: &'a str) -> Self {
        self.hash = Some(hash);
        self
    }

    /// About, or over the session of, the certificate of this serial.
    pub(crate) const fn serial(mut self, serial: &'a str) -> Self {
        self.serial = Some(serial);
        self
    }

    /// In this term of the hub.
    pub(crate) const fn term(mut self, term: u64) -> Self {
        self.term = Some(term);
        self
    }

    /// So many at once.
    pub(crate) const fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Then, where that is not the moment at which it is written.
    pub(crate) const fn at(mut self, at: &'a str) -> Self {
        self.at = Some(at);
        self
    }

    /// Writes the record.
    pub(crate) fn record(self) {
        let (actor, subject) = match self.actor {
            Actor::Admin(manager) => ("admin", manager),
            Actor::Token => ("token", None),
            Actor::Spoke(serial) => ("spoke", Some(serial)),
            Actor::Hub => ("hub", HUB.get().map(String::as_str)),
            Actor::Command(pod) => ("command", pod),
        };
        tracing::info!(
            target: "audit",
            action = self.action.as_str(),
            actor,
            subject,
            cause = self.cause,
            cluster = self.cluster.map(ClusterName::as_str),
            placement = self.placement.map(tracing::field::display),
            kind = self.object.map(|object| object.kind.as_str()),
            namespace = self.object.map(|object| object.namespace.as_str()),
            name = self.object.map(|object| object.name.as_str()),
            uid = self.object.map(|object| object.uid.as_str()),
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

/// The field manager that wrote the field at `path` last (`["f:spec", "f:accepted"]`), if the API server says.
pub(crate) fn manager_of<'a>(managed: Option<&'a [ManagedFieldsEntry]>, path: &[&str]) -> Option<&'a str> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let found = path.iter().fold(fields, |at, key| at?.get(key));
        entry.subresource.is_none() && found.is_some()
    };
    let latest = managed?.iter().filter(owns).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    latest.manager.as_deref()
}

#[cfg(test)]
pub(crate) mod tests;
