//! Keeps the house: who may know whom, which rooms are pure, how long a file may be, and that the documentation leads somewhere.

#![allow(clippy::expect_used, reason = "a test may give up")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest file, lines, comments and tests included: a theme that a person can hold.
const LONGEST_FILE: usize = 700;

/// Which crate of the workspace may depend on which. Leaves know nobody; hub and spoke never know each other.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("crds", &[]),
    ("proto", &[]),
    ("runtime", &[]),
    ("hub", &["crds", "hub-core", "hub-scheduler", "proto", "runtime"]),
    ("hub-core", &["crds", "hub-scheduler", "proto"]),
    ("hub-scheduler", &["crds"]),
    ("kubectl-nimfleet", &["crds", "runtime"]),
    ("spoke", &["crds", "proto", "runtime"]),
    ("e2e", &["crds", "hub", "hub-core", "hub-scheduler", "kubectl-nimfleet", "proto", "runtime", "spoke"]),
];

/// Rooms (folders or files) of pure logic: time, randomness and the world are arguments there. Of crates of [`PURE_CRATES`] only
/// what the standard library and jiff offer is looked for.
const PURE: &[&str] = &[
    "crds/src",
    "proto/src/fingerprint",
    "runtime/src/backoff",
    "runtime/src/lease/tenure",
    "hub/scheduler/src",
    "hub/cli/src/table",
    "hub/core/src",
    "hub/src/query/bounds",
    "hub/src/query/table",
    "hub/src/pki/certificate",
    "hub/src/pki/token",
    "spoke/src/link/renewal",
    "spoke/src/link/deletion_guard",
    "spoke/src/link/session",
    "spoke/src/deliver/claim",
    "spoke/src/deliver/epoch",
    "spoke/src/deliver/gang",
    "spoke/src/deliver/limits",
    "spoke/src/deliver/manifest",
    "spoke/src/facts/devices",
    "spoke/src/facts/gpus",
    "spoke/src/facts/node_sets",
    "spoke/src/facts/products",
    "spoke/src/operator/engine/condition",
    "spoke/src/operator/engine/contested",
    "spoke/src/operator/engine/decide",
    "spoke/src/operator/engine/origin",
    "spoke/src/operator/engine/own",
    "spoke/src/operator/engine/pod_security",
    "spoke/src/operator/engine/requires",
    "spoke/src/operator/engine/template",
    "spoke/src/operator/env",
    "spoke/src/operator/microservice",
    "spoke/src/operator/nemo/claim",
    "spoke/src/operator/nemo/database",
    "spoke/src/operator/nemo/dependency",
    "spoke/src/operator/nemo/need",
    "spoke/src/operator/nemo/otel",
    "spoke/src/operator/nemo/pod",
    "spoke/src/operator/nemo/probes",
    "spoke/src/operator/nemo/render",
    "spoke/src/operator/nemo/report",
    "spoke/src/operator/nemocustomizer",
    "spoke/src/operator/nemodatastore",
    "spoke/src/operator/nemoentitystore",
    "spoke/src/operator/nemoevaluator",
    "spoke/src/operator/nemoguardrail",
    "spoke/src/operator/nimcache/job",
    "spoke/src/operator/nimcache/manifest",
    "spoke/src/operator/nimcache/progress",
    "spoke/src/operator/nimcache/selection",
    "spoke/src/operator/nimcache/status",
    "spoke/src/operator/nimservice/containers",
    "spoke/src/operator/nimservice/env",
    "spoke/src/operator/nimservice/gpu",
    "spoke/src/operator/nimservice/network",
    "spoke/src/operator/nimservice/storage",
    "spoke/src/operator/nimservice/volumes",
];

/// Faults of NVIDIA's operator, numbered as in docs/nim-operator.md: each has a test `b01_…` that fails if the fault is put in.
const FAULTS: std::ops::RangeInclusive<u32> = 1..=29;

/// Its faults with NeMo microservices: each has a test `nemo_b01_…`.
const NEMO_FAULTS: std::ops::RangeInclusive<u32> = 1..=30;

/// Lines of acceptance in docs/nim-operator.md, each with the names of its tests; those of NeMo microservices begin with N.
const ACCEPTANCE: std::ops::RangeInclusive<u32> = 1..=15;
const NEMO_ACCEPTANCE: std::ops::RangeInclusive<u32> = 1..=9;

/// Lines of the threat model in docs/secure.md, each with the names of its tests.
const THREATS: std::ops::RangeInclusive<u32> = 1..=7;

/// Pages that a reader is to take in at one sitting: they have fewer lines than this.
const SHORT_PAGES: [(&str, usize); 2] = [("README.md", 150), ("ARCHITECTURE.md", 250)];

/// What a pure room may not name.
const IO: &[&str] = &[
    "kube::Api",
    "kube::Client",
    "kube::api",
    "kube::client",
    "kube::runtime",
    "tokio",
    "tonic",
    "axum",
    "rand::",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
];

/// Module names that tell a reader nothing.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "mod", "util", "utils"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the workspace").to_path_buf()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file of the workspace: path from the top, text.
fn sources() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    for (member, _) in MAY_KNOW {
        rust_files(&root().join(member), &mut files);
    }
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file is readable");
            let name = path.strip_prefix(root()).expect("below the top").display().to_string();
            (name, text)
        })
        .collect()
}

/// Lines of a file that are code of the product: no comments, nothing from the first test module on.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(n, line)| (n + 1, line))
}

fn refuse(what: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{what}:\n  {}", faults.join("\n  "));
}

#[test]
fn crates_know_only_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let members: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(
        members,
        MAY_KNOW.iter().map(|(name, _)| *name).collect(),
        "a new crate needs a line in MAY_KNOW"
    );
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let may = MAY_KNOW.iter().find(|(n, _)| *n == name).expect("listed").1;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().expect("a dependency has a name");
            assert!(!members.contains(other) || may.contains(&other), "{name} may not depend on {other}");
        }
    }
}

/// Each crate (name and version) with the features that cargo compiles it with, once for each set of them.
fn features(selection: &[&str]) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix=none", "--format={p}|{f}"])
        .args(selection)
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    let mut features = BTreeMap::<_, BTreeSet<_>>::new();
    let text = String::from_utf8_lossy(&output.stdout);
    for (package, enabled) in text.lines().filter_map(|line| line.split_once('|')) {
        let name = package.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        features.entry(name).or_default().insert(enabled.trim_end_matches(" (*)").to_owned());
    }
    assert!(features.len() > 100, "{}", String::from_utf8_lossy(&output.stderr));
    features
}

/// Otherwise hub and spoke, and most of what they are made of, are compiled once for `cargo test` and once more for the fleets that
/// its tests start.
#[test]
fn tests_turn_on_no_feature_that_e2e_does_not_have() {
    let of_e2e = features(&["--package=e2e", "--edges=normal,build"]);
    let mut more = Vec::new();
    for (package, sets) in features(&["--workspace", "--edges=normal,build,dev"]) {
        let Some(known) = of_e2e.get(&package) else { continue };
        more.extend(sets.difference(known).map(|set| format!("{package}: {set:?}, not {known:?}")));
    }
    refuse("features to be turned on in the dependencies of e2e/Cargo.toml too", &more);
}

/// Crates of pure logic, and what none of them may reach through any dependency: a runtime, a client, a server, randomness.
const PURE_CRATES: &[&str] = &["crds", "hub-core", "hub-scheduler"];
const IO_CRATES: &[&str] =
    &["hyper", "kube-client", "kube-runtime", "rand", "rand_core", "reqwest", "tokio", "tonic", "tower"];
/// Folders of crates in which nothing waits for anything else: no decision for another one, no event for a decision.
const LOCKLESS: &[&str] = &["hub/core/src/", "hub/scheduler/src/"];
/// What would let one decision wait for another.
const LOCKS: &[&str] = &["Mutex", "RwLock"];

#[test]
fn pure_crates_reach_no_io() {
    for pure in PURE_CRATES {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", pure, "--edges", "normal", "--prefix", "none"])
            .args(["--format", "{p}"])
            .current_dir(root())
            .output()
            .expect("cargo tree runs");
        let tree = String::from_utf8_lossy(&output.stdout);
        let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(pure) && names.contains("serde"), "no tree of {pure}: {output:?}");
        let reached: Vec<_> = IO_CRATES.iter().filter(|name| names.contains(*name)).collect();
        assert!(reached.is_empty(), "{pure} reaches {reached:?}: cargo tree --package {pure} --edges normal");
    }
    let sources = sources();
    let locks = |(file, text): &(&String, &String)| {
        code_lines(text)
            .any(|(_, line)| LOCKS.iter().any(|lock| line.contains(lock)))
            .then(|| (*file).clone())
    };
    for folder in LOCKLESS {
        let files: Vec<_> = sources.iter().filter(|(file, _)| file.starts_with(folder)).collect();
        assert!(!files.is_empty(), "{folder} is gone: correct the path");
        let faults: Vec<String> = files.iter().filter_map(locks).collect();
        refuse("files of a crate without locks that name one", &faults);
    }
}

#[test]
fn pure_rooms_name_no_io() {
    let sources = sources();
    let mut faults = Vec::new();
    for room in PURE {
        let in_room = |file: &str| {
            file == format!("{room}.rs") || file == *room || file.starts_with(&format!("{room}/"))
        };
        let files: Vec<_> = sources
            .iter()
            .filter(|(f, _)| {
                in_room(f) && !f.contains("/bin/") && !f.ends_with("tests.rs") && !f.ends_with("fuzz.rs")
            })
            .collect();
        assert!(!files.is_empty(), "the pure room {room} is gone: correct the list");
        for (file, text) in files {
            for (number, line) in code_lines(text) {
                if let Some(io) = IO.iter().find(|io| line.contains(**io)) {
                    faults.push(format!("{file}:{number} names {io}"));
                }
            }
        }
    }
    refuse("pure rooms that do IO", &faults);
}

#[test]
fn every_module_says_what_it_is() {
    let missing: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    refuse("files that do not start with a //! line", &missing);
}

#[test]
fn files_are_one_idea_long() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(file, text)| (text.lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .map(|(lines, file)| format!("{file}: {lines} lines"))
        .collect();
    refuse("files longer than one idea", &long);
}

#[test]
fn names_say_something_and_nothing_is_left_behind() {
    let mut faults = Vec::new();
    for (file, text) in sources() {
        let stem = Path::new(&file).file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if EMPTY_NAMES.contains(&stem) {
            faults.push(format!("{file}: the name tells a reader nothing"));
        }
        if file == "e2e/tests/tidy.rs" {
            continue;
        }
        for left in ["TODO", "FIXME", "todo!(", "unimplemented!(", "#[ignore", "#[should_panic"] {
            if text.contains(left) {
                faults.push(format!("{file}: {left}"));
            }
        }
    }
    refuse("left behind", &faults);
}

#[test]
fn every_fault_that_is_not_repeated_has_a_test() {
    let sources = sources();
    let page = std::fs::read_to_string(root().join("docs/nim-operator.md")).expect("the page is there");
    let faults = FAULTS.map(|number| (format!("B{number}"), format!("fn b{number:02}_")));
    let of_nemo = NEMO_FAULTS.map(|number| (format!("NB{number}"), format!("fn nemo_b{number:02}_")));
    let (mut without, mut unlisted) = (Vec::new(), Vec::new());
    for (fault, test) in faults.chain(of_nemo) {
        if !page.contains(&format!("| {fault} |")) {
            unlisted.push(fault.clone());
        }
        if !sources.values().any(|text| text.contains(&test)) {
            without.push(fault);
        }
    }
    refuse("faults of NVIDIA's operator without a test of their own", &without);
    refuse("faults that docs/nim-operator.md does not list", &unlisted);
}

#[test]
fn every_line_of_acceptance_and_every_threat_names_tests_that_are_there() {
    let sources = sources();
    let page = |name| std::fs::read_to_string(root().join(name)).expect("the page is there");
    let page = page("docs/nim-operator.md") + &page("docs/secure.md");
    let mut faults = Vec::new();
    let of_nemo = NEMO_ACCEPTANCE.map(|number| format!("NA{number}"));
    let threats = THREATS.map(|number| format!("T{number}"));
    for number in ACCEPTANCE.map(|number| format!("A{number}")).chain(of_nemo).chain(threats) {
        let row = page.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let tests = row.and_then(|row| row.rsplit(" | ").next()).unwrap_or_default();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            faults.push(format!("{number} names no test"));
        }
        let absent = |name: &&str| !sources.values().any(|text| text.contains(&format!("fn {name}(")));
        faults.extend(names.into_iter().filter(absent).map(|name| format!("{number}: {name} is not there")));
    }
    refuse("acceptance or a threat without a test", &faults);
}

/// Every Markdown page of the repository: path from the top, text.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut folders: Vec<PathBuf> = ["docs", "examples"].map(|folder| root().join(folder)).into();
    let top = std::fs::read_dir(root()).expect("the top is readable").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = top.collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for path in files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md")) {
        let name = path.strip_prefix(root()).expect("below the top").display().to_string();
        pages.insert(name, std::fs::read_to_string(&path).expect("a page is readable"));
    }
    assert!(pages.len() > 5, "the walk found only {} pages", pages.len());
    pages
}

/// Lines of a page outside its blocks of code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().map(|(n, line)| (n + 1, line)).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        in_block ^= fence;
        !in_block && !fence
    })
}

/// What stands in backticks in a line, or what does not.
fn spans(line: &str, code: bool) -> impl Iterator<Item = &str> {
    line.split('`').enumerate().filter(move |(n, _)| (n % 2 == 1) == code).map(|(_, part)| part)
}

/// The anchors of a page's headings, as forges make them: a heading that comes again gets a number.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let times = seen.entry(anchor.clone()).or_default();
        anchors.push(if *times == 0 { anchor } else { format!("{anchor}-{times}") });
        *times += 1;
    }
    anchors
}

#[test]
fn links_of_the_documentation_lead_to_files_and_headings() {
    let pages = pages();
    let mut faults = Vec::new();
    for (page, text) in &pages {
        let folder = Path::new(page).parent().unwrap_or(Path::new(""));
        for (number, line) in prose(text) {
            let without_code: String = spans(line, false).collect();
            let targets = without_code.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let path = if file.is_empty() { root().join(page) } else { root().join(folder).join(file) };
                if !path.exists() {
                    faults.push(format!("{page}:{number}: {target}: there is no such file"));
                } else if !anchor.is_empty() {
                    let text = std::fs::read_to_string(&path).unwrap_or_default();
                    if !anchors(&text).iter().any(|known| known == anchor) {
                        faults.push(format!("{page}:{number}: {target}: there is no such heading"));
                    }
                }
            }
        }
    }
    refuse("links that lead nowhere", &faults);
}

#[test]
fn the_first_pages_are_short() {
    let pages = pages();
    for (page, lines) in SHORT_PAGES {
        let has = pages[page].lines().count();
        assert!(has < lines, "{page} has {has} lines, fewer than {lines} are allowed");
    }
}

/// A name of four words or more in backticks is that of a test; names of metrics begin with `nimfleet_`.
#[test]
fn tests_that_the_documentation_names_are_there() {
    let sources = sources();
    let is_name = |word: &str| {
        let is_part = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        word.split('_').count() >= 4 && word.split('_').all(is_part) && !word.starts_with("nimfleet_")
    };
    let mut faults = Vec::new();
    for (page, text) in pages() {
        for (number, line) in prose(&text) {
            let names = spans(line, true).filter(|word| is_name(word));
            let absent =
                names.filter(|name| !sources.values().any(|text| text.contains(&format!("fn {name}("))));
            faults.extend(absent.map(|name| format!("{page}:{number}: {name}")));
        }
    }
    refuse("tests that are named and not there", &faults);
}

/// Keys that a line of JSON has beside the fields of its call: a field of that name would be there twice, which strict parsers
/// refuse.
const KEYS_OF_A_LOG_LINE: &[&str] = &["message", "level", "target", "timestamp"];

/// The arguments of a macro call whose parenthesis has just been opened, each trimmed.
fn arguments(text: &str) -> Vec<String> {
    let (mut found, mut depth, mut in_string, mut escaped) = (vec![String::new()], 0_u32, false, false);
    for letter in text.chars() {
        let is_end = !in_string && depth == 0 && letter == ')';
        if is_end {
            break;
        }
        match letter {
            '"' if !escaped => in_string = !in_string,
            '(' | '[' | '{' if !in_string => depth += 1,
            ')' | ']' | '}' if !in_string => depth = depth.saturating_sub(1),
            ',' if !in_string && depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        escaped = letter == '\\' && !escaped;
        found.last_mut().expect("one is there").push(letter);
    }
    found.iter().map(|argument| argument.trim().to_owned()).collect()
}

#[test]
fn no_line_of_the_log_has_a_key_twice() {
    let mut faults = Vec::new();
    let mut calls = 0;
    for (file, text) in sources() {
        for level in ["trace", "debug", "info", "warn", "error"] {
            let call = format!("tracing::{level}!(");
            for (at, _) in text.match_indices(&call) {
                calls += 1;
                for argument in arguments(&text[at + call.len()..]) {
                    let field = argument.trim_start_matches(['%', '?']);
                    let name = field.split(['=', ' ']).next().unwrap_or_default();
                    if KEYS_OF_A_LOG_LINE.contains(&name) {
                        let line = text[..at].lines().count() + 1;
                        faults.push(format!("{file}:{line}: the field {argument:?}"));
                    }
                }
            }
        }
    }
    assert!(calls > 100, "only {calls} calls were found");
    refuse("fields of the log that are called like a key of every line", &faults);
}
