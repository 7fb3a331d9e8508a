//! The identity that all NIMCaches of a namespace share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding, RoleRef, Subject as BoundTo};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::operator::engine::child::{Child, ChildKind, Keep, MANAGED_BY};
use crate::operator::microservice::access::use_of_scc;

/// The ServiceAccount of download pods.
pub(super) const ACCOUNT: &str = "nim-cache-sa";
const ROLE: &str = "nim-cache-role";
const BINDING: &str = "nim-cache-rolebinding";

/// All of them. They go with the last NIMCache of their namespace.
pub(super) const NAMES: &[(ChildKind, &str)] =
    &[(ChildKind::RoleBinding, BINDING), (ChildKind::Role, ROLE), (ChildKind::ServiceAccount, ACCOUNT)];

/// The three objects. `proxies` says that some NIMCache of the namespace uses a proxy: its pods need more, and since
/// the role is shared it grants what any of them needs instead of going back and forth.
pub(super) fn children(namespace: &str, proxies: bool) -> [Child; 3] {
    let managed = (MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let app = ("app".to_owned(), MANAGED_BY.1.to_owned());
    let meta = |name: &str, labels: BTreeMap<String, String>| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        ..ObjectMeta::default()
    };
    let both = BTreeMap::from([managed.clone(), app]);
    let account =
        ServiceAccount { metadata: meta(ACCOUNT, BTreeMap::from([managed])), ..ServiceAccount::default() };
    let mut names = vec!["nonroot".to_owned()];
    if proxies {
        names.insert(0, "anyuid".to_owned());
    }
    let widest = use_of_scc(vec!["anyuid".to_owned(), "nonroot".to_owned()]);
    let role = Role { metadata: meta(ROLE, both.clone()), rules: Some(vec![use_of_scc(names)]) };
    let binding = RoleBinding {
        metadata: meta(BINDING, both),
        role_ref: RoleRef {
            api_group: "rbac.authorization.k8s.io".into(),
            kind: "Role".into(),
            name: ROLE.into(),
        },
        subjects: Some(vec![BoundTo {
            kind: "ServiceAccount".into(),
            name: ACCOUNT.into(),
            namespace: Some(namespace.to_owned()),
            api_group: None,
        }]),
    };
    [
        Child::new(ChildKind::ServiceAccount, ACCOUNT, Keep::Shared, &account),
        Child::new(ChildKind::Role, ROLE, Keep::Shared, &role)
            .requiring(ChildKind::ServiceAccount, ACCOUNT)
            .covering(json!([widest])),
        Child::new(ChildKind::RoleBinding, BINDING, Keep::Shared, &binding),
    ]
}
