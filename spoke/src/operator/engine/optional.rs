//! Kinds that a cluster may lack: watched as soon as it has them, forgotten when it no longer has.

use kube::Client;
use kube::core::{ApiResource, DynamicObject};
use tokio::sync::watch;

use super::child::ChildKind;
use super::kind::Failure;
use super::served::Served;
use super::watch::{Told, Watch};
use crate::operator::cluster::ClusterFacts;

/// The watch of a kind that may be missing.
pub(crate) struct Optional {
    /// The kind of child, if it is one.
    kind: Option<ChildKind>,
    definition: String,
    watch: Watch,
}

impl Optional {
    pub(crate) fn new(kind: Option<ChildKind>, resource: &ApiResource, watch: Watch) -> Self {
        Self { kind, definition: definition(resource), watch }
    }

    /// Name of what defines the kind.
    pub(crate) fn definition(&self) -> &str {
        &self.definition
    }

    /// Watches while the kind is served, for ever. The cache counts as filled when the kind is known to be missing.
    pub(crate) async fn run(
        mut self,
        client: Client,
        mut served: watch::Receiver<Served>,
        facts: watch::Sender<ClusterFacts>,
        changed: impl Fn(&DynamicObject) + Send + Sync,
    ) {
        let kind = self.kind;
        let filled = self.watch.filled();
        let note = |installed| facts.send_if_modified(|facts| facts.note(kind, installed));
        let told = |told: Told<'_>| match told {
            Told::Object(object) | Told::Edited(object) => changed(object),
            Told::Filled => {
                note(true);
                filled.cancel();
            }
            Told::NotFound => {
                note(false);
                filled.cancel();
            }
        };
        loop {
            match served
                .wait_for(|served| served.has(&self.definition).is_some())
                .await
                .map(|s| s.has(&self.definition))
            {
                Err(_) => return,
                Ok(Some(true)) => {}
                Ok(_) => {
                    filled.cancel();
                    if served.wait_for(|served| served.has(&self.definition) == Some(true)).await.is_err() {
                        return;
                    }
                }
            }
            tracing::info!(definition = self.definition, "installed: it is watched");
            tokio::select! {
                () = self.watch.run(client.clone(), &told) => {}
                gone = served.wait_for(|served| served.has(&self.definition) == Some(false)) => if gone.is_err() { return },
            }
            tracing::info!(definition = self.definition, "removed: it is no longer watched");
            note(false);
            self.watch.clear(&told);
        }
    }
}

/// `<plural>.<group>`.
fn definition(resource: &ApiResource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}

/// Why a child of a kind that the cluster lacks cannot be made, and what helps; `None` when it has the kind.
pub(crate) fn unavailable(kind: ChildKind, facts: &ClusterFacts) -> Option<Failure> {
    if !kind.is_optional() || facts.installed.contains(&kind) {
        return None;
    }
    let remedy = match kind {
        ChildKind::HttpRoute => {
            "install the Gateway API, or unset spec.expose.router.gateway.httpRoutesEnabled"
        }
        ChildKind::GrpcRoute => {
            "install the Gateway API, or unset spec.expose.router.gateway.grpcRoutesEnabled"
        }
        ChildKind::InferencePool => {
            "install the Gateway API Inference Extension, or remove spec.expose.router.eppConfig"
        }
        ChildKind::ServiceMonitor => "install the Prometheus Operator, or set spec.metrics.enabled to false",
        ChildKind::ResourceClaimTemplate => {
            "enable dynamic resource allocation (Kubernetes 1.34 or later), or remove spec.draResources"
        }
        ChildKind::ComputeDomain => {
            "install the NVIDIA DRA driver for GPUs, or remove the compute domain from the spec"
        }
        ChildKind::LeaderWorkerSet => "install LeaderWorkerSet, or remove spec.multiNode",
        ChildKind::InferenceService => "install KServe, or set spec.inferencePlatform to standalone",
        _ => "install what defines it",
    };
    let message = format!("{} is not installed in this cluster: {remedy}", definition(&kind.resource()));
    Some(Failure::new(format!("{}Unavailable", kind.word()), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_kind_is_named_with_its_remedy_until_it_is_installed() {
        let mut facts = ClusterFacts::default();
        for kind in ChildKind::ALL.iter().copied() {
            assert_eq!(unavailable(kind, &facts).is_some(), kind.is_optional(), "{kind:?}");
        }
        let why = unavailable(ChildKind::LeaderWorkerSet, &facts).unwrap();
        assert_eq!(why.reason, "LeaderWorkerSetUnavailable");
        assert!(
            why.message.starts_with(
                "leaderworkersets.leaderworkerset.x-k8s.io is not installed in this cluster: install "
            ),
            "{}",
            why.message
        );
        assert!(facts.note(Some(ChildKind::LeaderWorkerSet), true));
        assert_eq!(unavailable(ChildKind::LeaderWorkerSet, &facts), None);
        assert!(!facts.note(Some(ChildKind::LeaderWorkerSet), true), "nothing new");
        assert!(facts.note(Some(ChildKind::LeaderWorkerSet), false));
        assert!(unavailable(ChildKind::LeaderWorkerSet, &facts).is_some());
    }
}
