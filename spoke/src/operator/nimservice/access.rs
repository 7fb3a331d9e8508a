//! The identity of the pods: ServiceAccount, Role and RoleBinding.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject as BoundTo};

use super::metadata::{Map, labels, meta, scc};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Subject;

/// The three objects, in the order in which they are made.
pub(super) fn children(subject: &Subject, spec: &NIMServiceSpec) -> [Child; 3] {
    let name = &subject.owner.name;
    let metadata = || meta(subject, labels(subject, spec), Map::new());
    let account = ServiceAccount { metadata: metadata(), ..ServiceAccount::default() };
    let role = Role { metadata: metadata(), rules: Some(vec![use_of_scc(vec![scc(spec).to_owned()])]) };
    let binding = RoleBinding {
        metadata: metadata(),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: name.clone(),
        },
        subjects: Some(vec![BoundTo {
            kind: "ServiceAccount".into(),
            name: name.clone(),
            namespace: Some(subject.owner.namespace.clone()),
            api_group: None,
        }]),
    };
    [
        Child::new(ChildKind::ServiceAccount, name, Keep::Owned, &account),
        Child::new(ChildKind::Role, name, Keep::Owned, &role),
        Child::new(ChildKind::RoleBinding, name, Keep::Owned, &binding),
    ]
}

/// The right to use security context constraints of OpenShift.
pub(crate) fn use_of_scc(names: Vec<String>) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec!["security.openshift.io".into()]),
        resources: Some(vec!["securitycontextconstraints".into()]),
        resource_names: Some(names),
        verbs: vec!["use".into()],
        ..PolicyRule::default()
    }
}
