//! Gitea in the words of its environment: the server, and the containers that set it up. Pure.

use crds::nemo::{NemoDatastore, ObjectStoreConfig};
use k8s_openapi::api::core::v1::{Container, EnvVar, VolumeMount};

use super::Datastores;
use crate::operator::env::var;
use crate::operator::nemo::pod::{before, secret_key};
use crate::operator::nemo::{Scene, database};

/// Keys of the administrator's Secret, and the variables of these names.
pub(super) const ADMIN: [&str; 2] = ["GITEA_ADMIN_USERNAME", "GITEA_ADMIN_PASSWORD"];
/// Key of what tokens for large files are signed by.
pub(super) const JWT: &str = "jwtSecret";

/// Environment of the server.
pub(super) fn env(object: &NemoDatastore) -> Vec<EnvVar> {
    let mut all = vec![var("SSH_LISTEN_PORT", "2222"), var("SSH_PORT", "22")];
    all.extend(everywhere(object));
    all.extend(object.spec.object_store_config.iter().flat_map(sign_in));
    all
}

/// The containers that set the server up, in order, with these mounts.
pub(super) fn setup(scene: &Scene<'_, Datastores>, mounts: &[VolumeMount]) -> Vec<Container> {
    let env = setup_env(scene.object);
    let one = |name: &str, command: &[&str]| Container {
        env: Some(env.clone()),
        volume_mounts: Some(mounts.to_vec()),
        ..before(scene, name, command)
    };
    let configure = Container {
        args: Some(vec!["/usr/sbin/init/configure_gitea.sh".into()]),
        ..one("configure-datastore", &["/bin/sh", "-c"])
    };
    vec![
        one("init-directories", &["/usr/sbin/init/init_directory_structure.sh"]),
        one("init-app-ini", &["/usr/sbin/config_environment.sh"]),
        configure,
    ]
}

fn setup_env(object: &NemoDatastore) -> Vec<EnvVar> {
    let spec = &object.spec;
    let database = &spec.database_config;
    let mut all = everywhere(object);
    all.extend(ADMIN.map(|name| secret_key(name, &spec.secrets.gitea_admin_secret, name)));
    all.extend([
        var("GITEA__DATABASE__SSL_MODE", "disable"),
        var("GITEA__DATABASE__NAME", database.database_name.as_str()),
        var("GITEA__DATABASE__HOST", format!("{}:{}", database.host, database.port())),
        var("GITEA__DATABASE__USER", database.credentials.user.as_str()),
    ]);
    all.extend(spec.object_store_config.iter().flat_map(large_files));
    all
}

fn everywhere(object: &NemoDatastore) -> Vec<EnvVar> {
    vec![
        var("GITEA_APP_INI", "/data/gitea/conf/app.ini"),
        var("GITEA_CUSTOM", "/data/gitea"),
        var("GITEA_WORK_DIR", "/data"),
        var("TMPDIR", "/tmp/gitea"),
        var("GITEA_TEMP", "/tmp/gitea"),
        var("HOME", "/data/gitea/git"),
        secret_key("GITEA__SERVER__LFS_JWT_SECRET", &object.spec.secrets.lfs_jwt_secret, JWT),
        database::password("GITEA__DATABASE__PASSWD", &object.spec.database_config),
    ]
}

/// Where large files lie.
fn large_files(store: &ObjectStoreConfig) -> Vec<EnvVar> {
    let mut all = vec![
        var("GITEA__LFS__SERVE_DIRECT", store.serve_direct().to_string()),
        var("GITEA__LFS__STORAGE_TYPE", "minio"),
        var("GITEA__LFS__MINIO_ENDPOINT", store.endpoint.as_str()),
        var("GITEA__LFS__MINIO_BUCKET", store.bucket_name.as_str()),
        var("GITEA__LFS__MINIO_LOCATION", store.region.as_str()),
        var("GITEA__LFS__MINIO_USE_SSL", store.ssl.to_string()),
    ];
    all.extend(sign_in(store));
    all
}

fn sign_in(store: &ObjectStoreConfig) -> [EnvVar; 2] {
    let credentials = &store.credentials;
    [
        var("GITEA__LFS__MINIO_ACCESS_KEY_ID", credentials.user.as_str()),
        secret_key(
            "GITEA__LFS__MINIO_SECRET_ACCESS_KEY",
            &credentials.secret_name,
            &credentials.password_key,
        ),
    ]
}
