//! How much of what a spoke says the hub takes: whatever is longer is cut, and says so.
//!
//! A spoke that ships stays far below all of this. One that does not can fill its own rows with words, and nothing else.

use std::collections::BTreeMap;
use std::mem;

use super::message::FromSpoke;
use crate::fleet::{
    Agent, Answer, CachedProfile, Capacity, HeldObject, ObjectCondition, ObjectRef, ObjectResult,
    ObjectStatus, Truth,
};
use crate::pki::EpochProof;

/// Bytes of what identifies an object or a version of it, as Kubernetes bounds names: longer ones are nobody's.
const NAME: usize = 253;
/// Bytes of one word: states, reasons, versions, products.
const WORD: usize = 316;
/// Bytes of one sentence. Kubernetes takes 32 KiB as the message of a condition; a status tells of many.
const SENTENCE: usize = 2048;
/// Conditions of one object; the most of any NVIDIA kind is below ten.
const CONDITIONS: usize = 32;
/// Profiles of one cache, and tags of one profile: a manifest has a few dozen of each.
const PROFILES: usize = 512;
const TAGS: usize = 64;
/// Kinds of GPUs, and nodes by their free GPUs, of one cluster.
const POOLS: usize = 256;
const NODES: usize = 1024;
/// Platforms of one cluster.
const PLATFORMS: usize = 64;
/// Caches of one cluster.
const CACHES: usize = 4096;
/// Storage classes, and kinds of devices, of one cluster.
const ROWS: usize = 1024;
/// Capabilities of one agent.
const CAPABILITIES: usize = 256;

/// Cuts what is too long; says how many things that were.
pub(super) fn cut(said: &mut FromSpoke) -> u64 {
    let mut cut = Cut(0);
    match said {
        FromSpoke::Hello(hello) => {
            cut.agent(&mut hello.agent);
            cut.text(&mut hello.cluster, NAME);
            cut.text(&mut hello.instance.id, NAME);
            cut.proof(&mut hello.epoch_proof);
        }
        FromSpoke::Index { held, .. } => cut.retain(held, HeldObject::is_bounded),
        FromSpoke::Ack { results, .. } => {
            cut.retain(results, ObjectResult::is_bounded);
            for result in results.iter_mut() {
                cut.answer(&mut result.answer);
            }
        }
        FromSpoke::Status(statuses) => {
            cut.retain(statuses, ObjectStatus::is_bounded);
            for status in statuses.iter_mut() {
                cut.status(status);
            }
        }
        FromSpoke::Capacity(capacity) => cut.capacity(capacity),
        FromSpoke::Heartbeat(_) => {}
    }
    cut.0
}

/// Whether what identifies something is as short as such a thing is. It is not cut: it would be another's.
trait Bounded {
    fn is_bounded(&self) -> bool;
}

impl Bounded for ObjectRef {
    fn is_bounded(&self) -> bool {
        let Self { uid, api_version, kind, namespace, name } = self;
        [uid, api_version, kind, namespace, name].iter().all(|text| text.len() <= NAME)
    }
}

impl Bounded for HeldObject {
    fn is_bounded(&self) -> bool {
        self.object.is_bounded() && self.hash.len() <= NAME
    }
}

impl Bounded for ObjectResult {
    fn is_bounded(&self) -> bool {
        self.uid.len() <= NAME && self.hash.len() <= NAME
    }
}

impl Bounded for ObjectStatus {
    fn is_bounded(&self) -> bool {
        self.object.is_bounded() && self.hash.len() <= NAME
    }
}

/// Counts what is cut.
struct Cut(u64);

impl Cut {
    fn agent(&mut self, agent: &mut Agent) {
        self.text(&mut agent.cluster_uid, NAME);
        self.text(&mut agent.version, WORD);
        self.text(&mut agent.limits, WORD);
        self.list(&mut agent.capabilities, CAPABILITIES);
        self.retain(&mut agent.capabilities, |capability| capability.len() <= WORD);
    }

    /// Cut, it would be another; none is as good as a wrong one.
    fn proof(&mut self, proof: &mut Vec<u8>) {
        if proof.len() > size_of::<EpochProof>() {
            *proof = Vec::new();
            self.0 += 1;
        }
    }

    fn answer(&mut self, answer: &mut Answer) {
        match answer {
            Answer::Rejected { message, .. }
            | Answer::Held { message, .. }
            | Answer::Retrying { message } => {
                self.text(message, SENTENCE);
            }
            Answer::Accepted | Answer::Gone => {}
        }
    }

    fn status(&mut self, status: &mut ObjectStatus) {
        self.text(&mut status.state, WORD);
        self.conditions(&mut status.conditions);
        for condition in &mut status.conditions {
            self.text(&mut condition.kind, WORD);
            self.text(&mut condition.reason, WORD);
            self.text(&mut condition.message, SENTENCE);
        }
        if let Some(unschedulable) = &mut status.unschedulable {
            self.text(&mut unschedulable.message, SENTENCE);
        }
        self.profiles(&mut status.profiles);
    }

    fn profiles(&mut self, profiles: &mut Vec<CachedProfile>) {
        self.list(profiles, PROFILES);
        for profile in profiles {
            self.text(&mut profile.name, WORD);
            self.words(&mut profile.tags, TAGS);
        }
    }

    fn words(&mut self, words: &mut BTreeMap<String, String>, most: usize) {
        let mut all: Vec<_> = mem::take(words).into_iter().collect();
        self.list(&mut all, most);
        self.retain(&mut all, |(key, value)| key.len() <= WORD && value.len() <= WORD);
        words.extend(all);
    }

    /// What tells most stays, and the last row says that there were more.
    fn conditions(&mut self, conditions: &mut Vec<ObjectCondition>) {
        let more = conditions.len().saturating_sub(CONDITIONS);
        if more == 0 {
            return;
        }
        conditions.sort_by_key(|condition| !matches!(condition.kind.as_str(), "Ready" | "Failed"));
        self.list(conditions, CONDITIONS - 1);
        conditions.push(ObjectCondition {
            kind: "Truncated".to_owned(),
            status: Truth::True,
            reason: "TooManyConditions".to_owned(),
            message: format!("{} more conditions were cut by the hub", more + 1),
            last_transition: jiff::Timestamp::UNIX_EPOCH,
        });
    }

    fn capacity(&mut self, capacity: &mut Capacity) {
        let Capacity { kubernetes_version, region, zone, provider, pools, platforms, caches, .. } = capacity;
        let (storage, devices, bound) = (&mut capacity.storage, &mut capacity.devices, &mut capacity.bound);
        self.list(&mut capacity.cut, PLATFORMS);
        for text in [kubernetes_version, region, zone, provider] {
            self.text(text, WORD);
        }
        self.list(pools, POOLS);
        for pool in pools {
            self.text(&mut pool.product, WORD);
            self.text(&mut pool.resource, WORD);
            self.text(&mut pool.driver_version, WORD);
            self.list(&mut pool.groups, NODES);
            while pool.free_per_node.len() > NODES {
                // The fullest nodes count least.
                pool.free_per_node.pop_first();
                self.0 += 1;
            }
        }
        self.list(platforms, PLATFORMS);
        for platform in platforms {
            self.text(&mut platform.name, WORD);
            self.text(&mut platform.version, WORD);
            self.list(&mut platform.served, PLATFORMS);
        }
        self.list(caches, CACHES);
        for cache in caches {
            for text in [&mut cache.namespace, &mut cache.name, &mut cache.model] {
                self.text(text, WORD);
            }
            self.profiles(&mut cache.profiles);
        }
        if let Some(classes) = storage {
            self.list(classes, ROWS);
            for class in classes {
                self.text(&mut class.name, WORD);
            }
        }
        if let Some(groups) = devices {
            self.list(groups, ROWS);
            for group in groups {
                self.text(&mut group.class, WORD);
                self.text(&mut group.driver, WORD);
                self.words(&mut group.attributes, TAGS);
                self.words(&mut group.capacity, TAGS);
            }
        }
        if let Some(uids) = bound {
            let before = uids.len();
            uids.retain(|uid, _| uid.len() <= NAME);
            self.0 += u64::try_from(before - uids.len()).unwrap_or(u64::MAX);
        }
    }

    /// Cuts a text, which says so.
    fn text(&mut self, text: &mut String, most: usize) {
        let bytes = text.len();
        if bytes > most {
            text.truncate(text.floor_char_boundary(most));
            let more = bytes - text.len();
            let mark = format!("… ({more} more bytes were cut by the hub)");
            text.push_str(&mark);
            self.0 += 1;
        }
    }

    fn list<T>(&mut self, list: &mut Vec<T>, most: usize) {
        self.0 += u64::try_from(list.len().saturating_sub(most)).unwrap_or(u64::MAX);
        list.truncate(most);
    }

    fn retain<T>(&mut self, list: &mut Vec<T>, keep: impl Fn(&T) -> bool) {
        let before = list.len();
        list.retain(keep);
        self.0 += u64::try_from(before - list.len()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests;
