//! From a token and a key to a certificate.

use std::sync::Arc;
use std::time::Duration;

use proto::v1;
use proto::v1::enroll_response::Outcome;
use proto::v1::enrollment_client::EnrollmentClient;
use rcgen::{CertificateParams, KeyPair};
use tokio::time::timeout;
use tonic::Code;

use super::dial::{DialError, dial};
use super::settings::Settings;
use super::tls::{TlsError, pinned};

/// The hub asks its API server before it answers, which has 10 s for each of three calls.
const ANSWER: Duration = Duration::from_secs(40);

/// An attempt to enrol failed.
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
}

/// What an attempt came to.
pub(super) enum Enrolled {
    /// The fleet admin has to accept the cluster first; ask again after that time.
    Pending { message: String, retry_after: Duration },
    /// Certificate and CA, PEM.
    Certificate { certificate_pem: String, ca_pem: String },
}

/// A new private key, PEM.
pub(super) fn new_key() -> Result<String, EnrollError> {
    Ok(KeyPair::generate()?.serialize_pem())
}

/// Asks once.
pub(super) async fn enroll(settings: &Settings, key_pem: &str) -> Result<Enrolled, EnrollError> {
    let token = settings.token.clone().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| EnrollError::NoToken { cluster: settings.cluster.clone() })?;
    let csr = CertificateParams::default().serialize_request(&KeyPair::from_pem(key_pem)?)?;
    let request = v1::EnrollRequest {
        cluster: settings.cluster.clone(),
        token,
        csr_pem: csr.pem()?,
        cluster_uid: settings.cluster_uid.clone(),
    };
    let channel = dial(&settings.address, settings.ca_hash, Arc::new(pinned(settings.ca_hash)?)).await?;
    let answer = timeout(ANSWER, EnrollmentClient::new(channel).enroll(request))
        .await
        .map_err(|_| EnrollError::Unavailable(format!("no answer within {} s", ANSWER.as_secs())))?
        .map_err(|status| match status.code() {
            Code::PermissionDenied | Code::InvalidArgument => {
                EnrollError::Refused(status.message().to_owned())
            }
            _ => EnrollError::Unavailable(status.message().to_owned()),
        })?;
    match answer.into_inner().outcome {
        Some(Outcome::Pending(pending)) => Ok(Enrolled::Pending {
            message: pending.message,
            retry_after: Duration::from_secs(u64::from(pending.retry_after_seconds.max(1))),
        }),
        Some(Outcome::Certificate(v1::Certificate { certificate_pem, ca_pem })) => {
            Ok(Enrolled::Certificate { certificate_pem, ca_pem })
        }
        None => Err(EnrollError::Unavailable("an answer that this spoke does not know".to_owned())),
    }
}
