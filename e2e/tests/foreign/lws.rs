//! Services over several nodes, on LeaderWorkerSet as it is released.

use e2e::controlplane::Controller;
use e2e::failure::Failure;
use e2e::objects;
use serde_json::json;

use crate::site::on_the_cluster;

/// Label of all pods of a LeaderWorkerSet.
const MEMBER: &str = "leaderworkerset.sigs.k8s.io/name";

#[test]
fn groups_come_up_are_scaled_and_go() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _lws = all.lws(Controller::Lws09).await?;
        let namespace = "lws-lifetime";
        let groups = |replicas: u32| json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 1}}, "replicas": replicas});
        all.apply(namespace, "pair", groups(1)).await?;
        assert_eq!(all.ready(namespace, "pair").await?["status"]["availableReplicas"], 1);
        let first = all.pods(namespace, MEMBER, "pair-lws").await?;
        assert_eq!(first.len(), 2, "a leader and a worker: {first:?}");

        all.apply(namespace, "pair", groups(2)).await?;
        assert_eq!(all.ready(namespace, "pair").await?["status"]["availableReplicas"], 2);
        let second = all.pods(namespace, MEMBER, "pair-lws").await?;
        assert_eq!(second.len(), 4, "{second:?}");
        assert!(first.iter().all(|(name, uid)| second.get(name) == Some(uid)), "{first:?} {second:?}");

        all.apply(namespace, "pair", groups(0)).await?;
        all.none("Pod", namespace).await?;
        all.not_ready(namespace, "pair", "").await?;

        objects::delete(all.cluster(), "NIMService", namespace, "pair").await?;
        for kind in ["NIMService", "LeaderWorkerSet", "Pod"] {
            all.none(kind, namespace).await?;
        }
        Ok(())
    })
}
