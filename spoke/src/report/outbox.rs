//! Statuses on their way to the hub: the latest of each object, however slow the link is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::ObjectStatus;

/// The latest status of each delivered object and which of them the hub has not been sent. Cheap to clone; its
/// size is bounded by the number of delivered objects, not by events or by time without a link.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    statuses: Mutex<Statuses>,
    changed: Notify,
    /// Told when an object is delivered or gone.
    members: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Statuses {
    latest: BTreeMap<String, ObjectStatus>,
    unsent: BTreeSet<String>,
}

impl Outbox {
    /// Takes the news of one object; nothing happens when only the time of observation differs.
    pub fn put(&self, status: ObjectStatus) {
        let uid = status.object.uid.clone();
        let mut statuses = self.lock();
        let known = statuses.latest.get(&uid).is_some_and(|old| same_but_for_time(old, &status));
        if known {
            return;
        }
        let is_new = statuses.latest.insert(uid.clone(), status).is_none();
        statuses.unsent.insert(uid);
        drop(statuses);
        self.inner.changed.notify_one();
        if is_new {
            self.inner.members.send_replace(());
        }
    }

    /// Drops what is kept of an object that is no longer delivered.
    pub fn forget(&self, uid: &str) {
        let mut statuses = self.lock();
        let was_there = statuses.latest.remove(uid).is_some();
        statuses.unsent.remove(uid);
        drop(statuses);
        if was_there {
            self.inner.members.send_replace(());
        }
    }

    /// Changes whenever an object is delivered or gone.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<()> {
        self.inner.members.subscribe()
    }

    /// How the hub knows what has pods, by namespace and name: a delivered object by its uid there, a service of a pipeline
    /// by the pipeline's uid and its own name.
    #[must_use]
    pub fn uids(&self) -> BTreeMap<(String, String), String> {
        let statuses = self.lock();
        let mut uids = BTreeMap::new();
        for ObjectStatus { object, services, .. } in statuses.latest.values() {
            let place = |name: &str| (object.namespace.clone(), name.to_owned());
            uids.extend(services.iter().map(|name| (place(name), format!("{}/{name}", object.uid))));
            if !matches!(object.kind.as_str(), "NIMCache" | "NIMPipeline" | "NIMBuild" | "Secret") {
                uids.insert(place(&object.name), object.uid.clone());
            }
        }
        uids
    }

    /// A new session has begun: the hub is to be told everything once.
    pub fn resend_all(&self) {
        let mut statuses = self.lock();
        statuses.unsent = statuses.latest.keys().cloned().collect();
        drop(statuses);
        self.inner.changed.notify_one();
    }

    /// Up to `limit` unsent statuses, waiting until there is one. What is taken counts as sent; a session that
    /// ends afterwards is made good by `resend_all` of the next. Safe to cancel. One caller at a time.
    pub async fn take(&self, limit: usize) -> Vec<ObjectStatus> {
        loop {
            let taken = self.try_take(limit);
            if !taken.is_empty() {
                return taken;
            }
            self.inner.changed.notified().await;
        }
    }

    fn try_take(&self, limit: usize) -> Vec<ObjectStatus> {
        let mut guard = self.lock();
        let statuses = &mut *guard;
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(uid) = statuses.unsent.pop_first()
        {
            taken.extend(statuses.latest.get(&uid).cloned());
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Statuses> {
        self.inner.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same_but_for_time(old: &ObjectStatus, new: &ObjectStatus) -> bool {
    let at_the_same_time = ObjectStatus { observed_at_ms: old.observed_at_ms, ..new.clone() };
    *old == at_the_same_time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::ObjectRef;

    fn status(uid: &str, state: &str, at: i64) -> ObjectStatus {
        ObjectStatus {
            object: ObjectRef {
                uid: uid.to_owned(),
                api_version: "apps.nvidia.com/v1alpha1".to_owned(),
                kind: "NIMService".to_owned(),
                namespace: "models".to_owned(),
                name: uid.to_owned(),
            },
            generation: 1,
            hash: "h".to_owned(),
            state: state.to_owned(),
            conditions: vec![],
            ready_replicas: 0,
            wanted_replicas: 1,
            observed_at_ms: at,
            profiles: vec![],
            unschedulable: None,
            claim: String::new(),
            services: vec![],
        }
    }

    fn states(taken: &[ObjectStatus]) -> Vec<(&str, &str)> {
        taken.iter().map(|s| (s.object.uid.as_str(), s.state.as_str())).collect()
    }

    #[test]
    fn the_latest_of_each_object_wins_and_is_taken_once() {
        let outbox = Outbox::default();
        outbox.put(status("a", "Pending", 1));
        outbox.put(status("b", "Pending", 2));
        outbox.put(status("a", "Ready", 3));
        assert_eq!(states(&outbox.try_take(10)), [("a", "Ready"), ("b", "Pending")]);
        assert!(outbox.try_take(10).is_empty());
    }

    #[test]
    fn time_alone_is_no_news() {
        let outbox = Outbox::default();
        outbox.put(status("a", "Ready", 1));
        outbox.try_take(10);
        outbox.put(status("a", "Ready", 2));
        assert!(outbox.try_take(10).is_empty());
    }

    #[test]
    fn a_new_session_is_told_everything_but_what_was_forgotten() {
        let outbox = Outbox::default();
        outbox.put(status("a", "Ready", 1));
        outbox.put(status("b", "Ready", 1));
        outbox.try_take(10);
        outbox.forget("a");
        outbox.resend_all();
        assert_eq!(states(&outbox.try_take(10)), [("b", "Ready")]);
    }

    #[test]
    fn a_limit_leaves_the_rest_for_the_next_call() {
        let outbox = Outbox::default();
        for uid in ["a", "b", "c"] {
            outbox.put(status(uid, "Ready", 1));
        }
        assert_eq!(outbox.try_take(2).len(), 2);
        assert_eq!(states(&outbox.try_take(2)), [("c", "Ready")]);
    }

    #[test]
    fn members_are_told_by_name_and_only_when_they_come_or_go() {
        let outbox = Outbox::default();
        let mut members = outbox.members();
        outbox.put(status("a", "Pending", 1));
        assert!(members.has_changed().unwrap());
        members.mark_unchanged();
        outbox.put(status("a", "Ready", 2));
        assert!(!members.has_changed().unwrap());
        let uids: Vec<_> = outbox.uids().into_iter().collect();
        assert_eq!(uids, [(("models".to_owned(), "a".to_owned()), "a".to_owned())]);
        outbox.forget("a");
        assert!(members.has_changed().unwrap() && outbox.uids().is_empty());
        let mut pipeline = ObjectStatus { services: vec!["llm".to_owned()], ..status("p", "Ready", 1) };
        pipeline.object.kind = "NIMPipeline".to_owned();
        outbox.put(pipeline);
        let uids: Vec<_> = outbox.uids().into_iter().collect();
        assert_eq!(uids, [(("models".to_owned(), "llm".to_owned()), "p/llm".to_owned())]);
    }

    #[tokio::test]
    async fn a_waiting_link_is_woken() {
        let outbox = Outbox::default();
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.take(10).await }
        });
        tokio::task::yield_now().await;
        outbox.put(status("a", "Ready", 1));
        assert_eq!(states(&waiting.await.unwrap()), [("a", "Ready")]);
    }
}
