//! NemoGuardrail: rails around what models are asked and answer.

use crds::nemo::{DatabaseConfig, Microservice, NIMEndpoint, NemoGuardrail};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, Volume, VolumeMount,
};

use super::engine::child::Child;
use super::engine::kind::{Failure, Subject};
use super::env::var;
use super::nemo::need::{Need, Part};
use super::nemo::pod::{before, migration_limits, mount, secret_key};
use super::nemo::probes::{Ask, Probes};
use super::nemo::{NemoService, Plan, Scene, claim, database, dependency, otel};
use super::references::Thing;

/// The kind NemoGuardrail.
pub(crate) struct Guardrails;

/// Where the API answers for its health.
const HEALTH: &str = "/v1/health";
/// The volume with the rails, and where it is mounted.
const STORE: &str = "config-store";
const STORE_PATH: &str = "/config-store";
/// Folder of a claim that the rails lie in, where none is given.
const STORE_FOLDER: &str = "guardrails-config-store";
/// Key of the connection string in the Secret that is made.
const URI: &str = "uri";
/// Where the server lies in its image.
const HOME: &str = "/app/services/guardrails";

/// Where the rails come from.
const CONFIG_MAP: &str = "spec.configStore.configMap.name";
const CLAIM: &str = "spec.configStore.pvc";

impl NemoService for Guardrails {
    type Object = NemoGuardrail;

    const KIND: &'static str = "NemoGuardrail";
    const PLURAL: &'static str = "nemoguardrails";
    const FINALIZER: &'static str = "finalizer.NemoGuardrail.apps.nvidia.com";
    const REPORTER: &'static str = "nemo-guardrail-service-controller";
    const GAUGE: &'static str = "nemo_guardrail_status_total";
    const PART_OF: &'static str = "nemo-guardrail-service";
    const API: i32 = 8000;
    const SELECTED_BY: &'static [&'static str] =
        &["app", "app.kubernetes.io/name", "app.kubernetes.io/instance"];
    const PROBES: Probes = Probes {
        liveness: Ask { path: HEALTH, delay: Some(15), timeout: 1, failures: 3 },
        readiness: Ask { path: HEALTH, delay: Some(15), timeout: 1, failures: 3 },
        startup: Ask::startup(HEALTH),
    };
    const MAKES_SECRET: bool = true;

    fn spec(object: &NemoGuardrail) -> &Microservice {
        &object.spec.service
    }

    fn needs(object: &NemoGuardrail, subject: &Subject) -> Vec<Need> {
        let spec = &object.spec;
        let mut needs = Vec::new();
        if let Some(database) = &spec.database_config {
            needs.extend(database::needs(subject, database));
        }
        match store(object) {
            Store::ConfigMap(name) => {
                needs.push(Need::new(subject, Thing::ConfigMap, name, CONFIG_MAP, Part::Whole));
            }
            Store::Claim(wanted) => needs.extend(claim::need(subject, wanted, CLAIM)),
            Store::Empty => {}
        }
        if let Some(endpoint) = &spec.nim_endpoint {
            needs.extend(dependency::service(subject, &endpoint.base_url, "spec.nimEndpoint.baseURL"));
            if let Some((secret, key)) = endpoint.api_key() {
                needs.push(Need::key(subject, secret, key, "spec.nimEndpoint.apiKeySecret"));
            }
        }
        needs.extend(otel::need(subject, spec.otel.as_ref()));
        needs
    }

    fn claims(scene: &Scene<'_, Self>) -> Result<Vec<Child>, Failure> {
        match store(scene.object) {
            Store::Claim(wanted) => Ok(claim::child(scene, wanted, CLAIM)?.into_iter().collect()),
            Store::ConfigMap(_) | Store::Empty => Ok(Vec::new()),
        }
    }

    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure> {
        let spec = &scene.object.spec;
        let (volume, mount) = stored(scene);
        let mut plan =
            Plan { env: env(scene), volumes: vec![volume], mounts: vec![mount], ..Plan::default() };
        if let Some(database) = &spec.database_config {
            database::check(database)?;
            plan.children.push(database::secret(scene, URI, database)?);
            plan.init = vec![database::wait(scene, database), migration(scene, database)];
        }
        Ok(plan)
    }
}

/// Where the rails are.
enum Store<'a> {
    ConfigMap(&'a str),
    Claim(&'a crds::nim::PersistentVolumeClaim),
    /// Nowhere yet: they are given over the API, and go with the pod.
    Empty,
}

fn store(object: &NemoGuardrail) -> Store<'_> {
    let wanted = object.spec.config_store.as_ref();
    let map = wanted.and_then(|store| store.config_map.as_ref());
    match (map, wanted.and_then(|store| store.pvc.as_ref())) {
        (Some(map), _) => Store::ConfigMap(&map.name),
        (None, Some(claim)) => Store::Claim(claim),
        (None, None) => Store::Empty,
    }
}

fn stored(scene: &Scene<'_, Guardrails>) -> (Volume, VolumeMount) {
    let bare = Volume { name: STORE.to_owned(), ..Volume::default() };
    let whole = mount(STORE, STORE_PATH);
    match store(scene.object) {
        Store::ConfigMap(name) => {
            let source = ConfigMapVolumeSource { name: name.to_owned(), ..ConfigMapVolumeSource::default() };
            (Volume { config_map: Some(source), ..bare }, whole)
        }
        Store::Claim(wanted) => {
            let folder = wanted.sub_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(STORE_FOLDER);
            let mount = VolumeMount { sub_path: Some(folder.to_owned()), ..whole };
            (claim::volume(scene, STORE, wanted), mount)
        }
        Store::Empty => (Volume { empty_dir: Some(EmptyDirVolumeSource::default()), ..bare }, whole),
    }
}

fn env(scene: &Scene<'_, Guardrails>) -> Vec<EnvVar> {
    let spec = &scene.object.spec;
    let mut all = vec![
        var("CONFIG_STORE_PATH", STORE_PATH),
        var("DEFAULT_CONFIG_ID", "default"),
        var("DEFAULT_LLM_PROVIDER", "nim"),
        var("NEMO_GUARDRAILS_SERVER_ENABLE_CORS", "False"),
        var("NEMO_GUARDRAILS_SERVER_ALLOWED_ORIGINS", "*"),
        var("GUARDRAILS_HOST", "0.0.0.0"),
        var("GUARDRAILS_PORT", Guardrails::API.to_string()),
        var("DEMO", "False"),
    ];
    if let Some(endpoint) = &spec.nim_endpoint {
        all.extend(model(endpoint));
    }
    if let Some(database) = &spec.database_config {
        all.extend(connection(scene, database));
    }
    let otel = spec.otel.as_ref();
    all.extend(otel::env(otel));
    if otel.is_some_and(crds::nemo::OTel::is_enabled) {
        // The second names the first.
        all.push(var("NAMESPACE", scene.namespace()));
        all.push(var("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=$(NAMESPACE)"));
    }
    all
}

fn model(endpoint: &NIMEndpoint) -> Vec<EnvVar> {
    let url = var("NIM_ENDPOINT_URL", endpoint.base_url.as_str());
    let key = endpoint.api_key().map(|(secret, key)| secret_key("NIM_ENDPOINT_API_KEY", secret, key));
    std::iter::once(url).chain(key).collect()
}

fn connection(scene: &Scene<'_, Guardrails>, database: &DatabaseConfig) -> Vec<EnvVar> {
    vec![
        database::password("POSTGRES_DB_PASSWORD", database),
        secret_key("POSTGRES_URI", scene.name(), URI),
        secret_key("DB_URI", scene.name(), URI),
    ]
}

fn migration(scene: &Scene<'_, Guardrails>, database: &DatabaseConfig) -> Container {
    let mut env = vec![var("NAMESPACE", scene.namespace()), var("PYTHONPATH", HOME)];
    env.extend(connection(scene, database));
    Container {
        args: Some(vec!["upgrade".into(), "head".into()]),
        env: Some(env),
        working_dir: Some(HOME.into()),
        resources: Some(migration_limits()),
        ..before(scene, "guardrail-db-migration", &["/app/.venv/bin/alembic"])
    }
}

#[cfg(test)]
mod tests;
