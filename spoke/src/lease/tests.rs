//! The wait for the lease, against an API server that is played.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

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

fn refused() -> (u16, Value) {
    let message = r#"leases is forbidden: RBAC: role.rbac.authorization.k8s.io "nimfleet-spoke" not found"#;
    (
        403,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden", "message": message}),
    )
}

fn lease(holder: &str) -> (u16, Value) {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 6});
    (
        200,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}, "spec": spec}),
    )
}

/// Waits for the lease, by a clock that is played, and says how long that took.
async fn waited(client: kube::Client, refused_for: Duration) -> (Result<bool, LeaseError>, Duration) {
    let (identity, cancel) = (Identity::new(Some("spoke-0"), "me"), CancellationToken::new());
    let begun = Instant::now();
    let outcome = acquire(client, "nimfleet", identity, refused_for, &cancel).await;
    (outcome.map(|held| held.is_some()), begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_an_api_server_that_has_just_started_is_waited_out_in_a_pod() {
    let answer = |_: &Method, number| if number < 120 { refused() } else { lease("spoke-0_me") };
    let (outcome, took) = waited(server(answer), REFUSED_FOR).await;
    assert!(matches!(outcome, Ok(true)) && took >= Duration::from_mins(1), "{outcome:?} after {took:?}");
    let (outcome, took) = waited(server(|_, _| refused()), REFUSED_FOR).await;
    assert!(matches!(outcome, Err(LeaseError::Forbidden { .. })) && took >= REFUSED_FOR, "{outcome:?}");
    // By hand, nothing is to be waited for.
    let (outcome, took) = waited(server(answer), Duration::ZERO).await;
    assert!(matches!(outcome, Err(LeaseError::Forbidden { .. })) && took.is_zero(), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_the_pods_last_process_is_taken_at_once_and_that_of_another_pod_is_not() {
    let held_by = |holder: &'static str| {
        server(move |method, _| lease(if *method == Method::GET { holder } else { "spoke-0_me" }))
    };
    let (outcome, took) = waited(held_by("spoke-0_before"), REFUSED_FOR).await;
    assert!(matches!(outcome, Ok(true)) && took < Duration::from_secs(1), "{outcome:?} after {took:?}");
    let (outcome, took) = waited(held_by("spoke-1_before"), REFUSED_FOR).await;
    assert!(matches!(outcome, Ok(true)) && took >= DURATION, "{outcome:?} after {took:?}");
}
