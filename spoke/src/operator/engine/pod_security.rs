//! Pods as a namespace wants them that enforces the Pod Security Standard `restricted`. Pure.
//!
//! Every kind renders its pods as NVIDIA's operator does. Where they are to be let into a restricted namespace, this room
//! adds what the standard asks for and names what it cannot add. A workload that is there keeps the form it was made in
//! until its pods are replaced anyway: a label of its namespace restarts nothing.

use std::borrow::Cow;

use crds::compare::holds;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::child::{Child, DESIRED_HASH, Owner};
use super::kind::Failure;
use crate::operator::certificates;

/// Label of a namespace: the standard that its pods must meet.
pub(crate) const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Its value that asks for more than pods are rendered with by default.
pub(crate) const RESTRICTED: &str = "restricted";

/// Types of volumes that a restricted namespace takes.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// Fields of a pod that share something of its node.
const HOST_FIELDS: [&str; 3] = ["hostNetwork", "hostPID", "hostIPC"];

/// A child as it is to be written. `enforced` says that its namespace takes restricted pods only. Fails with what of
/// the pods no addition makes acceptable there.
pub(crate) fn shaped<'a>(
    child: &'a Child,
    owner: &Owner,
    live: Option<&DynamicObject>,
    enforced: bool,
) -> Result<Cow<'a, Child>, String> {
    let pods = child.kind.pod_specs();
    if pods.is_empty() {
        return Ok(Cow::Borrowed(child));
    }
    let hash = live.and_then(|live| live.metadata.annotations.as_ref()?.get(DESIRED_HASH));
    let is_unchanged = |form: &Child| hash.is_some_and(|hash| *hash == form.stamped(owner).hash);
    if (live.is_none() && !enforced) || is_unchanged(child) {
        return Ok(Cow::Borrowed(child));
    }
    let strict = restricted(child);
    if is_unchanged(&strict) {
        return Ok(Cow::Owned(strict));
    }
    // Pods that are rendered as they are go on as they are, whatever else changes around them.
    let has = |form: &Child| {
        let of = |at: &&str| form.body.pointer(at).unwrap_or(&Value::Null);
        live.is_some_and(|live| {
            pods.iter().all(|at| holds(of(at), live.data.pointer(at).unwrap_or(&Value::Null)))
        })
    };
    if has(&strict) {
        return Ok(Cow::Owned(strict));
    }
    if !enforced || has(child) {
        return Ok(Cow::Borrowed(child));
    }
    let refused = pods.iter().find_map(|at| violation(strict.body.pointer(at)?));
    refused.map_or(Ok(Cow::Owned(strict)), Err)
}

/// What is told of a pod that its namespace refuses in every form.
pub(crate) fn failure(child: &Child, namespace: &str, refused: &str) -> Failure {
    let (kind, name) = (child.kind.resource().kind, &child.name);
    let message = format!(
        "{kind} {name}: {refused}, and namespace {namespace} takes restricted pods only by its label \
         {ENFORCE}={RESTRICTED}: change the object, or place it in another namespace"
    );
    Failure::new("PodSecurityViolation", message)
}

/// The child with what the standard asks for.
fn restricted(child: &Child) -> Child {
    let mut child = child.clone();
    for at in child.kind.pod_specs() {
        if let Some(pod) = child.body.pointer_mut(at) {
            restrict(pod);
        }
    }
    child
}

fn restrict(pod: &mut Value) {
    let profile = json!({"type": "RuntimeDefault"});
    // Knative takes no security context of a pod, so its containers have all of it.
    let of_pod = pod["securityContext"].is_object();
    if of_pod {
        absent(&mut pod["securityContext"], "runAsNonRoot", json!(true));
        absent(&mut pod["securityContext"], "seccompProfile", profile.clone());
    }
    for list in ["initContainers", "containers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            certificates::without_root(container);
            let security = &mut container["securityContext"];
            absent(security, "allowPrivilegeEscalation", json!(false));
            absent(security, "capabilities", json!({"drop": ["ALL"]}));
            if !of_pod {
                absent(security, "runAsNonRoot", json!(true));
                absent(security, "seccompProfile", profile.clone());
            }
        }
    }
}

fn absent(within: &mut Value, field: &str, value: Value) {
    if within[field].is_null() {
        within[field] = value;
    }
}

/// What of a pod the standard refuses, if anything: field and value.
pub(super) fn violation(pod: &Value) -> Option<String> {
    let host = HOST_FIELDS.iter().find(|field| pod[**field] == json!(true));
    if let Some(field) = host {
        return Some(format!("{field} is true"));
    }
    let volumes = pod["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for volume in volumes {
        let types = volume.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
        if let Some(refused) = types.filter(|field| *field != "name").find(|field| !VOLUMES.contains(field)) {
            return Some(format!("volume {} is of type {refused}", volume["name"]));
        }
    }
    let of_pod = &pod["securityContext"];
    if of_pod["runAsUser"] == 0 {
        return Some("runAsUser is 0".to_owned());
    }
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let mut containers = lists.iter().flat_map(|list| pod[*list].as_array().into_iter().flatten());
    containers.find_map(|container| {
        let refused = container_violation(container, of_pod)?;
        Some(format!("container {}: {refused}", container["name"]))
    })
}

fn container_violation(container: &Value, of_pod: &Value) -> Option<String> {
    let own = &container["securityContext"];
    let said = |field: &str| if own[field].is_null() { &of_pod[field] } else { &own[field] };
    let profile = &said("seccompProfile")["type"];
    let drops = own["capabilities"]["drop"].as_array().is_some_and(|drop| drop.contains(&json!("ALL")));
    let added = own["capabilities"]["add"].as_array().map(Vec::as_slice).unwrap_or_default();
    let host_port = |port: &Value| port["hostPort"].as_i64().is_some_and(|port| port != 0);
    if own["privileged"] == json!(true) {
        Some("privileged is true".to_owned())
    } else if own["allowPrivilegeEscalation"] != json!(false) {
        Some("allowPrivilegeEscalation is not false".to_owned())
    } else if *said("runAsNonRoot") != json!(true) {
        Some("runAsNonRoot is not true".to_owned())
    } else if *said("runAsUser") == 0 {
        Some("runAsUser is 0".to_owned())
    } else if *profile != "RuntimeDefault" && *profile != "Localhost" {
        Some("seccompProfile is neither RuntimeDefault nor Localhost".to_owned())
    } else if !drops || added.iter().any(|one| *one != "NET_BIND_SERVICE") {
        Some("capabilities are not dropped".to_owned())
    } else if container["ports"].as_array().into_iter().flatten().any(host_port) {
        Some("hostPort is set".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::engine::child::{ChildKind, Keep};
    use crate::operator::engine::decide::tests::owner;

    fn pod(image: &str) -> Value {
        json!({
            "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
            "containers": [{"name": "c", "image": image}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        })
    }

    fn deployment(pod: &Value) -> Child {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "n", "namespace": "ns"},
            "spec": {"replicas": 1, "template": {"spec": pod}}});
        Child::new(ChildKind::Deployment, "n", Keep::Owned, &body)
    }

    fn live(child: &Child) -> DynamicObject {
        serde_json::from_value(child.stamped(&owner()).body).unwrap()
    }

    fn is_restricted(child: &Child) -> bool {
        child.kind.pod_specs().iter().all(|at| violation(child.body.pointer(at).unwrap()).is_none())
    }

    #[test]
    fn a_label_of_the_namespace_changes_new_pods_only() {
        let plain = deployment(&pod("a:1"));
        assert!(!is_restricted(&plain));
        let new = |enforced| shaped(&plain, &owner(), None, enforced).unwrap().into_owned();
        assert!(is_restricted(&new(true)));
        assert_eq!(new(false), plain);

        // What is there keeps its form, in both directions, also when something beside its pods changes.
        let mut more = plain.clone();
        more.body["spec"]["replicas"] = json!(2);
        for (made, enforced) in [(&plain, true), (&new(true), false)] {
            let live = live(made);
            for wanted in [&plain, &more] {
                let shaped = shaped(wanted, &owner(), Some(&live), enforced).unwrap();
                let at = "/spec/template";
                assert_eq!(shaped.body.pointer(at), made.body.pointer(at), "enforced: {enforced}");
                assert_eq!(shaped.body["spec"]["replicas"], wanted.body["spec"]["replicas"]);
            }
        }

        // Pods that are replaced anyway take the form of the day.
        let changed = deployment(&pod("a:2"));
        let live = live(&plain);
        assert!(is_restricted(&shaped(&changed, &owner(), Some(&live), true).unwrap()));
        let strict = super::restricted(&plain);
        let live = self::live(&strict);
        assert_eq!(*shaped(&changed, &owner(), Some(&live), false).unwrap(), changed);
    }

    #[test]
    fn what_a_webhook_made_of_the_pods_does_not_restart_them() {
        let plain = deployment(&pod("a:1"));
        let mut live = live(&plain);
        live.data["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/a:1");
        assert_eq!(*shaped(&plain, &owner(), Some(&live), true).unwrap(), plain);
    }

    #[test]
    fn what_no_addition_makes_acceptable_is_named() {
        let mut root = pod("a:1");
        root["securityContext"]["runAsUser"] = json!(0);
        let mut folder = pod("a:1");
        folder["volumes"][0] = json!({"name": "v", "hostPath": {"path": "/data"}});
        let mut shared = pod("a:1");
        shared["hostNetwork"] = json!(true);
        let mut strong = pod("a:1");
        strong["containers"][0]["securityContext"] =
            json!({"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}});
        for (pod, words) in [
            (root, "runAsUser is 0"),
            (folder, "volume \"v\" is of type hostPath"),
            (shared, "hostNetwork is true"),
            (strong, "container \"c\": capabilities are not dropped"),
        ] {
            let child = deployment(&pod);
            assert_eq!(shaped(&child, &owner(), None, true).unwrap_err(), words);
            assert_eq!(*shaped(&child, &owner(), None, false).unwrap(), child);
        }
    }

    #[test]
    fn without_a_security_context_of_the_pod_its_containers_have_all_of_it() {
        let body = json!({"spec": {"predictor": {"containers": [{"name": "c", "image": "a:1"}]}}});
        let child = Child::new(ChildKind::InferenceService, "n", Keep::Owned, &body);
        let shaped = shaped(&child, &owner(), None, true).unwrap();
        assert!(is_restricted(&shaped));
        assert!(shaped.body["spec"]["predictor"].get("securityContext").is_none());
    }
}
