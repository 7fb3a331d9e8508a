//! Where the assignments of one placement are stored: in NIMPlacementDecisions of at most 100 clusters, called slices.
//!
//! All that a placement has in one cluster is in one slice, the home of the cluster. So whatever becomes of a cluster is one
//! write, and a process that ends between two writes leaves each cluster as it was before or as it was decided, never without
//! its assignment. A cluster keeps its home for as long as it has an assignment; other clusters that come and go do not change
//! it. What cannot grow in its home, since the slice is full, moves first and grows then:
//!
//! ```text
//! copied as it is to a slice of a higher number  ──►  taken out of the old slice  ──►  changed in its new home
//! ```
//!
//! So of a cluster that two slices have, both say the same. Slices of earlier versions may say different things of one cluster:
//! they are taken together, and brought to one home in the same steps.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crds::fleet::{DecidedCluster, Decision, DecisionState, PlacedObject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::assignments::{Assignments, PlacedAssignment, RemovingAssignment};

/// Most clusters of one slice; the schema says the same of one decision.
pub(super) const CLUSTERS: usize = 100;
/// Most decisions of one slice, as the schema says.
const DECISIONS: usize = 100;
/// Most objects of one slice, each of some hundred bytes: etcd takes 1.5 MiB. The schema says the same of one decision. A single
/// cluster may have more.
const OBJECTS: usize = 2000;

/// Highest number of a slice: a hundred million clusters have room below it.
const HIGHEST: u32 = 999_999;

/// The slices of one placement, as far as they are known, and the calls to the API server that are under way for them.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    known: BTreeMap<u32, Slice>,
    /// Homes that were chosen and are not stored yet, by cluster.
    chosen: BTreeMap<String, u32>,
}

/// One slice.
#[derive(Clone, Debug, Default)]
struct Slice {
    /// `metadata.resourceVersion` of [`Self::stored`]; none where there is no such object.
    version: Option<String>,
    stored: Vec<Decision>,
    call: Call,
}

/// What is under way for a slice.
#[derive(Clone, Debug, Default, PartialEq)]
enum Call {
    /// Nothing.
    #[default]
    None,
    /// It is being written.
    Put(Vec<Decision>),
    /// It is being deleted.
    Delete,
    /// It is being read.
    Read,
    /// Nothing, and what is stored is not known: it has to be read.
    ToRead,
}

/// A call to the API server that brings a slice closer to what was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum SliceCall {
    /// Store this content. `version` is the resourceVersion that the write is based on; none: the slice must not be there.
    Put {
        /// Number of the slice.
        index: u32,
        /// What the write is based on.
        version: Option<String>,
        /// The content.
        decisions: Vec<Decision>,
    },
    /// Delete the slice, if it still has this resourceVersion.
    Delete {
        /// Number of the slice.
        index: u32,
        /// What the deletion is based on.
        version: String,
    },
    /// Read the slice: somebody else changed it, or the answer to a write was lost.
    Read {
        /// Number of the slice.
        index: u32,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub enum SliceOutcome {
    /// It was written, and has this resourceVersion now.
    Stored(String),
    /// It was deleted, or was not there.
    Deleted,
    /// It was read: resourceVersion and content, or none if it is not there.
    Read(Option<(String, Vec<Decision>)>),
    /// The write was refused since the slice has another resourceVersion than it was based on.
    Conflict,
    /// Nothing was changed.
    Failed,
    /// The answer was lost: the call may have been carried out.
    Unknown,
}

impl SliceCall {
    /// The slice that the call is about.
    #[must_use]
    pub const fn index(&self) -> u32 {
        match self {
            Self::Put { index, .. } | Self::Delete { index, .. } | Self::Read { index } => *index,
        }
    }
}

impl Slices {
    /// The name of a slice of that placement.
    #[must_use]
    pub fn name(placement: &str, index: u32) -> String {
        format!("{placement}-{index}")
    }

    /// The number of the slice of that name; none if a slice of the placement is not called so.
    #[must_use]
    pub fn index(placement: &str, name: &str) -> Option<u32> {
        let index = name.strip_prefix(placement)?.strip_prefix('-')?;
        index.parse().ok().filter(|number: &u32| *number <= HIGHEST && number.to_string() == index)
    }

    /// A slice was found like this at the start of the process.
    pub fn restore(&mut self, index: u32, version: String, decisions: &[Decision]) {
        let (version, stored) = (Some(version), normal(decisions));
        self.known.insert(index, Slice { version, stored, call: Call::None });
    }

    /// A watch shows a slice: resourceVersion and content, or none if it is gone. Says whether it differs from what the hub has
    /// stored: then it has to be read and put right, since the hub alone decides. So has a slice that the hub does not know: somebody
    /// else made it, or a write whose answer was lost came late.
    pub fn is_changed_by_others(&mut self, index: u32, shown: Option<(&str, &[Decision])>) -> bool {
        let Some(slice) = self.known.get_mut(&index) else {
            if shown.is_some() {
                self.known.insert(index, Slice { call: Call::ToRead, ..Slice::default() });
            }
            return shown.is_some();
        };
        // A slice with a call under way is compared when the call has ended.
        let is_same = slice.call != Call::None
            || match (shown, slice.version.as_deref()) {
                (Some((version, decisions)), Some(known)) => {
                    version == known || is_older(version, known) || slice.stored == normal(decisions)
                }
                (shown, known) => shown.is_none() && known.is_none(),
            };
        if !is_same {
            slice.call = Call::ToRead;
        }
        !is_same
    }

    /// What is stored, by cluster.
    #[must_use]
    pub fn assignments(&self) -> Assignments {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut twice: BTreeSet<&str> = BTreeSet::new();
        for (index, cluster) in self.stored_clusters() {
            if *seen.entry(cluster).or_insert(index) != index {
                twice.insert(cluster);
            }
        }
        let mut assignments = Assignments::default();
        for decision in self.known.values().flat_map(|slice| &slice.stored) {
            assignments.add(decision, |cluster| !twice.contains(cluster));
        }
        let Assignments { placed, removing } = self.stored_of(&twice);
        assignments.placed.extend(placed);
        assignments.removing.extend(removing);
        assignments
    }

    /// Whether no call is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.known.values().all(|slice| slice.call == Call::None)
    }

    fn stored_clusters(&self) -> impl Iterator<Item = (u32, &str)> {
        self.known.iter().flat_map(|(index, slice)| {
            let clusters = slice.stored.iter().flat_map(|decision| &decision.clusters);
            clusters.map(|cluster| (*index, cluster.name.as_str()))
        })
    }

    /// All that is stored of these clusters, in whichever slices. Of an object that two slices name for one of them, the one of the
    /// higher number counts.
    fn stored_of(&self, clusters: &BTreeSet<&str>) -> Assignments {
        let mut all = Assignments::default();
        // Clusters and objects of slices of higher numbers.
        let mut known: HashMap<&str, HashSet<&str>> = HashMap::new();
        for slice in self.known.values().rev() {
            for decision in &slice.stored {
                let asked =
                    decision.clusters.iter().filter(|cluster| clusters.contains(cluster.name.as_str()));
                let is_known = |cluster: &DecidedCluster| {
                    let objects = known.get(cluster.name.as_str());
                    objects.is_some_and(|objects| {
                        decision.objects.iter().any(|object| objects.contains(object.uid.as_str()))
                    })
                };
                let (repeated, new): (Vec<_>, Vec<_>) = asked.partition(|cluster| is_known(cluster));
                let new: HashSet<&str> = new.into_iter().map(|cluster| cluster.name.as_str()).collect();
                if !new.is_empty() {
                    all.add(decision, |name| new.contains(name));
                }
                for cluster in repeated {
                    let objects = &known[cluster.name.as_str()];
                    let rest =
                        decision.objects.iter().filter(|object| !objects.contains(object.uid.as_str()));
                    let rest = Decision {
                        clusters: vec![cluster.clone()],
                        state: decision.state,
                        reason: decision.reason.clone(),
                        objects: rest.cloned().collect(),
                    };
                    if !rest.objects.is_empty() {
                        all.add(&rest, |_| true);
                    }
                }
            }
            for decision in &slice.stored {
                for cluster in
                    decision.clusters.iter().filter(|cluster| clusters.contains(cluster.name.as_str()))
                {
                    let objects = decision.objects.iter().map(|object| object.uid.as_str());
                    known.entry(&cluster.name).or_default().extend(objects);
                }
            }
        }
        all
    }

    /// The calls that can be made now, in any order and at once, to store what was decided. Each has to be answered with
    /// [`Self::ended`]; then there may be more.
    pub fn next(&mut self, decided: &Assignments) -> Vec<SliceCall> {
        let contents = self.contents(decided);
        let mut calls = Vec::new();
        for (index, decisions) in contents {
            let slice = self.known.entry(index).or_default();
            match slice.call {
                Call::Put(_) | Call::Delete | Call::Read => {}
                Call::ToRead => {
                    slice.call = Call::Read;
                    calls.push(SliceCall::Read { index });
                }
                Call::None
                    if slice.stored == decisions && (!decisions.is_empty() || slice.version.is_none()) => {}
                Call::None => match (decisions.is_empty(), slice.version.clone()) {
                    (true, Some(version)) => {
                        slice.call = Call::Delete;
                        calls.push(SliceCall::Delete { index, version });
                    }
                    (_, version) => {
                        slice.call = Call::Put(decisions.clone());
                        calls.push(SliceCall::Put { index, version, decisions });
                    }
                },
            }
        }
        self.known.retain(|_, slice| slice.version.is_some() || slice.call != Call::None);
        calls
    }

    /// A call has ended.
    pub fn ended(&mut self, index: u32, outcome: SliceOutcome) {
        let Some(slice) = self.known.get_mut(&index) else { return };
        let call = std::mem::take(&mut slice.call);
        match (outcome, call) {
            (SliceOutcome::Stored(version), Call::Put(decisions)) => {
                (slice.version, slice.stored) = (Some(version), decisions);
            }
            (SliceOutcome::Deleted, Call::Delete) | (SliceOutcome::Read(None), _) => {
                (slice.version, slice.stored) = (None, Vec::new());
            }
            (SliceOutcome::Read(Some((version, decisions))), _) => {
                (slice.version, slice.stored) = (Some(version), normal(&decisions));
            }
            (SliceOutcome::Failed, Call::Put(_) | Call::Delete | Call::None) => {}
            _ => slice.call = Call::ToRead,
        }
    }

    /// Nobody waits for the calls that are under way any more: their answers are lost.
    pub fn interrupted(&mut self) {
        for slice in self.known.values_mut().filter(|slice| slice.call != Call::None) {
            slice.call = Call::ToRead;
        }
    }

    /// What each slice shall hold after the next call about it.
    fn contents(&mut self, decided: &Assignments) -> BTreeMap<u32, Vec<Decision>> {
        let mut chosen = std::mem::take(&mut self.chosen);
        let mut stored_in: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        for (index, cluster) in self.stored_clusters() {
            stored_in.entry(cluster).or_default().insert(index);
        }
        let clusters: BTreeSet<&str> =
            decided.placed.keys().chain(decided.removing.keys()).map(String::as_str).collect();
        let stored = LazyCell::new(|| self.assignments());
        let homes =
            homes(&stored_in, &|cluster| Entry::of(&stored, cluster), &mut chosen, &clusters, decided);
        // Clusters that are brought to one home: as they are stored, until no other slice has them.
        let mut moving: BTreeMap<&str, u32> = BTreeMap::new();
        for (cluster, indices) in &stored_in {
            let Some(home) = homes.get(cluster).or(indices.last()) else { continue };
            if indices.len() > 1 || !indices.contains(home) {
                moving.insert(cluster, *home);
            }
        }
        let mut there: BTreeMap<u32, Assignments> = BTreeMap::new();
        for home in moving.values().collect::<BTreeSet<_>>() {
            let there = there.entry(*home).or_default();
            // What was read last of a slice that has to be read again may be there no more.
            let known = self.known.get(home).filter(|slice| slice.call == Call::None);
            for decision in known.iter().flat_map(|slice| &slice.stored) {
                there.add(decision, |name| moving.get(name) == Some(home));
            }
        }
        let mut frozen: BTreeSet<u32> = BTreeSet::new();
        for (cluster, home) in &moving {
            if Entry::of(&there[home], cluster) != Entry::of(&stored, cluster) {
                frozen.extend(stored_in[cluster].iter().filter(|index| *index != home));
            }
        }
        let mut entries: BTreeMap<u32, Vec<(&str, Entry<'_>)>> =
            self.known.keys().map(|index| (*index, Vec::new())).collect();
        for (cluster, home) in homes.iter().filter(|(cluster, _)| !moving.contains_key(*cluster)) {
            entries.entry(*home).or_default().push((cluster, Entry::of(decided, cluster)));
        }
        for (cluster, home) in &moving {
            entries.entry(*home).or_default().push((cluster, Entry::of(&stored, cluster)));
        }
        let content = |(index, entries): (u32, Vec<(&str, Entry<'_>)>)| {
            // A slice that clusters are yet to be copied from stays as it is until they are.
            let known = self.known.get(&index).filter(|_| frozen.contains(&index));
            (index, known.map_or_else(|| decisions(entries.into_iter()), |slice| slice.stored.clone()))
        };
        let contents = entries.into_iter().map(content).collect();
        self.chosen = chosen;
        contents
    }
}

/// All that a placement has in one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Entry<'a> {
    placed: Option<&'a PlacedAssignment>,
    removing: Option<&'a RemovingAssignment>,
}

/// What makes clusters alike, so that one decision tells of all of them: state, reason and objects.
type Alike<'a> = (DecisionState, &'a str, &'a [PlacedObject]);

impl<'a> Entry<'a> {
    fn of(assignments: &'a Assignments, cluster: &str) -> Self {
        Self { placed: assignments.placed.get(cluster), removing: assignments.removing.get(cluster) }
    }

    fn alike(self) -> impl Iterator<Item = Alike<'a>> {
        let placed = self.placed.map(|row| {
            let state = if row.replaced { DecisionState::Replaced } else { DecisionState::Placed };
            (state, row.reason.as_str(), row.objects.as_slice())
        });
        let removing =
            self.removing.map(|row| (DecisionState::Removing, row.reason.as_str(), row.objects.as_slice()));
        placed.into_iter().chain(removing)
    }
}

/// How full a slice is.
#[derive(Default)]
struct Fill<'a> {
    clusters: usize,
    alike: BTreeSet<Alike<'a>>,
    decisions: usize,
    objects: usize,
}

impl<'a> Fill<'a> {
    /// Whether there may be room for a cluster that is like none before it.
    fn is_open(&self) -> bool {
        self.clusters < CLUSTERS && self.decisions < DECISIONS && self.objects < OBJECTS
    }

    /// Adds a cluster, if there is room for it: there is in an empty slice. A cluster that is copied here has room for what is stored
    /// of it as well.
    fn add(&mut self, entries: [Entry<'a>; 2]) -> bool {
        let alike: BTreeSet<Alike<'a>> = entries.into_iter().flat_map(Entry::alike).collect();
        let new: Vec<Alike<'a>> = alike.into_iter().filter(|alike| !self.alike.contains(alike)).collect();
        let decisions = new.iter().map(|alike| alike.2.len().div_ceil(OBJECTS).max(1)).sum::<usize>();
        let objects = new.iter().map(|alike| alike.2.len()).sum::<usize>();
        let fits = self.clusters < CLUSTERS
            && (new.is_empty()
                || self.decisions + decisions <= DECISIONS && self.objects + objects <= OBJECTS
                || self.clusters == 0);
        if fits {
            self.clusters += 1;
            self.decisions += decisions;
            self.objects += objects;
            self.alike.extend(new);
        }
        fits
    }
}

/// The slice of each cluster that has an assignment: where it is stored; elsewhere if it does not fit there any more; and where
/// there is room if it is new. What is chosen is kept in `chosen` until it is stored.
fn homes<'a>(
    stored_in: &BTreeMap<&str, BTreeSet<u32>>,
    stored: &dyn Fn(&str) -> Entry<'a>,
    chosen: &mut BTreeMap<String, u32>,
    clusters: &BTreeSet<&'a str>,
    decided: &'a Assignments,
) -> BTreeMap<&'a str, u32> {
    let highest = |cluster: &str| stored_in.get(cluster).and_then(|indices| indices.last().copied());
    chosen.retain(|cluster, home| {
        clusters.contains(cluster.as_str()) && highest(cluster).is_none_or(|stored| stored < *home)
    });
    let mut fills: BTreeMap<u32, Fill<'a>> = BTreeMap::new();
    let mut homes = BTreeMap::new();
    let mut without = Vec::new();
    // What of a cluster may be in its home at a time: what is decided, and before that what is stored elsewhere.
    let entries = |cluster: &str, home: u32| {
        let is_alone = stored_in.get(cluster).is_none_or(|indices| indices.iter().eq([&home]));
        [Entry::of(decided, cluster), if is_alone { Entry::default() } else { stored(cluster) }]
    };
    // A cluster that leaves, and is in two slices, is taken together in one before it goes.
    for (cluster, indices) in stored_in {
        if let (false, [_, .., last]) = (clusters.contains(cluster), &indices.iter().collect::<Vec<_>>()[..])
        {
            fills.entry(**last).or_default().add(entries(cluster, **last));
        }
    }
    for cluster in clusters {
        match chosen.get(*cluster).copied().or_else(|| highest(cluster)) {
            Some(home) if fills.entry(home).or_default().add(entries(cluster, home)) => {
                homes.insert(*cluster, home);
            }
            former => without.push((*cluster, former)),
        }
    }
    let last_stored = stored_in.values().filter_map(|indices| indices.last()).max().copied();
    let last = fills.keys().last().copied().max(last_stored);
    let mut end = last.map_or(0, |last| last + 1);
    let mut open: BTreeSet<u32> =
        (0..end).filter(|index| fills.get(index).is_none_or(Fill::is_open)).collect();
    for (cluster, former) in without {
        // A copy has to be in a slice of a higher number than the one that it is a copy of.
        let stored = highest(cluster);
        let found = open.iter().copied().find(|index| {
            stored.is_none_or(|stored| *index > stored)
                && Some(*index) != former
                && fills.entry(*index).or_default().add(entries(cluster, *index))
        });
        let home = found.unwrap_or_else(|| {
            fills.entry(end).or_default().add(entries(cluster, end));
            open.insert(end);
            end += 1;
            end - 1
        });
        if fills.get(&home).is_some_and(|fill| !fill.is_open()) {
            open.remove(&home);
        }
        chosen.insert(cluster.to_owned(), home);
        homes.insert(cluster, home);
    }
    homes
}

/// One decision for all clusters that are alike, in pieces that the schema allows. Clusters come in the order of their names,
/// decisions in the order of state, reason and objects, so that the same assignments are the same content.
fn decisions<'a>(entries: impl Iterator<Item = (&'a str, Entry<'a>)>) -> Vec<Decision> {
    let mut alike: BTreeMap<Alike<'a>, BTreeMap<&'a str, DecidedCluster>> = BTreeMap::new();
    for (name, entry) in entries {
        let since = |at| Time(at);
        let placed = entry.placed.map(|row| (Some(row.score), since(row.since)));
        let removing = entry.removing.map(|row| (None, since(row.since)));
        for (key, (score, since)) in entry.alike().zip(placed.into_iter().chain(removing)) {
            alike
                .entry(key)
                .or_default()
                .insert(name, DecidedCluster { name: name.to_owned(), score, since });
        }
    }
    let mut decisions = Vec::new();
    for ((state, reason, objects), clusters) in alike {
        let clusters: Vec<DecidedCluster> = clusters.into_values().collect();
        let pieces: Vec<&[PlacedObject]> =
            if objects.is_empty() { vec![objects] } else { objects.chunks(OBJECTS).collect() };
        decisions.extend(pieces.into_iter().map(|objects| Decision {
            clusters: clusters.clone(),
            state,
            reason: Some(reason.to_owned()),
            objects: objects.to_vec(),
        }));
    }
    decisions
}

/// The same content in the order in which the hub writes it: another version of the hub may have written it otherwise.
fn normal(stored: &[Decision]) -> Vec<Decision> {
    let mut assignments = Assignments::default();
    for decision in stored {
        assignments.add(decision, |_| true);
    }
    let clusters: BTreeSet<&String> = assignments.placed.keys().chain(assignments.removing.keys()).collect();
    decisions(clusters.into_iter().map(|cluster| (cluster.as_str(), Entry::of(&assignments, cluster))))
}

/// Whether a resourceVersion is of an earlier write than another one. API servers on etcd give revisions, which are numbers; of
/// others nothing is known.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

#[cfg(test)]
mod tests;
