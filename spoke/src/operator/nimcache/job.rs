//! The job that downloads a model into the cache.

use std::collections::BTreeMap;

use crds::nim::{NGCSource, NIMCacheSpec};
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvFromSource, PersistentVolumeClaimVolumeSource,
    PodTemplateSpec, SecretEnvSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::extraction::meta;
use super::pods::{CONTAINER, labels, pod, resources, scc, security};
use super::selection::Selection;
use crate::operator::certificates::update_certificates;
use crate::operator::cluster::{ClusterFacts, Platform};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::Subject;
use crate::operator::env::{distinct, merge, proxy, var};
use crate::operator::nimservice::runtime_default;

/// On the job: which profiles it downloads, so that the status tells what was really fetched.
pub(super) const SELECTED: &str = "nimfleet.io/selected-profiles";

/// Attempts of one job, and how long a finished one is kept.
const POD_RETRIES: i32 = 5;
const KEPT_SECONDS: i32 = 600;

const MODEL_PATH: &str = "/model-store";
const CACHE_VOLUME: &str = "nim-cache-volume";

/// Name of the job.
pub(super) fn name(subject: &Subject) -> String {
    format!("{}-job", subject.owner.name)
}

/// The job.
pub(super) fn job(
    subject: &Subject,
    spec: &NIMCacheSpec,
    ngc: &NGCSource,
    selection: &Selection,
    claim: &str,
    facts: &ClusterFacts,
) -> Child {
    let sub_path =
        spec.storage.pvc.as_ref().and_then(|pvc| pvc.sub_path.clone()).filter(|path| !path.is_empty());
    let store = VolumeMount { sub_path, ..mount(CACHE_VOLUME, MODEL_PATH) };
    let base_mounts = vec![store, mount("scratch", "/scratch")];
    let certificates = spec.proxy.as_ref().and_then(|proxy| proxy.certificates());
    let main = download(spec, ngc, selection, &base_mounts, certificates.is_some());
    let init = init_containers(spec, ngc, &main, &base_mounts, certificates.is_some());
    let mut template = pod(spec, ngc.pull_secret.as_deref());
    if facts.platform == Platform::Tkgs
        && let Some(security) = &mut template.security_context
    {
        security.seccomp_profile = Some(runtime_default());
    }
    template.restart_policy = Some("Never".to_owned());
    template.volumes = Some(volumes(claim, certificates));
    template.init_containers = (!init.is_empty()).then_some(init);
    template.containers = vec![main];
    let mut annotations = BTreeMap::from([("sidecar.istio.io/inject".to_owned(), "false".to_owned())]);
    if facts.platform == Platform::OpenShift {
        annotations.insert("openshift.io/scc".to_owned(), scc(spec).to_owned());
    }
    let name = name(subject);
    let selected = serde_json::Value::from(selection.ids()).to_string();
    let object = Job {
        metadata: ObjectMeta {
            annotations: Some(BTreeMap::from([(SELECTED.to_owned(), selected)])),
            ..meta(subject, &name, labels(subject))
        },
        spec: Some(JobSpec {
            backoff_limit: Some(POD_RETRIES),
            ttl_seconds_after_finished: Some(KEPT_SECONDS),
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

fn download(
    spec: &NIMCacheSpec,
    ngc: &NGCSource,
    selection: &Selection,
    mounts: &[VolumeMount],
    certificates: bool,
) -> Container {
    let (command, args) = command(ngc, selection);
    let own = [var("NIM_CACHE_PATH", MODEL_PATH)];
    let mut env = merge(&own, spec.env.as_deref().unwrap_or_default());
    if let Some(wanted) = &spec.proxy {
        env = merge(&env, &proxy(wanted));
    }
    let mut mounts = mounts.to_vec();
    if certificates {
        mounts.push(mount("ca-cert-volume", "/etc/ssl"));
    }
    let secret = SecretEnvSource { name: ngc.auth_secret.clone(), optional: None };
    Container {
        name: CONTAINER.to_owned(),
        image: Some(ngc.model_puller.clone()),
        command: Some(vec![command.to_owned()]),
        args: Some(args),
        env: Some(distinct(env)),
        env_from: Some(vec![EnvFromSource { secret_ref: Some(secret), ..EnvFromSource::default() }]),
        resources: Some(resources(spec)),
        security_context: Some(security(spec)),
        volume_mounts: Some(mounts),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The program that fetches, and its arguments.
fn command(ngc: &NGCSource, selection: &Selection) -> (&'static str, Vec<String>) {
    if let Some(endpoint) = &ngc.model_endpoint {
        let args = ["--model-repo", endpoint, "--model-store", MODEL_PATH];
        return ("create-model-store", args.map(str::to_owned).to_vec());
    }
    let args = match selection {
        Selection::All => vec!["--all".to_owned()],
        Selection::Ids(ids) => std::iter::once("--profiles".to_owned()).chain(ids.iter().cloned()).collect(),
    };
    ("download-to-cache", args)
}

fn init_containers(
    spec: &NIMCacheSpec,
    ngc: &NGCSource,
    main: &Container,
    mounts: &[VolumeMount],
    certificates: bool,
) -> Vec<Container> {
    let mut all = Vec::new();
    let mut mounts = mounts.to_vec();
    if certificates {
        let mut with = vec![mount("ca-cert-volume", "/ca-certs"), mount("custom-ca", "/custom")];
        with.extend(mounts.iter().cloned());
        all.push(update_certificates(ngc.model_puller.clone(), with));
        mounts.push(mount("ca-cert-volume", "/ca-certs"));
    }
    let env = main.env.as_deref().unwrap_or_default();
    let proxied = spec.proxy.as_ref().map(proxy).unwrap_or_default();
    let env: Vec<_> =
        env.iter().filter(|var| !proxied.iter().any(|other| other.name == var.name)).cloned().collect();
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

fn volumes(claim: &str, certificates: Option<&str>) -> Vec<Volume> {
    let source = PersistentVolumeClaimVolumeSource { claim_name: claim.to_owned(), read_only: None };
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
