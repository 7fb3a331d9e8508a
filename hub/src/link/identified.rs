//! Beside a session: who the spoke is, by which CAs it knows the hub, and whether it has to learn of others.

use std::sync::Arc;
use std::time::Duration;

use hub_core::identity::{CaHash, SpokeCertificate};
use hub_core::link::LinkEvent;
use proto::v1;
use proto::v1::hub_message::Message as ToSpoke;
use proto::v1::spoke_message::Message as FromSpoke;
use tokio::sync::watch;

use super::MemberIdentity;
use crate::pki::Trust;

/// Bytes of the hash of a CA, and how many CAs one spoke may trust.
const HASH: usize = 128;
const AUTHORITIES: usize = 8;
/// How long all spokes of a CA that retires have for their renewals: a fleet of ten thousand asks for 35 a second.
const RENEW_WITHIN: Duration = Duration::from_mins(5);

/// What is known of the spoke at the other end.
pub(super) struct Identified {
    certificate: SpokeCertificate,
    membership: MemberIdentity,
    trust: watch::Receiver<Arc<Trust>>,
    /// What the spoke says it trusts; nothing until its Hello, and for ever if it knows no bundles.
    trusted: Vec<CaHash>,
    /// The CAs it was told last, and whether it was asked to renew.
    told: Option<(Vec<CaHash>, bool)>,
}

/// What a message of the spoke was about.
pub(super) enum About {
    /// Something else: the session's business.
    Work,
    /// The CAs that the spoke trusts; all has been taken.
    Trust,
}

impl Identified {
    pub(super) fn new(
        certificate: SpokeCertificate,
        membership: MemberIdentity,
        trust: watch::Receiver<Arc<Trust>>,
    ) -> Self {
        Self { certificate, membership, trust, trusted: Vec::new(), told: None }
    }

    pub(super) fn certificate(&self) -> &SpokeCertificate {
        &self.certificate
    }

    /// Takes what a message says about identity. An `Err` says how it contradicts the certificate.
    pub(super) fn hear(&mut self, message: &v1::SpokeMessage) -> Result<About, String> {
        // A hash is 71 bytes; what is longer, or more than a rollover needs, is nobody's.
        let told = |authorities: &[String]| {
            let hashes = authorities.iter().filter(|hash| hash.len() <= HASH).take(AUTHORITIES);
            hashes.map(|hash| CaHash::reported(hash)).collect::<Vec<_>>()
        };
        match &message.message {
            Some(FromSpoke::Hello(hello)) => {
                if let Some(problem) = copied(&self.membership, &hello.cluster_uid) {
                    return Err(problem);
                }
                self.trusted = told(&hello.trusted_authorities);
                Ok(About::Work)
            }
            Some(FromSpoke::TrustTaken(taken)) => {
                self.trusted = told(&taken.trusted_authorities);
                Ok(About::Trust)
            }
            _ => Ok(About::Work),
        }
    }

    /// Resolves when the hub's CAs have changed.
    pub(super) async fn changed(&mut self) {
        if self.trust.changed().await.is_err() {
            // The hub itself ends.
            std::future::pending::<()>().await;
        }
    }

    /// Why this session has to end, if the hub's CAs are such.
    pub(super) fn goodbye(&self) -> Option<String> {
        dropped(&self.trust.borrow(), &self.certificate)
    }

    /// What the spoke has to be told about CAs now, if anything.
    pub(super) fn news(&mut self) -> Option<v1::HubMessage> {
        if self.trusted.is_empty() {
            return None;
        }
        let trust = self.trust.borrow_and_update();
        let (wanted, renew) = (trust.hashes(), self.certificate.authority != *trust.signer().hash());
        let known = self.told.as_ref().map_or((&self.trusted, false), |(known, asked)| (known, *asked));
        if same(known.0, &wanted) && (known.1 || !renew) {
            return None;
        }
        let bundle = v1::TrustBundle {
            ca_pem: trust.bundle_pem(),
            renew_within_seconds: if renew {
                u32::try_from(RENEW_WITHIN.as_secs()).unwrap_or_default()
            } else {
                0
            },
        };
        self.told = Some((wanted, renew));
        Some(v1::HubMessage { message: Some(ToSpoke::TrustBundle(bundle)) })
    }

    /// For the controllers.
    pub(super) fn event(&self) -> LinkEvent {
        let (certificate, trusted) = (self.certificate.clone(), self.trusted.clone());
        LinkEvent::Identified { cluster: certificate.cluster.clone(), certificate, trusted }
    }
}

/// Why a certificate gives no right any more because of the CA that signed it, if so. A connection outlives its handshake, so
/// every call that rests on a certificate asks.
pub(super) fn dropped(trust: &Trust, certificate: &SpokeCertificate) -> Option<String> {
    let SpokeCertificate { cluster, authority, .. } = certificate;
    (!trust.trusts(authority)).then(|| {
        format!(
            "the certificate is of CA {authority}, which this hub no longer trusts: get a new token with `nimfleet-hub \
             join-command {cluster}`"
        )
    })
}

/// Why a spoke that says it is in the cluster of that uid may not use the identity, if so.
pub(super) fn copied(membership: &MemberIdentity, cluster_uid: &str) -> Option<String> {
    let uid = &membership.cluster_uid;
    (!uid.is_empty() && uid != cluster_uid).then(|| {
        format!(
            "its cluster (kube-system uid {cluster_uid}) is not the one that its certificate was issued for ({uid}): an \
             identity is not to be copied; delete the Secret nimfleet-spoke-identity there and join with a token and a name \
             of its own"
        )
    })
}

/// The same CAs, in whatever order.
fn same(left: &[CaHash], right: &[CaHash]) -> bool {
    left.len() == right.len() && left.iter().all(|hash| right.contains(hash))
}
