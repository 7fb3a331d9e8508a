//! The chart's definitions and policies, and the API reference, are those of the crate. `UPDATE=1 cargo test -p crds --test generated`
//! writes them anew.

#![allow(clippy::unwrap_used, reason = "a test's own functions are tests too")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../charts/nimfleet-crds").join(name)
}

fn generated() -> BTreeMap<String, String> {
    let files = crds::all().unwrap();
    files.iter().map(|crd| (crds::schema::file_name(crd), crds::schema::document(crd).unwrap())).collect()
}

fn policies() -> BTreeMap<String, String> {
    crds::policy::all().iter().map(|policy| (policy.file_name(), policy.document().unwrap())).collect()
}

fn stored(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect()
}

/// Compares, or writes anew where that is asked for.
fn is_stored(folder: &Path, generated: &BTreeMap<String, String>) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(folder).unwrap();
        for name in stored(folder).keys().filter(|name| !generated.contains_key(*name)) {
            fs::remove_file(folder.join(name)).unwrap();
        }
        for (name, text) in generated {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    let stored = stored(folder);
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&stored), names(generated), "run UPDATE=1 cargo test -p crds --test generated");
    for (name, text) in generated {
        is_current(name, &stored[name], text);
    }
}

fn is_current(name: &str, stored: &str, generated: &str) {
    let differs = generated.lines().zip(stored.lines()).position(|(new, old)| new != old);
    assert!(
        stored == generated,
        "{name} is out of date from line {}: run UPDATE=1 cargo test -p crds --test generated",
        differs.map_or_else(|| "its end".to_owned(), |line| (line + 1).to_string())
    );
}

#[test]
fn the_chart_holds_what_the_types_say() {
    is_stored(&folder("crds-generated"), &generated());
}

#[test]
fn the_chart_holds_what_the_rules_say() {
    is_stored(&folder("policies-generated"), &policies());
}

#[test]
fn the_reference_says_what_the_types_say() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
    let generated = crds::schema::reference(&crds::all().unwrap());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&page, &generated).unwrap();
    }
    is_current("docs/api.md", &fs::read_to_string(&page).unwrap_or_default(), &generated);
}

#[test]
fn definitions_read_back_as_they_were_written() {
    for crd in crds::all().unwrap() {
        let text = crds::schema::document(&crd).unwrap();
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, crd);
    }
}

/// The chart puts its annotation below this line.
#[test]
fn every_file_has_one_metadata_without_annotations() {
    for (name, text) in generated() {
        assert_eq!(text.matches("\nmetadata:\n").count(), 1, "{name}");
        assert!(text.contains("\nmetadata:\n  name:"), "{name}");
    }
}

#[test]
fn every_kind_comes_once_and_nvidias_come_first() {
    let all = crds::all().unwrap();
    let groups: Vec<_> = all.iter().map(|crd| crd.spec.group.as_str()).collect();
    assert!(groups.is_sorted(), "{groups:?}");
    for crd in &all {
        let names = &crd.spec.names;
        assert_eq!(crd.metadata.name, Some(format!("{}.{}", names.plural, crd.spec.group)));
        assert_eq!(names.list_kind, Some(format!("{}List", names.kind)));
        assert!(crd.spec.conversion.is_none());
    }
    assert_eq!(generated().len(), all.len());
}
