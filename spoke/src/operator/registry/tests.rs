//! Registries as they are met: with tokens, indexes and blobs that lie elsewhere, and away.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::answer::{Challenge, challenge};
use super::reference::Reference;
use super::*;
use crate::operator::engine::child::Owner;

/// `u:p`
const LOGIN: &str = "Basic dTpw";

/// A registry that wants tokens, with the labels of its two platforms.
struct Fake {
    at: String,
    labels: [&'static str; 2],
}

fn digest(number: usize) -> String {
    format!("sha256:{number:064x}")
}

async fn answer(State(fake): State<Arc<Fake>>, headers: HeaderMap, uri: Uri) -> Response {
    let said = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(said("user-agent"), "nimfleet-spoke");
    let (path, at) = (uri.path(), &fake.at);
    if path == "/token" {
        assert_eq!(uri.query(), Some("scope=repository:nim/m:pull&service=fake"));
        let status = if said("authorization") == LOGIN { StatusCode::OK } else { StatusCode::FORBIDDEN };
        return (status, json!({"token": "t"}).to_string()).into_response();
    }
    if let Some(number) = path.strip_prefix("/elsewhere/") {
        assert!(!headers.contains_key("authorization"), "who asks is not told elsewhere");
        let label = fake.labels[number.parse::<usize>().unwrap()];
        let labels = json!({"com.nvidia.nim.model_download_protocol": label});
        return json!({"config": {"Labels": labels}}).to_string().into_response();
    }
    if said("authorization") != "Bearer t" {
        let wanted =
            format!("Bearer realm=\"http://{at}/token\",service=\"fake\",scope=\"repository:nim/m:pull\"");
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", wanted)]).into_response();
    }
    let path = path.strip_prefix("/v2/nim/m/").unwrap();
    let platform =
        |number: usize| json!({"digest": digest(number), "platform": {"os": "linux", "architecture": "a"}});
    let body: Value = match path {
        "manifests/1" => json!({"manifests": [
            platform(10), platform(11),
            {"digest": digest(12), "platform": {"os": "linux", "architecture": "a"},
                "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
            {"digest": digest(13), "platform": {"os": "unknown", "architecture": "unknown"}},
        ]}),
        "manifests/single" => json!({"config": {"digest": digest(20)}}),
        "manifests/old" => json!({"schemaVersion": 1}),
        _ => {
            for number in 0..2 {
                if path == format!("manifests/{}", digest(10 + number)) {
                    return json!({"config": {"digest": digest(20 + number)}}).to_string().into_response();
                }
                if path == format!("blobs/{}", digest(20 + number)) {
                    let to = [("location", format!("http://{at}/elsewhere/{number}"))];
                    return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
                }
            }
            return StatusCode::NOT_FOUND.into_response();
        }
    };
    body.to_string().into_response()
}

async fn registry(labels: [&'static str; 2]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let router = Router::new().fallback(answer).with_state(Arc::new(Fake { at: at.to_string(), labels }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

fn login(at: SocketAddr) -> Vec<Credential> {
    let config = json!({"auths": {at.to_string(): {"username": "u", "password": "p"}}});
    Credential::parse(config.to_string().as_bytes())
}

fn subject() -> Subject {
    let owner = Owner {
        api_version: "apps.nvidia.com/v1alpha1".into(),
        kind: "NIMService".into(),
        namespace: "models".into(),
        name: "llama".into(),
        uid: "u".into(),
        generation: 1,
    };
    let now = jiff::Timestamp::from_second(100).unwrap();
    Subject {
        owner,
        status: Value::Null,
        annotations: std::collections::BTreeMap::default(),
        known_for: std::time::Duration::MAX,
        now,
    }
}

fn images() -> (Images, crate::operator::engine::wake::Queue) {
    let (waker, mut queues) = Waker::new(["NIMService"].into_iter());
    (Images::new(waker), queues.remove("NIMService").unwrap())
}

#[tokio::test]
async fn an_image_is_native_when_all_its_platforms_are() {
    for (labels, version, expected) in [
        (["native-v1", "native-v1"], "1", Ok(true)),
        (["native-v2", "other"], "1", Ok(false)),
        (["native-v1", "other"], "single", Ok(true)),
        (["native-v1", "other"], "1", Err("some platforms")),
        (["native-v1", "native-v1"], "old", Err("the manifest cannot be used")),
        (["native-v1", "native-v1"], "none", Err("HTTP 404")),
    ] {
        let at = registry(labels).await;
        let found = inspect::is_native(&format!("{at}/nim/m:{version}"), &login(at)).await;
        match (found, expected) {
            (Ok(native), Ok(expected)) => assert_eq!(native, expected, "{version} {labels:?}"),
            (Err(problem), Err(words)) => assert!(problem.to_string().contains(words), "{problem}"),
            (found, expected) => panic!("{version} {labels:?}: {found:?} instead of {expected:?}"),
        }
    }
}

#[tokio::test]
async fn what_refuses_is_told_without_what_is_secret() {
    let at = registry(["native-v1"; 2]).await;
    let problem = inspect::is_native(&format!("{at}/nim/m:1"), &[]).await.unwrap_err().to_string();
    assert!(problem.contains("HTTP 403 for a token") && !problem.contains("dTpw"), "{problem}");
    let problem = inspect::is_native("Not An Image", &[]).await.unwrap_err().to_string();
    assert!(problem.contains("not the name"), "{problem}");
}

#[tokio::test]
async fn nobody_waits_for_a_registry_and_an_answer_wakes() {
    let at = registry(["native-v1"; 2]).await;
    let ((images, woken), image) = (images(), format!("{at}/nim/m:1"));
    assert_eq!(images.known(&subject(), &image), None, "the Secrets are wanted");
    assert_eq!(images.layout(&subject(), &image, &login(at)), Layout::Asking);
    assert_eq!(images.known(&subject(), &image), Some(Layout::Asking), "they are wanted once");
    assert_eq!(woken.take().await.name, "llama");
    assert_eq!(images.layout(&subject(), &image, &[]), Layout::Native);
}

#[tokio::test]
async fn d4_a_registry_that_is_down_changes_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let ((images, woken), image) = (images(), format!("{closed}/nim/m:1"));
    assert_eq!(images.layout(&subject(), &image, &[]), Layout::Asking);
    woken.take().await;
    let known = images.known(&subject(), &image).unwrap();
    assert!(matches!(&known, Layout::Unknown(problem) if problem.contains("refused")), "{known:?}");

    // What was known stays known while it is away.
    let key = key(&subject(), &image);
    assert_eq!(images.keep(&key, Layout::Native), (true, None));
    images.rows().get_mut(&key).unwrap().until = Instant::now();
    assert_eq!(images.known(&subject(), &image), None, "it is asked again");
    for minutes in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        let (changed, again) = images.keep(&key, Layout::Unknown("away".to_owned()));
        let pause = (again.unwrap() - Instant::now()).as_secs_f64();
        assert!(!changed && (pause / 60.0 - minutes).abs() < 0.1, "{pause} s, not {minutes} min");
        assert_eq!(images.known(&subject(), &image), Some(Layout::Native));
    }
}

#[test]
fn images_are_named_as_runtimes_name_them() {
    let sha = digest(1);
    for (image, expected) in [
        ("nvcr.io/nim/meta/llama:1.2", Some(("nvcr.io", "nim/meta/llama", "1.2"))),
        ("localhost:5000/m", Some(("localhost:5000", "m", "latest"))),
        ("localhost/m:a", Some(("localhost", "m", "a"))),
        ("ubuntu", Some(("docker.io", "library/ubuntu", "latest"))),
        ("ubuntu:24", Some(("docker.io", "library/ubuntu", "24"))),
        ("org/app:1", Some(("docker.io", "org/app", "1"))),
        ("index.docker.io/app", Some(("docker.io", "library/app", "latest"))),
        ("registry-1.docker.io/org/app", Some(("docker.io", "org/app", "latest"))),
        (&format!("r.io:443/a/b@{sha}"), Some(("r.io:443", "a/b", sha.as_str()))),
        (&format!("r.io/a:1@{sha}"), Some(("r.io", "a", sha.as_str()))),
        ("r.io/../secrets", None),
        ("r.io/a b", None),
        ("r.io/a:1?x", None),
        ("r.io/a@sha256:short", None),
        ("r.io/", None),
        ("u:p@r.io/a", None),
        ("", None),
    ] {
        let found = Reference::parse(image);
        let found = found.as_ref().map(|it| (it.host.as_str(), it.repository.as_str(), it.version.as_str()));
        assert_eq!(found, expected, "{image}");
    }
    assert_eq!(Reference::parse("ubuntu").unwrap().api_host(), "registry-1.docker.io");
}

#[test]
fn the_major_version_is_that_of_the_tag() {
    for (image, expected) in [
        ("nvcr.io/nim/meta/llama:2.0.10-pb6", Some(2)),
        ("nvcr.io/nim/meta/llama:3.0.0", Some(3)),
        ("nvcr.io/nim/meta/llama:v3", Some(3)),
        ("localhost:5000/m", None),
        ("nvcr.io/nim/meta/llama:latest", None),
        ("nvcr.io/nim/meta/llama:3a", None),
        (&format!("r.io/a@{}", digest(1)), None),
    ] {
        assert_eq!(super::major_version(image), expected, "{image}");
    }
}

#[test]
fn pull_secrets_say_who_asks() {
    let config = json!({"auths": {
        "https://index.docker.io/v1/": {"auth": "dTpw"},
        "nvcr.io": {"username": "$oauthtoken", "password": "key", "auth": "dTpw"},
        "r.io:5000": {"username": "u", "password": "p"},
        "empty.io": {"username": "u"},
        "wrong.io": {"auth": "%"},
    }});
    let all = Credential::parse(config.to_string().as_bytes());
    for (host, expected) in [
        ("docker.io", Some(LOGIN)),
        ("nvcr.io", Some("Basic JG9hdXRodG9rZW46a2V5")),
        ("r.io:5000", Some(LOGIN)),
        ("r.io", None),
        ("empty.io", None),
        ("wrong.io", None),
    ] {
        assert_eq!(Credential::of(&all, host).map(Credential::header).as_deref(), expected, "{host}");
    }
    for garbled in ["", "[]", r#"{"auths": 1}"#] {
        assert!(Credential::parse(garbled.as_bytes()).is_empty(), "{garbled}");
    }
}

#[test]
fn registries_say_where_tokens_are() {
    let bearer = |url: &str| Some(Challenge::Bearer(url.to_owned()));
    for (header, expected) in [
        ("Basic realm=\"r\"", Some(Challenge::Basic)),
        ("Bearer realm=\"https://a/t\"", bearer("https://a/t?scope=repository:m:pull")),
        (
            "bearer service=\"a b\", realm=\"https://a/t?x=1\", scope=\"s:pull,push\"",
            bearer("https://a/t?x=1&scope=s:pull%2Cpush&service=a%20b"),
        ),
        ("Bearer realm=https://a/t,scope=s", bearer("https://a/t?scope=s")),
        ("Bearer scope=\"s\"", None),
        ("Bearer realm=\"open", None),
        ("Negotiate", None),
    ] {
        assert_eq!(challenge(header, "m"), expected, "{header}");
    }
}
