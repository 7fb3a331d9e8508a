//! Overrides of a placement: JSON patches for some of its clusters.
//!
//! What a patch can make is bounded by what its author wrote: no operation copies, and a document that grows too large ends the
//! patch at that operation.

use std::collections::BTreeSet;

use crds::fleet::{ClusterOverride, JsonPatchOp, JsonPatchVerb};
use json_patch::PatchOperation;
use serde_json::Value;

use super::{MOST_BYTES, ResolveError, canonical};
use crate::fleet::{Cluster, PlacementKey, Selector};

/// Most operations of the overrides of one placement together; the schema says the same.
pub const MOST_OPERATIONS: usize = 64;

/// What the scheduler decides, as JSON pointers and as people write them.
pub(super) const SCHEDULED: [(&str, &str); 2] =
    [("/spec/replicas", "spec.replicas"), ("/spec/scale", "spec.scale")];

/// The overrides of a placement that concern a cluster, a bit for each from the first on: there are never more than
/// [`MOST_OPERATIONS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Concerned(u64);

/// One override. A patch that begins with `test` operations concerns only objects that pass them all: so one
/// placement of a NIMService and a NIMCache can change either (`test /kind`).
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    clusters: BTreeSet<String>,
    selector: Option<Selector>,
    patch: Vec<PatchOperation>,
}

/// An operation that failed.
pub(super) struct Failed {
    pub(super) operation: usize,
    pub(super) why: Why,
}

/// Why it did.
pub(super) enum Why {
    /// It does not work on this object.
    Patch { path: String, reason: String },
    /// The object has so many bytes then.
    TooLarge(usize),
}

/// Bytes of a document as compact JSON while it is patched: measured again only when what was added may be too much.
pub(super) struct Size {
    most: usize,
}

/// Reads the overrides of a placement.
pub fn read(placement: &PlacementKey, overrides: &[ClusterOverride]) -> Result<Vec<Override>, ResolveError> {
    let operations = overrides.iter().map(|one| one.json_patch.len()).fold(0, usize::saturating_add);
    let count = operations.max(overrides.len());
    if count > MOST_OPERATIONS {
        return Err(ResolveError::Operations { placement: placement.clone(), count });
    }
    overrides.iter().enumerate().map(|(index, one)| read_one(placement, index, one)).collect()
}

fn read_one(placement: &PlacementKey, index: usize, one: &ClusterOverride) -> Result<Override, ResolveError> {
    let selector = one.cluster_selector.as_ref().map(Selector::try_from).transpose();
    let selector =
        selector.map_err(|reason| ResolveError::Selector { placement: placement.clone(), index, reason })?;
    let patch = one.json_patch.iter().enumerate().map(|(operation, stored)| {
        read_operation(stored).map_err(|reason| ResolveError::Operation {
            placement: placement.clone(),
            index,
            operation,
            reason,
        })
    });
    let patch = patch.collect::<Result<_, _>>()?;
    Ok(Override { clusters: one.cluster_names.iter().cloned().collect(), selector, patch })
}

fn read_operation(stored: &JsonPatchOp) -> Result<PatchOperation, String> {
    if matches!(stored.op, JsonPatchVerb::Copy | JsonPatchVerb::Move) {
        return Err(format!(
            "{} is refused, since it multiplies what an override writes: write the value itself with add",
            stored.op.as_str()
        ));
    }
    let is_below = |pointer: &str| {
        stored.path.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if stored.op != JsonPatchVerb::Test && SCHEDULED.iter().any(|(pointer, _)| is_below(pointer)) {
        return Err(format!(
            "{} is the scheduler's: use replicaScheduling, or change the object itself",
            stored.path
        ));
    }
    let mut json = serde_json::to_value(stored).map_err(|error| error.to_string())?;
    // RFC 6902 wants a value, which JSON in Kubernetes loses where it is null.
    if let Some(members) = json.as_object_mut() {
        members.entry("value").or_insert(Value::Null);
    }
    serde_json::from_value(json).map_err(|error| error.to_string())
}

impl Concerned {
    /// Those of `overrides` that concern a cluster.
    #[must_use]
    pub fn of(overrides: &[Override], cluster: &Cluster) -> Self {
        let concern = overrides.iter().enumerate().filter(|(_, one)| one.concerns(cluster));
        Self(concern.fold(0, |bits, (index, _)| bits | 1 << index))
    }

    /// Whether no override concerns the cluster.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn has(self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl Override {
    /// Whether it is for that cluster: named, or selected by its labels.
    fn concerns(&self, cluster: &Cluster) -> bool {
        self.clusters.contains(cluster.name.as_str())
            || self.selector.as_ref().is_some_and(|selector| selector.matches(&cluster.labels))
    }

    /// Applies all operations, or none where a leading test does not hold.
    pub(super) fn apply(&self, object: &mut Value, size: &mut Size) -> Result<(), Failed> {
        let leading = self.patch.iter().map_while(|operation| match operation {
            PatchOperation::Test(test) => Some(object.pointer(test.path.as_str()) == Some(&test.value)),
            _ => None,
        });
        let leading: Vec<bool> = leading.collect();
        if leading.contains(&false) {
            return Ok(());
        }
        for (operation, change) in self.patch.iter().enumerate().skip(leading.len()) {
            json_patch::patch_unsafe(object, std::slice::from_ref(change)).map_err(|error| Failed {
                operation,
                why: Why::Patch { path: error.path.to_string(), reason: error.kind.to_string() },
            })?;
            size.grow(object, change).map_err(|why| Failed { operation, why })?;
        }
        Ok(())
    }
}

impl Size {
    pub(super) fn of(object: &Value) -> Self {
        Self { most: canonical::size(object) }
    }

    /// Takes one operation into account.
    fn grow(&mut self, object: &Value, change: &PatchOperation) -> Result<(), Why> {
        let (path, value) = match change {
            PatchOperation::Add(add) => (&add.path, &add.value),
            PatchOperation::Replace(replace) => (&replace.path, &replace.value),
            _ => return Ok(()),
        };
        // The value, its name as JSON, a colon and a comma.
        self.most = self.most.saturating_add(canonical::size(value) + 6 * path.as_str().len() + 4);
        if self.most > MOST_BYTES {
            self.most = canonical::size(object);
        }
        if self.most > MOST_BYTES { Err(Why::TooLarge(self.most)) } else { Ok(()) }
    }
}
