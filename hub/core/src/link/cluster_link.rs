//! One cluster as the link knows it: its outbox, and the session that has the right to speak for it.

use super::message::Instance;
use super::object::{DesiredObject, GoAwayReason, HeldBack, Removal};
use super::outbox::Outbox;

/// The outbox of one cluster, and the session that speaks for it.
#[derive(Debug, Default)]
pub struct ClusterLink {
    outbox: Outbox,
    holder: Option<Holder>,
    last_instance: Option<String>,
    leases: u64,
    revision: u64,
}

/// A change of what a cluster shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// It shall hold this object.
    Desired(DesiredObject),
    /// It shall hold this object no longer.
    Removal(Removal),
    /// The object of this uid is neither wanted nor to be removed.
    Forget(String),
}

/// The session that speaks for the cluster.
#[derive(Debug)]
struct Holder {
    lease: SessionLease,
    instance: Instance,
    goodbye: Option<(GoAwayReason, String)>,
}

/// The right of one session to speak for its cluster. A newer session takes it from an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLease(u64);

impl ClusterLink {
    /// Grows with each change that the session has to look at: of the desired state, of the lease, and when it has to end.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Makes a change.
    pub fn apply(&mut self, change: LinkChange) {
        match change {
            LinkChange::Desired(object) => self.set_desired(object),
            LinkChange::Removal(removal) => self.set_removal(removal),
            LinkChange::Forget(uid) => self.forget(&uid),
        }
    }

    /// The cluster shall hold this object. The same hash again has no effect.
    pub fn set_desired(&mut self, object: DesiredObject) {
        if self.outbox.set_desired(object) {
            self.revision += 1;
        }
    }

    /// The cluster shall hold this object no longer: a tombstone is sent until the spoke answers Gone.
    pub fn set_removal(&mut self, removal: Removal) {
        if self.outbox.set_removal(removal) {
            self.revision += 1;
        }
    }

    /// The object is neither wanted nor to be removed: nothing is sent.
    pub fn forget(&mut self, uid: &str) {
        self.outbox.forget(uid);
    }

    /// The removals that the cluster's spoke holds back until the admin has confirmed them, by uid.
    #[must_use]
    pub fn held_back(&self) -> Vec<HeldBack> {
        self.outbox.held_back()
    }

    /// The admin has confirmed the removals that the cluster's spoke holds back: they are sent again, marked as confirmed. How
    /// many that is.
    pub fn confirm_held_back(&mut self) -> usize {
        let confirmed = self.outbox.confirm_held_back();
        if confirmed > 0 {
            self.revision += 1;
        }
        confirmed
    }

    /// Has the session of the cluster end, if there is one.
    pub fn disconnect(&mut self, reason: GoAwayReason, message: &str) {
        if let Some(holder) = &mut self.holder {
            holder.goodbye = Some((reason, message.to_owned()));
        }
        self.revision += 1;
    }

    /// Whether a session has the lease.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.holder.is_some()
    }

    /// Whether this lease is in force: no other session has taken it, and it was not given back.
    #[must_use]
    pub fn is_held_by(&self, lease: SessionLease) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.lease == lease)
    }

    /// Gives a lease back. One that another session has taken is not given back by the former holder.
    pub fn release(&mut self, lease: SessionLease) {
        if self.is_held_by(lease) {
            self.holder = None;
        }
    }

    /// Takes the lease for a session of `instance`; the session that had it has to end. `None` if the holder is of a newer
    /// process.
    pub(super) fn claim(&mut self, instance: &Instance) -> Option<SessionLease> {
        if let Some(holder) = &self.holder
            && holder.instance.id != instance.id
            && (holder.instance.started_ms, &holder.instance.id) > (instance.started_ms, &instance.id)
        {
            return None;
        }
        self.revision += 1;
        if self.last_instance.as_ref() != Some(&instance.id) {
            self.outbox.forget_refusals();
            self.last_instance = Some(instance.id.clone());
        }
        self.leases += 1;
        let lease = SessionLease(self.leases);
        self.holder = Some(Holder { lease, instance: instance.clone(), goodbye: None });
        Some(lease)
    }

    /// Why the session with this lease has to end, if it has to.
    pub(super) fn goodbye(&self, lease: SessionLease) -> Option<(GoAwayReason, String)> {
        match &self.holder {
            Some(holder) if holder.lease == lease => holder.goodbye.clone(),
            _ => Some((
                GoAwayReason::DuplicateInstance,
                "a newer agent with this cluster's identity is connected; run one agent per cluster"
                    .to_owned(),
            )),
        }
    }

    /// What the cluster shall hold.
    pub(super) fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_session_takes_the_lease_and_only_its_holder_gives_it_back() {
        let instance = |id: &str, started_ms| Instance { id: id.to_owned(), started_ms };
        let mut link = ClusterLink::default();
        let first = link.claim(&instance("a", 1)).unwrap();
        let revision = link.revision();
        let second = link.claim(&instance("a", 1)).unwrap();
        assert!(link.revision() > revision, "the first session has to look");
        assert_eq!(link.goodbye(first).unwrap().0, GoAwayReason::DuplicateInstance);
        assert_eq!(link.goodbye(second), None);
        link.release(first);
        assert!(link.is_held_by(second) && !link.is_held_by(first));
        let newer = link.claim(&instance("b", 2)).unwrap();
        assert_eq!(link.claim(&instance("a", 1)), None, "an older process does not take it from a newer one");
        link.release(newer);
        assert!(!link.is_held());
        assert!(link.claim(&instance("a", 1)).is_some(), "nobody speaks for the cluster");
    }
}
