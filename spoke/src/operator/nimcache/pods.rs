//! What the manifest pod and the download job have in common: identity, security, placement, proxy.

use std::collections::BTreeMap;

use crds::nim::NIMCacheSpec;
use k8s_openapi::api::core::v1::{
    Capabilities, LocalObjectReference, PodSecurityContext, PodSpec, ResourceRequirements, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::shared::ACCOUNT;
use crate::operator::diagnosis::UNSCHEDULABLE;
use crate::operator::engine::child::MANAGED_BY;
use crate::operator::engine::kind::{Failure, Subject};

/// Name of the one container that matters.
pub(super) const CONTAINER: &str = "nim-cache-ctr";

/// Node label of machines with an NVIDIA device; where downloads run unless the NIMCache says otherwise.
const NVIDIA_NODE: (&str, &str) = ("feature.node.kubernetes.io/pci-10de.present", "true");

/// The same failure, with what a user may do where no node takes a pod since it asks for that label unasked.
pub(super) fn explained(spec: &NIMCacheSpec, why: Failure) -> Failure {
    let is_ours = spec.node_selector.is_none() && why.message.contains("selector");
    if why.reason != UNSCHEDULABLE || !is_ours {
        return why;
    }
    let (label, value) = NVIDIA_NODE;
    let message = format!(
        "{} (without spec.nodeSelector a NIMCache asks for nodes with {label}={value}: set spec.nodeSelector, {{}} for any node)",
        why.message
    );
    Failure::new(why.reason, message)
}

/// Labels of pods.
pub(super) fn labels(subject: &Subject) -> BTreeMap<String, String> {
    let pairs = [("app", MANAGED_BY.1), ("app.kubernetes.io/name", &subject.owner.name), MANAGED_BY];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A pod as both have it, without containers.
pub(super) fn pod(spec: &NIMCacheSpec) -> PodSpec {
    let selector = spec
        .node_selector
        .clone()
        .unwrap_or_else(|| BTreeMap::from([(NVIDIA_NODE.0.to_owned(), NVIDIA_NODE.1.to_owned())]));
    let secret = spec.source.pull_secret();
    PodSpec {
        service_account_name: Some(ACCOUNT.to_owned()),
        runtime_class_name: spec.runtime_class_name.clone().filter(|name| !name.is_empty()),
        tolerations: spec.tolerations.clone().filter(|list| !list.is_empty()),
        node_selector: Some(selector).filter(|map| !map.is_empty()),
        image_pull_secrets: secret.map(|name| vec![LocalObjectReference { name: name.to_owned() }]),
        security_context: Some(PodSecurityContext {
            run_as_user: Some(spec.user()),
            run_as_non_root: Some(true),
            fs_group: Some(spec.group()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// The container's security.
pub(super) fn security(spec: &NIMCacheSpec) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        run_as_non_root: Some(true),
        run_as_user: Some(spec.user()),
        run_as_group: Some(spec.group()),
        ..SecurityContext::default()
    }
}

/// The container's resources: limits and requests alike, nought where nothing is said.
pub(super) fn resources(spec: &NIMCacheSpec) -> ResourceRequirements {
    let given = spec.resources.clone().unwrap_or_default();
    let amount = |given: Option<Quantity>| given.unwrap_or_else(|| Quantity("0".to_owned()));
    let map =
        BTreeMap::from([("cpu".to_owned(), amount(given.cpu)), ("memory".to_owned(), amount(given.memory))]);
    ResourceRequirements { limits: Some(map.clone()), requests: Some(map), claims: None }
}

/// The security context constraints that the pods need.
pub(super) fn scc(spec: &NIMCacheSpec) -> &'static str {
    if spec.proxy.is_some() { "anyuid" } else { "nonroot" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_that_nobody_asked_for_is_told_with_its_remedy() {
        let words = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
        let nowhere = || Failure::new(UNSCHEDULABLE, words);
        let told = explained(&NIMCacheSpec::default(), nowhere());
        assert!(told.message.starts_with(words), "{}", told.message);
        for word in
            ["spec.nodeSelector", "{} for any node", "feature.node.kubernetes.io/pci-10de.present=true"]
        {
            assert!(told.message.contains(word), "{}", told.message);
        }
        let own = NIMCacheSpec { node_selector: Some(BTreeMap::new()), ..NIMCacheSpec::default() };
        assert_eq!(explained(&own, nowhere()), nowhere());
        let other = Failure::new(UNSCHEDULABLE, "0/2 nodes are available: 2 Insufficient memory.");
        assert_eq!(explained(&NIMCacheSpec::default(), other.clone()), other);
    }
}
