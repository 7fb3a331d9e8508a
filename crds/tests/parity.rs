//! The definitions of NVIDIA's kinds say what upstream's say: same paths, types, defaults, limits, rules and columns.
//!
//! `upstream/*.txt` are digests of upstream's definitions at commit f63f74d7. With `NIMFLEET_UPSTREAM_CRDS=<folder>`
//! the originals in that folder are read too: the digests must be theirs; `UPDATE=1` writes them anew.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

#[path = "parity/digest.rs"]
mod digest;

use std::fs;
use std::path::{Path, PathBuf};

use digest::Digest;

/// What differs and shall: file, path, why.
const WANTED: &[(&str, &str, &str)] = &[
    (CACHES, ".spec.resources", OWN_DEFAULT),
    (CACHES, ".spec.resources.cpu", OWN_DEFAULT),
    (CACHES, ".spec.resources.memory", OWN_DEFAULT),
];

const CACHES: &str = "apps.nvidia.com_nimcaches.yaml";
const OWN_DEFAULT: &str = "NVIDIA's operator writes this default into each object; here the API server does";

/// Rules of upstream that fail where they mean to accept, and what they mean. Read by files whose names begin so.
const REPAIRED: &[(&str, &str, &str)] = &[
    ("apps.nvidia.com_nemo", "!(has(self.expose.ingress)", "!(has(self.expose) && has(self.expose.ingress)"),
    (
        "apps.nvidia.com_nemo",
        "!(has(self.service.grpcPort))",
        "!(has(self.service) && has(self.service.grpcPort))",
    ),
    (
        "apps.nvidia.com_nemo",
        "!(has(self.service.metricsPort))",
        "!(has(self.service) && has(self.service.metricsPort))",
    ),
];

const COMMENT: &str = "// Facts of NVIDIA's definition, one path a line. Written by the test parity.\n";

fn kinds() -> Vec<(String, Digest)> {
    let ours = crds::all().unwrap();
    let of_nvidia = ours.iter().filter(|crd| crd.spec.group == "apps.nvidia.com");
    of_nvidia
        .map(|crd| (crds::schema::file_name(crd), digest::of(&serde_json::to_value(crd).unwrap())))
        .collect()
}

fn digest_file(file_name: &str) -> PathBuf {
    let name = Path::new(file_name).with_extension("txt");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream").join(name)
}

fn differences(file: &str, upstream: &Digest, ours: &Digest) -> Vec<String> {
    let meant = |said: &String| {
        let repairs = REPAIRED.iter().filter(|(files, ..)| file.starts_with(files));
        repairs.fold(said.clone(), |said, (_, wrong, right)| said.replace(wrong, right))
    };
    let paths = upstream.keys().chain(ours.keys().filter(|path| !upstream.contains_key(*path)));
    paths
        .filter(|path| !WANTED.iter().any(|(in_file, at, _)| file == *in_file && path == at))
        .filter(|path| upstream.get(*path).map(meant) != ours.get(*path).cloned())
        .map(|path| {
            let said = |digest: &Digest| digest.get(path).cloned().unwrap_or_else(|| "nothing".to_owned());
            format!("{file} {path}\n    upstream: {}\n    ours:     {}", said(upstream), said(ours))
        })
        .collect()
}

/// The stored digest; where the originals are at hand it must be theirs.
fn upstream(file: &str) -> Digest {
    let stored = digest_file(file);
    if let Some(folder) = std::env::var_os("NIMFLEET_UPSTREAM_CRDS") {
        let original = fs::read_to_string(Path::new(&folder).join(file)).unwrap();
        let original: serde_json::Value = serde_saphyr::from_str(&original).unwrap();
        let text = format!("{COMMENT}{}", digest::write(&digest::of(&original)));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&stored, &text).unwrap();
        }
        assert!(
            fs::read_to_string(&stored).unwrap() == text,
            "{}: run again with UPDATE=1",
            stored.display()
        );
    }
    digest::read(&fs::read_to_string(stored).unwrap())
}

#[test]
fn accept_definitions_say_what_upstreams_say() {
    let mut all = Vec::new();
    for (file, ours) in kinds() {
        let upstream = upstream(&file);
        let found = differences(&file, &upstream, &ours);
        println!(
            "{file}: {} paths of upstream, {} of ours, {} differ",
            upstream.len(),
            ours.len(),
            found.len()
        );
        assert!(upstream.len() > 80, "{file}: the digest is not whole");
        all.extend(found);
    }
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
}

#[test]
fn nemo_b13_every_repaired_rule_is_one_of_upstreams() {
    for (files, wrong, _) in REPAIRED {
        let kinds: Vec<_> = kinds().into_iter().filter(|(file, _)| file.starts_with(files)).collect();
        assert_eq!(kinds.len(), 5, "{files}");
        for (file, ours) in kinds {
            assert!(upstream(&file).values().any(|said| said.contains(wrong)), "{file}: {wrong}");
            assert!(!ours.values().any(|said| said.contains(wrong)), "{file}: {wrong}");
        }
    }
}

#[test]
fn a_difference_is_seen_from_both_sides() {
    let file = &kinds()[0];
    let mut changed = file.1.clone();
    let (first, _) = changed.pop_first().unwrap();
    changed.insert(".spec.added".to_owned(), "{}".to_owned());
    let (last, said) = changed.pop_last().unwrap();
    changed.insert(last.clone(), said.replace('}', ",\"nullable\":true}"));
    let found = differences(&file.0, &file.1, &changed);
    assert_eq!(found.len(), 3, "{first}, {last} and the added one: {found:?}");
    assert_eq!(digest::read(&digest::write(&changed)), changed);
}
