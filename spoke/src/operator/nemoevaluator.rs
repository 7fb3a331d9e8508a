//! NemoEvaluator: models judged by benchmarks, which run as workflows of Argo.

use crds::nemo::{EvaluationImages, Microservice, NemoEvaluator};
use k8s_openapi::api::core::v1::{Container, EnvVar};
use k8s_openapi::api::rbac::v1::PolicyRule;

use super::engine::kind::{Failure, Subject};
use super::env::var;
use super::microservice::access::rule;
use super::nemo::need::{Need, Part};
use super::nemo::pod::{before, host_ip, migration_limits, secret_key};
use super::nemo::probes::{Ask, Probes};
use super::nemo::{NemoService, Plan, Scene, database, dependency, otel};
use super::references::Thing;
use super::settings::Settings;

/// The kind NemoEvaluator.
pub(crate) struct Evaluators;

/// Where the API answers for its health.
const HEALTH: &str = "/health";
/// Key of the connection string in the Secret that is made.
const URI: &str = "uri";

impl NemoService for Evaluators {
    type Object = NemoEvaluator;

    const KIND: &'static str = "NemoEvaluator";
    const PLURAL: &'static str = "nemoevaluators";
    const FINALIZER: &'static str = "finalizer.nemoevaluator.apps.nvidia.com";
    const REPORTER: &'static str = "nemo-evaluator-service-controller";
    const GAUGE: &'static str = "nemo_evaluator_status_total";
    const PART_OF: &'static str = "nemo-evaluator-service";
    const API: i32 = 7331;
    const SELECTED_BY: &'static [&'static str] = &["app.kubernetes.io/name"];
    const PROBES: Probes = Probes {
        liveness: Ask { path: HEALTH, delay: None, timeout: 1, failures: 3 },
        readiness: Ask { path: HEALTH, delay: None, timeout: 1, failures: 3 },
        startup: Ask::startup(HEALTH),
    };
    const MAKES_SECRET: bool = true;

    fn spec(object: &NemoEvaluator) -> &Microservice {
        &object.spec.service
    }

    fn rules(_object: &NemoEvaluator, settings: &Settings) -> Vec<PolicyRule> {
        const ALL: &[&str] = &["get", "watch", "list", "create"];
        if settings.nemo_list_secrets {
            return vec![rule(&[""], &["secrets", "pods"], ALL)];
        }
        vec![rule(&[""], &["pods"], ALL), rule(&[""], &["secrets"], &["get", "create"])]
    }

    fn needs(object: &NemoEvaluator, subject: &Subject) -> Vec<Need> {
        let spec = &object.spec;
        let mut needs = database::needs(subject, &spec.database_config);
        for (url, field) in [
            (&spec.argo_workflows.endpoint, "spec.argoWorkflows.endpoint"),
            (&spec.vector_db.endpoint, "spec.vectorDB.endpoint"),
            (&spec.datastore.endpoint, "spec.datastore.endpoint"),
            (&spec.entitystore.endpoint, "spec.entitystore.endpoint"),
        ] {
            needs.extend(dependency::service(subject, url, field));
        }
        let account = &spec.argo_workflows.service_account;
        if !account.is_empty() {
            let field = "spec.argoWorkflows.serviceAccount";
            needs.push(Need::new(subject, Thing::ServiceAccount, account, field, Part::Presence));
        }
        needs.extend(otel::need(subject, spec.otel.as_ref()));
        needs
    }

    fn plan(scene: &Scene<'_, Self>) -> Result<Plan, Failure> {
        let database = &scene.object.spec.database_config;
        database::check(database)?;
        Ok(Plan {
            children: vec![database::secret(scene, URI, database)?],
            env: env(scene),
            init: vec![database::wait(scene, database), migration(scene)],
            ..Plan::default()
        })
    }
}

fn env(scene: &Scene<'_, Evaluators>) -> Vec<EnvVar> {
    let spec = &scene.object.spec;
    let mut all = vec![
        var("NAMESPACE", scene.namespace()),
        host_ip(),
        var("EVALUATOR_HOST", "0.0.0.0"),
        var("EVALUATOR_PORT", Evaluators::API.to_string()),
        var("ARGO_HOST", spec.argo_workflows.endpoint.as_str()),
        var("MILVUS_URL", spec.vector_db.endpoint.as_str()),
        var("SERVICE_ACCOUNT", spec.argo_workflows.service_account.as_str()),
        var("DATA_STORE_URL", spec.datastore.endpoint.as_str()),
        var("ENTITY_STORE_URL", spec.entitystore.endpoint.as_str()),
        var("EVAL_CONTAINER", scene.spec().image.reference()),
        var("LOG_HANDLERS", spec.log_handlers()),
        var("CONSOLE_LOG_LEVEL", spec.console_log_level()),
        var("EVAL_LOG_LEVEL", spec.eval_log_level()),
    ];
    if spec.is_validating() {
        all.push(var("EVAL_ENABLE_VALIDATION", "True"));
    }
    all.extend(connection(scene));
    all.extend(images(&spec.evaluation_images));
    all.extend(otel::env(spec.otel.as_ref()));
    all
}

fn connection(scene: &Scene<'_, Evaluators>) -> [EnvVar; 2] {
    let database = &scene.object.spec.database_config;
    [database::password("POSTGRES_DB_PASSWORD", database), secret_key("POSTGRES_URI", scene.name(), URI)]
}

/// One for each benchmark, empty where it has no image.
fn images(images: &EvaluationImages) -> [EnvVar; 9] {
    [
        ("BIGCODE_EVALUATION_HARNESS", &images.bigcode_eval_harness),
        ("LM_EVAL_HARNESS", &images.lm_eval_harness),
        ("SIMILARITY_METRICS", &images.similarity_metrics),
        ("LLM_AS_A_JUDGE", &images.llm_as_judge),
        ("MT_BENCH", &images.mt_bench),
        ("RETRIEVER", &images.retriever),
        ("RAG", &images.rag),
        ("BFCL", &images.bfcl),
        ("AGENTIC_EVAL", &images.agentic_eval),
    ]
    .map(|(name, image)| var(name, image.as_deref().unwrap_or_default()))
}

fn migration(scene: &Scene<'_, Evaluators>) -> Container {
    let spec = &scene.object.spec;
    let mut env = vec![
        var("NAMESPACE", scene.namespace()),
        var("ARGO_HOST", spec.argo_workflows.endpoint.as_str()),
        var("EVAL_CONTAINER", scene.spec().image.reference()),
        var("DATA_STORE_URL", spec.datastore.endpoint.as_str()),
    ];
    env.extend(connection(scene));
    env.extend(images(&spec.evaluation_images));
    Container {
        env: Some(env),
        resources: Some(migration_limits()),
        ..before(scene, "evaluator-db-migration", &["sh", "-c", "/app/scripts/run-db-migration.sh"])
    }
}

#[cfg(test)]
mod tests;
