//! What one service costs the API server: every request of the operator that its creation and its changes lead to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use e2e::cluster::audit::Request;
use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::{IDENTITY, Site};
use jiff::Timestamp;
use serde_json::json;

use super::service::{NAMESPACE, SOON, apply, ready, says};

/// After so long without a request nothing more follows: longer than any pace of a status, shorter than the minute after
/// which pods that find no node are told of in other words.
const QUIET: Duration = Duration::from_secs(5);

/// What the operator asked for since then, once it asks for nothing more: how often, by verb and resource; and how many events it
/// wrote. Looks at a Secret that is missing, and at what the API server serves, are not made for one service and are left out.
async fn asked(site: &Site, since: Timestamp) -> Result<(BTreeMap<String, u32>, u32), Failure> {
    let ours = || {
        let all = site.cluster().audit().requests().into_iter();
        // A write that the Deployment's controller forestalled is sent again, as often as chance has it.
        let ours = |one: &Request| one.user == IDENTITY && one.time >= since && one.code != 409;
        all.filter(ours).filter(|one| one.verb != "watch" && one.resource != "leases").collect::<Vec<_>>()
    };
    let seen = Cell::new(0);
    site.eventually("the operator asks for nothing more", SOON, || async {
        tokio::time::sleep(QUIET).await;
        let now = ours().len();
        if seen.replace(now) == now && now > 0 {
            Ok(())
        } else {
            Err(Failure::new(format!("{now} requests")))
        }
    })
    .await?;
    let mut counted = BTreeMap::new();
    for one in ours() {
        *counted.entry(format!("{} {}", one.verb, one.resource)).or_default() += 1;
    }
    let events = counted.iter().filter(|(line, _)| line.ends_with(" events")).map(|(_, count)| count).sum();
    counted.retain(|line, _| !line.ends_with(" events") && !["get ", "get secrets"].contains(&line.as_str()));
    Ok((counted, events))
}

#[tokio::test]
async fn one_service_costs_seven_requests_and_a_change_of_it_three() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, 1).audited().start().await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ngc-api-secret", "namespace": NAMESPACE}});
    objects::apply(site.cluster(), &secret.to_string()).await?;
    // The first one of a namespace asks about the namespace as well.
    apply(&site, "first", json!({})).await?;
    ready(&site, "first").await?;
    asked(&site, Timestamp::UNIX_EPOCH).await?;

    // Until it runs there is one status, and nothing to be told.
    let expected = [
        ("create rolebindings", 1),
        ("create roles", 1),
        ("create serviceaccounts", 1),
        ("create services", 1),
        ("patch deployments", 1),
        ("patch nimservices", 1),
        ("patch nimservices/status", 1),
    ];
    let expected = BTreeMap::from(expected.map(|(line, count)| (line.to_owned(), count)));
    let scheduler = site.cluster().scheduler().ok_or_else(|| Failure::new("no scheduler"))?;
    scheduler.freeze();
    let since = Timestamp::now();
    apply(&site, "calm", json!({})).await?;
    let (made, events) = asked(&site, since).await?;
    assert_eq!((&made, events), (&expected, 0), "while nothing is scheduled");
    scheduler.thaw();
    ready(&site, "calm").await?;
    asked(&site, since).await?;

    // While no node takes its pod it says so, once.
    site.cluster().kubectl(&["cordon", "--selector", "type=kwok"], None).await?;
    let since = Timestamp::now();
    apply(&site, "llm", json!({})).await?;
    says(&site, "llm", "Unschedulable").await?;
    let (made, events) = asked(&site, since).await?;
    assert_eq!((&made, events), (&expected, 1), "made");

    // A change is one write of the workload, and what becomes of it.
    let since = Timestamp::now();
    apply(&site, "llm", json!({"image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.13.0"}})).await?;
    let (changed, events) = asked(&site, since).await?;
    assert_eq!(changed.get("patch deployments"), Some(&1), "{changed:?}");
    assert!(changed.values().sum::<u32>() + events <= 3, "{changed:?}, {events} events");

    // So is one that takes a field away: none of it is left to whoever made the workload.
    site.cluster().kubectl(&["uncordon", "--selector", "type=kwok"], None).await?;
    ready(&site, "llm").await?;
    asked(&site, since).await?;
    let since = Timestamp::now();
    let plain = json!({"env": [{"name": "A", "value": "b"}], "nodeSelector": {"type": "kwok"}});
    apply(&site, "llm", plain).await?;
    ready(&site, "llm").await?;
    let (changed, events) = asked(&site, since).await?;
    assert_eq!(changed.get("patch deployments"), Some(&1), "{changed:?}");
    // That it does not serve, how far it is, that it serves and what is served are four statuses.
    assert!(changed.values().sum::<u32>() + events <= 7, "{changed:?}, {events} events");
    apply(&site, "llm", json!({})).await?;
    let deployment = site
        .eventually("what was taken away is gone", SOON, || async {
            let found = objects::get(site.cluster(), "Deployment", NAMESPACE, "llm").await?;
            let pod = &found["spec"]["template"]["spec"];
            let env = pod["containers"][0]["env"].as_array().cloned().unwrap_or_default();
            if pod["nodeSelector"].is_null() && env.iter().all(|one| one["name"] != "A") {
                return Ok(found);
            }
            Err(Failure::new(pod.to_string()))
        })
        .await?;
    let owners = deployment["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let ours: Vec<_> = owners.iter().filter(|one| one["manager"] == "nimfleet-spoke").collect();
    assert!(ours.len() == 1 && ours[0]["operation"] == "Apply", "{ours:?}");
    Ok(())
}
