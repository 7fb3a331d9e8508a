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
    (CACHES, ".spec.source.ngc.modelPuller", OWN_POLICY),
];

const CACHES: &str = "apps.nvidia.com_nimcaches.yaml";
const OWN_DEFAULT: &str = "NVIDIA's operator writes this default into each object; here the API server does";
const OWN_POLICY: &str = "a policy refuses the change (K18): a rule of the definition cannot tell an object that is being deleted, whose \
    author has to hear when to apply it again";

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

/// What NVIDIA's releases 3.1.3 and 3.1.4 have changed since, by the end of the path: what was said, and what is said now.
/// Their rule on `minReplicas` is known by its meaning alone.
const NEWER: &[(&str, &str, &str)] = &[
    (".source.ngc", "\"required\":[\"authSecret\",\"modelPuller\"]", "\"required\":[\"modelPuller\"]"),
    (".scale.hpa.minReplicas", "\"minimum\":1.0", "\"minimum\":0.0"),
    (".scale.hpa.metrics", "\"type\":\"array\"", "\"maxItems\":5.0,\"type\":\"array\""),
    (".scale.hpa", "\"type\":\"object\"", SCALE_TO_ZERO),
];

const SCALE_TO_ZERO: &str = r#""type":"object","x-kubernetes-validations":[{"message":"minReplicas 0 needs at least one metric of type External or Object: no other tells of load while nothing runs","rule":"!has(self.minReplicas) || self.minReplicas != 0 || has(self.metrics) && self.metrics.exists(metric, has(metric.external) || has(metric.object))"}]"#;

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
    let meant = |path: &str, said: &String| {
        let repairs = REPAIRED.iter().filter(|(files, ..)| file.starts_with(files));
        let newer = NEWER.iter().filter(|(end, ..)| path.ends_with(end));
        let changes = repairs.chain(newer);
        changes.fold(
            said.clone(),
            |said, (_, old, new)| {
                if said.contains(new) { said } else { said.replace(old, new) }
            },
        )
    };
    let paths = upstream.keys().chain(ours.keys().filter(|path| !upstream.contains_key(*path)));
    paths
        .filter(|path| !WANTED.iter().any(|(in_file, at, _)| file == *in_file && path == at))
        .filter(|path| upstream.get(*path).map(|said| meant(path, said)) != ours.get(*path).cloned())
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
fn what_newer_releases_changed_is_changed() {
    let kinds = kinds();
    for (end, old, new) in NEWER {
        let places = kinds.iter().flat_map(|(file, ours)| {
            let upstream = upstream(file);
            let at = ours.keys().filter(move |path| path.ends_with(end)).cloned();
            at.map(move |path| (upstream.get(&path).cloned().unwrap_or_default(), path)).collect::<Vec<_>>()
        });
        let places: Vec<_> = places.collect();
        assert!(!places.is_empty() && places.iter().all(|(said, _)| said.contains(old)), "{end}: {places:?}");
        assert!(!places.iter().any(|(said, _)| said.contains(new)), "{end} is in the digest already");
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
