//! What an agent process knows of the epoch that is stored in its cluster.

use spoke::deliver::Epoch;

use super::kube::Kube;

/// What is known of the stored epoch.
pub(super) enum Known {
    /// It has to be read.
    Nothing,
    /// It is this; none when no hub has been accepted yet.
    Stored(Option<Epoch>),
}

impl Known {
    /// The stored epoch, read if it has to be.
    pub(super) fn get(&mut self, kube: &Kube) -> Option<Epoch> {
        if let Self::Stored(epoch) = self {
            return epoch.clone();
        }
        *self = Self::Stored(kube.epoch.clone());
        kube.epoch.clone()
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}
