//! Two hundred services in one namespace: they come, and then nothing is asked of the API server any more.

use std::time::{Duration, Instant};

use e2e::cluster::gpu::H100;
use e2e::failure::Failure;
use e2e::objects;
use e2e::site::{IDENTITY, Site};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::json;

use super::service::{NAMESPACE, apply};

const SERVICES: u32 = 200;
/// Their pods go through a scheduler and a kubelet that are played on the same two cores.
const READY_WITHIN: Duration = Duration::from_mins(4);
/// Long enough for every retry of a few seconds to show; the benchmark watches for minutes.
const QUIET: Duration = Duration::from_secs(20);

#[tokio::test]
async fn two_hundred_services_become_ready_and_quiet() -> Result<(), Failure> {
    let site = Site::new().gpus(H100, 8, SERVICES.div_ceil(8)).audited().start().await?;
    let since = Timestamp::now();
    let begun = Instant::now();
    stream::iter(0..SERVICES)
        .map(|number| {
            let (site, name) = (&site, format!("nim-{number}"));
            async move { apply(site, &name, json!({})).await }
        })
        .buffer_unordered(16)
        .try_collect::<()>()
        .await?;
    site.eventually("all are Ready", READY_WITHIN, || async {
        let all = objects::list(site.cluster(), "NIMService", NAMESPACE).await?;
        let ready = all.iter().filter(|one| one["status"]["state"] == "Ready").count();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if ready == SERVICES as usize { Ok(()) } else { Err(Failure::new(format!("{ready} are Ready"))) }
    })
    .await?;
    eprintln!("{SERVICES} services Ready after {:?}", begun.elapsed());
    let ours = |since: Timestamp| {
        let all = site.cluster().audit().requests();
        all.into_iter()
            .filter(move |one| one.user == IDENTITY && one.time >= since && one.resource != "leases")
    };
    // Of one NIMService with its five children: made, marked, reported twice, told twice.
    let asked = ours(since).filter(|one| one.verb != "watch").count();
    assert!(asked <= 12 * SERVICES as usize, "{asked} requests for {SERVICES} services until Ready");

    // Endpoints are asked in the background, a few at a time; what they answer is the last that is written.
    site.eventually("every endpoint has answered", READY_WITHIN, || async {
        let all = objects::list(site.cluster(), "NIMService", NAMESPACE).await?;
        let answered = all.iter().filter(|one| objects::condition(one, "ModelReachable").is_some()).count();
        tokio::time::sleep(Duration::from_millis(500)).await;
        if answered == SERVICES as usize {
            Ok(())
        } else {
            Err(Failure::new(format!("{answered} have answered")))
        }
    })
    .await?;
    site.eventually("nothing is asked any more", READY_WITHIN, || async {
        let since = Timestamp::now();
        tokio::time::sleep(QUIET).await;
        let asked: Vec<_> = ours(since).filter(|one| one.is_write() || one.verb == "list").collect();
        if asked.is_empty() { Ok(()) } else { Err(Failure::new(format!("{asked:?}"))) }
    })
    .await
}
