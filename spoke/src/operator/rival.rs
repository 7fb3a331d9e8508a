//! Who else has to do with the NIM objects of this cluster: another operator, since two that write the same objects undo each
//! other's work without end; or a hub, whose users' objects say what a fleet shall run.

use std::time::Duration;

use crds::marks::HUB_LEASE;
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

/// The lease by which instances of NVIDIA's operator elect their leader.
const LEASE: &str = "a0715c6e.nvidia.com";
/// The label of its Deployment.
const DEPLOYMENTS: &str = "app.kubernetes.io/name=k8s-nim-operator";
/// A lease that is no longer renewed makes no event: how often it is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What is known of another operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rival {
    /// Nothing yet.
    #[default]
    Unknown,
    /// There is none.
    None,
    /// This shows it.
    Seen(String),
    /// A hub has this cluster, as this shows: objects of its people are fleet intent, and only what a hub has delivered is
    /// run.
    Hub(String),
}

impl Rival {
    /// What to tell about it, with the remedy, if it keeps us from working.
    pub(crate) fn refusal(&self) -> Option<String> {
        let Self::Seen(sign) = self else { return None };
        Some(format!(
            "another NIM operator runs in this cluster ({sign}): nothing is written until it has gone; uninstall it, or \
             let it do the work with --mode delegate (operator.mode=delegate in the chart)"
        ))
    }
}

/// Looks for signs of another operator, then of a hub. Pure.
fn rival<'a>(
    leases: impl IntoIterator<Item = &'a Lease>,
    hubs: impl IntoIterator<Item = &'a Lease>,
    deployments: impl IntoIterator<Item = &'a Deployment>,
    now: Timestamp,
) -> Rival {
    let place = |namespace: Option<String>, name: String| format!("{}/{name}", namespace.unwrap_or_default());
    let held = leases.into_iter().find(|lease| lease.name_any() == LEASE && is_held(lease, now));
    if let Some(lease) = held {
        return Rival::Seen(format!("Lease {} is held", place(lease.namespace(), lease.name_any())));
    }
    // What belongs to a NIM object is a model that somebody named so.
    let runs = |deployment: &&Deployment| {
        let status = deployment.status.as_ref();
        status.and_then(|status| status.available_replicas).unwrap_or(0) > 0
            && deployment.owner_references().is_empty()
    };
    if let Some(deployment) = deployments.into_iter().find(runs) {
        let place = place(deployment.namespace(), deployment.name_any());
        return Rival::Seen(format!("Deployment {place} is available"));
    }
    // Also where nobody holds it: a hub that is away comes back to its objects.
    if let Some(lease) = hubs.into_iter().find(|lease| lease.name_any() == HUB_LEASE) {
        return Rival::Hub(format!("Lease {}", place(lease.namespace(), lease.name_any())));
    }
    Rival::None
}

fn is_held(lease: &Lease, now: Timestamp) -> bool {
    let Some(spec) = &lease.spec else { return false };
    let held = spec.holder_identity.as_ref().is_some_and(|holder| !holder.is_empty());
    let lasts = SignedDuration::from_secs(spec.lease_duration_seconds.unwrap_or(0).into());
    held && spec.renew_time.as_ref().is_some_and(|renewed| now.duration_since(renewed.0) <= lasts)
}

/// Keeps what is known of another operator up to date, for ever.
pub(crate) async fn observe(client: Client, known: watch::Sender<Rival>) {
    enum News {
        Lease(Box<Event<Lease>>),
        Hub(Box<Event<Lease>>),
        Deployment(Box<Event<Deployment>>),
        Time,
    }
    let named = Config::default().fields(&format!("metadata.name={LEASE}"));
    let leases =
        runtime::watch::events(Api::<Lease>::all(client.clone()), named, "leases of other operators");
    let named = Config::default().fields(&format!("metadata.name={HUB_LEASE}"));
    let hubs = runtime::watch::events(Api::<Lease>::all(client.clone()), named, "leases of hubs");
    let labelled = Config::default().labels(DEPLOYMENTS);
    let deployments =
        runtime::watch::events(Api::<Deployment>::all(client), labelled, "deployments of other operators");
    let time = stream::unfold((), |()| async { Some((tokio::time::sleep(LOOK).await, ())) });
    let mut news = stream::select_all([
        leases.map(|event| News::Lease(Box::new(event))).boxed(),
        hubs.map(|event| News::Hub(Box::new(event))).boxed(),
        deployments.map(|event| News::Deployment(Box::new(event))).boxed(),
        time.map(|()| News::Time).boxed(),
    ]);
    let (mut lease_cache, mut hub_cache) = (Writer::<Lease>::default(), Writer::<Lease>::default());
    let mut deployment_cache = Writer::<Deployment>::default();
    let (leases, hubs) = (lease_cache.as_reader(), hub_cache.as_reader());
    let deployments = deployment_cache.as_reader();
    let (mut leases_seen, mut hubs_seen, mut deployments_seen) = (false, false, false);
    while let Some(news) = news.next().await {
        match news {
            News::Lease(event) => {
                leases_seen |= matches!(*event, Event::InitDone);
                lease_cache.apply_watcher_event(&event);
            }
            News::Hub(event) => {
                hubs_seen |= matches!(*event, Event::InitDone);
                hub_cache.apply_watcher_event(&event);
            }
            News::Deployment(event) => {
                deployments_seen |= matches!(*event, Event::InitDone);
                deployment_cache.apply_watcher_event(&event);
            }
            News::Time => {}
        }
        if leases_seen && hubs_seen && deployments_seen {
            let (leases, hubs, deployments) = (leases.state(), hubs.state(), deployments.state());
            let now = rival(
                leases.iter().map(AsRef::as_ref),
                hubs.iter().map(AsRef::as_ref),
                deployments.iter().map(AsRef::as_ref),
                Timestamp::now(),
            );
            known.send_if_modified(|known| {
                let changed = *known != now;
                if changed {
                    tell(known, &now);
                    *known = now;
                }
                changed
            });
        }
    }
}

fn tell(before: &Rival, now: &Rival) {
    match (before, now) {
        (Rival::Seen(_), Rival::Seen(_)) | (Rival::Hub(_), Rival::Hub(_)) => {}
        (_, Rival::Hub(sign)) => tracing::warn!(
            "a fleet's hub has this cluster ({sign}): its NIM objects say what the fleet shall run, and nothing is made from \
             them here; uninstall this agent, or run the hub in a cluster of its own. If no hub is here any more, delete that \
             Lease"
        ),
        (_, Rival::Seen(_)) => tracing::warn!("{}", now.refusal().unwrap_or_default()),
        (Rival::Seen(_), _) => tracing::info!("the other NIM operator has gone: the work begins"),
        (Rival::Hub(_), _) => tracing::info!("the hub has gone from this cluster: the work begins"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_of_signs() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let lease = |name: &str, holder: &str, renewed: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "nim-operator"}, "spec": {
                "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}}))
            .unwrap()
        };
        let deployment = |available: i32, owners: serde_json::Value| -> Deployment {
            serde_json::from_value(
                json!({"metadata": {"name": "d", "namespace": "n", "ownerReferences": owners},
                "status": {"availableReplicas": available}}),
            )
            .unwrap()
        };
        let owner = json!([{"apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService", "name": "d", "uid": "u"}]);
        for (leases, deployments, expected) in [
            (vec![], vec![], None),
            (vec![lease(LEASE, "a_1", "2026-01-01T00:00:50.000000Z")], vec![], Some("Lease nim-operator/")),
            (vec![lease(LEASE, "a_1", "2026-01-01T00:00:44.000000Z")], vec![], None),
            (vec![lease(LEASE, "", "2026-01-01T00:00:50.000000Z")], vec![], None),
            (vec![lease("other", "a_1", "2026-01-01T00:00:50.000000Z")], vec![], None),
            (vec![], vec![deployment(1, json!([]))], Some("Deployment n/d")),
            (vec![], vec![deployment(0, json!([]))], None),
            (vec![], vec![deployment(1, owner)], None),
        ] {
            match (rival(leases.iter(), [], deployments.iter(), now), expected) {
                (Rival::None, None) => {}
                (Rival::Seen(sign), Some(start)) => assert!(sign.starts_with(start), "{sign}"),
                other => panic!("{other:?} for {leases:?} {deployments:?}"),
            }
        }
    }

    #[test]
    fn a_hub_is_known_by_its_lease_also_while_nobody_holds_it() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let lease = |name: &str| -> Lease {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "fleet"}})).unwrap()
        };
        let held: Lease =
            serde_json::from_value(json!({"metadata": {"name": LEASE, "namespace": "n"}, "spec": {
            "holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:50.000000Z"}}))
            .unwrap();
        assert_eq!(rival([], [&lease("other")], [], now), Rival::None);
        assert_eq!(rival([], [&lease(HUB_LEASE)], [], now), Rival::Hub("Lease fleet/nimfleet-hub".into()));
        let both = rival([&held], [&lease(HUB_LEASE)], [], now);
        assert!(matches!(both, Rival::Seen(_)), "then nothing at all is written: {both:?}");
    }
}
