//! Carries out what was decided about children: server-side apply, deletion by uid, nothing when nothing is to do.

use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;

use super::call::{CallError, call, call_opt};
use super::child::{Child, ChildKind, Owner};
use super::decide::{Decision, decide, superfluous, trim};
use super::kind::{Failure, Outcome, Rendered};
use super::optional::unavailable;
use super::retry::Settled;
use super::world::World;

/// The one field manager of everything this operator writes.
pub(crate) const MANAGER: &str = "nimfleet-spoke";

/// Applies children of one object.
pub(crate) struct Applier<'a> {
    pub(crate) world: &'a World,
    pub(crate) settled: &'a Settled,
    pub(crate) owner: &'a Owner,
}

impl Applier<'_> {
    /// Applies all children in order and removes what is superfluous. Stops at the first failure.
    pub(crate) async fn apply<V>(&self, rendered: &Rendered<V>, pruned: &[ChildKind]) -> Outcome {
        let mut outcome = Outcome::default();
        for child in &rendered.children {
            match self.one(child).await {
                Ok(live) => {
                    outcome.live.insert((child.kind, child.name.clone()), live);
                }
                Err(failure) => {
                    outcome.failure = Some(failure);
                    return outcome;
                }
            }
        }
        outcome.failure = self.prune(rendered, pruned).await.err();
        outcome
    }

    async fn one(&self, child: &Child) -> Result<Arc<DynamicObject>, Failure> {
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
        loop {
            let settled = live.as_deref().is_some_and(|live| self.is_settled(live, &stamped.hash));
            match (decide(child, &stamped, self.owner, live.as_deref(), looked, settled), &live) {
                (Decision::Leave, Some(live)) => return Ok(Arc::clone(live)),
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
                    let what = || format!("get {} {}", resource.kind, child.name);
                    let mut found = call_opt(what, api.get(&child.name)).await.map_err(failed)?;
                    if let Some(found) = &mut found {
                        trim(found);
                    }
                    live = found.map(Arc::new);
                    looked = true;
                }
                (Decision::Leave | Decision::Apply, _) => {
                    let what = || format!("apply {} {}", resource.kind, child.name);
                    let params = PatchParams::apply(MANAGER).force();
                    let found = live.as_deref().and_then(|live| serde_json::to_value(live).ok());
                    let body = child.sent(&stamped, found.as_ref());
                    let written = call(what, api.patch(&child.name, &params, &Patch::Apply(&body))).await;
                    let mut written = written.map_err(failed)?;
                    trim(&mut written);
                    self.remember(&written, &stamped.hash);
                    tracing::info!(kind = %resource.kind, name = %child.name, owner = %self.owner.name, "applied");
                    return Ok(Arc::new(written));
                }
            }
        }
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
            if let Some(object) = self.world.child(*kind, &self.owner.namespace, name) {
                found.push((*kind, object));
            }
        }
        for (kind, name, uid) in
            superfluous(self.owner, &rendered.children, found.iter().map(|(k, o)| (*k, o.as_ref())))
        {
            let resource = kind.resource();
            let api = self.world.api(&self.owner.namespace, &resource);
            let params = by_uid(Some(uid.clone()));
            let what = || format!("delete {} {name}", resource.kind);
            call_opt(what, api.delete(&name, &params))
                .await
                .map_err(|error| Failure::new(format!("{}Failed", kind.word()), error.to_string()))?;
            self.settled.forget(&uid);
            tracing::info!(kind = %resource.kind, %name, owner = %self.owner.name, "removed");
        }
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

/// Deletes this very object, not another that has taken its name.
pub(crate) fn by_uid(uid: Option<String>) -> DeleteParams {
    let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
    DeleteParams { preconditions, ..DeleteParams::background() }
}
