//! Who this spoke is at the moment, kept as it changes: shared by the session that is up and the renewal that follows it.

use std::sync::Arc;

use jiff::Timestamp;
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::enroll::new_key;
use super::identity::{Enrolled, Identity, IdentityError, IdentityStore};
use super::renewal;
use super::tls::{TlsError, authorities, known, mutual, validity};

/// The longest sleep before the clock is looked at again: it may have been set, or the machine been asleep.
const LOOK: std::time::Duration = std::time::Duration::from_mins(1);

/// The identity could not be read, used or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a key could not be made")]
    Key(#[from] rcgen::Error),
}

/// Who this spoke is at the moment.
pub(super) struct Credentials<S> {
    store: S,
    identity: Mutex<Identity>,
    /// When the certificate is to be renewed.
    due: watch::Sender<Timestamp>,
}

impl<S: IdentityStore> Credentials<S> {
    pub(super) async fn load(store: S) -> Result<Self, CredentialsError> {
        let identity = store.load().await?.unwrap_or_default();
        let due = identity.enrolled.as_ref().map(due_of).transpose()?;
        let due = watch::channel(due.unwrap_or(Timestamp::MAX)).0;
        Ok(Self { store, identity: Mutex::new(identity), due })
    }

    /// What this spoke is known by, once it has been enrolled.
    pub(super) async fn enrolled(&self) -> Option<Enrolled> {
        self.identity.lock().await.enrolled.clone()
    }

    /// Whether a token could still be used: one that is not the one which was.
    pub(super) async fn is_fresh(&self, token: &str) -> bool {
        !token.is_empty() && self.identity.lock().await.spent_token.as_deref() != Some(id_of(token))
    }

    /// The key to join with. Kept before it is used: the token is bound to the key by its first use.
    pub(super) async fn joining_key(&self) -> Result<String, CredentialsError> {
        let mut identity = self.identity.lock().await;
        if let Some(key) = &identity.joining_key_pem {
            return Ok(key.clone());
        }
        let key = new_key()?;
        let next = Identity { joining_key_pem: Some(key.clone()), ..identity.clone() };
        self.store.save(&next).await?;
        *identity = next;
        Ok(key)
    }

    /// This is what the spoke is known by from now on; `token` is what it joined with, if it did.
    pub(super) async fn keep(&self, enrolled: Enrolled, token: Option<&str>) -> Result<(), CredentialsError> {
        let due = due_of(&enrolled)?;
        let mut identity = self.identity.lock().await;
        let mut next = Identity { enrolled: Some(enrolled), ..identity.clone() };
        if let Some(token) = token {
            next.joining_key_pem = None;
            next.spent_token = Some(id_of(token).to_owned());
        }
        self.store.save(&next).await?;
        *identity = next;
        self.due.send_replace(due);
        Ok(())
    }

    /// These CAs (PEM) are trusted from now on, and no others; returns what they hash to once that is kept.
    pub(super) async fn trust(&self, ca_pem: &str) -> Result<Vec<String>, CredentialsError> {
        let hashes = hashes(ca_pem)?;
        let mut identity = self.identity.lock().await;
        let mut next = identity.clone();
        if let Some(enrolled) = &mut next.enrolled {
            ca_pem.clone_into(&mut enrolled.ca_pem);
        }
        if next != *identity {
            self.store.save(&next).await?;
            *identity = next;
        }
        Ok(hashes)
    }

    /// What the trusted CAs hash to.
    pub(super) async fn trusted(&self) -> Vec<String> {
        let identity = self.identity.lock().await;
        identity.enrolled.as_ref().and_then(|enrolled| hashes(&enrolled.ca_pem).ok()).unwrap_or_default()
    }

    /// The hub wishes a renewal at a random moment within that many seconds.
    pub(super) fn renew_within(&self, seconds: u32) {
        let wish = renewal::within(Timestamp::now(), seconds, rand::random_range(0.0..1.0));
        self.due.send_modify(|due| *due = wish.min(*due));
    }

    /// Resolves when the certificate is to be renewed.
    pub(super) async fn is_due(&self) {
        let mut due = self.due.subscribe();
        loop {
            let left = due.borrow_and_update().duration_since(Timestamp::now());
            let Some(left) = std::time::Duration::try_from(left).ok().filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::select! {
                () = sleep(left.min(LOOK)) => {}
                // The sender lives as long as this.
                _ = due.changed() => {}
            }
        }
    }
}

impl Enrolled {
    /// TLS by this certificate.
    pub(super) fn mutual(&self) -> Result<Arc<ClientConfig>, TlsError> {
        mutual(&self.key_pem, &self.certificate_pem, &self.ca_pem).map(Arc::new)
    }

    /// TLS by which the hub is known and this spoke does not say who it is.
    pub(super) fn known(&self) -> Result<Arc<ClientConfig>, TlsError> {
        known(&self.ca_pem).map(Arc::new)
    }
}

fn due_of(enrolled: &Enrolled) -> Result<Timestamp, TlsError> {
    let (from, to) = validity(&enrolled.certificate_pem)?;
    Ok(renewal::due(from, to, rand::random_range(0.0..1.0)))
}

/// `sha256:` and the hash of the SubjectPublicKeyInfo of each CA, as the hub writes it.
fn hashes(ca_pem: &str) -> Result<Vec<String>, TlsError> {
    let spkis = authorities(ca_pem)?;
    Ok(spkis.iter().map(|spki| format!("sha256:{}", hex::encode(Sha256::digest(spki)))).collect())
}

/// The public half of a token.
fn id_of(token: &str) -> &str {
    token.split('.').next().unwrap_or_default()
}
