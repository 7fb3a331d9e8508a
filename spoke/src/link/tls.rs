//! TLS of the dialling side: 1.3 only; the hub is known by its CA's hash first, by its CA afterwards.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::settings::CaHash;

/// The stored identity cannot be used for TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// Not PEM of the right kind.
    #[error(
        "the stored {what} cannot be read: delete the Secret nimfleet-spoke-identity and join again with a new token"
    )]
    Pem { what: &'static str },
    /// The library refuses it.
    #[error("TLS cannot be set up")]
    Rustls(#[from] Error),
}

/// Of a chain whose CA is not the pinned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrongCa;

impl fmt::Display for WrongCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the CA is not the one that was pinned")
    }
}

impl std::error::Error for WrongCa {}

/// For enrolment: no certificate of our own, the hub's CA known by its hash.
pub(super) fn pinned(ca_hash: CaHash) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = PinnedCa { ca_hash, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For sessions: our certificate and the CA that came with it.
pub(super) fn mutual(key_pem: &str, certificate_pem: &str, ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_| TlsError::Pem { what: "key" })?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem { what: "certificate" })?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_pem)?)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For coming back: the CA that came with our certificate, which itself is over.
pub(super) fn known(ca_pem: &str) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots(ca_pem)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(ca_pem: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(ca.map_err(|_| TlsError::Pem { what: "CA" })?)?;
    }
    if roots.is_empty() {
        return Err(TlsError::Pem { what: "CA" });
    }
    Ok(roots)
}

/// From when and until when a certificate (PEM) is valid.
pub(super) fn validity(certificate_pem: &str) -> Result<(Timestamp, Timestamp), TlsError> {
    let unreadable = || TlsError::Pem { what: "certificate" };
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| unreadable())?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| unreadable())?;
    let at = |time: &x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let validity = parsed.validity();
    at(&validity.not_before).and_then(|from| Ok((from, at(&validity.not_after)?))).map_err(|_| unreadable())
}

/// The SubjectPublicKeyInfo of each CA (PEM).
pub(super) fn authorities(ca_pem: &str) -> Result<Vec<Vec<u8>>, TlsError> {
    let unreadable = || TlsError::Pem { what: "CA" };
    let ders = CertificateDer::pem_slice_iter(ca_pem.as_bytes());
    let spkis = ders.map(|der| {
        let der = der.map_err(|_| unreadable())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|_| unreadable())?;
        Ok(parsed.public_key().raw.to_vec())
    });
    let spkis: Vec<_> = spkis.collect::<Result<_, TlsError>>()?;
    if spkis.is_empty() { Err(unreadable()) } else { Ok(spkis) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Trusts the chain whose CA has the pinned hash, and nothing else; the rest (names, times, uses, signatures) is
/// checked as for any chain.
struct PinnedCa {
    ca_hash: CaHash,
    provider: Arc<CryptoProvider>,
}

impl PinnedCa {
    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl fmt::Debug for PinnedCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedCa").field("ca_hash", &self.ca_hash).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates.iter().find(|certificate| {
            x509_parser::parse_x509_certificate(certificate)
                .is_ok_and(|(_, parsed)| self.ca_hash.is_of(parsed.public_key().raw))
        });
        let pinned = pinned
            .ok_or_else(|| CertificateError::Other(OtherError(Arc::new(WrongCa))))?
            .clone()
            .into_owned();
        let mut roots = RootCertStore::empty();
        roots.add(pinned)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
