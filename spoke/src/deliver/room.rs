//! Whether there is room for a gang at this moment. The memory of what was taken is the cluster, as everywhere in this room:
//! an object that was applied has taken its gang, and says so by a mark.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams};

use super::call::carried_out;
use super::cluster::ClusterDeliver;
use super::gang::{self, Gang, Taken};
use super::kinds::NIM_SERVICE;
use super::{DeliverError, LargestFit, ObjectRef, Outcome, RejectionClass, manifest, marks_of};
use crate::facts::Free;

/// For so long nodes are kept for the pods of what was taken. What has no pods by then waits for something else, a download
/// most likely; the hub still counts it, and what has no room then is told by its pods.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(10);

impl ClusterDeliver {
    /// The refusal of a gang for which there is no room now. To be asked while no other gang is taken.
    pub(super) async fn no_room(
        &self,
        object: &ObjectRef,
        gang: &Gang,
    ) -> Result<Option<Outcome>, DeliverError> {
        let services: Api<DynamicObject> = Api::all_with(self.client().clone(), &NIM_SERVICE.resource());
        let delivered = ListParams::default().labels(&manifest::delivered());
        let listed = carried_out("list what was taken", services.list_metadata(&delivered)).await?;
        // Looked at last: pods that got their nodes meanwhile are seen.
        let unseen = || DeliverError::Unseen { object: object.to_string() };
        let free = self.look().now().await.ok_or_else(unseen)?;
        let now = Timestamp::now();
        let metas = listed.items.iter().map(|service| &service.metadata);
        let taken: Vec<Taken> = metas.filter_map(|meta| taken(meta, &free, now)).collect();
        let Err(lack) = gang::check(gang, &free.pools, &taken) else { return Ok(None) };
        tracing::warn!(%object, problem = lack.message, "refused: no room for all of its pods together");
        let (nodes, gpus_per_node) = lack.part;
        let fit =
            LargestFit { observed_at_ms: free.observed_at_ms, groups: lack.groups, nodes, gpus_per_node };
        Ok(Some(Outcome::Rejected { class: RejectionClass::NoRoom(fit), message: lack.message }))
    }
}

/// What a delivered service has taken and its pods do not show yet; none if there is nothing.
fn taken(meta: &ObjectMeta, free: &Free, now: Timestamp) -> Option<Taken> {
    let gang = marks_of(meta)?.gang?;
    let age = now.duration_since(meta.creation_timestamp.as_ref()?.0);
    let of = (meta.namespace.clone()?, meta.name.clone()?);
    let bound = free.bound.get(&of).copied().unwrap_or(0);
    let pods = gang.pods().saturating_sub(bound);
    (pods > 0 && age < KEPT_FOR && meta.deletion_timestamp.is_none()).then_some(Taken { gang: *gang, pods })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// A service that was applied at the epoch's begin.
    fn service(gang: &str) -> ObjectMeta {
        let mark = |name: &str, value: &str| (format!("nimfleet.io/{name}"), json!(value));
        let marks = [("uid", "u"), ("generation", "1"), ("hash", "h"), ("hub-id", "hub"), ("epoch", "1.x")];
        let annotations: serde_json::Map<_, _> =
            marks.into_iter().chain([("gang", gang)]).map(|(name, value)| mark(name, value)).collect();
        serde_json::from_value(json!({
            "namespace": "models", "name": "wide", "annotations": annotations,
            "creationTimestamp": "1970-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn a_gang_is_kept_for_until_its_pods_have_nodes_or_it_goes_or_for_ten_minutes() {
        let gang = r#"{"resource": "nvidia.com/gpu", "gpusPerNode": 8, "nodes": 2, "groups": 2}"#;
        let leaving = || ObjectMeta { deletion_timestamp: service(gang).creation_timestamp, ..service(gang) };
        let table = [
            ("no pod is bound", service(gang), 0, 1, Some(4)),
            ("one is", service(gang), 1, 1, Some(3)),
            ("all are", service(gang), 4, 1, None),
            ("more are, while it is replaced", service(gang), 6, 1, None),
            ("it is old", service(gang), 0, 10, None),
            ("it is leaving", leaving(), 0, 1, None),
            ("it is no gang", service("yes"), 0, 1, None),
            ("it is not the hub's", ObjectMeta { annotations: None, ..service(gang) }, 0, 1, None),
        ];
        for (case, meta, bound, minutes, expected) in table {
            let bound = BTreeMap::from([(("models".to_owned(), "wide".to_owned()), bound)]);
            let free = Free { bound, ..Free::default() };
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
            assert_eq!(taken(&meta, &free, now).map(|taken| taken.pods), expected, "{case}");
        }
    }
}
