//! NemoCustomizer: models fine-tuned by training jobs, which it starts by itself.

mod config;

use crds::nemo::{Microservice, NemoCustomizer};
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, EnvVar, KeyToPath, Volume, VolumeMount};
use k8s_openapi::api::rbac::v1::PolicyRule;

use super::engine::child::{Child, ChildKind, Keep};
use super::engine::kind::{Failure, Subject};
use super::env::var;
use super::microservice::access::rule;
use super::microservice::metadata::Map;
use super::microservice::service::Port;
use super::nemo::need::{Need, Part};
use super::nemo::pod::{host_ip, mount, secret_key};
use super::nemo::probes::{Ask, Probes};
use super::nemo::{NemoService, Plan, Scene, claim, database, dependency, otel};
use super::references::Thing;
use super::settings::Settings;

/// The kind NemoCustomizer.
pub(crate) struct Customizers;

/// Where the API answers for its health.
const READY: &str = "/v1/health/ready";
const LIVE: &str = "/v1/health/live";
/// Where training jobs call back.
const INTERNAL: Port = Port { name: "internal", container: 9009, service: 9009 };
/// Key of the connection string in the Secret that is made.
const DSN: &str = "dsn";
/// The configuration: its file, its volume, and where that is mounted.
const FILE: &str = "config.yaml";
const VOLUME: &str = "config";
const FOLDER: &str = "/app/config";
/// On pods: a digest of the configuration, as NVIDIA's operator has it.
const CONFIG_HASH: &str = "apps.nvidia.com/training-config-hash";
/// Where the claim for models is described.
const CLAIM: &str = "spec.trainingConfig.modelPVC";

/// Rights to start something, look after it and remove it.
const ALL: &[&str] = &["create", "get", "list", "watch", "update", "delete", "patch"];
const SEE: &[&str] = &["get", "list", "watch"];

impl NemoService for Customizers {
    type Object = NemoCustomizer;

    const KIND: &'static str = "NemoCustomizer";
    const PLURAL: &'static str = "nemocustomizers";
    const FINALIZER: &'static str = "finalizer.nemocustomizer.apps.nvidia.com";
    const REPORTER: &'static str = "nemo-customizer-service-controller";
    const GAUGE: &'static str = "nemo_customizer_status_total";
    const PART_OF: &'static str = "nemo-customizer-service";
    const API: i32 = 8000;
    const SELECTED_BY: &'static [&'static str] = &["app.kubernetes.io/name"];
    const PROBES: Probes = Probes {
        liveness: Ask { path: LIVE, delay: Some(10), timeout: 10, failures: 5 },
        readiness: Ask { path: READY, delay: Some(10), timeout: 1, failures: 3 },
        startup: Ask::startup(READY),
    };
    const MAKES_SECRET: bool = true;

    fn spec(object: &NemoCustomizer) -> &Microservice {
        &object.spec.service
    }

    fn more_ports() -> &'static [Port] {
        &[INTERNAL]
    }

    fn rules(object: &NemoCustomizer, _settings: &Settings) -> Vec<PolicyRule> {
        let mut rules = vec![
            rule(&["batch"], &["jobs"], ALL),
            rule(&["batch"], &["jobs/status"], SEE),
            rule(
                &[""],
                &["pods", "persistentvolumeclaims", "services", "configmaps"],
                &["create", "get", "list", "watch", "delete"],
            ),
            rule(&[""], &["events"], &["create", "get", "list", "watch"]),
            rule(
                &["nvidia.com"],
                &["nemotrainingjobs", "nemotrainingjobs/status", "nemoentityhandlers"],
                ALL,
            ),
        ];
        if object.spec.is_placed_by_runai() {
            rules.push(rule(&["run.ai"], &["trainingworkloads", "runaijobs"], ALL));
        } else {
            rules.extend([
                rule(&["batch.volcano.sh"], &["jobs"], ALL),
                rule(&["batch.volcano.sh"], &["jobs/status"], SEE),
                rule(&["nodeinfo.volcano.sh"], &["numatopologies"], SEE),
                rule(
                    &["scheduling.incubator.k8s.io", "scheduling.volcano.sh"],
                    &["queues", "queues/status", "podgroups"],
                    SEE,
                ),
            ]);
        }
        rules
    }

    fn needs(object: &NemoCustomizer, subject: &Subject) -> Vec<Need> {
        let spec = &object.spec;
        let mut needs = config::needs(object, subject);
        needs.extend(database::needs(subject, &spec.database_config));
        let wandb = &spec.wandb;
        needs.push(Need::key(subject, &wandb.secret_name, wandb.encryption_key(), "spec.wandb.secretName"));
        needs.extend(claim::need(subject, &spec.training_config.model_pvc, CLAIM));
        // What training jobs are given: no pod of ours has it.
        let downloads = &spec.model_download_jobs;
        let ngc = downloads.ngc_api_secret.iter();
        let ngc = ngc.map(|secret| (&secret.name, "spec.modelDownloadJobs.ngcAPISecret.name"));
        let hugging_face = downloads.hf_secret.iter();
        let hugging_face = hugging_face.map(|secret| (&secret.name, "spec.modelDownloadJobs.hfSecret.name"));
        for (name, field) in ngc.chain(hugging_face) {
            needs.push(Need::new(subject, Thing::Secret, name, field, Part::Presence));
        }
        for (url, field) in [
            (&spec.datastore.endpoint, "spec.datastore.endpoint"),
            (&spec.entitystore.endpoint, "spec.entitystore.endpoint"),
            (&spec.mlflow.endpoint, "spec.mlflow.endpoint"),
        ] {
            needs.extend(dependency::service(subject, url, field));
        }
        let scheduler =
            if spec.is_placed_by_runai() { "trainingworkloads.run.ai" } else { "jobs.batch.volcano.sh" };
        needs.push(dependency::definition(scheduler, "spec.scheduler.type"));
        needs.extend(otel::need(subject, spec.otel.as_ref()));
        needs
    }

    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure> {
        let spec = &scene.object.spec;
        database::check(&spec.database_config)?;
        let text = config::text(scene)?;
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&text));
        let mut children = vec![configuration(scene, text)];
        children.push(database::secret(scene, DSN, &spec.database_config)?);
        children.extend(claim::child(scene, &spec.training_config.model_pvc, CLAIM)?);
        let (volume, mount) = configured(scene);
        Ok(Plan {
            children,
            env: env(scene),
            volumes: vec![volume],
            mounts: vec![mount],
            annotations: Map::from([(CONFIG_HASH.to_owned(), digest)]),
            ..Plan::default()
        })
    }
}

fn configuration(scene: &Scene<'_, Customizers>, text: String) -> Child {
    let map = ConfigMap {
        metadata: scene.microservice().meta(Map::new()),
        data: Some(Map::from([(FILE.to_owned(), text)])),
        ..ConfigMap::default()
    };
    Child::new(ChildKind::ConfigMap, scene.name(), Keep::Owned, &map)
}

fn configured(scene: &Scene<'_, Customizers>) -> (Volume, VolumeMount) {
    let item = KeyToPath { key: FILE.to_owned(), path: FILE.to_owned(), mode: None };
    let source = ConfigMapVolumeSource {
        name: scene.name().to_owned(),
        items: Some(vec![item]),
        ..ConfigMapVolumeSource::default()
    };
    let volume = Volume { name: VOLUME.to_owned(), config_map: Some(source), ..Volume::default() };
    (volume, VolumeMount { read_only: Some(true), ..mount(VOLUME, FOLDER) })
}

fn env(scene: &Scene<'_, Customizers>) -> Vec<EnvVar> {
    let spec = &scene.object.spec;
    let (name, namespace) = (scene.name(), scene.namespace());
    let callback = format!("http://{name}.{namespace}.svc.cluster.local:{}", INTERNAL.service);
    let (wandb, database) = (&spec.wandb, &spec.database_config);
    let mut all = vec![
        var("NAMESPACE", namespace),
        host_ip(),
        var("CONFIG_PATH", format!("{FOLDER}/{FILE}")),
        var("CUSTOMIZATIONS_CALLBACK_URL", callback),
        var("LOG_LEVEL", "INFO"),
        secret_key("WANDB_ENCRYPTION_KEY", &wandb.secret_name, wandb.encryption_key()),
        var("WANDB_SECRET_NAME", wandb.secret_name.as_str()),
        var("WANDB_SECRET_KEY", wandb.api_key_key.as_str()),
        database::password("POSTGRES_DB_PASSWORD", database),
        secret_key("POSTGRES_DB_DSN", name, DSN),
        var("POSTGRES_SECRET_NAME", database.credentials.secret_name.as_str()),
    ];
    all.extend(otel::env(spec.otel.as_ref()));
    all
}

#[cfg(test)]
mod tests;
