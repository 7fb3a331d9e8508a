//! NemoEvaluator: models judged by benchmarks.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::database::DatabaseConfig;
use super::microservice::Microservice;
use super::otel::OTel;
use super::reference::Endpoint;
use super::said;
use super::status::NemoStatus;
use crate::absent_spec::may_be_absent;

/// How much is logged where nothing is said.
const LOG_LEVEL: &str = "INFO";
/// Where logs go where nothing is said.
const LOG_HANDLERS: &str = "console";

/// The evaluator to run.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "apps.nvidia.com",
    version = "v1alpha1",
    kind = "NemoEvaluator",
    plural = "nemoevaluators",
    singular = "nemoevaluator",
    namespaced,
    doc = "A NeMo Evaluator.",
    status = "NemoStatus",
    derive = "PartialEq",
    derive = "Default",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Age","type":"date","format":"date-time","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", remote = "Self")]
#[schemars(!remote)]
pub struct NemoEvaluatorSpec {
    /// What all NeMo microservices say.
    #[serde(flatten)]
    pub service: Microservice,
    /// The database.
    pub database_config: DatabaseConfig,
    /// Argo Workflows, which runs the evaluations.
    pub argo_workflows: ArgoWorkflows,
    /// The vector database Milvus.
    #[serde(rename = "vectorDB")]
    pub vector_db: Endpoint,
    /// The NeMo Data Store.
    pub datastore: Endpoint,
    /// The NeMo Entity Store.
    pub entitystore: Endpoint,
    /// The images that evaluations run in.
    pub evaluation_images: EvaluationImages,
    /// Traces, metrics and logs. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otel: Option<OTel>,
    /// How much an evaluation logs. Default `INFO`.
    #[schemars(extend("default" = "INFO", "enum" = ["INFO", "DEBUG"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_log_level: Option<String>,
    /// Where logs go: `console` or `file`. Default `console`.
    #[schemars(extend("default" = "console", "enum" = ["console", "file"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_handlers: Option<String>,
    /// How much goes to the console. Default `INFO`.
    #[schemars(extend("default" = "INFO", "enum" = ["INFO", "DEBUG"]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console_log_level: Option<String>,
    /// Whether a request is checked before it is run. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_validation: Option<bool>,
}

may_be_absent!(NemoEvaluatorSpec);

impl NemoEvaluatorSpec {
    /// How much an evaluation logs, `INFO` where nothing is said.
    #[must_use]
    pub fn eval_log_level(&self) -> &str {
        said(self.eval_log_level.as_deref(), LOG_LEVEL)
    }

    /// How much goes to the console, `INFO` where nothing is said.
    #[must_use]
    pub fn console_log_level(&self) -> &str {
        said(self.console_log_level.as_deref(), LOG_LEVEL)
    }

    /// Where logs go, `console` where nothing is said.
    #[must_use]
    pub fn log_handlers(&self) -> &str {
        said(self.log_handlers.as_deref(), LOG_HANDLERS)
    }

    /// Whether a request is checked before it is run: unless it says no, it is.
    #[must_use]
    pub fn is_validating(&self) -> bool {
        self.enable_validation != Some(false)
    }
}

/// Argo Workflows, which is there already.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgoWorkflows {
    /// Its URL.
    #[schemars(length(min = 1), regex(pattern = "^http"))]
    pub endpoint: String,
    /// The ServiceAccount that workflows run as. It has to be there.
    pub service_account: String,
}

/// The images that evaluations run in. An image that is not given cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvaluationImages {
    /// BigCode Evaluation Harness. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bigcode_eval_harness: Option<String>,
    /// LM Evaluation Harness. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lm_eval_harness: Option<String>,
    /// Similarity metrics. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity_metrics: Option<String>,
    /// A model as the judge. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm_as_judge: Option<String>,
    /// MT-Bench. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mt_bench: Option<String>,
    /// Retrievers. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriever: Option<String>,
    /// Retrieval-augmented generation. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rag: Option<String>,
    /// Berkeley Function Calling Leaderboard. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bfcl: Option<String>,
    /// Agents. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agentic_eval: Option<String>,
}
