//! Getting the manifest out of the image: a pod that prints it, and the ConfigMap that keeps it.

use std::collections::BTreeMap;

use crds::nim::NIMCacheSpec;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::pods::{CONTAINER, labels, pod, resources, scc, security};
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{Child, ChildKind, Keep, MANAGED_BY};
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::nimservice::runtime_default;

/// Key of the ConfigMap.
pub(super) const KEY: &str = "model_manifest.yaml";

/// What the pod prints when the image has no manifest.
const ABSENT: &str = "model_manifest.yaml not found";

/// Prints the manifest from where images have it, and stays so that it can be read.
const SCRIPT: &str = "\
for file in /opt/nim/etc/default/model_manifest.yaml /etc/nim/config/model_manifest.yaml; do
  if [ -f \"$file\" ]; then cat \"$file\"; exec sleep infinity; fi
done
echo 'model_manifest.yaml not found'
exec sleep infinity
";

/// Name of the pod.
pub(super) fn pod_name(subject: &Subject) -> String {
    format!("{}-pod", subject.owner.name)
}

/// Name of the ConfigMap.
pub(super) fn config_name(subject: &Subject) -> String {
    format!("{}-manifest", subject.owner.name)
}

/// True when what was printed says that the image has no manifest.
pub(super) fn says_absent(printed: &str) -> bool {
    printed.contains(ABSENT)
}

/// The pod.
pub(super) fn manifest_pod(
    subject: &Subject,
    spec: &NIMCacheSpec,
    image: &str,
    pull_secret: Option<&str>,
    facts: &ClusterFacts,
) -> Child {
    let mut container_security = security(spec);
    container_security.seccomp_profile = (facts.platform == Platform::Tkgs).then(runtime_default);
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        command: Some(vec!["sh".into(), "-c".into(), SCRIPT.into()]),
        resources: Some(resources(spec)),
        security_context: Some(container_security),
        ..Container::default()
    };
    let annotation = || BTreeMap::from([("openshift.io/required-scc".to_owned(), scc(spec).to_owned())]);
    let name = pod_name(subject);
    let object = Pod {
        metadata: ObjectMeta {
            annotations: (facts.platform == Platform::OpenShift).then(annotation),
            ..meta(subject, &name, labels(subject))
        },
        spec: Some(k8s_openapi::api::core::v1::PodSpec {
            containers: vec![container],
            ..pod(spec, pull_secret)
        }),
        status: None,
    };
    Child::new(ChildKind::Pod, &name, Keep::OwnedOnce, &object)
}

/// The ConfigMap.
pub(super) fn config_map(subject: &Subject, minimal: String) -> Child {
    let name = config_name(subject);
    let object = ConfigMap {
        metadata: meta(subject, &name, standard_labels(subject)),
        data: Some(BTreeMap::from([(KEY.to_owned(), minimal)])),
        ..ConfigMap::default()
    };
    Child::new(ChildKind::ConfigMap, &name, Keep::OwnedOnce, &object)
}

/// Labels of the claim and the ConfigMap.
pub(super) fn standard_labels(subject: &Subject) -> BTreeMap<String, String> {
    let mut all = labels(subject);
    all.insert("app.kubernetes.io/instance".to_owned(), subject.owner.name.clone());
    all.insert("app.kubernetes.io/part-of".to_owned(), "nim-cache".to_owned());
    all.insert("app".to_owned(), MANAGED_BY.1.to_owned());
    all
}

pub(super) fn meta(subject: &Subject, name: &str, labels: BTreeMap<String, String>) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(subject.owner.namespace.clone()),
        labels: Some(labels),
        ..ObjectMeta::default()
    }
}

/// Why a pod does not run yet, in the words of its kubelet or scheduler; `None` when it runs.
pub(super) fn waiting(pod: &Value) -> Option<Failure> {
    let status = &pod["status"];
    if status["phase"] == "Running" {
        return None;
    }
    let containers = ["initContainerStatuses", "containerStatuses"];
    let mut states = containers.iter().filter_map(|field| status[*field].as_array()).flatten();
    if let Some(state) = states.find_map(|container| container["state"]["waiting"].as_object())
        && let Some(reason) = state.get("reason").and_then(Value::as_str)
    {
        let message = state.get("message").and_then(Value::as_str).unwrap_or_default();
        return Some(Failure::new(reason, message));
    }
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False");
    let why = unscheduled.map(|one| {
        let text = |field: &str, other: &str| one[field].as_str().unwrap_or(other).to_owned();
        Failure::new(text("reason", "Unschedulable"), text("message", ""))
    });
    Some(why.unwrap_or_else(|| Failure::new("PodPending", "the pod has not started yet")))
}
