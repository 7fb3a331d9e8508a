//! The wait for the lease and its renewals, against an API server that is played and by a clock that is played.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::BoxError;

use super::*;
use crate::logs::captured;

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
        409 => "AlreadyExists",
        _ => "InternalError",
    };
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message});
    (code, body)
}

fn lease(holder: &str) -> (u16, Value) {
    let spec = json!({"holderIdentity": holder, "leaseDurationSeconds": 10});
    (
        200,
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a-lease"}, "spec": spec}),
    )
}

/// A claim of the pod `hub-0`.
fn claim(discipline: Discipline) -> Claim {
    Claim {
        name: "a-lease",
        namespace: "nimfleet".to_owned(),
        identity: Identity::new(Some("hub-0"), "me"),
        duration: Duration::from_secs(10),
        refused_for: REFUSED_FOR,
        discipline,
        words: Words {
            held: "this hub leads",
            waiting: "standing by",
            other: "another replica",
            loss: "this hub ends",
        },
    }
}

/// Does work by a clock that is played; what came of it and what the lease logged. Every test here logs to a subscriber of its
/// own: a line that is first written where there is none may be lost to all.
fn played<T>(work: impl Future<Output = T>) -> (T, Vec<Value>) {
    let mut outcome = None;
    let lines = captured(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        outcome = Some(runtime.unwrap().block_on(work));
    });
    let lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
    // Clients log too.
    let is_own = |line: &Value| line["target"].as_str().is_some_and(|target| target.starts_with("runtime"));
    (outcome.unwrap(), lines.filter(is_own).collect())
}

/// Waits for a lease, and says how long that took.
async fn waited(
    answer: impl Fn(&Method, u32) -> (u16, Value) + Send + Sync + 'static,
    claim: Claim,
) -> (Result<bool, LeaseError>, Duration) {
    let begun = Instant::now();
    let outcome = acquire(server(answer), claim, &CancellationToken::new()).await;
    (outcome.map(|held| held.is_some()), begun.elapsed())
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
    let ((outcome, _), lines) = played(waited(answer, claim(Discipline::WorksOn)));
    assert!(matches!(outcome, Ok(true)), "{outcome:?}");
    let warnings: Vec<_> = lines.iter().filter(|line| line["level"] == "WARN").collect();
    assert!(warnings.len() == 1 && warnings[0]["error"].as_str().unwrap().contains(NOT_FOUND), "{lines:?}");
    assert_eq!(lines.last().unwrap()["message"], "this hub leads", "{lines:?}");
}

#[test]
fn a_refusal_that_lasts_is_an_error_with_its_words() {
    let refusing = |_: &Method, _| status(403, NOT_FOUND);
    let ((outcome, took), _) = played(waited(refusing, claim(Discipline::WorksOn)));
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains(NOT_FOUND) && error.contains("as the chart does"), "{error}");
    assert!(took >= REFUSED_FOR && took < REFUSED_FOR + Duration::from_secs(1), "{took:?}");
    // By hand, nothing is to be waited for.
    let by_hand = Claim { refused_for: Duration::ZERO, ..claim(Discipline::WorksOn) };
    let ((outcome, took), _) = played(waited(refusing, by_hand));
    assert!(matches!(outcome, Err(LeaseError::Forbidden { .. })) && took.is_zero(), "{outcome:?}");
}

#[test]
fn two_that_make_the_lease_at_once_are_no_fault() {
    let answer = |method: &Method, number: u32| match (method, number) {
        (&Method::GET, 0) => status(404, "not found"),
        (&Method::POST, _) => status(409, "leases \"a-lease\" already exists"),
        _ => lease("hub-1_other"),
    };
    let waiting = waited(answer, claim(Discipline::WorksOn));
    let (outcome, lines) = played(async { tokio::time::timeout(Duration::from_secs(3), waiting).await });
    assert!(outcome.is_err(), "{outcome:?}");
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
    let said: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["standing by: another replica was faster to write the lease", "standing by"]);
    assert_eq!(lines[1]["holder"], "hub-1_other");
}

#[test]
fn the_lease_of_the_pods_last_process_is_taken_at_once_and_that_of_another_pod_is_not() {
    let held_by = |holder: &'static str| {
        move |method: &Method, _| lease(if *method == Method::GET { holder } else { "hub-0_me" })
    };
    let ((outcome, took), _) = played(waited(held_by("hub-0_before"), claim(Discipline::WorksOn)));
    assert!(matches!(outcome, Ok(true)) && took < Duration::from_secs(1), "{outcome:?} after {took:?}");
    let ((outcome, took), _) = played(waited(held_by("hub-1_before"), claim(Discipline::WorksOn)));
    assert!(matches!(outcome, Ok(true)) && took >= Duration::from_secs(10), "{outcome:?} after {took:?}");
}

/// A process of the same pod that has it a moment after it was taken is no earlier one.
#[test]
fn what_was_just_taken_and_is_another_process_of_the_pods_is_lost() {
    let answer = |method: &Method, number: u32| match (method, number) {
        (&Method::GET, 0) => status(404, "not found"),
        (&Method::GET, _) => lease("hub-0_next"),
        _ => lease("hub-0_me"),
    };
    let keeping = async {
        let held = acquire(server(answer), claim(Discipline::WorksOn), &CancellationToken::new()).await;
        let kept = held.unwrap().unwrap().keep(CancellationToken::new());
        tokio::time::timeout(Duration::from_mins(1), kept).await.expect("it ends")
    };
    let (kept, _) = played(keeping);
    assert_eq!(kept.unwrap_err().to_string(), "Lease nimfleet/a-lease: lost to hub-0_next: this hub ends");
}

#[test]
fn a_renewal_that_failed_is_tried_again_before_the_next_is_due_and_the_fence_closes_with_the_end() {
    let fence = Fence::closed();
    let one_writer = Discipline::OneWriter { fence: fence.clone(), trusted: Duration::from_secs(8) };
    for (discipline, has_fence) in [(one_writer, true), (Discipline::WorksOn, false)] {
        let (seen, mut looks) = mpsc::unbounded_channel();
        let answer = move |method: &Method, number: u32| {
            let is_away = (2..8).contains(&number);
            seen.send((*method == Method::GET, Instant::now())).unwrap();
            if is_away { status(500, "etcd is away") } else { lease("hub-0_me") }
        };
        let keeping = async {
            let held = acquire(server(answer), claim(discipline), &CancellationToken::new()).await;
            assert_eq!(fence.is_open(), has_fence);
            let stop = CancellationToken::new();
            let stopping = async {
                tokio::time::sleep(Duration::from_secs(10)).await;
                stop.cancel();
            };
            tokio::join!(held.unwrap().unwrap().keep(stop.clone()), stopping).0
        };
        let (kept, lines) = played(keeping);
        assert!(kept.is_ok() && !fence.is_open(), "{kept:?}");
        let warnings = lines.iter().filter(|line| line["level"] == "WARN").count();
        assert_eq!(warnings, 1, "told once: {lines:?}");
        let mut reads = Vec::new();
        while let Ok((is_read, at)) = looks.try_recv() {
            reads.extend(is_read.then_some(at));
        }
        let pauses: Vec<_> = reads.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
        let expected = [2000, 500, 500, 500, 500, 500, 500, 2000, 2000];
        assert_eq!(pauses[..expected.len()], expected, "{pauses:?}");
    }
}
