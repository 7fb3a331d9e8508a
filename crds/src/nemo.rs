//! NVIDIA's NeMo microservices, group `apps.nvidia.com/v1alpha1`, field for field as its NIM Operator defines them.
//!
//! The five kinds have most of their spec in common: [`Microservice`]. What a kind adds is in the file named after it.
//! As with the NIM kinds, what an object does not say stays unsaid, and defaults are methods. Upstream's rules fail
//! for an object without `expose` or `expose.service`; here such an object is taken, since that is what they mean.

#[allow(dead_code, reason = "KubeSchema derives an unread copy of the spec")]
mod customizer;
mod database;
mod datastore;
mod entitystore;
mod evaluator;
mod expose;
mod guardrail;
#[allow(dead_code, reason = "KubeSchema derives an unread copy of the spec")]
mod microservice;
mod otel;
mod reference;
mod status;
#[cfg(test)]
mod tests;

pub use customizer::training::{TrainingConfig, WorkspacePVC};
pub use customizer::{
    HFSecret, ModelDownloadJobs, NGCSecret, NemoCustomizer, NemoCustomizerSpec, NemoDatastoreTools,
    Scheduler, WandB,
};
pub use database::{DatabaseConfig, DatabaseCredentials};
pub use datastore::{
    DatastoreSecrets, NemoDatastore, NemoDatastoreSpec, ObjectStoreConfig, ObjectStoreCredentials,
};
pub use entitystore::{NemoEntitystore, NemoEntitystoreSpec};
pub use evaluator::{ArgoWorkflows, EvaluationImages, NemoEvaluator, NemoEvaluatorSpec};
pub use expose::{Expose, Ingress, IngressPath, IngressSpec};
pub use guardrail::{ConfigStore, NIMEndpoint, NemoGuardrail, NemoGuardrailSpec};
pub use microservice::Microservice;
pub use otel::{ExporterConfig, OTel};
pub use reference::{ConfigMapRef, Endpoint};
pub use status::NemoStatus;

/// What is said, or what is meant where nothing is said; NVIDIA's operator stores nothing as an empty word.
fn said<'a>(word: Option<&'a str>, otherwise: &'a str) -> &'a str {
    word.filter(|word| !word.is_empty()).unwrap_or(otherwise)
}
