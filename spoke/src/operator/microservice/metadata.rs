//! Names, labels and annotations of what is made for a microservice.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Microservice;
use crate::operator::engine::child::MANAGED_BY;
use crate::operator::engine::kind::Subject;

pub(crate) type Map = BTreeMap<String, String>;

/// Which security context constraints pods may use on OpenShift.
const REQUIRED_SCC: &str = "openshift.io/required-scc";

/// Adds what is missing: on equal keys the first map wins.
pub(crate) fn merged(first: Map, second: Option<&Map>) -> Map {
    let mut all = second.cloned().unwrap_or_default();
    all.extend(first);
    all
}

impl Microservice<'_> {
    /// Labels of every child; users may add to them but not change them.
    pub(crate) fn labels(&self) -> Map {
        // Upstream's manifests never set a version. Ours would restart every pod on each upgrade, so it stays empty.
        let standard = [
            ("app.kubernetes.io/name", self.name()),
            ("app.kubernetes.io/instance", self.name()),
            ("app.kubernetes.io/operator-version", ""),
            ("app.kubernetes.io/part-of", self.part_of),
            MANAGED_BY,
        ];
        merged(owned(&standard), self.labels)
    }

    /// Labels of pods: those of every child, and the one that the Deployment selects by, which no user label replaces.
    pub(crate) fn pod_labels(&self) -> Map {
        let mut all = self.labels();
        all.extend(selector(self.name()));
        all
    }

    /// Annotations of children and pods.
    pub(crate) fn annotations(&self) -> Map {
        merged(owned(&[(REQUIRED_SCC, self.scc)]), self.annotations)
    }

    /// Metadata of a child that has the name of its microservice.
    pub(crate) fn meta(&self, annotations: Map) -> ObjectMeta {
        meta(self.subject, self.labels(), annotations)
    }
}

/// What a Deployment selects its pods by.
pub(crate) fn selector(name: &str) -> Map {
    owned(&[("app", name)])
}

/// Metadata of a child that has the name of its owner.
pub(crate) fn meta(subject: &Subject, labels: Map, annotations: Map) -> ObjectMeta {
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
