//! `why` and `simulate`: where, why there, and why not elsewhere, with the numbers of the hub's decision.

use std::fmt::Write as _;
use std::path::Path;

use crds::fleet::{DecisionState, NIMPlacement, NIMPlacementDecision, Refusal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::{SimulateArgs, WhyArgs};
use crate::failure::{DONE, Failure, NO};
use crate::print::Printer;
use crate::session::{self, Hidden, Seen, Session};
use crate::status::PlacementRow;
use crate::table::{Cell, Table, Tone, age_of, paint};

/// A decision in full, as `query.nimfleet.io` answers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Explanation {
    /// Whether everything that is wanted is given.
    pub(crate) scheduled: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) wanted_clusters: u32,
    pub(crate) wanted_replicas: u32,
    pub(crate) given_replicas: u32,
    /// Why a lost cluster is not replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
    pub(crate) clusters: Vec<Verdict>,
}

/// What was found about one cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Verdict {
    pub(crate) cluster: String,
    /// `Chosen`, `Stays`, `Replaced`, `Leaves`, `Eligible` or `Refused`.
    #[serde(rename = "verdict")]
    pub(crate) word: String,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) score: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replicas: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) score_parts: Vec<ScorePart>,
    pub(crate) connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reported_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report_age_seconds: Option<i64>,
}

/// What a score is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ScorePart {
    pub(crate) name: String,
    /// Of 100.
    pub(crate) points: u32,
    pub(crate) weight: u32,
}

impl Verdict {
    /// Whether the placement is to be there.
    pub(crate) fn is_chosen(&self) -> bool {
        matches!(self.word.as_str(), "Chosen" | "Stays")
    }

    /// `free capacity 97×20`: points of 100, and weight, of each part.
    fn parts(&self) -> String {
        let part = |part: &ScorePart| format!("{} {}×{}", part.name, part.points, part.weight);
        self.score_parts.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// Where a placement runs, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Why {
    pub(crate) placement: PlacementRow,
    /// Its clusters, as the hub has written them down.
    pub(crate) clusters: Vec<Decided>,
    /// What of them the caller may not see.
    pub(crate) hidden: Vec<Hidden>,
    /// What the hub would decide now. Absent while no hub answers, or for a caller who may not ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<Explanation>,
    /// Why there is no explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unexplained: Option<String>,
    /// Why clusters were refused when the hub last decided, as the placement's status has it.
    pub(crate) refusals: Vec<Refusal>,
}

/// A cluster that a placement has.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Decided {
    pub(crate) cluster: String,
    /// `Placed`, `Replaced` or `Removing`.
    pub(crate) state: DecisionState,
    pub(crate) reason: Option<String>,
    pub(crate) score: Option<i64>,
    pub(crate) since: Timestamp,
    /// NIM objects there, as `NIMService/llama`.
    pub(crate) objects: Vec<String>,
}

/// The clusters of a placement, from its slices.
pub(crate) fn decided(slices: &[NIMPlacementDecision]) -> Vec<Decided> {
    let mut all = Vec::new();
    for row in slices.iter().flat_map(|slice| &slice.spec.decisions) {
        let objects: Vec<String> =
            row.objects.iter().map(|object| format!("{}/{}", object.kind, object.name)).collect();
        all.extend(row.clusters.iter().map(|cluster| Decided {
            cluster: cluster.name.clone(),
            state: row.state,
            reason: row.reason.clone(),
            score: cluster.score,
            since: cluster.since.0,
            objects: objects.clone(),
        }));
    }
    all.sort_by(|a, b| (&a.cluster, a.state).cmp(&(&b.cluster, b.state)));
    all
}

/// The question of `why`, answered as far as the caller may know and a hub answers.
pub(crate) async fn ask(session: &Session, name: &str) -> Result<Why, Failure> {
    let (placement, slices, answer) = tokio::join!(
        session.placement(name),
        session.decisions(name),
        session.ask("PlacementExplanation", name),
    );
    let explanation = answer.and_then(|answer| read(answer, "PlacementExplanation"));
    Ok(Why::of(&placement?, &slices?, explanation.map_err(|failure| failure.to_string())))
}

impl Why {
    fn of(
        placement: &NIMPlacement,
        slices: &Seen<NIMPlacementDecision>,
        explanation: Result<Explanation, String>,
    ) -> Self {
        let (explanation, unexplained) = match explanation {
            Ok(explanation) => (Some(explanation), None),
            Err(words) => (None, Some(words)),
        };
        Self {
            placement: PlacementRow::of(placement),
            clusters: decided(&slices.items),
            hidden: Hidden::of("NIMPlacementDecision", slices).into_iter().collect(),
            explanation,
            unexplained,
            refusals: placement.status.as_ref().map(|status| status.refusals.clone()).unwrap_or_default(),
        }
    }
}

/// The status of an answer of the query API.
fn read(mut answer: Value, kind: &str) -> Result<Explanation, Failure> {
    serde_json::from_value(answer["status"].take()).map_err(|error| {
        Failure::Refused(format!(
            "{kind}: {error}: the hub is of another version than this plugin ({}): use the one of its release",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// Prints where, why there and why not elsewhere.
pub(crate) async fn print(session: &Session, printer: Printer, args: &WhyArgs) -> Result<(), Failure> {
    let why = ask(session, &args.placement).await?;
    let now = Timestamp::now();
    printer.answer("PlacementReport", &why, |why| render(why, now))
}

fn render(why: &Why, now: Timestamp) -> String {
    let Why { placement: row, clusters, hidden, explanation, unexplained, refusals } = why;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} {}: clusters {}, replicas {} ready",
        paint(&format!("NIMPlacement {}/{}", row.namespace, row.name), Tone::Heading),
        paint(&row.phase, row.tone()),
        row.clusters,
        row.replicas
    );
    if !row.message.is_empty() {
        let _ = writeln!(out, "{}: {}", row.reason, row.message);
    }
    out.push('\n');
    let verdict = |cluster: &str| {
        let verdicts = explanation.iter().flat_map(|explanation| &explanation.clusters);
        verdicts.into_iter().find(|verdict| verdict.cluster == cluster)
    };
    let mut there = Table::new(&["WHERE", "STATE", "SINCE", "SCORE", "REASON", "OBJECTS", "BECAUSE"]);
    for decided in clusters {
        let found = verdict(&decided.cluster);
        let (because, parts) = found.map(|found| (found.message.clone(), found.parts())).unwrap_or_default();
        let because = if parts.is_empty() { because } else { format!("{because} ({parts})") };
        let tone = if decided.state == DecisionState::Placed { Tone::Good } else { Tone::Warning };
        there.row([
            decided.cluster.as_str().into(),
            Cell::of(format!("{:?}", decided.state), tone),
            age_of(Some(decided.since), now).into(),
            decided.score.map(|score| score.to_string()).unwrap_or_default().into(),
            decided.reason.clone().unwrap_or_default().into(),
            decided.objects.join(", ").into(),
            because.trim().into(),
        ]);
    }
    out += &match (there.is_empty(), hidden.is_empty()) {
        (true, true) => "it is placed nowhere\n".to_owned(),
        (true, false) => String::new(),
        (false, _) => there.render(0),
    };
    out += &session::hidden(hidden);
    match (explanation, unexplained) {
        (Some(explanation), _) => {
            out.push('\n');
            let has = |cluster: &str| clusters.iter().any(|decided| decided.cluster == cluster);
            out += &elsewhere(explanation, |verdict| has(&verdict.cluster));
        }
        (None, Some(words)) => {
            let _ = writeln!(
                out,
                "\n{}",
                paint(&format!("why not elsewhere is not known: {words}"), Tone::Warning)
            );
            out += &refused_before(refusals);
        }
        (None, None) => {}
    }
    out
}

/// What the hub wrote down when it last decided.
fn refused_before(refusals: &[Refusal]) -> String {
    let mut table = Table::new(&["REFUSED BEFORE", "CLUSTERS", "NUMBERS"]);
    for refusal in refusals {
        table.row([
            Cell::of(refusal.reason.as_str(), Tone::Warning),
            format!("{}: {}", refusal.count, refusal.clusters.join(", ")).into(),
            refusal.message.clone().unwrap_or_default().into(),
        ]);
    }
    if table.is_empty() { String::new() } else { format!("\n{}", table.render(0)) }
}

/// The clusters beside those that have been shown, and the decision in a sentence.
fn elsewhere(explanation: &Explanation, is_shown: impl Fn(&Verdict) -> bool) -> String {
    let mut out = String::new();
    let mut table = Table::new(&["NOT ELSEWHERE", "REASON", "REPORT AGE", "NUMBERS"]);
    for verdict in explanation.clusters.iter().filter(|verdict| !is_shown(verdict)) {
        let tone = if verdict.word == "Eligible" { Tone::Good } else { Tone::Warning };
        table.row([
            verdict.cluster.as_str().into(),
            Cell::of(verdict.reason.as_str(), tone),
            verdict.report_age_seconds.map(|seconds| format!("{seconds}s")).unwrap_or_default().into(),
            verdict.message.as_str().into(),
        ]);
    }
    if !table.is_empty() {
        out += &table.render(0);
        out.push('\n');
    }
    let tone = if explanation.scheduled { Tone::Good } else { Tone::Warning };
    let _ = writeln!(out, "asked now: {}: {}", paint(&explanation.reason, tone), explanation.message);
    if let Some(held) = &explanation.held {
        let _ = writeln!(out, "not replaced: {held}");
    }
    out
}

/// What was supposed, and what would be decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Simulated {
    namespace: String,
    without_clusters: Vec<String>,
    #[serde(flatten)]
    explanation: Explanation,
}

/// Prints what would be decided, and says by the exit status whether everything would be placed.
pub(crate) async fn simulate(
    session: &Session,
    printer: Printer,
    args: &SimulateArgs,
) -> Result<u8, Failure> {
    let mut documents = Vec::new();
    for file in &args.filename {
        documents.extend(documents_of(file)?);
    }
    let applied = match (&args.placement, placement_among(&documents)) {
        (None, Some(name)) => is_applied(session, name).await?.then(|| name.to_owned()),
        (given, _) => given.clone(),
    };
    let mut spec = supposition(documents, applied.as_deref(), session.namespace()?)?;
    let mut without: Vec<String> = serde_json::from_value(spec["withoutClusters"].take()).unwrap_or_default();
    without.extend(args.without_cluster.iter().cloned());
    spec["withoutClusters"] = json!(without);
    let explanation = read(session.simulate(spec).await?, "PlacementSimulation")?;
    let simulated =
        Simulated { namespace: session.namespace()?.to_owned(), without_clusters: without, explanation };
    printer.answer("SimulationReport", &simulated, render_simulated)?;
    Ok(if simulated.explanation.scheduled { DONE } else { NO })
}

/// The manifests of a file; of stdin if it is `-`.
fn documents_of(file: &Path) -> Result<Vec<Value>, Failure> {
    let unread = |source| Failure::Io { what: file.display().to_string(), source };
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin()).map_err(unread)?
    } else {
        std::fs::read_to_string(file).map_err(unread)?
    };
    let read = serde_saphyr::from_multiple::<Value>(&text);
    let documents = read.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Name of the first NIMPlacement among manifests.
fn placement_among(documents: &[Value]) -> Option<&str> {
    documents.iter().find(|document| document["kind"] == "NIMPlacement")?["metadata"]["name"].as_str()
}

/// Whether a NIMPlacement of that name is on the hub: then what it has counts as placed. Who may not read it supposes a new one.
async fn is_applied(session: &Session, name: &str) -> Result<bool, Failure> {
    match session.placement(name).await {
        Ok(_) => Ok(true),
        Err(Failure::Call { error, .. }) if error.is_not_found() || error.is_forbidden() => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// The spec of a simulation: a NIMPlacement among the manifests is the placement, everything else is an object that it may
/// select. A PlacementSimulation among them says all of that by itself.
fn supposition(documents: Vec<Value>, placement: Option<&str>, namespace: &str) -> Result<Value, Failure> {
    let mut spec = Map::new();
    let mut manifests = Vec::new();
    if let Some(name) = placement {
        spec.insert("placementName".to_owned(), json!(name));
    }
    for mut document in documents {
        let elsewhere = document["metadata"]["namespace"].as_str().filter(|other| *other != namespace);
        if let Some(other) = elsewhere {
            return Err(Failure::Usage(format!(
                "{} {}: is of namespace {other}, and what is asked about is {namespace}: name it with --namespace {other}",
                document["kind"].as_str().unwrap_or("manifest"),
                document["metadata"]["name"].as_str().unwrap_or_default(),
            )));
        }
        let several = |what: &str| {
            Failure::Usage(format!("--filename: there is more than one {what}: simulate them one by one"))
        };
        match document["kind"].as_str() {
            Some("NIMPlacement") => {
                if spec.insert("placement".to_owned(), document["spec"].take()).is_some() {
                    return Err(several("NIMPlacement"));
                }
            }
            Some("PlacementSimulation") => {
                let Value::Object(given) = document["spec"].take() else { continue };
                if given.keys().any(|key| spec.contains_key(key)) {
                    return Err(several("placement"));
                }
                spec.extend(given);
            }
            Some("List") => {
                return Err(Failure::Usage(
                    "--filename: a List cannot be simulated: write its items as documents of the file"
                        .to_owned(),
                ));
            }
            _ => manifests.push(document),
        }
    }
    if let Some(Value::Array(given)) = spec.remove("manifests") {
        manifests.extend(given);
    }
    spec.insert("manifests".to_owned(), Value::Array(manifests));
    Ok(Value::Object(spec))
}

fn render_simulated(simulated: &Simulated) -> String {
    let Simulated { explanation, without_clusters, .. } = simulated;
    let mut out = String::new();
    if !without_clusters.is_empty() {
        let _ = writeln!(out, "without {}\n", without_clusters.join(", "));
    }
    let mut table = Table::new(&["WOULD RUN ON", "VERDICT", "REPLICAS", "SCORE", "REASON", "BECAUSE"]);
    for verdict in explanation.clusters.iter().filter(|verdict| verdict.is_chosen()) {
        table.row([
            verdict.cluster.as_str().into(),
            Cell::of(verdict.word.as_str(), Tone::Good),
            verdict.replicas.map(|replicas| replicas.to_string()).unwrap_or_default().into(),
            verdict.score.map(|score| score.to_string()).unwrap_or_default().into(),
            verdict.reason.as_str().into(),
            verdict.message.as_str().into(),
        ]);
    }
    out += &if table.is_empty() { "it would be placed nowhere\n".to_owned() } else { table.render(0) };
    out.push('\n');
    out += &elsewhere(explanation, Verdict::is_chosen);
    out
}

#[cfg(test)]
mod tests;
