//! The keys of a fleet's control planes: one authority, one serving certificate for every server on loopback, the client
//! certificate by which API servers speak for users, and the key that signs service account tokens.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Common name of the certificate by which API servers speak for users.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// Keys or certificates could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The cryptography failed.
    #[error("making a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Files with the keys.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) certificate: PathBuf,
    pub(crate) serving_certificate: PathBuf,
    pub(crate) serving_key: PathBuf,
    pub(crate) proxy_certificate: PathBuf,
    pub(crate) proxy_key: PathBuf,
    pub(crate) account_key: PathBuf,
    pub(crate) account_public_key: PathBuf,
}

impl Authority {
    pub(crate) fn create(folder: &Path) -> Result<Self, AuthorityError> {
        let (certificate_pem, issuer) = root("e2e")?;
        let serving = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(String::from);
        let serving_certificate = CertificateParams::new(names)?.signed_by(&serving, &issuer)?;
        let proxy = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, FRONT_PROXY);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let proxy_certificate = params.signed_by(&proxy, &issuer)?;
        let account = KeyPair::generate()?;
        Ok(Self {
            certificate: keep(folder, "ca.crt", &certificate_pem)?,
            serving_certificate: keep(folder, "serving.crt", &serving_certificate.pem())?,
            serving_key: keep(folder, "serving.key", &serving.serialize_pem())?,
            proxy_certificate: keep(folder, "front-proxy.crt", &proxy_certificate.pem())?,
            proxy_key: keep(folder, "front-proxy.key", &proxy.serialize_pem())?,
            account_key: keep(folder, "account.key", &account.serialize_pem())?,
            account_public_key: keep(folder, "account.pub", &account.public_key_pem())?,
        })
    }
}

/// A new authority of that name: its certificate as PEM, and what it signs with.
pub(crate) fn root(name: &str) -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key)?.pem();
    Ok((certificate, Issuer::new(params, key)))
}

/// Writes a key or certificate into `folder`.
pub(crate) fn keep(folder: &Path, name: &str, pem: &str) -> Result<PathBuf, AuthorityError> {
    let path = folder.join(name);
    match fs::write(&path, pem) {
        Ok(()) => Ok(path),
        Err(source) => Err(AuthorityError::Io { path, source }),
    }
}
