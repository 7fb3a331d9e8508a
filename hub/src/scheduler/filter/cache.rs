//! Whether a cluster holds the model cache that an object runs from.

use crate::fleet::{Capacity, HeldCache};
use crate::need::Need;

/// The ready cache of the object in a cluster, if it has one there.
pub(in crate::scheduler) fn held<'a>(need: &Need, capacity: &'a Capacity) -> Option<&'a HeldCache> {
    let key = need.cache.as_ref()?;
    capacity.caches.iter().find(|held| held.name == key.name && held.namespace == key.namespace)
}
