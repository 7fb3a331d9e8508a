//! What only this hub knows, so that hashes of Secrets tell nothing about what is in them.

use std::fmt;

use super::own_secret;
use super::secrets::{SecretError, Secrets};

const KEY: &str = "salt";

/// The hub's salt. Shows nothing of itself.
#[derive(Clone)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Name of the Secret that keeps it, in the hub's namespace.
    pub const SECRET: &str = "nimfleet-hub-salt";

    /// Reads the salt; makes one where there is none.
    pub async fn load_or_create(secrets: &impl Secrets) -> Result<Self, SecretError> {
        own_secret::load_or_create(secrets, Self::SECRET, KEY).await.map(Self)
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
