//! The workload of a NIMService as it is while its NIMCache is not ready: what runs goes on, is told, and needs its claim.

use std::sync::Arc;

use kube::core::DynamicObject;

use super::multi_node;
use crate::operator::engine::child::ChildKind;
use crate::operator::engine::condition::Conditions;
use crate::operator::engine::requires::references;
use crate::operator::engine::template::{self, RECORD, Record};
use crate::operator::engine::world::World;

/// A workload that is there.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(super) kind: ChildKind,
    pub(super) live: Arc<DynamicObject>,
    /// It is what the NIMService asks for now, not what it asked for before it was changed.
    pub(super) is_current: bool,
}

/// The workload of a NIMService, whatever its platform; none where there is none of its own that stays.
pub(super) fn observe(service: &DynamicObject, world: &World) -> Option<Running> {
    let metadata = &service.metadata;
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    let names = [
        (ChildKind::Deployment, name.to_owned()),
        (ChildKind::LeaderWorkerSet, multi_node::name(name)),
        (ChildKind::InferenceService, name.to_owned()),
    ];
    names.into_iter().find_map(|(kind, name)| {
        let live = world.child(kind, namespace, &name)?;
        let mut owners = live.metadata.owner_references.iter().flatten();
        let is_own =
            owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == metadata.uid.as_ref());
        (is_own && live.metadata.deletion_timestamp.is_none()).then(|| Running {
            kind,
            is_current: is_current(service, kind, &live),
            live,
        })
    })
}

/// Whether the NIMService runs, with pods that may be made again as they are.
pub(crate) fn runs_as_written(service: &DynamicObject, world: &World) -> bool {
    let spec = &service.data["spec"];
    let is_off = spec["replicas"] == 0 && spec["scale"]["enabled"] != true;
    !is_off && observe(service, world).is_some_and(|running| running.is_current)
}

/// Whether the pods of the NIMService mount this claim.
pub(crate) fn mounts(service: &DynamicObject, world: &World, claim: &str) -> bool {
    let wanted = (ChildKind::PersistentVolumeClaim, claim.to_owned());
    observe(service, world).is_some_and(|Running { kind, live, .. }| {
        references(kind, &serde_json::to_value(live.as_ref()).unwrap_or_default()).contains(&wanted)
    })
}

/// Without a record, as before a take-over, the status tells what was carried out.
fn is_current(service: &DynamicObject, kind: ChildKind, live: &DynamicObject) -> bool {
    let bearer = if template::bears_record(kind) { live } else { service };
    let record = Record::read(bearer.metadata.annotations.as_ref().and_then(|all| all.get(RECORD)));
    let generation = service.metadata.generation;
    if let Some(record) = record {
        let uid = service.metadata.uid.as_deref().unwrap_or_default();
        return record.inputs.are_of(uid, generation.unwrap_or_default(), &service.data["spec"]);
    }
    let status = &service.data["status"];
    let ready = Conditions::read(status);
    let ready = ready.get("Ready").and_then(|ready| ready.observed_generation);
    status["state"] == "Ready" && ready.is_none_or(|reported| Some(reported) == generation)
}
