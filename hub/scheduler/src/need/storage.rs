//! Volumes that an object has made for it, or shares.

use crds::quantity;
use serde_json::Value;

use super::{NeedError, pod, text};

/// A volume that has to be in the cluster for an object to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimNeed {
    /// The field that asks for it, e.g. `spec.storage.pvc`; with the NIMCache's name before it where it is a cache's.
    pub field: String,
    /// Storage class; none: the cluster's default.
    pub class: Option<String>,
    /// From where it is mounted.
    pub mounts: Mounts,
    /// How much, MiB; 0 for a volume that another object has made.
    pub mib: u64,
}

/// From where a volume is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// By its access mode from one node at a time.
    #[default]
    OneNode,
    /// By its access mode from one node, and by all pods of an object that may be several.
    OneNodeByAll,
    /// By its access mode from many nodes.
    ManyNodes,
}

/// The claim at a JSON pointer, if one is made.
pub(super) fn claim(object: &Value, pvc: &str) -> Result<Option<ClaimNeed>, NeedError> {
    if object.pointer(&format!("{pvc}/create")).and_then(Value::as_bool) != Some(true) {
        return Ok(None);
    }
    let pointer = format!("{pvc}/size");
    let mib = match object.pointer(&pointer) {
        None | Some(Value::Null) => 0,
        Some(Value::String(size)) if size.is_empty() => 0,
        Some(size) => pod::of_value(object, &pointer, size, quantity::mebibytes_asked, "200Gi")?,
    };
    let class = text(object, &format!("{pvc}/storageClass"));
    let many = matches!(text(object, &format!("{pvc}/volumeAccessMode")), "ReadWriteMany" | "ReadOnlyMany");
    Ok(Some(ClaimNeed {
        field: pvc.replace('/', ".").trim_start_matches('.').to_owned(),
        class: Some(class).filter(|class| !class.is_empty()).map(str::to_owned),
        mounts: if many { Mounts::ManyNodes } else { Mounts::OneNode },
        mib,
    }))
}

/// The claim of a service, as its pods mount it.
pub(super) fn own(service: &Value) -> Result<Option<ClaimNeed>, NeedError> {
    let claim = claim(service, "/spec/storage/pvc")?;
    Ok(claim.map(by_all))
}

/// The claim of the cache that a service runs from: the cache has it made, all pods of the service mount it.
pub(super) fn of_cache(cache: &Value) -> Result<Option<ClaimNeed>, NeedError> {
    let Some(claim) = claim(cache, "/spec/storage/pvc")? else { return Ok(None) };
    let field = format!("NIMCache {} {}", text(cache, "/metadata/name"), claim.field);
    Ok(Some(by_all(ClaimNeed { field, mib: 0, ..claim })))
}

fn by_all(claim: ClaimNeed) -> ClaimNeed {
    match claim.mounts {
        Mounts::OneNode => ClaimNeed { mounts: Mounts::OneNodeByAll, ..claim },
        _ => claim,
    }
}
