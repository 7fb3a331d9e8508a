//! Clusters that could have been chosen as well.

use std::sync::Arc;

use crate::fleet::ClusterName;
use crate::index::Bits;

/// Clusters that could take a placement and are not needed, by name. There may be thousands: their names are shared with the
/// fleet.
#[derive(Clone, Debug, Default)]
pub struct Spare {
    names: Arc<[ClusterName]>,
    places: Bits,
}

impl Spare {
    /// Those of the names that are at the places.
    pub(crate) const fn new(names: Arc<[ClusterName]>, places: Bits) -> Self {
        Self { names, places }
    }

    /// Their names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterName> {
        self.places.iter().filter_map(|place| self.names.get(place))
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl PartialEq for Spare {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Spare {}
