//! The judge of what the operator renders for delivered objects: the owner's limits, asked before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::ListParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::call::carried_out;
use super::limits::{Made, Named, Own};
use super::made::{is_a_hubs, is_made};
use super::{DeliverError, Limits};
use crate::operator::{Candidate, Case, ChildKind, Excess, Judge};

/// Judges the children of objects that a hub delivered, and of NIMServices that a delivered NIMPipeline made. Whatever
/// the cluster's own people applied is not judged.
pub struct Warden {
    client: kube::Client,
    limits: Limits,
    /// The spoke's own namespace.
    namespace: String,
    /// Images of the operator's own containers.
    images: BTreeSet<String>,
}

/// Where pods of a kind have their labels.
fn pod_labels(kind: ChildKind) -> &'static [&'static str] {
    match kind {
        ChildKind::Pod => &["/metadata/labels"],
        ChildKind::Deployment | ChildKind::Job => &["/spec/template/metadata/labels"],
        ChildKind::LeaderWorkerSet => &[
            "/spec/leaderWorkerTemplate/leaderTemplate/metadata/labels",
            "/spec/leaderWorkerTemplate/workerTemplate/metadata/labels",
        ],
        ChildKind::InferenceService => &["/spec/predictor/labels", "/metadata/labels"],
        _ => &[],
    }
}

type Labels = BTreeMap<String, String>;

impl Warden {
    /// Judges by these limits; `namespace` is the spoke's own, and `images` are those that the owner gave to the operator.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str, limits: Limits, images: &[&str]) -> Self {
        let images = images.iter().map(|&image| image.to_owned()).collect();
        Self { client, limits, namespace: namespace.to_owned(), images }
    }

    async fn excess(&self, case: &Case<'_>) -> Result<Option<Excess>, DeliverError> {
        let meta = &case.object.metadata;
        if !is_a_hubs(meta) && !case.controller.as_ref().is_some_and(|found| is_a_hubs(&found.metadata)) {
            return Ok(None);
        }
        let own = self.own(case).await?;
        let object = json!({
            "kind": case.owner.kind,
            "metadata": { "name": case.owner.name, "namespace": case.owner.namespace },
            "spec": case.object.data.get("spec"),
        });
        let mut faults = self.limits.object_faults(&object, &self.namespace);
        let mut places = Vec::new();
        for (place, candidate) in case.candidates.iter().enumerate() {
            let found = self.child_faults(case, candidate, &own).await?;
            if !found.is_empty() {
                places.push(place);
                // What stands in the object is told by its own field.
                faults.extend(found);
            }
        }
        Ok(self.limits.told(faults).err().map(|message| Excess { message, candidates: places }))
    }

    async fn child_faults(
        &self,
        case: &Case<'_>,
        candidate: &Candidate<'_>,
        own: &Own,
    ) -> Result<Vec<String>, DeliverError> {
        let child = candidate.child;
        let (kind, name) = (child.kind.resource().kind, &child.name);
        let made = self.made(case, self.limits.named_by_child(&kind, &child.body, own)).await?;
        let told = |fault: String| format!("{kind} {name}: {fault}");
        let found = self.limits.child_faults(&kind, &child.body, own, &made).into_iter();
        let mut faults: Vec<String> = found.map(told).collect();
        faults.extend(self.selected(case, candidate).await?.map(told));
        Ok(faults)
    }

    /// Names of what is rendered together, without what somebody else has under such a name.
    async fn own(&self, case: &Case<'_>) -> Result<Own, DeliverError> {
        let mut own =
            Own { namespace: case.owner.namespace.clone(), images: self.images.clone(), ..Own::default() };
        own.services.insert(case.owner.name.clone());
        for candidate in case.candidates {
            let child = candidate.child;
            let name = child.name.clone();
            match child.kind {
                ChildKind::Service | ChildKind::InferencePool => {
                    own.services.insert(name);
                }
                ChildKind::ServiceAccount => {
                    own.accounts.insert(name);
                }
                ChildKind::ConfigMap if self.is_free_or_own(case, candidate).await? => {
                    own.config_maps.insert(name);
                }
                ChildKind::Secret if self.is_free_or_own(case, candidate).await? => {
                    own.secrets.insert(name);
                }
                _ => {}
            }
        }
        Ok(own)
    }

    /// Whether a name is nobody's, or this object's already.
    async fn is_free_or_own(&self, case: &Case<'_>, candidate: &Candidate<'_>) -> Result<bool, DeliverError> {
        let child = candidate.child;
        let found = match &candidate.live {
            Some(live) => Some(live.metadata.clone()),
            None => self.meta(child.kind, &case.owner.namespace, &child.name).await?,
        };
        Ok(found.is_none_or(|found| controls(&case.owner.uid, &found)))
    }

    /// Claims and ConfigMaps among what is asked for that were made for delivered objects, or will be for this one.
    async fn made(&self, case: &Case<'_>, all: Vec<Named>) -> Result<Made, DeliverError> {
        let namespace = &case.owner.namespace;
        let mut made = Made::default();
        for named in all {
            let (kind, name) = match &named {
                Named::Claim(name) => (ChildKind::PersistentVolumeClaim, name),
                Named::ConfigMap(name) => (ChildKind::ConfigMap, name),
            };
            let rendered =
                case.candidates.iter().find(|found| found.child.kind == kind && found.child.name == *name);
            let live = rendered.and_then(|rendered| rendered.live.as_ref());
            let found = match live {
                Some(live) => Some(live.metadata.clone()),
                None => self.meta(kind, namespace, name).await?,
            };
            let allowed = match &found {
                Some(found) => {
                    controls(&case.owner.uid, found) || is_made(&self.client, namespace, found).await?
                }
                None => rendered.is_some(),
            };
            if allowed {
                made.add(named);
            }
        }
        Ok(made)
    }

    async fn meta(
        &self,
        kind: ChildKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectMeta>, DeliverError> {
        let resource = kind.resource();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let what = format!("read {} {namespace}/{name}", resource.kind);
        Ok(carried_out(&what, api.get_metadata_opt(name)).await?.map(|found| found.metadata))
    }

    /// The Service of somebody else that would lead its requests to new pods, if one would. Asked only where labels of
    /// pods are new, so that a Service that was made for pods that run keeps nobody from changing them.
    async fn selected(
        &self,
        case: &Case<'_>,
        candidate: &Candidate<'_>,
    ) -> Result<Option<String>, DeliverError> {
        let child = candidate.child;
        let live = candidate.live.as_deref().filter(|live| controls(&case.owner.uid, &live.metadata));
        let live = live.and_then(|live| serde_json::to_value(live).ok()).unwrap_or_default();
        let labels = |body: &Value, pointer: &str| -> Option<Labels> {
            body.pointer(pointer).and_then(|labels| serde_json::from_value(labels.clone()).ok())
        };
        let pointers = pod_labels(child.kind).iter();
        let new: Vec<Labels> = pointers
            .filter_map(|pointer| {
                let wanted = labels(&child.body, pointer)?;
                let known = labels(&live, pointer).unwrap_or_default();
                // Others may add labels to what is live; that selects no more than was selected.
                let is_known = wanted.iter().all(|(key, value)| known.get(key) == Some(value));
                (!is_known).then_some(wanted)
            })
            .collect();
        if new.is_empty() {
            return Ok(None);
        }
        let services: Api<Service> = Api::namespaced(self.client.clone(), &case.owner.namespace);
        let what = format!("list Services in {}", case.owner.namespace);
        let found = carried_out(&what, services.list(&ListParams::default())).await?;
        let others = found.items.iter().filter(|service| !is_of(case, &service.metadata));
        for service in others {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let Some(selector) = selector.filter(|selector| !selector.is_empty()) else { continue };
            let selects =
                |labels: &Labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
            if new.iter().any(selects) {
                let name = service.metadata.name.as_deref().unwrap_or_default();
                return Ok(Some(format!(
                    "Service {name}, which is somebody else's, would lead its requests to these pods: give the object \
                     another name or other labels"
                )));
            }
        }
        Ok(None)
    }
}

impl Judge for Warden {
    fn judge<'a>(&'a self, case: &'a Case<'a>) -> BoxFuture<'a, Result<Option<Excess>, String>> {
        Box::pin(async move { self.excess(case).await.map_err(|error| error.to_string()) })
    }
}

/// Whether that uid is of an object's controller.
fn controls(uid: &str, meta: &ObjectMeta) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    owners.any(|owner| owner.controller == Some(true) && owner.uid == uid)
}

/// Whether a Service was made for the object, or for one of its kind and name that has just gone.
fn is_of(case: &Case<'_>, meta: &ObjectMeta) -> bool {
    let mut owners = meta.owner_references.iter().flatten();
    meta.deletion_timestamp.is_some()
        || owners.any(|owner| {
            owner.controller == Some(true)
                && owner.kind == case.owner.kind
                && owner.name == case.owner.name
                && owner.api_version == case.owner.api_version
        })
}
