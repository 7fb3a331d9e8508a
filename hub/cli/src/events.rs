//! `events`: what hub and spoke tell of the fleet's objects, the newest last.

use futures::{StreamExt, pin_mut};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, ResourceExt};
use runtime::chain;
use serde::Serialize;

use crate::args::EventsArgs;
use crate::failure::Failure;
use crate::print::{Printer, progress};
use crate::session::{Hidden, Scope, Seen, Session, hidden};
use crate::table::{Cell, Table, Tone, age_of, paint};

/// Groups of the objects that a fleet is about.
const GROUPS: [&str; 2] = ["nimfleet.io/", "apps.nvidia.com/"];
/// Where the API keeps events of objects that have no namespace.
const OF_CLUSTERS: &str = "default";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventRow {
    /// When it was last told.
    pub(crate) at: Option<Timestamp>,
    /// How often.
    pub(crate) count: i32,
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) reason: String,
    /// `nimplacement/nim-service/llama`.
    pub(crate) object: String,
    pub(crate) message: String,
}

/// The events that the caller may see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FleetEvents {
    pub(crate) events: Vec<EventRow>,
    pub(crate) hidden: Vec<Hidden>,
}

impl EventRow {
    /// A row, if the event is about an object of the fleet.
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let about = event.regarding.as_ref()?;
        let version = about.api_version.as_deref().unwrap_or_default();
        if !GROUPS.iter().any(|group| version.starts_with(group)) {
            return None;
        }
        let series = event.series.as_ref();
        let told =
            series.map(|series| series.last_observed_time.0).or(event.event_time.as_ref().map(|at| at.0));
        let told = told.or(event.deprecated_last_timestamp.as_ref().map(|at| at.0));
        Some(Self {
            at: told.or(event.metadata.creation_timestamp.as_ref().map(|at| at.0)),
            count: series.map(|series| series.count).or(event.deprecated_count).unwrap_or(1).max(1),
            kind: event.type_.clone().unwrap_or_default(),
            reason: event.reason.clone().unwrap_or_default(),
            object: named(about),
            message: event.note.clone().unwrap_or_default(),
        })
    }
}

/// `kind/namespace/name`, or `kind/name` of what has no namespace.
fn named(about: &ObjectReference) -> String {
    let parts = [about.kind.as_deref(), about.namespace.as_deref(), about.name.as_deref()];
    let mut parts: Vec<String> =
        parts.into_iter().flatten().filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if let Some(kind) = parts.first_mut() {
        *kind = kind.to_lowercase();
    }
    parts.join("/")
}

/// Whether a row is about what `--for` names: `gpucluster/east` or `nimplacement/llama`.
fn is_about(row: &EventRow, about: Option<&str>) -> bool {
    let Some((kind, name)) = about.and_then(|about| about.split_once('/')) else { return about.is_none() };
    let (kind, name) = (kind.to_lowercase(), name.rsplit('/').next().unwrap_or(name));
    let is_of_kind = row.object.split('/').next().is_some_and(|own| own == kind || format!("{own}s") == kind);
    is_of_kind && row.object.rsplit('/').next() == Some(name)
}

/// The events of the namespaces in question, the newest last; with those of clusters where the caller may see them.
pub(crate) async fn read(session: &Session, about: Option<&str>) -> Result<FleetEvents, Failure> {
    let own = session.list_widely::<Event>().await?;
    let mut unseen: Vec<Hidden> = Hidden::of("Event", &own).into_iter().collect();
    let mut events = own.items;
    let lacks_clusters = match session.scope() {
        Scope::All => false,
        Scope::Context(namespace) => own.hidden.is_some() && namespace != OF_CLUSTERS,
        Scope::Namespace(namespace) => namespace != OF_CLUSTERS,
    };
    if lacks_clusters {
        let of_clusters: Seen<Event> = session.within(OF_CLUSTERS).list().await?;
        unseen.extend(Hidden::of("Event", &of_clusters));
        events.extend(of_clusters.items.into_iter().filter(|event| {
            event.regarding.as_ref().is_some_and(|about| about.kind.as_deref() == Some("GPUCluster"))
        }));
    }
    let mut rows: Vec<EventRow> = events.iter().filter_map(EventRow::of).collect();
    rows.retain(|row| is_about(row, about));
    rows.sort_by(|a, b| (a.at, &a.object, &a.reason).cmp(&(b.at, &b.object, &b.reason)));
    unseen.dedup();
    Ok(FleetEvents { events: rows, hidden: unseen })
}

/// Prints events; with `--watch` it goes on until it is interrupted.
pub(crate) async fn print(session: &Session, printer: Printer, args: &EventsArgs) -> Result<(), Failure> {
    let about = args.about.as_deref();
    if about.is_some_and(|about| !about.contains('/')) {
        return Err(Failure::Usage(format!(
            "--for: {:?} names no object: write KIND/NAME, for example gpucluster/east",
            about.unwrap_or_default()
        )));
    }
    let found = read(session, about).await?;
    let now = Timestamp::now();
    if !args.watch {
        return printer.answer("FleetEvents", &found, |found| render(found, now));
    }
    for row in &found.events {
        printer.item("FleetEvent", row, line)?;
    }
    let known = found.events.last().and_then(|row| row.at);
    // Where the caller may see everything, everything is followed.
    let is_wide = matches!(session.scope(), Scope::Context(_)) && found.hidden.is_empty();
    let session = if is_wide { &session.everywhere() } else { session };
    follow(session, printer, about, known).await
}

/// Prints what comes after `known`.
async fn follow(
    session: &Session,
    printer: Printer,
    about: Option<&str>,
    known: Option<Timestamp>,
) -> Result<(), Failure> {
    let api: Api<Event> = match session.scope() {
        Scope::All => Api::all(session.client()),
        Scope::Context(namespace) | Scope::Namespace(namespace) => {
            Api::namespaced(session.client(), namespace)
        }
    };
    let seen = watcher(api, Config::default()).default_backoff().applied_objects();
    pin_mut!(seen);
    let mut said = String::new();
    while let Some(event) = seen.next().await {
        match event {
            Ok(event) => {
                let row = EventRow::of(&event).filter(|row| row.at > known && is_about(row, about));
                if let Some(row) = row {
                    printer.item("FleetEvent", &row, line)?;
                }
            }
            Err(error) => {
                let words = chain(&error);
                if words != said {
                    progress(&format!("events: {words}"));
                    said = words;
                }
            }
        }
    }
    Ok(())
}

/// The tone of an event's type.
pub(crate) fn tone(kind: &str) -> Tone {
    if kind == "Warning" { Tone::Warning } else { Tone::Plain }
}

fn line(row: &EventRow) -> String {
    let at = row.at.map(|at| format!("{at:.0}")).unwrap_or_default();
    format!(
        "{at}   {}   {}   {}   {}\n",
        paint(&row.kind, tone(&row.kind)),
        row.reason,
        row.object,
        row.message
    )
}

/// The table of events.
pub(crate) fn table(events: &[EventRow], now: Timestamp) -> Table {
    let mut table = Table::new(&["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    for row in events {
        let age = age_of(row.at, now);
        table.row([
            if row.count > 1 { format!("{age} (x{})", row.count) } else { age }.into(),
            Cell::of(row.kind.as_str(), tone(&row.kind)),
            row.reason.as_str().into(),
            row.object.as_str().into(),
            row.message.as_str().into(),
        ]);
    }
    table
}

fn render(found: &FleetEvents, now: Timestamp) -> String {
    let table = table(&found.events, now);
    let mut out = if table.is_empty() { "no events\n".to_owned() } else { table.render(0) };
    out += &hidden(&found.hidden);
    out
}

/// Newest events of one object, for its description.
pub(crate) async fn of_object(session: &Session, kind: &str, name: &str) -> Result<Vec<EventRow>, Failure> {
    let about = format!("{kind}/{name}");
    let own: Seen<Event> = session.list().await?;
    let mut rows: Vec<EventRow> =
        own.items.iter().filter(|event| !event.name_any().is_empty()).filter_map(EventRow::of).collect();
    rows.retain(|row| is_about(row, Some(&about)));
    rows.sort_by_key(|row| row.at);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(about: &serde_json::Value) -> Event {
        serde_json::from_value(json!({
            "metadata": {"name": "e", "namespace": "nim"}, "regarding": about, "type": "Warning",
            "reason": "Unschedulable", "note": "no node", "eventTime": "2026-11-30T10:00:00.000000Z",
            "series": {"count": 3, "lastObservedTime": "2026-11-30T10:05:00.000000Z"},
        }))
        .unwrap()
    }

    #[test]
    fn events_of_the_fleets_objects_alone_are_shown() {
        let pod = event(&json!({"apiVersion": "v1", "kind": "Pod", "name": "chat", "namespace": "nim"}));
        assert_eq!(EventRow::of(&pod), None);
        let placement = json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "NIMPlacement", "name": "chat", "namespace": "nim"});
        let row = EventRow::of(&event(&placement)).unwrap();
        assert_eq!((row.object.as_str(), row.count), ("nimplacement/nim/chat", 3));
        assert_eq!(row.at, Some("2026-11-30T10:05:00Z".parse().unwrap()));
        let found = FleetEvents { events: vec![row.clone()], hidden: Vec::new() };
        let text = render(&found, "2026-11-30T10:07:00Z".parse().unwrap());
        assert!(anstream::adapter::strip_str(&text).to_string().contains("2m (x3)"), "{text}");
        for (about, is) in [
            (None, true),
            (Some("nimplacement/chat"), true),
            (Some("NIMPlacements/chat"), true),
            (Some("nimplacement/other"), false),
            (Some("gpucluster/chat"), false),
        ] {
            assert_eq!(is_about(&row, about), is, "{about:?}");
        }
    }

    #[test]
    fn an_object_without_a_namespace_has_two_parts() {
        let cluster = json!({"apiVersion": "nimfleet.io/v1alpha1", "kind": "GPUCluster", "name": "east"});
        assert_eq!(EventRow::of(&event(&cluster)).unwrap().object, "gpucluster/east");
    }
}
