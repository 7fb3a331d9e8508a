//! Which platforms the cluster has, by the API groups it serves.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;

use super::Platform;

/// Platforms and the API group that gives each away.
const PLATFORMS: [(&str, &str); 9] = [
    ("dra", "resource.k8s.io"),
    ("gateway-api", "gateway.networking.k8s.io"),
    ("karpenter", "karpenter.sh"),
    ("knative", "serving.knative.dev"),
    ("kserve", "serving.kserve.io"),
    ("kueue", "kueue.x-k8s.io"),
    ("lws", "leaderworkerset.x-k8s.io"),
    ("prometheus-operator", "monitoring.coreos.com"),
    ("standalone", "apps"),
];

/// The platform that cluster-autoscaler is, which serves no API: it is where its status is.
const CLUSTER_AUTOSCALER: &str = "cluster-autoscaler";
/// Namespace and name of the ConfigMap in which cluster-autoscaler tells its status, unless it is told not to.
pub(super) const AUTOSCALER_STATUS: (&str, &str) = ("kube-system", "cluster-autoscaler-status");

/// The platforms of a cluster that serves these groups, sorted by name. `autoscaled` says whether cluster-autoscaler tells its
/// status there.
pub(super) fn platforms(groups: &APIGroupList, autoscaled: bool) -> Vec<Platform> {
    let found = |(name, group): (&str, &str)| {
        let served = groups.groups.iter().find(|served| served.name == group)?;
        let version = served.preferred_version.as_ref().or_else(|| served.versions.first())?;
        Some(Platform {
            name: name.to_owned(),
            version: version.version.clone(),
            served: served.versions.iter().map(|version| version.version.clone()).collect(),
        })
    };
    let grows = Platform { name: CLUSTER_AUTOSCALER.to_owned(), ..Platform::default() };
    let grows = Some(grows).filter(|_| autoscaled);
    let mut platforms: Vec<Platform> = PLATFORMS.into_iter().filter_map(found).chain(grows).collect();
    platforms.sort();
    platforms
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_served_groups_are_platforms() {
        let version = |version: &str| json!({"groupVersion": format!("g/{version}"), "version": version});
        let groups = serde_json::from_value(json!({"groups": [
            {"name": "apps", "versions": [version("v1")], "preferredVersion": version("v1")},
            {"name": "serving.kserve.io", "versions": [version("v1beta1"), version("v1alpha1")]},
            {"name": "example.com", "versions": [version("v1")]},
            {"name": "leaderworkerset.x-k8s.io", "versions": []},
        ]}))
        .unwrap();
        let found: Vec<_> =
            platforms(&groups, true).into_iter().map(|p| (p.name, p.version, p.served)).collect();
        let served =
            |versions: &[&str]| versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                ("cluster-autoscaler".into(), String::new(), vec![]),
                ("kserve".into(), "v1beta1".into(), served(&["v1beta1", "v1alpha1"])),
                ("standalone".into(), "v1".into(), served(&["v1"]))
            ]
        );
    }
}
