//! Roughly how many bytes of the hub's memory a spoke's words take: the budgets of [`crate::link`] and of
//! [`super::Statuses`] are counted in them.

use std::collections::BTreeMap;

use crds::taints::NodeTaint;

use super::{
    CachedProfile, DeviceGroup, HeldCache, HeldObject, NodeGroup, ObjectCondition, ObjectRef, ObjectStatus,
    Platform, Pool, StorageClass,
};

/// Bytes of an entry of a map beside what it holds.
const ENTRY: usize = 16;

/// How many bytes of memory a value takes, allocations included.
pub trait Weight {
    /// Bytes, roughly.
    fn weight(&self) -> usize;
}

impl Weight for String {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.len()
    }
}

impl Weight for NodeGroup {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Weight for u32 {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl<T: Weight> Weight for Vec<T> {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.iter().map(Weight::weight).sum::<usize>()
    }
}

impl<K: Weight, V: Weight> Weight for BTreeMap<K, V> {
    fn weight(&self) -> usize {
        let entries = self.iter().map(|(key, value)| ENTRY + key.weight() + value.weight());
        size_of::<Self>() + entries.sum::<usize>()
    }
}

impl Weight for Pool {
    fn weight(&self) -> usize {
        let texts = [&self.product, &self.resource, &self.driver_version].map(String::len);
        let rows = self.groups.weight() + self.free_per_node.weight() + size_of_val(&*self.tainted);
        size_of::<Self>() + texts.iter().sum::<usize>() + rows
    }
}

impl Weight for Platform {
    fn weight(&self) -> usize {
        self.name.weight() + self.version.weight() + self.served.weight()
    }
}

impl Weight for CachedProfile {
    fn weight(&self) -> usize {
        self.name.weight() + self.tags.weight()
    }
}

impl Weight for HeldCache {
    fn weight(&self) -> usize {
        self.namespace.weight() + self.name.weight() + self.model.weight() + self.profiles.weight()
    }
}

impl Weight for StorageClass {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.name.len()
    }
}

impl Weight for DeviceGroup {
    fn weight(&self) -> usize {
        let maps = self.attributes.weight() + self.capacity.weight() + self.free_per_node.weight();
        let taint = |taint: &NodeTaint| {
            size_of::<NodeTaint>() + taint.key.len() + taint.value.len() + taint.effect.len()
        };
        let taints = self.taints.iter().map(taint).sum::<usize>();
        let texts = [&self.class, &self.driver, &self.extended_resource].map(String::len);
        size_of::<Self>() + texts.iter().sum::<usize>() + maps + taints
    }
}

impl Weight for ObjectRef {
    fn weight(&self) -> usize {
        let Self { uid, api_version, kind, namespace, name } = self;
        [uid, api_version, kind, namespace, name].into_iter().map(Weight::weight).sum()
    }
}

impl Weight for HeldObject {
    fn weight(&self) -> usize {
        size_of::<i64>() + self.object.weight() + self.hash.weight()
    }
}

impl Weight for ObjectCondition {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.kind.len() + self.reason.len() + self.message.len()
    }
}

impl Weight for ObjectStatus {
    fn weight(&self) -> usize {
        let unschedulable = self.unschedulable.as_ref().map_or(0, |waits| waits.message.len());
        size_of::<Self>()
            + self.object.weight()
            + self.hash.len()
            + self.state.len()
            + self.claim.len()
            + self.conditions.weight()
            + self.profiles.weight()
            + unschedulable
    }
}
