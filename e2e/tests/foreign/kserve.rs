//! Services on KServe as it is released. After each change the uids of the pods tell whether it replaced one.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::failure::Failure;
use e2e::site::IDENTITY;
use e2e::{foreign, objects, take_over};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::site::{Foreign, condition, on_the_cluster};

/// Label of all pods of an InferenceService.
const MEMBER: &str = "serving.kserve.io/inferenceservice";
/// Kinds whose objects go with a service on KServe.
const CHILDREN: [&str; 5] =
    ["NIMService", "InferenceService", "Deployment", "HorizontalPodAutoscaler", "Pod"];

type Pods = BTreeMap<String, String>;

impl Foreign {
    /// Applies a NIMService on KServe.
    async fn apply_served(&self, namespace: &str, name: &str, mut more: Value) -> Result<(), Failure> {
        more["inferencePlatform"] = json!("kserve");
        self.apply(namespace, name, more).await
    }

    /// Waits until the service is Ready with just this many replicas; gives back its pods. Whenever Ready is said, as many
    /// are there.
    async fn serves(&self, namespace: &str, name: &str, replicas: usize) -> Result<Pods, Failure> {
        self.eventually(&format!("{replicas} replicas of {name} serve"), || async {
            let found = self.ready(namespace, name).await?;
            let pods = self.predictor(namespace, name).await?;
            assert!(pods.len() >= replicas, "Ready was said with {pods:?}: {}", found["status"]);
            let available = &found["status"]["availableReplicas"];
            if *available == replicas && pods.len() == replicas {
                return Ok(pods);
            }
            Err(Failure::new(format!("{available} are available, of {pods:?}")))
        })
        .await
    }

    /// Waits until none of these pods is left and others are there.
    async fn replaced(&self, namespace: &str, name: &str, old: &Pods) -> Result<Pods, Failure> {
        self.eventually(&format!("the pods of {name} are replaced"), || async {
            let new = self.predictor(namespace, name).await?;
            let left = new.values().any(|uid| old.values().any(|old| old == uid));
            if left || new.is_empty() { Err(Failure::new(format!("{new:?}"))) } else { Ok(new) }
        })
        .await
    }

    /// The pods of its predictor.
    async fn predictor(&self, namespace: &str, name: &str) -> Result<Pods, Failure> {
        self.pods(namespace, MEMBER, name).await
    }

    /// Deletes the service and waits until nothing is left of it.
    async fn removed(&self, namespace: &str, name: &str) -> Result<(), Failure> {
        objects::delete(self.cluster(), "NIMService", namespace, name).await?;
        for kind in CHILDREN {
            self.none(kind, namespace).await?;
        }
        Ok(())
    }

    /// The words of its Ready condition.
    async fn says(&self, namespace: &str, name: &str) -> Result<String, Failure> {
        let found = self.service(namespace, name).await?;
        Ok(condition(&found, "Ready")["message"].as_str().unwrap_or_default().to_owned())
    }
}

fn image(tag: &str) -> Value {
    json!({"image": {"repository": "nvcr.io/nim/meta/llama", "tag": tag}})
}

fn keeps(new: &Pods, old: &Pods) -> bool {
    old.iter().all(|(name, uid)| new.get(name) == Some(uid))
}

#[test]
fn a_service_is_changed_put_right_and_goes() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-lifetime";
        all.apply_served(namespace, "plain", json!({})).await?;
        let first = all.serves(namespace, "plain", 1).await?;

        all.apply_served(namespace, "plain", image("1.13.0")).await?;
        let second = all.replaced(namespace, "plain", &first).await?;
        assert_eq!(all.serves(namespace, "plain", 1).await?, second);

        let drift = json!({"spec": {"predictor": {"minReplicas": 2, "maxReplicas": 2}}});
        objects::patch(all.cluster(), "InferenceService", namespace, "plain", drift).await?;
        all.eventually("the drift is healed", || async {
            let found = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
            let least = &found["spec"]["predictor"]["minReplicas"];
            if *least == 1 { Ok(()) } else { Err(Failure::new(format!("minReplicas is {least}"))) }
        })
        .await?;
        let second = all.serves(namespace, "plain", 1).await?;

        objects::delete(all.cluster(), "Deployment", namespace, "plain-predictor").await?;
        // A pod that the drift has brought late may be there in between, and goes with the old Deployment.
        all.replaced(namespace, "plain", &second).await?;
        all.serves(namespace, "plain", 1).await?;

        let old = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
        objects::delete(all.cluster(), "InferenceService", namespace, "plain").await?;
        all.eventually("the InferenceService is back", || async {
            let found = objects::get(all.cluster(), "InferenceService", namespace, "plain").await?;
            let same = found["metadata"]["uid"] == old["metadata"]["uid"];
            if same { Err(Failure::new("it is the old one")) } else { Ok(()) }
        })
        .await?;
        all.serves(namespace, "plain", 1).await?;
        all.removed(namespace, "plain").await
    })
}

#[test]
fn a_number_of_replicas_is_followed_without_a_restart_down_to_none() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-replicas";
        let replicas = |count: u32| json!({"replicas": count});
        all.apply_served(namespace, "some", replicas(2)).await?;
        let two = all.serves(namespace, "some", 2).await?;
        all.none("HorizontalPodAutoscaler", namespace).await?;

        all.apply_served(namespace, "some", replicas(3)).await?;
        let three = all.serves(namespace, "some", 3).await?;
        assert!(keeps(&three, &two), "{two:?} {three:?}");
        all.apply_served(namespace, "some", replicas(1)).await?;
        let one = all.serves(namespace, "some", 1).await?;
        assert!(keeps(&three, &one), "{three:?} {one:?}");

        all.apply_served(namespace, "some", replicas(0)).await?;
        all.not_ready(namespace, "some", "scaled down to 0 replicas").await?;
        all.none("Pod", namespace).await?;
        all.eventually("no replica is told", || async {
            let told = all.service(namespace, "some").await?["status"]["availableReplicas"].clone();
            if told.is_null() { Ok(()) } else { Err(Failure::new(told.to_string())) }
        })
        .await?;
        all.apply_served(namespace, "some", replicas(2)).await?;
        all.serves(namespace, "some", 2).await?;
        all.removed(namespace, "some").await
    })
}

#[test]
fn an_autoscaler_has_the_metrics_that_were_asked_for_or_they_are_named() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-metrics";
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 60}}});
        let memory = json!({"type": "Resource", "resource": {"name": "memory",
            "target": {"type": "AverageValue", "averageValue": "500Mi"}}});
        let cores = json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "AverageValue", "averageValue": "4"}}});
        let scaled = |most: u32, metrics: &[&Value]| {
            let hpa = json!({"minReplicas": 2, "maxReplicas": most, "metrics": metrics});
            json!({"replicas": null, "scale": {"enabled": true, "hpa": hpa}})
        };
        all.apply_served(namespace, "scaled", scaled(3, &[&memory, &cpu])).await?;
        let pods = all.serves(namespace, "scaled", 2).await?;
        let autoscaler =
            |name: &'static str| objects::get(all.cluster(), "HorizontalPodAutoscaler", namespace, name);
        // KServe makes it after the Deployment.
        let found = all.eventually("the autoscaler is there", || autoscaler("scaled-predictor")).await?;
        assert_eq!(found["spec"]["metrics"], json!([memory, cpu]));

        all.apply_served(namespace, "scaled", scaled(4, &[&memory, &cpu])).await?;
        all.eventually("the autoscaler follows", || async {
            let found = autoscaler("scaled-predictor").await?;
            let most = &found["spec"]["maxReplicas"];
            if *most == 4 { Ok(()) } else { Err(Failure::new(most.to_string())) }
        })
        .await?;
        assert_eq!(all.serves(namespace, "scaled", 2).await?, pods);

        all.apply_served(namespace, "cores", scaled(3, &[&cores])).await?;
        all.ready(namespace, "cores").await?;
        let words = all.says(namespace, "cores").await?;
        assert!(words.contains("spec.scale.hpa.metrics[0] (cpu by AverageValue"), "{words}");
        let found = all.eventually("the autoscaler is there", || autoscaler("cores-predictor")).await?;
        assert_eq!(
            found["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80,
            "as it is told"
        );
        objects::delete(all.cluster(), "NIMService", namespace, "cores").await?;
        all.removed(namespace, "scaled").await
    })
}

#[test]
fn a_model_with_a_sidecar_runs_and_nothing_is_written_once_it_does() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let (_kserve, _alone) = all.kserve_alone().await?;
        let namespace = "kserve-sidecar";
        let beside =
            json!([{"name": "proxy", "image": {"repository": "registry.example/proxy", "tag": "1"}}]);
        all.apply_served(namespace, "both", json!({"sidecarContainers": beside})).await?;
        let pods = all.serves(namespace, "both", 1).await?;
        let (name, _) = pods.first_key_value().ok_or_else(|| Failure::new("no pod"))?;
        let pod = objects::get(all.cluster(), "Pod", namespace, name).await?;
        let containers = pod["spec"]["containers"].as_array();
        let names: Vec<&Value> = containers.into_iter().flatten().map(|one| &one["name"]).collect();
        assert_eq!(names, ["kserve-container", "proxy"]);

        let ours = |since: Timestamp| {
            let writes = all.cluster().audit().writes_by(IDENTITY, since);
            writes.into_iter().filter(|request| request.namespace == namespace).collect::<Vec<_>>()
        };
        let since = all
            .eventually("the operator is done with it", || async {
                let since = Timestamp::now();
                tokio::time::sleep(Duration::from_secs(2)).await;
                let writes = ours(since);
                if writes.is_empty() { Ok(since) } else { Err(Failure::new(format!("{writes:?}"))) }
            })
            .await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let writes = ours(since);
        assert!(writes.is_empty(), "{writes:?}");
        all.removed(namespace, "both").await
    })
}

#[test]
fn ready_is_said_of_the_pods_that_were_asked_for_last() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let (kserve, _alone) = all.kserve_alone().await?;
        let namespace = "kserve-stale";
        all.apply_served(namespace, "stale", json!({})).await?;
        let old = all.serves(namespace, "stale", 1).await?;

        // With its webhooks, KServe would refuse every change while it is away.
        let hooks = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];
        let name = "inferenceservice.serving.kserve.io";
        let mut kept = Vec::new();
        for kind in hooks {
            let mut hook = objects::get(all.cluster(), kind, "", name).await?;
            objects::delete(all.cluster(), kind, "", name).await?;
            hook["metadata"] = json!({"name": name});
            kept.push(hook);
        }
        kserve.kill();
        all.apply_served(namespace, "stale", image("1.13.0")).await?;
        let found = all.not_ready(namespace, "stale", "Waiting for KServe to update deployment").await?;
        assert_eq!(found["status"]["availableReplicas"], 1, "the old pod serves");
        assert_eq!(all.predictor(namespace, "stale").await?, old);

        foreign::start(kserve).await?;
        for hook in kept {
            objects::apply(all.cluster(), &hook.to_string()).await?;
        }
        all.replaced(namespace, "stale", &old).await?;
        all.serves(namespace, "stale", 1).await?;
        all.removed(namespace, "stale").await
    })
}

#[test]
fn a_restart_or_another_rendering_replaces_no_pod() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let (kserve, _alone) = all.kserve_alone().await?;
        let namespace = "kserve-restart";
        all.apply_served(namespace, "steady", json!({"replicas": 1})).await?;
        let before = all.serves(namespace, "steady", 1).await?;
        kserve.kill();
        all.site().operator().kill();
        foreign::start(kserve).await?;
        all.site().start_operator().await?;

        // Pods are rendered with a seccomp profile from now on, as by a newer operator.
        let tanzu = |value: &'static str| async move {
            let label = ["label", "node", "--all", "--overwrite", value];
            all.cluster().kubectl(&label, None).await
        };
        tanzu("node.vmware.com/tkg=yes").await?;
        all.eventually("new pods are rendered otherwise", || async {
            all.apply_served(namespace, "probe", json!({"replicas": 0})).await?;
            let found = objects::get(all.cluster(), "InferenceService", namespace, "probe").await?;
            if found["spec"]["predictor"].to_string().contains("seccompProfile") {
                return Ok(());
            }
            objects::delete(all.cluster(), "NIMService", namespace, "probe").await?;
            for kind in ["NIMService", "InferenceService"] {
                all.eventually("the probe is gone", || {
                    objects::absent(all.cluster(), kind, namespace, "probe")
                })
                .await?;
            }
            Err(Failure::new("the platform is not known yet"))
        })
        .await?;
        all.apply_served(namespace, "steady", json!({"replicas": 2})).await?;
        let scaled = all.serves(namespace, "steady", 2).await?;
        assert!(keeps(&scaled, &before), "{before:?} {scaled:?}");
        all.apply_served(
            namespace,
            "steady",
            json!({"replicas": 2, "env": [{"name": "MINE", "value": "1"}]}),
        )
        .await?;
        all.replaced(namespace, "steady", &scaled).await?;
        all.serves(namespace, "steady", 2).await?;
        tanzu("node.vmware.com/tkg-").await?;
        objects::delete(all.cluster(), "NIMService", namespace, "probe").await?;
        all.removed(namespace, "steady").await
    })
}

#[test]
fn what_nvidias_operator_left_is_taken_over_without_a_restart() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let (_kserve, _alone) = all.kserve_alone().await?;
        let (namespace, name) = ("kserve-take-over", "nim-service-multi-llm");
        all.site().operator().kill();
        all.cluster().kubectl(&["create", "namespace", namespace], None).await?;
        let recorded = include_str!("../../fixtures/take-over/kserve.json").replace("take-over", namespace);
        take_over::leave(all.cluster(), serde_json::from_str(&recorded)?).await?;
        let before = all
            .eventually("it runs before the take-over", || async {
                let found = objects::get(all.cluster(), "InferenceService", namespace, name).await?;
                objects::expect(&found, "PredictorReady", "True")?;
                all.predictor(namespace, name).await
            })
            .await?;
        all.site().start_operator().await?;
        assert_eq!(all.serves(namespace, name, 1).await?, before);
        let scaled = json!({"spec": {"replicas": 2}});
        objects::patch(all.cluster(), "NIMService", namespace, name, scaled).await?;
        let two = all.serves(namespace, name, 2).await?;
        assert!(keeps(&two, &before), "{before:?} {two:?}");
        let changed = json!({"spec": {"env": [{"name": "MINE", "value": "1"}]}});
        objects::patch(all.cluster(), "NIMService", namespace, name, changed).await?;
        all.replaced(namespace, name, &two).await?;
        all.serves(namespace, name, 2).await?;
        all.removed(namespace, name).await
    })
}

#[test]
fn a_switch_of_the_platform_and_back_leaves_nothing() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-switch";
        all.apply(namespace, "moving", json!({})).await?;
        all.ready(namespace, "moving").await?;
        all.apply_served(namespace, "moving", json!({})).await?;
        all.eventually("the Deployment is gone", || async {
            objects::absent(all.cluster(), "Deployment", namespace, "moving").await
        })
        .await?;
        all.serves(namespace, "moving", 1).await?;
        all.apply(namespace, "moving", json!({})).await?;
        for kind in ["InferenceService", "HorizontalPodAutoscaler"] {
            all.none(kind, namespace).await?;
        }
        all.eventually("KServe's Deployment is gone", || async {
            objects::absent(all.cluster(), "Deployment", namespace, "moving-predictor").await
        })
        .await?;
        all.ready(namespace, "moving").await?;
        all.removed(namespace, "moving").await
    })
}

#[test]
fn what_kserve_does_otherwise_is_told() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-words";
        let mode = "serving.kserve.io/deploymentMode";
        // KServe's defaulter renames this to Standard on the InferenceService, and not on its pods.
        all.apply_served(namespace, "inner", json!({"annotations": {mode: "RawDeployment"}})).await?;
        let pods = all.serves(namespace, "inner", 1).await?;
        let inner = all.service(namespace, "inner").await?;
        let endpoint = inner["status"]["model"]["clusterEndpoint"].clone();
        assert_eq!(endpoint, format!("http://inner-predictor.{namespace}.svc.cluster.local"));
        assert_eq!(
            inner["status"]["model"]["externalEndpoint"].as_str().unwrap_or_default(),
            "",
            "it is cluster-local"
        );
        let words = all.says(namespace, "inner").await?;
        assert!(words.contains("spec.resources.limits.memory (KServe sets 2Gi)"), "{words}");
        let (name, _) = pods.first_key_value().ok_or_else(|| Failure::new("no pod"))?;
        let pod = objects::get(all.cluster(), "Pod", namespace, name).await?;
        let port = &pod["metadata"]["annotations"]["prometheus.io/port"];
        assert_ne!(*port, "9088", "the port of Knative's queue proxy");

        // KServe refuses this, so it is not asked.
        all.apply_served(namespace, "inner", json!({"annotations": {mode: "Knative"}})).await?;
        assert_eq!(all.serves(namespace, "inner", 1).await?, pods);
        let inner = all.service(namespace, "inner").await?;
        assert_eq!(inner["status"]["model"]["clusterEndpoint"], endpoint);
        let words = all.says(namespace, "inner").await?;
        assert!(
            words.contains("stays in mode Standard") && words.contains("delete InferenceService inner"),
            "{words}"
        );
        objects::delete(all.cluster(), "InferenceService", namespace, "inner").await?;
        all.eventually("it is made again in the mode that was asked for", || async {
            let found = objects::get(all.cluster(), "InferenceService", namespace, "inner").await?;
            let is = &found["status"]["deploymentMode"];
            if *is == "Knative" { Ok(()) } else { Err(Failure::new(is.to_string())) }
        })
        .await?;

        let ingress = json!({"enabled": true,
            "spec": {"ingressClassName": "nginx", "rules": [{"host": "my.example.com"}]}});
        let limits = json!({"nvidia.com/gpu": 1, "memory": "16Gi", "cpu": "4"});
        let outer = json!({"expose": {"service": {"port": 8000}, "ingress": ingress}, "resources": {"limits": limits}});
        all.apply_served(namespace, "outer", outer).await?;
        all.serves(namespace, "outer", 1).await?;
        let words = all.says(namespace, "outer").await?;
        assert!(words.contains("without effect on KServe: spec.expose.ingress.spec"), "{words}");
        assert!(!words.contains("KServe sets"), "{words}");
        let outer = all.service(namespace, "outer").await?;
        let outside = outer["status"]["model"]["externalEndpoint"].as_str().unwrap_or_default();
        assert!(outside.contains("outer"), "{outside}");
        objects::delete(all.cluster(), "NIMService", namespace, "outer").await?;
        all.removed(namespace, "inner").await
    })
}

#[test]
fn knative_gets_its_bounds_and_says_why_it_is_not_ready() -> Result<(), Failure> {
    on_the_cluster(|all| async move {
        let _kserve = all.kserve().await?;
        let namespace = "kserve-knative";
        let knative = |more: Value| {
            let mut annotations = json!({"serving.kserve.io/deploymentMode": "Knative"});
            if let (Some(all), Value::Object(more)) = (annotations.as_object_mut(), more) {
                all.extend(more);
            }
            annotations
        };
        let bounds = knative(
            json!({"autoscaling.knative.dev/min-scale": "3", "autoscaling.knative.dev/max-scale": "5"}),
        );
        all.apply_served(namespace, "bounded", json!({"annotations": bounds})).await?;
        all.apply_served(namespace, "counted", json!({"annotations": knative(json!({})), "replicas": 2}))
            .await?;
        for (name, least, most) in [("bounded", "3", "5"), ("counted", "2", "2")] {
            let service = format!("{name}-predictor");
            let get = ["get", "services.serving.knative.dev", &service, "-n", namespace, "-o", "json"];
            let found: Value = all
                .eventually(&format!("{service} is there"), || async {
                    Ok(serde_json::from_str(&all.cluster().kubectl(&get, None).await?)?)
                })
                .await?;
            let annotations = &found["spec"]["template"]["metadata"]["annotations"];
            assert_eq!(annotations["autoscaling.knative.dev/min-scale"], least, "{name}: {annotations}");
            assert_eq!(annotations["autoscaling.knative.dev/max-scale"], most, "{name}: {annotations}");
            let found = all.not_ready(namespace, name, "").await?;
            let words = condition(&found, "Ready")["message"].as_str().unwrap_or_default().to_owned();
            assert!(!words.is_empty(), "{found}");
            objects::delete(all.cluster(), "NIMService", namespace, name).await?;
        }
        all.none("InferenceService", namespace).await
    })
}
