//! Conditions of a cluster.

use super::*;

#[test]
fn a_cluster_has_four_conditions() {
    let capacity = crate::fleet::Capacity {
        observed_at: at(0),
        received_at: at(0),
        pools: vec![Pool::default()],
        ..crate::fleet::Capacity::default()
    };
    let agent = |version: &str| crate::fleet::Agent { version: version.into(), ..<_>::default() };
    let new = Cluster::new("east".parse().unwrap());
    let up = Cluster {
        accepted: true,
        link: Link::Connected,
        capacity: Some(capacity),
        agent: Some(agent("1.0")),
        ..new.clone()
    };
    let lost = Cluster { link: Link::Unreachable { since: at(5) }, ..up.clone() };
    let old = Cluster { agent: Some(agent("0.9")), ..up.clone() };
    for (cluster, now, expected) in [
        (
            &new,
            1,
            "Accepted=False/NotAccepted Connected=False/NeverConnected CapacityFresh=False/NoReport \
             AgentUpToDate=Unknown/NeverConnected",
        ),
        (
            &up,
            60,
            "Accepted=True/Accepted Connected=True/Connected CapacityFresh=True/ReportFresh AgentUpToDate=True/SameVersion",
        ),
        (
            &lost,
            60,
            "Accepted=True/Accepted Connected=Unknown/Unreachable CapacityFresh=Unknown/Unreachable \
             AgentUpToDate=True/SameVersion",
        ),
        (
            &old,
            3600,
            "Accepted=True/Accepted Connected=True/Connected CapacityFresh=False/ReportStale \
             AgentUpToDate=False/OtherVersion",
        ),
    ] {
        assert_eq!(words(&cluster_conditions(cluster, "1.0", Some(1), &[], at(now))), expected);
    }
}
