//! Names, labels and annotations of what is made for a NIMService.

use std::collections::BTreeMap;

use crds::nim::NIMServiceSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::operator::engine::child::MANAGED_BY;
use crate::operator::engine::kind::Subject;

pub(super) type Map = BTreeMap<String, String>;

/// Which security context constraints pods may use on OpenShift.
const REQUIRED_SCC: &str = "openshift.io/required-scc";

/// Adds what is missing: on equal keys the first map wins.
pub(super) fn merged(first: Map, second: Option<&Map>) -> Map {
    let mut all = second.cloned().unwrap_or_default();
    all.extend(first);
    all
}

/// Labels of every child; users may add to them but not change them.
pub(super) fn labels(subject: &Subject, spec: &NIMServiceSpec) -> Map {
    let name = &subject.owner.name;
    // Upstream's manifests never set a version. Ours would restart every model on each upgrade, so it stays empty.
    let standard = [
        ("app.kubernetes.io/name", name.as_str()),
        ("app.kubernetes.io/instance", name.as_str()),
        ("app.kubernetes.io/operator-version", ""),
        ("app.kubernetes.io/part-of", "nim-service"),
        MANAGED_BY,
    ];
    merged(owned(&standard), spec.labels.as_ref())
}

/// Labels of pods: those of every child, and the one that Service and Deployment select by, which no user label replaces.
pub(super) fn pod_labels(subject: &Subject, spec: &NIMServiceSpec) -> Map {
    let mut all = labels(subject, spec);
    all.extend(selector(&subject.owner.name));
    all
}

/// What Service and Deployment select pods by.
pub(super) fn selector(name: &str) -> Map {
    owned(&[("app", name)])
}

/// Annotations of children and pods.
pub(super) fn annotations(spec: &NIMServiceSpec) -> Map {
    merged(owned(&[(REQUIRED_SCC, scc(spec))]), spec.annotations.as_ref())
}

/// The constraints that the pods need: the one that is granted is the one that is demanded.
pub(super) fn scc(spec: &NIMServiceSpec) -> &'static str {
    if super::volumes::certificates(spec).is_some() {
        "anyuid"
    } else if spec.storage.host_path.as_deref().is_some_and(|path| !path.is_empty()) {
        "hostmount-anyuid"
    } else {
        "nonroot"
    }
}

/// Metadata of a child that has the name of its NIMService.
pub(super) fn meta(subject: &Subject, labels: Map, annotations: Map) -> ObjectMeta {
    ObjectMeta {
        name: Some(subject.owner.name.clone()),
        namespace: Some(subject.owner.namespace.clone()),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        ..ObjectMeta::default()
    }
}

fn owned(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
