//! What objects take in clusters for which overrides change them.

use std::collections::BTreeMap;

use super::{Request, Workload};
use crate::fleet::ClusterName;
use crate::need::Need;

/// What the objects of a request take where overrides change them. Clusters that are not here have them as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Variants {
    /// Of each version what every object takes, in the order of [`Request::workloads`]; or why it cannot be sent.
    each: Vec<Result<Vec<Need>, String>>,
    /// The version of each cluster.
    of: BTreeMap<ClusterName, usize>,
}

impl Variants {
    /// These clusters have one more version: what every object takes, in the order of [`Request::workloads`], or why nothing
    /// can be sent there.
    pub fn add(
        &mut self,
        version: Result<Vec<Need>, String>,
        clusters: impl IntoIterator<Item = ClusterName>,
    ) {
        let index = self.each.len();
        self.each.push(version);
        self.of.extend(clusters.into_iter().map(|cluster| (cluster, index)));
    }

    /// Whether overrides change nothing anywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// How many versions there are.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.each.len()
    }

    /// What the objects take in a cluster; none where overrides change nothing, or make what cannot be sent.
    #[must_use]
    pub fn needs(&self, cluster: &str) -> Option<&[Need]> {
        self.each.get(*self.of.get(cluster)?)?.as_deref().ok()
    }

    /// The clusters for which overrides change something, each with the place of its version.
    pub(super) fn clusters(&self) -> impl Iterator<Item = (&ClusterName, usize)> {
        self.of.iter().map(|(name, version)| (name, *version))
    }

    /// The clusters to which nothing can be sent.
    pub(super) fn faulty(&self) -> impl Iterator<Item = &ClusterName> {
        let is_faulty = |version: usize| self.each.get(version).is_some_and(Result::is_err);
        self.clusters().filter(move |(_, version)| is_faulty(*version)).map(|(name, _)| name)
    }

    /// What objects take in any version.
    pub(super) fn all(&self) -> impl Iterator<Item = &Need> {
        self.each.iter().flatten().flatten()
    }

    /// Why nothing can be sent to a cluster.
    #[must_use]
    pub fn fault(&self, cluster: &str) -> Option<&str> {
        self.each.get(*self.of.get(cluster)?)?.as_ref().err().map(String::as_str)
    }
}

/// The objects of a request with the placement's own demands on GPUs, as each cluster has them.
pub(super) struct Objects<'a> {
    plain: Vec<Workload>,
    /// In the order of the versions.
    each: Vec<Vec<Workload>>,
    of: &'a BTreeMap<ClusterName, usize>,
}

/// Objects by the cluster that they are in.
pub(super) trait InCluster {
    /// The objects, as that cluster has them.
    fn in_cluster(&self, cluster: &ClusterName) -> &[Workload];
}

impl InCluster for [Workload] {
    fn in_cluster(&self, _: &ClusterName) -> &[Workload] {
        self
    }
}

impl<'a> Objects<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let plain = request.narrowed();
        let version = |version: &Result<Vec<Need>, String>| match version {
            Ok(needs) => request.narrowed_as(needs),
            Err(_) => plain.clone(),
        };
        let each = request.variants.each.iter().map(version).collect();
        Self { plain, each, of: &request.variants.of }
    }

    /// As they are in each version.
    pub(super) fn versions(&self) -> impl Iterator<Item = &[Workload]> {
        self.each.iter().map(Vec::as_slice)
    }

    /// As they are where no override changes them. What overrides never change (replicas, whether they are divided) is the same
    /// everywhere.
    pub(super) fn plain(&self) -> &[Workload] {
        &self.plain
    }
}

impl InCluster for Objects<'_> {
    fn in_cluster(&self, cluster: &ClusterName) -> &[Workload] {
        if self.of.is_empty() {
            return &self.plain;
        }
        self.of.get(cluster).and_then(|index| self.each.get(*index)).unwrap_or(&self.plain)
    }
}

impl Request {
    /// The objects with what they take under the placement's own demands on GPUs, where no override changes them; a pipeline
    /// as its services.
    pub(super) fn narrowed(&self) -> Vec<Workload> {
        self.parts(self.workloads.iter().map(|workload| &workload.need))
    }

    fn narrowed_as(&self, needs: &[Need]) -> Vec<Workload> {
        self.parts(needs.iter())
    }

    /// What every object takes in a cluster, under the placement's own demands on GPUs; a pipeline as its services.
    #[must_use]
    pub fn workloads_in(&self, cluster: &ClusterName) -> Vec<Workload> {
        match self.variants.needs(cluster.as_str()) {
            Some(needs) => self.narrowed_as(needs),
            None => self.narrowed(),
        }
    }

    /// `needs` in the order of the objects. Services of pipelines come last: those may be other ones in another cluster, and
    /// what is divided has the same place everywhere.
    fn parts<'a>(&self, needs: impl Iterator<Item = &'a Need>) -> Vec<Workload> {
        let (mut whole, mut services) = (Vec::new(), Vec::new());
        for (workload, need) in self.workloads.iter().zip(needs) {
            let need = self.policy.narrow(need);
            let all = if need.services.is_empty() { &mut whole } else { &mut services };
            all.extend(
                need.parts().map(|part| Workload { object: workload.object.clone(), need: part.clone() }),
            );
        }
        whole.append(&mut services);
        whole
    }
}
