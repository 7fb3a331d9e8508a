//! Who did what, and why, as data: one [`Act`] per record of the audit trail. The process `hub` writes them.
//!
//! An act has no field for a payload, so no value of a Secret can get into a record; the hash of a Secret is salted.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde::{Deserialize, Serialize};

use crate::fleet::{ClusterName, ObjectRef, PlacementKey};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
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
    /// All of them.
    pub const ALL: [Self; 17] = [
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

    /// The word in a record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A user of the hub's API server, by the field manager that wrote, where that is known. Which user that was is in the
    /// audit log of the API server.
    Admin(Option<String>),
    /// Whoever shows a join token.
    Token,
    /// A spoke, by the serial of its certificate.
    Spoke(String),
    /// This hub by itself, by the identity with which it leads.
    Hub,
    /// Whoever may run a command of `nimfleet-hub` beside the hub, by the pod that it was run in.
    Command(Option<String>),
}

/// One act. Fields that do not belong to it are none, and left out of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What was done.
    pub action: Action,
    /// Who did it.
    pub actor: Actor,
    /// Why, in one sentence.
    pub cause: String,
    /// In or to which cluster.
    pub cluster: Option<ClusterName>,
    /// For which placement.
    pub placement: Option<PlacementKey>,
    /// With which object.
    pub object: Option<ObjectRef>,
    /// In which version: the hash of what was sent.
    pub hash: Option<String>,
    /// About which certificate, or over its session: the serial number.
    pub serial: Option<String>,
    /// In which term of the hub.
    pub term: Option<u64>,
    /// How many at once.
    pub count: Option<u64>,
    /// When, where that is not the moment at which the record is written.
    pub at: Option<String>,
}

impl Act {
    /// `actor` did this because of `cause`, one sentence.
    #[must_use]
    pub fn new(action: Action, actor: Actor, cause: &str) -> Self {
        Self {
            action,
            actor,
            cause: cause.to_owned(),
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
    #[must_use]
    pub fn cluster(self, cluster: &ClusterName) -> Self {
        Self { cluster: Some(cluster.clone()), ..self }
    }

    /// For this placement.
    #[must_use]
    pub fn placement(self, placement: &PlacementKey) -> Self {
        Self { placement: Some(placement.clone()), ..self }
    }

    /// With this object.
    #[must_use]
    pub fn object(self, object: &ObjectRef) -> Self {
        Self { object: Some(object.clone()), ..self }
    }

    /// In the version of this hash.
    #[must_use]
    pub fn hash(self, hash: &str) -> Self {
        Self { hash: Some(hash.to_owned()), ..self }
    }

    /// About, or over the session of, the certificate of this serial.
    #[must_use]
    pub fn serial(self, serial: &str) -> Self {
        Self { serial: Some(serial.to_owned()), ..self }
    }

    /// In this term of the hub.
    #[must_use]
    pub fn term(self, term: u64) -> Self {
        Self { term: Some(term), ..self }
    }

    /// So many at once.
    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// At that moment, where it is not the one at which the record is written.
    #[must_use]
    pub fn at(self, at: &str) -> Self {
        Self { at: Some(at.to_owned()), ..self }
    }
}

/// The field manager that wrote the field at `path` last (`["f:spec", "f:accepted"]`), if the API server says.
#[must_use]
pub fn manager_of(managed: Option<&[ManagedFieldsEntry]>, path: &[&str]) -> Option<String> {
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let found = path.iter().fold(fields, |at, key| at?.get(key));
        entry.subresource.is_none() && found.is_some()
    };
    let latest = managed?.iter().filter(owns).max_by_key(|entry| entry.time.as_ref().map(|time| time.0))?;
    latest.manager.clone()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, Time};
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_one_who_wrote_a_field_last_is_named() {
        let entry =
            |manager: &str, second: i64, fields: Value, subresource: Option<&str>| ManagedFieldsEntry {
                manager: Some(manager.to_owned()),
                time: Some(Time(Timestamp::from_second(second).unwrap())),
                fields_v1: Some(FieldsV1(fields)),
                subresource: subresource.map(str::to_owned),
                ..ManagedFieldsEntry::default()
            };
        let accepted = || json!({"f:spec": {"f:accepted": {}}});
        let managed = [
            entry("kubectl-create", 1, accepted(), None),
            entry("argocd", 3, accepted(), None),
            entry("kubectl-patch", 9, json!({"f:spec": {"f:labels": {}}}), None),
            entry("nimfleet-hub", 9, accepted(), Some("status")),
        ];
        assert_eq!(manager_of(Some(&managed), &["f:spec", "f:accepted"]), Some("argocd".into()));
        assert_eq!(manager_of(Some(&managed), &["f:spec", "f:labels"]), Some("kubectl-patch".into()));
        assert_eq!(manager_of(Some(&managed), &["f:spec", "f:revokedCertificates"]), None);
        assert_eq!(manager_of(None, &["f:spec"]), None);
    }
}
