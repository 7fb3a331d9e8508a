//! What was made in a namespace for delivered objects, and may be named by others of them.

use std::collections::BTreeSet;

/// Names in one namespace that need no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Made {
    /// Claims.
    pub(super) claims: BTreeSet<String>,
    /// ConfigMaps.
    pub(super) config_maps: BTreeSet<String>,
}

/// Something that an object names, and whose maker decides whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Named {
    /// A claim.
    Claim(String),
    /// A ConfigMap.
    ConfigMap(String),
}

impl Made {
    /// Adds what was made for a delivered object.
    pub(in super::super) fn add(&mut self, named: Named) {
        match named {
            Named::Claim(name) => self.claims.insert(name),
            Named::ConfigMap(name) => self.config_maps.insert(name),
        };
    }
}
