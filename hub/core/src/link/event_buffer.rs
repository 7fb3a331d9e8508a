//! The reports of a session that wait for a slow receiver: the latest per object.

use std::collections::BTreeMap;

use super::event::LinkEvent;
use crate::fleet::{Answer, Capacity, ClusterName, Excess, HeldObject, ObjectResult, ObjectStatus, Weight};

/// Bytes of statuses and results that may wait before the spoke is read no further: the rest waits at its side.
const MOST_BYTES: usize = 8 << 20;
/// Bytes of a result, its message aside.
const RESULT_BYTES: usize = 256;

/// Events that wait, joined by object.
#[derive(Debug, Default)]
pub struct EventBuffer {
    orphans: Option<Vec<HeldObject>>,
    results: BTreeMap<String, ObjectResult>,
    statuses: BTreeMap<String, ObjectStatus>,
    capacity: Option<Box<Capacity>>,
    excess: BTreeMap<&'static str, Excess>,
    is_alive: bool,
    /// Of all statuses and results that were put here since it was empty of them.
    bytes: usize,
}

impl EventBuffer {
    /// Adds a report, which replaces an older one about the same object. Reports about the session itself do not wait: they are
    /// given back.
    pub fn push(&mut self, event: LinkEvent) -> Option<LinkEvent> {
        match event {
            LinkEvent::Orphans { objects, .. } => self.orphans = Some(objects),
            LinkEvent::Results { results, .. } => {
                self.bytes += results.iter().map(weight).sum::<usize>();
                self.results.extend(results.into_iter().map(|result| (result.uid.clone(), result)));
            }
            LinkEvent::Status { objects, .. } => {
                self.bytes += objects.weight();
                self.statuses.extend(objects.into_iter().map(|status| (status.object.uid.clone(), status)));
            }
            LinkEvent::Capacity { capacity, .. } => self.capacity = Some(capacity),
            LinkEvent::Excess { excess, .. } => {
                for one in excess {
                    let known = self.excess.entry(one.what).or_insert(one);
                    *known = if known.reported < one.reported { one } else { *known };
                }
            }
            LinkEvent::Alive { .. } => self.is_alive = true,
            event @ (LinkEvent::Connected { .. }
            | LinkEvent::Identified { .. }
            | LinkEvent::Duplicate { .. }
            | LinkEvent::EpochUnproven { .. }
            | LinkEvent::Disconnected { .. }) => return Some(event),
        }
        None
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { orphans, results, statuses, capacity, excess, is_alive, .. } = self;
        orphans.is_none()
            && results.is_empty()
            && statuses.is_empty()
            && capacity.is_none()
            && excess.is_empty()
            && !is_alive
    }

    /// Whether so much waits that the spoke is read no further.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    /// The next event: answers before statuses, statuses before signs of life.
    pub fn pop(&mut self, cluster: &ClusterName) -> Option<LinkEvent> {
        let cluster = cluster.clone();
        if let Some(objects) = self.orphans.take() {
            Some(LinkEvent::Orphans { cluster, objects })
        } else if !self.results.is_empty() {
            self.bytes = self.statuses.values().map(Weight::weight).sum();
            let results = std::mem::take(&mut self.results).into_values().collect();
            Some(LinkEvent::Results { cluster, results })
        } else if !self.statuses.is_empty() {
            self.bytes = 0;
            let objects = std::mem::take(&mut self.statuses).into_values().collect();
            Some(LinkEvent::Status { cluster, objects })
        } else if let Some(capacity) = self.capacity.take() {
            Some(LinkEvent::Capacity { cluster, capacity })
        } else if !self.excess.is_empty() {
            let excess = std::mem::take(&mut self.excess).into_values().collect();
            Some(LinkEvent::Excess { cluster, excess })
        } else if std::mem::take(&mut self.is_alive) {
            Some(LinkEvent::Alive { cluster })
        } else {
            None
        }
    }
}

fn weight(result: &ObjectResult) -> usize {
    let message = match &result.answer {
        Answer::Rejected { message, .. } | Answer::Held { message, .. } | Answer::Retrying { message } => {
            message.len()
        }
        Answer::Accepted | Answer::Gone => 0,
    };
    RESULT_BYTES + message
}
