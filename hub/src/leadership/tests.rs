//! The wait for the lease, against an API server that is played.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;
use crate::audit::tests::written;

/// An API server that answers a request by its method and its number, from 0.
fn server(answer: impl Fn(&Method, u32) -> (u16, Value) + Send + Sync + 'static) -> kube::Client {
    let (answer, count) = (Arc::new(answer), AtomicU32::new(0));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, body) = answer(request.method(), count.fetch_add(1, Ordering::Relaxed));
        let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
        async { response.map_err(BoxError::from) }
    });
    kube::Client::new(service, "nimfleet")
}

fn status(code: u16, message: &str) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        _ => "AlreadyExists",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, body)
}

fn lease(holder: &str) -> (u16, Value) {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 10});
    (
        200,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": spec}),
    )
}

/// Waits for the lease for so long by a clock that is played; what came of it and what was logged.
fn waited(
    answer: impl Fn(&Method, u32) -> (u16, Value) + Send + Sync + 'static,
    most: Duration,
) -> (Option<Result<bool, LeaseError>>, Vec<Value>) {
    let mut outcome = None;
    let lines = written(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        outcome = runtime.unwrap().block_on(async {
            let (identity, cancel) = (Identity::new(Some("hub-0"), "me"), CancellationToken::new());
            let waiting = acquire(server(answer), "nimfleet", identity, &cancel);
            let waited = tokio::time::timeout(most, waiting).await.ok()?;
            Some(waited.map(|held| held.is_some()))
        });
    });
    // Clients log too.
    let is_own = |line: &Value| line["target"].as_str().is_some_and(|target| target.starts_with("hub"));
    (outcome, lines.into_iter().filter(is_own).collect())
}

const NOT_FOUND: &str =
    r#"leases is forbidden: RBAC: role.rbac.authorization.k8s.io "nimfleet-hub" not found"#;

#[test]
fn a_refusal_of_an_api_server_that_has_just_started_is_waited_out() {
    // Two looks a second: a minute of refusals, then a lease to make.
    let answer = |method: &Method, number: u32| match method {
        _ if number < 120 => status(403, NOT_FOUND),
        &Method::GET => status(404, "not found"),
        _ => lease("hub-0_me"),
    };
    let (outcome, lines) = waited(answer, Duration::from_mins(2));
    assert!(matches!(outcome, Some(Ok(true))), "{outcome:?}");
    let warnings: Vec<_> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    assert!(warnings.len() == 1 && warnings[0]["error"].as_str().unwrap().contains(NOT_FOUND), "{lines:?}");
}

#[test]
fn a_refusal_that_lasts_is_an_error_with_its_words() {
    let (outcome, _) = waited(|_, _| status(403, NOT_FOUND), REFUSED_FOR + Duration::from_mins(1));
    let Some(Err(error)) = outcome else { panic!("{outcome:?}") };
    assert!(
        error.to_string().contains(NOT_FOUND) && error.to_string().contains("as the chart does"),
        "{error}"
    );
    let (outcome, _) = waited(|_, _| status(403, NOT_FOUND), Duration::from_mins(4));
    assert!(outcome.is_none(), "{outcome:?}");
}

#[test]
fn two_that_make_the_lease_at_once_are_no_fault() {
    let answer = |method: &Method, number: u32| match (method, number) {
        (&Method::GET, 0) => status(404, "not found"),
        (&Method::POST, _) => status(409, "leases \"nimfleet-hub\" already exists"),
        _ => lease("hub-1_other"),
    };
    let (outcome, lines) = waited(answer, Duration::from_secs(3));
    assert!(outcome.is_none(), "{outcome:?}");
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
    let said: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["standing by: another replica was faster to write the lease", "standing by"]);
    assert_eq!(lines[1]["leader"], "hub-1_other");
}
