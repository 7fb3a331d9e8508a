//! Why a download does not begin or does not end well, as a reason that a reader can act upon: from what the kubelet,
//! the scheduler and the program itself say.

use serde_json::Value;

use crate::operator::engine::kind::Failure;

#[cfg(test)]
mod tests;

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
    ("QuotaExceeded", &["exceeded quota"]),
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
    ("OutOfMemory", &["out of memory", "cannot allocate memory", "memoryerror", "oomkilled"]),
];

/// What may be done about each.
const REMEDIES: &[(&str, &str)] = &[
    (
        "AuthenticationFailed",
        "check the key in the Secret that authSecret names, and that it may read the model",
    ),
    ("CertificateUntrusted", "name a ConfigMap with the authority's certificate in spec.proxy.certConfigMap"),
    ("DiskFull", "ask for a larger spec.storage.pvc.size"),
    ("ImagePullFailed", "check modelPuller and the Secret that pullSecret names"),
    ("ModelNotFound", "check the name and the revision of the model"),
    ("OutOfMemory", "raise spec.resources.memory"),
    ("ProgramMissing", "modelPuller has to be an image that fetches from this source"),
    ("ProxyFailed", "check spec.proxy"),
    (
        "QuotaExceeded",
        "raise the ResourceQuota of the namespace, or ask for less in spec.resources and spec.storage",
    ),
    ("SourceUnreachable", "check the endpoint, the cluster's DNS and network policies, and spec.proxy"),
    ("UnknownProfile", "list profiles that the image has; its ConfigMap of that name ends in -manifest"),
];

/// Why a pod does not run yet, in the words of its kubelet or scheduler; `None` when it runs.
pub(crate) fn waiting(pod: &Value) -> Option<Failure> {
    let status = &pod["status"];
    if status["phase"] == "Running" {
        return None;
    }
    if let Some(state) = containers(pod).find_map(|container| container["state"]["waiting"].as_object())
        && let Some(reason) = state.get("reason").and_then(Value::as_str)
    {
        let message = state.get("message").and_then(Value::as_str).unwrap_or_default();
        return Some(held_up(pod, reason, message));
    }
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False");
    let why = unscheduled.map(|one| {
        let text = |field: &str, other: &str| one[field].as_str().unwrap_or(other).to_owned();
        Failure::new(text("reason", "Unschedulable"), text("message", ""))
    });
    Some(why.unwrap_or_else(|| Failure::new("PodPending", "the pod has not started yet")))
}

fn held_up(pod: &Value, reason: &str, message: &str) -> Failure {
    match reason {
        // The kubelet alternates between the two while it tries.
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            advised("ImagePullFailed", message)
        }
        "ContainerCreating" | "PodInitializing" if message.is_empty() => {
            let node = pod["spec"]["nodeName"].as_str().unwrap_or("its node");
            let doing = format!("{node} pulls the image or attaches the volume");
            Failure::new(reason, doing)
        }
        "CrashLoopBackOff" => ended(pod).unwrap_or_else(|| Failure::new(reason, message)),
        _ => said(message).map_or_else(|| Failure::new(reason, message), |known| advised(known, message)),
    }
}

/// Why a pod has failed; `None` when it has not.
pub(super) fn ended(pod: &Value) -> Option<Failure> {
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
        return Some(advised("OutOfMemory", message));
    }
    // What a shell says when it finds no program.
    let known = said(text("message")).or_else(|| (end["exitCode"] == 127).then_some("ProgramMissing"));
    Some(known.map_or_else(|| Failure::new("DownloadFailed", message), |known| advised(known, message)))
}

/// A failure of the API server's, with a reason of its own where its words tell one.
pub(super) fn refused(why: &Failure) -> Failure {
    match said(&why.message) {
        Some(reason @ "QuotaExceeded") => advised(reason, &why.message),
        _ => why.clone(),
    }
}

/// The reason that words tell.
fn said(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    let found = SAID.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
    found.map(|(reason, _)| *reason)
}

fn advised(reason: &str, message: &str) -> Failure {
    let remedy = REMEDIES.iter().find(|(known, _)| *known == reason);
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
