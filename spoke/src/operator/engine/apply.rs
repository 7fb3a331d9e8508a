//! Carries out what was decided about children: creation, server-side apply, deletion by uid; nothing when nothing is
//! to do.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::DynamicObject;
use serde_json::Value;

use super::call::{CallError, call, call_opt};
use super::child::{Child, ChildKind, Keep, Owner, Stamped};
use super::decide::{Decision, decide, superfluous, trim};
use super::kind::{Failure, Outcome, Rendered};
use super::optional::unavailable;
use super::retry::{Settled, key};
use super::take_over;
use super::world::World;
use crate::operator::cluster::Platform;

/// The one field manager of everything this operator writes.
pub(crate) const MANAGER: &str = "nimfleet-spoke";
/// Children of one object that are written at the same time.
const AT_ONCE: usize = 6;
/// How often one child is decided about anew, when the cluster is not as the cache says.
const ROUNDS: usize = 4;

/// Applies children of one object.
pub(crate) struct Applier<'a> {
    pub(crate) world: &'a World,
    pub(crate) settled: &'a Settled,
    pub(crate) owner: &'a Owner,
}

type Done = Vec<(usize, Result<Applied, Failure>)>;

/// A child that is as it is to be.
struct Applied {
    live: Arc<DynamicObject>,
    /// Whether it was not before.
    wrote: bool,
}

impl Applier<'_> {
    /// Applies all children, whatever becomes of the others, and then removes what is superfluous. The failure told is
    /// the first in the order in which they were rendered.
    ///
    /// Where a workload has just been made, the rest is left to a turn of its own: of many objects that come at once,
    /// all have their pods started before any waits for what is needed once they run.
    pub(crate) async fn apply<V>(&self, rendered: &Rendered<V>, pruned: &[ChildKind]) -> Outcome {
        let mut done = self.phase(&rendered.children, Phase::Start).await;
        let wrote = done.iter().any(|(_, result)| result.as_ref().is_ok_and(|child| child.wrote));
        let failed = done.iter().any(|(_, result)| result.is_err());
        if wrote && !failed && self.lacks(&rendered.children, Phase::Serve) {
            return Outcome { unfinished: true, ..Outcome::default() };
        }
        done.extend(self.phase(&rendered.children, Phase::Serve).await);
        done.sort_by_key(|(index, _)| *index);
        let mut outcome = Outcome::default();
        for (index, result) in done {
            match (result, &rendered.children[index]) {
                (Ok(applied), child) => {
                    outcome.live.insert((child.kind, child.name.clone()), applied.live);
                }
                (Err(failure), _) => {
                    outcome.failure.get_or_insert(failure);
                }
            }
        }
        if outcome.failure.is_none() {
            outcome.failure = self.prune(rendered, pruned).await.err();
        }
        outcome
    }

    /// Whether something that is written in that phase is not there yet.
    fn lacks(&self, children: &[Child], phase: Phase) -> bool {
        let mut of_phase = children.iter().filter(|child| self.place(child.kind).0 == phase);
        of_phase.any(|child| self.world.child(child.kind, &self.owner.namespace, &child.name).is_none())
    }

    async fn phase(&self, children: &[Child], phase: Phase) -> Done {
        let steps = async {
            let mut done = Vec::new();
            for step in [Step::Access, Step::Binding, Step::Pod] {
                done.extend(self.step(children, (phase, step)).await);
            }
            done
        };
        let (mut done, others) = futures::join!(steps, self.step(children, (phase, Step::Any)));
        done.extend(others);
        done
    }

    async fn step(&self, children: &[Child], place: (Phase, Step)) -> Done {
        // Boxed, since the compiler cannot tell that these futures are `Send` otherwise.
        let mut writes: Vec<BoxFuture<'_, _>> = Vec::new();
        for (index, child) in children.iter().enumerate() {
            if self.place(child.kind) == place {
                writes.push(Box::pin(async move { (index, self.one(child).await) }));
            }
        }
        stream::iter(writes).buffer_unordered(AT_ONCE).collect().await
    }

    /// When a child is written.
    fn place(&self, kind: ChildKind) -> (Phase, Step) {
        (Phase::of(kind, self.world.facts.borrow().platform), Step::of(kind))
    }

    async fn one(&self, child: &Child) -> Result<Applied, Failure> {
        if let Some(why) = unavailable(child.kind, &self.world.facts.borrow()) {
            return Err(why);
        }
        let stamped = child.stamped(self.owner);
        let word = child.kind.word();
        let failed = |error: CallError| Failure::new(format!("{word}Failed"), error.to_string());
        let resource = child.kind.resource();
        let api = self.world.api(&self.owner.namespace, &resource);
        let mut live = self.world.child(child.kind, &self.owner.namespace, &child.name);
        let mut looked = false;
        if !child.kind.is_watched() {
            (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
        }
        for round in 1.. {
            let settled = live.as_deref().is_some_and(|live| self.is_settled(live, &stamped.hash));
            let decision = decide(child, &stamped, self.owner, live.as_deref(), looked, settled);
            let written = match (decision, &live) {
                (Decision::Leave, Some(live)) => {
                    return Ok(Applied { live: Arc::clone(live), wrote: false });
                }
                (Decision::Conflict(message), _) => {
                    return Err(Failure::new(format!("{word}Conflict"), message));
                }
                (Decision::Wait, _) => {
                    let message = format!(
                        "{} {} is being deleted; it is made again when it has gone",
                        resource.kind, child.name
                    );
                    return Err(Failure::new(format!("{word}Terminating"), message));
                }
                (Decision::Look, _) => {
                    (live, looked) = (look(&api, child.kind, &child.name).await.map_err(failed)?, true);
                    continue;
                }
                (Decision::Apply, Some(live)) => self.update(&api, child, &stamped, live).await,
                (Decision::Create | Decision::Leave | Decision::Apply, _) => {
                    self.create(&api, child, &stamped).await
                }
            };
            match written {
                Ok(mut written) => {
                    trim(&mut written);
                    self.remember(&written, &stamped.hash);
                    tracing::info!(kind = %resource.kind, name = %child.name, owner = %self.owner.name, "applied");
                    let live = Arc::new(written);
                    if let Some(cache) = self.world.children.get(&child.kind) {
                        cache.fresh.made(&key(&live), &live);
                    }
                    return Ok(Applied { live, wrote: true });
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
        Err(Failure::new(
            format!("{word}Failed"),
            format!("{} {} changes all the time", resource.kind, child.name),
        ))
    }

    /// Makes a child, or nothing when one of that name is there.
    async fn create(
        &self,
        api: &Api<DynamicObject>,
        child: &Child,
        stamped: &Stamped,
    ) -> Result<DynamicObject, CallError> {
        let what = || format!("create {} {}", child.kind.resource().kind, child.name);
        let body = serde_json::from_value(child.sent(stamped, None)).map_err(kube::Error::SerdeError);
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let key = (self.owner.namespace.clone(), child.name.clone());
        if let Some(cache) = self.world.children.get(&child.kind) {
            cache.fresh.expect(key.clone());
        }
        let made = call(what, async { api.create(&params, &body?).await }).await;
        if let (Some(cache), Err(_)) = (self.world.children.get(&child.kind), &made) {
            cache.fresh.forget(&key);
        }
        made
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
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        if live.metadata.managed_fields.is_some() {
            let whole = call(|| format!("get {} {name}", child.kind.word()), api.get(name)).await?;
            if let Some(patch) = take_over::patch(&whole) {
                let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap_or_default());
                call(|| format!("take over {} {name}", child.kind.word()), api.patch(name, &params, &patch))
                    .await?;
            }
        }
        let found = serde_json::to_value(live).ok();
        let mut body = child.sent(stamped, found.as_ref());
        body["metadata"]["uid"] = Value::from(live.metadata.uid.clone());
        let what = || format!("apply {} {name}", child.kind.resource().kind);
        call(what, api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&body))).await
    }

    async fn prune<V>(&self, rendered: &Rendered<V>, pruned: &[ChildKind]) -> Result<(), Failure> {
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
                let failed =
                    |error: CallError| Failure::new(format!("{}Failed", kind.word()), error.to_string());
                look(&api, *kind, name).await.map_err(failed)?
            };
            found.extend(object.map(|object| (*kind, object)));
        }
        for (kind, name, uid) in
            superfluous(self.owner, &rendered.children, found.iter().map(|(k, o)| (*k, o.as_ref())))
        {
            self.remove(kind, &name, uid).await?;
        }
        Ok(())
    }

    /// Deletes a child of ours by its uid.
    async fn remove(&self, kind: ChildKind, name: &str, uid: String) -> Result<(), Failure> {
        let resource = kind.resource();
        let api = self.world.api(&self.owner.namespace, &resource);
        let what = || format!("delete {} {name}", resource.kind);
        call_opt(what, api.delete(name, &by_uid(Some(uid.clone()))))
            .await
            .map_err(|error| Failure::new(format!("{}Failed", kind.word()), error.to_string()))?;
        self.settled.forget(&uid);
        tracing::info!(kind = %resource.kind, %name, owner = %self.owner.name, "removed");
        Ok(())
    }

    fn is_settled(&self, live: &DynamicObject, hash: &str) -> bool {
        match (&live.metadata.uid, &live.metadata.resource_version) {
            (Some(uid), Some(version)) => self.settled.holds(uid, hash, version),
            _ => false,
        }
    }

    fn remember(&self, live: &DynamicObject, hash: &str) {
        if let (Some(uid), Some(version)) = (&live.metadata.uid, &live.metadata.resource_version) {
            self.settled.remember(uid, hash, version);
        }
    }
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Workloads, and what their pods cannot start without.
    Start,
    /// What is needed once they run.
    Serve,
}

impl Phase {
    /// On OpenShift a pod is refused unless its account may use its security context constraints. An API server takes a
    /// tenth of a second to agree to a Role, and as long for its binding: it looks at all bindings of the namespace first.
    fn of(kind: ChildKind, platform: Platform) -> Self {
        match kind {
            ChildKind::Role | ChildKind::RoleBinding if platform == Platform::OpenShift => Self::Start,
            ChildKind::Role
            | ChildKind::RoleBinding
            | ChildKind::Service
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

/// When a child is written within its phase: after those that it cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Accounts and roles.
    Access,
    /// Needs its role: nobody may bind one that is not there.
    Binding,
    /// Needs its account and what that may do: the API server refuses it otherwise.
    Pod,
    /// Waits for nothing.
    Any,
}

impl Step {
    fn of(kind: ChildKind) -> Self {
        match kind {
            ChildKind::ServiceAccount | ChildKind::Role => Self::Access,
            ChildKind::RoleBinding => Self::Binding,
            ChildKind::Pod => Self::Pod,
            _ => Self::Any,
        }
    }
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

/// Deletes this very object, not another that has taken its name.
pub(crate) fn by_uid(uid: Option<String>) -> DeleteParams {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    DeleteParams { preconditions, ..DeleteParams::background() }
}

#[cfg(test)]
mod tests;
