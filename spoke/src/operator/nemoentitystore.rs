//! NemoEntitystore: the entities that NeMo microservices share.

use crds::nemo::{DatabaseConfig, Microservice, NemoEntitystore};
use k8s_openapi::api::core::v1::{Container, EnvVar};

use super::engine::kind::{Failure, Subject};
use super::env::var;
use super::nemo::need::Need;
use super::nemo::pod::{before, migration_limits};
use super::nemo::probes::{Ask, Probes};
use super::nemo::{NemoService, Plan, Scene, database, dependency};

/// The kind NemoEntitystore.
pub(crate) struct Entitystores;

/// Where the API answers for its health.
const HEALTH: &str = "/health";
/// Where the server lies in its image.
const HOME: &str = "/app/services/entity-store";

impl NemoService for Entitystores {
    type Object = NemoEntitystore;

    const KIND: &'static str = "NemoEntitystore";
    const PLURAL: &'static str = "nemoentitystores";
    const FINALIZER: &'static str = "finalizer.NemoEntitystore.apps.nvidia.com";
    const REPORTER: &'static str = "nemo-entitystore-service-controller";
    const GAUGE: &'static str = "nemo_entitystore_status_total";
    const PART_OF: &'static str = "nemo-entitystore-service";
    const API: i32 = 8000;
    const SELECTED_BY: &'static [&'static str] =
        &["app", "app.kubernetes.io/name", "app.kubernetes.io/instance"];
    const PROBES: Probes = Probes {
        liveness: Ask { path: HEALTH, delay: Some(3), timeout: 20, failures: 10 },
        readiness: Ask { path: HEALTH, delay: Some(10), timeout: 20, failures: 20 },
        startup: Ask::startup(HEALTH),
    };
    const MAKES_SECRET: bool = false;

    fn spec(object: &NemoEntitystore) -> &Microservice {
        &object.spec.service
    }

    fn needs(object: &NemoEntitystore, subject: &Subject) -> Vec<Need> {
        let spec = &object.spec;
        let mut needs = database::needs(subject, &spec.database_config);
        needs.extend(dependency::service(subject, &spec.datastore.endpoint, "spec.datastore.endpoint"));
        needs
    }

    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure> {
        let database = &scene.object.spec.database_config;
        database::check(database)?;
        let mut env = vec![
            var("APP_VERSION", scene.spec().image.tag.as_str()),
            var("BASE_URL_DATASTORE", scene.object.spec.datastore.endpoint.as_str()),
        ];
        env.extend(connection(database));
        Ok(Plan {
            env,
            init: vec![database::wait(scene, database), migration(scene, database)],
            ..Plan::default()
        })
    }
}

fn connection(database: &DatabaseConfig) -> [EnvVar; 5] {
    [
        database::password("POSTGRES_PASSWORD", database),
        var("POSTGRES_USER", database.credentials.user.as_str()),
        var("POSTGRES_HOST", database.host.as_str()),
        var("POSTGRES_PORT", database.port().to_string()),
        var("POSTGRES_DB", database.database_name.as_str()),
    ]
}

fn migration(scene: &Scene<'_, Entitystores>, database: &DatabaseConfig) -> Container {
    Container {
        args: Some(vec!["-m".into(), "scripts.run_db_migration".into()]),
        env: Some(connection(database).to_vec()),
        working_dir: Some(HOME.into()),
        resources: Some(migration_limits()),
        ..before(scene, "entitystore-db-migration", &["/app/.venv/bin/python3"])
    }
}

#[cfg(test)]
mod tests;
