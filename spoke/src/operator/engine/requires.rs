//! What a child cannot do without among the children that are rendered with it: nothing may be lent the rights, the data
//! or the pods of somebody else's object of that name. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

use super::child::{Child, ChildKind};

/// A child that another requires, by kind and name.
pub(crate) type Required = (ChildKind, String);

/// What an object of this kind refers to by name. References that lead to no child of the same object are of no account.
pub(crate) fn references(kind: ChildKind, body: &Value) -> Vec<Required> {
    let mut found = BTreeSet::new();
    match kind {
        kind if kind.runs_pods() => of_pods(&body["spec"], &mut found),
        ChildKind::RoleBinding => {
            named(&body["roleRef"], &mut found);
            for subject in items(&body["subjects"]) {
                named(subject, &mut found);
            }
        }
        ChildKind::HorizontalPodAutoscaler => named(&body["spec"]["scaleTargetRef"], &mut found),
        ChildKind::Ingress | ChildKind::HttpRoute | ChildKind::GrpcRoute | ChildKind::InferencePool => {
            of_routes(&body["spec"], &mut found);
        }
        _ => {}
    }
    found.into_iter().collect()
}

/// What the child at `index` requires: the places of the children that it names, and where it runs pods, of the bindings
/// of their accounts.
pub(super) fn required(children: &[Child], index: usize) -> BTreeSet<usize> {
    let child = &children[index];
    let place = |wanted: &Required| {
        children.iter().position(|child| child.kind == wanted.0 && child.name == wanted.1)
    };
    let mut found: BTreeSet<usize> = child.requires.iter().filter_map(place).collect();
    if child.kind.runs_pods() {
        let accounts: Vec<&Required> =
            child.requires.iter().filter(|(kind, _)| *kind == ChildKind::ServiceAccount).collect();
        let binds = |child: &Child| {
            child.kind == ChildKind::RoleBinding
                && accounts.iter().any(|account| child.requires.contains(account))
        };
        found.extend(children.iter().enumerate().filter(|(_, child)| binds(child)).map(|(place, _)| place));
    }
    found.remove(&index);
    found
}

/// What pods refer to, however deep their templates lie.
fn of_pods(value: &Value, found: &mut BTreeSet<Required>) {
    match value {
        Value::Array(all) => all.iter().for_each(|item| of_pods(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                let kind = match key.as_str() {
                    "serviceAccountName" => Some((ChildKind::ServiceAccount, value)),
                    "resourceClaimTemplateName" => Some((ChildKind::ResourceClaimTemplate, value)),
                    "persistentVolumeClaim" => Some((ChildKind::PersistentVolumeClaim, &value["claimName"])),
                    "configMap" | "configMapRef" | "configMapKeyRef" => {
                        Some((ChildKind::ConfigMap, &value["name"]))
                    }
                    "secret" if value["secretName"].is_string() => {
                        Some((ChildKind::Secret, &value["secretName"]))
                    }
                    "secret" | "secretRef" | "secretKeyRef" => Some((ChildKind::Secret, &value["name"])),
                    _ => None,
                };
                if let Some((kind, name)) = kind {
                    found.extend(name.as_str().map(|name| (kind, name.to_owned())));
                }
                if key == "imagePullSecrets" {
                    let names = items(value).iter().filter_map(|one| one["name"].as_str());
                    found.extend(names.map(|name| (ChildKind::Secret, name.to_owned())));
                }
                of_pods(value, found);
            }
        }
        _ => {}
    }
}

/// The backends of Ingresses and routes, and what picks among the endpoints of a pool.
fn of_routes(value: &Value, found: &mut BTreeSet<Required>) {
    match value {
        Value::Array(all) => all.iter().for_each(|item| of_routes(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "service" => {
                        found
                            .extend(value["name"].as_str().map(|name| (ChildKind::Service, name.to_owned())));
                    }
                    "backendRefs" => items(value).iter().for_each(|backend| backed(backend, found)),
                    "endpointPickerRef" => backed(value, found),
                    _ => {}
                }
                of_routes(value, found);
            }
        }
        _ => {}
    }
}

/// A reference of the Gateway API: a Service unless it says another kind.
fn backed(reference: &Value, found: &mut BTreeSet<Required>) {
    if reference["kind"].is_null() {
        found.extend(reference["name"].as_str().map(|name| (ChildKind::Service, name.to_owned())));
    } else {
        named(reference, found);
    }
}

/// A reference by kind and name.
fn named(reference: &Value, found: &mut BTreeSet<Required>) {
    let kind = ChildKind::ALL.iter().find(|kind| reference["kind"] == kind.resource().kind);
    let name = reference["name"].as_str();
    found.extend(kind.zip(name).map(|(kind, name)| (*kind, name.to_owned())));
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::operator::engine::child::Keep;

    fn child(kind: ChildKind, name: &str, body: &Value) -> Child {
        Child::new(kind, name, Keep::Owned, body)
    }

    #[test]
    fn whatever_lends_pods_rights_or_data_is_required() {
        let pod = json!({
            "serviceAccountName": "a",
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"configMap": {"name": "map"}}, {"secret": {"secretName": "key"}},
                {"persistentVolumeClaim": {"claimName": "claim"}},
                {"projected": {"sources": [{"configMap": {"name": "part"}}, {"secret": {"name": "half"}}]}},
            ],
            "containers": [{"envFrom": [{"secretRef": {"name": "all"}}, {"configMapRef": {"name": "vars"}}],
                "env": [{"valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}},
                    {"valueFrom": {"configMapKeyRef": {"name": "two", "key": "k"}}}]}],
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpus"}],
        });
        let expected: BTreeSet<Required> = [
            (ChildKind::ServiceAccount, "a"),
            (ChildKind::PersistentVolumeClaim, "claim"),
            (ChildKind::ResourceClaimTemplate, "gpus"),
        ]
        .into_iter()
        .chain(["map", "part", "vars", "two"].map(|name| (ChildKind::ConfigMap, name)))
        .chain(["pull", "key", "half", "all", "one"].map(|name| (ChildKind::Secret, name)))
        .map(|(kind, name)| (kind, name.to_owned()))
        .collect();
        for (kind, body) in [
            (ChildKind::Pod, json!({"spec": pod})),
            (ChildKind::Job, json!({"spec": {"template": {"spec": pod}}})),
            (ChildKind::Deployment, json!({"spec": {"template": {"spec": pod}}})),
            (
                ChildKind::LeaderWorkerSet,
                json!({"spec": {"leaderWorkerTemplate": {"workerTemplate": {"spec": pod}}}}),
            ),
            (ChildKind::InferenceService, json!({"spec": {"predictor": pod}})),
        ] {
            let found: BTreeSet<Required> = references(kind, &body).into_iter().collect();
            assert_eq!(found, expected, "{kind:?}");
        }
    }

    #[test]
    fn what_leads_to_pods_requires_what_it_leads_to() {
        let service = vec![(ChildKind::Service, "s".to_owned())];
        let ingress =
            json!({"spec": {"rules": [{"http": {"paths": [{"backend": {"service": {"name": "s"}}}]}}]}});
        assert_eq!(references(ChildKind::Ingress, &ingress), service);
        let route = |backend: Value| json!({"spec": {"parentRefs": [{"name": "gw"}], "rules": [{"backendRefs": [backend]}]}});
        assert_eq!(references(ChildKind::HttpRoute, &route(json!({"name": "s", "port": 80}))), service);
        let pool = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "p"});
        assert_eq!(
            references(ChildKind::HttpRoute, &route(pool)),
            [(ChildKind::InferencePool, "p".to_owned())]
        );
        let picked = json!({"spec": {"endpointPickerRef": {"kind": "Service", "name": "s"}}});
        assert_eq!(references(ChildKind::InferencePool, &picked), service);
        let scaled = json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        let expected = [(ChildKind::Deployment, "d".to_owned())];
        assert_eq!(references(ChildKind::HorizontalPodAutoscaler, &scaled), expected);
    }

    #[test]
    fn a_workload_requires_the_bindings_of_its_own_account_and_of_no_other() {
        let account = |name: &str| child(ChildKind::ServiceAccount, name, &json!({}));
        let binding = |name: &str| {
            let body = json!({"roleRef": {"kind": "Role", "name": name}, "subjects": [{"kind": "ServiceAccount", "name": name}]});
            child(ChildKind::RoleBinding, name, &body)
        };
        let role =
            |name: &str| child(ChildKind::Role, name, &json!({})).requiring(ChildKind::ServiceAccount, name);
        let workload = |name: &str| {
            child(
                ChildKind::Deployment,
                name,
                &json!({"spec": {"template": {"spec": {"serviceAccountName": name}}}}),
            )
        };
        let children = [
            account("a"),
            role("a"),
            binding("a"),
            workload("a"),
            account("b"),
            role("b"),
            binding("b"),
            workload("b"),
        ];
        assert_eq!(required(&children, 3), BTreeSet::from([0, 2]));
        assert_eq!(required(&children, 7), BTreeSet::from([4, 6]));
        assert_eq!(required(&children, 2), BTreeSet::from([0, 1]));
        assert_eq!(required(&children, 1), BTreeSet::from([0]));
        assert_eq!(required(&children, 0), BTreeSet::new());
    }
}
