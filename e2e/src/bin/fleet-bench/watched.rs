//! A watch of one kind that runs by itself, so that a moment is noted when it comes and not when somebody asks.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use e2e::cluster::Cluster;
use e2e::failure::Failure;
use e2e::objects;
use futures::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::Value;
use tokio::sync::mpsc;

/// Namespace of everything that is measured.
pub(super) const NAMESPACE: &str = "fleet-bench";
/// No step takes minutes; this is for a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// An API server that is away is asked again this often.
const AGAIN: Duration = Duration::from_millis(20);

/// The NIMServices of one API server, as they change.
pub(super) struct Watched {
    seen: mpsc::UnboundedReceiver<(Instant, Value)>,
    cluster: String,
}

/// NIMServices of one API server.
pub(super) fn services(cluster: &Cluster) -> Api<DynamicObject> {
    objects::services(cluster.client(), NAMESPACE)
}

impl Watched {
    /// Returns when the watch has listed what there is.
    pub(super) async fn start(cluster: &Cluster) -> Result<Self, Failure> {
        let mut events = watcher(services(cluster), watcher::Config::default()).boxed();
        while !matches!(events.next().await.transpose()?, None | Some(Event::InitDone)) {}
        let (tell, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let at = Instant::now();
                match event {
                    Ok(Event::Apply(object) | Event::InitApply(object)) => {
                        if let Ok(object) = serde_json::to_value(object)
                            && tell.send((at, object)).is_err()
                        {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        });
        Ok(Self { seen, cluster: cluster.name().to_owned() })
    }

    /// When the object `name` was first seen from now on so that `check` holds.
    pub(super) async fn until(
        &mut self,
        name: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Instant, Failure> {
        self.until_all(HashSet::from([name.to_owned()]), check).await
    }

    /// When the last of the objects `names` was seen so that `check` holds.
    pub(super) async fn until_all(
        &mut self,
        mut names: HashSet<String>,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Instant, Failure> {
        let found = async {
            while let Some((at, object)) = self.seen.recv().await {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if names.contains(name) && check(&object) {
                    names.remove(name);
                    if names.is_empty() {
                        return Some(at);
                    }
                }
            }
            None
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Some(at)) => Ok(at),
            Ok(None) => Err(Failure::new(format!("the watch of {} ended", self.cluster))),
            Err(_) => Err(Failure::new(format!(
                "{}: {} NIMServices not as awaited within {PATIENCE:?}",
                self.cluster,
                names.len()
            ))),
        }
    }
}
