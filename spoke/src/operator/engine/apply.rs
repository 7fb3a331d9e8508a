//! Carries out what was decided about children: creation, server-side apply, deletion by uid; nothing when nothing is
//! to do.

mod create;
mod service_name;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::compare::{differences, holds};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::call::{CallError, call, call_opt};
use super::child::{Child, ChildKind, Keep, Owner, Stamped, by_uid};
use super::decide::{Decision, Seen, decide, mutated, superfluous, trim};
use super::kind::{Amendment, Failure, GROUP, Outcome, Rendered};
use super::optional::unavailable;
use super::origin::is_local;
use super::own::{Ownership, controller, ownership};
use super::requires::{Required, references, required};
use super::retry::{Settled, key};
use super::take_over;
use super::template::{self, Choice, Inputs, RECORD, Record};
use super::world::World;

/// The one field manager of everything this operator writes.
pub(crate) const MANAGER: &str = "nimfleet-spoke";
/// Field manager of what is noted on a NIM object, apart from what else is written there.
const RECORDER: &str = "nimfleet-spoke-template";
/// Children of one object that are written at the same time.
const AT_ONCE: usize = 6;
/// How often one child is decided about anew, when the cluster is not as the cache says.
const ROUNDS: usize = 4;

/// Applies children of one object.
pub(crate) struct Applier<'a> {
    pub(crate) world: &'a World,
    pub(crate) settled: &'a Settled,
    pub(crate) owner: &'a Owner,
    /// What the user of the object says.
    pub(crate) inputs: &'a Inputs,
    /// The record of its InferenceService, as the object bears it.
    pub(crate) recorded: Option<&'a String>,
    /// What its status says of fields that this cluster's admission changes.
    pub(crate) told: &'a str,
    /// No hub has to do with the object.
    pub(crate) local: bool,
}

/// What became of each child, by its place among the rendered.
type Done = BTreeMap<usize, Result<Applied, Hindrance>>;

/// A child that is as it is to be.
struct Applied {
    live: Arc<DynamicObject>,
    /// Whether it was not before.
    wrote: bool,
    /// Fields that this cluster's admission changes.
    mutated: Vec<String>,
}

/// Why a child is not as it is to be.
enum Hindrance {
    Fails(Failure),
    /// It can be made once another has gone, or written once those answer who have to be asked.
    Waits(Failure),
    /// One that it requires is not there, or is not ours.
    Held,
}

impl From<Failure> for Hindrance {
    fn from(why: Failure) -> Self {
        Self::Fails(why)
    }
}

impl Applier<'_> {
    /// Applies all children, whatever becomes of those that they do not require, and then removes what is superfluous. The
    /// failure told is the first in the order in which they were rendered.
    ///
    /// Where a workload has just been made, the rest is left to a turn of its own: of many objects that come at once,
    /// all have their pods started before any waits for what is needed once they run.
    pub(crate) async fn apply<V>(&self, rendered: &Rendered<V>, pruned: &[ChildKind]) -> Outcome {
        let children = &rendered.children;
        if let Some(why) = self.refused_name(children).await {
            return Outcome { failure: Some(why), ..Outcome::default() };
        }
        let mut done = Done::new();
        self.phase(children, Phase::Start, &mut done).await;
        let wrote = done.values().any(|result| result.as_ref().is_ok_and(|child| child.wrote));
        let failed = done.values().any(Result::is_err);
        if wrote && !failed && self.lacks(children, Phase::Serve) {
            return Outcome { unfinished: true, ..Outcome::default() };
        }
        self.phase(children, Phase::Serve, &mut done).await;
        let mut outcome = Outcome::default();
        for (place, result) in done {
            let child = &children[place];
            let hindrance = match result {
                Ok(applied) => {
                    outcome.live.insert((child.kind, child.name.clone()), applied.live);
                    outcome.mutated.extend(applied.mutated);
                    continue;
                }
                Err(hindrance) => hindrance,
            };
            // What runs goes on.
            let live = self.world.child(child.kind, &self.owner.namespace, &child.name).filter(|live| {
                let stays = live.metadata.deletion_timestamp.is_none();
                stays && ownership(child, self.owner, live) == Ownership::Own
            });
            outcome.live.extend(live.map(|live| ((child.kind, child.name.clone()), live)));
            match hindrance {
                Hindrance::Fails(why) => drop(outcome.failure.get_or_insert(why)),
                Hindrance::Waits(why) => drop(outcome.waits.get_or_insert(why)),
                Hindrance::Held => {}
            }
        }
        if !rendered.complete || outcome.failure.is_some() || outcome.waits.is_some() {
            for (key, live) in self.running() {
                outcome.live.entry(key).or_insert(live);
            }
        }
        for amendment in &rendered.amendments {
            if let Err(why) = self.amend(amendment).await {
                outcome.failure.get_or_insert(why);
            }
        }
        if outcome.failure.is_none() {
            let pruned = if outcome.waits.is_none() { pruned } else { &[] };
            match self.prune(rendered, pruned, &outcome).await {
                Err(Hindrance::Fails(why)) => outcome.failure = Some(why),
                Err(Hindrance::Waits(why)) => drop(outcome.waits.get_or_insert(why)),
                Ok(()) | Err(Hindrance::Held) => {}
            }
        }
        outcome
    }

    /// The workloads of the object that are there, rendered or not.
    pub(crate) fn running(&self) -> BTreeMap<(ChildKind, String), Arc<DynamicObject>> {
        let owned = |live: &DynamicObject| {
            let ours = controller(&live.metadata).is_some_and(|owner| owner.uid == self.owner.uid);
            ours && live.metadata.deletion_timestamp.is_none()
        };
        let workloads = ChildKind::ALL.iter().filter(|kind| template::is_known(**kind));
        let found = workloads.filter_map(|kind| Some((kind, self.world.children.get(kind)?)));
        found
            .flat_map(|(kind, cache)| {
                let live = cache.of_namespace(&self.owner.namespace, owned);
                live.into_iter().map(|live| ((*kind, key(&live).1), live))
            })
            .collect()
    }

    /// Whether something that is written in that phase is not there yet.
    fn lacks(&self, children: &[Child], phase: Phase) -> bool {
        let mut of_phase = children.iter().filter(|child| Phase::of(child.kind) == phase);
        of_phase.any(|child| self.world.child(child.kind, &self.owner.namespace, &child.name).is_none())
    }

    /// Writes the children of a phase, each as soon as what it requires is there.
    async fn phase(&self, children: &[Child], phase: Phase, done: &mut Done) {
        let of_phase = children.iter().enumerate().filter(|(_, child)| Phase::of(child.kind) == phase);
        let mut left: Vec<(usize, BTreeSet<usize>)> =
            of_phase.map(|(place, _)| (place, required(children, place))).collect();
        while !left.is_empty() {
            let (next, later): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|(_, needs)| needs.iter().all(|need| done.contains_key(need)));
            // Children that require each other in a circle have nothing that they could begin with.
            if next.is_empty() {
                done.extend(later.into_iter().map(|(place, _)| (place, Err(Hindrance::Held))));
                return;
            }
            // Boxed, since the compiler cannot tell that these futures are `Send` otherwise.
            let mut writes: Vec<BoxFuture<'_, _>> = Vec::new();
            let mut held = Vec::new();
            for (place, needs) in next {
                if needs.iter().all(|need| done.get(need).is_some_and(Result::is_ok)) {
                    let child = &children[place];
                    writes.push(Box::pin(async move { (place, self.one(child).await) }));
                } else {
                    held.push((place, Err(Hindrance::Held)));
                }
            }
            let wrote: Vec<_> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
            done.extend(wrote.into_iter().chain(held));
            left = later;
        }
    }

    async fn one(&self, child: &Child) -> Result<Applied, Hindrance> {
        if let Some(why) = unavailable(child.kind, &self.world.facts.borrow()) {
            return Err(why.into());
        }
        let word = child.kind.word();
        let failed = |error: CallError| hindered(word, &error);
        let resource = child.kind.resource();
        let api = self.world.api(&self.owner.namespace, &resource);
        let mut live = self.world.child(child.kind, &self.owner.namespace, &child.name);
        let mut looked = false;
        if !child.kind.is_watched() {
            (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
        }
        for round in 1.. {
            let (child, record) = match self.with_template(&api, child, live.as_deref()).await {
                Ok(both) => both,
                // It has changed, or gone, since it was seen.
                Err(error) if (error.is_conflict() || error.code() == Some(404)) && round < ROUNDS => {
                    (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let child: &Child = &child;
            let stamped = child.stamped(self.owner);
            let written = match (self.decide(child, &stamped, live.as_deref(), looked), &live) {
                (Decision::Leave, Some(live)) => {
                    self.keep_record(child.kind, record, &stamped.hash).await.map_err(failed)?;
                    let mutated = mutated(child, &stamped, live);
                    return Ok(Applied { live: Arc::clone(live), wrote: false, mutated });
                }
                (Decision::Conflict(message), _) => {
                    return Err(Failure::new(format!("{word}Conflict"), message).into());
                }
                (Decision::Wait(message), _) => {
                    return Err(Hindrance::Waits(Failure::new(format!("{word}Terminating"), message)));
                }
                (Decision::Look, _) => {
                    (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
                    continue;
                }
                (Decision::Replace, Some(found)) => {
                    let uid = found.metadata.uid.clone().unwrap_or_default();
                    self.remove(child.kind, &child.name, uid).await?;
                    live = None;
                    continue;
                }
                (Decision::Adopt, Some(live)) => self.adopt(&api, child, live).await,
                (Decision::Apply, Some(live)) => self.update(&api, child, &stamped, live).await,
                (
                    Decision::Create
                    | Decision::Leave
                    | Decision::Apply
                    | Decision::Adopt
                    | Decision::Replace,
                    _,
                ) => self.create(&api, child, &stamped, looked).await,
            };
            match written {
                Ok(mut written) => {
                    trim(&mut written);
                    self.remember(&written, &stamped, live.as_deref());
                    tracing::info!(kind = %resource.kind, name = %child.name, owner = %self.owner.name, "applied");
                    let mutated = mutated(child, &stamped, &written);
                    let live = Arc::new(written);
                    if let Some(cache) = self.world.children.get(&child.kind) {
                        cache.fresh.made(&key(&live), &live);
                    }
                    self.keep_record(child.kind, record, &stamped.hash).await.map_err(failed)?;
                    return Ok(Applied { live, wrote: true, mutated });
                }
                // It is there after all, has gone, or is another: it is not as the cache says.
                Err(error) if error.is_conflict() && round < ROUNDS => {
                    (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
                }
                Err(error) if child.keep == Keep::Replaced && error.is_immutable() && round < ROUNDS => {
                    let uid = live.as_ref().and_then(|live| live.metadata.uid.clone());
                    self.remove(child.kind, &child.name, uid.unwrap_or_default()).await?;
                    live = None;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let message = format!("{} {} changes all the time", resource.kind, child.name);
        Err(Failure::new(format!("{word}Failed"), message).into())
    }

    /// What is to be done about a child, whose live object may have been looked for at the API server.
    fn decide(
        &self,
        child: &Child,
        stamped: &Stamped,
        live: Option<&DynamicObject>,
        looked: bool,
    ) -> Decision {
        let before = live.and_then(|live| self.record(child.kind, live));
        let answered = live.and_then(|live| self.settled.of(live.metadata.uid.as_deref()?));
        let seen = Seen {
            live,
            looked,
            answered: answered.as_ref(),
            told: self.told,
            recorded: before.as_ref().and_then(|record| record.hash.as_deref()),
            usable: live.is_some_and(|live| self.is_usable(live)),
        };
        match decide(child, stamped, self.owner, seen) {
            Decision::Apply if live.is_some_and(|live| self.is_fought_over(stamped, live)) => Decision::Leave,
            decision => decision,
        }
    }

    /// Whether the object may use one that was found under the name of its own. What a hub delivered uses what it made
    /// itself and what came with a hub, never the data of others.
    fn is_usable(&self, live: &DynamicObject) -> bool {
        let maker = controller(&live.metadata).filter(|owner| owner.api_version.starts_with(GROUP));
        let of_a_hub = maker.is_some_and(|owner| {
            let maker = self.world.subjects.get(owner.kind.as_str());
            let maker = maker.and_then(|cache| cache.get(&self.owner.namespace, &owner.name));
            maker.is_some_and(|maker| !is_local(&maker))
        });
        self.local || of_a_hub
    }

    /// The child with the template that it is to have, and the record of it; a child without template as it is.
    async fn with_template<'c>(
        &self,
        api: &Api<DynamicObject>,
        child: &'c Child,
        live: Option<&DynamicObject>,
    ) -> Result<(Cow<'c, Child>, Option<Record>), CallError> {
        let Some(rendered) = template::of(child.kind, &child.body) else {
            return Ok((Cow::Borrowed(child), None));
        };
        let mut child = child.clone();
        let mut record = Record {
            inputs: self.inputs.clone(),
            rendered: template::digest(&rendered),
            kept: None,
            hash: None,
        };
        let ours = |live: &&DynamicObject| {
            let whose = ownership(&child, self.owner, live);
            live.metadata.deletion_timestamp.is_none()
                && matches!(whose, Ownership::Own | Ownership::Orphaned)
        };
        if let Some(live) = live.filter(ours) {
            let (kind, before) = (child.kind, self.record(child.kind, live));
            template::carry(kind, &mut child.body, live);
            let found = serde_json::to_value(live).unwrap_or_default();
            let running =
                template::is_running(kind, &found) && !template::is_scaled_to_nothing(kind, &child.body);
            let kept = match template::choose(before.as_ref(), self.inputs, &rendered, running) {
                Choice::Rendered => {
                    let is_new = before.as_ref().is_some_and(|before| before.rendered != record.rendered);
                    if is_new || !running {
                        template::mark(kind, &mut child.body, &record.rendered);
                    }
                    None
                }
                Choice::Kept(noted) if template::bears_record(kind) => Some(noted),
                Choice::Kept(noted) => match template::of(kind, &found) {
                    Some(has) if template::note(kind, &has) == noted => Some(has),
                    _ => self.kept(api, &child, before.as_ref()).await?,
                },
                Choice::Ours => self.kept(api, &child, before.as_ref()).await?,
            };
            record.kept = kept.as_ref().map(|kept| template::note(kind, kept));
            if let Some(kept) = kept {
                template::put(kind, &mut child.body, kept);
            }
        } else {
            template::mark(child.kind, &mut child.body, &record.rendered);
        }
        if template::bears_record(child.kind) {
            child.body["metadata"]["annotations"][RECORD] = Value::from(record.text());
        }
        Ok((Cow::Owned(child), Some(record)))
    }

    /// The template that a workload keeps although another is rendered from the same inputs; none where the rendered one
    /// replaces no pod, or where the live one is not what an operator wrote.
    async fn kept(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        before: Option<&Record>,
    ) -> Result<Option<Value>, CallError> {
        let (kind, name) = (child.kind, &child.name);
        let whole = call(|| format!("get {} {name}", kind.word()), api.get(name)).await?;
        if template::is_edited(kind, &whole) {
            return Ok(before
                .and_then(|before| before.kept.clone())
                .filter(|_| template::bears_record(kind)));
        }
        let mut found = whole.clone();
        trim(&mut found);
        let found = serde_json::to_value(found).unwrap_or_default();
        let has = template::of(kind, &found);
        let wanted = template::of(kind, &child.body);
        if before.is_none() && template::has_new_image(&json!(wanted), &json!(has)) {
            return Ok(None);
        }
        self.take_over(api, child, &whole).await?;
        let mut body = child.sent(&child.stamped(self.owner), Some(&found));
        body["metadata"]["uid"] = Value::from(whole.metadata.uid.clone());
        let params = PatchParams { dry_run: true, ..PatchParams::apply(MANAGER).force() };
        let what = || format!("try {} {name}", kind.resource().kind);
        let same = match call(what, api.patch(name, &params, &Patch::Apply(&body))).await {
            Ok(mut answer) => {
                trim(&mut answer);
                template::of(kind, &serde_json::to_value(answer).unwrap_or_default()) == has
            }
            Err(error) if error.is_refusal() => false,
            Err(error) => return Err(error),
        };
        if !same {
            let owner = &self.owner.name;
            tracing::info!(kind = kind.word(), %name, %owner, "keeps its pods as they are until the object changes");
        }
        Ok(has.filter(|_| !same))
    }

    /// What is known of the template of a live workload.
    fn record(&self, kind: ChildKind, live: &DynamicObject) -> Option<Record> {
        let own = || live.metadata.annotations.as_ref()?.get(RECORD);
        Record::read(if template::bears_record(kind) { own() } else { self.recorded })
    }

    /// Writes the record of an InferenceService onto the object, if it is another.
    async fn keep_record(
        &self,
        kind: ChildKind,
        record: Option<Record>,
        hash: &str,
    ) -> Result<(), CallError> {
        let Some(record) = record.filter(|_| !template::bears_record(kind)) else { return Ok(()) };
        let text = Record { hash: Some(hash.to_owned()), ..record }.text();
        if self.recorded == Some(&text) {
            return Ok(());
        }
        let Owner { api_version, kind, namespace, name, uid, .. } = self.owner;
        let body = json!({
            "apiVersion": api_version, "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid, "annotations": {RECORD: text}},
        });
        let api = self.world.api(namespace, &ChildKind::NimService.resource());
        let params = PatchParams::apply(RECORDER).force();
        call(|| format!("note the template of {name}"), api.patch(name, &params, &Patch::Apply(&body)))
            .await
            .map(drop)
    }

    /// Applies a child to what is there, and to nothing else of that name. What others set that is to be ours is taken
    /// over first, so that the fields which are no longer rendered go with the same write.
    async fn update(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        stamped: &Stamped,
        live: &DynamicObject,
    ) -> Result<DynamicObject, CallError> {
        let name = &child.name;
        if live.metadata.managed_fields.is_some() {
            let whole = call(|| format!("get {} {name}", child.kind.word()), api.get(name)).await?;
            self.take_over(api, child, &whole).await?;
        }
        let found = serde_json::to_value(live).ok();
        let mut body = child.sent(stamped, found.as_ref());
        body["metadata"]["uid"] = Value::from(live.metadata.uid.clone());
        // The seeded field is sent as the cache has it. The API server refuses it when an autoscaler has written since.
        if child.seed.is_some() {
            body["metadata"]["resourceVersion"] = Value::from(live.metadata.resource_version.clone());
        }
        let what = || format!("apply {} {name}", child.kind.resource().kind);
        call(what, api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body))).await
    }

    /// Makes the fields ours that another operator, or a creation, left owned.
    async fn take_over(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        whole: &DynamicObject,
    ) -> Result<(), CallError> {
        let Some(patch) = take_over::patch(whole) else { return Ok(()) };
        let name = &child.name;
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap_or_default());
        call(
            || format!("take ownership of the fields of {} {name}", child.kind.word()),
            api.patch(name, &params, &patch),
        )
        .await
        .map(drop)
    }

    /// Removes what is superfluous, but for what the pods of a workload that is there have use for: it may have kept a
    /// template that is no longer rendered.
    async fn prune<V>(
        &self,
        rendered: &Rendered<V>,
        pruned: &[ChildKind],
        outcome: &Outcome,
    ) -> Result<(), Hindrance> {
        let mut found = Vec::new();
        if rendered.complete {
            for kind in pruned {
                if let Some(cache) = self.world.children.get(kind) {
                    let owned = |object: &DynamicObject| {
                        object.metadata.owner_references.iter().flatten().any(|o| o.uid == self.owner.uid)
                    };
                    found.extend(
                        cache.of_namespace(&self.owner.namespace, owned).into_iter().map(|o| (*kind, o)),
                    );
                }
            }
        }
        for (kind, name) in &rendered.remove {
            let object = if kind.is_watched() {
                self.world.child(*kind, &self.owner.namespace, name)
            } else {
                let api = self.world.api(&self.owner.namespace, &kind.resource());
                look(&api, *kind, name).await.map_err(|error| hindered(kind.word(), &error))?
            };
            found.extend(object.map(|object| (*kind, object)));
        }
        let superfluous =
            superfluous(self.owner, &rendered.children, found.iter().map(|(k, o)| (*k, o.as_ref())));
        let in_use = if superfluous.is_empty() { BTreeSet::new() } else { in_use(outcome) };
        for (kind, name, uid) in superfluous {
            if !in_use.contains(&(kind, name.clone())) {
                self.remove(kind, &name, uid).await?;
            }
        }
        Ok(())
    }

    /// Changes a few fields of a child that is there, unless it has them; one that has gone needs no change.
    async fn amend(&self, amendment: &Amendment) -> Result<(), Failure> {
        let Amendment { kind, name, uid, change } = amendment;
        let live = self.world.child(*kind, &self.owner.namespace, name);
        let live = live.filter(|live| live.metadata.uid.as_ref() == Some(uid));
        let Some(live) = live.filter(|live| live.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        if serde_json::to_value(live.as_ref()).is_ok_and(|live| holds(change, &live)) {
            return Ok(());
        }
        let mut change = change.clone();
        change["metadata"]["uid"] = Value::from(uid.as_str());
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.world.api(&self.owner.namespace, &kind.resource());
        let what = || format!("amend {} {name}", kind.resource().kind);
        match call_opt(what, api.patch(name, &params, &Patch::Merge(change))).await {
            Ok(_) => Ok(()),
            // Another has taken its name.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(Failure::new(format!("{}Failed", kind.word()), error.to_string())),
        }
    }

    /// Deletes a child of ours by its uid.
    async fn remove(&self, kind: ChildKind, name: &str, uid: String) -> Result<(), Hindrance> {
        let resource = kind.resource();
        let api = self.world.api(&self.owner.namespace, &resource);
        let what = || format!("delete {} {name}", resource.kind);
        call_opt(what, api.delete(name, &by_uid(kind, name, Some(uid.clone()))))
            .await
            .map_err(|error| hindered(kind.word(), &error))?;
        self.settled.forget(&uid);
        tracing::info!(kind = %resource.kind, %name, owner = %self.owner.name, "removed");
        Ok(())
    }

    /// Notes what a write of a child was answered with, and how it was before.
    fn remember(&self, answer: &DynamicObject, stamped: &Stamped, before: Option<&DynamicObject>) {
        let Some(uid) = &answer.metadata.uid else { return };
        let differ = |object: &DynamicObject| {
            differences(&stamped.body, &serde_json::to_value(object).unwrap_or_default())
        };
        self.settled.remember(uid, &stamped.hash, differ(answer), before.map(differ).unwrap_or_default());
    }

    /// Whether another controller sets fields of a child as often as they are put back.
    fn is_fought_over(&self, stamped: &Stamped, live: &DynamicObject) -> bool {
        let Some(uid) = &live.metadata.uid else { return false };
        let live = serde_json::to_value(live).unwrap_or_default();
        self.settled.is_fought_over(uid, &stamped.hash, differences(&stamped.body, &live))
    }
}

/// The reason of an object of which something could not be written yet.
pub(crate) const NOT_APPLIED: &str = "NotApplied";

/// What follows for a child from a call that did not succeed.
fn hindered(word: &str, error: &CallError) -> Hindrance {
    if error.is_passing() {
        return Hindrance::Waits(Failure::new(NOT_APPLIED, format!("not applied yet: {error}")));
    }
    Hindrance::Fails(Failure::new(format!("{word}Failed"), error.to_string()))
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Workloads, and all that they require.
    Start,
    /// What is needed once they run.
    Serve,
}

impl Phase {
    fn of(kind: ChildKind) -> Self {
        match kind {
            ChildKind::Service
            | ChildKind::Ingress
            | ChildKind::HttpRoute
            | ChildKind::GrpcRoute
            | ChildKind::InferencePool
            | ChildKind::HorizontalPodAutoscaler
            | ChildKind::ServiceMonitor => Self::Serve,
            _ => Self::Start,
        }
    }
}

/// What live workloads refer to.
fn in_use(outcome: &Outcome) -> BTreeSet<Required> {
    let workloads = outcome.live.iter().filter(|((kind, _), _)| template::is_known(*kind));
    workloads
        .flat_map(|((kind, _), live)| {
            references(*kind, &serde_json::to_value(live.as_ref()).unwrap_or_default())
        })
        .collect()
}

/// Looks at the API server for the object of that name, whoever made it.
async fn look(
    api: &Api<DynamicObject>,
    kind: ChildKind,
    name: &str,
) -> Result<Option<Arc<DynamicObject>>, CallError> {
    let what = || format!("get {} {name}", kind.resource().kind);
    let mut found = call_opt(what, api.get(name)).await?;
    found.iter_mut().for_each(trim);
    Ok(found.map(Arc::new))
}

#[cfg(test)]
mod tests;
