//! The six shapes of the job, and what users and proxies change of them.
#![allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]

use serde_json::{Value, json};

use super::*;
use crate::operator::engine::kind::tests::subject_of;

const PLAIN: Image = Image { native: false, model_free: false };
const NATIVE: Image = Image { native: true, model_free: false };
const MODEL_FREE: Image = Image { native: false, model_free: true };

fn subject() -> Subject {
    Subject { now: jiff::Timestamp::UNIX_EPOCH, ..subject_of("NIMCache", "models", "c", 7) }
}

fn ngc(more: Value) -> Value {
    let mut source =
        json!({"modelPuller": "nvcr.io/nim/m:1", "authSecret": "ngc-api-secret", "pullSecret": "ngc-secret"});
    source.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({ "ngc": source })
}

fn hub(kind: &str, what: Value) -> Value {
    let endpoint = if kind == "hf" { "https://huggingface.co" } else { "http://store/v1/hf" };
    let mut source = json!({"endpoint": endpoint, "namespace": "meta", "authSecret": "hf-secret", "modelPuller": "cli:1", "pullSecret": "s"});
    source.as_object_mut().unwrap().extend(what.as_object().cloned().unwrap());
    json!({ kind: source })
}

/// The job of a source, with `more` merged into the spec.
fn rendered(source: Value, image: Image, more: Value) -> Value {
    let pvc = json!({"create": true, "size": "50Gi", "volumeAccessMode": "ReadWriteOnce", "subPath": "sub"});
    let mut spec = json!({"source": source, "storage": {"pvc": pvc}});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let spec: NIMCacheSpec = serde_json::from_value(spec).unwrap();
    let selection = match source_profiles(&spec) {
        Some(ids) => Selection::of_ids(ids),
        None => Selection::Ids(Vec::new()),
    };
    job(&subject(), &spec, "c-pvc", (image, &selection), &ClusterFacts::default()).body
}

fn source_profiles(spec: &NIMCacheSpec) -> Option<Vec<String>> {
    spec.source.ngc.as_ref()?.model.as_ref()?.profiles.clone()
}

fn main(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]["containers"][0]
}

/// Command and arguments, as one line.
fn line(job: &Value) -> String {
    let words = ["command", "args"].iter().filter_map(|field| main(job)[*field].as_array()).flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// Variables as `NAME=value`, in order.
fn env(container: &Value) -> Vec<String> {
    let all = container["env"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|var| format!("{}={}", var["name"].as_str().unwrap(), var["value"].as_str().unwrap_or("*")))
        .collect()
}

fn mounts(container: &Value) -> Vec<String> {
    let all = container["volumeMounts"].as_array().cloned().unwrap_or_default();
    let text = |mount: &Value, field: &str| mount[field].as_str().unwrap_or_default().to_owned();
    all.iter().map(|one| format!("{}/{}", text(one, "mountPath"), text(one, "subPath"))).collect()
}

#[test]
fn accept_nimcache_six_job_shapes() {
    let hub_env = |endpoint: &str| {
        let own = ["HF_HUB_OFFLINE=0", "NIM_CACHE_PATH=/model-store", "HF_HOME=/model-store/huggingface/hub"];
        std::iter::once(format!("HF_ENDPOINT={endpoint}")).chain(own.map(str::to_owned)).collect::<Vec<_>>()
    };
    let store = || vec!["NIM_CACHE_PATH=/model-store".to_owned()];
    let native =
        || vec!["NIM_ENGINE_MODEL_DOWNLOAD_ONLY=1".to_owned(), "NIM_ENGINE_MODEL_PATH=/model/c".to_owned()];
    let (hf, own) = ("https://huggingface.co", "http://store/v1/hf");
    for (source, image, expected, variables, paths) in [
        (ngc(json!({})), NATIVE, "", native(), &["/model/sub", "/opt/cache/sub", "/scratch/"][..]),
        (
            hub("hf", json!({"modelName": "llama", "revision": "v2"})),
            PLAIN,
            "huggingface-cli download meta/llama --local-dir /model-store --repo-type model --revision v2",
            hub_env(hf),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            hub("dataStore", json!({"modelName": "llama"})),
            PLAIN,
            "huggingface-cli download meta/llama --local-dir /model-store --repo-type model",
            hub_env(own),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            hub("dataStore", json!({"datasetName": "squad"})),
            PLAIN,
            "huggingface-cli download meta/squad --local-dir /model-store --repo-type dataset",
            hub_env(own),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            hub("hf", json!({"modelName": "llama"})),
            MODEL_FREE,
            "download-to-cache --model-uri hf://meta/llama --manifest-file /model-store/model_manifest.json",
            hub_env(hf),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            ngc(json!({"model": {"profiles": ["p1", "p2"]}})),
            PLAIN,
            "download-to-cache --profiles p1 p2",
            store(),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            ngc(json!({"model": {"profiles": ["all"]}})),
            PLAIN,
            "download-to-cache --all",
            store(),
            &["/model-store/sub", "/scratch/"],
        ),
        (
            ngc(json!({"modelEndpoint": "nim/meta/llama:hf"})),
            PLAIN,
            "create-model-store --model-repo nim/meta/llama:hf --model-store /model-store",
            store(),
            &["/model-store/sub", "/scratch/"],
        ),
    ] {
        let job = rendered(source.clone(), image, json!({}));
        assert_eq!(line(&job), expected, "{source}");
        assert_eq!(env(main(&job)), variables, "{source}");
        assert_eq!(mounts(main(&job)), paths, "{source}");
        let secret = if source["ngc"].is_object() {
            json!({"name": "ngc-api-secret", "optional": true})
        } else {
            json!({"name": "hf-secret"})
        };
        assert_eq!(main(&job)["envFrom"], json!([{"secretRef": secret}]));
        assert_eq!(job["metadata"]["annotations"][MADE_FOR], "7");
    }
}

#[test]
fn a_model_of_nvidias_catalogue_is_downloaded_without_a_key() {
    for secret in [Value::Null, json!("")] {
        let job = rendered(ngc(json!({"authSecret": secret})), PLAIN, json!({}));
        assert_eq!(main(&job).get("envFrom"), None, "{secret}");
    }
}

#[test]
fn b03_a_data_set_is_fetched_whatever_the_image_is() {
    let job = rendered(hub("hf", json!({"datasetName": "squad", "revision": "r"})), MODEL_FREE, json!({}));
    let expected =
        "huggingface-cli download meta/squad --local-dir /model-store --repo-type dataset --revision r";
    assert_eq!(line(&job), expected);
}

#[test]
fn b22_a_model_free_download_heeds_the_revision() {
    let job = rendered(hub("hf", json!({"modelName": "llama", "revision": "v2"})), MODEL_FREE, json!({}));
    assert!(line(&job).contains("--model-uri hf://meta/llama:v2 "), "{}", line(&job));
}

#[test]
fn users_variables_win_but_not_over_where_a_native_image_stores() {
    let theirs = json!({"env": [
        {"name": "NIM_ENGINE_MODEL_PATH", "value": "/elsewhere"}, {"name": "NIM_CACHE_PATH", "value": "/mine"},
        {"name": "NIM_REPOSITORY_OVERRIDE", "value": "s3://mirror"}]});
    let job = rendered(ngc(json!({})), PLAIN, theirs.clone());
    let all = env(main(&job));
    assert!(
        all.contains(&"NIM_CACHE_PATH=/mine".to_owned())
            && all.contains(&"NIM_REPOSITORY_OVERRIDE=s3://mirror".to_owned())
    );
    let job = rendered(ngc(json!({})), NATIVE, theirs);
    assert!(env(main(&job)).contains(&"NIM_ENGINE_MODEL_PATH=/model/c".to_owned()));
    assert!(!env(main(&job)).contains(&"NIM_ENGINE_MODEL_PATH=/elsewhere".to_owned()));
}

#[test]
fn a_proxy_wins_in_the_download_and_is_kept_from_other_containers() {
    let more = json!({
        "proxy": {"httpsProxy": "https://p:1", "certConfigMap": "ca"},
        "env": [{"name": "HTTPS_PROXY", "value": "https://other"}, {"name": "A", "value": "1"}],
        "initContainers": [{"name": "before", "image": {"repository": "r", "tag": "t"}, "env": [{"name": "A", "value": "own"}]}],
    });
    for source in [ngc(json!({})), hub("hf", json!({"modelName": "m"}))] {
        let job = rendered(source, PLAIN, more.clone());
        assert!(env(main(&job)).contains(&"HTTPS_PROXY=https://p:1".to_owned()));
        assert!(mounts(main(&job)).contains(&"/etc/ssl/".to_owned()));
        let init = job["spec"]["template"]["spec"]["initContainers"].as_array().unwrap();
        let names: Vec<_> = init.iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["update-ca-certificates", "before"]);
        let ours = env(&init[0]);
        assert!(ours.contains(&"A=1".to_owned()), "as upstream gives it: {ours:?}");
        assert!(!ours.iter().any(|var| var == "HTTPS_PROXY=https://p:1"), "{ours:?}");
        let before = env(&init[1]);
        assert!(before.contains(&"A=1".to_owned()), "the download's value wins: {before:?}");
        assert!(!before.iter().any(|var| var.starts_with("HTTPS_PROXY")), "{before:?}");
    }
}

#[test]
fn b14_the_constraint_that_is_asked_for_is_the_one_that_is_granted() {
    let facts = ClusterFacts { platform: Platform::OpenShift, ..ClusterFacts::default() };
    for (proxy, scc) in [(Value::Null, "nonroot"), (json!({"httpsProxy": "https://p:1"}), "anyuid")] {
        let spec = json!({"source": ngc(json!({})), "storage": {"pvc": {"name": "p"}}, "proxy": proxy});
        let spec: NIMCacheSpec = serde_json::from_value(spec).unwrap();
        let job = job(&subject(), &spec, "p", (PLAIN, &Selection::All), &facts).body;
        assert_eq!(job["spec"]["template"]["metadata"]["annotations"]["openshift.io/scc"], scc);
        let pod = super::super::extraction::manifest_pod(&subject(), &spec, &facts).body;
        assert_eq!(pod["metadata"]["annotations"]["openshift.io/required-scc"], scc);
        let [_, role, _] = super::super::shared::children("models", spec.proxy.is_some());
        let granted = role.body["rules"][0]["resourceNames"].as_array().unwrap();
        assert!(granted.contains(&json!(scc)), "{granted:?}");
    }
}
