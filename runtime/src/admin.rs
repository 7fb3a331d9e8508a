//! The admin port: `/livez`, `/readyz` and `/metrics`.
//!
//! It has a thread and a runtime of its own, and never logs: it answers while every other thread of the process is stuck.

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Prints the metrics in the text format of OpenMetrics.
type Metrics = Arc<dyn Fn() -> Result<String, fmt::Error> + Send + Sync>;

#[derive(Clone)]
struct Page {
    health: Health,
    metrics: Metrics,
}

/// Every metric of a registry in the text format of OpenMetrics.
///
/// # Errors
///
/// A collector cannot print what it has.
pub fn exposed(registry: &Registry) -> Result<String, fmt::Error> {
    let mut text = String::new();
    text::encode(&mut text, registry)?;
    Ok(text)
}

/// The running admin port. It closes when this is dropped.
#[derive(Debug)]
pub struct Admin {
    stop: CancellationToken,
    ended: oneshot::Receiver<io::Result<()>>,
}

/// Serves the admin port until [`Admin::stop`].
///
/// # Errors
///
/// The listener cannot be used, or no thread can be started.
pub fn serve(
    listener: TcpListener,
    health: Health,
    metrics: impl Fn() -> Result<String, fmt::Error> + Send + Sync + 'static,
) -> io::Result<Admin> {
    listener.set_nonblocking(true)?;
    let page = Page { health, metrics: Arc::new(metrics) };
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let stop = CancellationToken::new();
    let (told, ended) = oneshot::channel();
    let stopped = stop.clone();
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router(page)).with_graceful_shutdown(stopped.cancelled_owned()).await
        });
        // Fails only when nobody wants to know any more.
        drop(told.send(served));
    })?;
    Ok(Admin { stop, ended })
}

impl Admin {
    /// Waits until the port is closed, which it is only by a fault. May be dropped at any wait.
    pub async fn ended(&mut self) -> String {
        match (&mut self.ended).await {
            Ok(Err(error)) => format!("the admin port has ended: {error}"),
            Ok(Ok(())) | Err(_) => "the admin port has ended".to_owned(),
        }
    }

    /// Closes the port once what it has begun to answer is answered.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // What it ends with does not matter any more.
        drop((&mut self.ended).await);
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn router(page: Page) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(exposition))
        .with_state(page)
}

async fn livez(State(page): State<Page>) -> Response {
    verdict("stuck", &page.health.stuck())
}

async fn readyz(State(page): State<Page>) -> Response {
    verdict("missing", &page.health.missing())
}

/// 200 where there is nothing to say against it, 503 with a line for each thing that is.
fn verdict(word: &str, problems: &[String]) -> Response {
    if problems.is_empty() {
        return (StatusCode::OK, "ok\n").into_response();
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("{word}: {problem}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines.concat()).into_response()
}

async fn exposition(State(page): State<Page>) -> Response {
    const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match (page.metrics)() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_while_the_runtime_is_blocked_and_names_what_is_missing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::default();
        let admin = serve(listener, health.clone(), || Ok("nimfleet 1\n".to_owned())).unwrap();
        // This test's runtime has one thread, which the questions block.
        assert!(ask(address, "/livez").starts_with("HTTP/1.0 200"));
        assert!(ask(address, "/metrics").ends_with("nimfleet 1\n"));
        assert!(ask(address, "/readyz").starts_with("HTTP/1.0 200"));
        health.lacks("cache of NIMCache", "");
        let answer = ask(address, "/readyz");
        assert!(
            answer.starts_with("HTTP/1.0 503") && answer.ends_with("missing: cache of NIMCache\n"),
            "{answer}"
        );
        admin.stop().await;
        assert!(TcpStream::connect(address).is_err(), "it is closed");
    }
}
