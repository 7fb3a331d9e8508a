//! Profiles of a model: builds of it for one kind and number of GPUs, in one precision, with one engine.

use std::collections::BTreeMap;

use serde_json::Value;

use super::text;

/// The profiles among which a NIM chooses when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profiles {
    /// All that the hub knows to be in the cache, in whichever cluster.
    pub choices: Vec<Profile>,
    /// Whether the cache names them, so that every cluster downloads them. Otherwise each downloads those for its own
    /// GPUs, and what one has chosen says nothing about another.
    pub named: bool,
    /// What all clusters must serve; none: anything.
    pub signature: Option<Signature>,
}

/// Precision and engine, which decide what answers a model gives and how fast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// E.g. `fp8`; empty where the profile does not say.
    pub precision: String,
    /// E.g. `tensorrt_llm`; empty where the profile does not say.
    pub engine: String,
}

/// One profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its ID.
    pub name: String,
    /// Tag `gpu`: the product it is built for; empty: any.
    pub product: String,
    /// Tag `tp`: GPUs over which a layer is spread.
    pub tensor: u32,
    /// Tag `pp`: stages, each on GPUs of its own.
    pub pipeline: u32,
    /// Precision and engine.
    pub signature: Signature,
    /// Tag `feat_lora`.
    pub lora: bool,
}

impl Profile {
    /// Reads tags, in the spellings of the manifests that NVIDIA publishes.
    #[must_use]
    pub fn new(name: &str, tags: &BTreeMap<String, String>) -> Self {
        let tag =
            |names: &[&str]| names.iter().find_map(|name| tags.get(*name)).map_or("", String::as_str).trim();
        let number = |names: &[&str]| tag(names).parse().unwrap_or(1).max(1);
        Self {
            name: name.to_owned(),
            product: tag(&["gpu"]).to_owned(),
            tensor: number(&["tensorParallelism", "tp"]),
            pipeline: number(&["pipelineParallelism", "pp"]),
            signature: Signature {
                precision: tag(&["precision"]).to_ascii_lowercase(),
                engine: tag(&["llm_engine", "engine"]).to_ascii_lowercase(),
            },
            lora: tag(&["feat_lora"]).eq_ignore_ascii_case("true"),
        }
    }

    /// GPUs that it runs on.
    #[must_use]
    pub const fn gpus(&self) -> u32 {
        self.tensor.saturating_mul(self.pipeline)
    }
}

impl Profiles {
    /// The same, in whatever precision and with whatever engine.
    #[must_use]
    pub fn of_any_signature(&self) -> Self {
        Self { signature: None, ..self.clone() }
    }
}

/// The profiles of a cache, from the status that the fleet's aggregate writes; none where they are not known yet.
/// Precision and engine are those that the cache's source asks for, or those of its first profile.
pub(super) fn of_cache(cache: &Value) -> Option<Profiles> {
    let named = cache.pointer("/spec/source/ngc/model/profiles").and_then(Value::as_array);
    let named = named.is_some_and(|named| !named.is_empty());
    let stored = cache.pointer("/status/profiles")?.as_array()?;
    let choices: Vec<Profile> = stored
        .iter()
        .map(|profile| {
            let config = profile.get("config").and_then(Value::as_object).into_iter().flatten();
            let tags = config.filter_map(|(tag, value)| Some((tag.clone(), value.as_str()?.to_owned())));
            Profile::new(text(profile, "/name"), &tags.collect())
        })
        .collect();
    let first = choices.first()?.signature.clone();
    let asked = |pointer: &str, or: String| match text(cache, pointer) {
        "" => or,
        given => given.to_ascii_lowercase(),
    };
    let signature = Signature {
        precision: asked("/spec/source/ngc/model/precision", first.precision),
        engine: asked("/spec/source/ngc/model/engine", first.engine),
    };
    // What no profile has says nothing about those that are there: `tensorrt` stands for `tensorrt_llm`.
    let known = choices.iter().any(|choice| choice.signature == signature);
    let signature = Some(if known { signature } else { choices[0].signature.clone() });
    Some(Profiles { choices, named, signature })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tags_are_read_in_every_spelling() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned())).collect()
        };
        let old = Profile::new(
            "p",
            &tags(&[("gpu", "H100"), ("tp", "2"), ("llm_engine", "tensorrt_llm"), ("precision", "FP8")]),
        );
        assert_eq!((old.product.as_str(), old.gpus(), old.lora), ("H100", 2, false));
        assert_eq!(
            (old.signature.precision.as_str(), old.signature.engine.as_str()),
            ("fp8", "tensorrt_llm")
        );
        let new = Profile::new(
            "p",
            &tags(&[("tensorParallelism", "4"), ("pipelineParallelism", "2"), ("feat_lora", "True")]),
        );
        assert_eq!((new.product.as_str(), new.gpus(), new.lora), ("", 8, true));
    }

    #[test]
    fn precision_and_engine_are_those_asked_for_or_those_of_the_first() {
        let profiles = json!([{"name": "a", "config": {"precision": "fp8", "llm_engine": "vllm"}},
                              {"name": "b", "config": {"precision": "bf16", "llm_engine": "vllm"}}]);
        let precision = |model: Value| {
            let cache =
                json!({"spec": {"source": {"ngc": {"model": model}}}, "status": {"profiles": profiles}});
            of_cache(&cache).unwrap().signature.unwrap().precision
        };
        assert_eq!(precision(json!({})), "fp8");
        assert_eq!(precision(json!({"precision": "bf16"})), "bf16");
        assert_eq!(precision(json!({"precision": "int4"})), "fp8", "the cache has none such");
        assert_eq!(of_cache(&json!({"status": {}})), None);
    }
}
