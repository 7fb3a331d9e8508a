//! Join tokens as Secrets: made by the admin, used by one spoke.

use std::collections::BTreeMap;

use hub_scheduler::fleet::ClusterName;
use jiff::{SignedDuration, Timestamp};

use super::authority::{AuthorityError, SpokeKey};
use super::secrets::{SecretError, Secrets, Stored};
use super::token::{Token, TokenRecord, TokenRefused, check};

/// Life of a token where the admin says nothing.
pub const DEFAULT_TTL: SignedDuration = SignedDuration::from_hours(1);

const PREFIX: &str = "nimfleet-join-";
const LABEL: (&str, &str) = ("nimfleet.io/join-token", "true");
const DIGEST: &str = "tokenSHA256";
const CLUSTER: &str = "cluster";
const EXPIRES: &str = "expires";
const USED_BY: &str = "usedBy";
const ISSUED: &str = "issued";

/// A used token is kept this long after its end, so that a spoke that still waits for the admin can come again.
const KEPT_AFTER_USE: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Two spokes with one token and one of them slow: more than a few tries are not needed to see who was first.
const ATTEMPTS: u32 = 5;

/// A token could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// It does not let the spoke in.
    #[error(transparent)]
    Refused(#[from] TokenRefused),
    /// The Secret could not be read or written. Try again.
    #[error("the join token could not be read or stored")]
    Secret(#[from] SecretError),
    /// The request cannot be used.
    #[error(transparent)]
    Request(#[from] AuthorityError),
    /// The Secret changed again and again while it was used. Try again.
    #[error("the join token {id} is used by several spokes at once: run one spoke per cluster")]
    Contended {
        /// Public half.
        id: String,
    },
    /// No life at all.
    #[error("token life {ttl}: must be more than zero, for example 1h")]
    Ttl {
        /// What was asked.
        ttl: SignedDuration,
    },
}

/// The hub's join tokens.
#[derive(Clone, Debug)]
pub struct Tokens<S> {
    secrets: S,
}

impl<S: Secrets> Tokens<S> {
    /// Tokens kept among those Secrets.
    pub fn new(secrets: S) -> Self {
        Self { secrets }
    }

    /// Makes a token for one cluster.
    pub async fn create(
        &self,
        cluster: &ClusterName,
        ttl: SignedDuration,
        now: Timestamp,
    ) -> Result<Token, JoinError> {
        if ttl <= SignedDuration::ZERO {
            return Err(JoinError::Ttl { ttl });
        }
        let expires = now.checked_add(ttl).map_err(|_| JoinError::Ttl { ttl })?;
        loop {
            let token = Token::from_random(|| rand::random_range(0..36));
            let record = TokenRecord {
                digest: token.digest(),
                cluster: cluster.clone(),
                expires,
                used_by: None,
                issued: None,
            };
            // An id that is taken is not an error, only a reason to draw again.
            if self.secrets.create(&secret_name(&token), Some(LABEL), data(&record)).await? {
                return Ok(token);
            }
        }
    }

    /// Uses a token: binds it to the spoke's key, or finds it bound to that key already. Gives the certificate (PEM) for which
    /// it is spent, if it is.
    pub async fn redeem(
        &self,
        token: &str,
        cluster: &ClusterName,
        key: &SpokeKey,
        now: Timestamp,
    ) -> Result<Option<String>, JoinError> {
        let bind = |record: &TokenRecord| record.used_by.is_none().then(|| record.clone());
        self.change(token, cluster, key, now, bind).await
    }

    /// Spends a token for a certificate (PEM), which may be given out once this has returned `None`. One that is spent already
    /// stays so for the certificate that is returned.
    pub async fn spend(
        &self,
        token: &str,
        cluster: &ClusterName,
        key: &SpokeKey,
        certificate_pem: &str,
        now: Timestamp,
    ) -> Result<Option<String>, JoinError> {
        let spend = |record: &TokenRecord| {
            let issued = Some(certificate_pem.to_owned());
            record.issued.is_none().then(|| TokenRecord { issued, ..record.clone() })
        };
        self.change(token, cluster, key, now, spend).await
    }

    /// Stores what `change` makes of the record, bound to the key; where that is nothing, gives the certificate of the record.
    async fn change(
        &self,
        token: &str,
        cluster: &ClusterName,
        key: &SpokeKey,
        now: Timestamp,
        change: impl Fn(&TokenRecord) -> Option<TokenRecord>,
    ) -> Result<Option<String>, JoinError> {
        let token: Token = token.parse()?;
        let key = key.hash();
        for _ in 0..ATTEMPTS {
            let stored = self.secrets.get(&secret_name(&token)).await?.ok_or(TokenRefused::Wrong)?;
            let record = read(&stored).ok_or(TokenRefused::Wrong)?;
            check(&record, &token, cluster, &key, now)?;
            let Some(next) = change(&record) else { return Ok(record.issued) };
            let next = data(&TokenRecord { used_by: Some(key), ..next });
            if self.secrets.update(&stored, Some(LABEL), next).await? {
                return Ok(None);
            }
        }
        Err(JoinError::Contended { id: token.id().to_owned() })
    }

    /// Clears away the tokens that nobody can use any more. The leader does so now and then; whoever makes a token looks at no
    /// other.
    pub(crate) async fn clear(&self, now: Timestamp) -> Result<(), JoinError> {
        for stored in self.secrets.list(LABEL).await? {
            // What cannot be read was not made by us and stays.
            let Some(record) = read(&stored) else { continue };
            let kept = if record.used_by.is_some() { KEPT_AFTER_USE } else { SignedDuration::ZERO };
            if now.duration_since(record.expires) > kept {
                self.secrets.delete(&stored.name).await?;
            }
        }
        Ok(())
    }
}

fn secret_name(token: &Token) -> String {
    format!("{PREFIX}{}", token.id())
}

fn data(record: &TokenRecord) -> BTreeMap<String, Vec<u8>> {
    let TokenRecord { digest, cluster, expires, used_by, issued } = record;
    let mut data = BTreeMap::from([
        (DIGEST.to_owned(), hex::encode(digest).into_bytes()),
        (CLUSTER.to_owned(), cluster.as_str().as_bytes().to_vec()),
        (EXPIRES.to_owned(), expires.to_string().into_bytes()),
    ]);
    if let Some(key) = used_by {
        data.insert(USED_BY.to_owned(), hex::encode(key).into_bytes());
    }
    if let Some(certificate_pem) = issued {
        data.insert(ISSUED.to_owned(), certificate_pem.as_bytes().to_vec());
    }
    data
}

fn read(stored: &Stored) -> Option<TokenRecord> {
    let text = |field: &str| std::str::from_utf8(stored.data.get(field)?).ok();
    let hash = |field: &str| {
        let mut hash = [0; 32];
        hex::decode_to_slice(text(field)?, &mut hash).ok().map(|()| hash)
    };
    // Unreadable is not unused.
    let used_by = if stored.data.contains_key(USED_BY) { Some(hash(USED_BY)?) } else { None };
    let issued = if stored.data.contains_key(ISSUED) { Some(text(ISSUED)?.to_owned()) } else { None };
    Some(TokenRecord {
        digest: hash(DIGEST)?,
        cluster: text(CLUSTER)?.parse().ok()?,
        expires: text(EXPIRES)?.parse().ok()?,
        used_by,
        issued,
    })
}

#[cfg(test)]
mod tests;
