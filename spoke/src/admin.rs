//! The admin port: `/livez`, `/readyz` and `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How far the spoke has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waits for another instance to give up its lease.
    Waiting,
    /// Fills its caches.
    Syncing,
    /// Does its work.
    Ready,
    /// Does no work of an operator, for this reason.
    Refused(String),
    /// Stops.
    Stopping,
}

#[derive(Clone)]
struct Admin {
    stage: watch::Receiver<Stage>,
    metrics: Metrics,
}

/// Serves the admin port until cancelled.
pub async fn serve(
    listener: TcpListener,
    stage: watch::Receiver<Stage>,
    metrics: Metrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(Admin { stage, metrics });
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, String) {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    match &*admin.stage.borrow() {
        Stage::Waiting => unready("the spoke waits for its lease"),
        Stage::Syncing => unready("the spoke fills its caches"),
        Stage::Ready => (StatusCode::OK, "ok\n".to_owned()),
        Stage::Refused(why) => unready(why),
        Stage::Stopping => unready("the spoke stops"),
    }
}

async fn exposition(State(admin): State<Admin>) -> impl IntoResponse {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match admin.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_only_while_working() {
        for (stage, code) in [
            (Stage::Waiting, 503),
            (Stage::Syncing, 503),
            (Stage::Ready, 200),
            (Stage::Refused("another operator".into()), 503),
            (Stage::Stopping, 503),
        ] {
            let (_keep, receiver) = watch::channel(stage.clone());
            let answer = readyz(State(Admin { stage: receiver, metrics: Metrics::default() })).await;
            assert_eq!(answer.0.as_u16(), code, "{stage:?}");
        }
    }
}
