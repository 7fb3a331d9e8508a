//! Faults put in on purpose, one per invariant, to show that each is caught.
//!
//! None is in the code that ships: each edits what goes into a machine or comes out of it, or breaks a rule that this
//! simulation's own surroundings keep.

use std::fmt;
use std::str::FromStr;

/// A fault put in on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// I1: a spoke obeys whatever epoch comes.
    ObeyAnyEpoch,
    /// I2: a delta comes a second time, after its successors.
    RepeatDelta,
    /// I3: controllers are not told that an object has left a cluster.
    HideGone,
    /// I4: nothing that was given away is remembered.
    ForgetGrants,
    /// I5: one piece of work at a time, and whoever fails goes on trying.
    HoldLane,
    /// I6: controllers are not told that a session has ended.
    HideDisconnect,
    /// I7: something on the way says "accepted" for a spoke that does not read.
    ForgeAcks,
    /// I8: a session is not told that another has its seat.
    KeepOldSession,
    /// I9: a spoke forgets at once what it has deleted lately.
    ForgetReleases,
}

impl Mutant {
    /// All of them, in the order of the invariants they break.
    pub const ALL: [Self; 9] = [
        Self::ObeyAnyEpoch,
        Self::RepeatDelta,
        Self::HideGone,
        Self::ForgetGrants,
        Self::HoldLane,
        Self::HideDisconnect,
        Self::ForgeAcks,
        Self::KeepOldSession,
        Self::ForgetReleases,
    ];

    /// The invariant it breaks.
    #[must_use]
    pub const fn breaks(self) -> &'static str {
        match self {
            Self::ObeyAnyEpoch => "I1",
            Self::RepeatDelta => "I2",
            Self::HideGone => "I3",
            Self::ForgetGrants => "I4",
            Self::HoldLane => "I5",
            Self::HideDisconnect => "I6",
            Self::ForgeAcks => "I7",
            Self::KeepOldSession => "I8",
            Self::ForgetReleases => "I9",
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ObeyAnyEpoch => "obey-any-epoch",
            Self::RepeatDelta => "repeat-delta",
            Self::HideGone => "hide-gone",
            Self::ForgetGrants => "forget-grants",
            Self::HoldLane => "hold-lane",
            Self::HideDisconnect => "hide-disconnect",
            Self::ForgeAcks => "forge-acks",
            Self::KeepOldSession => "keep-old-session",
            Self::ForgetReleases => "forget-releases",
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No mutant of that name.
#[derive(Debug, thiserror::Error)]
#[error("no mutant {0:?}; there are: {names}", names = Mutant::ALL.map(Mutant::name).join(", "))]
pub struct UnknownMutant(String);

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mutant| mutant.name() == name);
        found.ok_or_else(|| UnknownMutant(name.to_owned()))
    }
}
