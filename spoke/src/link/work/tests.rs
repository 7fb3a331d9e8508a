//! Against a cluster that answers for some objects only.

use std::sync::atomic::AtomicBool;

use runtime::CallError;
use runtime::call::LIMIT;

use super::*;
use crate::deliver::{AcceptError, HeldObject, ObjectRef, Release, Tombstone, Upsert};

/// Objects whose name begins with `hang` are never answered for, nor is any while it is away.
#[derive(Default)]
struct Cluster {
    away: AtomicBool,
    calls: AtomicU64,
}

impl Cluster {
    async fn answer(&self, object: &ObjectRef, outcome: Outcome) -> Result<Outcome, DeliverError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if object.name.starts_with("hang") || self.away.load(Ordering::Relaxed) {
            sleep(Duration::from_secs(10)).await;
            return Err(DeliverError::Call { what: object.to_string(), source: CallError::Timeout(LIMIT) });
        }
        sleep(Duration::from_millis(5)).await;
        Ok(outcome)
    }
}

impl Deliver for Cluster {
    async fn held(&self) -> Result<Vec<HeldObject>, DeliverError> {
        Ok(Vec::new())
    }

    async fn highest_epoch(&self) -> Result<Option<Epoch>, DeliverError> {
        Ok(None)
    }

    async fn accept_epoch(&self, _epoch: &Epoch) -> Result<(), AcceptError> {
        Ok(())
    }

    async fn releases(&self) -> Result<Vec<Release>, DeliverError> {
        Ok(Vec::new())
    }

    async fn store_releases(&self, _releases: &[Release]) -> Result<(), DeliverError> {
        Ok(())
    }

    async fn upsert(&self, upsert: &Upsert, _epoch: &Epoch) -> Result<Outcome, DeliverError> {
        self.answer(&upsert.object, Outcome::Accepted).await
    }

    async fn remove(&self, tombstone: &Tombstone, _epoch: &Epoch) -> Result<Outcome, DeliverError> {
        self.answer(&tombstone.object, Outcome::Gone).await
    }
}

struct Bench {
    workers: Workers<Cluster>,
    said: mpsc::UnboundedReceiver<Happening>,
    cluster: Arc<Cluster>,
    /// Keeps the turn.
    _turn: watch::Sender<Option<OwnedMutexGuard<()>>>,
}

impl Bench {
    async fn new() -> Self {
        let cluster = Arc::new(Cluster::default());
        let (done, said) = mpsc::unbounded_channel();
        let guard = Arc::new(tokio::sync::Mutex::new(())).lock_owned().await;
        let (turn, ours) = watch::channel(Some(guard));
        let workers = Workers::new(cluster.clone(), done, ours, Counters::default());
        Self { workers, said, cluster, _turn: turn }
    }

    fn start(&self, name: &str) {
        let object = ObjectRef {
            uid: name.to_owned(),
            api_version: "apps.nvidia.com/v1alpha1".to_owned(),
            kind: "NIMService".to_owned(),
            namespace: "models".to_owned(),
            name: name.to_owned(),
        };
        let upsert = Upsert { object, generation: 1, hash: "1".to_owned(), payload: vec![], gang: None };
        let epoch =
            Epoch { hub_id: "hub".to_owned(), term: 1, incarnation: String::new(), proof: Vec::new() };
        self.workers.start(Work::Upsert(upsert), epoch);
    }

    /// The next thing that is said, shortly.
    async fn next(&mut self) -> String {
        match self.said.recv().await {
            Some(Happening::Delivered { uid, outcome }) => format!("{uid} {outcome:?}"),
            Some(Happening::Retrying { uid, .. }) => format!("{uid} retrying"),
            Some(Happening::GivenUp { uid }) => format!("{uid} given up"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_told_and_given_up_when_something_else_is_wanted() {
    let mut bench = Bench::new().await;
    bench.start("hang");
    assert_eq!(bench.next().await, "hang retrying", "after the first call: it has taken ten seconds");
    assert_eq!(bench.next().await, "hang retrying");
    bench.workers.give_up("hang");
    assert_eq!(bench.next().await, "hang given up");
    bench.start("good");
    assert_eq!(bench.next().await, "good Accepted");
    assert!(bench.workers.shared.tries().is_empty(), "nothing is kept of what is over");
}

#[tokio::test(start_paused = true)]
async fn more_objects_that_hang_than_there_are_slots_hold_up_no_other_for_long() {
    let mut bench = Bench::new().await;
    for number in 0..3 * AT_ONCE {
        bench.start(&format!("hang-{number}"));
    }
    // As soon as anything else is answered, it is known that the API server is not away.
    let mut slowest = Duration::ZERO;
    for number in 0..40 {
        let (begun, name) = (Instant::now(), format!("good-{number}"));
        bench.start(&name);
        while bench.next().await != format!("{name} Accepted") {}
        slowest = slowest.max(begun.elapsed());
        sleep(Duration::from_secs(5)).await;
    }
    assert!(slowest < Duration::from_secs(35), "{slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_is_asked_by_few_and_soon() {
    let mut bench = Bench::new().await;
    bench.cluster.away.store(true, Ordering::Relaxed);
    for number in 0..100 {
        bench.start(&format!("good-{number}"));
    }
    sleep(Duration::from_mins(10)).await;
    let calls = bench.cluster.calls.load(Ordering::Relaxed);
    assert!(calls <= u64::from(AT_ONCE) * 60, "{calls} calls to an API server that is away");
    bench.cluster.away.store(false, Ordering::Relaxed);
    let back = Instant::now();
    let mut accepted = 0;
    while accepted < 100 {
        accepted += u32::from(bench.next().await.ends_with("Accepted"));
    }
    // The calls that were under way have to end first.
    assert!(back.elapsed() < Duration::from_secs(12), "{:?}", back.elapsed());
}
