//! The CAs of the hub at one moment: the one that signs, and those that are trusted.

use std::sync::Arc;
use std::time::Duration;

use hub_core::identity::{CaHash, SpokeCertificate, Stage};
use hub_scheduler::fleet::ClusterName;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::authority::Authority;
use super::certificate::spoke_certificate;

/// The CAs of the hub at one moment.
#[derive(Clone)]
pub struct Trust {
    pub(super) stage: Stage,
    pub(super) signer: Arc<Authority>,
    /// The one that comes or goes.
    pub(super) other: Option<Other>,
    /// Clusters that the admin leaves behind in this rollover.
    pub(super) without: Vec<ClusterName>,
}

/// A CA that is trusted and does not sign.
#[derive(Clone)]
pub(super) struct Other {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) certificate_pem: String,
    pub(super) hash: CaHash,
    /// Of the one that comes.
    pub(super) key_pem: Option<String>,
}

impl Trust {
    /// One CA that signs and is trusted.
    #[must_use]
    pub fn only(signer: Authority) -> Self {
        Self { stage: Stage::Stable, signer: Arc::new(signer), other: None, without: Vec::new() }
    }

    /// How far the hub is from one CA to the next.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The CA that signs, the hub's own certificate among others.
    #[must_use]
    pub fn signer(&self) -> &Authority {
        &self.signer
    }

    /// The CA that is, or comes to be, the only one.
    #[must_use]
    pub fn coming(&self) -> &CaHash {
        match (self.stage, &self.other) {
            (Stage::Introducing, Some(other)) => &other.hash,
            _ => self.signer.hash(),
        }
    }

    /// Clusters that the admin leaves behind in this rollover.
    #[must_use]
    pub fn without(&self) -> &[ClusterName] {
        &self.without
    }

    /// What spokes shall trust, PEM; the one that signs first.
    #[must_use]
    pub fn bundle_pem(&self) -> String {
        let other = self.other.as_ref().map(|other| other.certificate_pem.as_str());
        [self.signer.certificate_pem()].into_iter().chain(other).collect::<Vec<_>>().join("")
    }

    /// The same as hashes.
    #[must_use]
    pub fn hashes(&self) -> Vec<CaHash> {
        let other = self.other.as_ref().map(|other| other.hash.clone());
        [self.signer.hash().clone()].into_iter().chain(other).collect()
    }

    /// The same as certificates.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        [self.signer.certificate()].into_iter().chain(self.other.as_ref().map(|other| &other.certificate))
    }

    /// Checks client certificates against them.
    pub fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates() {
            roots.add(certificate.clone())?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    /// What a certificate says that has been verified by [`Trust::verifier`].
    #[must_use]
    pub fn read(&self, certificate: &CertificateDer<'_>) -> Option<SpokeCertificate> {
        spoke_certificate(certificate, self.certificates())
    }

    /// A certificate (PEM) that one of these CAs signed for a spoke, whether it is over or not.
    #[must_use]
    pub fn once_issued(&self, certificate_pem: &str) -> Option<SpokeCertificate> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
        let certificate = self.read(&der)?;
        let last = u64::try_from(certificate.expires.as_second()).ok()?.checked_sub(1)?;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(last));
        self.verifier().ok()?.verify_client_cert(&der, &[], then).ok()?;
        Some(certificate)
    }

    /// Whether a certificate of that CA is still taken.
    #[must_use]
    pub fn trusts(&self, authority: &CaHash) -> bool {
        self.signer.hash() == authority || self.other.as_ref().is_some_and(|other| other.hash == *authority)
    }
}
