//! Enrollment: a token and a key go in; a certificate comes out once the cluster is accepted.

use std::sync::Arc;

use jiff::Timestamp;
use proto::v1;
use tonic::{Request, Response, Status};

use super::{Admission, Counters, Standing};
use crate::fleet::ClusterName;
use crate::pki::{Authority, AuthorityError, JoinError, Secrets, SpokeKey, Tokens};

/// A spoke that waits for the admin asks again after this, seconds.
const RETRY_AFTER: u32 = 2;

/// The service Enrollment.
pub(super) struct Enrollment<A, S> {
    pub(super) admission: Arc<A>,
    pub(super) authority: Arc<Authority>,
    pub(super) tokens: Tokens<S>,
    pub(super) counters: Counters,
}

#[tonic::async_trait]
impl<A: Admission, S: Secrets> v1::enrollment_server::Enrollment for Enrollment<A, S> {
    async fn enroll(
        &self,
        request: Request<v1::EnrollRequest>,
    ) -> Result<Response<v1::EnrollResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.decide(&request).await.inspect_err(|status| {
            self.counters.refused_enrolments.inc();
            tracing::warn!(cluster = request.cluster, problem = status.message(), "enrolment refused");
        })?;
        Ok(Response::new(v1::EnrollResponse { outcome: Some(outcome) }))
    }
}

impl<A: Admission, S: Secrets> Enrollment<A, S> {
    async fn decide(&self, request: &v1::EnrollRequest) -> Result<v1::enroll_response::Outcome, Status> {
        let cluster: ClusterName = request.cluster.parse().map_err(invalid)?;
        let key = SpokeKey::of_request(&request.csr_pem).map_err(invalid)?;
        let now = Timestamp::now();
        self.tokens.redeem(&request.token, &cluster, &key, now).await.map_err(refused)?;
        let standing = self.admission.ask(&cluster, &request.cluster_uid).await;
        match standing.map_err(|error| Status::unavailable(format!("the hub could not look: {error}")))? {
            Standing::Pending => {
                tracing::info!(%cluster, "a spoke with a valid token waits for spec.accepted");
                Ok(v1::enroll_response::Outcome::Pending(v1::Pending {
                    message: format!(
                        "cluster {cluster} waits for the fleet admin: kubectl patch gpucluster {cluster} --type=merge \
                         -p '{{\"spec\":{{\"accepted\":true}}}}'"
                    ),
                    retry_after_seconds: RETRY_AFTER,
                }))
            }
            Standing::Refused(message) => Err(Status::permission_denied(message)),
            Standing::Accepted => {
                let issued = self.authority.issue(&key, &cluster, now).map_err(|error| internal(&error))?;
                self.counters.certificates.inc();
                tracing::info!(%cluster, expires = %issued.expires, "certificate issued");
                Ok(v1::enroll_response::Outcome::Certificate(v1::Certificate {
                    certificate_pem: issued.certificate_pem,
                    ca_pem: self.authority.certificate_pem().to_owned(),
                }))
            }
        }
    }
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
