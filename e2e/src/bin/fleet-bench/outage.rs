//! What was away and comes back: how long until it has what was changed meanwhile.

use std::time::{Duration, Instant};

use e2e::failure::Failure;
use e2e::fleet::Member;
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::bench::Bench;
use super::watched::services;

/// The object that is changed meanwhile.
const OBJECT: &str = "warm-up";
/// The change comes this long after the outage has begun.
const CHANGED: Duration = Duration::from_secs(1);
/// Between two clusters that come back.
const APART: Duration = Duration::from_secs(6);
/// How often a returned API server is asked for the object.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A spoke that takes longer has failed.
const PATIENCE: Duration = Duration::from_mins(3);

impl Bench {
    /// The API servers of all clusters but the first are away for so long, then return one after the other: seconds
    /// from the readiness of each until the object there is what the hub wants.
    pub(super) async fn api_servers_away(&mut self, away: Duration) -> Result<Vec<f64>, Failure> {
        let tag = tag();
        let lost = self.fleet.clusters().iter().skip(1);
        lost.clone().for_each(|member| member.cluster().kill_api_server());
        sleep(CHANGED).await;
        self.set_tag(OBJECT, &tag).await?;
        sleep(away.saturating_sub(CHANGED)).await;
        let mut returned = Vec::new();
        for member in lost {
            member.cluster().start_api_server().await?;
            let ready = Instant::now();
            returned.push(has_tag(member, &tag, ready).await?);
            sleep(APART).await;
        }
        Ok(returned)
    }

    /// The links of all clusters but the first are cut for so long: seconds from their return until the object in the
    /// cluster is what the hub wants.
    pub(super) async fn links_away(&mut self, away: Duration) -> Result<Vec<f64>, Failure> {
        let tag = tag();
        let lost: Vec<&Member> = self.fleet.clusters().iter().skip(1).collect();
        for member in &lost {
            member.link().cut().await;
        }
        sleep(CHANGED).await;
        self.set_tag(OBJECT, &tag).await?;
        sleep(away.saturating_sub(CHANGED)).await;
        for member in &lost {
            member.link().heal().await;
        }
        let healed = Instant::now();
        try_join_all(lost.iter().map(|member| has_tag(member, &tag, healed))).await
    }
}

/// A tag that nothing had before.
fn tag() -> String {
    format!("3.0.{}", jiff::Timestamp::now().as_millisecond())
}

async fn has_tag(member: &Member, tag: &str, since: Instant) -> Result<f64, Failure> {
    let api = services(member.cluster());
    loop {
        if let Ok(object) = api.get(OBJECT).await
            && object.data.pointer("/spec/image/tag").and_then(Value::as_str) == Some(tag)
        {
            return Ok(since.elapsed().as_secs_f64());
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure::new(format!("{}: not in sync after {PATIENCE:?}", member.name())));
        }
        sleep(LOOK_EVERY).await;
    }
}
