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

/// How far the hub has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Another replica leads.
    Standby,
    /// Reads its own state; spokes are told to come again.
    Syncing,
    /// Does its work.
    Ready,
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

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match *admin.stage.borrow() {
        // Ready to take over, which is all that a standby is for; its link port is closed until then.
        Stage::Standby => (StatusCode::OK, "standing by\n"),
        Stage::Syncing => (StatusCode::SERVICE_UNAVAILABLE, "the hub reads its own state\n"),
        Stage::Ready => (StatusCode::OK, "ok\n"),
        Stage::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the hub stops\n"),
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
    use axum::body::to_bytes;

    use super::*;
    use crate::link::Counters;

    #[tokio::test]
    async fn ready_only_while_working() {
        for (stage, code) in
            [(Stage::Standby, 200), (Stage::Syncing, 503), (Stage::Ready, 200), (Stage::Stopping, 503)]
        {
            let (_keep, receiver) = watch::channel(stage);
            let answer =
                readyz(State(Admin { stage: receiver, metrics: Metrics::new(&Counters::default()) })).await;
            assert_eq!(answer.0.as_u16(), code, "{stage:?}");
        }
    }

    #[tokio::test]
    async fn metrics_are_exposed() {
        let (_keep, stage) = watch::channel(Stage::Ready);
        let answer = exposition(State(Admin { stage, metrics: Metrics::new(&Counters::default()) }))
            .await
            .into_response();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("nimfleet_hub_connected_clusters 0"));
    }
}
