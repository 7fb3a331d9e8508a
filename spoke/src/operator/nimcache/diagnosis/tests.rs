//! What programs and kubelets say when a download goes wrong.

use serde_json::json;

use super::*;

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
        (waits("ErrImagePull", "denied"), "ImagePullFailed", "pullSecret"),
        (waits("ImagePullBackOff", denied), "ImagePullFailed", "401"),
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
    let other = Failure::new("PodFailed", "forbidden");
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
    for reason in SAID.iter().chain(&[("ImagePullFailed", &[][..])]).map(|(reason, _)| reason) {
        assert!(reason.chars().all(|c| c.is_ascii_alphabetic()));
        assert!(REMEDIES.iter().any(|(known, _)| known == reason), "{reason} has no remedy");
    }
}
