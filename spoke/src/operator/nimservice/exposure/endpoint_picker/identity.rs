//! ServiceAccount, Role and RoleBinding of the endpoint picker.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::{metadata, name};
use crate::operator::engine::child::Child;
use crate::operator::microservice::access::{self, rule};
use crate::operator::nimservice::scene::Scene;

/// The three objects, in the order in which they are made.
pub(super) fn children(scene: &Scene<'_>) -> [Child; 3] {
    access::children(&metadata(scene, &name(scene)), rules())
}

/// The picker reads pools, objectives (in both groups they have been in) and pods.
fn rules() -> Vec<PolicyRule> {
    let pools = &["inferencepools", "inferenceobjectives"][..];
    let groups = [
        ("inference.networking.k8s.io", pools),
        ("inference.networking.x-k8s.io", pools),
        ("", &["pods"][..]),
    ];
    groups.map(|(group, resources)| rule(&[group], resources, &["get", "watch", "list"])).to_vec()
}
