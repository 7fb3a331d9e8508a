//! Delivery into a real cluster.

use std::collections::HashSet;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use crds::compare::{Difference, differences_as_written};
use crds::marks;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::Value;
use tokio::sync::Mutex;

use super::call::{self, carried_out, failed, is_not_found, timed};
use super::claim::{self, Claim};
use super::epoch::{self, Accepted};
use super::kinds::{DeliverableKind, KINDS};
use super::manifest::{self, Marks, marks_of};
use super::refusal::{self, Refusal};
use super::releases::Releases;
use super::secret_index::SecretIndex;
use super::state::State;
use super::turns::Turns;
use super::{
    AcceptError, Deliver, DeliverError, Epoch, HeldObject, Limits, ObjectRef, Outcome, Policy,
    RejectionClass, Release, Tombstone, Upsert, made, namespace,
};
use crate::facts::Look;
use crate::operator::{MUTATED, Mutations};

/// The owner of every field that a hub wants.
pub(super) const FIELD_MANAGER: &str = "nimfleet-deliver";

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
    releases: Releases,
    secrets: SecretIndex,
    epoch: Mutex<Known>,
    turns: Turns,
    /// What is free in the cluster.
    look: Look,
    /// What this cluster's admission changes of what is applied.
    mutations: Mutations,
    /// One gang after the other: what is free for one depends on what was taken before.
    gangs: Mutex<()>,
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
    /// `namespace` is the spoke's own: there it keeps the epoch. `limits` are what the cluster's owner allows; `look` tells
    /// what is free; what admission changes is noted in `mutations`.
    pub(crate) fn new(
        client: kube::Client,
        namespace: &str,
        limits: Limits,
        look: Look,
        mutations: Mutations,
    ) -> Self {
        let state = State::new(client.clone(), namespace);
        let releases = Releases::new(client.clone(), namespace);
        let secrets = SecretIndex::new(client.clone(), namespace);
        Self {
            inner: Arc::new(Inner {
                client,
                namespace: namespace.to_owned(),
                limits,
                state,
                releases,
                secrets,
                epoch: Mutex::new(Known::Nothing),
                turns: Turns::new(),
                look,
                mutations,
                gangs: Mutex::default(),
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

    pub(super) fn secrets(&self) -> &SecretIndex {
        &self.inner.secrets
    }

    pub(super) fn look(&self) -> &Look {
        &self.inner.look
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
    pub(super) async fn within_limits(
        &self,
        kind: DeliverableKind,
        manifest: &Value,
    ) -> Result<Result<(), String>, DeliverError> {
        let (limits, own) = (&self.inner.limits, self.inner.namespace.as_str());
        if kind.is_secret() {
            return Ok(limits.check_secret(manifest, own));
        }
        let made = made::look(&self.inner.client, limits, manifest).await?;
        Ok(limits.check(manifest, own, &made))
    }

    /// The level of Pod Security of namespaces that are made here.
    pub(super) fn pod_security(&self) -> &'static str {
        self.inner.limits.pod_security()
    }

    /// Refuses work of an epoch that is not the accepted one.
    async fn check(&self, offered: &Epoch) -> Result<Option<Outcome>, DeliverError> {
        let accepted = self.highest_epoch().await?;
        let refused = epoch::check(accepted.as_ref(), offered);
        Ok(refused.map(|message| rejected(RejectionClass::StaleEpoch, message)))
    }

    pub(super) async fn live(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
    ) -> Result<Option<DynamicObject>, DeliverError> {
        let objects = self.objects(kind, &object.namespace);
        carried_out(&format!("read {object}"), objects.get_opt(&object.name)).await
    }

    /// The fields of a delivered object that somebody has changed since it was applied. What the API server stored otherwise
    /// when it was applied is none: this cluster's admission would change it again.
    pub(super) fn edits(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        live: &DynamicObject,
        manifest: &Value,
    ) -> Vec<Difference> {
        let (hash, mut found) = (hash_of(manifest), differences(live, manifest));
        let key = (kind.kind, object.namespace.as_str(), object.name.as_str());
        let answered = self.inner.mutations.answered(key, hash);
        // What this process has not applied itself was answered to an earlier one, which told it.
        let (told, unknown) = (told(live), answered.is_none());
        let is_known = |one: &Difference| match &answered {
            Some(answered) => answered.contains(one),
            None => told.contains(&one.to_string()),
        };
        let (known, edits): (Vec<_>, Vec<_>) = found.drain(..).partition(is_known);
        if edits.is_empty()
            && (answered.is_some_and(|before| before != known) || (unknown && !told.is_empty()))
        {
            self.note(kind, object, hash, known);
        }
        edits
    }

    /// Whether another controller makes these edits of a delivered object again at once, as often as they are undone. They
    /// are taken for what this cluster makes of the object then.
    pub(super) fn is_fought_over(
        &self,
        kind: DeliverableKind,
        object: &ObjectRef,
        manifest: &Value,
        edits: &[Difference],
    ) -> bool {
        let key = (kind.kind, object.namespace.as_str(), object.name.as_str());
        let hash = hash_of(manifest);
        let fought = self.inner.mutations.is_fought_over(key, hash, edits);
        if fought {
            let known = self.inner.mutations.answered(key, hash).unwrap_or_default();
            self.note(kind, object, hash, known.into_iter().chain(edits.iter().cloned()).collect());
        }
        fought
    }

    fn note(&self, kind: DeliverableKind, object: &ObjectRef, hash: &str, differences: Vec<Difference>) {
        let key = (kind.kind, object.namespace.as_str(), object.name.as_str());
        self.inner.mutations.note(key, hash, differences);
    }

    /// Where it is noted what this cluster's admission changes.
    pub(super) fn mutations(&self) -> &Mutations {
        &self.inner.mutations
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
        let applied = timed(&what, objects.patch(&object.name, &params, &Patch::Apply(&manifest))).await?;
        match applied.map_err(|error| if kind.is_secret() { refusal::without_words(error) } else { error }) {
            Ok(answer) => {
                self.note(kind, object, hash_of(&manifest), differences(&answer, &manifest));
                Ok(Outcome::Accepted)
            }
            Err(error) if refusal::is_namespace_terminating(&error) => {
                Err(DeliverError::NamespaceTerminating {
                    namespace: object.namespace.clone(),
                    object: object.to_string(),
                })
            }
            Err(error) => match refusal::judge(&error) {
                Refusal::Rejected(class, message) => Ok(rejected(class, message)),
                Refusal::Passing => Err(failed(&what, error)),
            },
        }
    }
}

impl Deliver for ClusterDeliver {
    async fn held(&self) -> Result<Vec<HeldObject>, DeliverError> {
        let Some(epoch) = self.highest_epoch().await? else { return Ok(Vec::new()) };
        let mut held = Vec::new();
        for kind in KINDS {
            let objects: Api<DynamicObject> = Api::all_with(self.inner.client.clone(), &kind.resource());
            let params = ListParams::default().labels(&manifest::delivered());
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
        *known = match epoch::judge(stored.as_ref(), offered)? {
            Accepted::Known => Known::Stored(stored),
            Accepted::Store => {
                // What is in the cluster is unknown until the write has been answered.
                *known = Known::Nothing;
                self.inner.state.write(offered).await?;
                Known::Stored(Some(offered.clone()))
            }
        };
        Ok(())
    }

    async fn releases(&self) -> Result<Vec<Release>, DeliverError> {
        self.inner.releases.read().await
    }

    async fn store_releases(&self, releases: &[Release]) -> Result<(), DeliverError> {
        self.inner.releases.write(releases).await
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
            && !current.is_some_and(|held| is_scaled(held, epoch, &manifest))
            && let Err(message) = self.within_limits(kind, &manifest).await?
        {
            let held = current.and_then(marks_of).is_some_and(|held| held.hub_id == epoch.hub_id);
            tracing::warn!(%object, problem = message, "denied: the limits of this cluster's owner");
            return Ok(rejected(RejectionClass::PolicyDenied { held }, message));
        }
        match claim {
            Claim::Foreign(message) => return Ok(rejected(RejectionClass::Conflict, message)),
            Claim::Leaving => {
                let finalizers = current.and_then(|meta| meta.finalizers.clone()).unwrap_or_default();
                return Err(DeliverError::StillThere { object: object.to_string(), finalizers });
            }
            Claim::Current
                if live.as_ref().is_some_and(|live| self.edits(kind, object, live, &manifest).is_empty()) =>
            {
                return Ok(Outcome::Accepted);
            }
            Claim::Current | Claim::Apply => {}
        }
        // What is there is there, and running models are not touched; what comes has to find its nodes together, and nobody else
        // is given them before it is there.
        let gang = upsert.gang.as_ref().filter(|_| live.is_none());
        let _alone = if gang.is_some() { Some(self.inner.gangs.lock().await) } else { None };
        if let Some(gang) = gang
            && let Some(refusal) = self.no_room(object, gang).await?
        {
            return Ok(refusal);
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
                namespace::ensure(&self.inner.client, &object.namespace, self.pod_security()).await?;
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
            tracing::warn!(%object, problem = message, "denied: the limits of this cluster's owner");
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

/// What differs of what would be applied, the epoch aside: a new term alone is no reason to write.
fn differences(live: &DynamicObject, manifest: &Value) -> Vec<Difference> {
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    if let Some(annotations) = manifest["metadata"]["annotations"].as_object_mut() {
        annotations.remove(marks::EPOCH_ANNOTATION);
    }
    differences_as_written(&manifest, &serde_json::to_value(live).unwrap_or_default())
}

/// Hash of the payload of a manifest.
fn hash_of(manifest: &Value) -> &str {
    manifest["metadata"]["annotations"][marks::HASH_ANNOTATION].as_str().unwrap_or_default()
}

/// What the status of an object says of fields that this cluster's admission changes.
fn told(live: &DynamicObject) -> &str {
    let conditions = live.data["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told = conditions.iter().find(|one| one["type"] == MUTATED && one["status"] == "True");
    told.and_then(|one| one["message"].as_str()).unwrap_or_default()
}

/// Whether what this hub wants differs in its scale alone from what it has here.
fn is_scaled(held: &ObjectMeta, epoch: &Epoch, manifest: &Value) -> bool {
    let marks = marks_of(held).filter(|marks| marks.hub_id == epoch.hub_id);
    let payload = marks.and_then(|marks| manifest::payload_of(held, &marks));
    let payload = payload.and_then(|payload| serde_json::from_slice::<Value>(&payload).ok());
    payload.is_some_and(|payload| Limits::is_scaled(&payload, manifest))
}

fn rejected(class: RejectionClass, message: String) -> Outcome {
    Outcome::Rejected { class, message }
}
