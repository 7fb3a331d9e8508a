//! Reads what a spoke's certificate says.

use hub_core::identity::{CaHash, SpokeCertificate};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

/// Before the cluster's name, as a URI of the certificate's SAN.
pub(super) const IDENTITY: &str = "nimfleet://cluster/";
/// Before the uid of the cluster's kube-system namespace, as another one.
pub(super) const UID: &str = "nimfleet://uid/";
/// Before the uid of the GPUCluster that it was issued for, as a third.
pub(super) const OBJECT_UID: &str = "nimfleet://gpucluster/";
/// Reads a certificate that has been verified against `authorities`. `None` if it is not a spoke's.
pub(super) fn spoke_certificate<'a>(
    certificate: &CertificateDer<'_>,
    authorities: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> Option<SpokeCertificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let uri = |prefix: &str| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(prefix).map(str::to_owned),
            _ => None,
        })
    };
    Some(SpokeCertificate {
        cluster: uri(IDENTITY)?.parse().ok()?,
        cluster_uid: uri(UID).filter(|uid| !uid.is_empty()),
        object_uid: uri(OBJECT_UID),
        serial: hex::encode(parsed.raw_serial()),
        authority: authorities.into_iter().find_map(|authority| signer(&parsed, authority))?,
        expires: Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?,
        key_hash: Sha256::digest(parsed.public_key().raw).into(),
    })
}

/// The hash of `authority`, if its key is the one that the certificate says signed it.
fn signer(certificate: &X509Certificate<'_>, authority: &CertificateDer<'_>) -> Option<CaHash> {
    let (_, authority) = x509_parser::parse_x509_certificate(authority).ok()?;
    let named = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0),
        _ => None,
    })?;
    let own = authority.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })?;
    (named == own).then(|| CaHash::of(authority.public_key().raw))
}
