//! Every combination of what the environment of the serving container depends on, and the merge rules.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::EnvVar;
use proptest::prelude::*;

use super::*;
use crate::operator::env::{add_missing, distinct, merge, set, var};
use crate::operator::microservice::metadata::{Map, merged};

/// Where the model comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Catalogue,
    HuggingFace,
    DataStore,
    ModelEndpoint,
    Native,
    Variable,
}

const SOURCES: [Source; 6] = [
    Source::Catalogue,
    Source::HuggingFace,
    Source::DataStore,
    Source::ModelEndpoint,
    Source::Native,
    Source::Variable,
];

const ALWAYS: &[&str] = &[
    "NIM_CACHE_PATH",
    "OUTLINES_CACHE_DIR",
    "NIM_SERVER_PORT",
    "NIM_HTTP_API_PORT",
    "NIM_JSONL_LOGGING",
    "NIM_LOG_LEVEL",
];
const PROXY: &[&str] = &[
    "NIM_SDK_USE_NATIVE_TLS",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
];

fn cached(source: Source) -> CacheView {
    let common = json!({"endpoint": "https://h", "namespace": "meta", "modelName": "m", "authSecret": "a", "modelPuller": "p", "pullSecret": "s"});
    match source {
        Source::HuggingFace => cache(json!({"spec": {"source": {"hf": common}}})),
        Source::DataStore => cache(json!({"spec": {"source": {"dataStore": common}}})),
        Source::ModelEndpoint => cache(
            json!({"spec": {"source": {"ngc": {"modelEndpoint": "https://e", "modelPuller": "p", "authSecret": "a"}}}}),
        ),
        Source::Native => cache(json!({"status": {"type": "native"}})),
        Source::Catalogue | Source::Variable => cache(json!({})),
    }
}

/// The variables of the serving container by name; fails on a name given twice.
fn variables(source: Source, auth: bool, proxy: &Value, profile: bool) -> BTreeMap<String, Value> {
    let mut named = json!({"name": "c"});
    if profile {
        named["profile"] = json!("two");
    }
    let mut patch = json!({"storage": {"nimCache": named}, "env": [{"name": "MINE", "value": "1"}]});
    if source == Source::Variable {
        patch["env"] =
            json!([{"name": "MINE", "value": "1"}, {"name": "NIM_MODEL_NAME", "value": "hf://x/y"}]);
    }
    if !auth {
        patch["authSecret"] = Value::Null;
    }
    if !proxy.is_null() {
        patch["proxy"] = proxy.clone();
    }
    let container = container(patch, Some(cached(source)));
    let all = env(&container);
    assert_eq!(all.len(), container["env"].as_array().unwrap().len(), "a name is given twice: {container}");
    all
}

#[test]
fn accept_environment_of_every_combination() {
    let proxies = [
        Value::Null,
        json!({"httpsProxy": "http://p"}),
        json!({"certConfigMap": "ca"}),
        json!({"httpProxy": "http://p", "noProxy": "n", "certConfigMap": "ca"}),
    ];
    for source in SOURCES {
        for (auth, profile) in [(false, false), (false, true), (true, false), (true, true)] {
            for proxy in &proxies {
                let found = variables(source, auth, proxy, profile);
                let case = format!("{source:?} auth={auth} profile={profile} proxy={proxy}");
                let mut wanted: BTreeSet<&str> = ALWAYS.iter().copied().chain(["MINE"]).collect();
                // A model that is stored already needs no key of NGC; those of Hugging Face come with its token.
                let elsewhere = !matches!(source, Source::Catalogue | Source::ModelEndpoint);
                if auth {
                    wanted.insert("NGC_API_KEY");
                    let optional = &found["NGC_API_KEY"]["valueFrom"]["secretKeyRef"]["optional"];
                    assert_eq!(*optional, json!(true), "{case}");
                }
                if auth && elsewhere {
                    wanted.insert("HF_TOKEN");
                    let optional = &found["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"];
                    let expected = if source == Source::Native { json!(true) } else { Value::Null };
                    assert_eq!(*optional, expected, "{case}");
                }
                match source {
                    Source::Catalogue => {}
                    Source::Variable => {
                        wanted.insert("NIM_MODEL_NAME");
                        assert_eq!(found["NIM_MODEL_NAME"]["value"], "hf://x/y", "{case}");
                    }
                    Source::Native => {
                        wanted.insert("NIM_ENGINE_MODEL_PATH");
                        assert_eq!(found["NIM_ENGINE_MODEL_PATH"]["value"], "/model/c", "{case}");
                    }
                    Source::HuggingFace | Source::DataStore | Source::ModelEndpoint => {
                        wanted.extend(["NIM_MODEL_NAME", "HF_HOME", "NIM_MODEL_PATH"]);
                        assert_eq!(found["NIM_MODEL_NAME"]["value"], "/model-store", "{case}");
                        let path = if source == Source::ModelEndpoint { "" } else { "hf://meta/m" };
                        assert_eq!(found["NIM_MODEL_PATH"]["value"], path, "{case}");
                    }
                }
                if profile {
                    wanted.insert("NIM_MODEL_PROFILE");
                    assert_eq!(found["NIM_MODEL_PROFILE"]["value"], "two", "{case}");
                }
                if !proxy.is_null() {
                    wanted.extend(PROXY);
                    let given = proxy["httpsProxy"].as_str().unwrap_or_default();
                    assert_eq!(found["https_proxy"]["value"], given, "{case}");
                }
                assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), wanted, "{case}");
            }
        }
    }
}

#[test]
fn accept_environment_of_certificates() {
    for (proxy, certificates) in [(json!({"httpProxy": "p"}), false), (json!({"certConfigMap": "ca"}), true)]
    {
        let rendered = rendered(json!({"proxy": proxy}), None);
        let pod = &child(&rendered.children, ChildKind::Deployment)["spec"]["template"]["spec"];
        assert_eq!(pod["initContainers"].is_array(), certificates, "{proxy}");
        let mounts = pod["containers"][0]["volumeMounts"].to_string();
        assert_eq!(mounts.contains("ca-cert-volume"), certificates, "{mounts}");
    }
}

fn list() -> impl Strategy<Value = Vec<EnvVar>> {
    prop::collection::vec(("[A-D]", "[0-9]").prop_map(|(name, value)| var(&name, value)), 0..6)
}

fn names(list: &[EnvVar]) -> BTreeSet<String> {
    list.iter().map(|var| var.name.clone()).collect()
}

/// What a container sees: the last of each name.
fn seen(list: &[EnvVar]) -> BTreeMap<String, Option<String>> {
    list.iter().map(|var| (var.name.clone(), var.value.clone())).collect()
}

proptest! {
    #[test]
    fn merging_loses_no_name_and_the_second_list_wins(first in list(), second in list()) {
        let both = merge(&first, &second);
        let all: BTreeSet<String> = names(&first).union(&names(&second)).cloned().collect();
        prop_assert_eq!(names(&both), all);
        prop_assert_eq!(&both[..second.len()], &second[..]);
        prop_assert!(seen(&second).iter().all(|(name, value)| seen(&both).get(name) == Some(value)));
        prop_assert_eq!(merge(&both, &second), both, "merging again changes nothing");
    }

    #[test]
    fn a_distinct_list_is_seen_as_the_list_was(list in list()) {
        let once = distinct(list.clone());
        prop_assert_eq!(seen(&once), seen(&list));
        prop_assert_eq!(names(&once).len(), once.len());
        prop_assert_eq!(distinct(once.clone()), once);
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_there_stays(list in list(), more in list()) {
        let mut added = list.clone();
        add_missing(&mut added, more.clone());
        prop_assert_eq!(&added[..list.len()], &list[..]);
        let mut replaced = distinct(list.clone());
        set(&mut replaced, more.clone());
        prop_assert!(seen(&more).iter().all(|(name, value)| seen(&replaced).get(name) == Some(value)));
        prop_assert_eq!(names(&replaced), names(&added));
    }

    #[test]
    fn maps_merge_to_all_keys_and_the_first_wins(
        first in prop::collection::btree_map("[a-d]", "[0-9]", 0..4),
        second in prop::option::of(prop::collection::btree_map("[a-d]", "[0-9]", 0..4)),
    ) {
        let both: Map = merged(first.clone(), second.as_ref());
        prop_assert!(first.iter().all(|(key, value)| both.get(key) == Some(value)));
        for (key, value) in second.into_iter().flatten() {
            prop_assert_eq!(both.get(&key), Some(first.get(&key).unwrap_or(&value)));
        }
        prop_assert_eq!(merged(both.clone(), Some(&first)), both);
    }
}
