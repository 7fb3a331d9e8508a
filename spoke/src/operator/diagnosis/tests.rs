//! What programs and kubelets say when a download goes wrong.

use serde_json::json;

use super::*;
use crate::operator::engine::kind::Again;

fn failed(reason: &str, code: i64, message: &str) -> Value {
    json!({"status": {"phase": "Failed", "containerStatuses": [
        {"name": "nim-cache-ctr", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}]}})
}

#[test]
fn accept_nimcache_failures_have_reasons_of_their_own() {
    for (reason, text) in [
        (
            "AuthenticationFailed",
            "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/meta-llama/Llama-3.2-1B",
        ),
        (
            "AuthenticationFailed",
            "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo for url https://huggingface.co/meta-llama/x/resolve/main/config.json. Access to model meta-llama/x is restricted",
        ),
        (
            "AuthenticationFailed",
            "nimlib.exceptions.ManifestDownloadError: Error downloading manifest: Authentication Error",
        ),
        ("AuthenticationFailed", "Error: request failed with HTTP 403: {\"error\":\"Invalid API Key\"}"),
        (
            "SourceUnreachable",
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api/models/x (Caused by NameResolutionError(\"Failed to resolve 'huggingface.co' ([Errno -2] Name or service not known)\"))",
        ),
        (
            "SourceUnreachable",
            "error sending request for url (https://api.ngc.nvidia.com/v2/models): error trying to connect: dns error: failed to lookup address information: Temporary failure in name resolution",
        ),
        ("SourceUnreachable", "dial tcp 10.0.0.1:8000: connect: connection refused"),
        (
            "CertificateUntrusted",
            "requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1007)')))",
        ),
        ("CertificateUntrusted", "invalid peer certificate: UnknownIssuer"),
        (
            "ProxyFailed",
            "urllib3.exceptions.MaxRetryError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: / (Caused by ProxyError('Unable to connect to proxy', OSError('Tunnel connection failed: 403 Forbidden')))",
        ),
        ("DiskFull", "OSError: [Errno 28] No space left on device: '/model-store/huggingface/hub/models--x'"),
        ("DiskFull", "I/O error: No space left on device (os error 28)"),
        (
            "UnknownProfile",
            "ValueError: Invalid profile: 8835c31752fbc67ef658b20a9f78e056914fdef0660206d82f252d62fd96064d",
        ),
        (
            "ModelNotFound",
            "huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. Revision Not Found for url: https://huggingface.co/api/models/x/revision/v9.",
        ),
        ("OutOfMemory", "MemoryError"),
        ("DownloadFailed", "something nobody has seen before"),
        ("DownloadFailed", ""),
    ] {
        let why = ended(&failed("Error", 1, text)).unwrap();
        assert_eq!(why.reason, reason, "{text}");
        assert!(why.message.starts_with("exit code 1"), "{}", why.message);
    }
}

#[test]
fn the_kubelets_own_reasons_are_read() {
    assert_eq!(ended(&failed("OOMKilled", 137, "")).unwrap().reason, "OutOfMemory");
    assert_eq!(
        ended(&failed("Error", 127, "sh: 1: huggingface-cli: not found")).unwrap().reason,
        "ProgramMissing"
    );
    let start = "failed to create containerd task: exec: \"download-to-cache\": executable file not found in $PATH: unknown";
    assert_eq!(ended(&failed("StartError", 128, start)).unwrap().reason, "ProgramMissing");
    let evicted = json!({"status": {"phase": "Failed", "reason": "Evicted", "message": "low on resource: ephemeral-storage"}});
    assert_eq!(ended(&evicted).unwrap().reason, "Evicted");
    assert_eq!(ended(&failed("Completed", 0, "")), None);
    assert_eq!(ended(&json!({})), None);
}

#[test]
fn a_pod_that_does_not_run_says_why() {
    let waits = |reason: &str, message: &str| json!({"spec": {"nodeName": "gpu-1"}, "status": {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}}]}});
    let nowhere = json!({"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}});
    let denied = "Back-off pulling image \"nvcr.io/x\": ErrImagePull: unauthorized: 401 Unauthorized";
    for (pod, reason, message) in [
        (waits("ErrImagePull", "denied"), "ImagePullBackOff", "pullSecret"),
        (waits("ImagePullBackOff", denied), "ImagePullBackOff", "401"),
        (waits("ContainerCreating", ""), "ContainerCreating", "gpu-1 pulls"),
        (
            waits("CreateContainerConfigError", "secret \"ngc\" not found"),
            "CreateContainerConfigError",
            "ngc",
        ),
        (nowhere, "Unschedulable", "0/3"),
        (json!({}), "PodPending", "not started"),
    ] {
        let why = waiting(&pod).unwrap();
        assert_eq!(why.reason, reason);
        assert!(why.message.contains(message), "{}", why.message);
    }
    assert_eq!(waiting(&json!({"status": {"phase": "Running"}})), None);
}

#[test]
fn a_refusal_for_quota_is_told_apart() {
    let quota =
        "pods \"c-pod\" is forbidden: exceeded quota: team, requested: cpu=4, used: cpu=8, limited: cpu=8";
    assert_eq!(refused(&Failure::new("PodFailed", quota)).reason, "QuotaExceeded");
    let other = Failure::new("PodFailed", "no answer");
    assert_eq!(refused(&other), other);
}

#[test]
fn a_long_log_is_cut_to_its_end() {
    let log = format!("{}\nfinally: MemoryError", "downloading ".repeat(500));
    let message = ended(&failed("Error", 1, &log)).unwrap().message;
    assert!(message.contains("finally: MemoryError") && message.chars().count() < 520, "{message}");
}

#[test]
fn reasons_can_be_reasons_of_conditions() {
    for reason in SAID.iter().chain(&[(IMAGE, &[][..])]).map(|(reason, _)| reason) {
        assert!(reason.chars().all(|c| c.is_ascii_alphabetic()));
        assert!(REMEDIES.iter().any(|(known, _)| known == reason), "{reason} has no remedy");
    }
}

#[allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]
fn serving(name: &str, second: i64, status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "models", "uid": name,
            "creationTimestamp": Timestamp::from_second(second).unwrap(),
            "labels": {"app": "chat", "app.kubernetes.io/instance": "chat", "app.kubernetes.io/part-of": "nim-service"},
        },
        "status": status,
    })
}

#[allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]
fn container(more: Value) -> Value {
    let mut container = json!({"name": "chat-ctr", "ready": false, "restartCount": 0});
    container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"phase": "Running", "containerStatuses": [container]})
}

const KINDS: Kinds = &[("nim-service", "NIMService")];

#[test]
fn what_keeps_a_serving_pod_from_starting_is_told_in_the_words_of_its_kubelet() {
    let waits = |reason: &str, message: &str| {
        container(json!({"state": {"waiting": {"reason": reason, "message": message}}}))
    };
    let ended = |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": "no licence"}});
    let crashed = |more: Value| {
        let mut all = json!({"restartCount": 4, "lastState": ended(1, "Error")});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        container(all)
    };
    let runs = json!({"state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}}});
    let unscheduled = |reason: &str| json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes"}]});
    for (status, reason, words) in [
        (
            waits("ImagePullBackOff", "Back-off pulling image"),
            IMAGE,
            "ImagePullBackOff: Back-off pulling image",
        ),
        (
            waits("ErrImagePull", "not found"),
            IMAGE,
            "ErrImagePull: not found (check the name and tag of spec.image",
        ),
        (waits("InvalidImageName", "bad"), "InvalidImageName", "InvalidImageName: bad"),
        (
            waits("CreateContainerConfigError", "couldn't find key K"),
            "CreateContainerConfigError",
            "couldn't find key K",
        ),
        (
            crashed(json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}})),
            CRASH,
            "exit code 1, restarted 4 times; its last words: no licence",
        ),
        (crashed(runs.clone()), CRASH, "CrashLoopBackOff: container chat-ctr ended with exit code 1"),
        (
            crashed(json!({"state": {}, "lastState": ended(137, "OOMKilled")})),
            MEMORY,
            "OOMKilled: container chat-ctr ended with exit code 137",
        ),
        (unscheduled("Unschedulable"), UNSCHEDULABLE, "0/3 nodes"),
        (unscheduled("SchedulingGated"), GATED, "SchedulingGated: "),
        (
            json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
            "Evicted",
            "Evicted: low on memory",
        ),
    ] {
        let why = hindrance(&json!({"status": status}), Purpose::Serving).unwrap();
        assert_eq!(why.reason, reason, "{status}");
        assert!(why.message.contains(words), "{} lacks {words}", why.message);
    }
    let was_ready = |mut status: Value| {
        status["conditions"] =
            json!([{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-02T00:00:00Z"}]);
        status
    };
    for status in [
        waits("ContainerCreating", ""),
        waits("PodInitializing", ""),
        container(runs.clone()),
        was_ready(crashed(runs)),
    ] {
        assert_eq!(hindrance(&json!({"status": status}), Purpose::Serving), None, "{status}");
    }
    let queued = json!({"metadata": {"labels": {QUEUE: "gpus"}}, "status": unscheduled("SchedulingGated")});
    assert!(
        hindrance(&queued, Purpose::Serving)
            .unwrap()
            .message
            .contains("Kueue has not admitted it to queue gpus")
    );
}

#[test]
fn pods_are_known_by_the_object_that_they_serve_until_they_are_ready() {
    let status = |ready: &str| json!({"conditions": [{"type": "Ready", "status": ready}]});
    let mut picker = serving("chat-epp-1", 1, status("False"));
    picker["metadata"]["labels"]["app"] = json!("chat-epp");
    let mut stranger = serving("x", 1, status("False"));
    stranger["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("other");
    let pods = Pods::seen(
        KINDS,
        &[serving("b", 2, status("False")), serving("a", 9, status("False")), picker, stranger],
    );
    let names = |pods: &Pods| {
        pods.of("NIMService", "models", "chat").into_iter().map(|pod| pod.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&pods), ["b", "a"], "the oldest first");
    let pods = Pods::seen(KINDS, &[serving("b", 2, status("False")), serving("b", 2, status("True"))]);
    assert_eq!(names(&pods), Vec::<String>::new());
}

#[test]
fn the_two_words_of_the_kubelet_for_an_image_are_one() {
    let says = |reason: &str| {
        serving("a", 1, container(json!({"state": {"waiting": {"reason": reason, "message": "m"}}})))
    };
    let pods = Pods::seen(KINDS, &[says("ImagePullBackOff"), says("ErrImagePull")]);
    let why = pods.of("NIMService", "models", "chat")[0].hindrance.clone().unwrap();
    assert!(why.message.starts_with("ImagePullBackOff: m"), "{}", why.message);
}

#[test]
fn the_workload_tells_first_then_the_worst_of_its_pods() {
    let full = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
    let pulls = container(json!({"state": {"waiting": {"reason": "ErrImagePull", "message": "m"}}}));
    let pods =
        Pods::seen(KINDS, &[serving("a", 1, full), serving("b", 2, pulls.clone()), serving("c", 3, pulls)]);
    let diagnosis = Diagnosis::of(pods.of("NIMService", "models", "chat"), Timestamp::UNIX_EPOCH);
    let why = diagnosis.why(&Value::Null).unwrap();
    assert_eq!(why.reason, IMAGE);
    assert!(why.message.ends_with("(pod b and another one)"), "{}", why.message);
    let refused = "pods \"chat-1\" is forbidden: exceeded quota: q";
    let deployment =
        json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": refused}]}});
    let why = diagnosis.why(&deployment).unwrap();
    assert_eq!(why.reason, NOT_CREATED);
    assert!(
        why.message.starts_with(refused) && why.message.contains("raise the ResourceQuota"),
        "{}",
        why.message
    );
}

#[test]
fn pods_that_no_admission_lets_pass_are_not_created() {
    let standard =
        "create Pod c-pod: pods \"c-pod\" is forbidden: violates PodSecurity \"restricted:latest\"";
    assert_eq!(refused(&Failure::new("PodFailed", standard)).reason, NOT_CREATED);
    assert_eq!(refused(&Failure::new("RoleFailed", standard)).reason, "RoleFailed", "that is no pod");
}

#[test]
fn while_a_pod_leaves_the_node_that_it_frees_is_waited_for() {
    let full = json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]});
    let mut old = serving("old", 1, json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    old["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
    let pods = Pods::seen(KINDS, &[old, serving("new", 2, full)]).of("NIMService", "models", "chat");
    let at = |second: &str| format!("2026-01-01T00:01:{second}Z").parse().unwrap();
    let early = Diagnosis::of(pods.clone(), at("10"));
    assert_eq!(early.why(&Value::Null), None);
    assert_eq!(early.again(), Again::After(std::time::Duration::from_secs(20)));
    let late = Diagnosis::of(pods, at("30"));
    assert_eq!(late.why(&Value::Null).map(|why| why.reason).as_deref(), Some(UNSCHEDULABLE));
}

#[test]
fn a_pod_that_no_scheduler_looks_at_says_so() {
    let waits = |more: Value| {
        let mut pod = serving("chat-a", 0, json!({"phase": "Pending"}));
        pod["spec"]["schedulerName"] = json!("volcano");
        for (field, value) in more.as_object().cloned().unwrap_or_default() {
            pod["spec"][field] = value;
        }
        let pods = Pods::seen(KINDS, &[pod]).of("NIMService", "models", "chat");
        let created = pods[0].created.unwrap();
        move |second| Diagnosis::of(pods.clone(), created + jiff::SignedDuration::from_secs(second))
    };
    let unseen = waits(json!({}));
    let early = unseen(10);
    assert_eq!(
        (early.why(&Value::Null), early.again()),
        (None, Again::After(std::time::Duration::from_secs(20)))
    );
    let why = unseen(30).why(&Value::Null).unwrap();
    assert_eq!(why.reason, "NotScheduled");
    assert!(
        why.message.contains("scheduler volcano") && why.message.contains("pod chat-a"),
        "{}",
        why.message
    );
    assert_eq!(unseen(30).again(), Again::No, "the pod's watch tells what follows");
    assert_eq!(
        waits(json!({"nodeName": "n"}))(60).why(&Value::Null),
        None,
        "its kubelet's events are asked for"
    );
}
