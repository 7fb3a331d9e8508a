//! What a live session tells unasked: statuses and capacity, as they change and no faster than is useful.

use std::collections::VecDeque;
use std::time::Duration;

use proto::v1;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::parcels;
use crate::facts::CapacityReport;
use crate::report::Outbox;

/// Statuses of one message, and the least time between two: what changes in between travels once.
const STATUSES: usize = 200;
const STATUS_EVERY: Duration = Duration::from_millis(50);
/// Capacity is sent when it changes, and this often all the same: the hub doubts what is older than three of these.
const CAPACITY_EVERY: Duration = Duration::from_mins(10);

/// What one session has told and when.
pub(super) struct News {
    statuses: Outbox,
    capacity: watch::Receiver<Option<CapacityReport>>,
    told: Option<CapacityReport>,
    /// What has been taken and not been sent.
    ready: VecDeque<v1::SpokeMessage>,
    /// The largest message that the hub takes, bytes.
    most: usize,
    next_status: Instant,
    next_capacity: Instant,
}

impl News {
    /// Everything is news to a new session, whose hub takes messages of at most so many bytes.
    pub(super) fn new(
        statuses: Outbox,
        mut capacity: watch::Receiver<Option<CapacityReport>>,
        most: usize,
    ) -> Self {
        statuses.resend_all();
        capacity.mark_changed();
        let now = Instant::now();
        let next_capacity = now + CAPACITY_EVERY;
        Self { statuses, capacity, told: None, ready: VecDeque::new(), most, next_status: now, next_capacity }
    }

    /// The next message. Safe to cancel: nothing is taken before the last wait is over.
    pub(super) async fn next(&mut self) -> v1::SpokeMessage {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return message;
            }
            tokio::select! {
                statuses = next_statuses(&self.statuses, self.next_status) => {
                    self.next_status = Instant::now() + STATUS_EVERY;
                    self.ready.extend(parcels::statuses(statuses, self.most));
                }
                () = next_capacity(&mut self.capacity, self.next_capacity) => {
                    let report = self.capacity.borrow_and_update().clone();
                    let due = Instant::now() >= self.next_capacity;
                    if due {
                        self.next_capacity = Instant::now() + CAPACITY_EVERY;
                    }
                    if let Some(report) = report
                        && (due || self.told.as_ref().is_none_or(|told| !same_but_for_time(told, &report)))
                    {
                        self.next_capacity = Instant::now() + CAPACITY_EVERY;
                        self.told = Some(report.clone());
                        self.ready.push_back(parcels::capacity(report, self.most));
                    }
                }
            }
        }
    }
}

async fn next_statuses(statuses: &Outbox, not_before: Instant) -> Vec<crate::report::ObjectStatus> {
    sleep_until(not_before).await;
    statuses.take(STATUSES).await
}

async fn next_capacity(capacity: &mut watch::Receiver<Option<CapacityReport>>, due: Instant) {
    tokio::select! {
        () = sleep_until(due) => {}
        changed = capacity.changed() => if changed.is_err() {
            // Nobody observes any more: what is known stays, and is repeated.
            sleep_until(due).await;
        }
    }
}

fn same_but_for_time(old: &CapacityReport, new: &CapacityReport) -> bool {
    *old == CapacityReport { observed_at_ms: old.observed_at_ms, ..new.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(nodes: &str, at: i64) -> CapacityReport {
        CapacityReport { region: nodes.to_owned(), observed_at_ms: at, ..CapacityReport::default() }
    }

    fn told(nodes: &str, at: i64) -> v1::SpokeMessage {
        parcels::capacity(report(nodes, at), proto::MAX_MESSAGE_BYTES)
    }

    #[tokio::test(start_paused = true)]
    async fn capacity_is_told_at_once_on_change_and_every_ten_minutes() {
        let (facts, capacity) = watch::channel(Some(report("a", 1)));
        let mut news = News::new(Outbox::default(), capacity, proto::MAX_MESSAGE_BYTES);
        let start = Instant::now();
        assert_eq!(news.next().await, told("a", 1));
        assert_eq!(start.elapsed(), Duration::ZERO);
        facts.send_replace(Some(report("a", 2)));
        assert_eq!(news.next().await, told("a", 2), "time alone is no news");
        assert_eq!(start.elapsed().as_secs(), 600);
        facts.send_replace(Some(report("b", 3)));
        assert_eq!(news.next().await, told("b", 3));
        assert_eq!(start.elapsed().as_secs(), 600);
        drop(facts);
        assert_eq!(news.next().await, told("b", 3), "facts have ended, the link has not");
        assert_eq!(start.elapsed().as_secs(), 1200);
    }
}
