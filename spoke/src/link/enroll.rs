//! From a key to a certificate: by a token, by a certificate that is over, or by one that is not.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::enroll_response::Outcome;
use proto::v1::enrollment_client::EnrollmentClient;
use rcgen::{CertificateParams, KeyPair};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::dial::{DialError, PATIENT, dial};
use super::identity::Enrolled;
use super::settings::Settings;
use super::tls::{TlsError, pinned};

/// The hub asks its API server before it answers, which has 10 s for each of three calls.
const ANSWER: Duration = Duration::from_secs(40);

/// An attempt to get a certificate failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnrollError {
    #[error(
        "there is no certificate yet and no join token: give --hub-token, from `nimfleet-hub join-command {cluster}`"
    )]
    NoToken { cluster: String },
    #[error(
        "the key cannot be used: delete the Secret nimfleet-spoke-identity and join again with a new token"
    )]
    Key(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the hub refused: {0}")]
    Refused(String),
    #[error("the hub could not answer: {0}")]
    Unavailable(String),
}

impl EnrollError {
    /// Whether somebody has to act before it can go better.
    pub(super) fn needs_somebody(&self) -> bool {
        match self {
            Self::NoToken { .. } | Self::Key(_) | Self::Tls(_) | Self::Refused(_) => true,
            Self::Dial(error) => error.needs_somebody(),
            Self::Unavailable(_) => false,
        }
    }

    /// Whether a new token would help.
    pub(super) fn needs_token(&self) -> bool {
        match self {
            Self::Refused(_) => true,
            Self::Dial(error) => error.needs_token(),
            _ => false,
        }
    }
}

/// What an attempt came to.
pub(super) enum Answer {
    /// The fleet admin has to accept the cluster first; ask again after that time.
    Pending { message: String, retry_after: Duration },
    /// What this spoke is known by from now on.
    Enrolled(Enrolled),
}

/// A new private key, PEM.
pub(super) fn new_key() -> Result<String, rcgen::Error> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Asks once with a token and a key of its own. The hub is known by the hash of its CA.
pub(super) async fn join(settings: &Settings, token: &str, key_pem: &str) -> Result<Answer, EnrollError> {
    let request = v1::EnrollRequest { token: token.to_owned(), ..request(settings, key_pem)? };
    let channel = dial(settings, Arc::new(pinned(settings.ca_hash)?), PATIENT).await?;
    enroll(channel, request, key_pem).await
}

/// Asks once for another certificate of the same key in place of one that is over. The hub is known by the CAs that are
/// trusted.
pub(super) async fn come_back(settings: &Settings, over: &Enrolled) -> Result<Answer, EnrollError> {
    let request = v1::EnrollRequest {
        expired_certificate_pem: over.certificate_pem.clone(),
        ..request(settings, &over.key_pem)?
    };
    let channel = dial(settings, over.known()?, PATIENT).await?;
    enroll(channel, request, &over.key_pem).await
}

/// Asks once for the next certificate, with a new key, on a connection that the present certificate opened.
pub(super) async fn renew(settings: &Settings, channel: Channel) -> Result<Enrolled, EnrollError> {
    let key_pem = new_key()?;
    let cluster_uid = settings.cluster_uid.clone();
    let request = v1::RenewRequest { csr_pem: csr(&key_pem)?, cluster_uid };
    let answer = timeout(ANSWER, EnrollmentClient::new(channel).renew(request)).await;
    answered(answer)?
        .certificate
        .map(|certificate| enrolled(&key_pem, certificate))
        .ok_or_else(|| EnrollError::Unavailable("an answer without a certificate".to_owned()))
}

fn request(settings: &Settings, key_pem: &str) -> Result<v1::EnrollRequest, EnrollError> {
    Ok(v1::EnrollRequest {
        cluster: settings.cluster.clone(),
        csr_pem: csr(key_pem)?,
        cluster_uid: settings.cluster_uid.clone(),
        ..v1::EnrollRequest::default()
    })
}

fn csr(key_pem: &str) -> Result<String, EnrollError> {
    Ok(CertificateParams::default().serialize_request(&KeyPair::from_pem(key_pem)?)?.pem()?)
}

async fn enroll(channel: Channel, request: v1::EnrollRequest, key_pem: &str) -> Result<Answer, EnrollError> {
    let answer = timeout(ANSWER, EnrollmentClient::new(channel).enroll(request)).await;
    match answered(answer)?.outcome {
        Some(Outcome::Pending(pending)) => Ok(Answer::Pending {
            message: pending.message,
            retry_after: Duration::from_secs(u64::from(pending.retry_after_seconds.max(1))),
        }),
        Some(Outcome::Certificate(certificate)) => Ok(Answer::Enrolled(enrolled(key_pem, certificate))),
        None => Err(EnrollError::Unavailable("an answer that this spoke does not know".to_owned())),
    }
}

fn enrolled(key_pem: &str, certificate: v1::Certificate) -> Enrolled {
    let v1::Certificate { certificate_pem, ca_pem } = certificate;
    Enrolled { key_pem: key_pem.to_owned(), certificate_pem, ca_pem }
}

fn answered<T>(
    answer: Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>,
) -> Result<T, EnrollError> {
    let answer =
        answer.map_err(|_| EnrollError::Unavailable(format!("no answer within {} s", ANSWER.as_secs())))?;
    answer.map(tonic::Response::into_inner).map_err(|status| match status.code() {
        Code::PermissionDenied | Code::InvalidArgument => EnrollError::Refused(status.message().to_owned()),
        _ => EnrollError::Unavailable(status.message().to_owned()),
    })
}
