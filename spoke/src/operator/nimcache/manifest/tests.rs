//! Manifests as images carry them.

use proptest::prelude::*;

use super::*;

const FIRST: &str = r"
1a00:
  model: meta/llama
  release: '1.8.3'
  tags:
    feat_lora: 'false'
    gpu: H100
    tp: '1'
    pp: 2
    beta: true
    dtype: 1.10
  container_url: nvcr.io/nim/meta/llama:1.8.3
  workspace: !workspace
    components:
    - dst: ''
      src:
        repo_id: !name ngc://nim/meta/llama:hf
        files:
        - !name config.json
        - {name: weights.bin, checksum: abc}
0b00:
  model: meta/llama
  tags: {llm_engine: vllm, llm_engine: tensorrt_llm}
";

const SECOND: &str = r#"
schema_version: "2.0"
profile_selection_criteria:
  - tags: [gpu]
profiles:
  - id: zz
    tags: {llm_engine: vllm, tp: 2}
    workspace: !workspace {files: [{name: a}]}
  - id: aa
    tags:
      trtllm_buildable: true
"#;

#[test]
fn the_first_form_is_read_with_its_oddities() {
    let manifest = parse(FIRST).unwrap();
    assert_eq!(manifest.form, Form::First);
    let ids: Vec<_> = manifest.profiles.iter().map(|profile| profile.id.as_str()).collect();
    assert_eq!(ids, ["0b00", "1a00"]);
    let tags = &manifest.profiles[1].tags;
    let tag = |name: &str| tags[name].as_str();
    assert_eq!([tag("pp"), tag("beta"), tag("dtype"), tag("tp")], ["2", "true", "1.10", "1"]);
    assert_eq!(manifest.profiles[1].release, "1.8.3");
    assert_eq!(manifest.profiles[0].tags["llm_engine"], "tensorrt_llm", "of duplicates the last counts");
}

#[test]
fn the_second_form_is_read_whatever_the_order_of_its_keys() {
    let (head, body) = SECOND.split_once("profiles:").unwrap();
    let turned = format!("profiles:{body}{head}");
    assert!(turned.find("schema_version") > turned.find("profiles:"), "{turned}");
    assert_eq!(parse(&turned).unwrap(), parse(SECOND).unwrap());
    let minimal = parse(SECOND).unwrap().minimal();
    assert_eq!(parse(&minimal).unwrap().profiles.len(), 2, "as it is stored: {minimal}");
}

#[test]
fn the_second_form_keeps_its_order() {
    let manifest = parse(SECOND).unwrap();
    assert_eq!(manifest.form, Form::Second);
    let ids: Vec<_> = manifest.profiles.iter().map(|profile| profile.id.as_str()).collect();
    assert_eq!(ids, ["zz", "aa"]);
    assert_eq!(manifest.profiles[1].tags["trtllm_buildable"], "true");
}

#[test]
fn b27_only_versions_that_begin_with_two_are_of_the_second_form() {
    for (version, form) in
        [("2", Form::Second), ("2.1", Form::Second), ("1.2", Form::First), ("12", Form::First)]
    {
        let text = format!("schema_version: '{version}'\nprofiles: []\n");
        assert_eq!(parse(&text).unwrap().form, form, "{version}");
    }
}

#[test]
fn what_is_no_manifest_is_refused_with_a_remedy() {
    for text in ["just words", "- a\n- b\n", "a: [", "schema_version: '2.0'\nprofiles: 7\n"] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains("modelPuller"), "{error}");
    }
}

#[test]
fn the_minimal_manifest_has_no_files_and_reads_back() {
    for text in [FIRST, SECOND] {
        let manifest = parse(text).unwrap();
        let minimal = manifest.minimal();
        assert!(!minimal.contains("workspace"), "{minimal}");
        assert_eq!(parse(&minimal).unwrap(), manifest, "{minimal}");
    }
}

#[test]
fn the_minimal_manifest_is_written_as_people_write_it() {
    let text = parse(FIRST).unwrap().minimal();
    for line in ["1a00:", "  release: 1.8.3", "    gpu: H100", "    tp: \"1\"", "    feat_lora: \"false\""] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn a_manifest_without_profiles_reads_back() {
    for form in [Form::First, Form::Second] {
        let manifest = Manifest { form, profiles: Vec::new() };
        let text = manifest.minimal();
        assert_eq!(parse(&text).unwrap(), manifest, "{text}");
    }
}

proptest! {
    #[test]
    fn every_tag_survives_the_minimal_form(tags in prop::collection::btree_map("[ -~]{1,12}", "[ -~]{0,12}", 0..6)) {
        for form in [Form::First, Form::Second] {
            let profile = Profile { id: "ab12".into(), tags: tags.clone(), ..Profile::default() };
            let manifest = Manifest { form, profiles: vec![profile] };
            let text = manifest.minimal();
            prop_assert_eq!(&parse(&text).unwrap(), &manifest, "{}", text);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        drop(parse(&text));
    }
}
