//! What selectors read of a cluster: its labels, and under well-known keys what its spoke observes.

use std::collections::BTreeMap;

use super::{Capacity, Cluster};

/// Region; empty values are none.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Scheme of the nodes' provider ID.
pub const PROVIDER: &str = "nimfleet.io/provider";
/// E.g. `v1.34.2`.
pub const KUBERNETES_VERSION: &str = "nimfleet.io/kubernetes-version";
/// E.g. `1.34`.
pub const KUBERNETES_MINOR: &str = "nimfleet.io/kubernetes-minor";
/// Version of the spoke.
pub const AGENT_VERSION: &str = "nimfleet.io/agent-version";
/// The cluster's name.
pub const CLUSTER: &str = "nimfleet.io/cluster";
/// Every GPU product that is there.
pub const GPU_PRODUCT: &str = "nimfleet.io/gpu-product";
/// Every platform that was found.
pub const PLATFORM: &str = "nimfleet.io/platform";

/// Keys that have one value at most.
pub const SINGLE: [&str; 7] =
    [REGION, ZONE, PROVIDER, KUBERNETES_VERSION, KUBERNETES_MINOR, AGENT_VERSION, CLUSTER];
/// Keys that have any number of values.
pub const MANY: [&str; 2] = [GPU_PRODUCT, PLATFORM];

/// What a selector can be asked about.
pub trait Labelled {
    /// Whether `is` holds for a value of that key; none if the key has no value.
    fn any(&self, key: &str, is: &mut dyn FnMut(&str) -> bool) -> Option<bool>;
}

impl Labelled for BTreeMap<String, String> {
    fn any(&self, key: &str, is: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        self.get(key).map(|value| is(value))
    }
}

impl Labelled for Cluster {
    fn any(&self, key: &str, is: &mut dyn FnMut(&str) -> bool) -> Option<bool> {
        if let Some(value) = self.property(key) {
            return Some(is(value));
        }
        let mut values = self.properties(key).peekable();
        values.peek()?;
        Some(values.any(is))
    }
}

impl Cluster {
    /// The one value of a label, or of a property that has one; a label wins.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        if let Some(value) = self.labels.get(key) {
            return Some(value);
        }
        let observed = |part: fn(&Capacity) -> &str| self.capacity.as_ref().map(part);
        let value = match key {
            REGION => observed(|capacity| &capacity.region),
            ZONE => observed(|capacity| &capacity.zone),
            PROVIDER => observed(|capacity| &capacity.provider),
            KUBERNETES_VERSION => observed(|capacity| &capacity.kubernetes_version),
            KUBERNETES_MINOR => observed(|capacity| minor(&capacity.kubernetes_version)),
            AGENT_VERSION => self.agent.as_ref().map(|agent| agent.version.as_str()),
            CLUSTER => Some(self.name.as_str()),
            _ => None,
        };
        value.filter(|value| !value.is_empty())
    }

    /// All values of a property that can have several.
    pub fn properties(&self, key: &str) -> impl Iterator<Item = &str> {
        let (is_product, is_platform) = (key == GPU_PRODUCT, key == PLATFORM);
        let capacity = self.capacity.as_ref();
        let products = capacity.filter(|_| is_product).into_iter().flat_map(products);
        let platforms = capacity.filter(|_| is_platform).into_iter().flat_map(|capacity| &capacity.platforms);
        products.chain(platforms.map(|platform| platform.name.as_str()))
    }
}

fn products(capacity: &Capacity) -> impl Iterator<Item = &str> {
    capacity.pools.iter().filter(|pool| pool.capacity > 0).map(|pool| pool.product.as_str())
}

/// `1.34` of `v1.34.2`.
fn minor(version: &str) -> &str {
    let version = version.strip_prefix('v').unwrap_or(version);
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
    &version[..end]
}

#[cfg(test)]
mod tests {
    use crate::fleet::{Agent, Fleet, Platform};
    use crate::tests::builder::{Build, H100, L40S, pool, report};

    use super::*;

    #[test]
    fn labels_win_over_what_is_observed_and_lists_have_every_value() {
        let mut capacity =
            report(vec![pool(H100, 81_559, &[(8, 1)], 8), pool(L40S, 46_068, &[(4, 1)], 4)], 0);
        capacity.region = "eu".into();
        capacity.kubernetes_version = "v1.34.2".into();
        capacity.platforms.push(Platform { name: "lws".into(), ..Platform::default() });
        let fleet =
            Fleet::default().joined("east", Vec::new()).labelled("east", ZONE, "b").reports("east", capacity);
        let cluster = Cluster {
            agent: Some(Agent { version: "0.2.0".into(), ..Agent::default() }),
            ..fleet.cluster("east").unwrap().clone()
        };
        let ask = |key: &str, value: &str| cluster.any(key, &mut |found| found == value);
        for (key, value) in [
            (REGION, "eu"),
            (ZONE, "b"),
            (KUBERNETES_VERSION, "v1.34.2"),
            (KUBERNETES_MINOR, "1.34"),
            (AGENT_VERSION, "0.2.0"),
            (CLUSTER, "east"),
            (GPU_PRODUCT, H100),
            (GPU_PRODUCT, L40S),
            (PLATFORM, "standalone"),
            (PLATFORM, "lws"),
        ] {
            assert_eq!(ask(key, value), Some(true), "{key}={value}");
        }
        assert_eq!(ask(PROVIDER, "aws"), None, "nothing was observed");
        assert_eq!((ask(PLATFORM, "kserve"), ask("tier", "gold")), (Some(false), None));
        let fleet = fleet.labelled("east", REGION, "us");
        assert_eq!(fleet.cluster("east").unwrap().property(REGION), Some("us"));
        let bare = Fleet::default().admin("west", |_| {});
        assert!(bare.cluster("west").unwrap().any(GPU_PRODUCT, &mut |_| true).is_none());
    }
}
