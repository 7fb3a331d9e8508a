//! Manifests and selections that nobody would write. In `cargo test` each target runs for a moment, over its corpus in
//! `__fuzz__` and over random input; `cargo bolero test --sanitizer NONE -T 5m <test>` searches for longer, led by coverage.

use std::collections::BTreeSet;

use crds::nim::{GPUSpec, ModelSpec};

use super::manifest::{Form, Manifest, Profile, parse};
use super::selection::matching;

#[test]
fn fuzz_manifests_are_read_or_refused() {
    bolero::check!(name = "manifest").for_each(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let Ok(manifest) = parse(text) else { return };
        // What is kept of it is the same manifest: an image is read once, its ConfigMap ever after.
        let kept = parse(&manifest.minimal()).unwrap();
        assert_eq!(kept.profiles.len(), manifest.profiles.len(), "{text:?}");
        let products = BTreeSet::from(["NVIDIA-H100-80GB-HBM3".to_owned()]);
        assert_eq!(
            matching(&manifest, None, &products).len(),
            matching(&kept, None, &products).len(),
            "{text:?}"
        );
    });
}

#[test]
fn fuzz_selections_choose_among_what_there_is() {
    bolero::check!(name = "selection").for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let words: Vec<&str> = text.split('\0').collect();
        let word = |n: usize| words.get(n).map(|word| (*word).to_owned()).filter(|word| !word.is_empty());
        let tags = [
            ("precision", 0),
            ("tp", 1),
            ("profile", 2),
            ("llm_engine", 3),
            ("gpu", 4),
            ("gpu_device", 5),
            ("feat_lora", 6),
            ("product_name_regex", 8),
        ];
        let tags = tags.iter().filter_map(|(tag, n)| Some(((*tag).to_owned(), word(*n)?))).collect();
        let profile = Profile { id: "one".into(), tags, ..Profile::default() };
        let gpu = GPUSpec { product: word(4), ids: word(5).map(|id| vec![id]) };
        let model = ModelSpec {
            precision: word(0),
            tensor_parallelism: word(1),
            qos_profile: word(2),
            engine: word(3),
            gpus: words.len().is_multiple_of(2).then(|| vec![gpu]),
            lora: word(6).map(|word| word == "true"),
            ..ModelSpec::default()
        };
        let products: BTreeSet<String> = word(7).into_iter().collect();
        for form in [Form::First, Form::Second] {
            let manifest = Manifest { form, profiles: vec![profile.clone(), Profile::default()] };
            let chosen = matching(&manifest, Some(&model), &products);
            assert!(chosen.iter().all(|id| id == "one" || id.is_empty()), "{chosen:?}");
            assert_eq!(chosen, matching(&manifest, Some(&model), &products), "the same each time");
        }
    });
}
