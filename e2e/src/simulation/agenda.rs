//! What is to happen, and when.

use std::collections::BTreeMap;

use spoke::deliver::HeldObject;

use super::net::Direction;
use super::spokes::Call;

/// Milliseconds since the begin of a run.
pub(super) type Time = u64;

/// One thing that happens. What names a process by its `life` means nothing once that process has gone.
#[derive(Debug)]
pub(super) enum Event {
    /// Something may have arrived at the end of a stream.
    Arrive { stream: u64, direction: Direction },
    /// A hub process comes up.
    HubStarts { hub: usize },
    /// A hub process has read its own state.
    HubOpens { hub: usize, life: u64 },
    /// A session of a hub has something due.
    HubTick { hub: usize, life: u64, stream: u64 },
    /// A placement is looked at.
    Reconcile { hub: usize, life: u64, placement: String },
    /// An agent process comes up.
    AgentStarts { spoke: usize },
    /// An agent dials.
    Dial { spoke: usize, life: u64 },
    /// A session of an agent has something due.
    AgentTick { spoke: usize, life: u64, stream: u64 },
    /// The list of what is held has been read.
    Held { spoke: usize, life: u64, stream: u64, held: Option<Vec<HeldObject>> },
    /// A worker takes its next step.
    Work { spoke: usize, life: u64, ticket: u64 },
    /// A call that was under way when its process died reaches the API server all the same.
    Late { spoke: usize, call: Box<Call> },
    /// Statuses and capacity are told, if there are any.
    News { spoke: usize, life: u64, stream: u64 },
    /// The operator and the scheduler of a cluster do their work.
    Operate { spoke: usize },
    /// Bound pods become ready.
    Ready { spoke: usize, uid: String, replicas: u32 },
    /// An object that is being deleted loses its finalizers.
    Vanish { spoke: usize, local: u64 },
    /// The facts of a cluster are observed.
    Observe { spoke: usize },
    /// Somebody changes what is wanted.
    Admin,
    /// The admin looks whether deletions wait for a word.
    Confirm,
    /// Something breaks.
    Fault,
    /// Something that broke is mended.
    Mend(super::faults::Mend),
    /// No more faults, and no more changes.
    Calm,
    /// Everything must be as it is wanted.
    Verdict,
}

/// What is to happen, in order of time, and among the same times in order of planning.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    events: BTreeMap<(Time, u64), Event>,
    planned: u64,
}

impl Agenda {
    pub(super) fn plan(&mut self, at: Time, event: Event) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    pub(super) fn next(&mut self) -> Option<(Time, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
