//! A decision in words: who was refused, counted by reason, and one sentence per cluster.

use std::collections::BTreeMap;

use super::{Decision, Reason, Refused};
use crate::fleet::ClusterName;

/// Most clusters that one summary names: as many as a controller asks to be told of.
pub const NAMED: usize = 10;

/// What is said of a cluster that could have been chosen as well.
pub const NOT_NEEDED: &str = "fits as well; as many clusters as are wanted were chosen";

/// Clusters that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalSummary {
    /// The reason.
    pub reason: Reason,
    /// How many clusters.
    pub count: u32,
    /// The first ten of them, by name.
    pub clusters: Vec<String>,
    /// What the first of them lack, with numbers: `east: needs …; west: needs …`.
    pub message: String,
}

/// One sentence about one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The cluster.
    pub cluster: String,
    /// Why it was chosen, left or refused.
    pub reason: Reason,
    /// The sentence.
    pub text: String,
}

impl Decision {
    /// Why clusters cannot run it, by reason: the commonest first. One that could and was not chosen is no refusal.
    #[must_use]
    pub fn refusals(&self) -> Vec<RefusalSummary> {
        let mut by_reason: BTreeMap<Reason, Vec<&Refused>> = BTreeMap::new();
        for refused in &self.refused {
            by_reason.entry(refused.reason).or_default().push(refused);
        }
        let mut summaries: Vec<_> = by_reason
            .into_iter()
            .map(|(reason, all)| summary(reason, &all, self.counts.get(&reason)))
            .collect();
        summaries.sort_by_key(|summary| std::cmp::Reverse(summary.count));
        summaries
    }

    /// One sentence per cluster, by name.
    #[must_use]
    pub fn sentences(&self) -> Vec<Sentence> {
        let say = |cluster: &str, reason: Reason, message: &str| Sentence {
            cluster: cluster.to_owned(),
            reason,
            text: format!("{cluster}: {reason}: {message}"),
        };
        let chosen = self.chosen.iter().map(|row| say(row.cluster.as_str(), row.reason, &row.message));
        let removed = self.removed.iter().map(|row| say(row.cluster.as_str(), row.reason, &row.message));
        let spare: Vec<_> = self.spare.iter().map(not_needed).collect();
        let refused =
            self.refused.iter().chain(&spare).map(|row| say(&row.cluster, row.reason, &row.message));
        let mut all: Vec<_> = chosen.chain(removed).chain(refused).collect();
        all.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        all
    }
}

/// A cluster that could have been chosen as well, told like a refusal: people ask "why not there" of these too.
fn not_needed(cluster: &ClusterName) -> Refused {
    Refused { cluster: cluster.to_string(), reason: Reason::NotNeeded, message: NOT_NEEDED.to_owned() }
}

/// `count`: of those that were refused, also those that are not told of.
fn summary(reason: Reason, all: &[&Refused], count: Option<&u32>) -> RefusalSummary {
    let messages: Vec<_> =
        all.iter().take(NAMED).map(|refused| format!("{}: {}", refused.cluster, refused.message)).collect();
    RefusalSummary {
        reason,
        count: count.copied().unwrap_or_else(|| u32::try_from(all.len()).unwrap_or(u32::MAX)),
        clusters: all.iter().take(NAMED).map(|refused| refused.cluster.clone()).collect(),
        message: messages.join("; "),
    }
}

/// `refused: 2 InsufficientGPUs (east: needs …), 1 NoGPU (north: …)`, each with the first that is told of; none if nothing was
/// refused.
pub(super) fn tally(counts: &BTreeMap<Reason, u32>, told: &[Refused]) -> Option<String> {
    let word = |(reason, count): (&Reason, &u32)| match told.iter().find(|row| row.reason == *reason) {
        Some(row) => format!("{count} {reason} ({}: {})", row.cluster, row.message),
        None => format!("{count} {reason}"),
    };
    let words: Vec<_> = counts.iter().map(word).collect();
    (!words.is_empty()).then(|| format!("refused: {}", words.join(", ")))
}
