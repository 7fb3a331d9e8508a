//! Who uses a NIMCache that is being deleted: as long as pods of a service may need its claim, it stays.

use kube::core::DynamicObject;
use serde_json::Value;

use crate::operator::engine::kind::Failure;
use crate::operator::engine::kind::Kind;
use crate::operator::engine::world::World;
use crate::operator::nimservice::{self, NimServices};

/// Users that a message names.
const NAMED: usize = 10;

/// True when a NIMService that is there to stay has its model from this NIMCache.
pub(super) fn uses(service: &DynamicObject, cache: &str) -> bool {
    let name = service.data.pointer("/spec/storage/nimCache/name").and_then(Value::as_str);
    service.metadata.deletion_timestamp.is_none() && name == Some(cache)
}

/// NIMServices that use the NIMCache and stay.
pub(super) fn users(world: &World, namespace: &str, cache: &str) -> Vec<std::sync::Arc<DynamicObject>> {
    let services = world.subjects.get(NimServices::KIND);
    services
        .map(|services| services.of_namespace(namespace, |service| uses(service, cache)))
        .unwrap_or_default()
}

/// Names of the NIMServices whose pods run from the NIMCache and may be made again as they are. One that was changed waits
/// for another NIMCache: the pods that it still has keep the claim themselves.
pub(super) fn running(world: &World, namespace: &str, cache: &str) -> Vec<String> {
    let users = users(world, namespace, cache).into_iter();
    let holding = users.filter(|service| nimservice::runs_as_written(service, world));
    holding.filter_map(|service| service.metadata.name.clone()).collect()
}

/// Whether pods of a NIMService that stays mount this claim.
pub(super) fn is_mounted(world: &World, namespace: &str, cache: &str, claim: &str) -> bool {
    users(world, namespace, cache).iter().any(|service| nimservice::mounts(service, world, claim))
}

/// Why a NIMCache with these users has to stay; nothing when there are none.
pub(super) fn held(mut users: Vec<String>) -> Option<Failure> {
    users.sort_unstable();
    let more = users.len().saturating_sub(NAMED);
    let names = users.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| {
        let message = format!(
            "used by NIMService {names}{more}: it goes when they are deleted or changed, have another storage, or its \
             claim is deleted"
        );
        Failure::new("InUse", message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn d10_only_services_that_stay_hold_their_cache() {
        let service = |cache: Value, leaving: bool| {
            let mut object = json!({"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
                "metadata": {"name": "s"}, "spec": {"storage": {"nimCache": cache}}});
            if leaving {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            serde_json::from_value::<DynamicObject>(object).unwrap()
        };
        for (cache, leaving, held) in [
            (json!({"name": "c"}), false, true),
            (json!({"name": "c"}), true, false),
            (json!({"name": "d"}), false, false),
            (json!({}), false, false),
        ] {
            assert_eq!(uses(&service(cache.clone(), leaving), "c"), held, "{cache} {leaving}");
        }
    }

    #[test]
    fn users_are_named_but_not_without_end() {
        assert_eq!(held(Vec::new()), None);
        let why = held(vec!["b".into(), "a".into()]).unwrap();
        assert_eq!(why.reason, "InUse");
        assert!(why.message.contains("NIMService a, b:"), "{}", why.message);
        let many = (0..12).map(|n| format!("s{n:02}")).collect();
        assert!(held(many).unwrap().message.contains("s09 and 2 more"));
    }
}
