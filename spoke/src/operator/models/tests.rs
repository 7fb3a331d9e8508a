//! Endpoints as they are met: right, of another kind, silent, talkative, wrong.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use super::*;
use crate::operator::engine::child::Owner;

async fn serve(address: &str, router: Router) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn listing(text: &'static str) -> Router {
    Router::new().route("/v1/models", get(move || async move { text }))
}

#[tokio::test]
async fn accept_model_status_query_falls_back_to_metadata() {
    let models = r#"{"object": "list", "data": [{"id": "meta/llama"}]}"#;
    let at = serve("127.0.0.1:0", listing(models)).await;
    assert_eq!(fetch::name(&format!("http://{at}")).await.unwrap(), "meta/llama");

    let metadata = r#"{"modelInfo": [{"shortName": "riva:1"}]}"#;
    let router = Router::new().route("/v1/metadata", get(move || async move { metadata }));
    let at = serve("127.0.0.1:0", router).await;
    assert_eq!(fetch::name(&format!("http://{at}/")).await.unwrap(), "riva");

    let at = serve("127.0.0.1:0", Router::new()).await;
    assert_eq!(fetch::name(&format!("http://{at}")).await.unwrap(), "", "neither page: no name");
}

#[tokio::test]
async fn b09_an_ipv6_endpoint_is_asked_with_brackets() {
    let models = r#"{"object": "list", "data": [{"id": "six"}]}"#;
    let at = serve("[::1]:0", listing(models)).await;
    let endpoint = format!("[::1]:{}", at.port());
    assert_eq!(fetch::name(&format!("http://{endpoint}")).await.unwrap(), "six");
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let garbled = serve("127.0.0.1:0", listing("<html>")).await;
    let other = serve("127.0.0.1:0", listing(r#"{"object": "error"}"#)).await;
    let broken = Router::new().route("/v1/models", get(|| async { StatusCode::SERVICE_UNAVAILABLE }));
    let broken = serve("127.0.0.1:0", broken).await;
    let endless = "x".repeat(2 * 1024 * 1024);
    let endless = Router::new().route("/v1/models", get(move || async move { endless }));
    let endless = serve("127.0.0.1:0", endless).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (at, words) in [
        (garbled, "not a list of models"),
        (other, "not a list of models"),
        (broken, "HTTP 503"),
        (endless, "not a list of models"),
        (closed, "refused"),
    ] {
        let problem = fetch::name(&format!("http://{at}")).await.unwrap_err().to_string();
        assert!(problem.contains(words) && problem.contains("/v1/models"), "{problem}");
    }
}

#[tokio::test]
async fn nobody_waits_and_an_answer_wakes() {
    let at = serve("127.0.0.1:0", listing(r#"{"object": "list", "data": [{"id": "m"}]}"#)).await;
    let (waker, mut queues) = Waker::new(["NIMService"].into_iter());
    let woken = queues.remove("NIMService").unwrap();
    let models = Models::new(waker);
    let owner = Owner {
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "models".into(),
        name: "llama".into(),
        uid: "u".into(),
        generation: 1,
    };
    let now = jiff::Timestamp::from_second(100).unwrap();
    let subject = Subject {
        owner,
        status: serde_json::Value::Null,
        annotations: std::collections::BTreeMap::default(),
        now,
    };
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Asking);
    assert_eq!(woken.take().await.name, "llama");
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Served("m".into()));
    models.forget("u");
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Asking, "what it serves next may be another");
}
