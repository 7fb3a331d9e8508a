//! The pods of a build: one builds the engine, one prints the manifest that it left in the cache.

use std::collections::BTreeMap;

use crds::nim::NIMBuildSpec;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, LocalObjectReference, PersistentVolumeClaimVolumeSource, Pod,
    PodSecurityContext, PodSpec, Probe, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::observe::CacheView;
use super::profile::Chosen;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{BUILDING_POD, Child, ChildKind, Keep, MANAGED_BY};
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::env::{distinct, merge, secret_var, set, var};
use crate::operator::nimservice::runtime_default;

/// Name of the container whose log is read.
pub(super) const PRINTER: &str = "nim-build-manifest-ctr";
const PORT: i32 = 8000;
const MODEL_PATH: &str = "/model-store";
const VOLUME: &str = "nim-cache-volume";

/// Prints what the build wrote, and stays so that it can be read.
const SCRIPT: &str = "\
file=/model-store/local_cache/local_manifest.yaml
if [ -f \"$file\" ]; then cat \"$file\"; echo; echo '# end of manifest'; else echo 'model_manifest.yaml not found'; fi
exec sleep infinity
";

/// Name of the pod that builds.
pub(super) fn building_name(subject: &Subject) -> String {
    format!("{}{BUILDING_POD}", subject.owner.name)
}

/// Name of the pod that prints.
pub(super) fn printing_name(subject: &Subject) -> String {
    format!("{}-local-manifest-pod", subject.owner.name)
}

/// What the built model is called.
pub(super) fn model_name<'a>(subject: &'a Subject, spec: &'a NIMBuildSpec) -> &'a str {
    spec.model_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&subject.owner.name)
}

/// The pod that builds.
pub(super) fn building(
    subject: &Subject,
    spec: &NIMBuildSpec,
    cache: &CacheView,
    chosen: &Chosen,
    facts: &ClusterFacts,
) -> Result<Child, Failure> {
    let mut ours = vec![
        var("NIM_CACHE_PATH", MODEL_PATH),
        var("NIM_SERVER_PORT", PORT.to_string()),
        var("NIM_HTTP_API_PORT", PORT.to_string()),
        var("NIM_CUSTOM_MODEL_NAME", model_name(subject, spec)),
        var("NIM_MODEL_PROFILE", chosen.name()),
    ];
    if let Some(secret) = cache.spec.source.auth_secret().filter(|_| cache.spec.source.ngc.is_some()) {
        ours.push(secret_var("NGC_API_KEY", secret, true));
    }
    let mut env = merge(&ours, spec.env.as_deref().unwrap_or_default());
    if chosen.tag("feat_lora") == Some("true") {
        set(&mut env, [var("NIM_PEFT_SOURCE", "/tmp")]);
    }
    let port = ContainerPort {
        name: Some("api".to_owned()),
        container_port: PORT,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let container = Container {
        name: "nim-build-ctr".to_owned(),
        env: Some(distinct(env)),
        resources: Some(chosen.resources(spec)?),
        ports: Some(vec![port]),
        liveness_probe: Some(probe("/v1/health/live", 15, 3)),
        readiness_probe: Some(probe("/v1/health/ready", 15, 3)),
        startup_probe: Some(probe("/v1/health/ready", 30, 30)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..container(spec, cache)
    };
    Ok(pod(subject, spec, cache, facts, &building_name(subject), "Never", container))
}

/// The pod that prints.
pub(super) fn printing(
    subject: &Subject,
    spec: &NIMBuildSpec,
    cache: &CacheView,
    facts: &ClusterFacts,
) -> Child {
    let container = Container {
        name: PRINTER.to_owned(),
        command: Some(vec!["sh".into(), "-c".into(), SCRIPT.into()]),
        ..container(spec, cache)
    };
    pod(subject, spec, cache, facts, &printing_name(subject), "Always", container)
}

fn container(spec: &NIMBuildSpec, cache: &CacheView) -> Container {
    let pvc = cache.spec.storage.pvc.as_ref();
    let sub_path = pvc.and_then(|pvc| pvc.sub_path.clone()).filter(|path| !path.is_empty());
    Container {
        image: Some(spec.image.reference()),
        image_pull_policy: spec.image.pull_policy.clone().filter(|policy| !policy.is_empty()),
        volume_mounts: Some(vec![VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: MODEL_PATH.to_owned(),
            sub_path,
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn pod(
    subject: &Subject,
    spec: &NIMBuildSpec,
    cache: &CacheView,
    facts: &ClusterFacts,
    name: &str,
    restart: &str,
    container: Container,
) -> Child {
    let group = cache.spec.group();
    let security = PodSecurityContext {
        run_as_user: Some(cache.spec.user()),
        run_as_group: Some(group),
        fs_group: Some(group),
        run_as_non_root: Some(true),
        seccomp_profile: (facts.platform == Platform::Tkgs).then(runtime_default),
        ..PodSecurityContext::default()
    };
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: cache.claim_name(&spec.nim_cache.name),
        read_only: None,
    };
    let secrets: Vec<LocalObjectReference> = spec
        .image
        .pull_secrets
        .iter()
        .flatten()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect();
    let ours = [("app", MANAGED_BY.1), ("app.kubernetes.io/name", &subject.owner.name), MANAGED_BY];
    let mut labels = spec.labels.clone().unwrap_or_default();
    labels.extend(ours.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let mut annotations = spec.annotations.clone().unwrap_or_default();
    annotations.insert("sidecar.istio.io/inject".to_owned(), "false".to_owned());
    if facts.platform == Platform::OpenShift {
        annotations.insert("openshift.io/scc".to_owned(), "nonroot".to_owned());
    }
    let object = Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(subject.owner.namespace.clone()),
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some(restart.to_owned()),
            runtime_class_name: cache.spec.runtime_class_name.clone().filter(|name| !name.is_empty()),
            tolerations: spec.tolerations.clone().filter(|list| !list.is_empty()),
            node_selector: spec.node_selector.clone().filter(|map: &BTreeMap<_, _>| !map.is_empty()),
            image_pull_secrets: Some(secrets).filter(|list| !list.is_empty()),
            security_context: Some(security),
            volumes: Some(vec![Volume {
                name: VOLUME.to_owned(),
                persistent_volume_claim: Some(source),
                ..Volume::default()
            }]),
            ..PodSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Pod, name, Keep::OwnedOnce, &object)
}

fn probe(path: &str, delay: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("api".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(delay),
        timeout_seconds: Some(1),
        period_seconds: Some(10),
        success_threshold: Some(1),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
