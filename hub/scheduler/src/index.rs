//! What decisions ask of every cluster, answered before they ask: it follows the clusters that change.
//!
//! Each cluster has a place, in the order of names. A [`Question`] is a set of clusters, shared by all placements that ask the
//! same; a [`Class`] says of every cluster whether what some placements have in common would fit, and how well. Both are worked
//! out when they are first asked, and again for clusters that changed since. What depends on time is compared when it is asked.
//!
//! The index is no part of what the fleet is, only of how fast it answers: all of them are equal, and a copy is empty.

pub(crate) mod bits;
mod class;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use bits::Bits;
pub(crate) use class::{Class, ClassKey};

use crate::fleet::{Cluster, ClusterName, Fleet, Link, Role, Selector};
use crate::policy::{Evaluation, Expression, Toleration};
use crate::{Workload, filter};

/// Most sets that are kept: at ten thousand clusters a set takes 1.2 KiB.
const MOST_QUESTIONS: usize = 1024;
/// Most classes that are kept: at ten thousand clusters a class takes some 30 KiB.
const MOST_CLASSES: usize = 256;
/// Most keys by which clusters are spread.
const MOST_DOMAINS: usize = 64;
/// A log that is longer than this for each cluster is cut: what has not been asked for so long is worked out anew.
const LONGEST_LOG: usize = 2;
/// The same for a fleet of few clusters.
const SHORTEST_LOG: usize = 1024;

/// What is asked of every cluster, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Question {
    /// A selector matches its labels and properties.
    Matches(Selector),
    /// These tolerations cover its taints.
    Tolerates(Vec<Toleration>),
    /// Its agent knows a kind.
    Knows { api_version: String, kind: String },
    /// It admits a namespace.
    Admits(String),
    /// It has a label or a property of one value.
    Has(String),
    /// An expression is true of it.
    Holds(Expression),
}

/// A set with the place in the log up to which it is true.
#[derive(Debug)]
struct Answers {
    bits: Bits,
    /// Why an expression has no value for a cluster, by place.
    errors: HashMap<usize, String>,
    seen: u64,
    used: u64,
}

/// What one change concerned.
#[derive(Clone, Copy, Debug)]
struct Change {
    place: usize,
    /// Whether the cluster itself is another, and not only what is reserved in it.
    is_cluster: bool,
}

/// What is known of all clusters.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: Arc<[ClusterName]>,
    places: HashMap<ClusterName, usize>,
    /// The hub's own cluster.
    pub(crate) hubs: Bits,
    pub(crate) accepted: Bits,
    pub(crate) connected: Bits,
    /// Connected, and was silent before.
    pub(crate) returned: Bits,
    pub(crate) draining: Bits,
    pub(crate) reported: Bits,
    /// When the report came, nanoseconds since the epoch; of one without a report the greatest number.
    pub(crate) received: Vec<i64>,
    /// The oldest of them; none before the first.
    oldest: Option<i64>,
    questions: HashMap<Question, Answers>,
    classes: HashMap<ClassKey, Class>,
    /// By label or property.
    domains: HashMap<String, Domain>,
    log: Vec<Change>,
    /// Changes that are no longer in the log.
    cut: u64,
    /// Counts what is asked, to know what has not been asked for long.
    asked: u64,
    /// What had been asked when the present decision began: what it asks itself is not dropped.
    began: u64,
    /// Clusters that changed since it was looked at last: whether each itself is another, and not only what is reserved in it.
    changed: BTreeMap<ClusterName, bool>,
    /// Whether clusters came or went since then.
    is_joining: bool,
}

impl Clone for Index {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Index {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Index {}

/// A moment as a number that can be compared fast.
pub(crate) fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

impl Index {
    /// The names of all clusters, by place.
    pub(crate) fn names(&self) -> &Arc<[ClusterName]> {
        &self.names
    }

    /// The place of a cluster.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// No cluster.
    pub(crate) fn none(&self) -> Bits {
        Bits::none(self.names.len())
    }

    /// All clusters.
    pub(crate) fn all(&self) -> Bits {
        Bits::all(self.names.len())
    }

    /// The clusters with these names.
    pub(crate) fn named<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Bits {
        let mut bits = self.none();
        names.into_iter().filter_map(|name| self.place(name)).for_each(|place| bits.set(place, true));
        bits
    }

    /// Whether no report came before that moment.
    pub(crate) fn all_received_since(&self, at: i64) -> bool {
        self.oldest.is_none_or(|oldest| oldest >= at)
    }

    /// Something has changed in a cluster: the cluster itself, or what is reserved in it.
    pub(crate) fn change(&mut self, name: &ClusterName, is_cluster: bool) {
        match self.changed.get_mut(name) {
            Some(known) => *known |= is_cluster,
            None => drop(self.changed.insert(name.clone(), is_cluster)),
        }
    }

    /// A cluster came or went.
    pub(crate) const fn join(&mut self) {
        self.is_joining = true;
    }

    /// Takes in what has changed; the next decision begins.
    pub(crate) fn follow(&mut self, fleet: &Fleet) {
        self.began = self.asked;
        if self.is_joining || self.names.len() != fleet.count() {
            self.is_joining = false;
            self.reorder(fleet);
        }
        let changed = std::mem::take(&mut self.changed);
        self.update(fleet, &changed);
    }

    /// Takes in which clusters there are, where some came or went.
    fn reorder(&mut self, fleet: &Fleet) {
        let names: Arc<[ClusterName]> = fleet.clusters().map(|cluster| cluster.name.clone()).collect();
        let from: Vec<Option<usize>> = names.iter().map(|name| self.place(name.as_str())).collect();
        let mut to = vec![None; self.names.len()];
        for (place, before) in from.iter().enumerate().filter_map(|(place, before)| Some((place, (*before)?)))
        {
            to[before] = Some(place);
        }
        let move_bits = |bits: &mut Bits| *bits = bits.moved(&from);
        [
            &mut self.hubs,
            &mut self.accepted,
            &mut self.connected,
            &mut self.returned,
            &mut self.draining,
            &mut self.reported,
        ]
        .into_iter()
        .for_each(move_bits);
        let received = from.iter().map(|before| before.map_or(i64::MAX, |before| self.received[before]));
        self.received = received.collect();
        self.oldest = self.received.iter().copied().min();
        for answers in self.questions.values_mut() {
            answers.bits = answers.bits.moved(&from);
            if !answers.errors.is_empty() {
                let errors = std::mem::take(&mut answers.errors).into_iter();
                answers.errors = errors.filter_map(|(place, error)| Some((to[place]?, error))).collect();
            }
        }
        for class in self.classes.values_mut() {
            class.remap(&from);
        }
        for domain in self.domains.values_mut() {
            let number = |before: &Option<usize>| before.map_or(NOWHERE, |before| domain.numbers[before]);
            domain.numbers = from.iter().map(number).collect();
        }
        // A change of a cluster that is gone is taken for one of the first: it is looked at once more.
        for change in &mut self.log {
            change.place = to[change.place].unwrap_or(0);
        }
        if names.is_empty() {
            self.cut += self.log.len() as u64;
            self.log.clear();
        }
        self.places = names.iter().enumerate().map(|(place, name)| (name.clone(), place)).collect();
        self.names = names;
        let new: Vec<usize> = (0..from.len()).filter(|place| from[*place].is_none()).collect();
        for place in new {
            self.log.push(Change { place, is_cluster: true });
            if let Some(cluster) = fleet.cluster(self.names[place].clone().as_str()) {
                self.set(place, cluster);
            }
        }
    }

    fn update(&mut self, fleet: &Fleet, changed: &BTreeMap<ClusterName, bool>) {
        for (name, is_cluster) in changed {
            let (Some(place), Some(cluster)) = (self.place(name.as_str()), fleet.cluster(name.as_str()))
            else {
                continue;
            };
            self.log.push(Change { place, is_cluster: *is_cluster });
            if *is_cluster {
                self.set(place, cluster);
            }
        }
        let longest = (self.names.len() * LONGEST_LOG).max(SHORTEST_LOG);
        if self.log.len() > 2 * longest {
            let gone = self.log.len() - longest;
            self.log.drain(..gone);
            self.cut += gone as u64;
        }
    }

    fn set(&mut self, place: usize, cluster: &Cluster) {
        self.hubs.set(place, cluster.role == Role::Hub);
        self.accepted.set(place, cluster.accepted);
        self.connected.set(place, cluster.link == Link::Connected);
        self.returned.set(place, cluster.link == Link::Connected && cluster.comeback.is_some());
        self.draining.set(place, cluster.drain);
        self.reported.set(place, cluster.capacity.is_some());
        let before = self.received[place];
        self.received[place] =
            cluster.capacity.as_ref().map_or(i64::MAX, |capacity| nanoseconds(capacity.received_at));
        let now = self.received[place];
        if self.oldest.is_none_or(|oldest| now < oldest) {
            self.oldest = Some(now);
        } else if self.oldest == Some(before) && now != before {
            self.oldest = self.received.iter().copied().min();
        }
    }

    /// Forgets what was said of a namespace, which has other labels now.
    pub(crate) fn forget_namespace(&mut self, name: &str) {
        self.questions
            .retain(|question, _| !matches!(question, Question::Admits(namespace) if namespace == name));
    }

    /// Forgets whom classes suit where it matters that some cluster has a price now, or none has.
    pub(crate) fn forget_classes(&mut self) {
        self.classes.clear();
    }

    /// The end of the log.
    fn now(&self) -> u64 {
        self.cut + self.log.len() as u64
    }

    /// The places that changed since, each once; none if the log does not go back so far.
    fn since(&self, seen: u64, clusters_only: bool) -> Option<Vec<usize>> {
        let from = usize::try_from(seen.checked_sub(self.cut)?).ok()?;
        let changes = self.log.get(from..)?.iter().filter(|change| change.is_cluster || !clusters_only);
        let mut places: Vec<usize> = changes.map(|change| change.place).collect();
        places.sort_unstable();
        places.dedup();
        Some(places)
    }

    /// The clusters of which it is true.
    pub(crate) fn answer(&mut self, fleet: &Fleet, question: Question) -> &Bits {
        self.asked += 1;
        let (asked, now) = (self.asked, self.now());
        if self.questions.len() >= MOST_QUESTIONS && !self.questions.contains_key(&question) {
            let middle = median(self.questions.values().map(|answers| answers.used)).min(self.began);
            self.questions.retain(|_, answers| answers.used > middle);
        }
        let seen = self.questions.get(&question).map(|answers| answers.seen);
        let changed = seen.and_then(|seen| self.since(seen, true));
        let is_new = changed.is_none();
        let found: Vec<(usize, Result<bool, String>)> = {
            let mut evaluation = Asker::new(&question);
            let mut holds = |place: usize, cluster: &Cluster| (place, evaluation.holds(fleet, cluster));
            match changed {
                None => fleet.clusters().enumerate().map(|(place, cluster)| holds(place, cluster)).collect(),
                Some(places) => {
                    let cluster = |place: &usize| fleet.cluster(self.names[*place].as_str());
                    places.iter().filter_map(|place| Some(holds(*place, cluster(place)?))).collect()
                }
            }
        };
        let count = self.names.len();
        let answers = self.questions.entry(question).or_insert(Answers {
            bits: Bits::default(),
            errors: HashMap::new(),
            seen: now,
            used: asked,
        });
        if is_new {
            answers.bits = Bits::none(count);
            answers.errors.clear();
        }
        (answers.seen, answers.used) = (now, asked);
        for (place, holds) in found {
            answers.bits.set(place, holds == Ok(true));
            if let Err(error) = holds {
                answers.errors.insert(place, error);
            } else if !answers.errors.is_empty() {
                answers.errors.remove(&place);
            }
        }
        &answers.bits
    }

    /// Those that [`Self::answer`] found last.
    pub(crate) fn answered(&self, question: &Question) -> Option<&Bits> {
        self.questions.get(question).map(|answers| &answers.bits)
    }

    /// Why an expression that was asked last has no value for a cluster; none where it has one.
    pub(crate) fn error(&self, question: &Question, place: usize) -> Option<&str> {
        self.questions.get(question)?.errors.get(&place).map(String::as_str)
    }

    /// The numbers of the domains of all clusters under a label or property, as far as they are known by it.
    pub(crate) fn domain(&mut self, fleet: &Fleet, key: &str) -> &Domain {
        self.asked += 1;
        let (asked, now) = (self.asked, self.now());
        if self.domains.len() >= MOST_DOMAINS && !self.domains.contains_key(key) {
            let middle = median(self.domains.values().map(|domain| domain.used)).min(self.began);
            self.domains.retain(|_, domain| domain.used > middle);
        }
        let seen = self.domains.get(key).map(|domain| domain.seen);
        let changed = seen.and_then(|seen| self.since(seen, true));
        let (names, count) = (self.names.clone(), self.names.len());
        let domain = self.domains.entry(key.to_owned()).or_default();
        (domain.seen, domain.used) = (now, asked);
        match changed {
            None => {
                (domain.numbers, domain.values) = (vec![NOWHERE; count], HashMap::new());
                for (place, cluster) in fleet.clusters().enumerate() {
                    domain.set(place, cluster.property(key));
                }
            }
            Some(places) => {
                for place in places {
                    let cluster = fleet.cluster(names[place].as_str());
                    domain.set(place, cluster.and_then(|cluster| cluster.property(key)));
                }
            }
        }
        domain
    }

    /// Has a class be true of all clusters; its workloads stand for all that it means.
    pub(crate) fn prepare(&mut self, fleet: &Fleet, key: &ClassKey, workloads: &[Workload]) {
        self.asked += 1;
        let (asked, now) = (self.asked, self.now());
        if self.classes.len() >= MOST_CLASSES && !self.classes.contains_key(key) {
            let middle = median(self.classes.values().map(Class::used)).min(self.began);
            self.classes.retain(|_, class| class.used() > middle);
        }
        let seen = self.classes.get(key).map(Class::seen);
        let changed = seen.and_then(|seen| self.since(seen, false));
        if changed.is_none() {
            self.classes.insert(key.clone(), Class::new(key, workloads, self.names.len()));
        }
        let Some(class) = self.classes.get_mut(key) else { return };
        class.mark(now, asked);
        match changed {
            None => {
                for (place, cluster) in fleet.clusters().enumerate() {
                    class.ask(fleet, place, cluster);
                }
            }
            Some(places) => {
                for place in places {
                    if let Some(cluster) = fleet.cluster(self.names[place].as_str()) {
                        class.ask(fleet, place, cluster);
                    }
                }
            }
        }
    }

    /// A class that has been prepared.
    pub(crate) fn known_class(&self, key: &ClassKey) -> Option<&Class> {
        self.classes.get(key)
    }
}

fn median(used: impl Iterator<Item = u64>) -> u64 {
    let mut used: Vec<u64> = used.collect();
    let middle = used.len() / 2;
    if used.is_empty() { 0 } else { *used.select_nth_unstable(middle).1 }
}

/// The number of a cluster that has no value of a key.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// Clusters by the value of a label or property.
#[derive(Debug, Default)]
pub(crate) struct Domain {
    /// The number of each cluster's value, by place; [`NOWHERE`] without one.
    pub(crate) numbers: Vec<u32>,
    values: HashMap<String, u32>,
    seen: u64,
    used: u64,
}

impl Domain {
    fn set(&mut self, place: usize, value: Option<&str>) {
        let next = u32::try_from(self.values.len()).unwrap_or(NOWHERE);
        self.numbers[place] = match value {
            None => NOWHERE,
            Some(value) => match self.values.get(value) {
                Some(number) => *number,
                None => *self.values.entry(value.to_owned()).or_insert(next),
            },
        };
    }

    /// How many values there are or have been.
    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }
}

/// One question, asked of several clusters.
enum Asker<'q> {
    Plain(&'q Question),
    Expression(Evaluation<'q>),
}

impl<'q> Asker<'q> {
    fn new(question: &'q Question) -> Self {
        match question {
            Question::Holds(expression) => Self::Expression(Evaluation::new(expression)),
            _ => Self::Plain(question),
        }
    }

    /// Whether it holds, or why it has no value.
    fn holds(&mut self, fleet: &Fleet, cluster: &Cluster) -> Result<bool, String> {
        Ok(match self {
            Self::Expression(evaluation) => return evaluation.of(cluster),
            Self::Plain(Question::Holds(expression)) => return expression.holds(cluster),
            Self::Plain(Question::Matches(selector)) => selector.matches(cluster),
            Self::Plain(Question::Tolerates(tolerations)) => filter::tolerates(tolerations, cluster),
            Self::Plain(Question::Knows { api_version, kind }) => filter::knows(cluster, api_version, kind),
            Self::Plain(Question::Has(key)) => cluster.property(key).is_some(),
            Self::Plain(Question::Admits(namespace)) => {
                cluster.allowed_namespaces.admit(fleet.labels_of_namespace(namespace))
            }
        })
    }
}
