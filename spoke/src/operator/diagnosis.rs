//! Why pods do not start, or do not end well, as a reason and a message that a reader can act upon: in the words of the API
//! server, the scheduler, the kubelet and the program itself. One vocabulary for services, builds and downloads.

mod events;
mod pods;
#[cfg(test)]
mod tests;
mod workload;

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use events::{ASK_AGAIN, Events};
pub(crate) use pods::{Filler, Kinds, Pods, StartingPod};
pub(crate) use workload::{Diagnosis, is_mute, of_job, of_pod};

use crate::operator::engine::kind::Failure;

/// The reason of pods that the API server refuses to have made: a quota, pod security, or another admission.
pub(crate) const NOT_CREATED: &str = "PodsNotCreated";
/// The reason of pods for which the scheduler finds no node.
pub(crate) const UNSCHEDULABLE: &str = "Unschedulable";
/// The reason of objects that exceed a quota.
pub(crate) const QUOTA: &str = "QuotaExceeded";
/// The reason of pods whose image is not pulled: the kubelet says this word and `ErrImagePull` in turn.
const IMAGE: &str = "ImagePullBackOff";
/// The reason of pods that ended for want of memory.
const MEMORY: &str = "OutOfMemory";
/// The reason of pods that end and are started again.
const CRASH: &str = "CrashLoopBackOff";
/// The reason of pods that are held back until somebody admits them.
const GATED: &str = "SchedulingGated";
/// Reason of a pod that no scheduler has looked at.
const NOT_SCHEDULED: &str = "NotScheduled";

/// Label of objects whose pods Kueue admits: the queue they wait in.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// Longest piece of what a program said that goes into a message, in characters.
const LONGEST: usize = 400;

/// Reasons by words that programs print, in lower case. The first that is found counts: the closer to the cause, the
/// further up. Clients of catalogues wrap their errors, so that several may be found in one text.
const SAID: &[(&str, &[&str])] = &[
    (
        "DiskFull",
        &[
            "no space left on device",
            "os error 28",
            "errno 28",
            "enospc",
            "disk quota exceeded",
            "not enough free disk space",
        ],
    ),
    (QUOTA, &["exceeded quota"]),
    (
        "CertificateUntrusted",
        &[
            "certificate verify failed",
            "certificate_verify_failed",
            "certificate signed by unknown authority",
            "unable to get local issuer certificate",
            "self-signed certificate",
            "self signed certificate",
            "unknownissuer",
            "invalid peer certificate",
            "certificate has expired",
            "sslcertverificationerror",
        ],
    ),
    (
        "ProxyFailed",
        &[
            "proxyerror",
            "unable to connect to proxy",
            "cannot connect to proxy",
            "tunnel connection failed",
            "proxy authentication required",
            "proxyconnect tcp",
            "could not resolve proxy",
            "status code 407",
        ],
    ),
    (
        "SourceUnreachable",
        &[
            "name or service not known",
            "temporary failure in name resolution",
            "nodename nor servname",
            "failed to resolve",
            "could not resolve host",
            "no such host",
            "dns error",
            "failed to lookup address",
            "connection refused",
            "connection timed out",
            "connecttimeout",
            "connect timeout",
            "connection reset by peer",
            "network is unreachable",
            "no route to host",
            "error sending request for url",
            "max retries exceeded",
            "readtimeout",
            "localentrynotfounderror",
        ],
    ),
    (
        "AuthenticationFailed",
        &[
            "401 client error",
            "403 client error",
            "401 unauthorized",
            "403 forbidden",
            "http 401",
            "http 403",
            "status: 401",
            "status: 403",
            "status code 401",
            "status code 403",
            "status code: 401",
            "status code: 403",
            "unauthorized",
            "invalid api key",
            "invalid ngc api key",
            "api key is invalid",
            "ngc_api_key is not set",
            "invalid user token",
            "invalid username or password",
            "authentication error",
            "authentication failed",
            "gatedrepoerror",
            "access to model",
            "access denied",
            "accessdenied",
        ],
    ),
    (
        "UnknownProfile",
        &[
            "invalid profile",
            "unknown profile",
            "no such profile",
            "profile not found",
            "profile does not exist",
            "could not find profile",
            "not a valid profile",
        ],
    ),
    (
        "ModelNotFound",
        &[
            "404 client error",
            "404 not found",
            "http 404",
            "status code 404",
            "status code: 404",
            "repositorynotfounderror",
            "revisionnotfounderror",
            "repository not found",
        ],
    ),
    (
        "ProgramMissing",
        &["executable file not found", "command not found", "no such file or directory: unknown"],
    ),
    (MEMORY, &["out of memory", "cannot allocate memory", "memoryerror", "oomkilled"]),
];

/// What may be done about each, of downloads.
const REMEDIES: &[(&str, &str)] = &[
    (
        "AuthenticationFailed",
        "check the key in the Secret that authSecret names, and that it may read the model",
    ),
    ("CertificateUntrusted", "name a ConfigMap with the authority's certificate in spec.proxy.certConfigMap"),
    ("DiskFull", "ask for a larger spec.storage.pvc.size"),
    (IMAGE, "check modelPuller and the Secret that pullSecret names"),
    ("ModelNotFound", "check the name and the revision of the model"),
    (MEMORY, "raise spec.resources.memory"),
    ("ProgramMissing", "modelPuller has to be an image that fetches from this source"),
    ("ProxyFailed", "check spec.proxy"),
    (QUOTA, "raise the ResourceQuota of the namespace, or ask for less in spec.resources and spec.storage"),
    ("SourceUnreachable", "check the endpoint, the cluster's DNS and network policies, and spec.proxy"),
    ("UnknownProfile", "list profiles that the image has; its ConfigMap of that name ends in -manifest"),
];

/// What may be done about each, of pods that serve.
const SERVING_REMEDIES: &[(&str, &str)] = &[
    (IMAGE, "check the name and tag of spec.image, and its pullSecrets"),
    (MEMORY, "raise the memory in spec.resources"),
];

/// Whether a reason is told again and again in other words: by the kubelet at each attempt, by the scheduler as nodes
/// change.
pub(crate) fn is_repeated(reason: &str) -> bool {
    [IMAGE, CRASH, MEMORY, UNSCHEDULABLE, NOT_CREATED].contains(&reason)
}

/// What a pod is for: what can be done about it differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It fetches a model, reads a manifest or builds an engine, and ends.
    Download,
    /// It serves.
    Serving,
}

/// Why a pod that has a task does not run yet, in the words of its kubelet or scheduler; `None` when it runs.
pub(crate) fn waiting(pod: &Value) -> Option<Failure> {
    let status = &pod["status"];
    if status["phase"] == "Running" {
        return None;
    }
    let why = hindrance(pod, Purpose::Download).or_else(|| {
        let state = containers(pod).find_map(|container| container["state"]["waiting"]["reason"].as_str())?;
        let node = pod["spec"]["nodeName"].as_str().unwrap_or("its node");
        Some(Failure::new(state, format!("{node} pulls the image or attaches the volume")))
    });
    Some(why.unwrap_or_else(|| Failure::new("PodPending", "the pod has not started yet")))
}

/// What keeps a pod from starting; `None` of one that runs, or is merely on its way.
pub(crate) fn hindrance(pod: &Value, purpose: Purpose) -> Option<Failure> {
    let status = &pod["status"];
    if let Some(why) = containers(pod).find_map(|container| held_up(pod, container, purpose)) {
        return Some(why);
    }
    if status["phase"] == "Failed" {
        let reason = status["reason"].as_str().unwrap_or("PodFailed");
        let message = status["message"].as_str().unwrap_or("the pod has failed");
        return Some(Failure::new(reason, format!("{reason}: {message}")));
    }
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unscheduled =
        conditions.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False")?;
    let reason = unscheduled["reason"].as_str().unwrap_or(UNSCHEDULABLE);
    let message = unscheduled["message"].as_str().unwrap_or_default();
    Some(match (reason, pod["metadata"]["labels"][QUEUE].as_str()) {
        (GATED, Some(queue)) => {
            let words = format!("{GATED}: Kueue has not admitted it to queue {queue} yet: {message}");
            Failure::new(GATED, words)
        }
        (GATED, None) => Failure::new(GATED, format!("{GATED}: {message}")),
        _ => Failure::new(reason, message),
    })
}

/// What keeps one container from running.
fn held_up(pod: &Value, container: &Value, purpose: Purpose) -> Option<Failure> {
    let waiting = &container["state"]["waiting"];
    let message = waiting["message"].as_str().unwrap_or_default();
    let reason = waiting["reason"].as_str();
    match reason {
        // What a download printed tells more than that it ends again and again.
        Some("CrashLoopBackOff") if purpose == Purpose::Download => {
            return ended(pod).or_else(|| Some(crashing(container, purpose)));
        }
        Some("CrashLoopBackOff") => return Some(crashing(container, purpose)),
        None if has_crashed(pod, container) => return Some(crashing(container, purpose)),
        None => return None,
        Some("ContainerCreating" | "PodInitializing") if message.is_empty() => return None,
        Some(_) => {}
    }
    let word = reason.unwrap_or_default();
    let text = if message.is_empty() { word.to_owned() } else { format!("{word}: {message}") };
    Some(match word {
        "ErrImagePull" | "ImagePullBackOff" => advised(IMAGE, &text, purpose),
        "ErrImageNeverPull" | "InvalidImageName" => {
            Failure { reason: word.to_owned(), ..advised(IMAGE, &text, purpose) }
        }
        _ => match said(message).filter(|_| purpose == Purpose::Download) {
            Some(known) => advised(known, &text, purpose),
            None => Failure::new(word, text),
        },
    })
}

/// Whether a container has ended badly before, and has not been ready since it was started again: between two crashes it
/// runs, and is told as one that crashes all the same.
fn has_crashed(pod: &Value, container: &Value) -> bool {
    let failed = |end: &Value| end["exitCode"].as_i64().is_some_and(|code| code != 0);
    let restarts = container["restartCount"].as_i64().unwrap_or_default();
    if container["ready"] == true || restarts == 0 || !failed(&container["lastState"]["terminated"]) {
        return false;
    }
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().find(|one| one["type"] == "Ready");
    let unready_since = ready.and_then(|one| moment(&one["lastTransitionTime"]));
    let started = moment(&container["state"]["running"]["startedAt"]);
    // One that ceased to be ready after it was started had been ready.
    !matches!((started, unready_since), (Some(started), Some(unready)) if unready > started)
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// How a container that is started again and again has ended.
fn crashing(container: &Value, purpose: Purpose) -> Failure {
    let ends = [&container["state"]["terminated"], &container["lastState"]["terminated"]];
    let end = ends.into_iter().find(|end| end.is_object()).unwrap_or(&Value::Null);
    let name = container["name"].as_str().unwrap_or("of the pod");
    let restarts = container["restartCount"].as_i64().unwrap_or_default();
    let times = if restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
    let text = |field: &str| end[field].as_str().unwrap_or_default().trim();
    let ended = match &end["exitCode"] {
        Value::Null => String::new(),
        code => format!(" ended with exit code {code}"),
    };
    let (reason, word) = match text("reason") {
        "OOMKilled" => (MEMORY, "OOMKilled"),
        _ => (CRASH, CRASH),
    };
    let last = match text("message") {
        "" => String::new(),
        words => format!("; its last words: {}", tail(words)),
    };
    advised(reason, &format!("{word}: container {name}{ended}, restarted {times}{last}"), purpose)
}

/// Why a pod has failed; `None` when it has not.
pub(crate) fn ended(pod: &Value) -> Option<Failure> {
    if pod["status"]["reason"] == "Evicted" {
        return Some(Failure::new("Evicted", pod["status"]["message"].as_str().unwrap_or_default()));
    }
    let end = containers(pod)
        .flat_map(|container| [&container["state"]["terminated"], &container["lastState"]["terminated"]])
        .find(|end| end["exitCode"].as_i64().is_some_and(|code| code != 0))?;
    let text = |field: &str| end[field].as_str().unwrap_or_default().trim();
    let told = tail(text("message"));
    let message = format!("exit code {}: {told}", end["exitCode"]);
    let message = message.trim_end_matches([':', ' ']);
    if text("reason") == "OOMKilled" {
        return Some(advised(MEMORY, message, Purpose::Download));
    }
    // What a shell says when it finds no program.
    let known = said(text("message")).or_else(|| (end["exitCode"] == 127).then_some("ProgramMissing"));
    Some(known.map_or_else(
        || Failure::new("DownloadFailed", message),
        |known| advised(known, message, Purpose::Download),
    ))
}

/// A failure of the API server's, with a reason of its own where its words tell one: a quota, or a pod that no admission
/// lets pass.
pub(crate) fn refused(why: &Failure) -> Failure {
    let text = why.message.to_lowercase();
    match said(&why.message) {
        Some(QUOTA) => advised(QUOTA, &why.message, Purpose::Download),
        _ if why.reason == "PodFailed" && text.contains("forbidden") => {
            Failure::new(NOT_CREATED, &why.message)
        }
        _ => why.clone(),
    }
}

/// Pods that a controller could not have made, in the words with which the API server refused them.
pub(crate) fn not_created(text: &str) -> Failure {
    let message = match said(text) {
        Some(QUOTA) => {
            format!("{text} (raise the ResourceQuota of the namespace, or ask for less in spec.resources)")
        }
        _ => text.to_owned(),
    };
    Failure::new(NOT_CREATED, message)
}

/// The reason that words tell.
fn said(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let found = SAID.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
    found.map(|(reason, _)| *reason)
}

fn advised(reason: &str, message: &str, purpose: Purpose) -> Failure {
    let table = match purpose {
        Purpose::Download => REMEDIES,
        Purpose::Serving => SERVING_REMEDIES,
    };
    let remedy = table.iter().find(|(known, _)| *known == reason);
    let message = match remedy {
        Some((_, remedy)) if message.is_empty() => (*remedy).to_owned(),
        Some((_, remedy)) => format!("{message} ({remedy})"),
        None => message.to_owned(),
    };
    Failure::new(reason, message)
}

/// The end of a log, on one line: what went wrong is told last.
fn tail(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = line.chars().count().saturating_sub(LONGEST);
    if skipped == 0 { line } else { format!("… {}", line.chars().skip(skipped).collect::<String>()) }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let fields = ["initContainerStatuses", "containerStatuses"];
    fields.into_iter().filter_map(|field| pod["status"][field].as_array()).flatten()
}
