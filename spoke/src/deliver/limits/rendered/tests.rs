//! Every field of Kubernetes' types that are rendered has a class, and every recording is known to the last leaf.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use schemars::{JsonSchema, schema_for};
use serde_json::json;

use super::*;
use crate::deliver::limits::tests::files_below;
use crate::deliver::limits::{Limits, Made};

/// The definitions below a type: its own first.
fn definitions<T: JsonSchema>() -> (String, Value) {
    let schema = Value::from(schema_for!(T));
    let name = short(schema["title"].as_str().unwrap());
    let mut all = schema["$defs"].clone();
    let root = json!({"properties": schema["properties"]});
    all[format!("root.{name}")] = root;
    (name, all)
}

fn short(name: &str) -> String {
    name.rsplit(['.', '/']).next().unwrap_or_default().to_owned()
}

/// The name of the type of a property, whether it is one, a list or optional.
fn type_of(schema: &Value) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return Some(short(reference));
    }
    let parts = ["allOf", "anyOf"].into_iter().filter_map(|part| schema[part].as_array()).flatten();
    parts.chain(schema.get("items")).find_map(type_of)
}

fn walk(type_name: &str, all: &Value, seen: &mut BTreeSet<String>, faults: &mut BTreeSet<String>) {
    if !seen.insert(type_name.to_owned()) {
        return;
    }
    let definition = all.as_object().unwrap().iter().find(|(name, _)| short(name) == type_name);
    let (_, definition) = definition.unwrap_or_else(|| panic!("no definition of {type_name}"));
    let properties = definition["properties"].as_object().unwrap();
    for (name, schema) in properties {
        match field(known(type_name), name) {
            None => drop(faults.insert(format!("{type_name} {name}: has no class"))),
            Some(Field::Type(inner)) => {
                if type_of(schema).as_deref() == Some(inner) {
                    walk(inner, all, seen, faults);
                } else {
                    faults.insert(format!("{type_name} {name}: is no {inner}"));
                }
            }
            Some(Field::Limited("@Rules")) => walk("IngressRule", all, seen, faults),
            Some(_) => {}
        }
        let looks = name.to_lowercase();
        let is_limited = !matches!(field(known(type_name), name), Some(Field::Plain));
        for word in
            ["secret", "serviceaccount", "hostpath", "hostnetwork", "hostpid", "hostipc", "hostport", "image"]
        {
            let harmless = ["imagePullPolicy", "automountServiceAccountToken"].contains(&name.as_str());
            if looks.starts_with(word) && !is_limited && !harmless {
                faults.insert(format!("{type_name} {name}: looks like a {word}, but is plain"));
            }
        }
    }
    for (_, name) in FIELDS.keys().filter(|(of, _)| *of == type_name) {
        if !properties.contains_key(*name) {
            faults.insert(format!("{type_name} {name}: Kubernetes has it no more"));
        }
    }
}

/// The table's own word for a type.
fn known(type_name: &str) -> &'static str {
    FIELDS.keys().find(|(known, _)| *known == type_name).map_or("", |(known, _)| known)
}

#[test]
fn every_rendered_field_has_a_class() {
    let mut faults = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (name, all) in [
        definitions::<Deployment>(),
        definitions::<Job>(),
        definitions::<Pod>(),
        definitions::<Service>(),
        definitions::<Ingress>(),
        definitions::<HorizontalPodAutoscaler>(),
        definitions::<PersistentVolumeClaim>(),
        definitions::<ConfigMap>(),
        definitions::<Secret>(),
        definitions::<ServiceAccount>(),
        definitions::<Role>(),
        definitions::<RoleBinding>(),
        definitions::<ResourceClaimTemplate>(),
    ] {
        walk(&name, &all, &mut seen, &mut faults);
    }
    assert!(seen.len() > 40, "only {} types", seen.len());
    let faults: Vec<_> = faults.into_iter().collect();
    assert!(faults.is_empty(), "correct spoke/src/deliver/limits/rendered.txt:\n{}", faults.join("\n"));
}

/// Every object in the recordings of what is rendered.
fn recorded() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    let files = files_below("src/operator".into());
    for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "snap")) {
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.splitn(3, "---\n").last().unwrap_or_default();
        for value in serde_saphyr::from_multiple::<Value>(text).unwrap_or_default() {
            objects(&path.display().to_string(), &value, &mut found);
        }
    }
    found
}

fn objects(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields)
            if fields.contains_key("apiVersion")
                && fields.contains_key("kind")
                && fields.contains_key("metadata") =>
        {
            found.push((path.to_owned(), value.clone()));
        }
        Value::Object(fields) => fields.values().for_each(|value| objects(path, value, found)),
        Value::Array(items) => items.iter().for_each(|value| objects(path, value, found)),
        _ => {}
    }
}

#[test]
fn every_recording_is_known_to_its_last_leaf() {
    let recorded = recorded();
    assert!(recorded.len() > 60, "only {} objects", recorded.len());
    // What users say in these tests, beside what the operator sets itself.
    let said = ["a", "k", "team", "release"];
    let limits: Limits = serde_json::from_value(json!({"annotations": said, "labels": said})).unwrap();
    let mut faults = BTreeSet::new();
    let kinds: BTreeSet<_> = recorded.iter().filter_map(|(_, object)| object["kind"].as_str()).collect();
    for kind in ["Deployment", "LeaderWorkerSet", "InferenceService", "Job", "Ingress", "HTTPRoute", "Role"] {
        assert!(kinds.contains(kind), "{kind} is among {kinds:?}");
    }
    for (path, mut object) in recorded.iter().cloned() {
        // Stamped on every child after it was judged.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        let kind = object["kind"].as_str().unwrap().to_owned();
        let unknown = asks(&kind, &object, &Own::default());
        let unknown = unknown.into_iter().filter(|asked| matches!(asked.ask, Ask::Unknown));
        faults.extend(unknown.map(|asked| format!("{path}: {kind} {}", asked.field)));
        let others = asks(&kind, &object, &Own::default()).into_iter();
        let pairs = others.filter(|asked| matches!(asked.ask, Ask::Label(..) | Ask::Annotation(..)));
        let pairs = pairs.filter_map(|asked| limits.fault(&asked, &Made::default()));
        faults.extend(pairs.map(|fault| format!("{path}: {kind} {fault}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn an_excess_is_found_in_every_kind_of_child() {
    let pod = |extra: Value| {
        let mut pod = json!({"containers": [{"name": "c", "image": "nvcr.io/nim/x:1"}]});
        pod.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        pod
    };
    let template = |extra: Value| json!({"spec": {"template": {"spec": pod(extra)}}});
    let group =
        |extra: Value| json!({"spec": {"leaderWorkerTemplate": {"workerTemplate": {"spec": pod(extra)}}}});
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
        json!({"volumes": [volume]})
    };
    let container = |field: &str, value: Value| json!({"initContainers": [{"name": "i", field: value}]});
    let table = [
        (
            "Deployment",
            template(json!({"serviceAccountName": "cluster-admin"})),
            "serviceAccountName is \"cluster-admin\"",
        ),
        ("Deployment", template(json!({"hostNetwork": true})), "hostNetwork"),
        ("Job", template(json!({"hostPID": true})), "hostPID"),
        ("Pod", json!({"spec": pod(json!({"hostIPC": true}))}), "hostIPC"),
        (
            "Deployment",
            template(container("image", json!("evil.example.com/x:1"))),
            "initContainers[0].image",
        ),
        (
            "LeaderWorkerSet",
            group(container("image", json!("evil.example.com/x:1"))),
            "workerTemplate.spec.initContainers[0].image",
        ),
        (
            "InferenceService",
            json!({"spec": {"predictor": pod(json!({"serviceAccountName": "x"}))}}),
            "predictor.serviceAccountName",
        ),
        ("Deployment", template(volume(json!({"hostPath": {"path": "/"}}))), "hostPath.path"),
        (
            "Deployment",
            template(volume(json!({"persistentVolumeClaim": {"claimName": "tenant-data"}}))),
            "claimName is \"tenant-data\"",
        ),
        ("Deployment", template(volume(json!({"configMap": {"name": "tenant"}}))), "configMap.name"),
        ("Deployment", template(volume(json!({"secret": {"secretName": "tenant"}}))), "secretName"),
        ("Deployment", template(volume(json!({"nfs": {"server": "x"}}))), "nfs"),
        (
            "Deployment",
            template(container("securityContext", json!({"capabilities": {"add": ["SYS_ADMIN"]}}))),
            "capabilities",
        ),
        ("Deployment", template(container("lifecycle", json!({}))), "lifecycle"),
        (
            "Deployment",
            json!({"spec": {"template": {"metadata": {"annotations": {"sidecar.istio.io/userVolume": "x"}}}}}),
            "sidecar.istio.io/userVolume",
        ),
        (
            "Job",
            json!({"spec": {"template": {"metadata": {"labels": {"sidecar.istio.io/inject": "true"}}}}}),
            "sidecar.istio.io/inject",
        ),
        ("Service", json!({"spec": {"type": "LoadBalancer"}}), "spec.type"),
        ("Service", json!({"spec": {"externalIPs": ["10.0.0.1"]}}), "externalIPs"),
        ("Ingress", json!({"spec": {"rules": [{"host": "bank.example.com"}]}}), "rules[0].host"),
        ("Ingress", json!({"spec": {"rules": [{}]}}), "rules[0].host is \"*\""),
        ("HTTPRoute", json!({"spec": {"hostnames": ["bank.example.com"]}}), "hostnames[0]"),
        (
            "GRPCRoute",
            json!({"spec": {"rules": [{"backendRefs": [{"name": "payments"}]}]}}),
            "backendRefs[0].name",
        ),
        ("Role", json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}), "rules[0]"),
        ("RoleBinding", json!({"roleRef": {"kind": "ClusterRole", "name": "admin"}}), "roleRef"),
        ("RoleBinding", json!({"subjects": [{"kind": "User", "name": "eve"}]}), "subjects[0]"),
        ("Secret", json!({"type": "kubernetes.io/service-account-token"}), "type"),
        ("PersistentVolumeClaim", json!({"spec": {"volumeName": "pv-of-others"}}), "volumeName"),
        ("PersistentVolumeClaim", json!({"spec": {"storageClassName": "host-disk"}}), "storageClassName"),
        (
            "ResourceClaimTemplate",
            json!({"spec": {"spec": {"devices": {"requests": [{"exactly": {"adminAccess": true}}]}}}}),
            "adminAccess",
        ),
        ("ComputeDomain", json!({"spec": {"novelty": 1}}), "novelty"),
        (
            "InferencePool",
            json!({"spec": {"endpointPickerRef": {"name": "others"}}}),
            "endpointPickerRef.name",
        ),
        ("CronJob", json!({}), "kind"),
    ];
    for (kind, body, telling) in table {
        let asked = asks(kind, &body, &Own::default());
        let faults: Vec<String> =
            asked.iter().filter_map(|asked| Limits::default().fault(asked, &Made::default())).collect();
        assert!(faults.iter().any(|fault| fault.contains(telling)), "{kind} {body}: {faults:?}");
    }
}
