//! Getting the manifest out of the image: a pod that prints it, and the ConfigMap that keeps it.

use std::collections::BTreeMap;

use crds::nim::NIMCacheSpec;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::pods::{CONTAINER, labels, pod, resources, scc, security};
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{Child, ChildKind, Keep, MANAGED_BY};
use crate::operator::engine::kind::Subject;
use crate::operator::nimservice::runtime_default;

/// Key of the ConfigMap.
pub(super) const KEY: &str = "model_manifest.yaml";

/// What the pod prints when the image has no manifest.
const ABSENT: &str = "model_manifest.yaml not found";

/// What it prints before that when the image cannot take a model's address either: it is no NIM at all.
const NO_NIM: &str = "download-to-cache not found";

/// What it prints last. A log is read while it is written, and half a manifest may well be a manifest.
const END: &str = "# end of manifest";

/// How long a pod without that line has to have run before what it printed is taken for whole.
const LONG_ENOUGH: SignedDuration = SignedDuration::from_secs(2);

/// Prints the manifest from where images have it, and stays so that it can be read.
const SCRIPT: &str = "\
for file in /opt/nim/etc/default/model_manifest.yaml /etc/nim/config/model_manifest.yaml; do
  if [ -f \"$file\" ]; then cat \"$file\"; echo; echo '# end of manifest'; exec sleep infinity; fi
done
command -v download-to-cache >/dev/null || echo 'download-to-cache not found'
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

/// True when it says that the image, which has no manifest, is no NIM.
pub(super) fn says_no_nim(printed: &str) -> bool {
    says_absent(printed) && printed.contains(NO_NIM)
}

/// True when nothing more is to be expected of the pod.
pub(crate) fn is_whole(printed: &str, pod: &Value, now: Timestamp) -> bool {
    if says_absent(printed) || printed.trim_end().ends_with(END) {
        return true;
    }
    !printed.trim().is_empty()
        && started(pod).is_none_or(|started| now.duration_since(started).abs() >= LONG_ENOUGH)
}

/// When the container of the pod started; none until then.
pub(super) fn started(pod: &Value) -> Option<Timestamp> {
    pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"].as_str()?.parse().ok()
}

/// The pod.
pub(super) fn manifest_pod(subject: &Subject, spec: &NIMCacheSpec, facts: &ClusterFacts) -> Child {
    let mut container_security = security(spec);
    container_security.seccomp_profile = (facts.platform == Platform::Tkgs).then(runtime_default);
    let container = Container {
        name: CONTAINER.to_owned(),
        image: spec.source.model_puller().map(str::to_owned),
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
        spec: Some(k8s_openapi::api::core::v1::PodSpec { containers: vec![container], ..pod(spec) }),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn half_a_manifest_is_not_taken_for_a_whole_one() {
        let pod = json!({"status": {"containerStatuses": [{"state": {"running": {"startedAt": "1970-01-01T00:01:40Z"}}}]}});
        for (printed, second, whole) in [
            ("", 1000, false),
            ("a: {}", 100, false),
            ("a: {}", 102, true),
            ("a: {}\n# end of manifest\n", 100, true),
            ("model_manifest.yaml not found\n", 100, true),
        ] {
            assert_eq!(is_whole(printed, &pod, at(second)), whole, "{printed:?} at {second}");
        }
    }

    #[test]
    fn b29_an_image_without_a_manifest_is_a_nim_or_not() {
        for (printed, absent, no_nim) in [
            ("a: {}", false, false),
            ("model_manifest.yaml not found\n", true, false),
            ("download-to-cache not found\n", false, false),
            ("download-to-cache not found\nmodel_manifest.yaml not found\n", true, true),
        ] {
            assert_eq!((says_absent(printed), says_no_nim(printed)), (absent, no_nim), "{printed:?}");
        }
    }
}
