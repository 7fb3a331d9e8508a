//! A panic as a value: its message and its place, counted and logged once, whoever catches it.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

/// Panics of this process since [`install`].
static COUNT: AtomicU64 = AtomicU64::new(0);
static INSTALL: Once = Once::new();

thread_local! {
    /// The last panic of this thread. A panic is caught by the thread that it happened on.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// What it said.
    pub message: String,
    /// File, line and column; "an unknown place" where [`install`] was not called.
    pub place: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panic at {}: {}", self.place, self.message)
    }
}

/// Counts every panic of the process from now on and logs it with its message and place. Later calls have no effect.
pub fn install() {
    INSTALL.call_once(|| {
        set_hook(Box::new(|info| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            let place = info.location().map_or_else(unknown, ToString::to_string);
            let message = text(info.payload());
            let thread = std::thread::current();
            tracing::error!(place, problem = message, thread = thread.name().unwrap_or("unnamed"), "panic");
            // Fails only while the thread ends.
            let _ = LAST.try_with(|last| *last.borrow_mut() = Some(Panic { message, place }));
        }));
    });
}

/// Panics of this process since [`install`], caught or not.
#[must_use]
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// The counter `panics_total`.
#[derive(Debug)]
pub struct Panics;

impl Collector for Panics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(count());
        let help = "Panics: faults of this program, each the failure of what was worked on; the log has message and place";
        counter.encode(encoder.encode_descriptor("panics", help, None, counter.metric_type())?)
    }
}

/// Runs `work`; its panic is an error. What `work` shares with others must hold after a panic at any of its calls: locks
/// are taken whether poisoned or not.
pub async fn caught<F: Future>(work: F) -> Result<F::Output, Panic> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| taken(payload.as_ref()))
}

/// Calls `work`; its panic is an error. See [`caught`].
pub fn caught_call<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| taken(payload.as_ref()))
}

fn taken(payload: &(dyn Any + Send)) -> Panic {
    let last = LAST.try_with(|last| last.borrow_mut().take()).ok().flatten();
    last.unwrap_or_else(|| Panic { message: text(payload), place: unknown() })
}

fn unknown() -> String {
    "an unknown place".to_owned()
}

fn text(payload: &(dyn Any + Send)) -> String {
    let literal = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    literal
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message_and_place_and_is_counted() {
        install();
        let before = count();
        let caught_one = caught(async {
            tokio::task::yield_now().await;
            assert_eq!(1 + 1, 3, "of {}", "two");
        });
        let panic = caught_one.await.unwrap_err();
        assert!(panic.message.contains("of two"), "{panic:?}");
        assert!(panic.place.contains("panics.rs:"), "{panic:?}");
        let panic = caught_call(|| [1][usize::try_from(before).unwrap().max(1)]).unwrap_err();
        assert!(panic.message.contains("index out of bounds"), "{panic}");
        assert!(count() >= before + 2, "panics are counted");
        assert_eq!(caught(async { 7 }).await, Ok(7));
    }
}
