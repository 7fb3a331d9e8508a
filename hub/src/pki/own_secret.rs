//! Secrets of the hub's own that hold one random value of 32 bytes each: the salt, and the key for epochs.

use std::collections::BTreeMap;

use super::secrets::{SecretError, Secrets, Stored};

/// Bytes of a value: as many as SHA-256 gives.
const LENGTH: usize = 32;

/// The value under `field` of the Secret `name`, if the Secret is there. One of another length is an error: to make it anew
/// would lose what a backup may still hold.
pub(super) async fn load(
    secrets: &impl Secrets,
    name: &str,
    field: &'static str,
) -> Result<Option<[u8; LENGTH]>, SecretError> {
    secrets.get(name).await?.map(|stored| value(&stored, field)).transpose()
}

/// The same; made where the Secret is missing. Of two hubs that start at once, one makes it and both use it.
pub(super) async fn load_or_create(
    secrets: &impl Secrets,
    name: &str,
    field: &'static str,
) -> Result<[u8; LENGTH], SecretError> {
    loop {
        if let Some(found) = load(secrets, name, field).await? {
            return Ok(found);
        }
        let fresh: [u8; LENGTH] = rand::random();
        // Where another replica was faster, its value is read.
        if secrets.create(name, None, BTreeMap::from([(field.to_owned(), fresh.to_vec())])).await? {
            return Ok(fresh);
        }
    }
}

fn value(stored: &Stored, field: &'static str) -> Result<[u8; LENGTH], SecretError> {
    let found = stored.data.get(field).map_or(&[][..], Vec::as_slice);
    found.try_into().map_err(|_| SecretError::Content {
        name: stored.name.clone(),
        field,
        length: found.len(),
        expected: LENGTH,
    })
}
