//! Pages as a browser gets them, and who gets them.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use crds::fleet::{GPUCluster, GPUQuota, NIMPlacement};
use futures::StreamExt;
use tower::ServiceExt;

use super::render::View;
use super::*;
use crate::recorded::{HELD, Moment, PLACED, seen};
use crate::session::Seen;
use crate::status::FleetStatus;

fn none<T>() -> Seen<T> {
    Seen { items: Vec::new(), hidden: None }
}

fn view_of(clusters: &Seen<GPUCluster>, placements: &Seen<NIMPlacement>) -> View {
    View::of(FleetStatus::of(clusters, placements, &none::<GPUQuota>()), Vec::new(), None, None)
}

fn view(moment: &Moment) -> View {
    view_of(&seen(moment.clusters), &seen(moment.placements))
}

/// The router over a view that can be changed, and the folder of its token.
fn serving(view: View) -> (Router, watch::Sender<Recent>, String) {
    let (sender, receiver) = watch::channel(Recent::default().with(view));
    let guard = Guard::new(4711);
    let folder = guard.url().replace("http://127.0.0.1:4711", "");
    (router(Answering { session: Session::nowhere(), recent: receiver }, guard), sender, folder)
}

async fn ask(app: &Router, host: &str, path: &str) -> (StatusCode, String, Response<()>) {
    let request = Request::get(path).header(header::HOST, host).body(Body::empty()).unwrap();
    let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    (parts.status, text, Response::from_parts(parts, ()))
}

const HERE: &str = "127.0.0.1:4711";

#[tokio::test]
async fn the_page_is_for_whoever_knows_the_token_under_the_loopbacks_name() {
    let (app, _sender, folder) = serving(view(&PLACED));
    let other = format!("/{}/", "0".repeat(64));
    for (host, path, status) in [
        (HERE, folder.as_str(), StatusCode::OK),
        ("localhost:4711", &folder, StatusCode::OK),
        ("rebound.example:4711", &folder, StatusCode::MISDIRECTED_REQUEST),
        (HERE, "/", StatusCode::NOT_FOUND),
        (HERE, &other, StatusCode::NOT_FOUND),
        (HERE, &format!("{other}events"), StatusCode::NOT_FOUND),
        (HERE, &format!("{other}style.css"), StatusCode::NOT_FOUND),
        (HERE, &format!("{folder}nothing"), StatusCode::NOT_FOUND),
    ] {
        let (is, text, response) = ask(&app, host, path).await;
        assert_eq!(is, status, "{host} {path}");
        assert_eq!(text.contains("east"), status == StatusCode::OK, "{host} {path}");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
    }
}

#[tokio::test]
async fn the_overview_shows_clusters_placements_and_problems() {
    let (app, _sender, folder) = serving(view(&HELD));
    let (_, text, _) = ask(&app, HERE, &folder).await;
    for words in [
        "east",
        "NVIDIA-H100-80GB-HBM3",
        "of 24",
        "ManyClustersLost",
        "kubectl nimfleet confirm west",
        "Degraded",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    let (_, narrowed, _) = ask(&app, HERE, &format!("{folder}?q=l40s")).await;
    assert!(narrowed.contains("id=\"c.west\"") && !narrowed.contains("id=\"c.east\""), "{narrowed}");
}

#[tokio::test]
async fn what_a_caller_may_not_see_is_not_said_to_be_none() {
    let hidden = Seen { hidden: Some("gpuclusters.nimfleet.io is forbidden".to_owned()), ..none() };
    let (app, _sender, folder) = serving(view_of(&hidden, &none()));
    let (_, text, _) = ask(&app, HERE, &folder).await;
    for words in [
        "not shown to you, GPUCluster: ",
        "nothing is wrong with what you may see",
        "no placements",
        "no events",
    ] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    for words in ["clusters ready", "GPUs free</dt>", "no clusters"] {
        assert!(!text.contains(words), "{words} is in\n{text}");
    }
}

#[tokio::test]
async fn a_cluster_has_a_page_of_its_own() {
    let (app, _sender, folder) = serving(view(&PLACED));
    let (status, text, _) = ask(&app, HERE, &format!("{folder}cluster/east")).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("15 of 16") && text.contains("nodes by free GPUs: 1 with 7 free, 1 with 8 free"),
        "{text}"
    );
    let (status, text, _) = ask(&app, HERE, &format!("{folder}cluster/nowhere")).await;
    assert!(status == StatusCode::NOT_FOUND && text.contains("nowhere"), "{text}");
    // The API server of this test is not there: the page says so.
    let (status, text, _) = ask(&app, HERE, &format!("{folder}placement/nim-service/chat")).await;
    assert!(status == StatusCode::BAD_GATEWAY && text.contains("NIMPlacement nim-service/chat"), "{text}");
}

#[tokio::test]
async fn what_objects_say_is_text_and_never_markup() {
    let mut clusters: Seen<GPUCluster> = seen(PLACED.clusters);
    let status = clusters.items[0].status.as_mut().unwrap();
    status.conditions.iter_mut().for_each(|found| found.message = "<script>alert(1)</script>".to_owned());
    status.region = Some("\"><img src=x>".to_owned());
    let name = clusters.items[0].metadata.name.clone().unwrap();
    let (app, _sender, folder) = serving(view_of(&clusters, &none()));
    let (_, text, _) = ask(&app, HERE, &format!("{folder}cluster/{name}")).await;
    assert!(text.contains("&lt;script&gt;alert(1)") && !text.contains("<script>alert"), "{text}");
    assert!(!text.contains("<img"), "{text}");
}

#[tokio::test]
async fn a_browser_is_sent_what_has_changed() {
    let (app, sender, folder) = serving(view(&PLACED));
    let request = Request::get(format!("{folder}events?since=1"))
        .header(header::HOST, HERE)
        .body(Body::empty())
        .unwrap();
    let mut events = app.oneshot(request).await.unwrap().into_body().into_data_stream();

    let mut clusters: Seen<GPUCluster> = seen(PLACED.clusters);
    clusters.items.iter_mut().for_each(|one| {
        if one.metadata.name.as_deref() == Some("west") {
            one.spec.drain = true;
        }
    });
    sender.send_modify(|recent| *recent = recent.with(view_of(&clusters, &seen(PLACED.placements))));
    let sent = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(
        sent.contains("event: change") && sent.contains("\"c.west\"") && sent.contains("drain"),
        "{sent}"
    );
    assert!(!sent.contains("\"c.east\"") && sent.contains("\"reload\":false"), "{sent}");

    clusters.items.truncate(1);
    sender.send_modify(|recent| *recent = recent.with(view_of(&clusters, &seen(PLACED.placements))));
    let sent = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(sent.contains("\"reload\":true"), "{sent}");
}

#[tokio::test]
async fn a_page_that_is_older_than_what_is_remembered_is_loaded_anew() {
    let (app, sender, folder) = serving(view(&PLACED));
    for _ in 0..20 {
        sender.send_modify(|recent| *recent = recent.with(view(&PLACED)));
    }
    for (since, sent) in [(1, Some("\"reload\":true")), (20, None)] {
        let path = format!("{folder}events?since={since}");
        let request = Request::get(path).header(header::HOST, HERE).body(Body::empty()).unwrap();
        let mut events = app.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
        let first = tokio::time::timeout(std::time::Duration::from_millis(200), events.next()).await.ok();
        let first = first.map(|first| String::from_utf8(first.unwrap().unwrap().to_vec()).unwrap());
        assert_eq!(first.is_some(), sent.is_some(), "{since}: {first:?}");
        assert!(sent.is_none_or(|sent| first.unwrap().contains(sent)));
    }
}

#[test]
fn the_same_view_changes_nothing() {
    assert_eq!(Changes::between(&view(&PLACED), &view(&PLACED)), None);
}
