//! `get` and `describe`: objects in the clusters that run them, as far as the hub knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crds::fleet::{DecisionState, NIMPlacementDecision, SelectedKind};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{DescribeArgs, GetArgs};
use crate::events::{self, EventRow};
use crate::failure::Failure;
use crate::print::Printer;
use crate::session::{self, Hidden, Seen, Session, call};
use crate::table::{Cell, Table, Tone, age_of, paint};

/// One object in one cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RemoteObject {
    namespace: String,
    kind: String,
    name: String,
    cluster: String,
    placement: String,
    /// What is decided: `Placed`, `Replaced` or `Removing`.
    decision: DecisionState,
    reason: Option<String>,
    /// Replicas that the cluster shall run. Absent: as many as the object says.
    replicas: Option<i32>,
    since: Timestamp,
    /// How the placement fares there, by the cluster's last report. Absent while no hub answers.
    #[serde(flatten)]
    report: Option<Report>,
}

/// What the hub knows of a placement in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Report {
    state: Option<String>,
    #[serde(rename(serialize = "reportReason", deserialize = "reason"))]
    reason: Option<String>,
    replicas_summary: String,
    last_heard: Option<Timestamp>,
    message: Option<String>,
}

/// What `get` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct RemoteObjects {
    objects: Vec<RemoteObject>,
    hidden: Vec<Hidden>,
}

/// What `describe` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    namespace: String,
    kind: String,
    name: String,
    /// What the hub's object says of the whole fleet. Absent for a Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    conditions: Vec<Condition>,
    clusters: Vec<RemoteObject>,
    events: Vec<EventRow>,
    hidden: Vec<Hidden>,
}

/// A kind as the user writes it, and a name, from `KIND`, `KIND NAME` or `KIND/NAME`.
fn object_named(kind: Option<&str>, name: Option<&str>) -> Result<(Option<String>, Option<String>), Failure> {
    let Some(kind) = kind else { return Ok((None, None)) };
    let (kind, name) = match (kind.split_once('/'), name) {
        (Some((kind, name)), None) => (kind, Some(name)),
        (Some(_), Some(more)) => {
            return Err(Failure::Usage(format!("{kind} {more}: give KIND/NAME, or KIND and NAME")));
        }
        (None, name) => (kind, name),
    };
    Ok((Some(known_kind(kind)?.to_owned()), name.map(str::to_owned)))
}

/// The kind of that name, in any case, singular or plural.
fn known_kind(word: &str) -> Result<&'static str, Failure> {
    let word = word.to_lowercase();
    let names = || SelectedKind::ALL.into_iter().map(SelectedKind::as_str).chain(["Secret"]);
    let is_it = |kind: &&str| {
        let kind = kind.to_lowercase();
        word == kind || word == format!("{kind}s")
    };
    names().find(is_it).ok_or_else(|| {
        let known = names().map(str::to_lowercase).collect::<Vec<_>>().join(", ");
        Failure::Usage(format!("{word}: is no kind that placements have: use one of {known}"))
    })
}

/// The objects of all slices in their clusters, with what is reported about them.
fn joined(slices: &[NIMPlacementDecision], rows: &[DynamicObject]) -> Vec<RemoteObject> {
    let reported: BTreeMap<(String, String), Report> = rows
        .iter()
        .filter_map(|row| {
            let report: Report = serde_json::from_value(row.data["status"].clone()).ok()?;
            Some(((row.namespace()?, row.name_any()), report))
        })
        .collect();
    let mut objects = Vec::new();
    for slice in slices {
        let (namespace, placement) = (slice.namespace().unwrap_or_default(), &slice.spec.placement_ref.name);
        for row in &slice.spec.decisions {
            for cluster in &row.clusters {
                let report = reported.get(&(namespace.clone(), format!("{placement}.{}", cluster.name)));
                objects.extend(row.objects.iter().map(|object| RemoteObject {
                    namespace: namespace.clone(),
                    kind: object.kind.clone(),
                    name: object.name.clone(),
                    cluster: cluster.name.clone(),
                    placement: placement.clone(),
                    decision: row.state,
                    reason: row.reason.clone(),
                    replicas: object.replicas,
                    since: cluster.since.0,
                    report: report.cloned(),
                }));
            }
        }
    }
    objects.sort_by(|a, b| {
        (&a.namespace, &a.kind, &a.name, &a.cluster).cmp(&(&b.namespace, &b.kind, &b.name, &b.cluster))
    });
    objects
}

/// Reads slices and rows. A hub that does not answer hides the rows alone.
async fn read(session: &Session) -> Result<RemoteObjects, Failure> {
    let (slices, rows) = tokio::join!(session.list::<NIMPlacementDecision>(), session.assignments());
    let slices = slices?;
    let rows = rows.unwrap_or_else(|failure| Seen { items: Vec::new(), hidden: Some(failure.to_string()) });
    let hidden = [Hidden::of("NIMPlacementDecision", &slices), Hidden::of("NIMAssignment", &rows)];
    Ok(RemoteObjects {
        objects: joined(&slices.items, &rows.items),
        hidden: hidden.into_iter().flatten().collect(),
    })
}

/// Prints objects in their clusters.
pub(crate) async fn get(session: &Session, printer: Printer, args: &GetArgs) -> Result<(), Failure> {
    let (kind, name) = object_named(args.kind.as_deref(), args.name.as_deref())?;
    let mut found = read(session).await?;
    found.objects.retain(|object| {
        kind.as_ref().is_none_or(|kind| object.kind == *kind)
            && name.as_ref().is_none_or(|name| object.name == *name)
            && args.cluster.as_ref().is_none_or(|cluster| object.cluster == *cluster)
    });
    let now = Timestamp::now();
    printer.answer("RemoteObjects", &found, |found| {
        let table = table(&found.objects, now);
        let mut out =
            if table.is_empty() { "no objects in any cluster\n".to_owned() } else { table.render(0) };
        out += &session::hidden(&found.hidden);
        out
    })
}

fn state(object: &RemoteObject) -> Cell {
    let reported = object.report.as_ref().and_then(|report| report.state.clone());
    let word = reported.unwrap_or_else(|| format!("{:?}", object.decision));
    let tone = match word.as_str() {
        "Ready" | "Available" => Tone::Good,
        "Failed" | "Rejected" => Tone::Bad,
        _ => Tone::Warning,
    };
    Cell::of(word, tone)
}

fn table(objects: &[RemoteObject], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "NAMESPACE",
        "KIND",
        "NAME",
        "CLUSTER",
        "STATE",
        "READY",
        "REASON",
        "SINCE",
        "PLACEMENT",
    ]);
    for object in objects {
        let report = object.report.clone().unwrap_or_default();
        table.row([
            object.namespace.as_str().into(),
            object.kind.as_str().into(),
            object.name.as_str().into(),
            object.cluster.as_str().into(),
            state(object),
            report.replicas_summary.into(),
            report.reason.or_else(|| object.reason.clone()).unwrap_or_default().into(),
            age_of(Some(object.since), now).into(),
            object.placement.as_str().into(),
        ]);
    }
    table
}

/// Prints one object in its clusters.
pub(crate) async fn describe(
    session: &Session,
    printer: Printer,
    args: &DescribeArgs,
) -> Result<(), Failure> {
    let (kind, name) = object_named(Some(&args.kind), args.name.as_deref())?;
    let (Some(kind), Some(name)) = (kind, name) else {
        return Err(Failure::Usage(format!("{}: name the object, as KIND NAME or KIND/NAME", args.kind)));
    };
    let namespace = session.namespace()?.to_owned();
    let mut found = read(session).await?;
    found.objects.retain(|object| {
        object.kind == kind
            && object.name == name
            && args.cluster.as_ref().is_none_or(|cluster| object.cluster == *cluster)
    });
    let on_hub = if kind == "Secret" { None } else { Some(on_hub(session, &namespace, &kind, &name).await?) };
    let status = on_hub.map(|object| object.data["status"].clone()).unwrap_or_default();
    let description = Description {
        state: status["state"].as_str().map(str::to_owned),
        conditions: conditions(&status),
        clusters: found.objects,
        events: events::of_object(session, &kind, &name).await?,
        hidden: found.hidden,
        namespace,
        kind,
        name,
    };
    let now = Timestamp::now();
    printer.answer("RemoteObject", &description, |description| render(description, now))
}

async fn on_hub(
    session: &Session,
    namespace: &str,
    kind: &str,
    name: &str,
) -> Result<DynamicObject, Failure> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", kind));
    let api: Api<DynamicObject> = Api::namespaced_with(session.client(), namespace, &resource);
    call(format!("{kind} {namespace}/{name}"), api.get(name)).await
}

fn conditions(status: &Value) -> Vec<Condition> {
    let all = status["conditions"].as_array().into_iter().flatten();
    all.filter_map(|condition| serde_json::from_value(condition.clone()).ok()).collect()
}

fn render(description: &Description, now: Timestamp) -> String {
    let Description { namespace, kind, name, state, conditions, clusters, events, hidden } = description;
    let mut out = String::new();
    let _ = writeln!(out, "{}", paint(&format!("{kind} {namespace}/{name}"), Tone::Heading));
    if let Some(state) = state {
        let _ = writeln!(out, "State in the fleet: {state}");
    }
    if !conditions.is_empty() {
        let mut table = Table::new(&["CONDITION", "STATUS", "SINCE", "REASON", "MESSAGE"]);
        for found in conditions {
            table.row([
                found.type_.as_str().into(),
                found.status.as_str().into(),
                age_of(Some(found.last_transition_time.0), now).into(),
                found.reason.as_str().into(),
                found.message.as_str().into(),
            ]);
        }
        let _ = write!(out, "\n{}", table.render(0));
    }
    if clusters.is_empty() {
        out += "\nno cluster has it\n";
    }
    for object in clusters {
        let _ = writeln!(out, "\n{}", paint(&format!("In {}", object.cluster), Tone::Heading));
        let report = object.report.clone().unwrap_or_default();
        let replicas = object.replicas.map_or_else(|| "as the object says".to_owned(), |n| n.to_string());
        let mut field = |field: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(out, "  {:<12}{value}", format!("{field}:"));
            }
        };
        field("Placement", &object.placement);
        field(
            "Decision",
            &format!(
                "{:?}, {}, {} ago",
                object.decision,
                object.reason.as_deref().unwrap_or("no reason"),
                age_of(Some(object.since), now)
            ),
        );
        field("Replicas", &replicas);
        field("State", report.state.as_deref().unwrap_or_default());
        field("Ready", &report.replicas_summary);
        field("Reason", report.reason.as_deref().unwrap_or_default());
        field(
            "Heard",
            &report.last_heard.map(|at| format!("{} ago", age_of(Some(at), now))).unwrap_or_default(),
        );
        field("Message", report.message.as_deref().unwrap_or_default());
    }
    if !events.is_empty() {
        let _ = write!(out, "\n{}\n{}", paint("Events", Tone::Heading), events::table(events, now).render(0));
    }
    out += &session::hidden(hidden);
    out
}

#[cfg(test)]
mod tests;
