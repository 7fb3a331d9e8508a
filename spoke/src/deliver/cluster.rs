//! Delivery into a real cluster.

use std::collections::HashSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use crds::marks::{DELIVERED, DELIVERED_LABEL};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::Value;
use tokio::sync::Mutex;

use super::call::{self, carried_out, failed, is_not_found, timed};
use super::claim::{self, Claim};
use super::epoch::{self, Accepted};
use super::kinds::{DeliverableKind, KINDS};
use super::manifest::{self, Marks, marks_of};
use super::refusal::{self, Refusal};
use super::secret_index::SecretIndex;
use super::state::State;
use super::turns::Turns;
use super::{
    AcceptError, Deliver, DeliverError, Epoch, HeldObject, Limits, ObjectRef, Outcome, Policy,
    RejectionClass, Tombstone, Upsert, drift, namespace,
};

/// The owner of every field that a hub wants.
pub(super) const FIELD_MANAGER: &str = "nimfleet-deliver";

/// How long a removal waits for finalizers before the caller has to ask again.
const REMOVAL_WAIT: Duration = Duration::from_secs(20);

/// Applies what the hub sends to the cluster that this spoke runs in. Cheap to clone.
#[derive(Clone)]
pub struct ClusterDeliver {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    namespace: String,
    limits: Limits,
    state: State,
    secrets: SecretIndex,
    epoch: Mutex<Known>,
    turns: Turns,
    /// uids whose disappearance is the hub's will and not to be healed.
    leaving: StdMutex<HashSet<String>>,
}

/// What is known of the stored epoch.
enum Known {
    /// It has to be read.
    Nothing,
    /// It is this; `None` when no hub has been accepted yet.
    Stored(Option<Epoch>),
}

impl ClusterDeliver {
    /// `namespace` is the spoke's own: there it keeps the epoch. `limits` are what the cluster's owner allows.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str, limits: Limits) -> Self {
        let state = State::new(client.clone(), namespace);
        let secrets = SecretIndex::new(client.clone(), namespace);
        Self {
            inner: Arc::new(Inner {
                client,
                namespace: namespace.to_owned(),
                limits,
                state,
                secrets,
                epoch: Mutex::new(Known::Nothing),
                turns: Turns::new(),
                leaving: StdMutex::new(HashSet::new()),
            }),
        }
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.inner.client
    }

    pub(super) fn objects(&self, kind: DeliverableKind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.inner.client.clone(), namespace, &kind.resource())
    }

    pub(super) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    /// Whether the hub wants that object away.
    pub(super) fn is_leaving(&self, uid: &str) -> bool {
        self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }

    fn set_leaving(&self, uid: &str, leaving: bool) {
        let mut all = self.inner.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        if leaving {
            all.insert(uid.to_owned());
        } else {
            all.remove(uid);
        }
    }

    /// Judges what would be applied by the limits of the cluster's owner.
    fn within_limits(&self, kind: DeliverableKind, manifest: &Value) -> Result<(), String> {
        let (limits, own) = (&self.inner.limits, self.inner.namespace.as_str());
        if kind.is_secret() { limits.check_secret(manifest, own) } else { limits.check(manifest, own) }
    }

    /// Refuses work of an epoch that is not the accepted one.
    async fn check(&self, offered: &Epoch) -> Result<Option<Outcome>, DeliverError> {
        let accepted = self.highest_epoch().await?;
        let refused = epoch::check(accepted.as_ref(), offered);
        Ok(refused.map(|message| rejected(RejectionClass::StaleEpoch, message)))
    }

    async fn live(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
    ) -> Result<Option<DynamicObject>, DeliverError> {
        let objects = self.objects(kind, &object.namespace);
        carried_out(&format!("read {object}"), objects.get_opt(&object.name)).await
    }

    /// Applies a manifest whose namespace is there. `guard` is the version that was judged.
    pub(super) async fn apply(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        mut manifest: Value,
        guard: Option<String>,
    ) -> Result<Outcome, DeliverError> {
        if let Some(version) = guard {
            manifest["metadata"]["resourceVersion"] = Value::String(version);
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let objects = self.objects(kind, &object.namespace);
        let what = format!("apply {object}");
        let applied = timed(&what, objects.patch(&object.name, &params, &Patch::Apply(manifest))).await?;
        match applied.map_err(|error| if kind.is_secret() { refusal::without_words(error) } else { error }) {
            Ok(_) => Ok(Outcome::Accepted),
            Err(error) => match refusal::judge(&error) {
                Refusal::Rejected(class, message) => Ok(rejected(class, message)),
                Refusal::Passing => Err(failed(&what, error)),
            },
        }
    }

    async fn delete(
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
    async fn forget(&self, kind: DeliverableKind, object: &ObjectRef) -> Result<Outcome, DeliverError> {
        if kind.is_secret() {
            self.inner.secrets.remove(&object.uid).await?;
        }
        Ok(Outcome::Gone)
    }

    async fn retain(
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

impl Deliver for ClusterDeliver {
    async fn held(&self) -> Result<Vec<HeldObject>, DeliverError> {
        let Some(epoch) = self.highest_epoch().await? else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for kind in KINDS {
            let objects: Api<DynamicObject> = Api::all_with(self.inner.client.clone(), &kind.resource());
            let params = ListParams::default().labels(&format!("{DELIVERED_LABEL}={DELIVERED}"));
            let what = format!("list delivered {}", kind.plural);
            let list = match timed(&what, objects.list_metadata(&params)).await? {
                Ok(list) => list.items,
                // A cluster without the kind holds nothing of it.
                Err(error) if is_not_found(&error) => continue,
                Err(error) => return Err(failed(&what, error)),
            };
            held.extend(list.into_iter().filter_map(|object| {
                let marks = marks_of(&object.metadata).filter(|marks| marks.hub_id == epoch.hub_id)?;
                Some(HeldObject {
                    object: ObjectRef {
                        uid: marks.uid,
                        api_version: kind.api_version(),
                        kind: kind.kind.to_owned(),
                        namespace: object.metadata.namespace?,
                        name: object.metadata.name?,
                    },
                    generation: marks.generation,
                    hash: marks.hash,
                })
            }));
        }
        held.extend(self.inner.secrets.held(&epoch.hub_id).await?);
        Ok(held)
    }

    async fn highest_epoch(&self) -> Result<Option<Epoch>, DeliverError> {
        let mut known = self.inner.epoch.lock().await;
        if let Known::Stored(epoch) = &*known {
            return Ok(epoch.clone());
        }
        let stored = self.inner.state.read().await?;
        *known = Known::Stored(stored.clone());
        Ok(stored)
    }

    async fn accept_epoch(&self, offered: &Epoch) -> Result<(), AcceptError> {
        let mut known = self.inner.epoch.lock().await;
        let stored = match &*known {
            Known::Stored(epoch) => epoch.clone(),
            Known::Nothing => self.inner.state.read().await?,
        };
        if epoch::judge(stored.as_ref(), offered)? == Accepted::Store {
            // What is in the cluster is unknown until the write has been answered.
            *known = Known::Nothing;
            self.inner.state.write(offered).await?;
        }
        *known = Known::Stored(Some(offered.clone()));
        Ok(())
    }

    async fn upsert(&self, upsert: &Upsert, epoch: &Epoch) -> Result<Outcome, DeliverError> {
        if let Some(stale) = self.check(epoch).await? {
            return Ok(stale);
        }
        let object = &upsert.object;
        let Some(kind) = DeliverableKind::find(&object.api_version, &object.kind) else {
            let message = format!(
                "this spoke does not know {} of {}: a newer nimfleet-spoke may",
                object.kind, object.api_version
            );
            return Ok(rejected(RejectionClass::Unsupported, message));
        };
        let marks = Marks::new(upsert, epoch);
        let manifest = match manifest::manifest(object, &upsert.payload, &marks) {
            Ok(manifest) => manifest,
            Err(problem) => return Ok(rejected(RejectionClass::Invalid, problem)),
        };
        let _turn = self.inner.turns.of(kind.kind, &object.namespace, &object.name).await;
        self.set_leaving(&object.uid, false);
        let live = self.live(kind, object).await?;
        let current = live.as_ref().map(|live| &live.metadata);
        let claim = claim::judge(object, current, &marks);
        // What is here as it is wanted was allowed once, and keeps running whatever has become of the limits.
        if claim != Claim::Current
            && let Err(message) = self.within_limits(kind, &manifest)
        {
            let held = current.and_then(marks_of).is_some_and(|held| held.hub_id == epoch.hub_id);
            tracing::warn!(%object, message, "denied: the limits of this cluster's owner");
            return Ok(rejected(RejectionClass::PolicyDenied { held }, message));
        }
        match claim {
            Claim::Foreign(message) => return Ok(rejected(RejectionClass::Conflict, message)),
            Claim::Leaving => {
                let finalizers = current.and_then(|meta| meta.finalizers.clone()).unwrap_or_default();
                return Err(DeliverError::StillThere { object: object.to_string(), finalizers });
            }
            Claim::Current if live.as_ref().is_some_and(|live| is_unmodified(live, manifest.clone())) => {
                return Ok(Outcome::Accepted);
            }
            Claim::Current | Claim::Apply => {}
        }
        if kind.is_secret() {
            // First: what is not in the index would not be found again.
            self.inner.secrets.add(&object.uid, &object.namespace, &object.name).await?;
        }
        let guard = live.and_then(|live| live.metadata.resource_version);
        if guard.is_some() {
            return self.apply(kind, object, manifest, guard).await;
        }
        // The namespace is there already but for the first object in it, so it is asked for only where it is missed.
        match self.apply(kind, object, manifest.clone(), None).await {
            Err(error) if call::misses_namespace(&error) => {
                namespace::ensure(&self.inner.client, &object.namespace).await?;
                self.apply(kind, object, manifest, None).await
            }
            outcome => outcome,
        }
    }

    async fn remove(&self, tombstone: &Tombstone, epoch: &Epoch) -> Result<Outcome, DeliverError> {
        if let Some(stale) = self.check(epoch).await? {
            return Ok(stale);
        }
        let object = &tombstone.object;
        let Some(kind) = DeliverableKind::find(&object.api_version, &object.kind) else {
            return Ok(Outcome::Gone);
        };
        let _turn = self.inner.turns.of(kind.kind, &object.namespace, &object.name).await;
        let ours = self.live(kind, object).await?.filter(|live| {
            marks_of(&live.metadata)
                .is_some_and(|marks| marks.uid == object.uid && marks.hub_id == epoch.hub_id)
        });
        let Some(live) = ours else {
            return self.forget(kind, object).await;
        };
        tracing::info!(%object, policy = ?tombstone.policy, reason = tombstone.reason, "removing at the hub's request");
        // From now on its end is the hub's will, also where only this cluster's people may carry it out.
        self.set_leaving(&object.uid, true);
        if tombstone.policy == Policy::Delete
            && let Err(message) = self.inner.limits.check_deletion()
        {
            tracing::warn!(%object, message, "denied: the limits of this cluster's owner");
            return Ok(rejected(RejectionClass::PolicyDenied { held: true }, message));
        }
        match tombstone.policy {
            Policy::Retain => {
                self.retain(kind, object, &live, &epoch.hub_id).await?;
                self.forget(kind, object).await
            }
            Policy::Delete => {
                self.delete(kind, object, live).await?;
                let outcome = self.forget(kind, object).await?;
                if let Err(error) =
                    namespace::remove_if_ours_and_empty(&self.inner.client, &object.namespace).await
                {
                    tracing::info!(namespace = object.namespace, %error, "the namespace stays");
                }
                Ok(outcome)
            }
        }
    }
}

/// Whether nothing of what would be applied differs, the epoch aside: a new term alone is no reason to write.
pub(super) fn is_unmodified(live: &DynamicObject, mut manifest: Value) -> bool {
    if let Some(annotations) = manifest["metadata"]["annotations"].as_object_mut() {
        annotations.remove(crds::marks::EPOCH_ANNOTATION);
    }
    serde_json::to_value(live).is_ok_and(|live| drift::holds(&live, &manifest))
}

fn rejected(class: RejectionClass, message: String) -> Outcome {
    Outcome::Rejected { class, message }
}
