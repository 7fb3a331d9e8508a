//! Nodes by taints and labels, in few bytes: sets of nodes that are alike, and which sets have which label.
//!
//! The hub judges node selectors and tolerations by it. Neither grows with the nodes: there are [`MOST_SETS`] sets at most, and
//! labels have a budget of bytes. What does not fit is named as untold, and the hub takes it for unknown.

use std::collections::BTreeMap;

use crds::taints::NodeTaint;

use super::{NodeLabel, NodeSet, NodeSets};

/// Most sets: their bits fit in two bytes.
const MOST_SETS: usize = 16;
/// Most different lists of taints; nodes with rarer ones are told to nobody.
const MOST_TAINTS: usize = 8;
/// Most values of a label that tells sets apart.
const MOST_VALUES: usize = 8;
/// Bytes of all labels that are told: 40 labels of 60 bytes, and the names of a few dozen nodes.
const LABEL_BYTES: usize = 4096;
/// Bytes of a label beside its text.
const ROW: usize = 8;
/// Most beginnings of keys that are named as untold.
const MOST_UNTOLD: usize = 32;

/// The label by which pods are sent to nodes with NVIDIA devices; told before every other.
const FIRST: &str = "feature.node.kubernetes.io/pci-10de.present";

/// Beginnings of keys that describe a machine in detail, or repeat others under their old names: nearly nobody selects by them,
/// and they are most of all labels.
pub(super) const DETAILS: [&str; 13] = [
    "beta.kubernetes.io/",
    "failure-domain.beta.kubernetes.io/",
    "feature.node.kubernetes.io/cpu-",
    "feature.node.kubernetes.io/kernel-",
    "feature.node.kubernetes.io/memory-",
    "feature.node.kubernetes.io/network-",
    "feature.node.kubernetes.io/storage-",
    "feature.node.kubernetes.io/system-",
    "feature.node.kubernetes.io/usb-",
    "nvidia.com/cuda.",
    "nvidia.com/gfd.",
    "nvidia.com/gpu-driver-upgrade",
    "nvidia.com/gpu.deploy.",
];

/// Where pods may run: the taints and labels of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ground {
    /// Taints that repel pods for as long as the node is in use, in order.
    pub taints: Vec<NodeTaint>,
    /// Labels but for [`DETAILS`], `key=value` by line, in order of the keys.
    labels: Box<str>,
    /// Which of [`DETAILS`] it has: one bit each.
    details: u16,
}

impl Ground {
    pub(super) fn new(mut taints: Vec<NodeTaint>, labels: Option<&BTreeMap<String, String>>) -> Self {
        taints.sort();
        taints.dedup();
        let (mut told, mut details) = (String::new(), 0);
        for (key, value) in labels.into_iter().flatten() {
            match DETAILS.iter().position(|detail| key.starts_with(detail)) {
                Some(at) => details |= 1 << at,
                None => {
                    for part in [key, "=", value, "\n"] {
                        told.push_str(part);
                    }
                }
            }
        }
        Self { taints, labels: told.into_boxed_str(), details }
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.lines().filter_map(|line| line.split_once('='))
    }
}

/// The sets of nodes, and the set of each node by name; a node whose taints are too rare has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    pub sets: NodeSets,
    of: BTreeMap<String, u32>,
    /// Whether there are nodes without a set.
    pub cut: bool,
}

impl Sorted {
    /// The place of a node's set in [`NodeSets::sets`].
    pub(super) fn of(&self, node: &str) -> Option<u32> {
        self.of.get(node).copied()
    }

    /// The taints of a node's set; none of a node that is not known.
    pub(super) fn taints(&self, node: &str) -> &[NodeTaint] {
        let set = self.of(node).and_then(|set| self.sets.sets.get(usize::try_from(set).ok()?));
        set.map_or(&[], |set| &set.taints)
    }
}

/// Values of one key: nodes by their place, for each value.
type Values<'a> = BTreeMap<&'a str, Vec<usize>>;

/// Sorts nodes, which come by name.
pub(super) fn sort<'a>(nodes: impl Iterator<Item = (&'a String, &'a Ground)>) -> Sorted {
    let all: Vec<(&String, &Ground)> = nodes.collect();
    let mut by_taints: BTreeMap<&[NodeTaint], usize> = BTreeMap::new();
    for (_, ground) in &all {
        *by_taints.entry(&ground.taints).or_default() += 1;
    }
    let mut common: Vec<_> = by_taints.into_iter().collect();
    common.sort_by_key(|(taints, nodes)| (usize::MAX - nodes, *taints));
    common.truncate(MOST_TAINTS);
    common.sort_unstable();
    let place = |ground: &Ground| common.iter().position(|(taints, _)| **taints == *ground.taints);
    let known: Vec<(&String, &Ground, usize)> =
        all.iter().filter_map(|(name, ground)| Some((*name, *ground, place(ground)?))).collect();

    let mut of: Vec<usize> = known.iter().map(|(.., place)| *place).collect();
    let mut keys: BTreeMap<&str, Values<'_>> = BTreeMap::new();
    for (at, (_, ground, _)) in known.iter().enumerate() {
        for (key, value) in ground.labels() {
            keys.entry(key).or_default().entry(value).or_default().push(at);
        }
    }
    let bytes = |key: &str, values: &Values<'_>| -> usize {
        values.keys().map(|value| key.len() + value.len() + ROW).sum()
    };
    let mut keys: Vec<_> = keys.into_iter().collect();
    keys.sort_by_key(|(key, values)| (*key != FIRST, values.len(), bytes(key, values), *key));
    let seen = all.iter().fold(0, |seen, (_, ground)| seen | ground.details);
    let details = DETAILS.iter().enumerate().filter(|(at, _)| seen & (1 << at) != 0);
    let mut untold: Vec<String> = details.map(|(_, detail)| (*detail).to_owned()).collect();
    let (mut left, mut told) = (LABEL_BYTES, Vec::new());
    for (key, values) in keys {
        let bytes = bytes(key, &values);
        if bytes > left {
            untold.push(key.to_owned());
            continue;
        }
        left -= bytes;
        let finer = if values.len() <= MOST_VALUES { refined(&of, &values) } else { None };
        let partial = finer.is_none();
        of = finer.unwrap_or(of);
        told.push((key, values, partial));
    }
    if untold.len() > MOST_UNTOLD {
        untold = vec![String::new()];
    }
    let mut sets = vec![NodeSet::default(); of.iter().max().map_or(0, |last| last + 1)];
    for ((_, ground, _), set) in known.iter().zip(&of) {
        sets[*set].taints.clone_from(&ground.taints);
        sets[*set].nodes += 1;
    }
    let mask = |nodes: &[usize]| nodes.iter().fold(0, |mask, at| mask | 1 << of[*at]);
    let mut labels: Vec<NodeLabel> = Vec::new();
    for (key, values, partial) in &told {
        labels.extend(values.iter().map(|(value, nodes)| NodeLabel {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            sets: mask(nodes),
            partial: *partial,
        }));
    }
    labels.sort_by(|one, other| (&one.key, &one.value).cmp(&(&other.key, &other.value)));
    let number = |set: &usize| u32::try_from(*set).unwrap_or(u32::MAX);
    Sorted {
        cut: known.len() < all.len(),
        of: known.iter().zip(&of).map(|((name, ..), set)| ((*name).clone(), number(set))).collect(),
        sets: NodeSets { sets, labels, untold },
    }
}

/// The sets of nodes, told apart by one more key; none where they are too many then.
fn refined(of: &[usize], values: &Values<'_>) -> Option<Vec<usize>> {
    let mut value_of = vec![0; of.len()];
    for (number, nodes) in values.values().enumerate() {
        for at in nodes {
            value_of[*at] = number + 1;
        }
    }
    let mut places: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for pair in of.iter().copied().zip(value_of.iter().copied()) {
        let next = places.len();
        places.entry(pair).or_insert(next);
        if places.len() > MOST_SETS {
            return None;
        }
    }
    Some(of.iter().copied().zip(value_of).map(|pair| places[&pair]).collect())
}

#[cfg(test)]
#[path = "node_sets/tests.rs"]
mod tests;
