//! One cluster's place in the fleetbox: what it shall hold, and who speaks for it now.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncGuard, Notify};

use super::allowance::Allowance;
use super::message::Instance;
use super::object::{DesiredObject, GoAwayReason, HeldBack, Removal};
use super::wants::Wants;

/// Attempts to connect that one cluster may make per second, and at once: many more than a spoke makes that waits as it should.
const KNOCKS: (u32, u32) = (5, 50);
/// How late a spoke may be for its appointment; one that is later gets another.
const LATE: Duration = Duration::from_secs(10);

/// What one cluster shall hold, and the session that speaks for it.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    knocks: Mutex<Knocks>,
    /// Held while a session tells that it is up or over, so that the two never pass each other.
    telling: AsyncMutex<()>,
    /// Of all mailboxes of the box: how many have somebody who speaks for them.
    claimed: Arc<AtomicUsize>,
}

/// How often a spoke may try to connect, and when it is expected.
#[derive(Debug)]
struct Knocks {
    allowance: Allowance,
    appointment: Option<Instant>,
}

#[derive(Debug, Default)]
struct State {
    wants: Wants,
    holder: Option<Holder>,
    last_instance: Option<String>,
    sessions: u64,
}

#[derive(Debug)]
struct Holder {
    session: u64,
    instance: Instance,
    wake: Arc<Notify>,
    goodbye: Option<(GoAwayReason, String)>,
}

/// The right of one session to speak for its cluster, given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    mailbox: Arc<Mailbox>,
    session: u64,
    wake: Arc<Notify>,
}

impl Mailbox {
    /// Counts in `claimed` whether somebody speaks for it.
    pub(super) fn new(claimed: Arc<AtomicUsize>) -> Self {
        Self {
            state: Mutex::default(),
            knocks: Mutex::new(Knocks { allowance: Allowance::new(KNOCKS.0, KNOCKS.1), appointment: None }),
            telling: AsyncMutex::default(),
            claimed,
        }
    }

    /// Whether one more attempt to connect is heard now.
    pub(super) fn knock(&self, now: Instant) -> bool {
        self.knocks().allowance.take(now)
    }

    /// How long it has to stay away until it is its turn, of all those that come at once: zero if that is now. Nobody is
    /// given the turn meanwhile, and whoever comes too early is told the same time again.
    pub(super) fn turn(&self, now: Instant, handshakes: &Mutex<Allowance>) -> Duration {
        let mut knocks = self.knocks();
        let expected = knocks.appointment.take().filter(|at| now.saturating_duration_since(*at) <= LATE);
        let at = expected
            .unwrap_or_else(|| now + handshakes.lock().unwrap_or_else(PoisonError::into_inner).book(now));
        let wait = at.saturating_duration_since(now);
        knocks.appointment = (!wait.is_zero()).then_some(at);
        wait
    }

    fn knocks(&self) -> MutexGuard<'_, Knocks> {
        self.knocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_desired(&self, object: DesiredObject) {
        let mut state = self.lock();
        if state.wants.set_desired(object) {
            state.wake();
        }
    }

    pub(super) fn set_removal(&self, removal: Removal) {
        let mut state = self.lock();
        if state.wants.set_removal(removal) {
            state.wake();
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.lock().wants.forget(uid);
    }

    pub(super) fn held_back(&self) -> Vec<HeldBack> {
        self.lock().wants.held_back()
    }

    pub(super) fn confirm_held_back(&self) -> usize {
        let mut state = self.lock();
        let confirmed = state.wants.confirm_held_back();
        if confirmed > 0 {
            state.wake();
        }
        confirmed
    }

    pub(super) fn disconnect(&self, reason: GoAwayReason, message: &str) {
        let mut state = self.lock();
        if let Some(holder) = &mut state.holder {
            holder.goodbye = Some((reason, message.to_owned()));
        }
        state.wake();
    }

    /// Takes the seat for a session of `instance`; the session that had it is told to go. `None` if the one that
    /// has it is of a newer process.
    pub(super) fn claim(self: &Arc<Self>, instance: &Instance) -> Option<Seat> {
        let mut state = self.lock();
        if let Some(holder) = &state.holder
            && holder.instance.id != instance.id
            && (holder.instance.started_ms, &holder.instance.id) > (instance.started_ms, &instance.id)
        {
            return None;
        }
        state.wake();
        if state.last_instance.as_ref() != Some(&instance.id) {
            state.wants.forget_refusals();
            state.last_instance = Some(instance.id.clone());
        }
        state.sessions += 1;
        if state.holder.is_none() {
            self.claimed.fetch_add(1, Ordering::Relaxed);
        }
        let (session, wake) = (state.sessions, Arc::new(Notify::new()));
        state.holder =
            Some(Holder { session, instance: instance.clone(), wake: wake.clone(), goodbye: None });
        Some(Seat { mailbox: self.clone(), session, wake })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&self) {
        if let Some(holder) = &self.holder {
            holder.wake.notify_one();
        }
    }
}

impl Seat {
    /// Resolves when something has changed since the last call.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Why this session has to end, if it has to.
    pub(super) fn goodbye(&self) -> Option<(GoAwayReason, String)> {
        match &self.mailbox.lock().holder {
            Some(holder) if holder.session == self.session => holder.goodbye.clone(),
            _ => Some((
                GoAwayReason::DuplicateInstance,
                "a newer agent with this cluster's identity is connected; run one agent per cluster"
                    .to_owned(),
            )),
        }
    }

    /// Whether no other session has taken the seat.
    pub(super) fn is_ours(&self) -> bool {
        self.mailbox.lock().holder.as_ref().is_some_and(|holder| holder.session == self.session)
    }

    /// To be held while telling that this session is up or over.
    pub(super) async fn telling(&self) -> AsyncGuard<'_, ()> {
        self.mailbox.telling.lock().await
    }

    /// Looks at, or changes, what the cluster shall hold. Not to be held over an await.
    pub(super) fn with_wants<T>(&self, look: impl FnOnce(&mut Wants) -> T) -> T {
        look(&mut self.mailbox.lock().wants)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.mailbox.lock();
        if state.holder.as_ref().is_some_and(|holder| holder.session == self.session) {
            state.holder = None;
            self.mailbox.claimed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_to_wait_has_a_turn_and_keeps_it() {
        let handshakes = Mutex::new(Allowance::new(10, 1));
        let [a, b, c] = [(); 3].map(|()| Mailbox::new(Arc::default()));
        let start = Instant::now();
        let turn = |mailbox: &Mailbox, ms: u64| {
            mailbox.turn(start + Duration::from_millis(ms), &handshakes).as_millis()
        };
        assert_eq!([turn(&a, 0), turn(&b, 0), turn(&c, 0)], [0, 100, 200]);
        assert_eq!(turn(&c, 50), 150, "too early: the same turn");
        assert_eq!(turn(&b, 110), 0);
        assert_eq!(turn(&c, 210), 0, "nobody has taken it");
        assert_eq!(turn(&b, 210), 90, "an appointment is for one attempt");
        assert_eq!(turn(&b, 30_000), 0, "it came too late, and nobody waits");
        assert_eq!(turn(&a, 30_000), 100);
    }
}
