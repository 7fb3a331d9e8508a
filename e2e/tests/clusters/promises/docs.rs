//! The documentation does what it says: every console block of a page runs, and every example is applied.
//!
//! A block runs on the hub of a small fleet, or where the comment just before it says (`<!-- on: east -->`). What cannot run
//! here says why in such a comment (`<!-- not run: needs a cloud's load balancer -->`). Pages run one after the other, the
//! README first: a block finds what the blocks before it have made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::cluster::gpu::{H100, L40S};
use e2e::cluster::{Cluster, Shape};
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Fleet, Invitation, NAMESPACE};
use e2e::{command, objects, sample};

/// Longer than the longest `--timeout` of a page.
const BLOCK_WITHIN: Duration = Duration::from_mins(6);
/// How soon the hub has decided about a placement.
const DECIDED_WITHIN: Duration = Duration::from_mins(2);
/// Where a block runs that does not say where.
const HUB: &str = "hub";
/// Clusters outside the fleet, for what is installed by helm.
const NEW: [&str; 2] = ["new-hub", "new-gpu"];
/// Reasons of a placement whose author has made a mistake.
const MISTAKES: [&str; 6] = [
    "InvalidPlacement",
    "InvalidObject",
    "InvalidName",
    "InvalidOverride",
    "NoObjectsSelected",
    "ObjectTaken",
];
/// How blocks of commands would escape these tests.
const OTHER_SHELLS: [&str; 5] = ["", "bash", "sh", "shell", "shell-session"];

/// The commands of one block.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    /// Page and line.
    at: String,
    /// The cluster that kubectl and helm speak to.
    place: String,
    commands: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file of these folders (`.`: of that folder alone) with this extension, by its path from the top.
fn files(folders: &[&str], extension: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(root().join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = path.to_string_lossy().trim_start_matches("./").to_owned();
            if entry.file_type()?.is_dir() {
                if !folder.starts_with(".") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                found.insert(name, fs::read_to_string(entry.path())?);
            }
        }
    }
    Ok(found)
}

/// The blocks of a page that run, and what is wrong with others.
fn blocks(page: &str, text: &str) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let mut lines = text.lines().enumerate();
    let mut mark = None;
    while let Some((n, line)) = lines.next() {
        let trimmed = line.trim_start();
        let at = format!("{page}:{}", n + 1);
        let Some(language) = trimmed.strip_prefix("```") else {
            if !trimmed.is_empty() {
                let comment = trimmed.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                mark = comment.and_then(|comment| comment.split_once(": "));
            }
            continue;
        };
        let indent = line.len() - trimmed.len();
        let mut commands = String::new();
        for (_, line) in lines.by_ref().take_while(|(_, line)| line.trim() != "```") {
            let _ = writeln!(commands, "{}", line.get(indent..).unwrap_or_default());
        }
        match (language, mark.take()) {
            ("console", None) => blocks.push(Block { at, place: HUB.to_owned(), commands }),
            ("console", Some(("on", place))) => blocks.push(Block { at, place: place.to_owned(), commands }),
            ("console", Some(("not run", reason))) if reason.split_whitespace().count() > 2 => {}
            ("console", Some((what, says))) => {
                faults.push(format!(
                    "{at}: {what}: {says}: say where it runs, or in a few words why it does not"
                ));
            }
            (other, _) if OTHER_SHELLS.contains(&other) => {
                faults.push(format!("{at}: a block of {other:?}: console is run, text is not"));
            }
            _ => {}
        }
    }
    (blocks, faults)
}

#[test]
fn a_block_runs_where_its_mark_says_or_says_why_it_does_not() {
    let page = "<!-- on: east -->\n```console\nkubectl get pods\n```\n\nText\n\n```console\na \\\n  b\n```\n\
        * item\n\n  <!-- not run: needs a cloud here -->\n  ```console\n  c\n  ```\n<!-- not run: why -->\n\
        ```console\nd\n```\n```bash\ne\n```\n```yaml\nf: g\n```\n";
    let (found, faults) = blocks("page.md", page);
    let block = |line: usize, place: &str, commands: &str| Block {
        at: format!("page.md:{line}"),
        place: place.to_owned(),
        commands: commands.to_owned(),
    };
    assert_eq!(found, [block(2, "east", "kubectl get pods\n"), block(8, HUB, "a \\\n  b\n")]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].starts_with("page.md:19: not run: why:"), "{faults:?}");
    assert!(faults[1].starts_with("page.md:22: a block of \"bash\""), "{faults:?}");
}

#[tokio::test]
async fn every_command_of_the_docs_runs_and_every_example_is_applied() -> Result<(), Failure> {
    let mut pages = files(&[".", "docs", "examples"], "md")?;
    let readme = pages.remove("README.md").ok_or_else(|| Failure::new("no README.md"))?;
    let pages = std::iter::once(("README.md".to_owned(), readme)).chain(pages);
    let (blocks, faults): (Vec<_>, Vec<_>) = pages.map(|(page, text)| blocks(&page, &text)).unzip();
    let (blocks, mut faults) = (blocks.concat(), faults.concat());
    assert!(blocks.len() > 20, "the walk found only {} blocks", blocks.len());

    let plan = Fleet::new().queried().cluster("east").gpus(H100, 8, 2).cluster("west").gpus(L40S, 4, 2);
    let fleet = plan.start().await?;
    let shape = Shape::new();
    let [new_hub, new_gpu] = NEW.map(|name| Cluster::start(fleet.ground(), name, &shape));
    let (new_hub, new_gpu) = tokio::try_join!(new_hub, new_gpu)?;
    let shell = Shell {
        invitation: fleet.hub().invite("new").await?,
        tools: tools(&fleet)?,
        places: [("east", fleet.cluster("east")?.cluster()), ("west", fleet.cluster("west")?.cluster())]
            .into_iter()
            .chain([(HUB, fleet.hub().cluster()), (NEW[0], &new_hub), (NEW[1], &new_gpu)])
            .map(|(name, cluster)| (name, cluster.kubeconfig()))
            .collect(),
    };
    let questions = ["get", "nimassignments", "--all-namespaces"];
    let answers = || async { Ok(fleet.hub().cluster().kubectl(&questions, None).await?) };
    fleet.eventually("the API server passes questions on to the hub", DECIDED_WITHIN, answers).await?;
    for block in &blocks {
        faults.extend(shell.run(block).await.err());
    }
    faults.extend(apply_examples(&shell).await?);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    no_example_is_a_mistake(&fleet).await
}

/// Where and with what blocks run.
struct Shell<'a> {
    invitation: Invitation,
    /// A folder with `kubectl` and `helm`.
    tools: PathBuf,
    /// Kubeconfig of each cluster by its name in marks.
    places: BTreeMap<&'a str, PathBuf>,
}

impl Shell<'_> {
    /// Runs a block to its end, or says where it failed and what was said.
    async fn run(&self, block: &Block) -> Result<(), String> {
        let Block { at, place, commands } = block;
        let kubeconfig =
            self.places.get(place.as_str()).ok_or_else(|| format!("{at}: no cluster {place}"))?;
        let script = format!(
            "set -euo pipefail; cd '{}'; export PATH='{}':\"$PATH\" KUBECONFIG='{}' CA_HASH='{}' TOKEN='{}'\n{commands}",
            root().display(),
            self.tools.display(),
            kubeconfig.display(),
            self.invitation.ca_hash,
            self.invitation.token,
        );
        let arguments = ["-c", &script];
        let bash = command::run(Path::new("bash"), &arguments, None);
        match tokio::time::timeout(BLOCK_WITHIN, bash).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{at} on {place}: {}\n{commands}", error.said)),
            Err(_) => Err(format!("{at} on {place}: not done after {BLOCK_WITHIN:?}\n{commands}")),
        }
    }
}

/// Writes `kubectl`, with its plugin, and `helm` into a folder. Hub and spokes are processes here and no pods: what a page has a pod of the hub
/// do, and the log of that pod, are those of the process.
pub(crate) fn tools(fleet: &Fleet) -> Result<PathBuf, Failure> {
    let (ground, hub) = (fleet.ground(), fleet.hub());
    let folder = ground.folder().join("tools");
    fs::create_dir_all(&folder)?;
    let kubectl = format!(
        "#!/usr/bin/env bash\nset -euo pipefail\ncase \" $* \" in\n\
         *' exec deploy/nimfleet-hub -- nimfleet-hub '*)\n\
         while [ \"$1\" != -- ]; do shift; done; shift 2\n\
         exec '{}' \"$@\" --kubeconfig '{}' --namespace {NAMESPACE} --advertise {};;\n\
         *' logs --selector app.kubernetes.io/name=nimfleet-hub '*) exec cat '{}';;\n\
         *) exec '{}' \"$@\";;\nesac\n",
        hub.program().display(),
        hub.kubeconfig().display(),
        hub.link(),
        hub.daemon().log().display(),
        ground.programs().path("kubectl").display(),
    );
    let helm = format!("#!/bin/sh\nexec '{}' \"$@\"\n", ground.programs().path("helm").display());
    let plugin = format!("#!/bin/sh\nexec '{}' \"$@\"\n", Binaries::ready()?.plugin.display());
    for (name, text) in [("kubectl", kubectl), ("helm", helm), ("kubectl-nimfleet", plugin)] {
        let path = folder.join(name);
        fs::write(&path, text)?;
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(folder)
}

/// Applies every example on the hub, and what the charts make of every file of values where they would be installed.
async fn apply_examples(shell: &Shell<'_>) -> Result<Vec<String>, Failure> {
    let mut faults = Vec::new();
    let examples = files(&["examples"], "yaml")?;
    assert!(examples.len() > 20, "the walk found only {} examples", examples.len());
    for (file, text) in examples {
        let strict = "--validate=strict --filename";
        let (place, commands) = match file.strip_prefix("examples/values/") {
            Some(values) => {
                let (place, chart, more) = if values.starts_with("hub-") {
                    (NEW[0], "nimfleet-hub", "")
                } else {
                    let more = "--set cluster.name=new --set hub.address=hub.example.com:7443 --set hub.caHash=$CA_HASH \
                        --set hub.token=$TOKEN";
                    (NEW[1], "nimfleet-spoke", more)
                };
                // `rbac.scope: namespaces` wants namespaces that exist.
                let commands = format!(
                    "kubectl create namespace nim-service --dry-run=client --output yaml | kubectl apply --filename -\n\
                     helm template {chart} charts/{chart} --namespace {NAMESPACE} --values {file} {more} |\n\
                     kubectl apply --server-side --force-conflicts --dry-run=server {strict} -"
                );
                (place, commands)
            }
            // Nothing of it is stored, so it is not applied but asked.
            None if text.contains("query.nimfleet.io") => (HUB, format!("kubectl create {strict} {file}")),
            None => (HUB, format!("kubectl apply --server-side --force-conflicts {strict} {file}")),
        };
        let block = Block { at: file, place: place.to_owned(), commands };
        faults.extend(shell.run(&block).await.err());
    }
    Ok(faults)
}

/// The hub takes every example as it is meant: whether a cluster of this fleet fits or none, nothing is wrong with it.
async fn no_example_is_a_mistake(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub().cluster();
    // One that was applied a moment ago may still say that it selects nothing.
    let decided = || async {
        let placements = objects::list(hub, "NIMPlacement", sample::NAMESPACE).await?;
        for placement in &placements {
            let said = objects::condition(placement, "Scheduled");
            let is_mistake = said.as_ref().is_none_or(|(_, reason, _)| MISTAKES.contains(&reason.as_str()));
            let text = placement["status"].to_string();
            let refused = MISTAKES.iter().any(|reason| text.contains(&format!("\"{reason}\"")));
            if is_mistake || refused {
                return Err(Failure::new(format!("{}: {text}", placement["metadata"]["name"])));
            }
        }
        Ok(placements.len())
    };
    let placements = fleet.eventually("the hub takes every example", DECIDED_WITHIN, decided).await?;
    assert!(placements > 10, "{placements} placements");
    Ok(())
}

/// What the README shows of its first placement is what it has you apply.
#[test]
fn the_first_placement_of_the_readme_is_the_example() -> Result<(), Failure> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let example = fs::read_to_string(root().join("examples/first-placement.yaml"))?;
    let shown = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown = shown.ok_or_else(|| Failure::new("the README shows no placement"))?;
    assert!(example.contains(shown), "not in the example:\n{shown}");
    Ok(())
}
