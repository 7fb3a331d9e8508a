//! What is known as the parts of the page. Each part has an id; a browser is sent those that have changed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use maud::{Markup, html};
use serde::Serialize;

use super::figure;
use crate::events::{self, EventRow};
use crate::session::Hidden;
use crate::status::{ClusterRow, FleetStatus, Gpus, PlacementRow, Problem, Severity};
use crate::table::{Tone, count};

/// So many events stand on the page.
const EVENTS: usize = 50;
/// So many problems stand on the page; of others their number.
const PROBLEMS: usize = 100;
/// Fewer clusters are taken in from their table.
const MAPPED: usize = 12;

/// What is known, and how it looks.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) status: FleetStatus,
    pub(super) events: Vec<EventRow>,
    /// The parts by their ids.
    pub(super) parts: BTreeMap<String, String>,
    /// Counts the views of this process, from 1.
    pub(super) version: u64,
}

/// The newest view, and those before it: a browser that was given one of them is told what has changed since.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent(VecDeque<Arc<View>>);

/// So many views are remembered: a page that is loaded more slowly than these were made is loaded once more.
const REMEMBERED: usize = 16;

impl Recent {
    /// The newest.
    pub(super) fn newest(&self) -> Arc<View> {
        self.0.back().cloned().unwrap_or_default()
    }

    /// The view of that version, while it is remembered.
    pub(super) fn at(&self, version: u64) -> Option<Arc<View>> {
        self.0.iter().find(|view| view.version == version).cloned()
    }

    /// With one more, which gets the next version.
    pub(super) fn with(&self, view: View) -> Self {
        let version = self.newest().version + 1;
        let forgotten = (self.0.len() + 1).saturating_sub(REMEMBERED);
        let kept = self.0.iter().skip(forgotten).cloned();
        Self(kept.chain([Arc::new(View { version, ..view })]).collect())
    }
}

/// What a browser has to change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Changes {
    /// New HTML of parts that are there already.
    parts: BTreeMap<String, String>,
    /// Whether parts have come or gone, so that the page is to be loaded anew.
    reload: bool,
}

impl View {
    /// What these come to. `hidden_events` is why events are not seen, `problem` why what is known may be old.
    pub(super) fn of(
        status: FleetStatus,
        events: Vec<EventRow>,
        hidden_events: Option<String>,
        problem: Option<&str>,
    ) -> Self {
        let mut status = status;
        status.hidden.extend(hidden_events.map(|message| Hidden { kind: "Event", message }));
        let mut parts = BTreeMap::new();
        let mut part = |id: String, html: Markup| drop(parts.insert(id, html.into_string()));
        part("state".to_owned(), state(problem));
        part("summary".to_owned(), summary(&status));
        part("map".to_owned(), map(&status.clusters));
        part("problems".to_owned(), problems(&status));
        part("events".to_owned(), event_list(&events, hides(&status, "Event")));
        for row in &status.clusters {
            part(cluster_id(&row.name), cluster_row(row));
        }
        for row in &status.placements {
            part(placement_id(row), placement_row(row));
        }
        Self { status, events, parts, version: 0 }
    }

    /// A part as it is.
    pub(super) fn part(&self, id: &str) -> Markup {
        maud::PreEscaped(self.parts.get(id).cloned().unwrap_or_default())
    }
}

impl Changes {
    /// Everything may have changed.
    pub(super) fn unknown() -> Self {
        Self { parts: BTreeMap::new(), reload: true }
    }

    /// What has changed from one view to the next, if anything has.
    pub(super) fn between(before: &View, after: &View) -> Option<Self> {
        let reload =
            !before.parts.keys().eq(after.parts.keys()) || before.status.hidden != after.status.hidden;
        let changed = after.parts.iter().filter(|(id, html)| before.parts.get(*id) != Some(html));
        let parts: BTreeMap<String, String> = changed.map(|(id, html)| (id.clone(), html.clone())).collect();
        (reload || !parts.is_empty()).then_some(Self { parts, reload })
    }
}

/// Id of the row of a cluster.
pub(super) fn cluster_id(name: &str) -> String {
    format!("c.{name}")
}

/// Id of the row of a placement.
pub(super) fn placement_id(row: &PlacementRow) -> String {
    format!("p.{}.{}", row.namespace, row.name)
}

/// The class of a tone.
pub(super) fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Warning => "warning",
        Tone::Bad => "bad",
        Tone::Plain | Tone::Heading | Tone::Faint => "plain",
    }
}

/// A word with its tone, which is told by a sign too: not everybody sees colours.
pub(super) fn badge(word: &str, tone: Tone) -> Markup {
    let sign = match tone {
        Tone::Good => "✓",
        Tone::Warning => "!",
        Tone::Bad => "✕",
        Tone::Plain | Tone::Heading | Tone::Faint => "",
    };
    html! {
        span class={"badge " (class(tone))} {
            @if !sign.is_empty() { span aria-hidden="true" { (sign) } " " }
            (word)
        }
    }
}

/// Whether placements may come to a cluster.
pub(super) fn readiness(row: &ClusterRow) -> Markup {
    let word = match row.ready {
        "True" => "ready",
        "False" => "not ready",
        _ => "unknown",
    };
    badge(word, Tone::of_truth(row.ready))
}

/// A time, which the browser words as an age.
pub(super) fn time(at: Option<Timestamp>) -> Markup {
    html! {
        @if let Some(at) = at {
            time datetime=(format!("{at:.0}")) { (at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) }
        } @else { "–" }
    }
}

fn state(problem: Option<&str>) -> Markup {
    html! {
        p #state role="status" {
            @if let Some(problem) = problem {
                (badge("what is shown may be old", Tone::Bad)) " " (problem)
            }
        }
    }
}

/// Whether the caller sees no object of a kind, or not all of them.
pub(super) fn hides(status: &FleetStatus, kind: &str) -> bool {
    status.hidden.iter().any(|hidden| hidden.kind == kind)
}

fn summary(status: &FleetStatus) -> Markup {
    let ready = status.clusters.iter().filter(|row| row.ready == "True").count();
    let served = status.placements.iter().filter(|row| row.ready == "True").count();
    let errors = status.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    let Gpus { free, total } = status.gpus;
    let tone = |all: usize, good: usize| if good == all { Tone::Good } else { Tone::Warning };
    let wrong = match (errors, status.problems.len()) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Warning,
        _ => Tone::Bad,
    };
    html! {
        dl #summary {
            @if !hides(status, "GPUCluster") {
                div class=(class(tone(status.clusters.len(), ready))) {
                    dt { "clusters ready" }
                    dd { (ready) small { " of " (status.clusters.len()) } }
                }
                div {
                    dt { "GPUs free" }
                    dd { (free) small { " of " (total) } }
                    (figure::held(free, total))
                }
            }
            div class=(class(tone(status.placements.len(), served))) {
                dt { "placements ready" }
                dd { (served) small { " of " (status.placements.len()) } }
            }
            div class=(class(wrong)) {
                dt { "problems" }
                dd { (status.problems.len()) }
            }
        }
    }
}

fn map(clusters: &[ClusterRow]) -> Markup {
    html! {
        figure #map {
            @if clusters.len() >= MAPPED {
                (figure::map(clusters))
                figcaption {
                    "A square for each cluster, by name: the fuller, the more GPUs are held. "
                    span.key.bad {} " not ready "
                    span.key.kept {} " keeps placements away"
                }
            }
        }
    }
}

fn problems(status: &FleetStatus) -> Markup {
    let problems = &status.problems;
    html! {
        div #problems {
            @if problems.is_empty() {
                @let words = if status.hidden.is_empty() { "nothing is wrong" } else { "nothing is wrong with what you may see" };
                p { (badge(words, Tone::Good)) }
            } @else {
                ul.problems {
                    @for Problem { severity, object, reason, message, remedy } in problems.iter().take(PROBLEMS) {
                        @let tone = if *severity == Severity::Error { Tone::Bad } else { Tone::Warning };
                        li {
                            (badge(reason, tone)) " " strong { (object) } " " (message)
                            @if let Some(remedy) = remedy { " " code { (remedy) } }
                        }
                    }
                    @if problems.len() > PROBLEMS { li { "and " (problems.len() - PROBLEMS) " more" } }
                }
            }
        }
    }
}

/// The first two of a list, and how many more; all of them where the pointer rests.
fn first_two(items: &[String]) -> Markup {
    html! {
        @if items.is_empty() { "–" } @else {
            span title=(items.join(", ")) {
                (items.iter().take(2).cloned().collect::<Vec<_>>().join(", "))
                @if items.len() > 2 { " and " (items.len() - 2) " more" }
            }
        }
    }
}

fn cluster_row(row: &ClusterRow) -> Markup {
    let id = cluster_id(&row.name);
    let products: Vec<String> = row.products.iter().map(|product| product.product.clone()).collect();
    html! {
        tr id=(id) {
            th scope="row" { a id={(id) ":link"} href={"cluster/" (row.name)} { (row.name) } }
            td data-label="ready" { (readiness(row)) }
            td data-label="GPUs free" {
                (figure::held(row.gpus.free, row.gpus.total)) " "
                span.number { (row.gpus.free) "/" (row.gpus.total) }
            }
            td data-label="products" { (first_two(&products)) }
            td data-label="models" { (row.models) }
            td data-label="taints" { (first_two(&row.taints)) }
            td data-label="last seen" { (time(row.last_seen)) }
        }
    }
}

fn placement_row(row: &PlacementRow) -> Markup {
    let id = placement_id(row);
    html! {
        tr id=(id) {
            th scope="row" {
                a id={(id) ":link"} href={"placement/" (row.namespace) "/" (row.name)} { (row.name) }
                " " small { (row.namespace) }
            }
            td data-label="phase" { (badge(&row.phase, row.tone())) }
            td data-label="where" { @if row.place.is_empty() { "nowhere" } @else { (row.place) } }
            td data-label="clusters" { (row.clusters.to_string()) }
            td data-label="replicas" { (row.replicas.to_string()) }
            td data-label="reason" { (row.reason) @if row.ready != "True" && !row.message.is_empty() { ": " (row.message) } }
            td data-label="since" { (time(row.since)) }
        }
    }
}

/// The table of events, the newest first.
pub(super) fn event_list(rows: &[EventRow], are_hidden: bool) -> Markup {
    html! {
        div #events {
            @if rows.is_empty() { p { @if are_hidden { "not shown to you" } @else { "no events" } } } @else {
                table {
                    caption { (count(rows.len().min(EVENTS), "event")) ", the newest first" }
                    thead { tr { th { "last" } th { "reason" } th { "object" } th { "message" } } }
                    tbody {
                        @for row in rows.iter().take(EVENTS) {
                            tr {
                                td data-label="last" { (time(row.at)) @if row.count > 1 { " ×" (row.count) } }
                                td data-label="reason" { (badge(&row.reason, events::tone(&row.kind))) }
                                td data-label="object" { (row.object) }
                                td data-label="message" { (row.message) }
                            }
                        }
                    }
                }
            }
        }
    }
}
