//! Named tasks that may end only when they are asked to: one that ends by itself, or panics, is told with its name.

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::health::Health;
use crate::panics::{Panic, caught};

/// Starts tasks. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    /// Drops every task at its next wait.
    halt: CancellationToken,
    ended: mpsc::UnboundedSender<Ended>,
    health: Health,
}

/// Tells which tasks have ended. Dropping it drops the tasks.
#[derive(Debug)]
pub struct Endings {
    ended: mpsc::UnboundedReceiver<Ended>,
    halt: CancellationToken,
}

/// A task that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub task: String,
    /// Its panic, if that is how it ended.
    pub panic: Option<Panic>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(panic) => write!(f, "task {} has ended: {panic}", self.task),
            None => write!(f, "task {} has ended", self.task),
        }
    }
}

impl Tasks {
    /// No tasks yet. `health` turns unwell when one of them blocks its thread, or all of them wait for a thread in vain.
    /// Called within a runtime.
    #[must_use]
    pub fn new(health: Health) -> (Self, Endings) {
        let (ended, endings) = mpsc::unbounded_channel();
        let halt = CancellationToken::new();
        // Not among the tasks that are waited for: it has nothing to end.
        tokio::spawn(halt.clone().run_until_cancelled_owned(health.clone().turn("the process")));
        let tasks = Self { tracker: TaskTracker::new(), halt: halt.clone(), ended, health };
        (tasks, Endings { ended: endings, halt })
    }

    /// Starts a task. Its end is told by [`Endings::next`], whatever the reason.
    pub fn spawn(&self, name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        let (task, halt, ended) = (name.into(), self.halt.clone(), self.ended.clone());
        let work = self.health.watched(format!("task {task}"), work);
        self.tracker.spawn(async move {
            let Some(outcome) = halt.run_until_cancelled(caught(work)).await else { return };
            // Fails only when nobody wants to know any more.
            drop(ended.send(Ended { task, panic: outcome.err() }));
        });
    }

    /// Waits until all tasks have ended, and drops after `grace` those that have not.
    pub async fn shutdown(&self, grace: Duration) {
        self.tracker.close();
        if timeout(grace, self.tracker.wait()).await.is_err() {
            self.halt.cancel();
            self.tracker.wait().await;
        }
    }
}

impl Endings {
    /// The next task that has ended; waits for ever while all run. May be dropped at any wait.
    pub async fn next(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        self.halt.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_or_panics_is_told_by_its_name() {
        let (tasks, mut endings) = Tasks::new(Health::default());
        tasks.spawn("watch", std::future::pending());
        assert!(timeout(Duration::from_mins(1), endings.next()).await.is_err(), "it runs");
        tasks.spawn("reader", async {});
        assert_eq!(endings.next().await.to_string(), "task reader has ended");
        tasks.spawn("writer", async { assert_eq!(1, 2, "they differ") });
        let ended = endings.next().await;
        assert_eq!(ended.task, "writer");
        assert!(ended.to_string().contains("they differ"), "{ended}");
        tasks.shutdown(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_what_ends_in_time_and_drops_the_rest() {
        let (tasks, endings) = Tasks::new(Health::default());
        let (done, mut seen) = mpsc::unbounded_channel();
        let slow = done.clone();
        tasks.spawn("quick", async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = done.send("quick");
        });
        tasks.spawn("slow", async move {
            tokio::time::sleep(Duration::from_hours(1)).await;
            let _ = slow.send("slow");
        });
        tasks.shutdown(Duration::from_secs(3)).await;
        assert_eq!(seen.recv().await, Some("quick"));
        assert_eq!(seen.recv().await, None, "the slow one was dropped");
        drop(endings);
    }
}
