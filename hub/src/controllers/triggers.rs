//! What wakes which work.

use std::collections::BTreeSet;
use std::sync::Arc;

use crds::fleet::{
    GPUCluster, GPUQuota, NIMPlacement, NIMPlacementDecision, OnUnreachable, ResourceSelector, SelectedKind,
};
use hub_core::audit::{Act, Action, Actor, manager_of};
use hub_core::link::{GoAwayReason, LinkEvent};
use hub_core::objects::{Catalog, owner};
use hub_core::placement::slices::Slices;
use hub_scheduler::fleet::{Admin, ClusterName, FleetEvent, PlacementKey, Selector};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;

use super::Hub;
use super::admission::void;
use super::failures::Subject;
use super::outages::FLEET;
use crate::audit::RecordAct;

/// The namespace whose uid tells clusters apart.
const SYSTEM: &str = "kube-system";
/// What a NIMCache holds, as its status says.
const PROFILES: &str = "/status/profiles";

/// When slices that watches have shown are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// They have been.
    Now,
    /// By whoever works on the placement at present, at its end.
    Later,
}

impl Hub {
    /// A placement is new, gone or changed.
    pub(super) fn placement_changed(&self, before: Option<&NIMPlacement>, after: Option<&NIMPlacement>) {
        if let Some(placement) = after.or(before) {
            self.wake(key_of(placement, placement.name_any()), is_edited(before, after));
        }
    }

    /// A slice changed. What the hub wrote itself is what it remembers; anything else is put right.
    pub(super) fn slice_changed(
        &self,
        before: Option<&NIMPlacementDecision>,
        after: Option<&NIMPlacementDecision>,
    ) {
        let Some(slice) = after.or(before) else { return };
        let key = key_of(slice, slice.spec.placement_ref.name.clone());
        let Some(index) = Slices::index(&key.name, &slice.name_any()) else { return };
        let shown =
            after.map(|slice| (slice.resource_version().unwrap_or_default(), slice.spec.decisions.clone()));
        self.shown_slices().entry(key.clone()).or_default().insert(index, shown);
        self.compare_slices(&key);
    }

    /// Compares the slices of a placement that watches have shown with what the hub has stored. While a turn on the placement is
    /// under way they wait for its end, when it compares them.
    pub(super) fn compare_slices(&self, key: &PlacementKey) -> Compared {
        if !self.shown_slices().contains_key(key) {
            return Compared::Now;
        }
        let book = self.book(key);
        let Ok(mut book) = book.try_lock() else { return Compared::Later };
        let shown = self.shown_slices().remove(key).unwrap_or_default();
        let differs = shown.into_iter().filter(|(index, shown)| {
            let shown = shown.as_ref().map(|(version, decisions)| (version.as_str(), decisions.as_slice()));
            book.slices.is_changed_by_others(*index, shown)
        });
        if differs.count() > 0 {
            self.placements.add(key.clone());
        }
        Compared::Now
    }

    /// A NIM object is new, gone or changed: its owner is woken, and whoever selects it, did, or may bring it along.
    pub(super) fn object_changed(
        &self,
        kind: &str,
        before: Option<&DynamicObject>,
        after: Option<&DynamicObject>,
    ) {
        let Some(object) = after.or(before) else { return };
        let namespace = object.namespace().unwrap_or_default();
        let owned_by = |name: &str| PlacementKey { namespace: namespace.clone(), name: name.to_owned() };
        if let (Some(before), Some(after)) = (before, after)
            && is_only_told(before, after)
        {
            // Most likely by the hub itself, many at a time; what somebody else wrote is put right all the same.
            if let Some(name) = owner(after) {
                self.placements.add_soon(owned_by(name));
            }
            return;
        }
        if after.is_none()
            && let Some(uid) = object.uid()
            && let Some(key) = self.live().claims.remove(&uid)
        {
            self.placements.add(key);
        }
        let sides = || [before, after].into_iter().flatten();
        if let Some(object) = after.filter(|object| owner(*object).is_none()) {
            self.may_be_unplaced(kind, object);
        }
        let is_edited = is_edited(before, after);
        for name in sides().filter_map(|one| owner(one)) {
            self.wake(owned_by(name), is_edited);
        }
        for placement in self.stores.placements.state() {
            if placement.namespace().as_deref() == Some(&namespace)
                && sides().any(|one| may_concern(&placement, kind, one))
            {
                self.wake(key_of(placement.as_ref(), placement.name_any()), is_edited);
            }
        }
    }

    /// Has a placement decided anew. What somebody has edited is looked at soon, however often it has failed.
    fn wake(&self, key: PlacementKey, is_edited: bool) {
        if is_edited {
            self.placements.add_anew(key);
        } else {
            self.placements.add(key);
        }
    }

    /// A quota is new, gone or changed: what it refused may come now.
    pub(super) fn quota_changed(&self, before: Option<&GPUQuota>, after: Option<&GPUQuota>) {
        let Some(namespace) = after.or(before).and_then(ResourceExt::namespace) else { return };
        self.wake_all_of(&namespace);
        self.quotas.add_soon(namespace);
    }

    /// A namespace is new, gone, or changed in more than its status: clusters may admit it now.
    pub(super) fn namespace_changed(
        &self,
        before: Option<&PartialObjectMeta<Namespace>>,
        after: Option<&PartialObjectMeta<Namespace>>,
    ) {
        let Some(name) = after.or(before).map(ResourceExt::name_any) else { return };
        if let Some(uid) = after.filter(|_| name == SYSTEM).and_then(ResourceExt::uid) {
            self.live().fleet.apply(FleetEvent::Hub { uid });
        }
        let labels = after.map(|namespace| namespace.labels().clone());
        let known = self.live().fleet.labels_of_namespace(&name).cloned();
        if known != labels {
            self.live().fleet.apply(FleetEvent::Namespace { name: name.clone(), labels });
            self.wake_all_of(&name);
        }
    }

    /// Decides every placement of a namespace anew.
    fn wake_all_of(&self, namespace: &str) {
        let of = |placement: &NIMPlacement| placement.metadata.namespace.as_deref() == Some(namespace);
        for placement in self.stores.placements.state_filter(of) {
            self.placements.add_soon(key_of(placement.as_ref(), placement.name_any()));
        }
    }

    /// Something of the charges of a namespace has changed: its quotas say so, and what waits for them is asked again.
    pub(super) fn charges_changed(&self, key: &PlacementKey) {
        if self.stores.quotas_of(&key.namespace).is_empty() {
            return;
        }
        self.quotas.add_soon(key.namespace.clone());
        let waiting: Vec<_> =
            self.live().wanting.iter().filter(|one| one.namespace == key.namespace).cloned().collect();
        for one in waiting.into_iter().filter(|one| one != key) {
            self.placements.add_soon(one);
        }
    }

    /// Which product a placement is charged for may follow from what a cluster has.
    fn look_at_quotas(&self) {
        let namespaces: BTreeSet<_> =
            self.stores.quotas.state().iter().filter_map(|quota| quota.namespace()).collect();
        for namespace in namespaces {
            self.quotas.add_soon(namespace);
        }
    }

    /// A GPUCluster is new, gone or changed.
    pub(super) fn cluster_changed(&self, before: Option<&GPUCluster>, after: Option<&GPUCluster>) {
        if let (Some(old), Some(new)) = (before, after)
            && old.metadata.uid != new.metadata.uid
        {
            // Deleted and made again while the watch was away: nothing of the one is the other's.
            self.cluster_changed(Some(old), None);
            return self.cluster_changed(None, Some(new));
        }
        let Some(cluster) = after.or(before) else { return };
        let name = match cluster.name_any().parse::<ClusterName>() {
            Ok(name) => name,
            Err(error) => {
                let why = format!("{error}: no spoke can join under it: delete it, and make another one");
                tracing::warn!(cluster = cluster.name_any(), why, "GPUCluster is ignored");
                self.refuse("cluster", Subject::Cluster(cluster.name_any()), "InvalidName", &why);
                return;
            }
        };
        let accepts = |cluster: Option<&GPUCluster>| cluster.is_some_and(|cluster| cluster.spec.accepted);
        self.metrics.acceptance(accepts(before), accepts(after));
        let mut concerned = self.live().placements_in(&name);
        if let Some(cluster) = after {
            let is_new = self.live().fleet.cluster(name.as_str()).is_none();
            let accepted = cluster.spec.accepted;
            if before.is_some_and(|before| before.spec.accepted != accepted) {
                let action = if accepted { Action::Accept } else { Action::Refuse };
                let manager =
                    manager_of(cluster.metadata.managed_fields.as_deref(), &["f:spec", "f:accepted"]);
                Act::new(action, Actor::Admin(manager), "spec.accepted was changed").cluster(&name).record();
            }
            self.live().fleet.apply(FleetEvent::Admin { cluster: name.clone(), admin: Admin::from(cluster) });
            if is_new && cluster.status.as_ref().is_some_and(|status| status.cluster_uid.is_some()) {
                let at = Timestamp::now();
                self.live().fleet.apply(FleetEvent::Disconnected { cluster: name.clone(), at });
            }
            if before
                .is_some_and(|before| before.spec.revoked_certificates != cluster.spec.revoked_certificates)
            {
                let fields = cluster.metadata.managed_fields.as_deref();
                let manager = manager_of(fields, &["f:spec", "f:revokedCertificates"]);
                let revoked = cluster.spec.revoked_certificates.join(", ");
                let cause = "spec.revokedCertificates was changed";
                Act::new(Action::Revoke, Actor::Admin(manager), cause)
                    .cluster(&name)
                    .serial(&revoked)
                    .record();
            }
            self.cut_if_void(&name, cluster);
            if !accepted {
                self.desired.disconnect(
                    &name,
                    GoAwayReason::NotAccepted,
                    "spec.accepted of the GPUCluster is not true",
                );
            }
        } else {
            self.live().forget_cluster(&name);
            self.desired.disconnect(
                &name,
                GoAwayReason::NotAccepted,
                "the GPUCluster was deleted on the hub",
            );
            Act::new(Action::Leave, Actor::Admin(None), "the GPUCluster was deleted").cluster(&name).record();
        }
        if is_edited(before, after) {
            self.clusters.add_anew(name);
        } else {
            self.clusters.add(name);
        }
        self.outages.add_soon(FLEET);
        // What is placed in full, and not here, is no matter of this cluster: only what waits may find its place now. The
        // hub's own status of the cluster is nobody's matter at all.
        let is_same =
            |before: &GPUCluster| after.is_some_and(|after| Admin::from(before) == Admin::from(after));
        if before.is_some_and(is_same) {
            return;
        }
        concerned.extend(self.live().wanting.iter().cloned());
        for key in concerned {
            self.placements.add_soon(key);
        }
    }

    /// Ends the session of a cluster whose certificate is no longer taken.
    fn cut_if_void(&self, name: &ClusterName, cluster: &GPUCluster) {
        let live = self.live();
        let certificate = live.sessions.get(name).and_then(|session| session.identity.as_ref());
        if let Some((certificate, _)) = certificate
            && let Some(message) = void(cluster, certificate)
        {
            self.desired.disconnect(name, GoAwayReason::Revoked, &message);
        }
    }

    /// Looks at the status of every cluster.
    pub(super) fn look_at_all_clusters(&self) {
        let names: Vec<_> = self.live().fleet.clusters().map(|cluster| cluster.name.clone()).collect();
        for name in names {
            self.clusters.add(name);
        }
    }

    /// A session has said something.
    pub(super) fn heard(&self, event: LinkEvent) {
        let cluster = event.cluster().clone();
        let goes = matches!(event, LinkEvent::Disconnected { .. });
        let comes_or_goes = goes || matches!(event, LinkEvent::Connected { .. });
        let is_answer = matches!(event, LinkEvent::Results { .. });
        if comes_or_goes {
            self.outages.add_soon(FLEET);
        }
        let identified = matches!(event, LinkEvent::Identified { .. });
        let (touched, wanting) = {
            let mut live = self.live();
            let touched = live.hear(event, Timestamp::now());
            let wanting =
                if touched.capacity { live.wanting.clone() } else { std::collections::BTreeSet::new() };
            (touched, wanting)
        };
        if touched.orphans > 0 {
            let count = touched.orphans;
            tracing::warn!(%cluster, count, "the cluster holds objects of this hub that the hub does not know; they are left alone");
        }
        if comes_or_goes {
            self.metrics.set_connected(self.desired.connected());
        }
        if identified && let Some(known) = self.stores.cluster(cluster.as_str()) {
            self.cut_if_void(&cluster, &known);
        }
        if touched.cluster {
            self.metrics.set_orphans(self.live().orphans.values().map(Vec::len).sum());
        }
        if touched.cluster {
            self.clusters.add(cluster);
        }
        if touched.capacity {
            self.spoken.notify_one();
            self.look_at_quotas();
        }
        for key in touched.placements {
            // One cluster goes at a time, or all of them.
            if goes && self.is_only_told(&key) {
                self.reports.add_soon(key);
            } else if comes_or_goes {
                self.placements.add_soon(key);
            } else {
                self.placements.add(key);
            }
        }
        for key in touched.reports {
            // Answers come from all clusters at once; what runs there follows them.
            if is_answer || comes_or_goes { self.reports.add_soon(key) } else { self.reports.add(key) }
        }
        // Of those that wait the higher one is asked first.
        let mut wanting: Vec<PlacementKey> = wanting.into_iter().collect();
        wanting.sort_by_cached_key(|key| {
            let placement = self.stores.placement(&key.namespace, &key.name);
            std::cmp::Reverse(placement.and_then(|placement| placement.spec.priority).unwrap_or_default())
        });
        for key in wanting {
            self.placements.add_soon(key);
        }
    }

    /// Whether it changes nothing for a placement that one of its clusters falls silent, but that it is told.
    pub(super) fn is_only_told(&self, key: &PlacementKey) -> bool {
        let keeps = |placement: Arc<NIMPlacement>| {
            let failover = placement.spec.failover.as_ref();
            failover.is_none_or(|failover| failover.on_unreachable == OnUnreachable::Keep)
        };
        self.stores.placement(&key.namespace, &key.name).is_some_and(keeps)
            && !self.live().wanting.contains(key)
    }
}

pub(super) fn key_of(object: &impl ResourceExt, name: String) -> PlacementKey {
    PlacementKey { namespace: object.namespace().unwrap_or_default(), name }
}

/// Whether somebody has made, edited or deleted the object, or a list that says so has just been read. What the hub itself
/// writes is metadata and status, and counts no generation.
fn is_edited<K: ResourceExt>(before: Option<&K>, after: Option<&K>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    let (old, new) = (before.meta(), after.meta());
    old.uid != new.uid || old.generation != new.generation || old.deletion_timestamp != new.deletion_timestamp
}

/// Whether nothing changed but the status, and nothing that is placed by it: profiles say what a cache holds.
fn is_only_told(before: &DynamicObject, after: &DynamicObject) -> bool {
    let (old, new) = (&before.metadata, &after.metadata);
    old.uid == new.uid
        && old.generation.is_some()
        && old.generation == new.generation
        && old.labels == new.labels
        && old.annotations == new.annotations
        && old.finalizers == new.finalizers
        && old.deletion_timestamp == new.deletion_timestamp
        && before.data.pointer(PROFILES) == after.data.pointer(PROFILES)
}

/// Whether a placement selects the object, or may bring it along; a NIMCache says what those who run from it take.
fn may_concern(placement: &NIMPlacement, kind: &str, object: &DynamicObject) -> bool {
    let selectors = &placement.spec.resource_selectors;
    let brings = kind == SelectedKind::NIMCache.as_str()
        || placement.spec.propagate_dependencies
            && selectors.iter().any(|selector| selector.kind.calls_others());
    brings || selectors.iter().any(|selector| selects(selector, kind, object))
}

/// What a selector that cannot be read would select is not known.
fn selects(selector: &ResourceSelector, kind: &str, object: &DynamicObject) -> bool {
    let by_name = || selector.name.as_deref() == Some(object.name_any().as_str());
    let by_labels = || {
        let labels = selector.label_selector.as_ref().map(Selector::try_from);
        labels.is_some_and(|labels| labels.map_or(true, |labels| labels.matches(object.labels())))
    };
    selector.kind.as_str() == kind && (by_name() || by_labels())
}

#[cfg(test)]
mod tests;
