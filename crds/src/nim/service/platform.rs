//! What renders a NIMService.

use std::str::FromStr;

/// What renders a NIMService.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InferencePlatform {
    /// A Deployment, or a LeaderWorkerSet over nodes.
    #[default]
    Standalone,
    /// A KServe InferenceService.
    KServe,
}

/// A platform that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.inferencePlatform is {0:?}: this version knows standalone and kserve")]
pub struct UnknownPlatform(pub String);

impl FromStr for InferencePlatform {
    type Err = UnknownPlatform;

    fn from_str(word: &str) -> Result<Self, UnknownPlatform> {
        match word {
            "" | "standalone" => Ok(Self::Standalone),
            "kserve" => Ok(Self::KServe),
            other => Err(UnknownPlatform(other.to_owned())),
        }
    }
}
