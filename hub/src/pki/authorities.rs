//! The hub's CAs in their Secret: made once, loaded, and led from one to the next.
//!
//! The Secret `nimfleet-hub-ca` holds `tls.key` and `tls.crt` of the CA that signs; `next.key` and `next.crt` while one
//! is introduced; `previous.crt` while one retires; `without`, the clusters that this rollover leaves behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::identity::{CaHash, Member, Stage, awaited};
use hub_scheduler::fleet::ClusterName;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::authority::{Authority, AuthorityError, SECRET, content};
use super::secrets::{Secrets, Stored};
use super::trust::{Other, Trust};

const SIGNER: &str = "tls";
const NEXT: &str = "next";
const PREVIOUS: &str = "previous";
const WITHOUT: &str = "without";

/// The hub's CAs.
pub struct Authorities<S> {
    secrets: S,
    current: watch::Sender<Arc<Trust>>,
}

/// What asking for a rollover came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// A new CA is being introduced.
    Began(CaHash),
    /// One was under way already; `without` has been added to it.
    UnderWay(CaHash),
}

impl<S: Secrets> Authorities<S> {
    /// Name of the Secret that keeps them, in the hub's namespace.
    pub const SECRET: &str = SECRET;

    /// The CAs in the Secret; a first one, which lives for `life`, where it is missing. Of two hubs that start at once,
    /// one makes it and both use it.
    pub async fn load_or_create(
        secrets: S,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Self, AuthorityError> {
        let trust = if let Some(stored) = secrets.get(SECRET).await? {
            read(&stored)?
        } else {
            let made = Trust::only(Authority::generate("nimfleet-hub-ca", now, life)?);
            if secrets.create(SECRET, None, data(&made)).await? {
                made
            } else {
                read(&Self::stored(&secrets).await?)?
            }
        };
        Ok(Self { secrets, current: watch::channel(Arc::new(trust)).0 })
    }

    /// The CAs now.
    #[must_use]
    pub fn current(&self) -> Arc<Trust> {
        self.current.borrow().clone()
    }

    /// The CAs as they change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Trust>> {
        self.current.subscribe()
    }

    /// Reads what another process may have changed.
    pub async fn refresh(&self) -> Result<(), AuthorityError> {
        let stored = Self::stored(&self.secrets).await?;
        self.take(read(&stored)?);
        Ok(())
    }

    /// Begins a rollover to a new CA, which lives for `life`. One that is under way goes on; either way `without` are
    /// left behind. Another begins only when the last one is over.
    pub async fn rotate(
        &self,
        now: Timestamp,
        life: SignedDuration,
        without: &[ClusterName],
    ) -> Result<Rotation, AuthorityError> {
        let stored = Self::stored(&self.secrets).await?;
        let mut trust = read(&stored)?;
        trust.without.extend(without.iter().cloned());
        trust.without.sort();
        trust.without.dedup();
        let rotation = if trust.stage == Stage::Stable {
            let next = Authority::generate(&format!("nimfleet-hub-ca {}", now.as_second()), now, life)?;
            let other = Other::of(&next, Some(next.key_pem().to_owned()));
            trust = Trust { stage: Stage::Introducing, other: Some(other), ..trust };
            Rotation::Began(next.hash().clone())
        } else {
            Rotation::UnderWay(trust.coming().clone())
        };
        self.write(&stored, trust).await?;
        Ok(rotation)
    }

    /// Takes the next step of a rollover unless it has to wait for a member; gives the stage that was reached.
    pub async fn advance(&self, members: &[Member]) -> Result<Option<Stage>, AuthorityError> {
        let stored = Self::stored(&self.secrets).await?;
        let trust = read(&stored)?;
        if !awaited(trust.stage, trust.coming(), members, &trust.without).is_empty() {
            return Ok(None);
        }
        let next = match (trust.stage, &trust.other) {
            (Stage::Introducing, Some(Other { key_pem: Some(key_pem), certificate_pem, .. })) => {
                let other = Other::of(&trust.signer, None);
                let signer = Arc::new(Authority::from_pem(key_pem, certificate_pem, NEXT)?);
                Trust { stage: Stage::Retiring, signer, other: Some(other), without: trust.without }
            }
            (Stage::Retiring, _) => {
                Trust { stage: Stage::Stable, signer: trust.signer, other: None, without: Vec::new() }
            }
            _ => return Ok(None),
        };
        let stage = next.stage;
        self.write(&stored, next).await?;
        Ok(Some(stage))
    }

    async fn stored(secrets: &S) -> Result<Stored, AuthorityError> {
        secrets.get(SECRET).await?.ok_or_else(|| content("it was deleted while the hub worked with it"))
    }

    async fn write(&self, old: &Stored, trust: Trust) -> Result<(), AuthorityError> {
        if self.secrets.update(old, None, data(&trust)).await? {
            self.take(trust);
            return Ok(());
        }
        Err(content("it was changed by another process at this moment: try again"))
    }

    fn take(&self, trust: Trust) {
        self.current.send_if_modified(|current| {
            let is_new = data(current) != data(&trust);
            if is_new {
                *current = Arc::new(trust);
            }
            is_new
        });
    }
}

impl Other {
    fn of(authority: &Authority, key_pem: Option<String>) -> Self {
        Self {
            certificate: authority.certificate().clone(),
            certificate_pem: authority.certificate_pem().to_owned(),
            hash: authority.hash().clone(),
            key_pem,
        }
    }
}

fn data(trust: &Trust) -> BTreeMap<String, Vec<u8>> {
    let Trust { signer, other, without, .. } = trust;
    let mut data = BTreeMap::from([
        (format!("{SIGNER}.key"), signer.key_pem().as_bytes().to_vec()),
        (format!("{SIGNER}.crt"), signer.certificate_pem().as_bytes().to_vec()),
    ]);
    if let Some(Other { certificate_pem, key_pem, .. }) = other {
        let field = if key_pem.is_some() { NEXT } else { PREVIOUS };
        data.insert(format!("{field}.crt"), certificate_pem.as_bytes().to_vec());
        if let Some(key_pem) = key_pem {
            data.insert(format!("{field}.key"), key_pem.as_bytes().to_vec());
        }
    }
    if !without.is_empty() {
        let names: Vec<_> = without.iter().map(ClusterName::as_str).collect();
        data.insert(WITHOUT.to_owned(), names.join(",").into_bytes());
    }
    data
}

fn read(stored: &Stored) -> Result<Trust, AuthorityError> {
    let text = |field: &str| {
        let bytes = stored.data.get(field).ok_or_else(|| content(&format!("{field} is missing")))?;
        String::from_utf8(bytes.clone()).map_err(|_| content(&format!("{field} is not text")))
    };
    let authority = |field: &str| {
        Authority::from_pem(&text(&format!("{field}.key"))?, &text(&format!("{field}.crt"))?, field)
    };
    let mut trust = Trust::only(authority(SIGNER)?);
    if stored.data.contains_key(&format!("{NEXT}.key")) {
        let next = authority(NEXT)?;
        trust.other = Some(Other::of(&next, Some(next.key_pem().to_owned())));
        trust.stage = Stage::Introducing;
    } else if stored.data.contains_key(&format!("{PREVIOUS}.crt")) {
        trust.other = Some(Other::of_pem(&text(&format!("{PREVIOUS}.crt"))?)?);
        trust.stage = Stage::Retiring;
    }
    if stored.data.contains_key(WITHOUT) {
        trust.without = text(WITHOUT)?.split(',').filter_map(|name| name.parse().ok()).collect();
    }
    Ok(trust)
}

impl Other {
    fn of_pem(certificate_pem: &str) -> Result<Self, AuthorityError> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let unusable = |error: &dyn std::fmt::Display| content(&format!("{PREVIOUS}.crt: {error}"));
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|error| unusable(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|error| unusable(&error))?;
        let hash = CaHash::of(parsed.public_key().raw);
        Ok(Self { certificate, certificate_pem: certificate_pem.to_owned(), hash, key_pem: None })
    }
}

#[cfg(test)]
mod tests;
