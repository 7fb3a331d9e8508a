//! The one shell of all kinds: observe, render, apply, report.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crds::marks::PLACEMENT_LABEL;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use runtime::panics::caught;
use runtime::{Broken, Ending};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::age::Ages;
use super::apply::{Applier, MANAGER};
use super::call::{CallError, call, call_opt};
use super::child::{Child, ChildKind, Owner, by_uid};
use super::condition::{Conditions, status_patch};
use super::events::Announcer;
use super::judge::{self, Candidate, Case, Judgement};
use super::kind::{
    Again, DENIED, Failure, GROUP, Kind, MUTATED, Outcome, Rendered, Report, Subject, VERSION,
};
use super::pace::Pace;
use super::retry::{Settled, key};
use super::template::{self, Inputs, RECORD};
use super::turns::{Turn, Turns};
use super::wake::{ObjectKey, Queue};
use super::world::World;
use super::{contested, origin, own, pod_security};
use crate::operator::rival::Rival;

/// Objects of one kind worked on at the same time. Twice as many take 4 MiB more and win nothing: the API server is busy.
const CONCURRENCY: usize = 16;

/// What follows a turn.
struct Next {
    ending: Ending,
    /// When to come again, whatever happens.
    after: Option<Duration>,
}

impl Next {
    fn done() -> Self {
        Self { ending: Ending::Done, after: None }
    }

    fn after(delay: Duration) -> Self {
        Self { ending: Ending::Done, after: Some(delay) }
    }
}

/// The finalizer of a deletion that leaves the children behind.
const ORPHANS: &str = "orphan";

/// Runs one kind.
pub(crate) struct Shell<K: Kind> {
    world: World,
    settled: Settled,
    pace: Pace,
    turns: Turns,
    ages: Ages,
    announcer: Announcer,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Shell<K> {
    pub(crate) fn new(world: World) -> Self {
        let announcer = Announcer::new(world.client.clone(), K::REPORTER);
        Self {
            world,
            settled: Settled::default(),
            pace: Pace::default(),
            turns: Turns::default(),
            ages: Ages::default(),
            announcer,
            kind: std::marker::PhantomData,
        }
    }

    /// Works off the queue until stopped. Begins when every cache has been filled.
    pub(crate) async fn run(self, queue: Queue, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.world.synced() => {}
        }
        let shell = Arc::new(self);
        let work = |key: ObjectKey| {
            let shell = shell.clone();
            async move { shell.turn(&key).await }
        };
        let judge = |key: &ObjectKey, outcome: Result<Result<Next, CallError>, Broken>, _| {
            let ObjectKey { namespace, name } = key;
            match outcome {
                Ok(Ok(next)) => {
                    if let Some(after) = next.after {
                        queue.add_after(key.clone(), after);
                    }
                    next.ending
                }
                Ok(Err(error)) if error.is_away() => {
                    tracing::debug!(kind = K::KIND, namespace, name, %error, "not carried out; trying again");
                    Ending::Away
                }
                Ok(Err(error)) if error.is_conflict() => {
                    tracing::debug!(kind = K::KIND, namespace, name, %error, "changed meanwhile");
                    Ending::Refused
                }
                Ok(Err(error)) => {
                    tracing::warn!(kind = K::KIND, namespace, name, %error, "not carried out; trying again");
                    Ending::Refused
                }
                Err(broken) => {
                    tracing::error!(kind = K::KIND, namespace, name, %broken, "a fault of the operator; trying again");
                    Ending::Refused
                }
            }
        };
        let closing = async {
            stop.cancelled().await;
            queue.close();
        };
        tokio::join!(queue.run(CONCURRENCY, work, judge), closing);
    }

    /// One turn of one object. A panic is told on the object, and its failure alone.
    async fn turn(&self, key: &ObjectKey) -> Result<Next, CallError> {
        let reference = ObjectRef::new_with(&key.name, K::resource()).within(&key.namespace);
        let cache = self.world.subjects.get(K::KIND);
        let Some(object) = cache.and_then(|cache| cache.store.get(&reference)) else {
            self.ages.forget(&(key.namespace.clone(), key.name.clone()));
            return Ok(Next::done());
        };
        let panic = match caught(self.reconcile(&object)).await {
            Ok(outcome) => return outcome,
            Err(panic) => panic,
        };
        let (namespace, name) = (&key.namespace, &key.name);
        tracing::error!(kind = K::KIND, namespace, name, %panic, "a fault of the operator; trying again");
        let message = format!("a fault of the operator, to be reported with this line: {panic}");
        let subject = subject::<K>(&object);
        let report = K::unreadable(&subject, "InternalError", &message);
        self.publish(&object, &subject, &report).await?;
        Ok(Next { ending: Ending::Refused, after: None })
    }

    async fn reconcile(&self, object: &DynamicObject) -> Result<Next, CallError> {
        let key = key(object);
        // All are woken when it has gone.
        if matches!(*self.world.rival.borrow(), Rival::Seen(_)) {
            return Ok(Next::done());
        }
        let intent =
            object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(PLACEMENT_LABEL));
        if object.metadata.deletion_timestamp.is_some() {
            self.ages.forget(&key);
            let others: Vec<String> = object
                .metadata
                .finalizers
                .iter()
                .flatten()
                .filter(|one| *one != K::FINALIZER)
                .cloned()
                .collect();
            if object.metadata.finalizers.iter().flatten().any(|one| one == K::FINALIZER) {
                let subject = subject::<K>(object);
                if let Some(why) = K::held_by(object, &subject, &self.world).await? {
                    let unwritten = self.publish(object, &subject, &Report::held(&subject, &why)).await?;
                    return Ok(Next { ending: Ending::Done, after: unwritten });
                }
                if !others.iter().any(|one| one == ORPHANS) {
                    self.clear_shared(&subject.owner).await;
                }
            }
            self.pace.forget(&key);
            self.turns.forget(&key);
            self.world.references.release(&subject::<K>(object).owner);
            self.set_finalizer(object, false).await?;
            let subject = subject::<K>(object);
            if let Some(report) = Report::going(&subject, &others).filter(|_| !intent && !others.is_empty()) {
                return match self.publish(object, &subject, &report).await {
                    Ok(unwritten) => Ok(Next { ending: Ending::Done, after: unwritten }),
                    Err(gone) if gone.code() == Some(404) => Ok(Next::done()),
                    Err(error) => Err(error),
                };
            }
            return Ok(Next::done());
        }
        let is_hub = matches!(*self.world.rival.borrow(), Rival::Hub(_));
        if intent {
            if is_hub {
                self.give_up(object).await?;
            }
            return Ok(Next::done());
        }
        // Objects of the people of a hub's cluster are what a fleet shall run, once they are placed.
        if is_hub && origin::is_local(object) {
            return Ok(Next::done());
        }
        let turn = self.turns.of(&key, object.data.get("status").is_none());
        if let Turn::Wait(left) = turn {
            return Ok(Next::after(left));
        }
        let fresh = self.set_finalizer(object, true).await?;
        let object = fresh.as_ref().unwrap_or(object);
        let mut subject = subject::<K>(object);
        subject.known_for = self.ages.known_for(&key, &subject.owner);
        let refused = self.refused_name(object, &subject);
        let report = match parse::<K>(object).and_then(|typed| refused.map_or(Ok(typed), Err)) {
            Ok(typed) => {
                let Some(report) = self.carry_out(&typed, &mut subject, object).await? else {
                    drop(turn);
                    self.turns.started(&key);
                    return Ok(Next::after(Duration::ZERO));
                };
                report
            }
            Err(error) => K::unreadable(&subject, "InvalidSpec", &error),
        };
        let unwritten = self.publish(object, &subject, &report).await?;
        let (ending, again) = match report.again {
            Again::Backoff => (Ending::Waiting, None),
            Again::After(delay) => (Ending::Done, Some(delay)),
            Again::No => (Ending::Done, None),
        };
        Ok(Next { ending, after: again.into_iter().chain(unwritten).min() })
    }

    /// Why nothing can be made for an object of this name; none if it can, and where something of it runs already.
    fn refused_name(&self, object: &DynamicObject, subject: &Subject) -> Option<String> {
        let Owner { namespace, name, uid, .. } = &subject.owner;
        let problem = crds::names::refusal_of(K::KIND, name, &object.data["spec"])?;
        let owned = |live: &DynamicObject| {
            live.metadata.owner_references.iter().flatten().any(|owner| owner.uid == *uid)
        };
        let caches = self.world.children.iter().filter(|(kind, _)| judge::runs(**kind));
        let runs = caches.into_iter().any(|(_, cache)| !cache.of_namespace(namespace, owned).is_empty());
        (!runs).then(|| format!("{problem}: make it again under another name"))
    }

    /// What there is to report, once all is applied.
    async fn carry_out(
        &self,
        typed: &K::Object,
        subject: &mut Subject,
        object: &DynamicObject,
    ) -> Result<Option<Report>, CallError> {
        let refs = K::observe(typed, subject, &self.world).await?;
        let facts = self.world.facts.borrow().clone();
        let mut rendered = K::render(typed, subject, &refs, &facts);
        let local = origin::is_local(object);
        // A hub gets no rights for an object of which nothing may ever run.
        if !local && !rendered.complete {
            rendered.children.retain(|child| !child.gives_rights());
        }
        let shaped = self.shape(&mut rendered.children, &subject.owner, local).await?;
        let judgement = self.judge(subject, object, &rendered.children).await?;
        let denied = match &judgement {
            Judgement::Within => None,
            Judgement::Kept { message } => Some(message.as_str()),
            Judgement::Denied { message } => {
                return Ok(Some(self.refused(typed, subject, (&refs, &rendered), message)));
            }
        };
        self.annotate(object, &rendered.notes).await?;
        let told = Conditions::read(&subject.status);
        let reported = told.get("Ready").and_then(|one| one.observed_generation);
        let referred = K::referred(typed, subject, &refs);
        let inputs = Inputs::new(&subject.owner, &object.data["spec"], referred).reported(reported);
        let applier = Applier {
            world: &self.world,
            settled: &self.settled,
            owner: &subject.owner,
            inputs: &inputs,
            recorded: subject.annotations.get(RECORD),
            told: told.get(MUTATED).map(|one| one.message.as_str()).unwrap_or_default(),
            local,
        };
        let outcome = match shaped {
            Ok(()) => applier.apply(&rendered, K::PRUNED).await,
            Err(why) => Outcome { failure: Some(why), live: applier.running(), ..Outcome::default() },
        };
        let mutated = self.mutated(subject, &told, local, &outcome);
        let contested = self.contested(&subject.owner, &rendered.children);
        let report = || {
            let report = K::report(typed, subject, &refs, &rendered, &outcome).denied(subject, denied);
            report.mutated(subject, &mutated).contested(subject, contested.as_deref())
        };
        Ok((!outcome.unfinished).then(report))
    }

    /// What is to be told of autoscalers of others that scale what is rendered.
    fn contested(&self, owner: &Owner, children: &[Child]) -> Option<String> {
        let cache = self.world.children.get(&ChildKind::HorizontalPodAutoscaler)?;
        if !children.iter().any(|child| template::is_known(child.kind)) {
            return None;
        }
        contested::message(owner, children, &cache.of_namespace(&owner.namespace, |_| true))
    }

    /// Fields that this cluster's admission changes, of the object as a hub delivered it and of its children. What is not
    /// known of the object since this process has started is what its status says.
    fn mutated(&self, subject: &Subject, told: &Conditions, local: bool, outcome: &Outcome) -> Vec<String> {
        let Owner { namespace, name, .. } = &subject.owner;
        let stored = || told.get(MUTATED).map(|one| one.message.as_str()).unwrap_or_default().split("; ");
        let own = match self.world.mutations.of(K::KIND, namespace, name) {
            Some(differences) => differences.iter().map(ToString::to_string).collect(),
            None if local => Vec::new(),
            None => stored().filter(|line| is_of_object(line)).map(str::to_owned).collect(),
        };
        let own: Vec<String> = own;
        own.into_iter().chain(outcome.mutated.iter().cloned()).collect()
    }

    /// Whether what is rendered may be written.
    async fn judge(
        &self,
        subject: &Subject,
        object: &DynamicObject,
        children: &[Child],
    ) -> Result<Judgement, CallError> {
        let Some(judge) = &self.world.judge else { return Ok(Judgement::Within) };
        let namespace = &subject.owner.namespace;
        let live = |child: &Child| self.world.child(child.kind, namespace, &child.name);
        let candidates: Vec<_> =
            children.iter().map(|child| Candidate { child, live: live(child) }).collect();
        let owners = object.metadata.owner_references.iter().flatten();
        let controller = owners.filter(|owner| owner.controller == Some(true)).find_map(|owner| {
            let found = self.world.subject(&owner.kind, namespace, &owner.name)?;
            (found.metadata.uid.as_ref() == Some(&owner.uid)).then_some(found)
        });
        let case = Case { owner: &subject.owner, object, controller, candidates: &candidates };
        let excess = judge.judge(&case).await.map_err(CallError::Judge)?;
        Ok(judge::follow(&case, excess))
    }

    /// The report of an object of which nothing is written: what it had made before goes on, and is reported as it is.
    fn refused(
        &self,
        typed: &K::Object,
        subject: &Subject,
        (refs, rendered): (&K::Refs, &Rendered<K::Verdict>),
        message: &str,
    ) -> Report {
        let Owner { namespace, uid, .. } = &subject.owner;
        let owned = |live: &DynamicObject| {
            let mut owners = live.metadata.owner_references.iter().flatten();
            owners.any(|owner| owner.controller == Some(true) && owner.uid == *uid)
        };
        let live: BTreeMap<_, _> = rendered
            .children
            .iter()
            .filter_map(|child| {
                let live = self.world.child(child.kind, namespace, &child.name)?;
                Some(((child.kind, child.name.clone()), live))
            })
            .collect();
        let report = if live.iter().any(|((kind, _), live)| judge::runs(*kind) && owned(live)) {
            K::report(typed, subject, refs, rendered, &Outcome { live, ..Outcome::default() })
        } else {
            K::unreadable(subject, DENIED, message)
        };
        Report { again: Again::Backoff, ..report.denied(subject, Some(message)) }
    }

    /// Marks the children of an object that is local, and gives pods the form that their namespace takes. An error is
    /// about a pod that no form of it will do.
    async fn shape(
        &self,
        children: &mut [Child],
        owner: &Owner,
        local: bool,
    ) -> Result<Result<(), Failure>, CallError> {
        let (world, namespace) = (&self.world, &owner.namespace);
        for child in &mut *children {
            let live = world.child(child.kind, namespace, &child.name);
            origin::mark(child, local, live.as_deref());
        }
        if !children.iter().any(|child| child.kind.runs_pods()) {
            return Ok(Ok(()));
        }
        let enforced = match world.namespaces.is_restricted(&world.client, namespace).await {
            Ok(enforced) => enforced,
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => return Ok(Err(Failure::new("NamespaceFailed", error.to_string()))),
        };
        for child in children {
            let live = world.child(child.kind, namespace, &child.name);
            match pod_security::shaped(child, owner, live.as_deref(), enforced) {
                Ok(Cow::Owned(shaped)) => *child = shaped,
                Ok(Cow::Borrowed(_)) => {}
                Err(refused) => return Ok(Err(pod_security::failure(child, namespace, &refused))),
            }
        }
        Ok(Ok(()))
    }

    /// Removes what was made from an object before a placement took it: the fleet runs it elsewhere. Data stays.
    async fn give_up(&self, object: &DynamicObject) -> Result<(), CallError> {
        let (namespace, _) = key(object);
        let is_ours = |child: &DynamicObject| {
            let mut owners = child.metadata.owner_references.iter().flatten();
            owners.any(|owner| {
                owner.controller == Some(true) && Some(&owner.uid) == object.metadata.uid.as_ref()
            })
        };
        for (kind, cache) in &*self.world.children {
            if *kind == ChildKind::PersistentVolumeClaim {
                continue;
            }
            for child in cache.of_namespace(&namespace, is_ours) {
                let name = child.metadata.name.clone().unwrap_or_default();
                let api = self.world.api(&namespace, &kind.resource());
                let params = by_uid(*kind, &name, child.metadata.uid.clone());
                call_opt(|| format!("delete {} {name}", kind.word()), api.delete(&name, &params)).await?;
            }
        }
        self.set_finalizer(object, false).await.map(drop)
    }

    /// Whether the deletion of `owner` orphaned its children. The garbage collector removes the finalizer `orphan` once
    /// no child names the owner, so a later turn can tell it from a live child alone.
    async fn left_behind(&self, owner: &Owner) -> Result<bool, CallError> {
        for cache in self.world.children.values() {
            for child in cache.of_namespace(&owner.namespace, |child| own::was_of(owner, child)) {
                let name = child.metadata.name.as_deref().unwrap_or_default();
                let api = self.world.api(&owner.namespace, &cache.resource);
                let what = || format!("read {} {name}", cache.resource.kind);
                if let Some(live) = call_opt(what, api.get_metadata(name)).await? {
                    return Ok(own::controller(&live.metadata).is_none());
                }
            }
        }
        Ok(false)
    }

    /// Removes what the objects of a namespace share when none of them stays and the last one, `owner`, leaves no children
    /// behind. It never holds up a deletion.
    async fn clear_shared(&self, owner: &Owner) {
        if K::SHARED.is_empty() {
            return;
        }
        let namespace = &owner.namespace;
        let stays = |object: &DynamicObject| object.metadata.deletion_timestamp.is_none();
        let cache = self.world.subjects.get(K::KIND);
        if cache.is_none_or(|cache| !cache.of_namespace(namespace, stays).is_empty()) {
            return;
        }
        match self.left_behind(owner).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(error) => {
                tracing::warn!(%error, namespace, "left behind");
                return;
            }
        }
        for (kind, name) in K::SHARED {
            let Some(live) = self.world.child(*kind, namespace, name) else { continue };
            let params = by_uid(*kind, name, live.metadata.uid.clone());
            let api = self.world.api(namespace, &kind.resource());
            if let Err(error) =
                call_opt(|| format!("delete {} {name}", kind.word()), api.delete(name, &params)).await
            {
                tracing::warn!(%error, namespace, "left behind");
            }
        }
    }

    /// Writes the status if it differs, and tells of it. What it answers is when to come again for what was not
    /// written yet.
    async fn publish(
        &self,
        object: &DynamicObject,
        subject: &Subject,
        report: &Report,
    ) -> Result<Option<Duration>, CallError> {
        let key = key(object);
        let Some(patch) = status_patch(&subject.status, &report.status) else {
            self.pace.unchanged(&key);
            return Ok(None);
        };
        if let Some(left) = self.pace.wait(&key, &subject.status, &report.status) {
            return Ok(Some(left));
        }
        let Owner { namespace, name, .. } = &subject.owner;
        let api = self.world.api(namespace, &K::resource());
        let patch = Patch::Merge(json!({ "status": patch }));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let what = || format!("write the status of {} {name}", K::KIND);
        call(what, api.patch_status(name, &params, &patch)).await?;
        self.pace.written(&key);
        for notice in &report.notices {
            self.announcer.tell(&K::resource(), object, notice).await;
        }
        Ok(None)
    }

    /// Puts the finalizer on or takes it off; returns the object as it is then, if it was written.
    async fn set_finalizer(
        &self,
        object: &DynamicObject,
        wanted: bool,
    ) -> Result<Option<DynamicObject>, CallError> {
        let mut all = object.metadata.finalizers.clone().unwrap_or_default();
        if all.iter().any(|one| one == K::FINALIZER) == wanted {
            return Ok(None);
        }
        if wanted {
            all.push(K::FINALIZER.to_owned());
        } else {
            all.retain(|one| one != K::FINALIZER);
        }
        self.patch_metadata(object, json!({ "finalizers": all })).await
    }

    /// Sets annotations of the object, and removes those without a value.
    async fn annotate(
        &self,
        object: &DynamicObject,
        notes: &[(&str, Option<String>)],
    ) -> Result<(), CallError> {
        let stored = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let changed = notes.iter().filter(|(key, value)| stored(key) != value.as_ref());
        let changed: BTreeMap<_, _> = changed.map(|(key, value)| (*key, value)).collect();
        if changed.is_empty() {
            return Ok(());
        }
        self.patch_metadata(object, json!({ "annotations": changed })).await.map(drop)
    }

    /// Changes metadata of the object that was seen, not of one that was changed since. Nothing else of a user's object
    /// is ever written beside its status: a field that this manager owned would conflict with its author's next apply.
    async fn patch_metadata(
        &self,
        object: &DynamicObject,
        mut metadata: Value,
    ) -> Result<Option<DynamicObject>, CallError> {
        let (namespace, name) = key(object);
        metadata["resourceVersion"] = json!(object.metadata.resource_version);
        let change = json!({ "metadata": metadata });
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.world.api(&namespace, &K::resource());
        let what = || format!("write the metadata of {} {name}", K::KIND);
        call_opt(what, api.patch(&name, &params, &Patch::Merge(change))).await
    }
}

/// Whether a line about a field that admission changes is about the object itself, not about a child.
fn is_of_object(line: &str) -> bool {
    line.starts_with("spec") || line.starts_with("metadata")
}

/// The object apart from its spec.
fn subject<K: Kind>(object: &DynamicObject) -> Subject {
    let (namespace, name) = key(object);
    Subject {
        owner: Owner {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: K::KIND.to_owned(),
            namespace,
            name,
            uid: object.metadata.uid.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
        },
        status: object.data.get("status").cloned().unwrap_or_default(),
        annotations: object.metadata.annotations.clone().unwrap_or_default(),
        known_for: Duration::MAX,
        now: Timestamp::now(),
    }
}

/// Reads the object without its status: a status that someone else broke does not stop it.
pub(crate) fn parse<K: Kind>(object: &DynamicObject) -> Result<K::Object, String> {
    let mut data = object.data.clone();
    if let Value::Object(fields) = &mut data {
        fields.remove("status");
        if let Some(spec) = fields.get_mut("spec") {
            *spec = K::canonical(spec);
        }
    }
    let whole = DynamicObject { types: object.types.clone(), metadata: object.metadata.clone(), data };
    let value = serde_json::to_value(whole).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| format!("the spec cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
