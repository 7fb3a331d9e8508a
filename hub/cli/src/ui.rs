//! `ui`: a page on loopback that shows the fleet with the caller's own rights, and follows it.
//!
//! ```text
//! live     watches → what is known now
//! render   what is known → the parts of the page, each with an id
//! page     whole pages, made of parts and of answers to questions
//! figure   inline SVG
//! guard    who may ask: whoever knows the token, by the loopback's own name
//! ```
//!
//! The page only reads. A browser gets the parts that changed as server-sent events; without scripts it shows what was so when
//! it was loaded.

mod figure;
mod guard;
mod live;
mod page;
mod render;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::{Stream, stream};
use maud::Markup;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::args::UiArgs;
use crate::failure::Failure;
use crate::print::{Printer, progress};
use crate::session::Session;
use guard::Guard;
use render::{Changes, Recent};

/// The style of all pages.
const STYLE: &str = include_str!("ui/style.css");
/// How long a page waits for what it is to show. After that it is loaded anew by itself.
const FIRST_VIEW: Duration = Duration::from_secs(5);
/// What follows the fleet in the browser.
const SCRIPT: &str = include_str!("ui/live.js");

/// Where the page is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Page {
    /// With the token: whoever knows it sees what the caller may see.
    url: String,
}

/// What requests are answered from.
#[derive(Clone)]
struct Answering {
    session: Session,
    recent: watch::Receiver<Recent>,
}

/// What the lists of the overview are narrowed to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Narrowed {
    /// A part of the name of a cluster, a placement, a product or a region.
    q: String,
}

/// Serves the page until it is interrupted.
pub(crate) async fn serve(session: &Session, printer: Printer, args: &UiArgs) -> Result<(), Failure> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let unusable = |source| Failure::Io { what: format!("--port: {wanted}"), source };
    let listener = TcpListener::bind(wanted).await.map_err(unusable)?;
    let port = listener.local_addr().map_err(unusable)?.port();
    let guard = Guard::new(port);
    let page = Page { url: guard.url() };
    let recent = live::follow(session);
    printer.answer("Page", &page, |page| format!("{}\n", page.url))?;
    progress("whoever knows this address sees what you may see; the page ends with this command (Ctrl-C)");
    let app = router(Answering { session: session.clone(), recent }, guard);
    let served = axum::serve(listener, app).into_future();
    tokio::select! {
        served = served => served.map_err(unusable),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn router(answering: Answering, guard: Guard) -> Router {
    Router::new()
        .route("/{token}/", get(overview))
        .route("/{token}/cluster/{name}", get(cluster))
        .route("/{token}/placement/{namespace}/{name}", get(placement))
        .route("/{token}/events", get(events))
        .route("/{token}/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE) }))
        .route("/{token}/live.js", get(|| async { asset("text/javascript; charset=utf-8", SCRIPT) }))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(axum::middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(answering)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

fn html(page: Markup) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

async fn overview(State(mut here): State<Answering>, Query(narrowed): Query<Narrowed>) -> Response {
    // Who comes at once waits for the first view.
    let first = here.recent.wait_for(|recent| recent.newest().version > 0);
    let view = match timeout(FIRST_VIEW, first).await {
        Ok(Ok(recent)) => recent.newest(),
        Ok(Err(_)) | Err(_) => Arc::default(),
    };
    html(page::overview(&view, &here.session, &narrowed.q))
}

async fn cluster(State(here): State<Answering>, Path((_, name)): Path<(String, String)>) -> Response {
    let view = here.recent.borrow().newest();
    page::cluster(&view, &here.session, &name)
        .map_or_else(|| page::missing(&here.session, "GPUCluster", &name), html)
}

async fn placement(
    State(here): State<Answering>,
    Path((_, namespace, name)): Path<(String, String, String)>,
) -> Response {
    let session = here.session.within(&namespace);
    let version = here.recent.borrow().newest().version;
    match crate::why::ask(&session, &name).await {
        Ok(why) => html(page::placement(&why, &here.session, version, jiff::Timestamp::now())),
        Err(failure) => page::refused(&here.session, &failure),
    }
}

/// From where on a page is to be told of changes.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Since {
    /// The version of the view that the page was made from.
    since: u64,
}

/// What has changed since a page was made, and from then on as it changes. A browser that comes back says what it was told last.
async fn events(
    State(here): State<Answering>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let told = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let since = told.unwrap_or(since);
    let mut recent = here.recent;
    // The first look does not wait for a change.
    recent.mark_changed();
    let shown = recent.borrow().at(since);
    let changes = stream::unfold((recent, shown), |(mut recent, mut shown)| async move {
        loop {
            recent.changed().await.ok()?;
            let now = recent.borrow_and_update().newest();
            // A page of a view that is forgotten, or of another process.
            let changes =
                shown.map_or_else(|| Some(Changes::unknown()), |shown| Changes::between(&shown, &now));
            let version = now.version.to_string();
            shown = Some(now);
            if let Some(changes) = changes {
                let event = Event::default().event("change").id(version).json_data(changes);
                return Some((event, (recent, shown)));
            }
        }
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

#[cfg(test)]
mod tests;
