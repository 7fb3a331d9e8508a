//! The fence: open for a while after each renewal of the lease, and asked before every write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Method, Request};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use tower::BoxError;

/// A write that was not sent: this process does not hold the lease, or cannot tell.
#[derive(Debug, thiserror::Error)]
#[error("not written: this process does not hold its lease at this moment")]
pub struct Fenced;

/// Whether this process may write. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Fence {
    until: Arc<Mutex<Option<Until>>>,
}

/// By two clocks: a stopped process is caught by either, a machine that slept by the second alone.
#[derive(Clone, Copy, Debug)]
struct Until {
    monotonic: Instant,
    wall: Timestamp,
}

impl Fence {
    /// Lets nothing through.
    #[must_use]
    pub fn closed() -> Self {
        Self { until: Arc::new(Mutex::new(None)) }
    }

    /// Lets writes through for so long from a moment, given by both clocks.
    pub fn open_for(&self, time: Duration, monotonic: Instant, wall: Timestamp) {
        let span = SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO);
        let wall = wall.checked_add(span).unwrap_or(wall);
        *self.lock() = Some(Until { monotonic: monotonic + time, wall });
    }

    /// Lets nothing through any more.
    pub fn close(&self) {
        *self.lock() = None;
    }

    /// Whether writes go through now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open_at(Instant::now(), Timestamp::now())
    }

    fn is_open_at(&self, monotonic: Instant, wall: Timestamp) -> bool {
        self.lock().is_some_and(|until| monotonic < until.monotonic && wall < until.wall)
    }

    /// A client whose reads always go through and whose writes ask first, every one of them.
    #[must_use]
    pub fn guard(&self, client: Client) -> Client {
        let (fence, namespace) = (self.clone(), client.default_namespace().to_owned());
        let asking = tower::service_fn(move |request: Request<Body>| {
            let (fence, client) = (fence.clone(), client.clone());
            async move {
                let reads = matches!(*request.method(), Method::GET | Method::HEAD);
                if !reads && !fence.is_open() {
                    return Err(BoxError::from(Fenced));
                }
                client.send(request).await.map_err(BoxError::from)
            }
        });
        Client::new(asking, namespace)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Until>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::Response;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Api;
    use kube::api::{DeleteParams, Patch, PatchParams, PostParams};

    use super::*;

    const TRUSTED: Duration = Duration::from_secs(8);

    #[test]
    fn it_closes_by_itself_by_whichever_clock_is_ahead() {
        let (fence, start, wall) = (Fence::closed(), Instant::now(), Timestamp::UNIX_EPOCH);
        let at = |monotonic, passed| {
            fence.is_open_at(start + Duration::from_secs(monotonic), wall + SignedDuration::from_secs(passed))
        };
        assert!(!at(0, 0), "before the first renewal");
        fence.open_for(TRUSTED, start, wall);
        assert!(at(0, 0) && at(7, 7));
        assert!(!at(8, 0), "stopped, and the wall clock was set back");
        assert!(!at(0, 8), "the machine slept, and its monotonic clock with it");
        fence.open_for(TRUSTED, start + TRUSTED, wall + SignedDuration::from_secs(8));
        assert!(at(15, 15), "renewed");
        fence.close();
        assert!(!at(9, 9));
    }

    #[tokio::test]
    async fn every_verb_that_changes_something_asks_first() {
        let sent = Arc::new(AtomicU32::new(0));
        let count = sent.clone();
        let server = tower::service_fn(move |_: Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, BoxError>(Response::new(Body::from(br#"{"metadata":{"name":"x"}}"#.to_vec()))) }
        });
        let fence = Fence::closed();
        let api: Api<ConfigMap> = Api::namespaced(fence.guard(Client::new(server, "ns")), "ns");
        let (post, patch) = (PostParams::default(), PatchParams::apply("hub"));
        let map = ConfigMap::default();
        let refused = [
            api.create(&post, &map).await.err(),
            api.replace("x", &post, &map).await.err(),
            api.patch("x", &patch, &Patch::Apply(&map)).await.err(),
            api.delete("x", &DeleteParams::default()).await.err(),
        ];
        for error in refused {
            let Some(kube::Error::Service(error)) = error else { panic!("{error:?}") };
            assert!(error.is::<Fenced>(), "{error:?}");
        }
        assert_eq!(sent.load(Ordering::Relaxed), 0);
        api.get("x").await.unwrap();
        fence.open_for(TRUSTED, Instant::now(), Timestamp::now());
        api.create(&post, &map).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }
}
