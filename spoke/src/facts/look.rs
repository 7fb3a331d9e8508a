//! A look at what is free at this moment, for whoever cannot wait until it is reported.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::GpuPool;

/// Who looks waits until all of these before have been answered: a look costs one pass over nodes and pods.
const WAITING: usize = 16;

/// Who observes may be asking the API server for something else just now; nobody waits for longer than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is free at one moment. The report of that moment is on its way to the hub, unless it has the same already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Free {
    /// Names that report.
    pub observed_at_ms: i64,
    /// GPUs, as that report tells them.
    pub pools: Vec<GpuPool>,
    /// Bound pods with GPUs, by namespace and name of the NIM object whose they are.
    pub bound: BTreeMap<(String, String), u32>,
}

/// Asks whoever observes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Look {
    ask: mpsc::Sender<Answer>,
}

/// The looks that are asked for.
#[derive(Debug)]
pub struct Looks {
    asked: mpsc::Receiver<Answer>,
}

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Option<Free>>;

impl Look {
    /// A look, and what has to be handed to [`super::observe`].
    #[must_use]
    pub fn new() -> (Self, Looks) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self { ask }, Looks { asked })
    }

    /// What is free now; none while not all nodes and pods have been seen once, or where nobody answers within five seconds.
    pub async fn now(&self) -> Option<Free> {
        let (answer, free) = oneshot::channel();
        let asked = async {
            self.ask.send(answer).await.ok()?;
            free.await.ok().flatten()
        };
        timeout(PATIENCE, asked).await.ok().flatten()
    }
}

impl Looks {
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.asked.recv().await
    }
}
