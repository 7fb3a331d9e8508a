//! Where pods may run in a cluster: its nodes by taints and labels, as its spoke sorts them.

use std::fmt;

use crds::taints::{GPU_TAINT, NodeTaint, NodeToleration};

use crate::fleet::Weight;
use crate::need::{NodeDemand, Operator, Requirement};

/// Most sets that are kept: as many as a mask has bits.
const MOST_SETS: usize = 32;

/// Nodes by taints and labels. A set is named by its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSets {
    sets: Vec<NodeSet>,
    labels: Labels,
    /// Beginnings of keys of which nothing is known; the empty one: all that are not in `labels`.
    untold: Vec<String>,
    /// Nodes with GPUs of unknown product.
    pub unlabelled: Unlabelled,
    /// Sets without taints.
    open: Sets,
    /// Sets without taints but for that of GPU nodes.
    open_to_gpus: Sets,
}

/// Nodes with GPUs of which no label says what product they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unlabelled {
    /// How many.
    pub nodes: u32,
    /// The first of them by name.
    pub names: Vec<String>,
}

/// Nodes with the same taints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    /// Those that repel pods.
    pub taints: Vec<NodeTaint>,
    /// Nodes, whatever their state.
    pub nodes: u32,
}

/// A label of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLabel {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The sets that have nodes with it.
    pub sets: Sets,
    /// Only some nodes of these sets may have it.
    pub partial: bool,
}

/// Some of the sets of a cluster: one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets(pub u32);

impl Sets {
    /// Every set, and nodes of which no set is known.
    pub const ALL: Self = Self(u32::MAX);
    /// The place of nodes of which no set is known: they are in every choice.
    pub const ANY: u8 = u8::MAX;

    /// Whether nodes of that set are among them.
    #[must_use]
    pub fn holds(self, set: u8) -> bool {
        set == Self::ANY || self.0.checked_shr(set.into()).unwrap_or(0) & 1 == 1
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in one of both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Labels in one text, `key=value` after `key=value` in order: a cluster has dozens, and a fleet ten thousand clusters.
#[derive(Clone, Default, PartialEq, Eq)]
struct Labels {
    text: Box<str>,
    rows: Box<[Row]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// Where its text ends.
    end: u32,
    sets: Sets,
    partial: bool,
}

impl Labels {
    fn new(mut labels: Vec<NodeLabel>) -> Self {
        labels.sort_by(|one, other| (&one.key, &one.value).cmp(&(&other.key, &other.value)));
        let (mut text, mut rows) = (String::new(), Vec::with_capacity(labels.len()));
        for NodeLabel { key, value, sets, partial } in labels {
            for part in [&key, "=", &value] {
                text.push_str(part);
            }
            rows.push(Row { end: u32::try_from(text.len()).unwrap_or(u32::MAX), sets, partial });
        }
        Self { text: text.into_boxed_str(), rows: rows.into_boxed_slice() }
    }

    fn at(&self, row: usize) -> (&str, &str) {
        let end = |row: usize| usize::try_from(self.rows[row].end).unwrap_or(usize::MAX);
        let start = row.checked_sub(1).map_or(0, end);
        self.text.get(start..end(row)).and_then(|label| label.split_once('=')).unwrap_or_default()
    }

    /// The values of a key.
    fn of<'a>(&'a self, key: &'a str) -> impl Iterator<Item = (&'a str, Row)> {
        let (mut first, mut end) = (0, self.rows.len());
        while first < end {
            let middle = first + (end - first) / 2;
            if self.at(middle).0 < key { first = middle + 1 } else { end = middle }
        }
        let rows = (first..self.rows.len()).map(|row| (self.at(row), self.rows[row]));
        rows.take_while(move |((found, _), _)| *found == key).map(|((_, value), row)| (value, row))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.rows.len()).map(|row| (self.at(row), self.rows[row]))).finish()
    }
}

impl NodeSets {
    /// Of sets beyond [`MOST_SETS`] nothing is known.
    #[must_use]
    pub fn new(mut sets: Vec<NodeSet>, mut labels: Vec<NodeLabel>, mut untold: Vec<String>) -> Self {
        sets.truncate(MOST_SETS);
        // What cannot be a label is of no use, and its text ends up in messages.
        labels.retain(|NodeLabel { key, value, .. }| {
            let is_label =
                !key.contains('=') && ![key, value].iter().any(|text| text.contains(char::is_control));
            if !is_label {
                untold.push(key.clone());
            }
            is_label
        });
        let mut known = Self { sets, labels: Labels::new(labels), untold, ..Self::default() };
        known.open = known.tolerated(&[], false);
        known.open_to_gpus = known.tolerated(&[], true);
        known
    }

    /// The sets, each at its place.
    #[must_use]
    pub fn sets(&self) -> &[NodeSet] {
        &self.sets
    }

    /// Places and sets of a choice.
    pub fn among(&self, sets: Sets) -> impl Iterator<Item = (u8, &NodeSet)> {
        (0u8..).zip(&self.sets).filter(move |(place, _)| sets.holds(*place))
    }

    /// Every set that is known.
    #[must_use]
    pub fn all(&self) -> Sets {
        Sets((0..self.sets.len()).fold(0, |mask, place| mask | 1 << place))
    }

    /// The sets whose taints are all tolerated. Pods with GPUs tolerate that of GPU nodes, by hand or by admission.
    #[must_use]
    pub fn tolerated(&self, tolerations: &[NodeToleration], has_gpus: bool) -> Sets {
        if tolerations.is_empty() && !self.open_to_gpus.is_empty() {
            return if has_gpus { self.open_to_gpus } else { self.open };
        }
        let passes =
            |taint: &NodeTaint| (has_gpus && taint.key == GPU_TAINT) || taint.is_tolerated(tolerations);
        let open = (0..).zip(&self.sets).filter(|(_, set)| set.taints.iter().all(passes));
        Sets(open.fold(0, |mask, (place, _)| mask | 1 << place))
    }

    /// The sets that may have nodes which a demand selects.
    #[must_use]
    pub fn selected(&self, demand: &NodeDemand) -> Sets {
        let all = |requirements: &[Requirement]| {
            requirements.iter().fold(self.all(), |sets, requirement| sets.and(self.meeting(requirement)))
        };
        let by_affinity = match &demand.any_of {
            None => self.all(),
            Some(terms) => terms.iter().fold(Sets(0), |sets, term| sets.or(all(term))),
        };
        all(&demand.selector).and(by_affinity)
    }

    /// The sets that may have nodes which meet a requirement: all of them where nothing is known of its key.
    #[must_use]
    pub fn meeting(&self, requirement: &Requirement) -> Sets {
        let Requirement { key, operator, values } = requirement;
        if !self.is_known(key) {
            return self.all();
        }
        let union = |matches: &dyn Fn(&str, Row) -> bool| {
            let rows = self.labels.of(key).filter(|(value, row)| matches(value, *row));
            rows.fold(Sets(0), |sets, (_, row)| sets.or(row.sets))
        };
        let is_named = |value: &str| values.iter().any(|named| named == value);
        let compares = |value: &str, holds: fn(i64, i64) -> bool| {
            let number = values.first().and_then(|number| number.parse().ok());
            value.parse().ok().zip(number).is_some_and(|(value, number)| holds(value, number))
        };
        match operator {
            Operator::In => union(&|value, _| is_named(value)),
            Operator::Exists => union(&|_, _| true),
            // Where all nodes of a set have the label, none is without it.
            Operator::NotIn => self.all().without(union(&|value, row| !row.partial && is_named(value))),
            Operator::DoesNotExist => self.all().without(union(&|_, row| !row.partial)),
            Operator::Gt => union(&|value, _| compares(value, |value, number| value > number)),
            Operator::Lt => union(&|value, _| compares(value, |value, number| value < number)),
        }
    }

    /// Whether all values are known that nodes have of a label.
    #[must_use]
    pub fn is_known(&self, key: &str) -> bool {
        self.labels.of(key).next().is_some()
            || !self.untold.iter().any(|untold| key.starts_with(untold.as_str()))
    }

    /// The values that nodes have of a label.
    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.labels.of(key).map(|(value, _)| value)
    }

    /// Changes every taint.
    pub fn each_taint(&mut self, mut change: impl FnMut(&mut NodeTaint)) {
        self.sets.iter_mut().flat_map(|set| &mut set.taints).for_each(&mut change);
    }
}

impl Weight for NodeSets {
    fn weight(&self) -> usize {
        let taint = |taint: &NodeTaint| taint.key.weight() + taint.value.weight() + taint.effect.weight();
        let taints = self.sets.iter().flat_map(|set| &set.taints).map(taint);
        size_of::<Self>()
            + self.sets.len() * size_of::<NodeSet>()
            + taints.sum::<usize>()
            + self.labels.text.len()
            + size_of_val(&*self.labels.rows)
            + self.untold.weight()
            + self.unlabelled.names.weight()
    }
}

#[cfg(test)]
#[path = "node_sets/tests.rs"]
mod tests;
