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
    // It went silent before this hub began to lead, which has heard nothing of it.
    let unheard = Cluster { capacity: None, agent: None, ..lost.clone() };
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
            &unheard,
            60,
            "Accepted=True/Accepted Connected=Unknown/Unreachable CapacityFresh=Unknown/Unreachable \
             AgentUpToDate=Unknown/Unreachable",
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

#[test]
fn a_cluster_is_ready_when_placements_may_come() {
    let finding = |kind: &'static str, truth: Truth, reason: &'static str| {
        let truth = match truth {
            Truth::True => crds::condition::Truth::True,
            Truth::False => crds::condition::Truth::False,
            Truth::Unknown => crds::condition::Truth::Unknown,
        };
        crds::condition::Finding::new(kind, truth, reason, format!("{reason} it is"))
    };
    let good = || {
        vec![
            finding("Accepted", Truth::True, "Accepted"),
            finding("Connected", Truth::True, "Connected"),
            finding("CapacityFresh", Truth::True, "ReportFresh"),
        ]
    };
    let silent = finding("Connected", Truth::Unknown, "Unreachable");
    let stale = finding("CapacityFresh", Truth::False, "ReportStale");
    let revoked = finding("CertificateValid", Truth::False, "CertificateRevoked");
    let refused = finding("Accepted", Truth::False, "NotAccepted");
    let hub = is_hub(crate::fleet::Role::Hub, &[]).unwrap();
    for (other, expected, unready) in [
        (vec![], "True/Ready", None),
        (vec![silent.clone(), stale.clone()], "Unknown/Unreachable", Some("Reconciling")),
        (vec![stale], "False/ReportStale", Some("Reconciling")),
        (vec![refused, silent.clone()], "False/NotAccepted", Some("Stalled")),
        (vec![hub], "False/IsHub", Some("Stalled")),
        (vec![revoked, silent], "Unknown/Unreachable", Some("Stalled")),
    ] {
        let mut conditions = Vec::new();
        for finding in good().into_iter().chain(other) {
            crds::condition::set(&mut conditions, finding, Some(3), at(1));
        }
        let ready = cluster_ready(&conditions);
        assert_eq!(format!("{}/{}", ready.truth.as_str(), ready.reason), expected);
        crds::condition::set(&mut conditions, ready, Some(3), at(1));
        let why = cluster_unready(&conditions);
        crds::condition::set_unready(&mut conditions, why, Some(3), at(1));
        let told = ["Reconciling", "Stalled"].into_iter().filter(|kind| find(&conditions, kind).is_some());
        assert_eq!(told.collect::<Vec<_>>(), Vec::from_iter(unready), "{expected}");
    }
}

#[test]
fn the_wide_columns_say_what_a_cluster_has_and_what_keeps_placements_away() {
    use crds::fleet::{GPUClusterSpec, GPUClusterStatus, GPUPool, Taint, TaintEffect};
    let pool = |product: &str, resource: &str, memory, allocatable| GPUPool {
        product: product.into(),
        resource: resource.into(),
        memory_mib: memory,
        allocatable,
        ..GPUPool::default()
    };
    let mut status = GPUClusterStatus {
        gpus: vec![
            pool("NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu", Some(81_559), 16),
            pool("NVIDIA-A100-SXM4-80GB", "nvidia.com/mig-1g.10gb", Some(9_728), 7),
            pool("", "nvidia.com/gpu", None, 1),
        ],
        ..GPUClusterStatus::default()
    };
    let taint = Taint { key: "team".into(), value: Some("a".into()), effect: TaintEffect::NoSchedule };
    let spec = GPUClusterSpec { drain: true, taints: vec![taint; 5], ..GPUClusterSpec::default() };
    write_summaries(&mut status, &spec, 1);
    assert_eq!(
        status.products_summary.as_deref(),
        Some("16x NVIDIA-H100-80GB-HBM3 80Gi, 7x NVIDIA-A100-SXM4-80GB 10Gi (mig-1g.10gb), 1x GPU")
    );
    let taints = "drain, team=a:NoSchedule, team=a:NoSchedule, team=a:NoSchedule and 2 more";
    assert_eq!(status.taints_summary.as_deref(), Some(taints));
    assert_eq!(status.held_summary.as_deref(), Some("1 deletion"));
    write_summaries(&mut status, &GPUClusterSpec::default(), 0);
    assert_eq!((status.taints_summary, status.held_summary), (None, None));
}
