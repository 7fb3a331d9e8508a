//! How much of what a spoke says the hub keeps: rows, words and bytes. What is longer is cut, and the GPUCluster says so.
//!
//! A spoke that ships stays far below all of this. One that does not can fill its own budget, and nothing else: what it makes the
//! hub hold is one capacity report of 4 MiB, 8 MiB of statuses (or 4 KiB for each object that the hub itself has placed there, see
//! [`crate::fleet::Statuses`]), and in its session as much again of each while the controllers are slow.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crds::taints::NodeTaint;

use super::message::FromSpoke;
use crate::fleet::{
    Agent, Answer, CachedProfile, Capacity, Excess, HeldObject, NodeSets, ObjectCondition, ObjectRef,
    ObjectResult, ObjectStatus, Truth, Weight,
};
use crate::identity::EpochProof;

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
/// Objects whose bound pods one cluster counts.
const BOUND: usize = 20_000;
/// Capabilities of one agent.
const CAPABILITIES: usize = 256;
/// Bytes of one capacity report, by list: 4 MiB in all.
const POOL_BYTES: usize = 512 << 10;
const PLATFORM_BYTES: usize = 128 << 10;
const CACHE_BYTES: usize = 2 << 20;
const STORAGE_BYTES: usize = 256 << 10;
const DEVICE_BYTES: usize = 512 << 10;
const BOUND_BYTES: usize = 640 << 10;
/// Bytes of the labels and taints of nodes; an agent that ships tells 4 KiB of labels.
const NODE_BYTES: usize = 64 << 10;
/// Sets of nodes of one pool, taints of one device, and nodes that are named.
const SETS: usize = 32;
/// Bytes of one object's status: 50 profiles with ten tags each take 50 KiB.
const STATUS_BYTES: usize = 64 << 10;
/// Bytes of a message that is cut since the status as a whole is too long.
const SHORT: usize = 256;

/// Cuts what is too long; says what that was.
pub(super) fn cut(said: &mut FromSpoke) -> Vec<Excess> {
    let mut cut = Cut::default();
    match said {
        FromSpoke::Hello(hello) => {
            cut.agent(&mut hello.agent);
            cut.text(&mut hello.cluster, NAME);
            cut.text(&mut hello.instance.id, NAME);
            cut.proof(&mut hello.epoch_proof);
            if let Some(epoch) = &mut hello.highest_epoch {
                // What is longer is of no hub, cut or not.
                cut.text(&mut epoch.hub_id, NAME);
                cut.text(&mut epoch.incarnation, NAME);
            }
        }
        FromSpoke::Index { held, .. } => cut.retain(held, "named objects", HeldObject::is_bounded),
        FromSpoke::Ack { results, .. } => {
            cut.retain(results, "named answers", ObjectResult::is_bounded);
            for result in results.iter_mut() {
                cut.answer(&mut result.answer);
            }
        }
        FromSpoke::Status(statuses) => {
            cut.retain(statuses, "named statuses", ObjectStatus::is_bounded);
            for status in statuses.iter_mut() {
                cut.status(status);
            }
        }
        FromSpoke::Capacity(capacity) => cut.capacity(capacity),
        FromSpoke::Heartbeat(_) => {}
    }
    cut.0.into_values().collect()
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

/// What is cut of one message, by what it is: where several lists have too much of one thing, the sum.
#[derive(Default)]
struct Cut(BTreeMap<&'static str, Excess>);

impl Cut {
    fn note(&mut self, what: &'static str, reported: usize, kept: usize) {
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        let excess = self.0.entry(what).or_insert(Excess { what, reported: 0, kept: 0 });
        excess.reported = excess.reported.saturating_add(number(reported));
        excess.kept = excess.kept.saturating_add(number(kept));
    }

    fn agent(&mut self, agent: &mut Agent) {
        self.text(&mut agent.cluster_uid, NAME);
        self.text(&mut agent.version, WORD);
        self.text(&mut agent.limits, WORD);
        let reported = agent.capabilities.len();
        agent.capabilities.truncate(CAPABILITIES);
        agent.capabilities.retain(|capability| capability.len() <= WORD);
        self.bytes(&mut agent.capabilities, "capabilities", reported, usize::MAX);
    }

    /// Cut, it would be another; none is as good as a wrong one.
    fn proof(&mut self, proof: &mut Vec<u8>) {
        if proof.len() > size_of::<EpochProof>() {
            self.note("bytes of a proof", proof.len(), 0);
            *proof = Vec::new();
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
        self.text(&mut status.claim, NAME);
        self.conditions(&mut status.conditions);
        for condition in &mut status.conditions {
            self.text(&mut condition.kind, WORD);
            self.text(&mut condition.reason, WORD);
            self.text(&mut condition.message, SENTENCE);
        }
        if let Some(unschedulable) = &mut status.unschedulable {
            self.text(&mut unschedulable.message, SENTENCE);
        }
        self.profiles(&mut status.profiles, usize::MAX);
        self.bytes_of_status(status);
    }

    /// Of a status that is too long in all, tags go first, then profiles, then the words of conditions that tell least.
    fn bytes_of_status(&mut self, status: &mut ObjectStatus) {
        let before = status.weight();
        if before <= STATUS_BYTES {
            return;
        }
        status.profiles.iter_mut().for_each(|profile| profile.tags.clear());
        if status.weight() > STATUS_BYTES {
            for condition in &mut status.conditions {
                if !is_telling(condition) {
                    shorten(&mut condition.message, SHORT);
                }
            }
        }
        let empty = Vec::<CachedProfile>::new().weight();
        let rest = status.weight() - status.profiles.weight() + empty;
        keep_within(&mut status.profiles, STATUS_BYTES.saturating_sub(rest));
        self.note("bytes of statuses of objects", before, status.weight());
    }

    fn profiles(&mut self, profiles: &mut Vec<CachedProfile>, most_bytes: usize) {
        let reported = profiles.len();
        profiles.truncate(PROFILES);
        for profile in profiles.iter_mut() {
            self.text(&mut profile.name, WORD);
            self.words(&mut profile.tags, TAGS);
        }
        self.bytes(profiles, "profiles of caches", reported, most_bytes);
    }

    fn words(&mut self, words: &mut BTreeMap<String, String>, most: usize) {
        let mut all: Vec<_> = mem::take(words).into_iter().collect();
        let reported = all.len();
        all.truncate(most);
        all.retain(|(key, value)| key.len() <= WORD && value.len() <= WORD);
        if all.len() < reported {
            self.note("tags and attributes", reported, all.len());
        }
        words.extend(all);
    }

    /// What tells most stays, and the last row says that there were more.
    fn conditions(&mut self, conditions: &mut Vec<ObjectCondition>) {
        let more = conditions.len().saturating_sub(CONDITIONS);
        if more == 0 {
            return;
        }
        conditions.sort_by_key(|condition| !is_telling(condition));
        self.list(conditions, "conditions of objects", CONDITIONS - 1);
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
        self.list(&mut capacity.cut, "names of lists that were cut", PLATFORMS);
        capacity.cut.iter_mut().for_each(|name| self.text(name, WORD));
        for text in [kubernetes_version, region, zone, provider] {
            self.text(text, WORD);
        }
        let reported = pools.len();
        pools.truncate(POOLS);
        for pool in pools.iter_mut() {
            self.text(&mut pool.product, WORD);
            self.text(&mut pool.resource, WORD);
            self.text(&mut pool.driver_version, WORD);
            self.list(&mut pool.groups, "groups of nodes", NODES);
            self.list(&mut pool.tainted, "sets of tainted nodes", SETS);
            self.histogram(&mut pool.free_per_node);
        }
        self.bytes(pools, "GPU products", reported, POOL_BYTES);
        let reported = platforms.len();
        platforms.truncate(PLATFORMS);
        for platform in platforms.iter_mut() {
            self.text(&mut platform.name, WORD);
            self.text(&mut platform.version, WORD);
            self.list(&mut platform.served, "versions of platforms", PLATFORMS);
            platform.served.iter_mut().for_each(|version| self.text(version, WORD));
        }
        self.bytes(platforms, "platforms", reported, PLATFORM_BYTES);
        let reported = caches.len();
        caches.truncate(CACHES);
        for cache in caches.iter_mut() {
            for text in [&mut cache.namespace, &mut cache.name, &mut cache.model] {
                self.text(text, WORD);
            }
            self.profiles(&mut cache.profiles, STATUS_BYTES);
        }
        self.bytes(caches, "model caches", reported, CACHE_BYTES);
        if let Some(classes) = storage {
            let reported = classes.len();
            classes.truncate(ROWS);
            for class in classes.iter_mut() {
                self.text(&mut class.name, WORD);
            }
            self.bytes(classes, "storage classes", reported, STORAGE_BYTES);
        }
        if let Some(groups) = devices {
            let reported = groups.len();
            groups.truncate(ROWS);
            for group in groups.iter_mut() {
                self.text(&mut group.class, WORD);
                self.text(&mut group.driver, WORD);
                self.words(&mut group.attributes, TAGS);
                self.words(&mut group.capacity, TAGS);
                self.text(&mut group.extended_resource, WORD);
                self.list(&mut group.taints, "taints of devices", SETS);
                group.taints.iter_mut().for_each(|taint| self.taint(taint));
                self.histogram(&mut group.free_per_node);
            }
            self.bytes(groups, "kinds of devices", reported, DEVICE_BYTES);
        }
        if let Some(uids) = bound {
            self.bound(uids);
        }
        self.node_sets(&mut capacity.nodes);
    }

    /// Half of the labels would say that no node has the others: where they are too many, nothing is known of any.
    fn node_sets(&mut self, nodes: &mut Option<Arc<NodeSets>>) {
        let Some(known) = nodes else { return };
        let bytes = known.weight();
        if bytes > NODE_BYTES {
            self.note("bytes of labels and taints of nodes", bytes, 0);
            *nodes = None;
            return;
        }
        // Nobody else has it yet.
        let known = Arc::make_mut(known);
        known.each_taint(|taint| self.taint(taint));
        self.list(&mut known.unlabelled.names, "names of nodes", SETS);
        known.unlabelled.names.iter_mut().for_each(|name| self.text(name, NAME));
    }

    fn taint(&mut self, taint: &mut NodeTaint) {
        for text in [&mut taint.key, &mut taint.value, &mut taint.effect] {
            self.text(text, WORD);
        }
    }

    /// The nodes with most that is free are the ones that placements need.
    fn histogram(&mut self, nodes: &mut BTreeMap<u32, u32>) {
        let before = nodes.len();
        if before > NODES {
            while nodes.len() > NODES {
                nodes.pop_first();
            }
            self.note("groups of nodes", before, NODES);
        }
    }

    /// What is not kept counts as not bound: it holds its GPUs twice, which is safe.
    fn bound(&mut self, uids: &mut BTreeMap<String, u32>) {
        let (before, mut left) = (uids.len(), BOUND_BYTES);
        let (mut kept, most) = (0, BOUND);
        uids.retain(|uid, _| {
            let weight = uid.weight() + 32;
            let keep = uid.len() <= NAME && kept < most && weight <= left;
            if keep {
                left -= weight;
                kept += 1;
            }
            keep
        });
        if before > uids.len() {
            self.note("objects with bound pods", before, uids.len());
        }
    }

    /// Cuts a text, which says so. What terminals would obey is a space.
    fn text(&mut self, text: &mut String, most: usize) {
        let bytes = text.len();
        if bytes > most {
            shorten(text, most);
            self.note("bytes of long texts", bytes, most);
        }
        if text.contains(char::is_control) {
            *text = text.replace(char::is_control, " ");
        }
    }

    fn list<T>(&mut self, list: &mut Vec<T>, what: &'static str, most: usize) {
        if list.len() > most {
            self.note(what, list.len(), most);
            list.truncate(most);
            list.shrink_to_fit();
        }
    }

    fn retain<T>(&mut self, list: &mut Vec<T>, what: &'static str, keep: impl Fn(&T) -> bool) {
        let before = list.len();
        list.retain(keep);
        if list.len() < before {
            self.note(what, before, list.len());
        }
    }

    /// Keeps the rows that fit, of those that are left of as many as were reported.
    fn bytes<T: Weight>(&mut self, rows: &mut Vec<T>, what: &'static str, reported: usize, most: usize) {
        keep_within(rows, most);
        if rows.len() < reported {
            self.note(what, reported, rows.len());
        }
    }
}

fn keep_within<T: Weight>(rows: &mut Vec<T>, most: usize) {
    let mut left = most;
    rows.retain(|row| {
        let weight = row.weight();
        let keep = weight <= left;
        if keep {
            left -= weight;
        }
        keep
    });
    rows.shrink_to_fit();
}

/// Whether a condition is one of those that say how an object is.
fn is_telling(condition: &ObjectCondition) -> bool {
    matches!(condition.kind.as_str(), "Ready" | "Failed" | "ReplicaFailure")
}

fn shorten(text: &mut String, most: usize) {
    let bytes = text.len();
    if bytes > most {
        text.truncate(text.floor_char_boundary(most));
        let mark = format!("… ({} more bytes were cut by the hub)", bytes - text.len());
        text.push_str(&mark);
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests;
