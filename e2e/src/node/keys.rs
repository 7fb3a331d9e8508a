//! Keys and certificates of one cluster on a real node: its authority, its API server, its kubelet and who speaks for users.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};

use super::settings::Settings;
use crate::cluster::authority::{FRONT_PROXY, keep, root};
use crate::failure::Failure;

/// A certificate and its key.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Files with the keys.
pub(super) struct Keys {
    pub(super) authority: PathBuf,
    pub(super) api_server: Pair,
    pub(super) api_server_as_client: Pair,
    pub(super) front_proxy: Pair,
    pub(super) kubelet: Pair,
    pub(super) account_key: PathBuf,
    pub(super) account_public_key: PathBuf,
}

impl Keys {
    pub(super) fn create(folder: &Path, settings: &Settings) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let (certificate, issuer) = root("node")?;
        let authority = keep(folder, "ca.crt", &certificate)?;
        let pair = |file: &str, name: &str, group: &str, names: &[&str]| -> Result<Pair, Failure> {
            let key = KeyPair::generate()?;
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names)?;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, name);
            if !group.is_empty() {
                params.distinguished_name.push(DnType::OrganizationName, group);
            }
            let certificate = params.signed_by(&key, &issuer)?;
            Ok(Pair {
                certificate: keep(folder, &format!("{file}.crt"), &certificate.pem())?,
                key: keep(folder, &format!("{file}.key"), &key.serialize_pem())?,
            })
        };
        let Settings { name, address, .. } = settings;
        let api = settings.service_address(1);
        let serving = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
            "127.0.0.1",
            address,
            &api,
        ];
        let account = KeyPair::generate()?;
        Ok(Self {
            authority,
            api_server: pair("api-server", "kube-apiserver", "", &serving)?,
            api_server_as_client: pair(
                "api-server-client",
                "kube-apiserver-kubelet-client",
                "system:masters",
                &[],
            )?,
            front_proxy: pair("front-proxy", FRONT_PROXY, "", &[])?,
            kubelet: pair("kubelet", &format!("system:node:{name}"), "system:nodes", &[name, address])?,
            account_key: keep(folder, "account.key", &account.serialize_pem())?,
            account_public_key: keep(folder, "account.pub", &account.public_key_pem())?,
        })
    }
}
