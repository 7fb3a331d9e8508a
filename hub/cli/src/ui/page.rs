//! Whole pages: of parts that the browser follows, and of answers to the question of one placement.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use crds::fleet::{DecisionState, Refusal};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};

use super::figure;
use super::render::{View, badge, class, cluster_id, event_list, hides, placement_id, readiness, time};
use crate::failure::Failure;
use crate::session::{Hidden, Session};
use crate::status::{ClusterRow, Severity};
use crate::table::Tone;
use crate::why::{Explanation, Why};

/// What of the fleet a page follows.
#[derive(Clone, Copy, Default)]
struct Follows<'a> {
    /// The version of the view that it was made from. None: it follows nothing.
    since: Option<u64>,
    /// The parts, separated by spaces, whose change has it loaded anew. None: parts are put in their places one by one.
    part: Option<&'a str>,
}

/// A page. `home` leads to the folder of the token.
fn page(session: &Session, title: &str, home: &str, follows: Follows<'_>, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – nimfleet" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href={(home) "style.css"};
                script src={(home) "live.js"} defer {}
            }
            body data-home=(home) data-since=[follows.since] data-part=[follows.part] {
                a.skip href="#content" { "Skip to the content" }
                header {
                    a.home href=(home) { "nimfleet" }
                    nav aria-label="sections" {
                        a href={(home) "#placements"} { "Placements" }
                        a href={(home) "#clusters"} { "Clusters" }
                        a href={(home) "#events-title"} { "Events" }
                    }
                    p.server { (session.server()) }
                    p #connection role="status" {}
                }
                main #content tabindex="-1" { (body) }
            }
        }
    }
}

fn not_shown(hidden: &[Hidden]) -> Markup {
    html! {
        @if !hidden.is_empty() {
            ul.hidden {
                @for Hidden { kind, message } in hidden {
                    li { "not shown to you, " (kind) ": " (message) }
                }
            }
        }
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

fn is_wanted(row: &ClusterRow, part: &str) -> bool {
    contains(&row.name, part)
        || row.region.as_deref().is_some_and(|region| contains(region, part))
        || row.products.iter().any(|product| contains(&product.product, part))
}

/// The fleet at a glance, its lists narrowed to what contains `part`.
pub(super) fn overview(view: &View, session: &Session, part: &str) -> Markup {
    let status = &view.status;
    let clusters: Vec<_> = status.clusters.iter().filter(|row| is_wanted(row, part)).collect();
    let placements: Vec<_> = status
        .placements
        .iter()
        .filter(|row| {
            contains(&row.name, part) || contains(&row.namespace, part) || contains(&row.place, part)
        })
        .collect();
    let body = html! {
        h1.unseen { "The fleet" }
        @if view.version == 0 { p role="status" { "the fleet is being read; what follows may lack some of it" } }
        (not_shown(&status.hidden))
        (view.part("state"))
        (view.part("summary"))
        (view.part("map"))
        section aria-labelledby="problems-title" {
            h2 #problems-title { "What is wrong" }
            (view.part("problems"))
        }
        form role="search" method="get" {
            label for="q" { "Name, region or product" }
            input #q name="q" type="search" value=(part) autocomplete="off" spellcheck="false";
            button #filter { "Filter" }
            @if !part.is_empty() { a #all href="?" { "Show all" } }
        }
        section aria-labelledby="placements" {
            h2 #placements { "Placements " small { (placements.len()) } }
            @if placements.is_empty() { (nothing("placements", hides(status, "NIMPlacement"))) } @else {
                table.rows {
                    thead { tr {
                        th { "name" } th { "phase" } th { "where" } th { "clusters" } th { "replicas" } th { "reason" } th { "since" }
                    } }
                    tbody { @for row in placements { (view.part(&placement_id(row))) } }
                }
            }
        }
        section aria-labelledby="clusters" {
            h2 #clusters { "Clusters " small { (clusters.len()) } }
            @if clusters.is_empty() { (nothing("clusters", hides(status, "GPUCluster"))) } @else {
                table.rows {
                    thead { tr {
                        th { "name" } th { "ready" } th { "GPUs free" } th { "products" } th { "models" } th { "taints" } th { "last seen" }
                    } }
                    tbody { @for row in clusters { (view.part(&cluster_id(&row.name))) } }
                }
            }
        }
        section aria-labelledby="events-title" {
            h2 #events-title { "Events" }
            (view.part("events"))
        }
    };
    page(session, "Fleet", "./", Follows { since: Some(view.version), part: None }, &body)
}

fn nothing(what: &str, are_hidden: bool) -> Markup {
    html! { p { @if are_hidden { "not shown to you" } @else { "no " (what) } } }
}

/// One cluster: its GPUs by product, what is wrong with it and what happened to it. None if the caller sees no such cluster.
pub(super) fn cluster(view: &View, session: &Session, name: &str) -> Option<Markup> {
    let row = view.status.clusters.iter().find(|row| row.name == name)?;
    let object = format!("gpucluster/{name}");
    let problems: Vec<_> = view.status.problems.iter().filter(|problem| problem.object == object).collect();
    let events: Vec<_> = view.events.iter().filter(|event| event.object == object).cloned().collect();
    let none = || "–".to_owned();
    let body = html! {
        h1 { (name) " " (readiness(row)) }
        p { (row.message) }
        dl.facts {
            dt { "GPUs free" } dd { (row.gpus.free) " of " (row.gpus.total) " " (figure::held(row.gpus.free, row.gpus.total)) }
            dt { "models" } dd { (row.models) }
            dt { "region" } dd { (row.region.clone().unwrap_or_else(none)) }
            dt { "taints" } dd { @if row.taints.is_empty() { "–" } @else { (row.taints.join(", ")) } }
            dt { "agent" } dd { (row.agent_version.clone().unwrap_or_else(none)) }
            dt { "last seen" } dd { (time(row.last_seen)) }
            dt { "certificate ends" } dd { (time(row.certificate_expiry)) }
        }
        @for product in &row.products {
            section {
                h2 { (product.product) " " small { (product.resource) } }
                p {
                    (u32::try_from(product.free).unwrap_or(0)) " of " (product.allocatable) " free"
                    @if let Some(memory) = product.memory_mib { ", " (memory / 1024) " GiB each" }
                }
                (figure::histogram(&product.free_per_node))
                p.axis { "nodes, by the number of their free GPUs" }
            }
        }
        @for problem in problems {
            @let tone = if problem.severity == Severity::Error { Tone::Bad } else { Tone::Warning };
            p { (badge(&problem.reason, tone)) " " (problem.message)
                @if let Some(remedy) = &problem.remedy { " " code { (remedy) } } }
        }
        section {
            h2 { "Events" }
            (event_list(&events, hides(&view.status, "Event")))
        }
    };
    let parts = format!("{} problems events", cluster_id(name));
    let follows = Follows { since: Some(view.version), part: Some(&parts) };
    Some(page(session, name, "../", follows, &body))
}

/// One placement: where it runs, why there, and why not elsewhere.
pub(super) fn placement(why: &Why, session: &Session, version: u64, now: Timestamp) -> Markup {
    let Why { placement: row, clusters, hidden, explanation, unexplained, refusals } = why;
    let verdict = |cluster: &str| {
        let all = explanation.iter().flat_map(|explanation| &explanation.clusters);
        all.into_iter().find(|verdict| verdict.cluster == cluster)
    };
    let body = html! {
        h1 { (row.name) " " small { (row.namespace) } " " (badge(&row.phase, row.tone())) }
        p { "clusters " (row.clusters.to_string()) ", replicas " (row.replicas.to_string()) " ready. " (row.reason) @if !row.message.is_empty() { ": " (row.message) } }
        section {
            h2 { "Where" }
            (not_shown(hidden))
            @if clusters.is_empty() { @if hidden.is_empty() { p { "it is placed nowhere" } } } @else {
                table.rows {
                    thead { tr { th { "cluster" } th { "state" } th { "since" } th { "score" } th { "because" } th { "objects" } } }
                    tbody {
                        @for decided in clusters {
                            @let tone = if decided.state == DecisionState::Placed { Tone::Good } else { Tone::Warning };
                            @let found = verdict(&decided.cluster);
                            tr {
                                th scope="row" { a id={"w." (decided.cluster)} href={"../../cluster/" (decided.cluster)} { (decided.cluster) } }
                                td data-label="state" { (badge(&format!("{:?}", decided.state), tone)) }
                                td data-label="since" { (time(Some(decided.since))) }
                                td data-label="score" {
                                    (decided.score.map_or_else(|| "–".to_owned(), |score| score.to_string()))
                                    @if let Some(found) = found { (parts(found)) }
                                }
                                td data-label="because" { (found.map_or("", |found| found.message.as_str())) }
                                td data-label="objects" { (decided.objects.join(", ")) }
                            }
                        }
                    }
                }
            }
        }
        section {
            h2 { "Why not elsewhere" }
            @match (explanation, unexplained) {
                (Some(explanation), _) => {
                    (elsewhere(explanation, |cluster| clusters.iter().any(|decided| decided.cluster == cluster)))
                    p.axis { "asked " (time(Some(now))) "; " a #again href="" { "ask again" } }
                }
                (None, words) => {
                    p { (badge("not known now", Tone::Warning)) " " (words.as_deref().unwrap_or_default()) }
                    @if !refusals.is_empty() { (refused_before(refusals)) }
                }
            }
        }
    };
    let follows = Follows { since: Some(version), part: Some(&placement_id(row)) };
    page(session, &row.name, "../../", follows, &body)
}

/// What a score is made of, as bars.
fn parts(verdict: &crate::why::Verdict) -> Markup {
    html! {
        @if !verdict.score_parts.is_empty() {
            ul.parts {
                @for part in &verdict.score_parts {
                    li { (figure::share(part.points.min(100), 100, None)) " " (part.name) " " (part.points) " × " (part.weight) }
                }
            }
        }
    }
}

fn elsewhere(explanation: &Explanation, has: impl Fn(&str) -> bool) -> Markup {
    let others: Vec<_> = explanation.clusters.iter().filter(|verdict| !has(&verdict.cluster)).collect();
    let tone = if explanation.scheduled { Tone::Good } else { Tone::Warning };
    html! {
        p { (badge(&explanation.reason, tone)) " " (explanation.message) }
        @if let Some(held) = &explanation.held {
            p { (badge("not replaced", Tone::Warning)) " " (held) }
        }
        @if !others.is_empty() {
            table.rows {
                thead { tr { th { "cluster" } th { "reason" } th { "report" } th { "numbers" } } }
                tbody {
                    @for verdict in others {
                        @let tone = if verdict.word == "Eligible" { Tone::Good } else { Tone::Warning };
                        tr class=(class(tone)) {
                            th scope="row" { a id={"n." (verdict.cluster)} href={"../../cluster/" (verdict.cluster)} { (verdict.cluster) } }
                            td data-label="reason" { (badge(&verdict.reason, tone)) }
                            td data-label="report" { (time(verdict.reported_at)) }
                            td data-label="numbers" { (verdict.message) }
                        }
                    }
                }
            }
        }
    }
}

/// What the hub wrote down when it last decided.
fn refused_before(refusals: &[Refusal]) -> Markup {
    html! {
        p.axis { "when the hub last decided:" }
        table.rows {
            thead { tr { th { "reason" } th { "clusters" } th { "numbers" } } }
            tbody {
                @for refusal in refusals {
                    tr {
                        td data-label="reason" { (badge(&refusal.reason, Tone::Warning)) }
                        td data-label="clusters" { (refusal.count) ": " (refusal.clusters.join(", ")) }
                        td data-label="numbers" { (refusal.message.as_deref().unwrap_or_default()) }
                    }
                }
            }
        }
    }
}

fn failed(session: &Session, home: &str, status: StatusCode, words: &str) -> Response {
    let body = html! { h1 { "Not shown" } p { (words) } };
    let page = page(session, "Not shown", home, Follows::default(), &body).into_string();
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// There is no such object, or the caller does not see it.
pub(super) fn missing(session: &Session, kind: &str, name: &str) -> Response {
    failed(
        session,
        "../",
        StatusCode::NOT_FOUND,
        &format!("{kind} {name} is not there, or you may not see it"),
    )
}

/// The API server refuses.
pub(super) fn refused(session: &Session, failure: &Failure) -> Response {
    let status = if failure.is_forbidden() {
        StatusCode::FORBIDDEN
    } else if failure.is_not_found() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::BAD_GATEWAY
    };
    failed(session, "../../", status, &failure.to_string())
}
