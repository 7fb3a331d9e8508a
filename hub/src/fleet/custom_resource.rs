//! GPUCluster, the custom resource, to and from the model.

use std::collections::BTreeMap;

use super::Taint;

/// What a cluster's admin says of it: labels and spec of the GPUCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Labels of the GPUCluster.
    pub labels: BTreeMap<String, String>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.accepted`.
    pub accepted: bool,
}
