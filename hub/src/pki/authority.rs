//! The hub's CA: made once, kept in a Secret, and what it signs.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;

use super::secrets::{SecretError, Secrets};
use crate::fleet::ClusterName;

const NAME: &str = "nimfleet-hub-ca";
const KEY: &str = "tls.key";
const CERTIFICATE: &str = "tls.crt";

/// Life of a spoke's certificate, days: short enough that a lost key ends by itself, long enough that a spoke may be
/// switched off for a quarter.
pub const CERTIFICATE_DAYS: i64 = 90;
/// Life of the CA, days. It is pinned by every spoke, so it outlives them all; the hub's own certificate ends with it
/// and is made anew at every start.
const CA_DAYS: i64 = 3650;
/// A spoke's clock may be behind by this much and still find its certificate valid.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
const IDENTITY: &str = "nimfleet://cluster/";

/// The CA cannot be had, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The Secret could not be read or made.
    #[error("the hub's CA could not be read or stored")]
    Secret(#[from] SecretError),
    /// The Secret's content cannot be used.
    #[error(
        "Secret {NAME}: {problem}; restore it from a backup, or delete it and join every spoke again with a new token"
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

/// The hub's CA with its key.
pub struct Authority {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    spki_hash: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate that was issued to a spoke.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM.
    pub certificate_pem: String,
    /// End of its life.
    pub expires: Timestamp,
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
    /// The CA in the Secret `nimfleet-hub-ca`, which is made where it is missing. Of two hubs that start at once, one
    /// makes it and both use it.
    pub async fn load_or_create(secrets: &impl Secrets, now: Timestamp) -> Result<Self, AuthorityError> {
        if let Some(stored) = secrets.get(NAME).await? {
            return Self::from_data(&stored.data);
        }
        let (data, made) = Self::generate(now)?;
        if secrets.create(NAME, None, data).await? {
            return Ok(made);
        }
        let stored = secrets.get(NAME).await?;
        let stored = stored.ok_or_else(|| content("it was deleted while the hub started"))?;
        Self::from_data(&stored.data)
    }

    fn generate(now: Timestamp) -> Result<(BTreeMap<String, Vec<u8>>, Self), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Signing)?;
        let mut params = params("nimfleet-hub-ca", now, CA_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(AuthorityError::Signing)?;
        let data = BTreeMap::from([
            (KEY.to_owned(), key.serialize_pem().into_bytes()),
            (CERTIFICATE.to_owned(), certificate.pem().into_bytes()),
        ]);
        let made = Self::from_data(&data)?;
        Ok((data, made))
    }

    fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, AuthorityError> {
        let text = |field: &str| {
            let bytes = data.get(field).ok_or_else(|| content(&format!("{field} is missing")))?;
            String::from_utf8(bytes.clone()).map_err(|_| content(&format!("{field} is not PEM")))
        };
        let (key_pem, certificate_pem) = (text(KEY)?, text(CERTIFICATE)?);
        let key = KeyPair::from_pem(&key_pem).map_err(|error| content(&format!("{KEY}: {error}")))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| content(&format!("{CERTIFICATE}: {error}")))?;
        let spki = key.subject_public_key_info();
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|error| content(&format!("{CERTIFICATE}: {error}")))?;
        if parsed.public_key().raw != spki {
            return Err(content("the key is not the certificate's"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|error| content(&format!("{CERTIFICATE}: {error}")))?;
        Ok(Self { certificate, certificate_pem, spki_hash: Sha256::digest(spki).into(), issuer })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// `sha256:` and the hash of the CA's SubjectPublicKeyInfo, as kubeadm writes it: what a spoke pins.
    #[must_use]
    pub fn hash(&self) -> String {
        format!("sha256:{}", hex::encode(self.spki_hash))
    }

    /// A certificate for the hub's own listener, with its key, and the CA behind it. `names` are DNS names and IP
    /// addresses that spokes dial.
    pub fn server_certificate(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Signing)?;
        let mut params = params("nimfleet-hub", now, CA_DAYS);
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

    /// A client certificate for the spoke of a cluster. The name is ours, only the key is the spoke's.
    pub fn issue(
        &self,
        key: &SpokeKey,
        cluster: &ClusterName,
        now: Timestamp,
    ) -> Result<Issued, AuthorityError> {
        let mut params = params(cluster.as_str(), now, CERTIFICATE_DAYS);
        let identity = format!("{IDENTITY}{cluster}").try_into().map_err(AuthorityError::Signing)?;
        params.subject_alt_names = vec![SanType::URI(identity)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key.key, &self.issuer).map_err(AuthorityError::Signing)?;
        Ok(Issued { certificate_pem: certificate.pem(), expires: now + life(CERTIFICATE_DAYS) })
    }
}

/// The cluster that a client certificate names, and when the certificate ends. The caller has verified its chain.
#[must_use]
pub fn identity_of(certificate: &CertificateDer<'_>) -> Option<(ClusterName, Timestamp)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let cluster = names.value.general_names.iter().find_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(IDENTITY)?.parse().ok(),
        _ => None,
    })?;
    Some((cluster, expires))
}

fn content(problem: &str) -> AuthorityError {
    AuthorityError::Content { problem: problem.to_owned() }
}

fn life(days: i64) -> SignedDuration {
    SignedDuration::from_hours(days * 24)
}

fn params(common_name: &str, now: Timestamp, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let since_1970 = |at: Timestamp| Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default());
    let start = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = start + since_1970(now - BACKDATED);
    params.not_after = start + since_1970(now + life(days));
    params.use_authority_key_identifier_extension = true;
    params
}
