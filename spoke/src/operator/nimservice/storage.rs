//! Where the model lies: which volume is chosen, and whether the NIMCache it comes from is ready.

use std::collections::BTreeMap;

use crds::nim::{NIMCacheSpec, NIMServiceSpec};
use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, HostPathVolumeSource, PersistentVolumeClaimVolumeSource, Volume,
};

use crate::operator::claim::claim;
use crate::operator::engine::child::{Child, MANAGED_BY};
use crate::operator::engine::kind::{Failure, Subject};

/// Name of the volume that holds the model.
pub(super) const MODEL_VOLUME: &str = "model-store";

/// What is known of the NIMCache that a NIMService names.
#[derive(Clone, Debug)]
pub(crate) struct CacheView {
    pub(super) name: String,
    pub(super) spec: NIMCacheSpec,
    /// It is being deleted.
    pub(super) is_going: bool,
    pub(super) state: String,
    /// `native`, `model-free` or empty.
    pub(super) kind: String,
    pub(super) pvc: String,
    /// Tags by profile.
    pub(super) profiles: BTreeMap<String, BTreeMap<String, String>>,
    /// Why it has failed or waits, in its own words.
    pub(super) problem: String,
    /// What it waits for, in its own words; empty where it does not say.
    pub(super) waits: String,
}

impl CacheView {
    /// True for images with the native layout of models.
    pub(super) fn is_native(&self) -> bool {
        self.kind == "native"
    }
}

/// Why a NIMService has to wait, or cannot go on, for its storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Waits(Failure),
    Fails(Failure),
}

/// The chosen volume.
#[derive(Clone, Debug)]
pub(super) struct ModelStore {
    pub(super) volume: Volume,
    pub(super) sub_path: Option<String>,
    /// A claim to be made for it.
    pub(super) claim: Option<Child>,
}

/// Chooses the volume: cache, claim to be made, given claim, emptyDir, host path.
pub(super) fn choose(
    subject: &Subject,
    spec: &NIMServiceSpec,
    cache: Option<&CacheView>,
) -> Result<ModelStore, Gate> {
    let storage = &spec.storage;
    let read_only = storage.read_only;
    if let Some(name) = spec.cache_name() {
        let store = from_cache(name, cache, read_only);
        // Without a replica nothing mounts the claim, and a claim that is being deleted waits until nothing does.
        let claim = cache.filter(|_| spec.replicas == Some(0)).and_then(claim_of);
        return match (store, claim) {
            (Err(_), Some((claim, sub_path))) => {
                Ok(ModelStore { volume: claimed(&claim, read_only), sub_path, claim: None })
            }
            (store, _) => store,
        };
    }
    if let Some(pvc) = &storage.pvc {
        let given = pvc.name.as_deref().is_some_and(|name| !name.is_empty());
        let create = pvc.create == Some(true);
        if create || given {
            let name = pvc.name_for(&subject.owner.name);
            let child = create.then(|| {
                let labels =
                    [("app", MANAGED_BY.1), ("app.kubernetes.io/name", &subject.owner.name), MANAGED_BY];
                claim(pvc, &name, &subject.owner.namespace, &labels)
            });
            let child = child.transpose().map_err(|problem| {
                Gate::Fails(Failure::new("InvalidSpec", format!("spec.storage.pvc.{problem}")))
            })?;
            return Ok(ModelStore {
                volume: claimed(&name, read_only),
                sub_path: sub_path(pvc.sub_path.as_deref()),
                claim: child,
            });
        }
    }
    let volume = if let Some(empty) = &storage.empty_dir {
        let source = EmptyDirVolumeSource { size_limit: empty.size_limit.clone(), medium: None };
        Volume { empty_dir: Some(source), ..model_volume() }
    } else if let Some(path) = storage.host_path.as_deref().filter(|path| !path.is_empty()) {
        let source = HostPathVolumeSource { path: path.to_owned(), type_: Some("DirectoryOrCreate".into()) };
        Volume { host_path: Some(source), ..model_volume() }
    } else {
        let message =
            "spec.storage names no place for the model: set one of nimCache, pvc, emptyDir, hostPath";
        return Err(Gate::Fails(Failure::new("StorageMissing", message)));
    };
    Ok(ModelStore { volume, sub_path: None, claim: None })
}

fn from_cache(name: &str, cache: Option<&CacheView>, read_only: Option<bool>) -> Result<ModelStore, Gate> {
    let Some(cache) = cache else {
        return Err(Gate::Fails(Failure::new("NIMCacheNotFound", format!("NIMCache {name} not found"))));
    };
    let not_ready = |message| Err(Gate::Waits(Failure::new("NIMCacheNotReady", message)));
    if cache.is_going {
        return not_ready(format!("NIMCache {name} is being deleted: apply it again when it has gone"));
    }
    match cache.state.as_str() {
        "Ready" => {}
        "Failed" => {
            let message = format!("NIMCache {name} failed: {}", cache.problem);
            return Err(Gate::Fails(Failure::new("NIMCacheFailed", message)));
        }
        _ => {
            let told = [&cache.problem, &cache.waits].into_iter().find(|words| !words.is_empty());
            return not_ready(match told {
                Some(told) => format!("NIMCache {name} not ready: {told}"),
                None => format!("NIMCache {name} not ready"),
            });
        }
    }
    let Some((claim, sub_path)) = claim_of(cache) else {
        return not_ready(format!("NIMCache {name} is ready but its status names no PVC"));
    };
    Ok(ModelStore { volume: claimed(&claim, read_only), sub_path, claim: None })
}

/// Name of the claim of a NIMCache, and the folder in it; None where neither its spec nor its status names one.
fn claim_of(cache: &CacheView) -> Option<(String, Option<String>)> {
    let pvc = cache.spec.storage.pvc.as_ref();
    let given = pvc.and_then(|pvc| pvc.name.clone()).filter(|name| !name.is_empty());
    // A claim that was made may have another name than the usual one.
    let made = Some(cache.pvc.clone()).filter(|name| !name.is_empty());
    let is_made = pvc.is_some_and(crds::nim::PersistentVolumeClaim::is_created);
    let claim = if is_made { made.or(given) } else { given.or(made) };
    claim.map(|claim| (claim, sub_path(pvc.and_then(|pvc| pvc.sub_path.as_deref()))))
}

/// Whether a failure says that the NIMCache is missing, or has failed.
pub(super) fn is_about_cache(why: &Failure) -> bool {
    ["NIMCacheNotFound", "NIMCacheFailed"].contains(&why.reason.as_str())
}

fn claimed(name: &str, read_only: Option<bool>) -> Volume {
    let source = PersistentVolumeClaimVolumeSource {
        claim_name: name.to_owned(),
        read_only: read_only.filter(|only| *only),
    };
    Volume { persistent_volume_claim: Some(source), ..model_volume() }
}

fn model_volume() -> Volume {
    Volume { name: MODEL_VOLUME.to_owned(), ..Volume::default() }
}

fn sub_path(path: Option<&str>) -> Option<String> {
    path.filter(|path| !path.is_empty()).map(str::to_owned)
}
