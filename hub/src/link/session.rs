//! A session of the core together with the link of its cluster, which other sessions and the controllers share.

use std::sync::Arc;
use std::time::Instant;

use hub_core::epoch::Epoch;
use hub_core::identity::EpochKey;
use hub_core::link::{Machine, SessionEffect, SessionEvent, Terms};
use hub_scheduler::fleet::ClusterName;
use jiff::Timestamp;
use tokio::sync::MutexGuard;

use super::desired_state::{DesiredState, SharedLink};

/// One session of one spoke. It gives its lease back on drop.
#[derive(Debug)]
pub struct Session {
    machine: Machine,
    link: Arc<SharedLink>,
}

impl Session {
    /// A session of the spoke whose certificate names `cluster` and ends at `certificate_expiry`. `key` proves the hub's
    /// epochs.
    #[must_use]
    pub fn new(
        cluster: ClusterName,
        certificate_expiry: Timestamp,
        terms: Terms,
        key: EpochKey,
        desired: &DesiredState,
        now: Instant,
    ) -> Self {
        let link = desired.link(&cluster);
        Self { machine: Machine::new(cluster, certificate_expiry, terms, key, now), link }
    }

    /// Whose session it is.
    #[must_use]
    pub fn cluster(&self) -> &ClusterName {
        self.machine.cluster()
    }

    /// The next moment at which something is due if nothing happens.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        self.machine.wake_at()
    }

    /// Whether a spoke that has just come is asked what it holds: so many at once as the hub has memory for.
    #[must_use]
    pub fn is_indexing(&self) -> bool {
        self.machine.is_indexing()
    }

    /// Whether the session has had the lease of its cluster.
    #[must_use]
    pub fn has_lease(&self) -> bool {
        self.machine.lease().is_some()
    }

    /// Whether this session speaks for its cluster: it has had the lease, and no other session has taken it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.machine.lease().is_some_and(|lease| self.link.with(|link| link.is_held_by(lease)))
    }

    /// Whether [`SessionEvent::Woken`] is due.
    #[must_use]
    pub fn is_woken(&self) -> bool {
        self.link.with(|link| self.machine.is_woken(link))
    }

    /// Resolves when [`SessionEvent::Woken`] is due.
    pub async fn woken(&self) {
        let mut revisions = self.link.revisions();
        while !self.is_woken() {
            if revisions.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Takes an event. `epoch` is the one in force, `now` the monotonic clock, `wall` the hub's calendar.
    pub fn on(
        &mut self,
        event: SessionEvent,
        epoch: &Epoch,
        now: Instant,
        wall: Timestamp,
    ) -> Vec<SessionEffect> {
        let machine = &mut self.machine;
        self.link.with(|link| machine.on(event, link, epoch, now, wall))
    }

    /// To be held while reporting that the session is up or over.
    pub(super) async fn reporting(&self) -> MutexGuard<'_, ()> {
        self.link.reporting().lock().await
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(lease) = self.machine.lease() {
            self.link.with(|link| link.release(lease));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hub_core::link::GoAwayReason;
    use proto::v1;

    use super::*;

    fn session(cluster: &str, desired: &DesiredState) -> Session {
        let cluster: ClusterName = cluster.parse().unwrap();
        let (terms, key) = (Terms::of(1, Duration::from_secs(10), [0.5; 2]), EpochKey::new([7; 32]));
        let mut session = Session::new(cluster.clone(), Timestamp::MAX, terms, key, desired, Instant::now());
        let hello = v1::Hello { cluster: cluster.to_string(), instance: "i".into(), ..v1::Hello::default() };
        let said = v1::SpokeMessage { message: Some(v1::spoke_message::Message::Hello(hello)) };
        let epoch = Epoch { hub_id: "hub".into(), term: 1, incarnation: "x".into() };
        session.on(SessionEvent::Said(said), &epoch, Instant::now(), Timestamp::UNIX_EPOCH);
        session
    }

    #[test]
    fn each_cluster_with_a_session_counts_once() {
        let desired = DesiredState::default();
        let (east, west) = (session("east", &desired), session("west", &desired));
        assert_eq!(desired.connected(), 2);
        let newer = session("east", &desired);
        assert_eq!(desired.connected(), 2, "it has taken the lease of the other one");
        assert!(newer.is_ours() && !east.is_ours() && east.has_lease());
        drop(east);
        assert_eq!(desired.connected(), 2, "a session that has lost the lease does not give it back");
        drop((newer, west));
        assert_eq!(desired.connected(), 0);
    }

    #[tokio::test]
    async fn a_session_is_woken_by_what_happened_before_it_waits() {
        let desired = DesiredState::default();
        let east = session("east", &desired);
        assert!(!east.is_woken());
        desired.disconnect(east.cluster(), GoAwayReason::NotAccepted, "no");
        east.woken().await;
        assert!(east.is_woken());
    }
}
