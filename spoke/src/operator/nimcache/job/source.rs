//! What the download job runs, by where the model comes from.

use crds::nim::{DSHFCommonFields, NIMCacheSpec};
use k8s_openapi::api::core::v1::EnvVar;

use crate::operator::env::{merge, set, var};
use crate::operator::nimcache::selection::Selection;

/// Where models lie in the container.
const MODEL_PATH: &str = "/model-store";
/// Where images of the native layout keep weights, and what they compile from them.
const NATIVE_PATHS: &[&str] = &["/model", "/opt/cache"];

/// What is known of the image, apart from what the spec says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::operator::nimcache) struct Image {
    /// It fetches by itself, into the native layout.
    pub(in crate::operator::nimcache) native: bool,
    /// It is a NIM without a manifest: it takes the address of a model.
    pub(in crate::operator::nimcache) model_free: bool,
}

/// The program, its environment, and where it finds the volume.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fetch {
    /// None: the image's own.
    pub(super) command: Option<Vec<String>>,
    pub(super) args: Option<Vec<String>>,
    pub(super) env: Vec<EnvVar>,
    pub(super) paths: &'static [&'static str],
}

/// Chooses it. The user's variables win, except over the path that native images are told.
pub(super) fn fetch(spec: &NIMCacheSpec, cache: &str, image: Image, selection: &Selection) -> Fetch {
    let users = spec.env.as_deref().unwrap_or_default();
    if image.native {
        let own = [
            var("NIM_ENGINE_MODEL_DOWNLOAD_ONLY", "1"),
            var("NIM_ENGINE_MODEL_PATH", format!("/model/{cache}")),
        ];
        let mut env = merge(&own, users);
        set(&mut env, own);
        return Fetch { command: None, args: None, env, paths: NATIVE_PATHS };
    }
    let store = var("NIM_CACHE_PATH", MODEL_PATH);
    let (command, args, own) = if let Some((endpoint, namespace, wanted)) = spec.source.common() {
        let own = vec![
            var("HF_ENDPOINT", endpoint),
            var("HF_HUB_OFFLINE", "0"),
            store,
            var("HF_HOME", "/model-store/huggingface/hub"),
        ];
        let uri = spec.source.hugging_face_uri().filter(|_| image.model_free);
        (from_hub(namespace, wanted, uri), None, own)
    } else {
        let (command, args) = from_ngc(spec, selection);
        (vec![command.to_owned()], Some(args), vec![store])
    };
    let command = Some(command);
    Fetch { command, args, env: merge(&own, users), paths: &[MODEL_PATH] }
}

/// From a place that speaks as the Hugging Face hub does. Data sets have no address that a NIM would take, so they are
/// always fetched by the hub's own program.
fn from_hub(namespace: &str, wanted: &DSHFCommonFields, uri: Option<String>) -> Vec<String> {
    if let Some(uri) = uri {
        let manifest = "/model-store/model_manifest.json";
        return words(&["download-to-cache", "--model-uri", &uri, "--manifest-file", manifest]);
    }
    let (kind, name) = match (&wanted.model_name, &wanted.dataset_name) {
        (None, Some(name)) => ("dataset", name.as_str()),
        (name, _) => ("model", name.as_deref().unwrap_or_default()),
    };
    let what = format!("{namespace}/{name}");
    let mut all =
        words(&["huggingface-cli", "download", &what, "--local-dir", MODEL_PATH, "--repo-type", kind]);
    if let Some(revision) = wanted.revision.as_deref().filter(|revision| !revision.is_empty()) {
        all.extend(words(&["--revision", revision]));
    }
    all
}

/// From NVIDIA's catalogue: one model by its address, or profiles of the image's own.
fn from_ngc(spec: &NIMCacheSpec, selection: &Selection) -> (&'static str, Vec<String>) {
    if let Some(endpoint) = spec.source.ngc.as_ref().and_then(|ngc| ngc.model_endpoint.as_deref()) {
        return ("create-model-store", words(&["--model-repo", endpoint, "--model-store", MODEL_PATH]));
    }
    let args = match selection {
        Selection::All => words(&["--all"]),
        Selection::Ids(ids) => std::iter::once("--profiles".to_owned()).chain(ids.iter().cloned()).collect(),
    };
    ("download-to-cache", args)
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}
