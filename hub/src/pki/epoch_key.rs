//! Keeps the key with which the hub proves its epochs.

use hub_core::identity::EpochKey;

use super::own_secret;
use super::secrets::{SecretError, Secrets};

/// Name of the Secret that keeps the key, in the hub's namespace.
pub const EPOCH_KEY_SECRET: &str = "nimfleet-hub-epoch-key";
/// The field of that Secret.
const KEY: &str = "key";

/// Reads the key, if there is one.
pub async fn load_epoch_key(secrets: &impl Secrets) -> Result<Option<EpochKey>, SecretError> {
    Ok(own_secret::load(secrets, EPOCH_KEY_SECRET, KEY).await?.map(EpochKey::new))
}

/// Reads the key; makes one where there is none. Of two hubs that start at once, one makes it and both use it.
pub async fn load_or_create_epoch_key(secrets: &impl Secrets) -> Result<EpochKey, SecretError> {
    own_secret::load_or_create(secrets, EPOCH_KEY_SECRET, KEY).await.map(EpochKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::secrets::memory::Memory;

    #[tokio::test]
    async fn the_key_is_made_once_and_a_damaged_one_is_not_replaced() {
        let memory = Memory::default();
        assert_eq!(load_epoch_key(&memory).await.unwrap(), None);
        let made = load_or_create_epoch_key(&memory).await.unwrap();
        assert_eq!(load_or_create_epoch_key(&memory).await.unwrap(), made);
        assert_eq!(load_epoch_key(&memory).await.unwrap(), Some(made));
        for damage in [vec![], vec![1; 31]] {
            memory
                .secrets
                .lock()
                .unwrap()
                .get_mut(EPOCH_KEY_SECRET)
                .unwrap()
                .data
                .insert(KEY.to_owned(), damage);
            let error = load_or_create_epoch_key(&memory).await.unwrap_err().to_string();
            assert!(
                error.contains(EPOCH_KEY_SECRET) && error.contains("restore it from a backup"),
                "{error}"
            );
        }
    }
}
