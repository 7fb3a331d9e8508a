//! The job that downloads a model into the cache.

pub(super) mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crds::marks::RETRY_ANNOTATION;
use crds::nim::NIMCacheSpec;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvFromSource, PersistentVolumeClaimVolumeSource,
    PodTemplateSpec, SecretEnvSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::extraction::meta;
use super::pods::{CONTAINER, labels, pod, resources, scc, security};
use super::selection::Selection;
use source::{Fetch, Image};

use crate::operator::certificates::update_certificates;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::{Amendment, Subject};
use crate::operator::env::{distinct, merge, proxy};
use crate::operator::nimservice::runtime_default;

/// On the job: which profiles it downloads, so that the status tells what was really fetched.
pub(super) const SELECTED: &str = "nimfleet.io/selected-profiles";

/// On the job: the generation of the NIMCache that it was made for.
pub(super) const MADE_FOR: &str = "nimfleet.io/made-for-generation";

/// Attempts of one job.
const POD_RETRIES: i32 = 5;

/// How long a finished job is kept, seconds: as long as upstream's. It is set once the end has been noted, so that a job
/// that ends while nobody looks is still there.
const KEPT_SECONDS: i32 = 600;

const CACHE_VOLUME: &str = "nim-cache-volume";

/// Name of the job.
pub(super) fn name(subject: &Subject) -> String {
    format!("{}-job", subject.owner.name)
}

/// The job.
pub(super) fn job(
    subject: &Subject,
    spec: &NIMCacheSpec,
    claim: &str,
    (image, selection): (Image, &Selection),
    facts: &ClusterFacts,
) -> Child {
    let sub_path =
        spec.storage.pvc.as_ref().and_then(|pvc| pvc.sub_path.clone()).filter(|path| !path.is_empty());
    let fetch = source::fetch(spec, &subject.owner.name, image, selection);
    let store = |path: &&str| VolumeMount { sub_path: sub_path.clone(), ..mount(CACHE_VOLUME, path) };
    let mut mounts: Vec<_> = fetch.paths.iter().map(store).collect();
    mounts.push(mount("scratch", "/scratch"));
    let certificates = spec.proxy.as_ref().and_then(|proxy| proxy.certificates());
    let main = download(spec, fetch, &mounts, certificates.is_some());
    let init = init_containers(spec, &main, &mounts, certificates.is_some());
    let mut template = pod(spec);
    if facts.platform == Platform::Tkgs
        && let Some(security) = &mut template.security_context
    {
        security.seccomp_profile = Some(runtime_default());
    }
    template.restart_policy = Some("Never".to_owned());
    template.volumes = Some(volumes(claim.to_owned(), certificates));
    template.init_containers = (!init.is_empty()).then_some(init);
    template.containers = vec![main];
    let mut annotations = BTreeMap::from([("sidecar.istio.io/inject".to_owned(), "false".to_owned())]);
    if facts.platform == Platform::OpenShift {
        annotations.insert("openshift.io/scc".to_owned(), scc(spec).to_owned());
    }
    let name = name(subject);
    let retry = subject.annotations.get(RETRY_ANNOTATION);
    let marks = [
        (SELECTED, serde_json::Value::from(selection.ids()).to_string()),
        (MADE_FOR, subject.owner.generation.to_string()),
    ];
    let marks = marks.into_iter().chain(retry.map(|retry| (RETRY_ANNOTATION, retry.clone())));
    let object = Job {
        metadata: ObjectMeta {
            annotations: Some(marks.map(|(key, value)| (key.to_owned(), value)).collect()),
            ..meta(subject, &name, labels(subject))
        },
        spec: Some(JobSpec {
            backoff_limit: Some(POD_RETRIES),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels(subject)),
                    annotations: Some(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(template),
            },
            ..JobSpec::default()
        }),
        status: None,
    };
    Child::new(ChildKind::Job, &name, Keep::OwnedOnce, &object)
}

/// Has a job that has ended cleared away in time.
pub(super) fn kept(job: &Value) -> Option<Amendment> {
    let (name, uid) = (job["metadata"]["name"].as_str()?, job["metadata"]["uid"].as_str()?);
    // A job of another operator's may have its own time.
    let is_set = !job["spec"]["ttlSecondsAfterFinished"].is_null();
    (!is_set).then(|| Amendment {
        kind: ChildKind::Job,
        name: name.to_owned(),
        uid: uid.to_owned(),
        change: json!({"spec": {"ttlSecondsAfterFinished": KEPT_SECONDS}}),
    })
}

fn download(spec: &NIMCacheSpec, fetch: Fetch, mounts: &[VolumeMount], certificates: bool) -> Container {
    let mut env = fetch.env;
    if let Some(wanted) = &spec.proxy {
        env = merge(&env, &proxy(wanted));
    }
    let mut mounts = mounts.to_vec();
    if certificates {
        mounts.push(mount("ca-cert-volume", "/etc/ssl"));
    }
    // A model of NVIDIA's catalogue may need no key.
    let optional = spec.source.ngc.is_some().then_some(true);
    let secret = |name: &str| EnvFromSource {
        secret_ref: Some(SecretEnvSource { name: name.to_owned(), optional }),
        ..EnvFromSource::default()
    };
    let secrets = spec.source.auth_secret().map(|name| vec![secret(name)]);
    Container {
        name: CONTAINER.to_owned(),
        image: spec.source.model_puller().map(str::to_owned),
        command: fetch.command,
        args: fetch.args,
        env: Some(distinct(env)),
        env_from: secrets,
        resources: Some(resources(spec)),
        security_context: Some(security(spec)),
        volume_mounts: Some(mounts),
        // The end of the log of a failed download tells why it failed, whatever the program was.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn init_containers(
    spec: &NIMCacheSpec,
    main: &Container,
    mounts: &[VolumeMount],
    certificates: bool,
) -> Vec<Container> {
    let mut all = Vec::new();
    let mut mounts = mounts.to_vec();
    let env = main.env.as_deref().unwrap_or_default();
    let proxied = spec.proxy.as_ref().map(proxy).unwrap_or_default();
    let env: Vec<_> =
        env.iter().filter(|var| !proxied.iter().any(|other| other.name == var.name)).cloned().collect();
    if certificates {
        let mut with = vec![mount("ca-cert-volume", "/ca-certs"), mount("custom-ca", "/custom")];
        with.extend(mounts.iter().cloned());
        all.push(update_certificates(main.image.clone().unwrap_or_default(), env.clone(), with));
        mounts.push(mount("ca-cert-volume", "/ca-certs"));
    }
    for wanted in spec.init_containers.iter().flatten() {
        let filled = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        all.push(Container {
            name: wanted.name.clone(),
            image: Some(wanted.image.reference()),
            image_pull_policy: wanted.image.pull_policy.clone().filter(|policy| !policy.is_empty()),
            command: filled(&wanted.command),
            args: filled(&wanted.args),
            working_dir: wanted.working_dir.clone().filter(|dir| !dir.is_empty()),
            env: Some(distinct(merge(wanted.env.as_deref().unwrap_or_default(), &env))),
            volume_mounts: Some(mounts.clone()),
            ..Container::default()
        });
    }
    all
}

fn volumes(claim_name: String, certificates: Option<&str>) -> Vec<Volume> {
    let source = PersistentVolumeClaimVolumeSource { claim_name, read_only: None };
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let mut all = vec![
        Volume { name: CACHE_VOLUME.to_owned(), persistent_volume_claim: Some(source), ..Volume::default() },
        empty("scratch"),
    ];
    if let Some(config) = certificates {
        let source = ConfigMapVolumeSource { name: config.to_owned(), ..ConfigMapVolumeSource::default() };
        all.push(empty("ca-cert-volume"));
        all.push(Volume { name: "custom-ca".to_owned(), config_map: Some(source), ..Volume::default() });
    }
    all
}

fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
