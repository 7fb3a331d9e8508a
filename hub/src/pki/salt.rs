//! What only this hub knows, so that hashes of Secrets tell nothing about what is in them.

use std::collections::BTreeMap;
use std::fmt;

use super::secrets::{SecretError, Secrets};

/// The Secret that keeps it, in the hub's namespace.
const NAME: &str = "nimfleet-hub-salt";
const KEY: &str = "salt";
/// Bytes of a new one: as many as the hash has.
const LENGTH: usize = 32;

/// The hub's salt. Shows nothing of itself.
#[derive(Clone)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// Reads the salt; makes one at the first start of a hub.
    pub async fn load_or_create(secrets: &impl Secrets) -> Result<Self, SecretError> {
        loop {
            if let Some(mut stored) = secrets.get(NAME).await? {
                return Ok(Self(stored.data.remove(KEY).unwrap_or_default()));
            }
            let fresh: [u8; LENGTH] = rand::random();
            // Where another replica was faster, its salt is read.
            if secrets.create(NAME, None, BTreeMap::from([(KEY.to_owned(), fresh.to_vec())])).await? {
                return Ok(Self(fresh.to_vec()));
            }
        }
    }

    /// The salt itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}
