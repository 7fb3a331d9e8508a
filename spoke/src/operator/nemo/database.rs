//! The PostgreSQL database of a NeMo microservice: its password, its connection string, and the wait for it.

use crds::nemo::DatabaseConfig;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, EnvVar, Secret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::need::Need;
use super::pod::secret_key;
use super::{NemoService, Scene, dependency};
use crate::operator::engine::child::{Child, ChildKind, Keep};
use crate::operator::engine::kind::{Failure, Subject};
use crate::operator::microservice::metadata::Map;
use crate::operator::microservice::pod::pull_policy;

/// Where the Secret with the password is named.
const SECRET: &str = "spec.databaseConfig.credentials.secretName";
/// Where the server is named.
const HOST: &str = "spec.databaseConfig.host";
/// The image that waits for the database.
const WAITING_IMAGE: &str = "busybox";
/// On an object: the image that waits for its database instead, for clusters that do not reach Docker Hub. It needs `sh`
/// and `nc`.
const WAITING_IMAGE_INSTEAD: &str = "nimfleet.io/wait-for-postgres-image";
/// What stays as it is in a part of a connection string.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The Secret with the password, and the server if it is one of this cluster.
pub(crate) fn needs(subject: &Subject, database: &DatabaseConfig) -> Vec<Need> {
    let mut needs = vec![password_of(subject, database)];
    needs.extend(dependency::service(subject, &database.host, HOST));
    needs
}

fn password_of(subject: &Subject, database: &DatabaseConfig) -> Need {
    let credentials = &database.credentials;
    Need::key(subject, &credentials.secret_name, credentials.password_key(), SECRET)
}

/// The variable of this name with the password.
pub(crate) fn password(name: &str, database: &DatabaseConfig) -> EnvVar {
    secret_key(name, &database.credentials.secret_name, database.credentials.password_key())
}

/// The Secret, named as the object, whose one key is the connection string.
pub(crate) fn secret<S: NemoService>(
    scene: &Scene<'_, S>,
    key: &str,
    database: &DatabaseConfig,
) -> Result<Child, Failure> {
    let need = password_of(scene.subject, database);
    let password = scene.found.text(&need, database.credentials.password_key())?;
    let data = [(key.to_owned(), ByteString(connection(database, password).into_bytes()))];
    let secret = Secret {
        metadata: scene.microservice().meta(Map::new()),
        type_: Some("Opaque".into()),
        data: Some(data.into()),
        ..Secret::default()
    };
    Ok(Child::new(ChildKind::Secret, scene.name(), Keep::Owned, &secret))
}

/// `postgresql://user:password@host:port/name`; signs that mean something in a URL are escaped.
fn connection(database: &DatabaseConfig, password: &str) -> String {
    let plain = |part: &str| utf8_percent_encode(part, PLAIN).to_string();
    let (user, password) = (plain(&database.credentials.user), plain(password));
    let bare = database.host.trim_start_matches('[').trim_end_matches(']');
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    format!("postgresql://{user}:{password}@{host}:{}/{}", database.port(), plain(&database.database_name))
}

/// The container that waits until the server takes connections. `end` closes its loop: some kinds write it with a
/// semicolon, and another word would replace their pods.
pub(crate) fn wait<S: NemoService>(scene: &Scene<'_, S>, database: &DatabaseConfig, end: &str) -> Container {
    let instead = scene.subject.annotations.get(WAITING_IMAGE_INSTEAD).filter(|image| !image.is_empty());
    let (host, port) = (&database.host, database.port());
    let script =
        format!("until nc -z {host} {port}; do echo \"Waiting for Postgres to start \"; sleep 5; {end}");
    Container {
        name: "wait-for-postgres".into(),
        image: Some(instead.map_or(WAITING_IMAGE, String::as_str).to_owned()),
        image_pull_policy: pull_policy(&scene.spec().image),
        command: Some(vec!["sh".into(), "-c".into(), script]),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn database(host: &str) -> DatabaseConfig {
        let database = json!({
            "host": host, "databaseName": "evaldb", "credentials": {"user": "eval", "secretName": "s"},
        });
        serde_json::from_value(database).unwrap()
    }

    #[test]
    fn nemo_b17_signs_in_a_password_do_not_break_the_connection_string() {
        for (host, password, expected) in [
            ("pg.nemo.svc", "plain-1_2.3~", "postgresql://eval:plain-1_2.3~@pg.nemo.svc:5432/evaldb"),
            ("pg", "p@ss:w/o#r?d %", "postgresql://eval:p%40ss%3Aw%2Fo%23r%3Fd%20%25@pg:5432/evaldb"),
            ("fd00::1", "ü", "postgresql://eval:%C3%BC@[fd00::1]:5432/evaldb"),
            ("[fd00::1]", "x", "postgresql://eval:x@[fd00::1]:5432/evaldb"),
        ] {
            assert_eq!(connection(&database(host), password), expected);
        }
    }
}
