//! What every cluster shall hold: written by controllers, read by sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::mailbox::Mailbox;
use super::object::{DesiredObject, GoAwayReason, HeldBack, Removal};
use crate::fleet::ClusterName;

/// What every cluster shall hold. Cheap to clone; all clones are one.
///
/// Memory is bounded by distinct objects, never by the number of changes: the latest wins per uid.
#[derive(Clone, Debug, Default)]
pub struct Fleetbox {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    mailboxes: Mutex<HashMap<ClusterName, Arc<Mailbox>>>,
    connected: Arc<AtomicUsize>,
    open: watch::Sender<bool>,
}

impl Fleetbox {
    /// The cluster shall hold this object. The same hash again has no effect.
    pub fn set_desired(&self, cluster: &ClusterName, object: DesiredObject) {
        self.mailbox(cluster).set_desired(object);
    }

    /// The cluster shall hold this object no longer: a tombstone is sent until the spoke says Gone.
    pub fn set_removal(&self, cluster: &ClusterName, removal: Removal) {
        self.mailbox(cluster).set_removal(removal);
    }

    /// The object is neither wanted nor to be removed: nothing is sent.
    pub fn forget(&self, cluster: &ClusterName, uid: &str) {
        self.mailbox(cluster).forget(uid);
    }

    /// The removals that a cluster's spoke holds back until the admin has confirmed them, by uid.
    #[must_use]
    pub fn held_back(&self, cluster: &ClusterName) -> Vec<HeldBack> {
        self.known(cluster).map(|mailbox| mailbox.held_back()).unwrap_or_default()
    }

    /// The admin has confirmed what a cluster's spoke holds back: it is told so. How many removals that is.
    #[must_use]
    pub fn confirm_held_back(&self, cluster: &ClusterName) -> usize {
        self.known(cluster).map_or(0, |mailbox| mailbox.confirm_held_back())
    }

    /// Of how many clusters something is known here.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.shared.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Lets spokes in. To be called once the hub has read its own state and filled the box: until then every
    /// spoke is told to come again.
    pub fn open(&self) {
        self.shared.open.send_replace(true);
    }

    /// Whether spokes are let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.shared.open.borrow()
    }

    /// Ends the session of a cluster, if there is one.
    pub fn disconnect(&self, cluster: &ClusterName, reason: GoAwayReason, message: &str) {
        self.mailbox(cluster).disconnect(reason, message);
    }

    /// How many clusters have a session that is up now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }

    fn known(&self, cluster: &ClusterName) -> Option<Arc<Mailbox>> {
        self.shared.mailboxes.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }

    pub(super) fn mailbox(&self, cluster: &ClusterName) -> Arc<Mailbox> {
        let mut mailboxes = self.shared.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Mailbox::new(self.shared.connected.clone()));
        mailboxes.entry(cluster.clone()).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::message::Instance;

    #[test]
    fn each_cluster_that_somebody_speaks_for_counts_once() {
        let (fleetbox, instance) = (Fleetbox::default(), Instance { id: "i".to_owned(), started_ms: 1 });
        let claim = |name: &str| fleetbox.mailbox(&name.parse().unwrap()).claim(&instance);
        let (east, west) = (claim("east"), claim("west"));
        assert_eq!(fleetbox.connected(), 2);
        let newer = claim("east");
        assert_eq!(fleetbox.connected(), 2, "it has another's seat");
        drop(east);
        assert_eq!(fleetbox.connected(), 2, "who has lost the seat does not give it back");
        drop((newer, west));
        assert_eq!(fleetbox.connected(), 0);
    }
}
