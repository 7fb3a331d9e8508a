//! What all actors of a run share: time, chance, the network, and the record of what was done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use spoke::deliver::Epoch;

use super::agenda::{Agenda, Event, Time};
use super::dice::Dice;
use super::mutant::Mutant;
use super::net::Net;

/// The moment at which every run begins, seconds since the Unix epoch.
const BEGIN: i64 = 1_800_000_000;
/// Events that a failure shows.
const LAST: usize = 60;

/// Something that was done and that an invariant may be about.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// A user did something after which this object may have to leave clusters.
    Unwanted { uid: String },
    /// A hub sent a tombstone.
    Tombstone { uid: String, epoch: Epoch },
    /// An object left a spoke's cluster by the work of its agent. `stored` is the epoch that was stored there when it
    /// was judged; `guarded` says whether the deletion guard had a say in it.
    Removed { spoke: usize, uid: String, epoch: Epoch, stored: Option<Epoch>, guarded: bool },
    /// An object was written in a spoke's cluster by its agent.
    Applied { spoke: usize, uid: String, term: u64, generation: i64 },
    /// An agent told of an object that it is persisted.
    Accepted { spoke: usize, uid: String, term: u64, generation: i64 },
    /// A spoke observed its nodes by their free GPUs, and which objects hold how many.
    Observed { cluster: String, at: Timestamp, free: BTreeMap<u32, u32>, bound: BTreeMap<String, u32> },
    /// A hub gave GPUs away, by the report of that moment: all that it has given away in that cluster.
    Granted { cluster: String, at: Timestamp, given: BTreeMap<String, Given> },
    /// A spoke's status of an object.
    Reported { cluster: String, uid: String, at: Timestamp, ready: u32, hash: String },
    /// A hub took a status in.
    Heard { cluster: String, uid: String, at: Timestamp, ready: u32, hash: String },
    /// A hub wants something else of an object from now on.
    Wanted { hub: usize, life: u64, cluster: String, uid: String },
    /// A hub knows how that ended, or wants nothing any more.
    Answered { hub: usize, life: u64, cluster: String, uid: String },
}

/// What a hub has given to one object in one cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    pub(super) replicas: u32,
    /// Of one replica.
    pub(super) gpus: u32,
}

/// What all actors share.
pub(super) struct Stage {
    pub(super) now: Time,
    pub(super) dice: Dice,
    pub(super) agenda: Agenda,
    pub(super) net: Net,
    pub(super) mutant: Option<Mutant>,
    /// What was done in this step.
    pub(super) facts: Vec<Fact>,
    /// When something last went wrong around a spoke, by index.
    pub(super) disturbed: BTreeMap<usize, Time>,
    /// uids whose delivery is held up by their own fault.
    pub(super) bad: BTreeSet<String>,
    /// What happened last, the newest at the end.
    pub(super) last: VecDeque<String>,
    /// Whether to print what happens.
    pub(super) trace: bool,
    /// Objects and processes that have been named.
    named: u64,
    base: Instant,
}

impl Stage {
    pub(super) fn new(seed: u64, mutant: Option<Mutant>, trace: bool) -> Self {
        Self {
            now: 0,
            dice: Dice::new(seed),
            agenda: Agenda::default(),
            net: Net::default(),
            mutant,
            facts: Vec::new(),
            disturbed: BTreeMap::new(),
            bad: BTreeSet::new(),
            last: VecDeque::new(),
            trace,
            named: 0,
            base: Instant::now(),
        }
    }

    /// The monotonic clock of every machine.
    pub(super) fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    /// Milliseconds since the begin of the run of a moment of the monotonic clock.
    pub(super) fn time_of(&self, instant: Instant) -> Time {
        let since = instant.saturating_duration_since(self.base).as_nanos().div_ceil(1_000_000);
        Time::try_from(since).unwrap_or(Time::MAX)
    }

    /// The calendar of a machine whose clock is wrong by so many milliseconds.
    pub(super) fn wall(&self, skew: i64) -> Timestamp {
        let now = i64::try_from(self.now).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(BEGIN * 1000 + now + skew).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// A number that no one else has.
    pub(super) fn number(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    pub(super) fn plan(&mut self, after: Time, event: Event) {
        self.agenda.plan(self.now + after, event);
    }

    /// Plans something between `least` and `most` milliseconds from now.
    pub(super) fn plan_between(&mut self, least: Time, most: Time, event: Event) {
        let after = self.dice.between(least, most);
        self.plan(after, event);
    }

    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Something went wrong around a spoke just now.
    pub(super) fn disturb(&mut self, spoke: usize) {
        self.disturbed.insert(spoke, self.now);
    }

    /// Writes down what happens, for whoever has to understand a failure.
    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        let line = format!("{:>9.3} s  {}", Duration::from_millis(self.now).as_secs_f64(), what());
        if self.trace {
            self.print(&line);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    #[allow(clippy::print_stdout, clippy::unused_self, reason = "a trace is asked for on the command line")]
    fn print(&self, line: &str) {
        println!("{line}");
    }
}
