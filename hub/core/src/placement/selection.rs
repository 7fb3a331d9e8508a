//! Which objects a placement runs: what its selectors match, what these bring along, and what it may take of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::fleet::{NIMPlacement, ResourceSelector, SelectedKind};
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

use super::assignments::keeps_data;
use super::variants::cache_named;
use crate::fleet::{ObjectRef, PlacementKey, Selector};
use crate::fleet_state::Owners;
use crate::need;
use crate::objects::{Catalog, NIM_API_VERSION, owner, plain};
use crate::resolve::Payload;
use crate::scheduler::Reason;

/// The kind whose objects make NIMServices.
const PIPELINE: &str = SelectedKind::NIMPipeline.as_str();
/// Most objects of one placement, which all go to the same clusters.
const MOST_OBJECTS: usize = 256;

/// A placement with the objects that it is about.
pub struct Selection {
    /// Its namespace and name.
    pub key: PlacementKey,
    /// The placement itself.
    pub placement: Arc<NIMPlacement>,
    /// Selected, there and free to take, by kind and name.
    pub selected: Vec<Selected>,
    /// NIMCaches that the selected objects name and that are not selected, as plain JSON.
    pub named_caches: Vec<Value>,
    /// The Secrets that it lists.
    pub secrets: Vec<ListedSecret>,
    /// All objects that carry the placement's label, whether or not they are selected.
    pub taken: Vec<(&'static str, Arc<DynamicObject>)>,
    /// Why it cannot be scheduled.
    pub block: Option<Block>,
}

/// One object that a placement shall run.
pub struct Selected {
    /// The object.
    pub object: ObjectRef,
    /// As it is stored on the hub.
    pub stored: Arc<DynamicObject>,
    /// The same as plain JSON, as the API server would show it.
    pub json: Value,
}

/// A Secret that a placement lists.
#[derive(Clone, Debug)]
pub struct ListedSecret {
    /// The Secret on the hub. One that is not there has no uid of the API server's.
    pub object: ObjectRef,
    /// What clusters are sent, or why they are not.
    pub payload: Result<Payload, String>,
}

/// Why a placement cannot be scheduled. What it has placed stays.
#[derive(Clone, Debug)]
pub struct Block {
    /// In one word.
    pub reason: Reason,
    /// In one sentence, with the remedy.
    pub message: String,
}

impl Selection {
    /// Whether the placement is being deleted.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.placement.metadata.deletion_timestamp.is_some()
    }
}

/// Whether what is selected becomes the placement's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Claims {
    /// It does.
    Made,
    /// It is only looked at.
    Left,
}

/// Looks up what a placement is about, and claims what is free. `own_namespace` is the hub's. `claims` say which placement has
/// which object, by uid.
pub fn select(
    catalog: &dyn Catalog,
    own_namespace: &str,
    key: &PlacementKey,
    placement: &Arc<NIMPlacement>,
    claims: &mut Owners,
    mode: Claims,
) -> Selection {
    let taken = catalog.taken_by(&key.namespace, &key.name);
    let mut selection = Selection {
        key: key.clone(),
        placement: placement.clone(),
        selected: Vec::new(),
        named_caches: Vec::new(),
        secrets: Vec::new(),
        taken,
        block: None,
    };
    if selection.is_leaving() {
        return selection;
    }
    if let Some(problem) = crds::names::refusal("NIMPlacement", &key.name) {
        let message = format!("{problem}: make it again under a shorter name");
        selection.block = Some(Block { reason: Reason::InvalidName, message });
        return selection;
    }
    let mut found = BTreeMap::new();
    for (index, selector) in placement.spec.resource_selectors.iter().enumerate() {
        match matching(catalog, key, selector) {
            Ok(objects) => found.extend(objects),
            Err(message) => {
                let message = format!("spec.resourceSelectors[{index}]: {message}");
                selection.block = Some(Block { reason: Reason::InvalidPlacement, message });
            }
        }
    }
    if selection.block.is_some() {
        // A selector that cannot be read says nothing about what shall go.
        for (kind, object) in selection.taken.iter().filter(|(_, o)| o.metadata.deletion_timestamp.is_none())
        {
            found.insert((*kind, object.name_any()), object.clone());
        }
    }
    if placement.spec.propagate_dependencies {
        dependencies(claims, catalog, key, &mut found);
        brought(&selection.taken, &mut found);
    }
    if let Some(block) = too_many(&found) {
        // What is new waits until there are fewer.
        found.retain(|_, object| owner(object.as_ref()) == Some(key.name.as_str()));
        selection.block = selection.block.or(Some(block));
    }
    if found.is_empty() && selection.block.is_none() {
        let message = nothing(placement, catalog);
        selection.block = Some(Block { reason: Reason::NothingSelected, message });
    }
    selection.claim(catalog, found, claims, mode);
    selection.named_caches = selection.unselected_caches(catalog);
    selection.block = own_secrets(own_namespace, placement).or(selection.block);
    selection
}

/// Secrets of the hub's own namespace, its CA among them, go to no cluster, whoever lists them.
fn own_secrets(own_namespace: &str, placement: &NIMPlacement) -> Option<Block> {
    let names = &placement.spec.secrets;
    let is_own = placement.metadata.namespace.as_deref() == Some(own_namespace);
    (is_own && !names.is_empty()).then(|| Block {
        reason: Reason::SecretNotAllowed,
        message: format!(
            "spec.secrets: {}: Secrets of {}, the hub's own namespace, travel nowhere: put the placement, its objects and \
             their Secrets into another namespace",
            names.join(", "),
            own_namespace
        ),
    })
}

type Found = BTreeMap<(&'static str, String), Arc<DynamicObject>>;

fn matching(catalog: &dyn Catalog, key: &PlacementKey, selector: &ResourceSelector) -> Result<Found, String> {
    let kind = selector.kind.as_str();
    let mut found = Found::new();
    if let Some(name) = &selector.name {
        found.extend(catalog.object(kind, &key.namespace, name).map(|object| ((kind, name.clone()), object)));
    }
    if let Some(labels) = &selector.label_selector {
        let labels = Selector::try_from(labels).map_err(|error| error.to_string())?;
        for object in catalog.objects_of(kind, &key.namespace) {
            if labels.matches(object.labels()) {
                found.insert((kind, object.name_any()), object);
            }
        }
    }
    found.retain(|_, object| object.metadata.deletion_timestamp.is_none());
    Ok(found)
}

/// An object brings what it cannot run without: a NIMService, a NIMPipeline or a NIMBuild the NIMCaches it names, a NeMo
/// microservice the NeMo stores and NIMServices of its namespace that it calls, and each of these what it needs itself.
fn dependencies(claims: &Owners, catalog: &dyn Catalog, key: &PlacementKey, found: &mut Found) {
    let mut waiting: Vec<Arc<DynamicObject>> = found.values().cloned().collect();
    while let Some(object) = waiting.pop() {
        let caches = need::caches(&object.data).into_iter().map(|name| ("NIMCache", name));
        // What is called may be elsewhere by someone's wish; a cache that is elsewhere is of no use.
        let called = need::called(&object.data, &key.namespace).into_iter();
        let called = called.filter(|(kind, name)| is_free(claims, catalog, key, kind, name));
        for (kind, name) in caches.chain(called) {
            let place = (kind, name.to_owned());
            if let Some(object) = catalog.object(kind, &key.namespace, name)
                && object.metadata.deletion_timestamp.is_none()
                && !found.contains_key(&place)
            {
                waiting.push(object.clone());
                found.insert(place, object);
            }
        }
    }
}

/// Whether no other placement has an object.
fn is_free(claims: &Owners, catalog: &dyn Catalog, key: &PlacementKey, kind: &str, name: &str) -> bool {
    let Some(object) = catalog.object(kind, &key.namespace, name) else { return false };
    let labelled = owner(object.as_ref()).is_some_and(|owner| owner != key.name);
    let claimed = object.uid().and_then(|uid| claims.get(&uid));
    !labelled && claimed.is_none_or(|owner| owner == key)
}

/// What was brought and holds data stays as long as it exists on the hub, also when what brought it is gone:
/// `kubectl delete` of a manifest removes the service first and the cache a moment later, and means both.
fn brought(taken: &[(&'static str, Arc<DynamicObject>)], found: &mut Found) {
    let kept = taken
        .iter()
        .filter(|(kind, object)| keeps_data(kind) && object.metadata.deletion_timestamp.is_none());
    for (kind, object) in kept {
        found.entry((*kind, object.name_any())).or_insert_with(|| object.clone());
    }
}

/// More objects than one placement may have: each is asked of every cluster.
fn too_many(found: &Found) -> Option<Block> {
    (found.len() > MOST_OBJECTS).then(|| {
        let message = format!(
            "spec.resourceSelectors take {} objects, with those that they bring; one placement takes at most {MOST_OBJECTS}: give objects \
             that need not be together placements of their own",
            found.len()
        );
        Block { reason: Reason::InvalidPlacement, message }
    })
}

/// What the selectors ask for, in words; and where a pipeline makes the service that one names, what to select instead.
fn nothing(placement: &NIMPlacement, catalog: &dyn Catalog) -> String {
    let namespace = placement.namespace().unwrap_or_default();
    let of_service = |selector: &'_ ResourceSelector| selector.kind == SelectedKind::NIMService;
    let of_services = placement.spec.resource_selectors.iter().filter(|selector| of_service(selector));
    let names: Vec<&str> = of_services.filter_map(|selector| selector.name.as_deref()).collect();
    let pipelines = if names.is_empty() { Vec::new() } else { catalog.objects_of(PIPELINE, &namespace) };
    let made = pipelines.iter().find_map(|pipeline| {
        let service = need::service_names(&pipeline.data).find(|service| names.contains(service))?;
        let name = pipeline.name_any();
        Some(format!("{PIPELINE} {name} makes NIMService {service}: select kind {PIPELINE}, name {name}"))
    });
    let remedy = made.unwrap_or_else(|| "create the object, or correct the selector".to_owned());
    let selectors: Vec<String> = placement
        .spec
        .resource_selectors
        .iter()
        .map(|selector| match (&selector.name, &selector.label_selector) {
            (Some(name), _) => format!("{} {name}", selector.kind.as_str()),
            (None, Some(labels)) => {
                let labels = serde_json::to_string(labels).unwrap_or_default();
                format!("{} with labels {labels}", selector.kind.as_str())
            }
            (None, None) => selector.kind.as_str().to_owned(),
        })
        .collect();
    let selectors = selectors.join(", ");
    format!("spec.resourceSelectors match nothing in namespace {namespace}: {selectors}: {remedy}")
}

impl Selection {
    /// Claims what is free, so that of two placements only one gets an object.
    fn claim(&mut self, catalog: &dyn Catalog, found: Found, claims: &mut Owners, mode: Claims) {
        for ((kind, name), stored) in found {
            let Some(uid) = stored.uid() else { continue };
            let claimed = claims.get(&uid).cloned();
            let labelled = owner(stored.as_ref())
                .map(|name| PlacementKey { namespace: self.key.namespace.clone(), name: name.to_owned() });
            if let Some(other) = claimed.or(labelled).filter(|other| *other != self.key)
                && catalog.placement(&other.namespace, &other.name).is_some()
            {
                let message = format!(
                    "{kind} {name} is taken by NIMPlacement {}: select it in one placement only",
                    other.name
                );
                self.block = Some(Block { reason: Reason::ObjectTaken, message });
                continue;
            }
            if mode == Claims::Made {
                claims.insert(uid.clone(), self.key.clone());
            }
            let object = ObjectRef {
                uid,
                api_version: NIM_API_VERSION.to_owned(),
                kind: kind.to_owned(),
                namespace: self.key.namespace.clone(),
                name,
            };
            let json = plain(&stored, kind);
            self.selected.push(Selected { object, stored, json });
        }
    }

    /// The NIMCache of that name, selected or not.
    #[must_use]
    pub fn cache(&self, name: &str) -> Option<&Value> {
        cache_named(name, self.selected.iter().map(|one| &one.json).chain(&self.named_caches))
    }

    fn unselected_caches(&self, catalog: &dyn Catalog) -> Vec<Value> {
        let kind = SelectedKind::NIMCache.as_str();
        let is_selected =
            |name: &str| self.selected.iter().any(|one| one.object.kind == kind && one.object.name == name);
        let names: BTreeSet<&str> = self
            .selected
            .iter()
            .flat_map(|one| need::caches(&one.json))
            .filter(|name| !is_selected(name))
            .collect();
        let found = names.into_iter().filter_map(|name| catalog.object(kind, &self.key.namespace, name));
        found.map(|cache| plain(&cache, kind)).collect()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ApiResource, GroupVersionKind};

    use super::*;

    #[test]
    fn more_objects_than_every_cluster_is_asked_about_are_refused_with_numbers() {
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("apps.nvidia.com", "v1alpha1", "NIMService"));
        let found = |count: usize| -> Found {
            let names = (0..count).map(|index| format!("s{index}"));
            names
                .map(|name| (("NIMService", name.clone()), Arc::new(DynamicObject::new(&name, &resource))))
                .collect()
        };
        assert!(too_many(&found(MOST_OBJECTS)).is_none());
        let block = too_many(&found(MOST_OBJECTS + 1)).unwrap();
        assert_eq!(block.reason, Reason::InvalidPlacement);
        assert!(
            block.message.contains("take 257 objects") && block.message.contains("at most 256"),
            "{}",
            block.message
        );
    }
}
