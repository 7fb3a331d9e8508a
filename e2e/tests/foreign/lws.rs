//! Services over several nodes, on LeaderWorkerSet as it is released: 0.8, which most clusters run, and 0.9.
//!
//! 0.8 has no `status.observedGeneration` and counts a group as soon as its worker pods exist.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use e2e::controlplane::Controller;
use e2e::failure::Failure;
use e2e::{foreign, objects};
use serde_json::{Value, json};

use crate::site::{Foreign, SOON, condition, on_the_cluster};

/// Label of all pods of a LeaderWorkerSet.
const MEMBER: &str = "leaderworkerset.sigs.k8s.io/name";
/// Labels that LeaderWorkerSet gives to every pod of a group, beside [`MEMBER`].
const OF_GROUPS: [&str; 4] = [
    "leaderworkerset.sigs.k8s.io/group-index",
    "leaderworkerset.sigs.k8s.io/worker-index",
    "leaderworkerset.sigs.k8s.io/group-key",
    "leaderworkerset.sigs.k8s.io/template-revision-hash",
];
/// How long a wrong word would have to be seen.
const WATCHED: Duration = Duration::from_secs(3);

/// Names of pods with their uids.
type Pods = BTreeMap<String, String>;

/// A service of groups of two pods, with more of its spec.
fn groups(replicas: Option<u32>, more: Value) -> Value {
    let mut spec = json!({"multiNode": {"parallelism": {"pipeline": 2, "tensor": 1}}, "replicas": replicas});
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    spec
}

fn image(tag: &str) -> Value {
    json!({"image": {"repository": "nvcr.io/nim/meta/llama", "tag": tag}})
}

impl Foreign {
    async fn group_pods(&self, namespace: &str, name: &str) -> Result<Pods, Failure> {
        self.pods(namespace, MEMBER, &format!("{name}-lws")).await
    }

    /// Waits until the service is Ready with this many groups, as it says itself and by the pods. A group that
    /// LeaderWorkerSet makes anew once more, because the workers before were deleted, is not told as Ready for long.
    async fn groups_serve(&self, namespace: &str, name: &str, wanted: usize) -> Result<Pods, Failure> {
        let begun = Instant::now();
        let mut untrue: Option<Instant> = None;
        while begun.elapsed() < SOON {
            let found = self.service(namespace, name).await?;
            let ready = condition(&found, "Ready");
            let is_new = ready["observedGeneration"] == found["metadata"]["generation"];
            if !is_new || ready["status"] != "True" {
                untrue = None;
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            let told = found["status"]["availableReplicas"].as_u64().unwrap_or_default();
            assert!(told >= wanted as u64, "Ready too early: {}", found["status"]);
            let pods = objects::list(self.cluster(), "Pod", namespace).await?;
            let set = format!("{name}-lws");
            let pods: Vec<&Value> =
                pods.iter().filter(|pod| pod["metadata"]["labels"][MEMBER] == set).collect();
            let serving = pods.iter().filter(|pod| objects::expect(pod, "Ready", "True").is_ok());
            if serving.count() >= wanted * 2 {
                return self.group_pods(namespace, name).await;
            }
            let since = *untrue.get_or_insert_with(Instant::now);
            assert!(since.elapsed() < WATCHED, "Ready without its pods: {found} {pods:?}");
        }
        Err(Failure::new(format!("{name} is not Ready: {}", self.service(namespace, name).await?["status"])))
    }

    /// The same once its pods have stayed what they are for a while: LeaderWorkerSet makes a replaced group anew once more,
    /// when its former workers are deleted.
    async fn groups_stay(&self, namespace: &str, name: &str, wanted: usize) -> Result<Pods, Failure> {
        self.eventually(&format!("the pods of {name} stay"), || async {
            let before = self.groups_serve(namespace, name, wanted).await?;
            tokio::time::sleep(WATCHED).await;
            let after = self.groups_serve(namespace, name, wanted).await?;
            if before == after { Ok(after) } else { Err(Failure::new(format!("{before:?} {after:?}"))) }
        })
        .await
    }

    /// Waits until the set has this many pods.
    async fn has_pods(&self, namespace: &str, name: &str, wanted: usize) -> Result<Pods, Failure> {
        self.eventually(&format!("{name} has {wanted} pods"), || async {
            let pods = self.group_pods(namespace, name).await?;
            if pods.len() == wanted { Ok(pods) } else { Err(Failure::new(format!("{pods:?}"))) }
        })
        .await
    }
}

/// True when every pod of `before` is among `after`, the same.
fn stayed(before: &Pods, after: &Pods) -> bool {
    before.iter().all(|(name, uid)| after.get(name) == Some(uid))
}

#[test]
fn a_service_on_lws_0_8_lives_from_creation_to_deletion() -> Result<(), Failure> {
    on_the_cluster(|all| lifetime(all, Controller::Lws08, "lws08-life"))
}

#[test]
fn a_service_on_lws_0_9_lives_from_creation_to_deletion() -> Result<(), Failure> {
    on_the_cluster(|all| lifetime(all, Controller::Lws09, "lws09-life"))
}

async fn lifetime(all: &'static Foreign, version: Controller, namespace: &str) -> Result<(), Failure> {
    let lws = all.lws(version).await?;
    let (cluster, name) = (all.cluster(), "pair");
    let user = json!({"schedulerName": "default-scheduler",
        "labels": {"kueue.x-k8s.io/queue-name": "gpus", "team": "a"}});
    all.apply(namespace, name, groups(Some(2), user.clone())).await?;
    let first = all.groups_serve(namespace, name, 2).await?;
    assert_eq!(first.len(), 4, "a leader and a worker each: {first:?}");
    what_pods_are_given(all, namespace).await?;

    // Scale: what is there stays.
    all.apply(namespace, name, groups(Some(3), user.clone())).await?;
    let more = all.groups_serve(namespace, name, 3).await?;
    assert!(more.len() == 6 && stayed(&first, &more), "{first:?} {more:?}");
    all.apply(namespace, name, groups(Some(1), user.clone())).await?;
    let one = all.has_pods(namespace, name, 2).await?;
    all.groups_serve(namespace, name, 1).await?;
    assert!(stayed(&one, &first), "{one:?} {first:?}");
    all.apply(namespace, name, groups(Some(0), user.clone())).await?;
    all.has_pods(namespace, name, 0).await?;
    all.not_ready(namespace, name, "scaled down to 0").await?;
    all.eventually("no group is told", || async {
        let told = all.service(namespace, name).await?["status"]["availableReplicas"].clone();
        if told.is_null() { Ok(()) } else { Err(Failure::new(told.to_string())) }
    })
    .await?;
    all.apply(namespace, name, groups(Some(2), user.clone())).await?;
    let again = all.groups_serve(namespace, name, 2).await?;

    // Drift is put back, and no group is touched by it.
    let drift = json!({"spec": {"replicas": 5}, "metadata": {"labels": {"team": "b"}}});
    objects::patch(cluster, "LeaderWorkerSet", namespace, "pair-lws", drift).await?;
    all.eventually("the drift is put back", || async {
        let set = objects::get(cluster, "LeaderWorkerSet", namespace, "pair-lws").await?;
        let is_back = set["spec"]["replicas"] == 2 && set["metadata"]["labels"]["team"] == "a";
        if is_back { Ok(()) } else { Err(Failure::new(set["spec"]["replicas"].to_string())) }
    })
    .await?;
    all.has_pods(namespace, name, 4).await?;
    assert!(stayed(&again, &all.groups_serve(namespace, name, 2).await?));

    // A new image replaces all, one group at a time.
    let mut newer = user.clone();
    newer["image"] = image("1.13.0")["image"].clone();
    all.apply(namespace, name, groups(Some(2), newer.clone())).await?;
    let newest = all.groups_stay(namespace, name, 2).await?;
    assert!(newest.values().all(|uid| again.values().all(|old| old != uid)), "{again:?} {newest:?}");

    // A pod that is lost takes its group with it, and no other.
    let lost = ["delete", "pod", "pair-lws-1-1", "-n", namespace, "--wait=false"];
    cluster.kubectl(&lost, None).await?;
    all.eventually("its group is made anew", || async {
        let pods = all.group_pods(namespace, name).await?;
        let is_new = |pod: &str| pods.get(pod).is_some_and(|uid| newest.get(pod) != Some(uid));
        if is_new("pair-lws-1") && is_new("pair-lws-1-1") {
            Ok(())
        } else {
            Err(Failure::new(format!("{pods:?}")))
        }
    })
    .await?;
    let healed = all.groups_stay(namespace, name, 2).await?;
    for pod in ["pair-lws-0", "pair-lws-0-1"] {
        assert_eq!(healed.get(pod), newest.get(pod), "{pod}");
    }

    // A set that is deleted comes back.
    let old = objects::get(cluster, "LeaderWorkerSet", namespace, "pair-lws").await?;
    objects::delete(cluster, "LeaderWorkerSet", namespace, "pair-lws").await?;
    all.eventually("the set is back", || async {
        let set = objects::get(cluster, "LeaderWorkerSet", namespace, "pair-lws").await?;
        let is_old = set["metadata"]["uid"] == old["metadata"]["uid"];
        if is_old { Err(Failure::new("it is the old one")) } else { Ok(()) }
    })
    .await?;
    all.groups_serve(namespace, name, 2).await?;

    webhooks_that_are_away(all, &lws, namespace, &newer).await?;
    made_anew_on_one_node(all, namespace, &newer).await?;

    objects::delete(cluster, "NIMService", namespace, name).await?;
    for kind in ["NIMService", "LeaderWorkerSet", "Deployment", "Service", "Pod"] {
        all.none(kind, namespace).await?;
    }
    drop(lws);
    Ok(())
}

/// Labels and scheduler of the pods. What `report/waiting` and `multi_node/groups` play in their tests is as it is here.
async fn what_pods_are_given(all: &Foreign, namespace: &str) -> Result<(), Failure> {
    let set = objects::get(all.cluster(), "LeaderWorkerSet", namespace, "pair-lws").await?;
    assert_eq!(set["metadata"]["labels"]["kueue.x-k8s.io/queue-name"], "gpus");
    for pod in objects::list(all.cluster(), "Pod", namespace).await? {
        let (name, labels) = (&pod["metadata"]["name"], &pod["metadata"]["labels"]);
        for label in OF_GROUPS {
            assert!(labels[label].is_string(), "{name} lacks {label}: {labels}");
        }
        assert!(labels["kueue.x-k8s.io/queue-name"].is_null(), "{name}: {labels}");
        assert_eq!((&labels["team"], &labels[MEMBER]), (&json!("a"), &json!("pair-lws")), "{name}");
        assert_eq!(pod["spec"]["schedulerName"], "default-scheduler", "{name}");
        let leads = labels["leaderworkerset.sigs.k8s.io/worker-index"] == "0";
        assert_eq!(labels["app"] == "pair-lws", leads, "{name}: the Service finds leaders alone");
    }
    Ok(())
}

/// LeaderWorkerSet restarts while its user changes the image: nothing has failed, and what serves is told.
async fn webhooks_that_are_away(
    all: &Foreign,
    lws: &crate::site::Lws<'_>,
    namespace: &str,
    spec: &Value,
) -> Result<(), Failure> {
    let Some(controller) = lws.controller() else { return Err(Failure::new("no controller runs")) };
    let before = all.group_pods(namespace, "pair").await?;
    controller.kill();
    let mut changed = spec.clone();
    changed["image"] = image("1.14.0")["image"].clone();
    all.apply(namespace, "pair", groups(Some(2), changed)).await?;
    let told = all.not_ready(namespace, "pair", "failed calling webhook").await?;
    let message = condition(&told, "Ready")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("not applied yet: "), "{message}");
    assert_eq!(condition(&told, "Failed")["status"], "False", "{told}");
    assert_eq!(
        (&told["status"]["state"], &told["status"]["availableReplicas"]),
        (&json!("NotReady"), &json!(2))
    );
    assert!(told["status"]["model"]["clusterEndpoint"].is_string(), "{}", told["status"]);
    assert_eq!(all.group_pods(namespace, "pair").await?, before);
    foreign::start(controller).await?;
    all.eventually("the change is applied by itself", || async {
        let pods = all.group_pods(namespace, "pair").await?;
        let left = pods.values().any(|uid| before.values().any(|old| old == uid));
        if left { Err(Failure::new(format!("{pods:?}"))) } else { Ok(()) }
    })
    .await?;
    all.groups_serve(namespace, "pair", 2).await?;
    Ok(())
}

/// A service that needs one node after all. Its nodes cannot be changed; it can be made anew under its name.
async fn made_anew_on_one_node(all: &Foreign, namespace: &str, spec: &Value) -> Result<(), Failure> {
    let mut alone = groups(Some(1), spec.clone());
    alone["multiNode"] = Value::Null;
    let Err(refused) = all.apply(namespace, "pair", alone.clone()).await else {
        return Err(Failure::new("pods of a group cannot become those of a Deployment"));
    };
    let refused = refused.to_string();
    assert!(refused.contains("spec.multiNode") && refused.contains("delete the NIMService"), "{refused}");
    objects::delete(all.cluster(), "NIMService", namespace, "pair").await?;
    all.none("NIMService", namespace).await?;
    all.apply(namespace, "pair", alone).await?;
    all.ready(namespace, "pair").await?;
    all.none("LeaderWorkerSet", namespace).await?;
    all.has_pods(namespace, "pair", 0).await.map(drop)
}

#[test]
fn a_group_counts_on_lws_0_8_when_all_its_pods_are_ready() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let lws = all.lws(Controller::Lws08).await?;
        let namespace = "lws08-counts";
        // Two nodes, and no two of these pods on one: leaders are made first and take both.
        let apart = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{
            "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": "wide"}},
            "topologyKey": "kubernetes.io/hostname",
        }]}});
        all.apply(namespace, "wide", groups(Some(2), json!({ "affinity": apart }))).await?;
        all.eventually("LeaderWorkerSet calls both groups ready", || async {
            let set = objects::get(all.cluster(), "LeaderWorkerSet", namespace, "wide-lws").await?;
            let ready = &set["status"]["readyReplicas"];
            if *ready == 2 { Ok(()) } else { Err(Failure::new(set["status"].to_string())) }
        })
        .await?;
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            let found = all.service(namespace, "wide").await?;
            assert_ne!(condition(&found, "Ready")["status"], "True", "workers find no node: {found}");
            assert_eq!(found["status"]["availableReplicas"], Value::Null, "workers find no node: {found}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        all.not_ready(namespace, "wide", "didn't match pod anti-affinity rules").await?;
        all.apply(namespace, "wide", groups(Some(1), json!({ "affinity": apart }))).await?;
        all.groups_serve(namespace, "wide", 1).await?;
        objects::delete(all.cluster(), "NIMService", namespace, "wide").await?;
        all.none("Pod", namespace).await?;
        drop(lws);
        Ok(())
    })
}

#[test]
fn groups_that_nobody_counts_in_the_spec_are_left_to_whoever_scales_them() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let lws = all.lws(Controller::Lws09).await?;
        let namespace = "lws09-scaled";
        all.apply(namespace, "free", groups(None, json!({}))).await?;
        let one = all.groups_serve(namespace, "free", 1).await?;
        let scaled = ["scale", "leaderworkerset", "free-lws", "-n", namespace, "--replicas=3"];
        all.cluster().kubectl(&scaled, None).await?;
        let three = all.has_pods(namespace, "free", 6).await?;
        all.eventually("three groups are told", || async {
            let found = all.service(namespace, "free").await?;
            let told = &found["status"]["availableReplicas"];
            if *told == 3 { Ok(()) } else { Err(Failure::new(told.to_string())) }
        })
        .await?;
        assert!(stayed(&one, &three), "{one:?} {three:?}");
        all.eventually("the hosts follow", || async {
            let hosts = objects::get(all.cluster(), "ConfigMap", namespace, "free-mpi-config").await?;
            hosts["data"].get("hostfile-2").map(drop).ok_or_else(|| Failure::new(hosts["data"].to_string()))
        })
        .await?;
        objects::delete(all.cluster(), "NIMService", namespace, "free").await?;
        all.none("Pod", namespace).await?;
        drop(lws);
        Ok(())
    })
}

/// What NVIDIA's operator made of a NIMService over two nodes, and its spec; as recorded.
const TAKEN_OVER: &str = include_str!("../../../spoke/src/operator/nimservice/tests/taken_over.json");

#[test]
fn groups_that_nvidias_operator_made_are_taken_over_without_a_restart() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let lws = all.lws_alone(Controller::Lws09).await?;
        let (cluster, namespace, name) = (all.cluster(), "lws09-taken", "deepseek-r1");
        // One GPU a pod, since other tests want some too.
        let recorded: Value = serde_json::from_str(
            &TAKEN_OVER.replace("\"nvidia.com/gpu\": \"8\"", "\"nvidia.com/gpu\": \"1\""),
        )?;
        all.site().operator().kill();
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "deepseek-r1-nimcache-pvc", "namespace": namespace},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "kwok-volume", "resources": {"requests": {"storage": "1Gi"}}},
        });
        let service = |spec: &Value| {
            json!({
                "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
                "metadata": {"name": name, "namespace": namespace}, "spec": spec,
            })
        };
        objects::apply(cluster, &claim.to_string()).await?;
        objects::apply(cluster, &service(&recorded["spec"]).to_string()).await?;
        let owner = all.service(namespace, name).await?;
        let mut labels = recorded["pods"]["leaderTemplate"]["metadata"]["labels"].clone();
        if let Some(labels) = labels.as_object_mut() {
            labels.retain(|key, _| !["app", "nim-llm-role"].contains(&key.as_str()));
        }
        let set = json!({
            "apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet",
            "metadata": {
                "name": "deepseek-r1-lws", "namespace": namespace, "labels": labels,
                "ownerReferences": [{"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": name,
                    "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}],
            },
            "spec": {"replicas": 1, "leaderWorkerTemplate": recorded["pods"]},
        });
        objects::apply(cluster, &set.to_string()).await?;
        let before = all.has_pods(namespace, name, 2).await?;

        all.site().start_operator().await?;
        let after = all.groups_serve(namespace, name, 1).await?;
        assert_eq!(after, before);
        let mut more = recorded["spec"].clone();
        more["replicas"] = json!(2);
        objects::apply(cluster, &service(&more).to_string()).await?;
        let grown = all.groups_serve(namespace, name, 2).await?;
        assert!(grown.len() == 4 && stayed(&before, &grown), "{before:?} {grown:?}");
        objects::delete(cluster, "NIMService", namespace, name).await?;
        all.none("Pod", namespace).await?;
        drop(lws);
        Ok(())
    })
}
