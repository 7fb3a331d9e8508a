//! The one cluster of all tests, its controllers, and NIMServices as the tests apply them.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::cluster::gpu::H100;
use e2e::controlplane::Controller;
use e2e::failure::Failure;
use e2e::fleet::Daemon;
use e2e::site::Site;
use e2e::{foreign, objects, sample};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, MutexGuard, OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Long enough for a busy machine; nothing here takes more than seconds but for autoscalers, which look every 15 s.
pub(crate) const SOON: Duration = Duration::from_mins(2);

/// The cluster. It lives as long as the process: its programs end with it, and the next fleet sweeps its files.
pub(crate) struct Foreign {
    site: Site,
    lws: Mutex<Option<(Controller, Daemon)>>,
    kserve: OnceCell<Daemon>,
    calm: RwLock<()>,
}

/// Runs a test on the runtime that all tests share, since the clients of the cluster live on it.
pub(crate) fn on_the_cluster<F: Future<Output = Result<(), Failure>>>(
    test: impl FnOnce(&'static Foreign) -> F,
) -> Result<(), Failure> {
    static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(Runtime::new);
    static FOREIGN: OnceCell<Foreign> = OnceCell::const_new();
    let runtime = RUNTIME.as_ref().map_err(|error| Failure::new(error.to_string()))?;
    runtime.block_on(async { test(FOREIGN.get_or_try_init(Foreign::start).await?).await })
}

impl Foreign {
    async fn start() -> Result<Self, Failure> {
        let site = Site::new().gpus(H100, 8, 2).audited().start().await?;
        Ok(Self { site, lws: Mutex::new(None), kserve: OnceCell::new(), calm: RwLock::new(()) })
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.site.cluster()
    }

    /// KServe, which runs as long as the answer is kept; the operator and LeaderWorkerSet are not stopped meanwhile.
    pub(crate) async fn kserve(&self) -> Result<RwLockReadGuard<'_, ()>, Failure> {
        self.kserve_daemon().await?;
        Ok(self.calm.read().await)
    }

    /// KServe for a test that stops it, or the operator: no other test of KServe runs meanwhile.
    pub(crate) async fn kserve_alone(&self) -> Result<(&Daemon, RwLockWriteGuard<'_, ()>), Failure> {
        Ok((self.kserve_daemon().await?, self.calm.write().await))
    }

    async fn kserve_daemon(&self) -> Result<&Daemon, Failure> {
        self.kserve.get_or_try_init(|| foreign::kserve::start(self.site.ground(), self.cluster())).await
    }

    /// LeaderWorkerSet in that version, in place of another that runs; for one test at a time. It runs as long as the
    /// answer is kept, and the operator is not stopped meanwhile.
    pub(crate) async fn lws(&self, version: Controller) -> Result<Lws<'_>, Failure> {
        let mut lws = self.lws.lock().await;
        let calm = self.calm.read().await;
        self.run_lws(&mut lws, version).await?;
        Ok(Lws { running: lws, _calm: Some(calm), _alone: None })
    }

    /// The same for a test that stops the operator: no other test runs meanwhile.
    pub(crate) async fn lws_alone(&self, version: Controller) -> Result<Lws<'_>, Failure> {
        let mut lws = self.lws.lock().await;
        let alone = self.calm.write().await;
        self.run_lws(&mut lws, version).await?;
        Ok(Lws { running: lws, _calm: None, _alone: Some(alone) })
    }

    async fn run_lws(
        &self,
        lws: &mut Option<(Controller, Daemon)>,
        version: Controller,
    ) -> Result<(), Failure> {
        match lws.as_ref() {
            Some((running, daemon)) if *running == version => {
                if daemon.ready().await.is_err() {
                    foreign::start(daemon).await?;
                }
            }
            _ => {
                *lws = None;
                let daemon = foreign::lws::start(self.site.ground(), self.cluster(), version).await?;
                *lws = Some((version, daemon));
            }
        }
        Ok(())
    }

    /// Applies a NIMService of one GPU on an emptyDir, with more of its spec; null takes a field away.
    pub(crate) async fn apply(&self, namespace: &str, name: &str, more: Value) -> Result<(), Failure> {
        objects::apply(self.cluster(), &sample::service(namespace, name, more).to_string()).await
    }

    /// The NIMService as it is.
    pub(crate) async fn service(&self, namespace: &str, name: &str) -> Result<Value, Failure> {
        objects::get(self.cluster(), "NIMService", namespace, name).await
    }

    /// Waits until the NIMService says Ready for the generation that it has.
    pub(crate) async fn ready(&self, namespace: &str, name: &str) -> Result<Value, Failure> {
        self.eventually(&format!("{name} is Ready"), || async {
            let found = self.service(namespace, name).await?;
            objects::expect_ready(&found)?;
            Ok(found)
        })
        .await
    }

    /// Waits until Ready is not True, of the generation that the NIMService has; with these words in its message.
    pub(crate) async fn not_ready(&self, namespace: &str, name: &str, words: &str) -> Result<Value, Failure> {
        self.eventually(&format!("{name} is not Ready: {words}"), || async {
            let found = self.service(namespace, name).await?;
            let ready = condition(&found, "Ready");
            let message = ready["message"].as_str().unwrap_or_default();
            let is_new = ready["observedGeneration"] == found["metadata"]["generation"];
            if is_new && ready["status"] == "False" && message.contains(words) {
                return Ok(found);
            }
            Err(Failure::new(format!("Ready is {ready}")))
        })
        .await
    }

    /// The pods that have this value in a label, by name, with their uids; those that are going are not counted.
    pub(crate) async fn pods(
        &self,
        namespace: &str,
        label: &str,
        value: &str,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let all = objects::list(self.cluster(), "Pod", namespace).await?;
        let metadata = all.iter().map(|pod| &pod["metadata"]);
        let chosen =
            metadata.filter(|pod| pod["labels"][label] == value && pod["deletionTimestamp"].is_null());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(chosen.map(|pod| (text(&pod["name"]), text(&pod["uid"]))).collect())
    }

    /// Waits until nothing of this kind is left in the namespace.
    pub(crate) async fn none(&self, kind: &str, namespace: &str) -> Result<(), Failure> {
        self.eventually(&format!("no {kind} is left in {namespace}"), || async {
            let left = objects::list(self.cluster(), kind, namespace).await?;
            let names: Vec<&str> = left.iter().filter_map(|one| one["metadata"]["name"].as_str()).collect();
            if names.is_empty() { Ok(()) } else { Err(Failure::new(names.join(", "))) }
        })
        .await
    }

    /// Looks again and again until `check` succeeds.
    pub(crate) async fn eventually<T, F, C>(&self, what: &str, check: F) -> Result<T, Failure>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Failure>>,
    {
        self.site.eventually(what, SOON, check).await
    }
}

/// LeaderWorkerSet, running.
pub(crate) struct Lws<'a> {
    running: MutexGuard<'a, Option<(Controller, Daemon)>>,
    _calm: Option<RwLockReadGuard<'a, ()>>,
    _alone: Option<RwLockWriteGuard<'a, ()>>,
}

impl Lws<'_> {
    /// Its controller; whoever kills it starts it again by [`foreign::start`], or leaves that to the next test.
    pub(crate) fn controller(&self) -> Option<&Daemon> {
        self.running.as_ref().map(|(_, daemon)| daemon)
    }
}

/// The condition of a type; null where there is none.
pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let all = object["status"]["conditions"].as_array();
    let found = all.and_then(|all| all.iter().find(|condition| condition["type"] == kind));
    found.cloned().unwrap_or_default()
}
