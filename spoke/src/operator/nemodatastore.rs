//! NemoDatastore: models and datasets in Git repositories, served by Gitea.

mod gitea;

use crds::nemo::{Microservice, NemoDatastore};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PodSecurityContext, SecretVolumeSource, Volume, VolumeMount,
};

use super::engine::child::Child;
use super::engine::kind::{Failure, Subject};
use super::nemo::need::{Need, Part};
use super::nemo::pod::mount;
use super::nemo::probes::{Ask, Probes};
use super::nemo::{NemoService, Plan, Scene, claim, database, dependency};
use super::references::Thing;

/// The kind NemoDatastore.
pub(crate) struct Datastores;

/// Where the API answers for its health.
const HEALTH: &str = "/v1/health";
/// Group of the files where none is given; other kinds have 2000.
const GROUP: i64 = 1000;
/// Where the claim is named.
const CLAIM: &str = "spec.pvc";
/// Mode of files with scripts: 0156, as NVIDIA's operator has it. The user's own bit is of no account beside the
/// group's, and other modes would replace every pod.
const SCRIPTS: i32 = 0o156;
/// Mode of files with settings.
const SETTINGS: i32 = 0o644;

impl NemoService for Datastores {
    type Object = NemoDatastore;

    const KIND: &'static str = "NemoDatastore";
    const PLURAL: &'static str = "nemodatastores";
    const FINALIZER: &'static str = "finalizer.nemodatastore.apps.nvidia.com";
    const REPORTER: &'static str = "nemo-datastore-service-controller";
    const GAUGE: &'static str = "nemo_datastore_status_total";
    const PART_OF: &'static str = "nemo-datastore-service";
    const API: i32 = 3000;
    const SELECTED_BY: &'static [&'static str] = &["app.kubernetes.io/name", "app.kubernetes.io/instance"];
    const PROBES: Probes = Probes {
        liveness: Ask { path: HEALTH, delay: Some(15), timeout: 1, failures: 3 },
        readiness: Ask { path: HEALTH, delay: Some(15), timeout: 1, failures: 3 },
        startup: Ask::startup(HEALTH),
    };
    const MAKES_SECRET: bool = false;

    fn spec(object: &NemoDatastore) -> &Microservice {
        &object.spec.service
    }

    fn needs(object: &NemoDatastore, subject: &Subject) -> Vec<Need> {
        let spec = &object.spec;
        let mut needs = database::needs(subject, &spec.database_config);
        for (name, field, part) in secrets(object) {
            needs.push(Need::new(subject, Thing::Secret, name, field, part));
        }
        if let Some(store) = &spec.object_store_config {
            let (secret, key) = (&store.credentials.secret_name, &store.credentials.password_key);
            needs.push(Need::key(subject, secret, key, "spec.objectStoreConfig.credentials.secretName"));
            needs.extend(dependency::service(subject, &store.endpoint, "spec.objectStoreConfig.endpoint"));
        }
        needs.extend(spec.pvc.as_ref().and_then(|wanted| claim::need(subject, wanted, CLAIM)));
        needs
    }

    fn claims(scene: &Scene<'_, Self>) -> Result<Vec<Child>, Failure> {
        let wanted = scene.object.spec.pvc.as_ref();
        let claim = wanted.map(|wanted| claim::child(scene, wanted, CLAIM)).transpose()?;
        Ok(claim.flatten().into_iter().collect())
    }

    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure> {
        database::check(&scene.object.spec.database_config)?;
        for (name, field, _) in secrets(scene.object) {
            if name.is_empty() {
                let message = format!("{field} is empty: name the Secret that the data store is set up by");
                return Err(Failure::new("InvalidSpec", message));
            }
        }
        Ok(Plan {
            env: gitea::env(scene.object),
            init: gitea::setup(scene, &setup_mounts(scene.object)),
            volumes: volumes(scene),
            mounts: vec![temp(), data(scene.object)],
            security: Some(PodSecurityContext {
                fs_group: Some(scene.spec().group_id.unwrap_or(GROUP)),
                ..PodSecurityContext::default()
            }),
            ..Plan::default()
        })
    }
}

/// The Secrets that it is set up by: name, field, and what is used of each.
fn secrets(object: &NemoDatastore) -> [(&str, &'static str, Part); 5] {
    let secrets = &object.spec.secrets;
    let keys = |keys: &[&str]| Part::Keys(keys.iter().map(|&key| key.to_owned()).collect());
    [
        (&secrets.datastore_init_secret, "spec.secrets.datastoreInitSecret", Part::Whole),
        (&secrets.datastore_config_secret, "spec.secrets.datastoreConfigSecret", Part::Whole),
        (&secrets.datastore_inline_config_secret, "spec.secrets.datastoreInlineConfigSecret", Part::Whole),
        (&secrets.gitea_admin_secret, "spec.secrets.giteaAdminSecret", keys(&gitea::ADMIN)),
        (&secrets.lfs_jwt_secret, "spec.secrets.lfsJwtSecret", keys(&[gitea::JWT])),
    ]
}

fn volumes(scene: &Scene<'_, Datastores>) -> Vec<Volume> {
    let secrets = &scene.object.spec.secrets;
    let secret = |name: &str, secret: &str, mode: i32| Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(mode),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let empty = |name: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let wanted = scene.object.spec.pvc.as_ref();
    vec![
        secret("init", &secrets.datastore_init_secret, SCRIPTS),
        secret("config", &secrets.datastore_config_secret, SCRIPTS),
        secret("inline-config-sources", &secrets.datastore_inline_config_secret, SETTINGS),
        empty("temp"),
        wanted.map_or_else(|| empty("data"), |wanted| claim::volume(scene, "data", wanted)),
    ]
}

/// Where what sets the server up finds the volumes. The first hides the programs of the image.
fn setup_mounts(object: &NemoDatastore) -> [VolumeMount; 5] {
    [
        mount("config", "/usr/sbin"),
        temp(),
        mount("inline-config-sources", "/env-to-ini-mounts/inlines/"),
        mount("init", "/usr/sbin/init"),
        data(object),
    ]
}

fn temp() -> VolumeMount {
    mount("temp", "/tmp")
}

fn data(object: &NemoDatastore) -> VolumeMount {
    let folder = object.spec.pvc.as_ref().and_then(|wanted| wanted.sub_path.clone());
    VolumeMount { sub_path: folder.filter(|path| !path.is_empty()), ..mount("data", "/data") }
}

#[cfg(test)]
mod tests;
