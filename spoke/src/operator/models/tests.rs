//! Endpoints as they are met: right, of another kind, silent, talkative, wrong.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::operator::engine::child::Owner;

async fn serve(address: &str, router: Router) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn ask(base: &str) -> Result<String, fetch::FetchError> {
    fetch::name(base, None, || async { panic!("no token is made for what answers without one") }).await
}

fn listing(text: &'static str) -> Router {
    Router::new().route("/v1/models", get(move || async move { text }))
}

#[tokio::test]
async fn accept_model_status_query_falls_back_to_metadata() {
    let models = r#"{"object": "list", "data": [{"id": "meta/llama"}]}"#;
    let at = serve("127.0.0.1:0", listing(models)).await;
    assert_eq!(ask(&format!("http://{at}")).await.unwrap(), "meta/llama");

    let metadata = r#"{"modelInfo": [{"shortName": "riva:1"}]}"#;
    let router = Router::new().route("/v1/metadata", get(move || async move { metadata }));
    let at = serve("127.0.0.1:0", router).await;
    assert_eq!(ask(&format!("http://{at}/")).await.unwrap(), "riva");

    let at = serve("127.0.0.1:0", Router::new()).await;
    assert_eq!(ask(&format!("http://{at}")).await.unwrap(), "", "neither page: no name");
}

#[tokio::test]
async fn b09_an_ipv6_endpoint_is_asked_with_brackets() {
    let models = r#"{"object": "list", "data": [{"id": "six"}]}"#;
    let at = serve("[::1]:0", listing(models)).await;
    let endpoint = format!("[::1]:{}", at.port());
    assert_eq!(ask(&format!("http://{endpoint}")).await.unwrap(), "six");
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
        let problem = ask(&format!("http://{at}")).await.unwrap_err().to_string();
        assert!(problem.contains(words) && problem.contains("/v1/models"), "{problem}");
    }
}

#[tokio::test]
async fn nobody_waits_and_an_answer_wakes() {
    let at = serve("127.0.0.1:0", listing(r#"{"object": "list", "data": [{"id": "m"}]}"#)).await;
    let (waker, mut queues) = Waker::new(["NIMService"].into_iter());
    let woken = queues.remove("NIMService").unwrap();
    let models = Models::new(waker, Tokens::default(), None);
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
        known_for: std::time::Duration::MAX,
        now,
    };
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Asking);
    assert_eq!(woken.take().await.name, "llama");
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Served("m".into()));
    models.forget("u");
    assert_eq!(models.ask(&subject, &at.to_string()), Answer::Asking, "what it serves next may be another");
}

/// A server over TLS that answers who shows this token, and tells what was shown to it; and its certificate.
async fn guarded(expected: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>, String) {
    let made =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.is_ok_and(|read| read > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let token =
                head.lines().find_map(|line| line.strip_prefix("authorization: bearer ")).unwrap_or_default();
            seen.lock().unwrap().push(token.to_owned());
            let (status, body) = if token == expected {
                ("200 OK", r#"{"object": "list", "data": [{"id": "guarded"}]}"#)
            } else {
                ("401 Unauthorized", "")
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (at, shown, made.cert.pem())
}

#[tokio::test]
async fn a_model_is_shown_a_token_made_for_it_and_only_when_it_wants_one() {
    let (at, shown, certificate) = guarded("made-for-it").await;
    let file = std::env::temp_dir().join(format!("nimfleet-model-ca-{}.pem", at.port()));
    std::fs::write(&file, certificate).unwrap();
    let base = format!("https://{at}");
    let name = fetch::name(&base, Some(&file), || async { Ok("made-for-it".to_owned()) }).await.unwrap();
    assert_eq!(name, "guarded");
    assert_eq!(*shown.lock().unwrap(), ["", "made-for-it"], "nothing is shown before it is asked for");

    // Without a token it is told what is missing, and nothing is shown.
    shown.lock().unwrap().clear();
    let problem = fetch::name(&base, Some(&file), || async { Err("set rbac.modelTokens".to_owned()) })
        .await
        .unwrap_err();
    let problem = problem.to_string();
    assert!(
        problem.contains("HTTP 401") && problem.contains("wants a token: set rbac.modelTokens"),
        "{problem}"
    );
    assert_eq!(*shown.lock().unwrap(), [""]);

    // Whoever cannot prove that it is the model is not even asked.
    shown.lock().unwrap().clear();
    fetch::name(&base, None, || async { Ok("made-for-it".to_owned()) }).await.unwrap_err();
    assert!(shown.lock().unwrap().is_empty());
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn over_plain_http_no_token_is_shown() {
    let guarded = Router::new().route("/v1/models", get(|| async { StatusCode::UNAUTHORIZED }));
    let at = serve("127.0.0.1:0", guarded).await;
    let problem = ask(&format!("http://{at}")).await.unwrap_err().to_string();
    assert!(problem.contains("HTTP 401"), "{problem}");
}
