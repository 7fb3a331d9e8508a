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
use crate::operator::env::var;
use crate::operator::microservice::metadata::Map;
use crate::operator::microservice::pod::pull_policy;

/// Where the Secret with the password is named.
const SECRET: &str = "spec.databaseConfig.credentials.secretName";
/// Where the server is named.
const HOST: &str = "spec.databaseConfig.host";
/// Waits until the server takes connections. The server is read from the environment, so that no text of the spec is
/// ever a part of the script.
const WAIT: &str = "\
until nc -z -- \"$DATABASE_HOST\" \"$DATABASE_PORT\"; do echo \"Waiting for Postgres to start \"; sleep 5; done
";
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
    let bare = bare_host(database);
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    format!("postgresql://{user}:{password}@{host}:{}/{}", database.port(), plain(&database.database_name))
}

/// The host without the brackets of an IPv6 address.
fn bare_host(database: &DatabaseConfig) -> &str {
    database.host.trim_start_matches('[').trim_end_matches(']')
}

/// Refuses a host that is neither a DNS name nor an IP address: programs, connection strings and configuration files
/// would take other signs for syntax.
pub(crate) fn check(database: &DatabaseConfig) -> Result<(), Failure> {
    let bare = bare_host(database);
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '.' | '-' | '_' | ':' | '%');
    if bare.starts_with(|sign: char| sign.is_ascii_alphanumeric() || sign == ':') && bare.chars().all(is_sign)
    {
        return Ok(());
    }
    let message = format!(
        "{HOST} is {:?}, which is neither a DNS name nor an IP address: name the server alone, and its port in \
         spec.databaseConfig.port",
        database.host
    );
    Err(Failure::new("InvalidSpec", message))
}

/// The container that waits until the server takes connections.
pub(crate) fn wait<S: NemoService>(scene: &Scene<'_, S>, database: &DatabaseConfig) -> Container {
    Container {
        name: "wait-for-postgres".into(),
        image: Some(scene.facts.settings.wait_for_postgres_image.clone()),
        image_pull_policy: pull_policy(&scene.spec().image),
        command: Some(vec!["sh".into(), "-c".into(), WAIT.into()]),
        env: Some(vec![
            var("DATABASE_HOST", bare_host(database)),
            var("DATABASE_PORT", database.port().to_string()),
        ]),
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
