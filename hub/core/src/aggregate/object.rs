//! Status of a hub's NIM object: the fleet's, in the words of the NIM Operator.

use crds::condition::{self, Finding, Truth};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Map, Value, json};

use super::{
    Delivery, Place, Reason, View,
    standing::{self, Stage, Standing},
};
use crate::scheduler::NAMED;

/// Profiles that `status.profiles` of a NIMCache shows, and their bytes as JSON: clusters report what they like.
const PROFILES: usize = 256;
const PROFILE_BYTES: usize = 128 << 10;

/// States of a NIMCache or a NIMBuild on its way, the least advanced first.
const STATES_ON_THE_WAY: [&str; 6] = ["NotReady", "PVC-Created", "Started", "Pending", "InProgress", "Ready"];

/// Kinds that have no replicas, whose status says so by having no such field.
const WITHOUT_REPLICAS: [&str; 2] = ["NIMPipeline", "NIMBuild"];

/// `status` of the NIM object `uid`, complete, for one server-side apply: `state`, the conditions `Ready` and
/// `Failed`, and what the kind adds: `profiles` and `pvc` of a NIMCache, `availableReplicas` of what has replicas.
/// `generation` is the object's; `stored` are its conditions, for their times: those of other types are left
/// to whoever wrote them.
#[must_use]
pub fn object_status(view: &View<'_>, kind: &str, uid: &str, generation: i64, stored: &[Condition]) -> Value {
    let places: Vec<(&Place<'_>, &Delivery<'_>, Standing)> = view
        .places
        .iter()
        .filter(|place| place.counts())
        .filter_map(|place| {
            let delivery = place.deliveries.iter().find(|delivery| delivery.object.uid == uid)?;
            Some((place, delivery, standing::of(delivery, place.link)))
        })
        .collect();
    let mut conditions: Vec<Condition> = stored
        .iter()
        .filter(|condition| ["Ready", "Failed"].contains(&condition.type_.as_str()))
        .cloned()
        .collect();
    let (profiles, more) = if kind == "NIMCache" { profiles(&places) } else { (Vec::new(), 0) };
    let mut is_ready = ready(view, uid, &places);
    if more > 0 {
        let all = profiles.len() + more;
        is_ready.message = format!("{}; status.profiles shows {} of {all}", is_ready.message, profiles.len());
    }
    for finding in [is_ready, failed(&places)] {
        condition::set(&mut conditions, finding, Some(generation), view.now);
    }
    let ready = condition::is_true(&conditions, "Ready");
    let failed = condition::is_true(&conditions, "Failed");
    let mut status = Map::new();
    status.insert("state".to_owned(), json!(state(kind, &places, ready, failed)));
    status.insert("conditions".to_owned(), json!(conditions));
    if kind == "NIMCache" {
        if !profiles.is_empty() {
            status.insert("profiles".to_owned(), json!(profiles));
        }
        if let Some(claim) = claim(&places) {
            status.insert("pvc".to_owned(), json!(claim));
        }
    } else if !WITHOUT_REPLICAS.contains(&kind) {
        let available: u64 = places.iter().map(|(_, _, standing)| u64::from(standing.ready_replicas)).sum();
        status.insert("availableReplicas".to_owned(), json!(i32::try_from(available).unwrap_or(i32::MAX)));
    }
    Value::Object(status)
}

/// Whether the status of a kind counts replicas.
pub(super) fn has_replicas(kind: &str) -> bool {
    kind != "NIMCache" && !WITHOUT_REPLICAS.contains(&kind)
}

type Stood<'a> = (&'a Place<'a>, &'a Delivery<'a>, Standing);

/// True if every cluster that is wanted has it ready; Unknown if only silent clusters stand in the way.
fn ready(view: &View<'_>, uid: &str, places: &[Stood<'_>]) -> Finding<'static> {
    let outcome = &view.decision.outcome;
    let Some((_, _, worst)) = places.iter().min_by_key(|(_, _, standing)| standing.stage) else {
        return Finding::new("Ready", false, outcome.reason.as_str(), outcome.message.clone());
    };
    if worst.stage == Stage::Ready {
        if !outcome.complete {
            return Finding::new("Ready", false, outcome.reason.as_str(), outcome.message.clone());
        }
        let clusters: Vec<_> =
            places.iter().take(NAMED).map(|(place, ..)| place.cluster().as_str()).collect();
        let plural = if places.len() == 1 { "" } else { "s" };
        let message = format!("ready in {} cluster{plural}: {}", places.len(), clusters.join(", "));
        return Finding::new("Ready", true, Reason::Ready.as_str(), message);
    }
    let unready = places.iter().filter(|(_, _, standing)| standing.stage != Stage::Ready);
    let silent_only = unready.clone().all(|(_, _, standing)| standing.stage == Stage::Silent);
    let truth = if silent_only && outcome.complete { Truth::Unknown } else { Truth::False };
    let done = places.len() - unready.clone().count();
    let mut sentences: Vec<_> = unready
        .take(NAMED)
        .map(|(place, _, standing)| format!("{}: {}", place.cluster(), standing.message))
        .collect();
    sentences.extend(until_then(view, uid));
    let message = format!("ready in {done} of {} clusters; {}", places.len(), sentences.join("; "));
    Finding::new("Ready", truth, worst.reason.as_str(), message)
}

/// The clusters that are to be left and serve until these do; none if there are none.
fn until_then(view: &View<'_>, uid: &str) -> Option<String> {
    let serves = |place: &&Place<'_>| {
        let mut of_object = place.deliveries.iter().filter(|delivery| delivery.object.uid == uid);
        !place.counts() && of_object.any(|delivery| standing::of(delivery, place.link).stage == Stage::Ready)
    };
    let names: Vec<_> =
        view.places.iter().filter(serves).take(NAMED).map(|place| place.cluster().as_str()).collect();
    let verb = if names.len() == 1 { "serves" } else { "serve" };
    (!names.is_empty()).then(|| format!("until then {} {verb}", names.join(", ")))
}

fn failed(places: &[Stood<'_>]) -> Finding<'static> {
    let broken: Vec<_> = places.iter().filter(|(_, _, standing)| standing.stage == Stage::Broken).collect();
    match broken.first() {
        None => Finding::new("Failed", false, Reason::AsExpected.as_str(), "failed in no cluster"),
        Some((_, _, first)) => {
            let sentence =
                |(place, _, standing): &&Stood<'_>| format!("{}: {}", place.cluster(), standing.message);
            let sentences: Vec<_> = broken.iter().take(NAMED).map(sentence).collect();
            Finding::new("Failed", true, first.reason.as_str(), sentences.join("; "))
        }
    }
}

/// The word of the NIM Operator for the whole fleet: of a NIMCache or a NIMBuild on its way, that of the least advanced
/// cluster.
fn state<'a>(kind: &str, places: &'a [Stood<'a>], ready: bool, failed: bool) -> &'a str {
    if failed {
        return "Failed";
    }
    if ready {
        return "Ready";
    }
    if !["NIMCache", "NIMBuild"].contains(&kind) {
        return "NotReady";
    }
    let states = places.iter().map(|(_, delivery, standing)| match (standing.stage, delivery.status) {
        // A word that no operator has is some spoke's own, and no state of the fleet.
        (Stage::Applied | Stage::Ready, Some(status)) if STATES_ON_THE_WAY.contains(&&*status.state) => {
            status.state.as_str()
        }
        _ => "NotReady",
    });
    let rank = |state: &&str| STATES_ON_THE_WAY.iter().position(|known| known == state).unwrap_or(0);
    // All ready and yet not Ready: some cluster is still wanted.
    states.min_by_key(rank).filter(|state| *state != "Ready").unwrap_or("NotReady")
}

/// The claim that holds the model: by its name where it has the same in every cluster, else by cluster; none where none is
/// told.
fn claim(places: &[Stood<'_>]) -> Option<String> {
    let told = places.iter().filter_map(|(place, delivery, _)| {
        let claim = delivery.status.map(|status| status.claim.as_str()).filter(|claim| !claim.is_empty())?;
        Some((place.cluster(), claim))
    });
    let (_, first) = told.clone().next()?;
    if told.clone().all(|(_, claim)| claim == first) {
        return Some(first.to_owned());
    }
    let rows = told.take(NAMED).map(|(cluster, claim)| format!("{cluster}: {claim}"));
    Some(rows.collect::<Vec<_>>().join(", "))
}

/// Profiles that any cluster holds, by name, with the tags the first of them tells; and how many more there are than are shown.
fn profiles(places: &[Stood<'_>]) -> (Vec<Value>, usize) {
    let mut profiles = std::collections::BTreeMap::new();
    for profile in
        places.iter().filter_map(|(_, delivery, _)| delivery.status).flat_map(|status| &status.profiles)
    {
        profiles.entry(profile.name.as_str()).or_insert(&profile.tags);
    }
    let (all, mut left) = (profiles.len(), PROFILE_BYTES);
    let rows = profiles.into_iter().map(|(name, tags)| json!({"name": name, "config": tags}));
    let fits = |row: &Value| {
        let bytes = row.to_string().len();
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    };
    let shown: Vec<Value> = rows.take(PROFILES).take_while(fits).collect();
    let more = all - shown.len();
    (shown, more)
}
