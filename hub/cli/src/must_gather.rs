//! `must-gather`: an archive with what a bug report needs. Secrets are never read, and what may hold one is left out.

mod redact;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, LogParams};
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::MustGatherArgs;
use crate::doctor::{self, definitions};
use crate::failure::Failure;
use crate::print::{Printer, as_json, progress};
use crate::session::{Session, call, list};
use crate::status::FleetStatus;
use crate::table::count;

/// The fleet's kinds and NVIDIA's, of all namespaces that the caller may see.
const KINDS: [(&str, &str); 13] = [
    ("nimfleet.io", "GPUCluster"),
    ("nimfleet.io", "NIMPlacement"),
    ("nimfleet.io", "NIMPlacementDecision"),
    ("nimfleet.io", "GPUQuota"),
    ("apps.nvidia.com", "NIMService"),
    ("apps.nvidia.com", "NIMCache"),
    ("apps.nvidia.com", "NIMPipeline"),
    ("apps.nvidia.com", "NIMBuild"),
    ("apps.nvidia.com", "NemoCustomizer"),
    ("apps.nvidia.com", "NemoDatastore"),
    ("apps.nvidia.com", "NemoEntitystore"),
    ("apps.nvidia.com", "NemoEvaluator"),
    ("apps.nvidia.com", "NemoGuardrail"),
];
/// What the charts have made, in the namespace of hub or spoke.
const INSTALLED: [(&str, &str, &str); 7] = [
    ("apps", "v1", "Deployment"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("", "v1", "ConfigMap"),
    ("events.k8s.io", "v1", "Event"),
];
/// Groups of the objects whose events are taken.
const OURS: [&str; 2] = ["nimfleet.io/", "apps.nvidia.com/"];
/// By which the API server passes questions on to the hub.
const QUERY: &str = "v1alpha1.query.nimfleet.io";
/// Everything that the charts make has this label.
const PART_OF: &str = "app.kubernetes.io/part-of=nimfleet";

/// The archive, and what could not be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Gathered {
    archive: PathBuf,
    files: usize,
    /// What is missing, and why.
    missing: Vec<String>,
}

/// Files of the archive as they come.
struct Archive {
    tar: tar::Builder<GzEncoder<File>>,
    name: String,
    path: PathBuf,
    files: usize,
    missing: Vec<String>,
    now: Timestamp,
}

impl Archive {
    fn create(path: PathBuf, now: Timestamp) -> Result<Self, Failure> {
        let file = File::create_new(&path).map_err(|source| at(&path, source))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().replace(".tar.gz", "");
        let tar = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self { tar, name, path, files: 0, missing: Vec::new(), now })
    }

    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(self.now.as_second()).unwrap_or(0));
        let path = format!("{}/{path}", self.name);
        self.tar.append_data(&mut header, path, bytes).map_err(|source| at(&self.path, source))?;
        self.files += 1;
        Ok(())
    }

    fn add_json(&mut self, path: &str, value: &Value) -> Result<(), Failure> {
        self.add(path, format!("{value:#}\n").as_bytes())
    }

    /// A list of objects without what may be secret; or a note that it could not be had.
    fn add_list<T: Serialize>(
        &mut self,
        path: &str,
        objects: Result<Vec<T>, Failure>,
    ) -> Result<(), Failure> {
        let objects = match objects {
            Ok(objects) => objects,
            Err(failure) => {
                self.missing.push(format!("{path}: {failure}"));
                return Ok(());
            }
        };
        let items: Vec<Value> = objects
            .into_iter()
            .filter_map(|object| serde_json::to_value(object).ok())
            .map(redact::object)
            .collect();
        self.add_json(path, &json!({"apiVersion": "v1", "kind": "List", "items": items}))
    }

    fn finish(mut self) -> Result<Gathered, Failure> {
        if !self.missing.is_empty() {
            let words = format!("{}\n", self.missing.join("\n"));
            self.add("missing.txt", words.as_bytes())?;
        }
        let Self { tar, path, files, missing, .. } = self;
        let encoder = tar.into_inner().map_err(|source| at(&path, source))?;
        let mut file = encoder.finish().map_err(|source| at(&path, source))?;
        file.flush().map_err(|source| at(&path, source))?;
        Ok(Gathered { archive: path, files, missing })
    }
}

fn at(path: &Path, source: std::io::Error) -> Failure {
    Failure::Io { what: path.display().to_string(), source }
}

/// Writes the archive.
pub(crate) async fn run(session: &Session, printer: Printer, args: &MustGatherArgs) -> Result<(), Failure> {
    let now = Timestamp::now();
    let path = args.to.clone().unwrap_or_else(|| {
        PathBuf::from(format!("nimfleet-must-gather-{}.tar.gz", now.strftime("%Y%m%d-%H%M%S")))
    });
    let mut archive = Archive::create(path, now)?;
    versions(session, &mut archive).await?;
    progress("looking at the fleet");
    reports(session, &mut archive).await?;
    progress("reading objects");
    objects(session, &mut archive).await?;
    progress("reading logs");
    logs(session, &mut archive, args.log_limit).await?;
    let gathered = archive.finish()?;
    printer.answer("MustGather", &gathered, |gathered| {
        let Gathered { archive, files, missing } = gathered;
        let first = format!("{}: {}", archive.display(), count(*files, "file"));
        let missing = missing.iter().map(|words| format!("not in it: {words}"));
        std::iter::once(first).chain(missing).map(|line| line + "\n").collect()
    })
}

async fn versions(session: &Session, archive: &mut Archive) -> Result<(), Failure> {
    let server = call("version of the API server", session.client().apiserver_version()).await?;
    let versions = json!({
        "gatheredAt": format!("{:.0}", archive.now), "plugin": env!("CARGO_PKG_VERSION"),
        "server": session.server(), "kubernetes": server.git_version, "installedIn": session.installed_in(),
    });
    archive.add_json("versions.json", &versions)
}

/// What `status` and `doctor` say.
async fn reports(session: &Session, archive: &mut Archive) -> Result<(), Failure> {
    let (status, diagnosis) = tokio::join!(FleetStatus::read(session), doctor::examine(session, None));
    match status {
        Ok(status) => archive.add("status.json", as_json("FleetStatus", &status)?.as_bytes())?,
        Err(failure) => archive.missing.push(format!("status.json: {failure}")),
    }
    match diagnosis {
        Ok(diagnosis) => archive.add("doctor.json", as_json("Diagnosis", &diagnosis)?.as_bytes()),
        Err(failure) => {
            archive.missing.push(format!("doctor.json: {failure}"));
            Ok(())
        }
    }
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

async fn objects(session: &Session, archive: &mut Archive) -> Result<(), Failure> {
    for (group, kind) in KINDS {
        let api: Api<DynamicObject> = Api::all_with(session.client(), &resource(group, "v1alpha1", kind));
        let found = list(&api, &format!("{kind}: list in all namespaces")).await;
        archive.add_list(&format!("objects/{}.json", kind.to_lowercase()), found)?;
    }
    let rows = session.everywhere().assignments().await;
    let rows = rows.and_then(|rows| match rows.hidden {
        Some(hidden) => Err(Failure::Refused(hidden)),
        None => Ok(rows.items),
    });
    archive.add_list("objects/nimassignment.json", rows)?;
    for (group, version, kind) in INSTALLED {
        let namespace = session.installed_in();
        let api: Api<DynamicObject> =
            Api::namespaced_with(session.client(), namespace, &resource(group, version, kind));
        let found = list(&api, &format!("{kind}: list in namespace {namespace}")).await;
        archive.add_list(&format!("installed/{}.json", kind.to_lowercase()), found)?;
    }
    of_cluster(session, archive).await?;
    let api = Api::all_with(session.client(), &resource("events.k8s.io", "v1", "Event"));
    let events = list(&api, "Event: list in all namespaces").await.map(|mut all: Vec<DynamicObject>| {
        all.retain(|event| {
            let about = event.data["regarding"]["apiVersion"].as_str().unwrap_or_default();
            OURS.iter().any(|ours| about.starts_with(ours))
        });
        all
    });
    archive.add_list("objects/event.json", events)
}

/// The definitions, and the way to the hub's answers.
async fn of_cluster(session: &Session, archive: &mut Archive) -> Result<(), Failure> {
    let apis: Api<DynamicObject> =
        Api::all_with(session.client(), &resource("apiregistration.k8s.io", "v1", "APIService"));
    let api = call(format!("APIService {QUERY}"), apis.get_opt(QUERY)).await;
    archive.add_list("cluster/apiservice.json", api.map(|api| api.into_iter().collect()))?;
    let definitions = definitions::live(session, &definitions::wanted()?).await;
    archive.add_list("cluster/customresourcedefinition.json", definitions)
}

/// The end of each container's log, and of the one that ran before it.
async fn logs(session: &Session, archive: &mut Archive, limit_mib: u32) -> Result<(), Failure> {
    let namespace = session.installed_in();
    let pods: Api<Pod> = Api::namespaced(session.client(), namespace);
    let found = call(
        format!("Pods: list in namespace {namespace}"),
        pods.list(&ListParams::default().labels(PART_OF)),
    )
    .await;
    let found = match found {
        Ok(found) => found.items,
        Err(failure) => {
            archive.missing.push(format!("logs: {failure}"));
            return Ok(());
        }
    };
    for pod in found {
        let name = pod.name_any();
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            let restarted =
                statuses.into_iter().any(|status| status.name == container.name && status.restart_count > 0);
            for previous in [false, true].into_iter().take(if restarted { 2 } else { 1 }) {
                let params = LogParams {
                    container: Some(container.name.clone()),
                    previous,
                    timestamps: true,
                    ..LogParams::default()
                };
                let suffix = if previous { ".previous" } else { "" };
                let path = format!("logs/{name}/{}{suffix}.log", container.name);
                match call(format!("log of pod {namespace}/{name}"), pods.logs(&name, &params)).await {
                    Ok(text) => archive.add(&path, end_of(&text, limit_mib).as_bytes())?,
                    Err(failure) => archive.missing.push(format!("{path}: {failure}")),
                }
            }
        }
    }
    Ok(())
}

/// The last lines of a text, so many MiB at the most.
fn end_of(text: &str, mib: u32) -> &str {
    let most = usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024);
    if text.len() <= most {
        return text;
    }
    let tail = text.ceil_char_boundary(text.len() - most);
    let end = &text[tail..];
    end.find('\n').map_or(end, |line| &end[line + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_loses_its_beginning_at_the_end_of_a_line() {
        let line = "0123456789abcde\n";
        let text = line.repeat(1024 * 1024 / 16 + 10);
        let end = end_of(&text, 1);
        assert!(end.len() <= 1024 * 1024 && end.starts_with("0123") && text.ends_with(end));
        assert_eq!(end_of("short\n", 1), "short\n");
    }
}
