//! What a session still has to tell the controllers: the latest per object, however slow they are.

use std::collections::BTreeMap;

use super::event::LinkEvent;
use crate::fleet::{Capacity, ClusterName, HeldObject, ObjectResult, ObjectStatus};

/// Events that wait, joined by object.
#[derive(Debug, Default)]
pub(super) struct Upward {
    orphans: Option<Vec<HeldObject>>,
    results: BTreeMap<String, ObjectResult>,
    statuses: BTreeMap<String, ObjectStatus>,
    capacity: Option<Box<Capacity>>,
    heard: bool,
}

impl Upward {
    /// Adds an event; what it replaces is forgotten. What
    /// is told of the session itself does not wait and is given back.
    pub(super) fn push(&mut self, event: LinkEvent) -> Option<LinkEvent> {
        match event {
            LinkEvent::Orphans { objects, .. } => self.orphans = Some(objects),
            LinkEvent::Results { results, .. } => {
                self.results.extend(results.into_iter().map(|result| (result.uid.clone(), result)));
            }
            LinkEvent::Status { objects, .. } => {
                self.statuses.extend(objects.into_iter().map(|status| (status.object.uid.clone(), status)));
            }
            LinkEvent::Capacity { capacity, .. } => self.capacity = Some(capacity),
            LinkEvent::Heard { .. } => self.heard = true,
            event @ (LinkEvent::Connected { .. }
            | LinkEvent::Identified { .. }
            | LinkEvent::Duplicate { .. }
            | LinkEvent::EpochUnproven { .. }
            | LinkEvent::Disconnected { .. }) => return Some(event),
        }
        None
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        let Self { orphans, results, statuses, capacity, heard } = self;
        orphans.is_none() && results.is_empty() && statuses.is_empty() && capacity.is_none() && !heard
    }

    /// The next event: answers before news, news before signs of life.
    pub(super) fn pop(&mut self, cluster: &ClusterName) -> Option<LinkEvent> {
        let cluster = cluster.clone();
        if let Some(objects) = self.orphans.take() {
            Some(LinkEvent::Orphans { cluster, objects })
        } else if !self.results.is_empty() {
            let results = std::mem::take(&mut self.results).into_values().collect();
            Some(LinkEvent::Results { cluster, results })
        } else if !self.statuses.is_empty() {
            let objects = std::mem::take(&mut self.statuses).into_values().collect();
            Some(LinkEvent::Status { cluster, objects })
        } else if let Some(capacity) = self.capacity.take() {
            Some(LinkEvent::Capacity { cluster, capacity })
        } else if std::mem::take(&mut self.heard) {
            Some(LinkEvent::Heard { cluster })
        } else {
            None
        }
    }
}
