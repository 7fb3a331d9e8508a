//! Nothing that a limit is about stands anywhere unseen; NVIDIA's samples pass; every denial says what and whom to ask.

use std::path::PathBuf;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Value, json};

use super::property::{Class, class};
use super::{Limits, Made, Pattern, Prefix, property};

const OWN: &str = "nimfleet";

/// One property of a definition: the JSON pointer to it, `0` for items, and its schema.
struct Property {
    kind: String,
    path: Vec<String>,
    schema: JSONSchemaProps,
}

impl Property {
    fn name(&self) -> &str {
        self.path.last().map(String::as_str).unwrap_or_default()
    }

    /// The name of the property that this one is in.
    fn around(&self) -> &str {
        around(&self.path[..self.path.len() - 1])
    }

    fn class(&self) -> Option<Class> {
        class(self.around(), self.name())
    }

    /// The path as a denial writes it.
    fn field(&self) -> String {
        let join = |text: String, part: &String| if part == "0" { text + "[0]" } else { text + "." + part };
        self.path.iter().fold(String::new(), join).trim_start_matches('.').to_owned()
    }

    /// The smallest object in which this property has that value.
    fn object(&self, value: Value) -> Value {
        let within =
            |value: Value, part: &String| if part == "0" { json!([value]) } else { json!({ part: value }) };
        let mut object = self.path.iter().rev().fold(value, within);
        object["kind"] = json!("NIMService");
        object["metadata"] = json!({ "namespace": "models", "name": "m" });
        object
    }
}

/// The last name of a path that is no index.
fn around(path: &[String]) -> &str {
    path.iter().rev().find(|part| *part != "0").map(String::as_str).unwrap_or_default()
}

/// Every property of every kind of NVIDIA's, as far as an object is looked at.
fn properties() -> Vec<Property> {
    let mut found = Vec::new();
    for crd in crds::all().unwrap().into_iter().filter(|crd| crd.spec.group == "apps.nvidia.com") {
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let spec = schema.properties.unwrap().remove("spec").unwrap();
        walk(&crd.spec.names.kind, &["spec".to_owned()], &spec, &mut found);
    }
    assert!(found.len() > 2000, "the walk found only {} properties", found.len());
    found
}

fn walk(kind: &str, path: &[String], schema: &JSONSchemaProps, found: &mut Vec<Property>) {
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(kind, &[path, &["0".to_owned()]].concat(), items, found);
    }
    for (name, schema) in schema.properties.iter().flatten() {
        let class = class(around(path), name);
        let path = [path, std::slice::from_ref(name)].concat();
        if !matches!(class, Some(Class::Opaque | Class::SecurityContext | Class::Annotations | Class::Labels))
        {
            walk(kind, &path, schema, found);
        }
        found.push(Property { kind: kind.to_owned(), path, schema: schema.clone() });
    }
}

fn has_keys_of_the_users(schema: &JSONSchemaProps) -> bool {
    matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Schema(_)))
        || schema.x_kubernetes_preserve_unknown_fields == Some(true)
}

/// What the schema of a property tells of its class, so that nobody calls plain what is not.
fn told_by_schema(property: &Property) -> Option<Class> {
    let schema = &property.schema;
    let items = match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items.as_ref()),
        _ => None,
    };
    let has = |schema: &JSONSchemaProps, name: &str| {
        schema.properties.as_ref().is_some_and(|properties| properties.contains_key(name))
    };
    let name = property.name().to_lowercase();
    let names_something = schema.type_.as_deref() != Some("object") || has(schema, "name");
    if items.is_some_and(|items| has(items, "image") && has(items, "command")) {
        return Some(Class::Containers);
    }
    if has(schema, "repository") || (name.ends_with("image") && names_something) {
        return Some(Class::Image);
    }
    if has(schema, "runAsUser") {
        return Some(Class::SecurityContext);
    }
    if name.contains("secret") && names_something {
        return Some(Class::Secret);
    }
    if name.contains("serviceaccount") && names_something {
        return Some(Class::ServiceAccount);
    }
    if ["hostpath", "hostnetwork", "hostport", "hostpid", "hostipc"].contains(&name.as_str()) {
        return Some(if name == "hostpath" { Class::HostPath } else { Class::HostNetwork });
    }
    None
}

#[test]
fn every_property_has_a_class() {
    let mut faults = Vec::new();
    let properties = properties();
    for property in &properties {
        let (name, field) = (property.name(), property.field());
        match property.class() {
            None => faults.push(format!("{} {field}: {name} has no class", property.kind)),
            Some(found) => {
                if has_keys_of_the_users(&property.schema)
                    && !matches!(found, Class::Opaque | Class::Annotations | Class::Labels)
                {
                    faults.push(format!(
                        "{} {field}: its keys are the user's, but it is {found:?}",
                        property.kind
                    ));
                }
                if told_by_schema(property).is_some_and(|told| told != found) {
                    faults.push(format!(
                        "{} {field}: looks like {:?}, but is {found:?}",
                        property.kind,
                        told_by_schema(property)
                    ));
                }
            }
        }
    }
    faults.extend(
        property::names()
            .filter(|name| {
                let is = |property: &Property| {
                    property.name() == *name || format!("{}.{}", property.around(), property.name()) == *name
                };
                !properties.iter().any(is)
            })
            .map(|name| format!("{name}: no definition has it (any more)")),
    );
    assert!(
        faults.is_empty(),
        "add it to spoke/src/deliver/limits/property.rs or plain.txt:\n{}",
        faults.join("\n")
    );
}

/// A value that the default limits deny, of the type that the schema wants.
fn denied_value(class: Class, schema: &JSONSchemaProps) -> Option<(Value, &'static str)> {
    let of_type = |name: &str| match schema.type_.as_deref() {
        Some("array") => json!([name]),
        Some("object") => json!({ "name": name }),
        _ => json!(name),
    };
    Some(match class {
        Class::Plain | Class::Opaque => return None,
        Class::Image if schema.type_.as_deref() == Some("object") => {
            (json!({ "repository": "evil.example.com/x", "tag": "1" }), "limits.images")
        }
        Class::Image => (json!("evil.example.com/x:1"), "limits.images"),
        Class::Secret => (of_type("stolen"), "limits.secrets.referred"),
        Class::ConfigMap => (of_type("stolen"), "limits.configMaps.referred"),
        Class::Claim => (json!({ "name": "tenant-data" }), "limits.volumes.referred"),
        Class::ServiceAccount => (of_type("cluster-admin"), "limits.serviceAccounts"),
        Class::HostPath => (json!("/etc"), "limits.hostPaths"),
        Class::HostNetwork => (json!(22), "limits.hostNetwork"),
        Class::Containers => (json!([{ "name": "miner" }]), "limits.extraContainers"),
        Class::Command => (json!(["sh"]), "limits.commands"),
        Class::User => (json!(0), "limits.privileged"),
        Class::Priority => (json!("urgent"), "limits.priorityClasses"),
        Class::Runtime => (json!("runc-unconfined"), "limits.runtimeClasses"),
        Class::Storage => (json!("host-disk"), "limits.storageClasses"),
        Class::Scheduler => (json!("mine"), "limits.schedulers"),
        Class::ServiceType => (json!("LoadBalancer"), "limits.serviceTypes"),
        Class::Host => (of_type("bank.example.com"), "limits.hosts"),
        Class::HostDomain => (json!("bank.example.com"), "limits.hosts"),
        Class::Rules => (json!([{}]), "limits.hosts"),
        Class::Backend => (json!({ "name": "admin", "service": { "name": "admin" } }), "limits.services"),
        Class::SecurityContext => (json!({ "privileged": true }), "limits.privileged"),
        Class::Annotations => {
            (json!({ "nginx.ingress.kubernetes.io/server-snippet": "x" }), "limits.annotations")
        }
        Class::Labels => (json!({ "sidecar.istio.io/inject": "true" }), "limits.labels"),
    })
}

#[test]
fn what_a_limit_is_about_is_found_wherever_it_can_stand() {
    let mut places = 0;
    for property in properties() {
        let Some((value, limit)) = property.class().and_then(|class| denied_value(class, &property.schema))
        else {
            continue;
        };
        let verdict = Limits::default().check(&property.object(value), OWN, &Made::default());
        let message = verdict.expect_err(&format!("{} {}", property.kind, property.field()));
        assert!(
            message.contains(&property.field()) && message.contains(limit),
            "{}: {message}",
            property.field()
        );
        places += 1;
    }
    assert!(places > 100, "only {places} places");
}

fn service(spec: &Value) -> Value {
    json!({ "kind": "NIMService", "metadata": { "namespace": "models", "name": "m" }, "spec": spec })
}

fn verdict(limits: Value, object: &Value) -> Result<(), String> {
    serde_json::from_value::<Limits>(limits).unwrap().check(object, OWN, &Made::default())
}

#[test]
fn each_limit_denies_until_it_is_widened() {
    let table = [
        (
            json!({ "storage": { "hostPath": "/data/models" } }),
            "\"/data/models\"",
            json!({ "hostPaths": ["/data"] }),
        ),
        (
            json!({ "image": { "repository": "quay.io/x/y" } }),
            "\"quay.io/x/y\"",
            json!({ "images": ["quay.io/x"] }),
        ),
        (json!({ "authSecret": "mine" }), "\"mine\"", json!({ "secrets": { "referred": ["min*"] } })),
        (
            json!({ "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "mine", "key": "k" } } }] }),
            "spec.env[0].valueFrom.secretKeyRef.name is \"mine\"",
            json!({ "secrets": { "referred": ["mine"] } }),
        ),
        (
            json!({ "initContainers": [{ "name": "more", "image": { "repository": "nvcr.io/x" } }] }),
            "spec.initContainers[0] is \"more\"",
            json!({ "extraContainers": true }),
        ),
        (json!({ "userID": 0 }), "spec.userID is \"0\"", json!({ "privileged": true })),
        (
            json!({ "modelDownloadJobs": { "securityContext": { "runAsUser": 0 } } }),
            "securityContext.runAsUser",
            json!({ "privileged": true }),
        ),
        (
            json!({ "expose": { "router": { "eppConfig": { "ports": [{ "containerPort": 1, "hostPort": 22 }] } } } }),
            "hostPort is \"22\"",
            json!({ "hostNetwork": true }),
        ),
        (
            json!({ "argoWorkflows": { "serviceAccount": "admin" } }),
            "\"admin\"",
            json!({ "serviceAccounts": ["*"] }),
        ),
        (
            json!({ "annotations": { "nginx.ingress.kubernetes.io/server-snippet": "" } }),
            "spec.annotations has nginx.ingress.kubernetes.io/server-snippet=\"\"",
            json!({ "annotations": ["nginx.ingress.kubernetes.io/*-snippet"] }),
        ),
        (
            json!({ "annotations": { "k8s.v1.cni.cncf.io/networks": "other-ns/hostnet" } }),
            "k8s.v1.cni.cncf.io/networks=\"other-ns/hostnet\"",
            json!({ "annotations": ["k8s.v1.cni.cncf.io/networks=other-ns/*"] }),
        ),
        (
            json!({ "labels": { "admission.datadoghq.com/enabled": "true" } }),
            "spec.labels has admission.datadoghq.com/enabled",
            json!({ "labels": ["admission.datadoghq.com/enabled"] }),
        ),
        (
            json!({ "storage": { "pvc": { "name": "tenant-data" } } }),
            "spec.storage.pvc.name is \"tenant-data\": limits.volumes.referred is ",
            json!({ "volumes": { "referred": ["tenant-*"] } }),
        ),
        (
            json!({ "proxy": { "certConfigMap": "tenant-config" } }),
            "spec.proxy.certConfigMap is \"tenant-config\"",
            json!({ "configMaps": { "referred": ["tenant-config"] } }),
        ),
        (
            json!({ "expose": { "service": { "type": "NodePort" } } }),
            "spec.expose.service.type is \"NodePort\"",
            json!({ "serviceTypes": ["ClusterIP", "NodePort"] }),
        ),
        (
            json!({ "expose": { "router": { "hostDomainName": "example.com." } } }),
            "spec.expose.router.hostDomainName is \"m.models.example.com\"",
            json!({ "hosts": ["*.models.example.com"] }),
        ),
        (
            json!({ "expose": { "ingress": { "spec": { "rules": [{ "host": "bank.example.com" }] } } } }),
            "rules[0].host is \"bank.example.com\"",
            json!({ "hosts": ["bank.example.com"] }),
        ),
        (
            json!({ "expose": { "ingress": { "spec": { "rules": [{ "http": {} }] } } } }),
            "rules[0].host is \"*\"",
            json!({ "hosts": ["*"] }),
        ),
        (
            json!({ "readinessProbe": { "probe": { "httpGet": { "host": "169.254.169.254" } } } }),
            "httpGet.host is \"169.254.169.254\"",
            json!({ "hosts": ["169.254.169.254"] }),
        ),
        (
            json!({ "expose": { "router": { "gateway": { "backendRef": { "name": "payments", "kind": "Service" } } } } }),
            "backendRef.name is \"payments\"",
            json!({ "services": ["payments"] }),
        ),
        (json!({ "command": ["sh", "-c", "id"] }), "spec.command is", json!({ "commands": true })),
        (
            json!({ "livenessProbe": { "probe": { "exec": { "command": ["id"] } } } }),
            "exec.command is",
            json!({ "commands": true }),
        ),
        (json!({ "runtimeClassName": "nvidia" }), "\"nvidia\"", json!({ "runtimeClasses": ["nvidia"] })),
        (json!({ "schedulerName": "other" }), "\"other\"", json!({ "schedulers": ["other"] })),
        (json!({ "priorityClassName": "urgent" }), "\"urgent\"", json!({ "priorityClasses": ["*"] })),
        (
            json!({ "storage": { "pvc": { "storageClass": "host-disk" } } }),
            "\"host-disk\"",
            json!({ "storageClasses": ["host-disk"] }),
        ),
    ];
    for (spec, telling, wider) in table {
        let object = service(&spec);
        let denied = verdict(json!({}), &object).unwrap_err();
        assert!(denied.contains(telling) && denied.contains("ask the cluster's owner"), "{denied}");
        assert_eq!(verdict(wider, &object), Ok(()), "{object}");
    }
}

#[test]
fn namespaces_of_the_cluster_and_of_the_spoke_are_never_a_hubs() {
    let everything = json!({ "namespaces": { "allowed": ["*"], "denied": [] } });
    let in_namespace =
        |namespace: &str| json!({ "kind": "NIMService", "metadata": { "namespace": namespace }, "spec": {} });
    for (namespace, limits, denied) in [
        ("kube-system", everything.clone(), true),
        ("kube-public", everything.clone(), true),
        (OWN, everything.clone(), true),
        ("istio-system", everything, false),
        ("istio-system", json!({}), true),
        ("models", json!({}), false),
        ("models", json!({ "namespaces": { "allowed": ["nim-*"] } }), true),
        ("nim-a", json!({ "namespaces": { "allowed": ["nim-*"] } }), false),
        ("nim-b", json!({ "namespaces": { "allowed": ["nim-*"], "denied": ["nim-b"] } }), true),
    ] {
        let verdict = verdict(limits, &in_namespace(namespace));
        assert_eq!(verdict.is_err(), denied, "{namespace}: {verdict:?}");
        assert!(verdict.is_ok_and(|()| true) || denied);
    }
}

#[test]
fn a_denial_tells_every_fault_and_whom_to_ask() {
    let object = service(&json!({
        "storage": { "hostPath": "/etc" }, "userID": 0, "sidecarContainers": [{ "name": "s" }], "novelty": 1,
    }));
    let message = verdict(json!({ "contact": "gpu-team@example.com" }), &object).unwrap_err();
    insta::assert_snapshot!(message, @r#"spec.novelty: this version of nimfleet-spoke does not know what it does, and a newer one may; spec.sidecarContainers[0] is "s": limits.extraContainers is false; spec.storage.hostPath is "/etc": limits.hostPaths is []; spec.userID is "0": limits.privileged is false: ask gpu-team@example.com to change the limits of nimfleet-spoke there, or place the object elsewhere"#);
    let many = service(&json!({ "image": { "pullSecrets": ["a", "b", "c", "d", "e", "f", "g"] } }));
    assert!(verdict(json!({}), &many).unwrap_err().contains("and 2 more"), "a message has an end");
}

#[test]
fn security_contexts_may_take_rights_away_but_not_add_any() {
    let harmless = [
        json!({ "runAsUser": 1000, "runAsGroup": 0, "fsGroup": 2000, "runAsNonRoot": true }),
        json!({ "allowPrivilegeEscalation": false, "privileged": false, "capabilities": { "drop": ["ALL"] } }),
        json!({ "seccompProfile": { "type": "RuntimeDefault" } }),
    ];
    for context in harmless {
        assert_eq!(verdict(json!({}), &service(&json!({ "securityContext": context }))), Ok(()), "{context}");
    }
    let more = [
        json!({ "runAsUser": 0 }),
        json!({ "privileged": true }),
        json!({ "allowPrivilegeEscalation": true }),
        json!({ "capabilities": { "add": ["SYS_ADMIN"] } }),
        json!({ "seccompProfile": { "type": "Unconfined" } }),
        json!({ "appArmorProfile": { "type": "Localhost", "localhostProfile": "x" } }),
        json!({ "windowsOptions": { "hostProcess": true } }),
        json!({ "seLinuxOptions": { "type": "spc_t" } }),
        json!({ "sysctls": [{ "name": "kernel.msgmax", "value": "1" }] }),
        json!({ "procMount": "Unmasked" }),
    ];
    for context in more {
        assert!(verdict(json!({}), &service(&json!({ "securityContext": context }))).is_err(), "{context}");
    }
}

/// All files below a folder, whatever their order.
pub(super) fn files_below(folder: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// The manifests below a folder of NVIDIA's samples, by path.
fn samples(folder: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for path in files_below(PathBuf::from("../e2e/fixtures/nvidia").join(folder)) {
        let text = std::fs::read_to_string(&path).unwrap();
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        found.extend(objects.into_iter().map(|object| (path.display().to_string(), object)));
    }
    found
}

#[test]
fn every_nim_sample_of_nvidias_passes_on_the_defaults() {
    let samples = samples("nim");
    assert!(samples.len() > 60, "only {} objects", samples.len());
    let ours = |object: &Value| object["apiVersion"] == "apps.nvidia.com/v1alpha1";
    for (path, object) in samples.iter().filter(|(_, object)| ours(object)) {
        assert_eq!(Limits::default().check(object, OWN, &Made::default()), Ok(()), "{path}");
    }
}

#[test]
fn samples_that_reach_further_name_the_limits_that_let_them() {
    let wider = [
        (
            "sidecars/llm.yaml",
            json!({ "extraContainers": true, "commands": true, "images": ["nvcr.io", "*"] }),
        ),
        ("no-precaching/llm-hostpath.yaml", json!({ "hostPaths": ["/mnt/models"] })),
    ];
    let mut denied = 0;
    for (path, object) in samples("nim-2026-08") {
        let Some((_, limits)) = wider.iter().find(|(end, _)| path.ends_with(end)) else {
            assert_eq!(verdict(json!({}), &object), Ok(()), "{path}");
            continue;
        };
        let message = verdict(json!({}), &object).unwrap_err();
        for limit in limits.as_object().unwrap().keys() {
            assert!(message.contains(limit.as_str()), "{path}: {message}");
        }
        assert_eq!(verdict(limits.clone(), &object), Ok(()), "{path}");
        denied += 1;
    }
    assert_eq!(denied, wider.len());
}

#[test]
fn nemo_samples_pass_with_their_kinds_alone_and_the_refusal_names_both_values() {
    let samples = samples("nemo");
    assert!(samples.len() > 14, "only {} objects", samples.len());
    for (path, object) in samples {
        let message = verdict(json!({}), &object).unwrap_err();
        assert!(message.contains("limits.kinds is ") && message.contains("rbac.nemo: true"), "{message}");
        let limits: Limits = serde_json::from_value(json!({ "kinds": ["NIM*", "Nemo*"] })).unwrap();
        // Claims that are not there yet: the samples have them made.
        let claims = ["finetuning-ms-models-pvc", "pvc-guardrail-config", "pvc-shared-data"];
        let made = Made { claims: claims.map(str::to_owned).into(), ..Made::default() };
        assert_eq!(limits.check(&object, OWN, &made), Ok(()), "{path}");
    }
}

#[test]
fn what_nimfleet_alone_sets_is_never_a_hubs() {
    let with = |part: &str, key: &str, value: &str| json!({ "kind": "NIMService", "metadata": { "namespace": "models", "name": "m", part: { key: value } } });
    for (part, key) in [
        ("annotations", "nimfleet.io/retained-by"),
        ("annotations", "nimfleet.io/x"),
        ("annotations", "nimfleet.io/local"),
        ("annotations", "nimfleet.io/wait-for-postgres-image"),
        ("labels", "nimfleet.io/created"),
        ("labels", "nimfleet.io/retry"),
    ] {
        let message =
            verdict(json!({ "annotations": ["*"], "labels": ["*"] }), &with(part, key, "true")).unwrap_err();
        assert!(message.contains(key) && message.contains("never a hub's to set"), "{message}");
    }
    assert_eq!(verdict(json!({}), &with("annotations", "nimfleet.io/retry", "now")), Ok(()), "a wish");
    let theirs = with("annotations", "argocd.argoproj.io/tracking-id", "x");
    assert_eq!(verdict(json!({}), &theirs), Ok(()), "no pod shows it");
}

#[test]
fn the_chart_says_what_holds_by_default() {
    let values = std::fs::read_to_string("../charts/nimfleet-spoke/values.yaml").unwrap();
    let values: Value = serde_saphyr::from_str(&values).unwrap();
    let limits: Limits = serde_json::from_value(values["limits"].clone()).unwrap();
    assert_eq!(limits, Limits::default());
    let said = serde_json::to_value(Limits::default()).unwrap();
    assert_eq!(values["limits"], said, "each limit stands in the values");
    let schema = std::fs::read_to_string("../charts/nimfleet-spoke/values.schema.json").unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let described = &schema["properties"]["limits"]["properties"];
    for limit in said.as_object().unwrap().keys() {
        assert!(described[limit]["description"].is_string(), "values.schema.json describes limits.{limit}");
    }
}

#[test]
fn other_limits_have_another_name() {
    let wider = Limits { host_paths: vec![Prefix::new("/data")], ..Limits::default() };
    let others = Limits { service_accounts: vec![Pattern::new("*")], ..Limits::default() };
    assert_eq!(Limits::default().name(), Limits::default().name());
    assert_ne!(wider.name(), Limits::default().name());
    assert_ne!(wider.name(), others.name());
}

#[test]
fn only_who_may_delete_deletes() {
    assert_eq!(Limits::default().check_deletion(), Ok(()));
    let kept = Limits { deletions: false, ..Limits::default() }.check_deletion().unwrap_err();
    assert!(kept.contains("limits.deletions is false") && kept.contains("ask"), "{kept}");
}

#[test]
fn a_limit_that_is_not_known_is_a_mistake() {
    assert!(
        serde_json::from_value::<Limits>(json!({ "hostPath": ["/data"] })).is_err(),
        "it would limit nothing"
    );
}
