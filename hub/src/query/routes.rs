//! Paths of the API and what they answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, body::Bytes};
use hub_scheduler::fleet::PlacementKey;
use kube::Client;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::access::{self, Asked};
use super::answer::Refusal;
use super::front_proxy::{FrontProxy, User};
use super::pace::Pace;
use super::table::Column;
use super::{API_VERSION, SimulationSpec, bounds, capacity, discovery, table};
use crate::controllers::{Assignment, Hub, assignments, explanation, known_cluster, simulation};

/// Largest simulation, bytes: what an API server takes in an object.
const LARGEST: usize = 3 * 1024 * 1024;

/// What `kubectl get nimassignments` shows.
const COLUMNS: [Column; 9] = [
    Column { name: "Name", kind: "string", pointer: "/metadata/name", priority: 0 },
    Column { name: "Placement", kind: "string", pointer: "/status/placement", priority: 0 },
    Column { name: "Cluster", kind: "string", pointer: "/status/cluster", priority: 0 },
    Column { name: "State", kind: "string", pointer: "/status/state", priority: 0 },
    Column { name: "Ready", kind: "string", pointer: "/status/replicasSummary", priority: 0 },
    Column { name: "Reason", kind: "string", pointer: "/status/reason", priority: 0 },
    Column { name: "Since", kind: "string", pointer: "/status/since", priority: 0 },
    Column { name: "Heard", kind: "string", pointer: "/status/lastHeard", priority: 1 },
    Column { name: "Message", kind: "string", pointer: "/status/message", priority: 1 },
];

/// What requests are answered from.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) hub: Arc<Hub>,
    pub(super) client: Client,
    pub(super) proxy: watch::Receiver<Option<FrontProxy>>,
    pub(super) pace: Arc<Pace>,
}

/// What a list may be narrowed by; nothing of it is served.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Narrowed {
    label_selector: String,
    field_selector: String,
    watch: String,
}

/// All paths.
pub(super) fn router(answering: Answering) -> Router {
    let base = "/apis/query.nimfleet.io/v1alpha1";
    let one = format!("{base}/namespaces/{{namespace}}");
    Router::new()
        .route(base, get(|| async { Json(discovery::resources()) }))
        .route(&format!("{base}/nimassignments"), get(everywhere))
        .route(&format!("{one}/nimassignments"), get(of_namespace))
        .route(&format!("{one}/nimassignments/{{name}}"), get(of_name))
        .route(&format!("{base}/clustercapacities"), get(capacities_one_by_one))
        .route(&format!("{base}/clustercapacities/{{name}}"), get(of_cluster))
        .route(&format!("{base}/placementexplanations"), get(one_by_one))
        .route(&format!("{one}/placementexplanations"), get(one_by_one))
        .route(&format!("{one}/placementexplanations/{{name}}"), get(explained))
        .route(&format!("{base}/placementsimulations"), get(not_kept))
        .route(&format!("{one}/placementsimulations"), post(simulated).get(not_kept))
        .fallback(|| async { Refusal::not_found(format!("there is no such path in {API_VERSION}")) })
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(answering)
}

impl Answering {
    /// Refuses who may not.
    async fn admit(&self, headers: &HeaderMap, asked: Asked<'_>) -> Result<(), Refusal> {
        access::check(&self.client, self.user(headers)?, asked).await
    }

    /// Refuses who may not, or asks too often, what takes a decision to answer.
    async fn admit_decision(&self, headers: &HeaderMap, asked: Asked<'_>) -> Result<(), Refusal> {
        let user = self.user(headers)?;
        self.pace.of_user(&user.name)?;
        access::check(&self.client, user, asked).await?;
        self.pace.of_all()
    }

    fn user(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let user = self.proxy.borrow().as_ref().and_then(|proxy| proxy.user(headers));
        user.ok_or_else(Refusal::unauthorized)
    }
}

async fn everywhere(
    State(here): State<Answering>,
    Query(narrowed): Query<Narrowed>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&here, &headers, None, &narrowed).await
}

async fn of_namespace(
    State(here): State<Answering>,
    Path(namespace): Path<String>,
    Query(narrowed): Query<Narrowed>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    list(&here, &headers, Some(&namespace), &narrowed).await
}

async fn list(
    here: &Answering,
    headers: &HeaderMap,
    namespace: Option<&str>,
    narrowed: &Narrowed,
) -> Result<Response, Refusal> {
    let asked = Asked { verb: "list", resource: "nimassignments", namespace, name: None };
    here.admit(headers, asked).await?;
    if !(narrowed.label_selector.is_empty() && narrowed.field_selector.is_empty()) {
        return Err(Refusal::bad_request("nimassignments have no selectors: list them without".to_owned()));
    }
    if ["1", "true"].contains(&narrowed.watch.as_str()) {
        return Err(Refusal::bad_request("nimassignments cannot be watched: list them again".to_owned()));
    }
    let objects: Vec<Value> = assignments(&here.hub, namespace).iter().map(object).collect();
    if is_table(headers) {
        return Ok(Json(table::of(&objects, &COLUMNS)).into_response());
    }
    let list =
        json!({"kind": "NIMAssignmentList", "apiVersion": API_VERSION, "metadata": {}, "items": objects});
    Ok(Json(list).into_response())
}

async fn of_name(
    State(here): State<Answering>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (resource, of) = ("nimassignments", Some(namespace.as_str()));
    here.admit(&headers, Asked { verb: "get", resource, namespace: of, name: Some(&name) }).await?;
    let found = assignments(&here.hub, of).iter().map(object).find(|one| one["metadata"]["name"] == *name);
    let missing = || {
        Refusal::not_found(format!(
            "nimassignments.query.nimfleet.io {name:?} not found: names are PLACEMENT.CLUSTER"
        ))
    };
    let found = found.ok_or_else(missing)?;
    let answer = if is_table(&headers) { table::of(&[found], &COLUMNS) } else { found };
    Ok(Json(answer).into_response())
}

/// What `kubectl get clustercapacities NAME` shows.
const CAPACITY: [Column; 8] = [
    Column { name: "Name", kind: "string", pointer: "/metadata/name", priority: 0 },
    Column { name: "GPUs", kind: "string", pointer: "/status/gpuSummary", priority: 0 },
    Column { name: "Products", kind: "integer", pointer: "/status/counts/gpus", priority: 0 },
    Column { name: "Caches", kind: "integer", pointer: "/status/counts/caches", priority: 0 },
    Column { name: "Platforms", kind: "integer", pointer: "/status/counts/platforms", priority: 0 },
    Column {
        name: "Storage classes",
        kind: "integer",
        pointer: "/status/counts/storageClasses",
        priority: 0,
    },
    Column { name: "Devices", kind: "integer", pointer: "/status/counts/devices", priority: 0 },
    Column { name: "Received", kind: "string", pointer: "/status/receivedAt", priority: 0 },
];

/// All of them would be too much for one answer.
async fn capacities_one_by_one() -> Refusal {
    let words = "clustercapacities are asked for one by one: kubectl get clustercapacities NAME --output yaml, of the GPUCluster NAME";
    Refusal::not_allowed(words.to_owned())
}

async fn of_cluster(
    State(here): State<Answering>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let asked = Asked { verb: "get", resource: "clustercapacities", namespace: None, name: Some(&name) };
    here.admit(&headers, asked).await?;
    let object = capacity::object(&name, known_cluster(&here.hub, &name).as_ref())?;
    Ok(Json(if is_table(&headers) { table::of(&[object], &CAPACITY) } else { object }).into_response())
}

/// A list would decide every placement anew.
async fn one_by_one() -> Refusal {
    let words = "placementexplanations are asked for one by one: kubectl get placementexplanations NAME, of the NIMPlacement NAME";
    Refusal::not_allowed(words.to_owned())
}

async fn not_kept() -> Refusal {
    let words =
        "placementsimulations are answered and not kept: kubectl create --output yaml --filename SIMULATION";
    Refusal::not_allowed(words.to_owned())
}

async fn explained(
    State(here): State<Answering>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let asked = Asked {
        verb: "get",
        resource: "placementexplanations",
        namespace: Some(&namespace),
        name: Some(&name),
    };
    here.admit_decision(&headers, asked).await?;
    let explanation =
        explanation(&here.hub, &PlacementKey { namespace: namespace.clone(), name: name.clone() }).await?;
    let object = json!({
        "kind": "PlacementExplanation", "apiVersion": API_VERSION,
        "metadata": {"name": name, "namespace": namespace}, "status": explanation,
    });
    Ok(Json(if is_table(&headers) { table::of(&verdicts(&object), &VERDICTS) } else { object })
        .into_response())
}

/// What `kubectl get placementexplanations NAME` shows: one row per cluster.
const VERDICTS: [Column; 6] = [
    Column { name: "Cluster", kind: "string", pointer: "/row/cluster", priority: 0 },
    Column { name: "Verdict", kind: "string", pointer: "/row/verdict", priority: 0 },
    Column { name: "Reason", kind: "string", pointer: "/row/reason", priority: 0 },
    Column { name: "Score", kind: "integer", pointer: "/row/score", priority: 0 },
    Column { name: "Report age (s)", kind: "integer", pointer: "/row/reportAgeSeconds", priority: 0 },
    Column { name: "Message", kind: "string", pointer: "/row/message", priority: 0 },
];

fn verdicts(object: &Value) -> Vec<Value> {
    let rows = object["status"]["clusters"].as_array();
    rows.into_iter().flatten().map(|row| json!({"metadata": object["metadata"], "row": row})).collect()
}

/// A simulation as it is sent: nothing of it is stored, and it comes back with its answer.
#[derive(Debug, Deserialize)]
struct Simulation {
    #[serde(default)]
    spec: SimulationSpec,
}

async fn simulated(
    State(here): State<Answering>,
    Path(namespace): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let asked =
        Asked { verb: "create", resource: "placementsimulations", namespace: Some(&namespace), name: None };
    here.admit_decision(&headers, asked).await?;
    let unread = |error: serde_json::Error| Refusal::bad_request(format!("PlacementSimulation: {error}"));
    let sent: Map<String, Value> = serde_json::from_slice(&body).map_err(unread)?;
    let mut answer = simulated_in(&namespace, sent)?;
    bounds::check(answer.get("spec").unwrap_or(&Value::Null)).map_err(Refusal::bad_request)?;
    let sent = Simulation::deserialize(&answer).map_err(unread)?;
    let explanation = simulation(&here.hub, &namespace, sent.spec).await?;
    answer["status"] = serde_json::to_value(&explanation).unwrap_or_default();
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// What was sent, as an object of its namespace.
fn simulated_in(namespace: &str, mut sent: Map<String, Value>) -> Result<Value, Refusal> {
    let metadata = sent.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else {
        let words = format!(
            "PlacementSimulation: metadata: {metadata} is no object: leave it out, or give name and labels"
        );
        return Err(Refusal::bad_request(words));
    };
    metadata.insert("namespace".to_owned(), Value::from(namespace));
    sent.insert("apiVersion".to_owned(), Value::from(API_VERSION));
    sent.insert("kind".to_owned(), Value::from("PlacementSimulation"));
    Ok(Value::Object(sent))
}

fn is_table(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(table::is_asked_for)
}

/// A row as an object.
fn object(assignment: &Assignment) -> Value {
    let Assignment { placement, row, since, last_heard } = assignment;
    let number = |replicas: Option<i32>| replicas.unwrap_or_default();
    json!({
        "kind": "NIMAssignment", "apiVersion": API_VERSION,
        "metadata": {
            "name": format!("{}.{}", placement.name, row.cluster_name), "namespace": placement.namespace,
            "creationTimestamp": format!("{since:.0}"),
        },
        "status": {
            "placement": placement.name, "cluster": row.cluster_name, "state": row.state, "reason": row.reason,
            "score": row.score, "replicas": row.replicas, "readyReplicas": row.ready_replicas,
            "replicasSummary": format!("{}/{}", number(row.ready_replicas), number(row.replicas)),
            "since": format!("{since:.0}"), "lastHeard": last_heard.map(|at| format!("{at:.0}")),
            "message": row.message,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulation_whose_metadata_is_no_object_is_refused_with_the_field() {
        for metadata in ["\"x\"", "[]", "null", "7"] {
            let sent = serde_json::from_str(&format!("{{\"metadata\": {metadata}}}")).unwrap();
            let refusal = format!("{:?}", simulated_in("ns", sent).unwrap_err());
            assert!(refusal.contains("metadata") && refusal.contains("no object"), "{refusal}");
        }
        for (sent, name) in [(json!({}), Value::Null), (json!({"metadata": {"name": "a"}}), json!("a"))] {
            let answer = simulated_in("ns", sent.as_object().cloned().unwrap()).unwrap();
            assert_eq!(
                (&answer["metadata"]["namespace"], &answer["metadata"]["name"]),
                (&json!("ns"), &name)
            );
        }
    }
}
