//! How far the claims have come.

use std::sync::Arc;

use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::in_pod::PodClaim;
use super::names::Source;
use crate::operator::engine::kind::Subject;
use crate::operator::engine::world::World;

/// On a claim made from a template: the name of the claim in its pod.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";

/// A ResourceClaim of the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimView {
    name: String,
    /// Its name in the pod it was made for; empty when it was made by hand.
    in_pod: String,
    state: String,
}

/// The claims of the namespace, oldest first. A cluster without the API has none.
pub(super) fn observe(subject: &Subject, world: &World) -> Vec<ClaimView> {
    views(world.claims.of_namespace(&subject.owner.namespace, |_| true))
}

fn views(mut claims: Vec<Arc<DynamicObject>>) -> Vec<ClaimView> {
    claims.sort_by(|a, b| {
        let age = |claim: &DynamicObject| claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
        age(a).cmp(&age(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    claims.iter().map(|claim| view(claim)).collect()
}

fn view(claim: &DynamicObject) -> ClaimView {
    let annotations = claim.metadata.annotations.as_ref();
    let status = &claim.data["status"];
    let deleted = claim.metadata.deletion_timestamp.is_some();
    let allocated = status["allocation"].is_object();
    let reserved = status["reservedFor"].as_array().is_some_and(|by| !by.is_empty());
    let words = [
        ("deleted", deleted),
        ("pending", !allocated && !deleted),
        ("allocated", allocated),
        ("reserved", allocated && reserved),
    ];
    let state: Vec<&str> = words.into_iter().filter_map(|(word, holds)| holds.then_some(word)).collect();
    ClaimView {
        name: claim.metadata.name.clone().unwrap_or_default(),
        in_pod: annotations.and_then(|all| all.get(POD_CLAIM)).cloned().unwrap_or_default(),
        state: state.join(","),
    }
}

/// What the status tells of one claim of the pod.
pub(super) fn row(claim: &PodClaim, seen: &[ClaimView]) -> Value {
    let of = |view: &ClaimView| json!({"name": view.name, "state": view.state});
    match claim.source {
        Source::Claim => {
            let found = seen.iter().find(|view| view.name == claim.resource);
            let told = found.map_or_else(|| json!({"name": claim.resource, "state": "missing"}), of);
            json!({"name": claim.name, "resourceClaimStatus": told})
        }
        Source::Template | Source::DomainTemplate => {
            let made: Vec<Value> = seen.iter().filter(|view| view.in_pod == claim.name).map(of).collect();
            let mut told = json!({"name": claim.resource});
            if !made.is_empty() {
                told["resourceClaimStatuses"] = json!(made);
            }
            json!({"name": claim.name, "resourceClaimTemplateStatus": told})
        }
    }
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "literals are handed over as they are written")]
mod tests {
    use super::*;

    fn claim(name: &str, minute: u32, patch: Value) -> Arc<DynamicObject> {
        let mut object = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim",
            "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z"), "annotations": {POD_CLAIM: "in-pod"}},
        });
        for (key, value) in patch.as_object().cloned().unwrap_or_default() {
            for (field, value) in value.as_object().cloned().unwrap_or_default() {
                object[&key][field] = value;
            }
        }
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn pod_claim(source: Source, resource: &str) -> PodClaim {
        PodClaim { name: "in-pod".into(), resource: resource.into(), source, requests: Vec::new() }
    }

    #[test]
    fn accept_dra_statuses() {
        let by = json!([{"resource": "pods", "name": "p", "uid": "u"}]);
        let seen = views(vec![
            claim("young", 9, json!({"status": {"allocation": {}, "reservedFor": by}})),
            claim("old", 1, json!({})),
            claim("middle", 5, json!({"status": {"allocation": {}}})),
            claim("going", 6, json!({"metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}})),
            claim(
                "going-used",
                7,
                json!({"metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}, "status": {"allocation": {}, "reservedFor": by}}),
            ),
            claim("other", 0, json!({"metadata": {"annotations": {}}})),
        ]);
        let told = row(&pod_claim(Source::Template, "t"), &seen);
        assert_eq!(
            told["resourceClaimTemplateStatus"],
            json!({"name": "t", "resourceClaimStatuses": [
                {"name": "old", "state": "pending"},
                {"name": "middle", "state": "allocated"},
                {"name": "going", "state": "deleted"},
                {"name": "going-used", "state": "deleted,allocated,reserved"},
                {"name": "young", "state": "allocated,reserved"},
            ]})
        );
        let direct = row(&pod_claim(Source::Claim, "other"), &seen);
        assert_eq!(
            direct,
            json!({"name": "in-pod", "resourceClaimStatus": {"name": "other", "state": "pending"}})
        );
        let missing = row(&pod_claim(Source::Claim, "nowhere"), &seen);
        assert_eq!(missing["resourceClaimStatus"]["state"], "missing");
        assert_eq!(
            row(&pod_claim(Source::Template, "t"), &[])["resourceClaimTemplateStatus"],
            json!({"name": "t"})
        );
    }
}
