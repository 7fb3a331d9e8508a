//! What every cluster shall hold, behind locks: written by controllers, read by sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hub_core::link::{ClusterLink, DesiredObject, GoAwayReason, HeldBack, LinkChange, Removal, TokenBucket};
use hub_scheduler::fleet::ClusterName;
use tokio::sync::{Mutex as AsyncMutex, watch};

/// Attempts to connect that one cluster may make per second, and at once: many more than a spoke makes that waits as it should.
const ATTEMPTS: (u32, u32) = (5, 50);
/// How late a spoke may be for its admission slot; a spoke that is later gets another one.
const LATE: Duration = Duration::from_secs(10);

/// What every cluster shall hold. Cheap to clone; all clones are one.
///
/// Memory is bounded by distinct objects, never by the number of changes: the latest wins per uid.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    links: Mutex<HashMap<ClusterName, Arc<SharedLink>>>,
    connected: Arc<AtomicUsize>,
    is_open: AtomicBool,
}

/// The link of one cluster behind its lock, with what its sessions wait for.
#[derive(Debug)]
pub(super) struct SharedLink {
    link: Mutex<ClusterLink>,
    /// [`ClusterLink::revision`].
    revision: watch::Sender<u64>,
    slots: Mutex<AdmissionSlots>,
    /// Held while a session reports that it is up or over, so that two sessions of a cluster report in the order of their leases.
    reporting: AsyncMutex<()>,
    /// Of all clusters: how many have a session that holds the lease.
    connected: Arc<AtomicUsize>,
}

/// How often the spokes of one cluster may try to connect, and when the next one is expected.
#[derive(Debug)]
struct AdmissionSlots {
    attempts: TokenBucket,
    slot: Option<Instant>,
}

impl DesiredState {
    /// Makes a change of what a cluster shall hold.
    pub fn apply(&self, cluster: &ClusterName, change: LinkChange) {
        self.link(cluster).with(|link| link.apply(change));
    }

    /// The cluster shall hold this object. The same hash again has no effect.
    pub fn set_desired(&self, cluster: &ClusterName, object: DesiredObject) {
        self.link(cluster).with(|link| link.set_desired(object));
    }

    /// The cluster shall hold this object no longer: a tombstone is sent until the spoke says Gone.
    pub fn set_removal(&self, cluster: &ClusterName, removal: Removal) {
        self.link(cluster).with(|link| link.set_removal(removal));
    }

    /// The object is neither wanted nor to be removed: nothing is sent.
    pub fn forget(&self, cluster: &ClusterName, uid: &str) {
        self.link(cluster).with(|link| link.forget(uid));
    }

    /// The removals that a cluster's spoke holds back until the admin has confirmed them, by uid.
    #[must_use]
    pub fn held_back(&self, cluster: &ClusterName) -> Vec<HeldBack> {
        self.known(cluster).map(|link| link.with(|link| link.held_back())).unwrap_or_default()
    }

    /// The admin has confirmed the removals that a cluster's spoke holds back. How many removals that is.
    #[must_use]
    pub fn confirm_held_back(&self, cluster: &ClusterName) -> usize {
        self.known(cluster).map_or(0, |link| link.with(ClusterLink::confirm_held_back))
    }

    /// Of how many clusters something is known here.
    #[must_use]
    pub fn clusters(&self) -> usize {
        self.links().len()
    }

    /// Admits spokes. To be called once the hub has read its own state and filled in what clusters shall hold: until then every
    /// spoke is told to dial again.
    pub fn open(&self) {
        self.shared.is_open.store(true, Ordering::Release);
    }

    /// Whether spokes are admitted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open.load(Ordering::Acquire)
    }

    /// Ends the session of a cluster, if there is one.
    pub fn disconnect(&self, cluster: &ClusterName, reason: GoAwayReason, message: &str) {
        self.link(cluster).with(|link| link.disconnect(reason, message));
    }

    /// How many clusters have a session that is up now.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.shared.connected.load(Ordering::Relaxed)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<ClusterName, Arc<SharedLink>>> {
        self.shared.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, cluster: &ClusterName) -> Option<Arc<SharedLink>> {
        self.links().get(cluster).cloned()
    }

    pub(super) fn link(&self, cluster: &ClusterName) -> Arc<SharedLink> {
        let new = || Arc::new(SharedLink::new(self.shared.connected.clone()));
        self.links().entry(cluster.clone()).or_insert_with(new).clone()
    }
}

impl SharedLink {
    fn new(connected: Arc<AtomicUsize>) -> Self {
        let attempts = TokenBucket::new(ATTEMPTS.0, ATTEMPTS.1);
        Self {
            link: Mutex::default(),
            revision: watch::Sender::new(0),
            slots: Mutex::new(AdmissionSlots { attempts, slot: None }),
            reporting: AsyncMutex::default(),
            connected,
        }
    }

    /// Looks at the link, or changes it, and wakes the sessions that a change concerns. Not to be called from within.
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut ClusterLink) -> T) -> T {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let was_held = link.is_held();
        let result = look(&mut link);
        match (was_held, link.is_held()) {
            (false, true) => drop(self.connected.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.connected.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        let revision = link.revision();
        self.revision.send_if_modified(|known| {
            let is_news = *known != revision;
            *known = revision;
            is_news
        });
        result
    }

    /// Resolves when the link's revision grows.
    pub(super) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Whether one more attempt to connect is taken now.
    pub(super) fn may_attempt(&self, now: Instant) -> bool {
        self.slots().attempts.take(now)
    }

    /// How long a spoke has to stay away until its admission slot: zero if that is now. Nobody else is given the slot meanwhile;
    /// a spoke that comes too early is told the same slot again.
    pub(super) fn slot(&self, now: Instant, handshakes: &Mutex<TokenBucket>) -> Duration {
        let mut slots = self.slots();
        let expected = slots.slot.take().filter(|at| now.saturating_duration_since(*at) <= LATE);
        let at = expected
            .unwrap_or_else(|| now + handshakes.lock().unwrap_or_else(PoisonError::into_inner).book(now));
        let wait = at.saturating_duration_since(now);
        slots.slot = (!wait.is_zero()).then_some(at);
        wait
    }

    fn slots(&self) -> MutexGuard<'_, AdmissionSlots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be held while a session reports that it is up or over.
    pub(super) fn reporting(&self) -> &AsyncMutex<()> {
        &self.reporting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spoke_that_has_to_wait_has_a_slot_and_keeps_it() {
        let handshakes = Mutex::new(TokenBucket::new(10, 1));
        let [a, b, c] = [(); 3].map(|()| SharedLink::new(Arc::default()));
        let start = Instant::now();
        let slot = |link: &SharedLink, ms: u64| {
            link.slot(start + Duration::from_millis(ms), &handshakes).as_millis()
        };
        assert_eq!([slot(&a, 0), slot(&b, 0), slot(&c, 0)], [0, 100, 200]);
        assert_eq!(slot(&c, 50), 150, "too early: the same slot");
        assert_eq!(slot(&b, 110), 0);
        assert_eq!(slot(&c, 210), 0, "nobody has taken it");
        assert_eq!(slot(&b, 210), 90, "a slot is for one attempt");
        assert_eq!(slot(&b, 30_000), 0, "it came too late, and nobody waits");
        assert_eq!(slot(&a, 30_000), 100);
    }
}
