//! What an image is made of and how it was made: a bill of materials (CycloneDX) and a provenance statement (in-toto, SLSA),
//! both without times or random numbers, so that they are the same for the same input.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::layout::{Written, digest};
use super::{ImagesError, Options};
use crate::cargo;

/// What `cargo metadata` says of a checkout, with more arguments.
pub(super) fn metadata(checkout: &Path, arguments: &[&str]) -> Result<Value, ImagesError> {
    let broken = |said: String| ImagesError::Json(format!("cargo metadata: {said}"));
    let output = cargo::command_in(checkout)
        .args(["metadata", "--locked", "--format-version=1"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| broken(error.to_string()))?;
    if !output.status.success() {
        return Err(broken(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| broken(error.to_string()))
}

/// The state of the sources.
#[derive(Debug, Clone, Default)]
pub(super) struct Source {
    /// The commit; nothing outside a repository.
    pub(super) commit: Option<String>,
    /// Whether files that the repository keeps differ from the commit.
    pub(super) modified: bool,
    /// SHA-256 of `Cargo.lock`, hexadecimal.
    pub(super) lock: String,
}

impl Source {
    /// Asks git, and reads the lock file.
    pub(super) fn read(checkout: &Path) -> Result<Self, ImagesError> {
        let git = |arguments: &[&str]| {
            let output = Command::new("git").args(arguments).current_dir(checkout).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let commit = git(&["rev-parse", "HEAD"]);
        let modified =
            git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|said| !said.is_empty());
        let lock = digest(&lock_file(checkout)?).trim_start_matches("sha256:").to_owned();
        Ok(Self { commit, modified, lock })
    }

    /// The commit, marked where the files are not exactly its own.
    pub(super) fn revision(&self) -> Option<String> {
        let mark = if self.modified { "-modified" } else { "" };
        self.commit.as_ref().map(|commit| format!("{commit}{mark}"))
    }
}

fn lock_file(checkout: &Path) -> Result<Vec<u8>, ImagesError> {
    let path = checkout.join("Cargo.lock");
    fs::read(&path).map_err(ImagesError::at(&path))
}

/// The toolchain that builds a checkout, as `rustc --version` says it: `1.95.0`.
pub(super) fn rust_version(checkout: &Path) -> Result<String, ImagesError> {
    let output = Command::new("rustc").arg("--version").current_dir(checkout).output();
    let output = output.map_err(|error| ImagesError::Json(format!("rustc --version: {error}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace()
        .nth(1)
        .map(str::to_owned)
        .ok_or(ImagesError::Json(format!("rustc --version: {said:?}")))
}

/// Checksums of registry packages in a lock file, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |entry: &str, key: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|entry| {
            Some(((value(entry, "name")?, value(entry, "version")?), value(entry, "checksum")?))
        })
        .collect()
}

/// One image of which a bill is written.
pub(super) struct Subject<'a> {
    /// Name of the image and of its program.
    pub(super) name: &'a str,
    /// The cargo package that the program is built from.
    pub(super) package: &'a str,
    /// As OCI names it.
    pub(super) architecture: &'a str,
    /// Of the image's manifest.
    pub(super) digest: &'a str,
    /// `repository:tag`.
    pub(super) reference: &'a str,
    /// Rust's target.
    pub(super) target: &'a str,
    /// Files in the image that no crate stands for: path, bytes.
    pub(super) files: &'a [(String, Vec<u8>)],
}

/// The bill of materials of an image: what is linked into its program, and the files beside it.
pub(super) fn bill(subject: &Subject, rust: &str, checkout: &Path) -> Result<Value, ImagesError> {
    let metadata = metadata(checkout, &["--filter-platform", subject.target])?;
    let lock = String::from_utf8_lossy(&lock_file(checkout)?).into_owned();
    let mut bill = linked(&metadata, subject.package, &checksums(&lock))?;
    let container = format!(
        "pkg:oci/{}@{}?arch={}",
        subject.name,
        subject.digest.replace(':', "%3A"),
        subject.architecture
    );
    let program = bill["program"].take();
    let version = program["version"].clone();
    let program_reference = program["bom-ref"].clone();
    let mut components = vec![program];
    components.append(bill["components"].as_array_mut().unwrap_or(&mut Vec::new()));
    components.push(json!({
        "type": "library", "bom-ref": format!("pkg:generic/rust-std@{rust}"), "name": "rust-std", "version": rust,
        "purl": format!("pkg:generic/rust-std@{rust}"),
        "description": format!("Rust's standard library for {}, with its C library where the program is static", subject.target),
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
    }));
    for (path, bytes) in subject.files {
        components.push(json!({
            "type": "file", "bom-ref": format!("file:{path}"), "name": path,
            "hashes": [{"alg": "SHA-256", "content": digest(bytes).trim_start_matches("sha256:")}],
        }));
    }
    let mut dependencies = vec![json!({"ref": container, "dependsOn": [program_reference]})];
    dependencies.append(bill["dependencies"].as_array_mut().unwrap_or(&mut Vec::new()));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {
            "type": "container", "bom-ref": container, "purl": container, "name": subject.reference, "version": version,
            "hashes": [{"alg": "SHA-256", "content": subject.digest.trim_start_matches("sha256:")}],
        }},
        "components": components,
        "dependencies": dependencies,
    }))
}

/// What is linked into the program of `package`: `program`, `components` and `dependencies` in the words of CycloneDX. Build
/// scripts, macros and what only tests use are not.
fn linked(
    metadata: &Value,
    package: &str,
    checksums: &BTreeMap<(String, String), String>,
) -> Result<Value, ImagesError> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    let packages: BTreeMap<String, Value> = list(&metadata["packages"])
        .into_iter()
        .filter_map(|package| Some((package["id"].as_str()?.to_owned(), package)))
        .collect();
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .filter_map(|node| Some((node["id"].as_str()?.to_owned(), node)))
        .collect();
    let member = |id: &Value| packages.get(id.as_str()?).filter(|found| found["name"] == package).cloned();
    let root = list(&metadata["workspace_members"]).iter().find_map(member);
    let root = root.and_then(|root| Some(root["id"].as_str()?.to_owned()));
    let root = root.ok_or_else(|| ImagesError::Json(format!("cargo metadata: no package {package}")))?;

    let linked_into = |id: &str| -> Vec<String> {
        let dependencies = nodes.get(id).map(|node| list(&node["deps"])).unwrap_or_default();
        let normal =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        dependencies
            .iter()
            .filter(|dependency| normal(dependency))
            .filter_map(|dependency| dependency["pkg"].as_str().map(str::to_owned))
            .filter(|id| packages.get(id).is_some_and(|found| !is_macro(found)))
            .collect()
    };
    let (mut seen, mut next) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(id) = next.pop() {
        if seen.insert(id.clone()) {
            next.extend(linked_into(&id));
        }
    }
    let (mut program, mut components, mut dependencies) = (Value::Null, Vec::new(), Vec::new());
    for id in &seen {
        let Some(found) = packages.get(id) else { continue };
        let mut component = component(found, checksums);
        let mut on: Vec<String> =
            linked_into(id).iter().filter_map(|id| packages.get(id)).map(package_url).collect();
        on.sort();
        on.dedup();
        dependencies.push(json!({"ref": component["bom-ref"], "dependsOn": on}));
        if *id == root {
            component["type"] = json!("application");
            program = component;
        } else {
            components.push(component);
        }
    }
    // Ids of the workspace's own packages contain its path.
    components.sort_by_key(|component| component["bom-ref"].to_string());
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    Ok(json!({"program": program, "components": components, "dependencies": dependencies}))
}

fn is_macro(package: &Value) -> bool {
    let kinds = package["targets"].as_array().into_iter().flatten();
    kinds.flat_map(|target| target["kind"].as_array().into_iter().flatten()).any(|kind| kind == "proc-macro")
}

fn package_url(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version").replace('+', "%2B"))
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let reference = package_url(package);
    let mut component = json!({
        "type": "library", "bom-ref": reference, "purl": reference,
        "name": text("name"), "version": text("version"), "scope": "required",
    });
    if let Some(licence) = package["license"].as_str() {
        // Before SPDX had operators, crates wrote a slash.
        component["licenses"] = json!([{"expression": licence.replace('/', " OR ")}]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    component
}

/// How an image was made: a statement of in-toto with a predicate of SLSA 1.0, to be signed by whoever releases it.
pub(super) fn provenance(
    name: &str,
    image: &Written,
    targets: &[String],
    source: &Source,
    rust: &str,
    options: &Options,
) -> Value {
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let mut subjects = vec![json!({"name": name, "digest": {"sha256": hex(&image.digest)}})];
    subjects.extend(image.variants.iter().map(|variant| {
        json!({"name": format!("{name} ({})", variant.architecture), "digest": {"sha256": hex(&variant.digest)}})
    }));
    let mut dependencies = vec![
        json!({"name": "Cargo.lock", "digest": {"sha256": source.lock}}),
        json!({"name": "rust", "uri": format!("pkg:generic/rust@{rust}")}),
    ];
    if let Some(commit) = &source.commit {
        let mut repository = json!({"name": "source", "digest": {"gitCommit": commit}});
        if let Some(url) = &options.source {
            repository["uri"] = json!(format!("git+{url}"));
        }
        dependencies.push(repository);
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://nimfleet.io/build/images/v1",
                "externalParameters": {
                    "program": name, "profile": options.profile.name(), "targets": targets,
                    "sourceModified": source.modified,
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": options.builder}},
        },
    })
}
