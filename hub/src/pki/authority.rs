//! One CA of the hub, with its key, and what it signs.

use std::time::Duration;

use hub_core::identity::{CaHash, Family, SpokeCertificate};
use hub_scheduler::fleet::ClusterName;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};

use super::certificate::{IDENTITY, OBJECT_UID, UID, spoke_certificate};
use super::secrets::SecretError;

/// Name of the Secret that holds the hub's CA.
pub(super) const SECRET: &str = "nimfleet-hub-ca";

/// Life of a spoke's certificate where the admin says nothing: short enough that a lost key ends by itself; and since
/// it is renewed at two thirds, a hub may be away for a day before any ends.
pub const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(72);
/// Life of the CA where the admin says nothing: ten years. The hub's own certificate ends with it and is made anew at
/// every start.
pub const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(24 * 3650);
/// A spoke's clock may be behind by this much and still find its certificate valid; a quarter of the life, if that is
/// shorter.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// A CA cannot be had, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The Secret could not be read or made.
    #[error("the hub's CA could not be read or stored")]
    Secret(#[from] SecretError),
    /// The Secret's content cannot be used.
    #[error(
        "Secret {SECRET}: {problem}; restore it from a backup, or delete it, start the hub with --begin-anew=ca and join \
         every spoke again with a new token"
    )]
    Content {
        /// What is wrong.
        problem: String,
    },
    /// A name for the hub's own certificate cannot be used.
    #[error("server name {name:?} is neither a DNS name nor an IP address: correct --advertise")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The request of a spoke cannot be used.
    #[error("the certificate request cannot be used: send a PKCS#10 request, PEM, with an ECDSA P-256 key")]
    Request(#[source] rcgen::Error),
    /// Signing failed.
    #[error("a certificate could not be signed")]
    Signing(#[source] rcgen::Error),
}

/// A CA with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key_pem: String,
    hash: CaHash,
    expires: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was issued to a spoke.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM.
    pub certificate_pem: String,
    /// What it says.
    pub certificate: SpokeCertificate,
}

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The cluster it names.
    pub cluster: &'a ClusterName,
    /// `metadata.uid` of the cluster's kube-system namespace.
    pub cluster_uid: &'a str,
    /// `metadata.uid` of its GPUCluster: the certificate is void when another one has the name.
    pub object_uid: &'a str,
    /// What all certificates share that follow from one another.
    pub family: Family,
}

/// The public key of a spoke, taken from its request, whose signature has been checked.
#[derive(Debug)]
pub struct SpokeKey {
    key: rcgen::PublicKey,
}

impl SpokeKey {
    /// Takes the key of a PKCS#10 request (PEM); whatever else the request asks for is ignored.
    pub fn of_request(csr_pem: &str) -> Result<Self, AuthorityError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(AuthorityError::Request)?;
        Ok(Self { key: request.public_key })
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.key.subject_public_key_info()).into()
    }
}

impl Authority {
    /// A new CA, valid from now on for `life`. `common_name` tells it from others in what people's tools print.
    pub fn generate(common_name: &str, now: Timestamp, life: SignedDuration) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Signing)?;
        let mut params = params(common_name, now, now + life);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Signing)?;
        Self::from_pem(&key.serialize_pem(), &certificate.pem(), "")
    }

    /// The CA of a key and a certificate that were stored; `field` is what errors call them.
    pub(super) fn from_pem(
        key_pem: &str,
        certificate_pem: &str,
        field: &str,
    ) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem).map_err(|error| content(&format!("{field}.key: {error}")))?;
        let unusable = |error: &dyn std::fmt::Display| content(&format!("{field}.crt: {error}"));
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| unusable(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|error| unusable(&error))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(content(&format!("{field}.key is not the certificate's")));
        }
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp())
            .map_err(|error| unusable(&error))?;
        let hash = CaHash::of(parsed.public_key().raw);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| unusable(&error))?;
        let (certificate_pem, key_pem) = (certificate_pem.to_owned(), key_pem.to_owned());
        Ok(Self { certificate, certificate_pem, key_pem, hash, expires, issuer })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's key, PEM: for the Secret alone.
    pub(super) fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The CA's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a spoke pins.
    #[must_use]
    pub fn hash(&self) -> &CaHash {
        &self.hash
    }

    /// End of its life.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// A certificate for the hub's own listener, with its key, and the CA behind it. `names` are DNS names and IP
    /// addresses that spokes dial.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Signing)?;
        let mut params = params("nimfleet-hub", now, self.expires);
        for name in names {
            let san = match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(
                    name.clone().try_into().map_err(|_| AuthorityError::ServerName { name: name.clone() })?,
                ),
            };
            params.subject_alt_names.push(san);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Signing)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![leaf.into(), self.certificate.clone()], key))
    }

    /// A client certificate for the spoke of a cluster, valid for `life`, but no longer than the CA itself. The name is
    /// ours, only the key is the spoke's. `number` is random: with the family it makes the serial number.
    pub fn issue(
        &self,
        key: &SpokeKey,
        subject: &Subject<'_>,
        number: u64,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, AuthorityError> {
        let Subject { cluster, cluster_uid, object_uid, family } = subject;
        let mut params = params(cluster.as_str(), now, (now + life).min(self.expires));
        params.serial_number = Some(SerialNumber::from_slice(&family.serial(number)));
        let uri = |text: String| text.try_into().map(SanType::URI).map_err(AuthorityError::Signing);
        params.subject_alt_names = vec![
            uri(format!("{IDENTITY}{cluster}"))?,
            uri(format!("{UID}{cluster_uid}"))?,
            uri(format!("{OBJECT_UID}{object_uid}"))?,
        ];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&key.key, &self.issuer).map_err(AuthorityError::Signing)?;
        let certificate = spoke_certificate(signed.der(), [&self.certificate])
            .ok_or_else(|| content("it signs what it cannot read"))?;
        Ok(Issued { certificate_pem: signed.pem(), certificate })
    }
}

pub(super) fn content(problem: &str) -> AuthorityError {
    AuthorityError::Content { problem: problem.to_owned() }
}

fn params(common_name: &str, now: Timestamp, end: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let since_1970 = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let backdated = (end.duration_since(now) / 4).min(BACKDATED);
    params.not_before = start + since_1970(now - backdated);
    params.not_after = start + since_1970(end);
    params.use_authority_key_identifier_extension = true;
    params
}
