//! When a placement leaves a cluster.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when a chosen cluster is lost, or cannot run what was placed there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Whether a lost cluster is replaced. Default `Keep`.
    #[serde(default)]
    pub on_unreachable: OnUnreachable,
    /// How long a cluster is unreachable before it counts as lost, from the end of its session: hours, minutes and
    /// seconds, for example `90s` or `1h30m`. Default `5m`.
    #[serde(default = "five_minutes")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"), length(min = 2, max = 21))]
    pub lost_after: String,
    /// How long replicas find no node in their cluster, or pods are refused there by a quota or another admission, before
    /// these replicas go elsewhere, if another cluster can take them; a service goes with its cache when that cannot be
    /// filled for such a reason, and a placement whose object a cluster refuses goes as well. What runs there stays. `0s`:
    /// they wait for ever. Default `2m`.
    #[serde(default = "two_minutes")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"), length(min = 2, max = 21))]
    pub unschedulable_after: String,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn two_minutes() -> String {
    "2m".to_owned()
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            on_unreachable: OnUnreachable::default(),
            lost_after: five_minutes(),
            unschedulable_after: two_minutes(),
        }
    }
}

/// A duration that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value:?}: write hours, minutes and seconds, for example 90s or 1h30m")]
pub struct InvalidDuration {
    /// The field that holds it.
    pub field: &'static str,
    /// What it says.
    pub value: String,
}

impl Failover {
    /// `lostAfter` as a duration.
    ///
    /// # Errors
    /// When it is not a duration; an API server with our schema stores none such.
    pub fn lost_after(&self) -> Result<Duration, InvalidDuration> {
        duration("spec.failover.lostAfter", &self.lost_after)
    }

    /// `unschedulableAfter` as a duration.
    ///
    /// # Errors
    /// When it is not a duration; an API server with our schema stores none such.
    pub fn unschedulable_after(&self) -> Result<Duration, InvalidDuration> {
        duration("spec.failover.unschedulableAfter", &self.unschedulable_after)
    }
}

fn duration(field: &'static str, value: &str) -> Result<Duration, InvalidDuration> {
    let parsed = value.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
    parsed.ok_or_else(|| InvalidDuration { field, value: value.to_owned() })
}

/// What happens to the replicas of an unreachable cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUnreachable {
    /// They are waited for: they most likely still run.
    #[default]
    Keep,
    /// Once the cluster counts as lost, another one takes its place, if one can.
    Replace,
}
