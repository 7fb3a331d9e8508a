//! Enrollment: a key goes in, with a token or a certificate behind it; a certificate comes out.

use std::sync::Arc;

use hub_core::audit::{Act, Action, Actor};
use hub_core::identity::{Family, SpokeCertificate};
use hub_scheduler::fleet::ClusterName;
use jiff::{SignedDuration, Timestamp};
use proto::v1;
use tonic::{Request, Response, Status};

use super::identified::{copied, dropped};
use super::limits::Limits;
use super::tls::Peer;
use super::{Admission, Counters, MemberIdentity, Membership, PortError};
use crate::audit::RecordAct;
use crate::pki::{
    Authorities, AuthorityError, Issued, JoinError, Secrets, SpokeKey, Subject, TokenRefused, Tokens,
};

/// A spoke that waits for the admin asks again after this, seconds.
const RETRY_AFTER: u32 = 2;
/// Bytes of the uid of a cluster, as Kubernetes bounds names; it stands in the GPUCluster and in every certificate.
const LONGEST_UID: usize = 253;

/// The service Enrollment.
pub(super) struct Enrollment<A, S> {
    pub(super) admission: Arc<A>,
    pub(super) authorities: Arc<Authorities<S>>,
    pub(super) tokens: Arc<Tokens<S>>,
    pub(super) certificate_life: SignedDuration,
    pub(super) return_within: SignedDuration,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
}

#[tonic::async_trait]
impl<A: Admission, S: Secrets> v1::enrollment_server::Enrollment for Enrollment<A, S> {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let from = request.extensions().get::<Peer>().map(|peer| peer.address);
        if from.is_some_and(|from| !self.limits.may_enrol(from.ip())) {
            self.counters.throttled_enrolments.inc();
            return Err(Status::resource_exhausted("too many requests to enrol: ask again in some seconds"));
        }
        let request = request.into_inner();
        let outcome = self.enrolled(&request).await.inspect_err(|status| {
            self.counters.refused_enrolments.inc();
            tracing::warn!(cluster = request.cluster, ?from, problem = status.message(), "enrolment refused");
        })?;
        Ok(Response::new(v1::EnrollResponse { outcome: Some(outcome) }))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let Some(Peer { certificate: Some(present), address }) = request.extensions().get::<Peer>().cloned()
        else {
            tracing::warn!("renewal refused: no client certificate");
            return Err(Status::unauthenticated(
                "a client certificate of this hub's CA is needed: enrol first with a join token",
            ));
        };
        let renewed = self.renewed(&present, request.get_ref()).await.inspect_err(|status| {
            self.counters.refused_renewals.inc();
            let problem = status.message();
            tracing::warn!(cluster = %present.cluster, from = %address, problem, "renewal refused");
        })?;
        self.counters.renewals.inc();
        Ok(Response::new(v1::RenewResponse { certificate: Some(renewed) }))
    }
}

impl<A: Admission, S: Secrets> Enrollment<A, S> {
    async fn enrolled(&self, request: &v1::EnrollRequest) -> Result<v1::enroll_response::Outcome, Status> {
        let cluster: ClusterName = request.cluster.parse().map_err(invalid)?;
        let key = SpokeKey::of_request(&request.csr_pem).map_err(invalid)?;
        if request.cluster_uid.len() > LONGEST_UID {
            let bytes = request.cluster_uid.len();
            return Err(Status::invalid_argument(format!(
                "cluster_uid has {bytes} bytes; a uid has no more than {LONGEST_UID}"
            )));
        }
        let now = Timestamp::now();
        if request.expired_certificate_pem.is_empty() {
            return self.joined(request, &cluster, &key, now).await;
        }
        let expired = self.expired(&request.expired_certificate_pem, &cluster, &key, now)?;
        let membership = self.admission.returning(&expired, &request.cluster_uid).await;
        let Some(membership) = accepted(&cluster, membership)? else { return Ok(pending(&cluster)) };
        let grounds = (Actor::Spoke(expired.serial.clone()), "in place of one that has expired");
        let subject = subject(&cluster, &membership, &request.cluster_uid, expired.family());
        let issued = self.issue(&key, &subject, now)?;
        Ok(self.certified(&issued, grounds))
    }

    /// A certificate by a token, which is spent by it: whoever shows the token and the key again, because the answer was lost,
    /// gets that certificate, as long as it is good, and never another.
    async fn joined(
        &self,
        request: &v1::EnrollRequest,
        cluster: &ClusterName,
        key: &SpokeKey,
        now: Timestamp,
    ) -> Result<v1::enroll_response::Outcome, Status> {
        let spent = self.tokens.redeem(&request.token, cluster, key, now).await.map_err(refused)?;
        if let Some(certificate_pem) = spent {
            return self.delivered_again(cluster, certificate_pem, now).await;
        }
        let membership = self.admission.ask(cluster, &request.cluster_uid).await;
        let Some(membership) = accepted(cluster, membership)? else { return Ok(pending(cluster)) };
        let family = Family::new(rand::random());
        let subject = subject(cluster, &membership, &request.cluster_uid, family);
        let issued = self.issue(key, &subject, now)?;
        let pem = &issued.certificate_pem;
        match self.tokens.spend(&request.token, cluster, key, pem, now).await.map_err(refused)? {
            None => Ok(self.certified(&issued, (Actor::Token, "by a join token"))),
            // The same spoke asked twice at once: what was made here is given to nobody.
            Some(certificate_pem) => self.delivered_again(cluster, certificate_pem, now).await,
        }
    }

    /// The certificate for which a token was spent, if it is still good.
    async fn delivered_again(
        &self,
        cluster: &ClusterName,
        certificate_pem: String,
        now: Timestamp,
    ) -> Result<v1::enroll_response::Outcome, Status> {
        let trust = self.authorities.current();
        let Some(certificate) = trust.once_issued(&certificate_pem).filter(|issued| issued.expires > now)
        else {
            let spent = TokenRefused::Spent { cluster: cluster.clone() };
            return Err(Status::permission_denied(spent.to_string()));
        };
        let membership = self.admission.membership(&certificate).await;
        let Some(_) = accepted(cluster, membership)? else { return Ok(pending(cluster)) };
        let ca_pem = trust.bundle_pem();
        Ok(v1::enroll_response::Outcome::Certificate(v1::Certificate { certificate_pem, ca_pem }))
    }

    /// The certificate that a spoke shows in place of a token, if it is one of ours, of that cluster and of that key.
    fn expired(
        &self,
        certificate_pem: &str,
        cluster: &ClusterName,
        key: &SpokeKey,
        now: Timestamp,
    ) -> Result<SpokeCertificate, Status> {
        let denied = |problem: String| {
            Status::permission_denied(format!(
                "{problem}: get a new token with `nimfleet-hub join-command {cluster}`"
            ))
        };
        let expired = self.authorities.current().once_issued(certificate_pem);
        let expired = expired
            .ok_or_else(|| denied("the expired certificate is not of a CA that this hub trusts".into()))?;
        if expired.cluster != *cluster {
            return Err(denied(format!("the expired certificate is of cluster {}", expired.cluster)));
        }
        if expired.key_hash != key.hash() {
            return Err(denied("the request is not signed by the key of the expired certificate".into()));
        }
        if now.duration_since(expired.expires) > self.return_within {
            let (end, within) = (expired.expires, self.return_within);
            return Err(denied(format!("the certificate expired at {end}, more than {within:#} ago")));
        }
        Ok(expired)
    }

    async fn renewed(
        &self,
        present: &SpokeCertificate,
        request: &v1::RenewRequest,
    ) -> Result<v1::Certificate, Status> {
        let key = SpokeKey::of_request(&request.csr_pem).map_err(invalid)?;
        let now = Timestamp::now();
        if present.expires <= now {
            return Err(Status::unauthenticated("the certificate of this connection is over: dial again"));
        }
        if let Some(problem) = dropped(&self.authorities.current(), present) {
            return Err(Status::permission_denied(problem));
        }
        let cluster = &present.cluster;
        let membership = self.admission.membership(present).await;
        let Some(membership) = accepted(cluster, membership)? else {
            return Err(Status::permission_denied(format!(
                "GPUCluster {cluster} is not accepted: set spec.accepted to true"
            )));
        };
        // An older agent does not say where it is.
        if let Some(problem) =
            Some(&request.cluster_uid).filter(|uid| !uid.is_empty()).and_then(|uid| copied(&membership, uid))
        {
            return Err(Status::permission_denied(problem));
        }
        let subject = subject(cluster, &membership, &request.cluster_uid, present.family());
        let issued = self.issue(&key, &subject, now)?;
        let grounds = (Actor::Spoke(present.serial.clone()), "in place of one that is valid");
        self.recorded(&issued, grounds);
        Ok(self.with_bundle(issued.certificate_pem))
    }

    fn issue(&self, key: &SpokeKey, subject: &Subject<'_>, now: Timestamp) -> Result<Issued, Status> {
        let trust = self.authorities.current();
        let issued = trust.signer().issue(key, subject, rand::random(), now, self.certificate_life);
        issued.map_err(|error| internal(&error))
    }

    fn certified(&self, issued: &Issued, grounds: (Actor, &str)) -> v1::enroll_response::Outcome {
        self.recorded(issued, grounds);
        v1::enroll_response::Outcome::Certificate(self.with_bundle(issued.certificate_pem.clone()))
    }

    /// A certificate goes out.
    fn recorded(&self, issued: &Issued, (actor, cause): (Actor, &str)) {
        self.counters.certificates.inc();
        let SpokeCertificate { cluster, serial, .. } = &issued.certificate;
        Act::new(Action::Certify, actor, cause).cluster(cluster).serial(serial).record();
    }

    fn with_bundle(&self, certificate_pem: String) -> v1::Certificate {
        v1::Certificate { certificate_pem, ca_pem: self.authorities.current().bundle_pem() }
    }
}

/// Whom a certificate is for. A cluster of which nobody has said yet which it is is the one that asks.
fn subject<'a>(
    cluster: &'a ClusterName,
    membership: &'a MemberIdentity,
    cluster_uid: &'a str,
    family: Family,
) -> Subject<'a> {
    let MemberIdentity { object_uid, cluster_uid: recorded } = membership;
    let cluster_uid = if recorded.is_empty() { cluster_uid } else { recorded };
    Subject { cluster, cluster_uid, object_uid, family }
}

/// What the cluster is held to; `None` while its admin is waited for.
fn accepted(
    cluster: &ClusterName,
    membership: Result<Membership, PortError>,
) -> Result<Option<MemberIdentity>, Status> {
    match membership.map_err(|error| Status::unavailable(format!("the hub could not look: {error}")))? {
        Membership::Accepted(membership) => Ok(Some(membership)),
        Membership::Pending => {
            tracing::info!(%cluster, "a spoke that may ask waits for spec.accepted");
            Ok(None)
        }
        Membership::Refused(message) | Membership::Revoked(message) => {
            Err(Status::permission_denied(message))
        }
    }
}

fn pending(cluster: &ClusterName) -> v1::enroll_response::Outcome {
    v1::enroll_response::Outcome::Pending(v1::Pending {
        message: format!(
            "cluster {cluster} waits for the fleet admin: kubectl patch gpucluster {cluster} --type=merge -p \
             '{{\"spec\":{{\"accepted\":true}}}}'"
        ),
        retry_after_seconds: RETRY_AFTER,
    })
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn internal(error: &AuthorityError) -> Status {
    tracing::error!(%error, "a certificate could not be made");
    Status::internal(error.to_string())
}

fn refused(error: JoinError) -> Status {
    match error {
        JoinError::Refused(refused) => Status::permission_denied(refused.to_string()),
        JoinError::Secret(error) => {
            tracing::error!(%error, source = ?std::error::Error::source(&error), "a join token could not be checked");
            Status::unavailable(error.to_string())
        }
        error @ (JoinError::Contended { .. } | JoinError::Ttl { .. }) => {
            Status::unavailable(error.to_string())
        }
        JoinError::Request(error) => invalid(error),
    }
}
