//! The environment of the serving container, and of the containers beside it.

use crds::nim::NIMServiceSpec;
use k8s_openapi::api::core::v1::EnvVar;

use super::network::Ports;
use super::storage::CacheView;
use crate::operator::env::{add_missing, distinct, merge, proxy, secret_var, set, var};

/// The variable with the key of NVIDIA's catalogue, and its key in a Secret.
pub(super) const NGC_KEY: &str = "NGC_API_KEY";
/// Where models lie in containers of the older layout.
pub(super) const MODEL_PATH: &str = "/model-store";

/// What every container of the pod begins with: ours, the user's over it, the proxy's over that.
pub(super) fn base(spec: &NIMServiceSpec, ports: Ports) -> Vec<EnvVar> {
    let mut ours = vec![
        var("NIM_CACHE_PATH", MODEL_PATH),
        var("OUTLINES_CACHE_DIR", "/tmp/outlines"),
        var("NIM_SERVER_PORT", ports.api.to_string()),
        var("NIM_HTTP_API_PORT", ports.api.to_string()),
        var("NIM_JSONL_LOGGING", "1"),
        var("NIM_LOG_LEVEL", "INFO"),
    ];
    if let Some(secret) = spec.auth_secret() {
        // As NVIDIA's operator has it from 3.1.3 on: a model that is stored already needs no key.
        ours.push(secret_var(NGC_KEY, secret, true));
    }
    if let Some(port) = ports.grpc {
        ours.push(var("NIM_GRPC_API_PORT", port.to_string()));
        ours.push(var("NIM_TRITON_GRPC_PORT", port.to_string()));
    }
    if let Some(port) = ports.metrics {
        ours.push(var("NIM_TRITON_METRICS_PORT", port.to_string()));
    }
    let all = merge(&ours, spec.env.as_deref().unwrap_or_default());
    match &spec.proxy {
        Some(wanted) => merge(&all, &proxy(wanted)),
        None => all,
    }
}

/// The environment of the serving container.
pub(super) fn serving(
    spec: &NIMServiceSpec,
    base: Vec<EnvVar>,
    cache: Option<&CacheView>,
    native: bool,
) -> Vec<EnvVar> {
    let mut all = base;
    if let Some(cache) = cache.filter(|cache| cache.spec.source.is_universal() && !native) {
        let model = cache.spec.source.hugging_face_uri().unwrap_or_default();
        let given = [
            var("NIM_MODEL_NAME", MODEL_PATH),
            var("HF_HOME", "/model-store/huggingface/hub"),
            var("NIM_MODEL_PATH", model),
        ];
        add_missing(&mut all, given);
    }
    if native {
        let path = cache.map_or_else(|| "/model".to_owned(), |cache| format!("/model/{}", cache.name));
        set(&mut all, [var("NIM_ENGINE_MODEL_PATH", path)]);
        hf_keys(spec, &mut all, true);
    }
    let named = all.iter().find(|var| var.name == "NIM_MODEL_NAME").and_then(|var| var.value.as_deref());
    if cache.is_some_and(|cache| cache.spec.source.is_hugging_face())
        || named.is_some_and(|name| name.starts_with("hf://"))
    {
        hf_keys(spec, &mut all, false);
    }
    if let Some(profile) = spec.cache_profile() {
        add_missing(&mut all, [var("NIM_MODEL_PROFILE", profile)]);
    }
    distinct(all)
}

/// Models that do not come from NGC need a token of Hugging Face. Both keys come first, as
/// they do in pods that NVIDIA's operator made: another order would restart them. A key that the user gives in `spec.env`
/// stays as it is given.
fn hf_keys(spec: &NIMServiceSpec, all: &mut Vec<EnvVar>, token_optional: bool) {
    let is_users = |name: &str| spec.env.iter().flatten().any(|var| var.name == name);
    all.retain(|var| var.name != NGC_KEY || is_users(&var.name));
    if let Some(secret) = spec.auth_secret() {
        let keys = [secret_var(NGC_KEY, secret, true), secret_var("HF_TOKEN", secret, token_optional)];
        let missing: Vec<_> = keys.into_iter().filter(|key| !is_users(&key.name)).collect();
        *all = merge(all, &missing);
    }
}
