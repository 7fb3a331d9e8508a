//! How an object leaves: deleted, or left to the cluster's people.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};

use super::call::{carried_out, failed, is_not_found, timed};
use super::cluster::{ClusterDeliver, FIELD_MANAGER};
use super::kinds::DeliverableKind;
use super::{DeliverError, ObjectRef, Outcome, manifest};

/// How long a removal waits for finalizers before the caller has to ask again.
const REMOVAL_WAIT: Duration = Duration::from_secs(20);

impl ClusterDeliver {
    /// Deletes an object that was judged, and waits until it is gone.
    pub(super) async fn delete(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        live: DynamicObject,
    ) -> Result<Outcome, DeliverError> {
        let objects = self.objects(kind, &object.namespace);
        let Some(uid) = live.metadata.uid.clone() else { return Ok(Outcome::Gone) };
        if live.metadata.deletion_timestamp.is_none() {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(uid.clone()),
                    // Not an object that changed hands since it was judged.
                    resource_version: live.metadata.resource_version,
                }),
                ..DeleteParams::default()
            };
            let what = format!("delete {object}");
            match timed(&what, objects.delete(&object.name, &params)).await? {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(failed(&what, error)),
            }
        }
        if kind.is_secret() {
            // A Secret is not watched, and goes at once unless somebody holds it.
            return self.left(kind, object, &uid).await;
        }
        let gone = await_condition(objects, &object.name, conditions::is_deleted(&uid));
        if let Ok(Ok(_)) = tokio::time::timeout(REMOVAL_WAIT, gone).await {
            return Ok(Outcome::Gone);
        }
        self.left(kind, object, &uid).await
    }

    /// Whether an object that was deleted is gone, or what holds it.
    async fn left(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        uid: &str,
    ) -> Result<Outcome, DeliverError> {
        let left = self.live(kind, object).await?;
        match left.filter(|left| left.metadata.uid.as_deref() == Some(uid)) {
            None => Ok(Outcome::Gone),
            Some(left) => Err(DeliverError::StillThere {
                object: object.to_string(),
                finalizers: left.metadata.finalizers.unwrap_or_default(),
            }),
        }
    }

    /// The object is gone, or not the hub's any more: nothing speaks of it here.
    pub(super) async fn forget(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
    ) -> Result<Outcome, DeliverError> {
        if kind.is_secret() {
            self.secrets().remove(&object.uid).await?;
        }
        Ok(Outcome::Gone)
    }

    /// Takes our marks off an object that was judged.
    pub(super) async fn retain(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        live: &DynamicObject,
        hub_id: &str,
    ) -> Result<Outcome, DeliverError> {
        let objects = self.objects(kind, &object.namespace);
        let patch = Patch::Merge(manifest::release(&live.metadata, hub_id));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        carried_out(&format!("release {object}"), objects.patch_metadata(&object.name, &params, &patch))
            .await?;
        Ok(Outcome::Gone)
    }
}
