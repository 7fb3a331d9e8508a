//! Charts and images as users get them, on real nodes: kubelet, containers, Services and DNS, with one model.

use std::io::Write;

use e2e::failure::Failure;
use e2e::node::stage::{HUB, Pod, SPOKE, Stage, Version, WITHIN, tell};
use e2e::node::{self, Machine};
use e2e::objects;

/// Whether this machine can be a node. Where it cannot, says so; in CI that fails unless a skip is allowed.
fn possible() -> bool {
    let missing = node::missing();
    if missing.is_empty() {
        return true;
    }
    let missing = missing.join("; ");
    let is_set = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(
        !is_set("CI") || is_set(node::ALLOW_SKIP),
        "charts and images were not tried on a real node: this machine lacks {missing}. Supply it, or set {}=1",
        node::ALLOW_SKIP
    );
    // Not by eprintln, which is shown for tests that fail alone.
    let said = "skipped, charts and images were not tried on a real node: this machine lacks";
    writeln!(std::io::stderr(), "{said} {missing}").ok();
    false
}

/// The node of the model goes and comes back: the hub says so, and the same pod serves again.
async fn east_loses_power<'a>(stage: Stage<'a>, model: &[Pod]) -> Result<Stage<'a>, Failure> {
    let Stage { hub, east, began } = stage;
    let off = east.power_off();
    hub.eventually("the hub misses east", WITHIN, || async {
        objects::expect(&hub.get(&["gpucluster", "east"]).await?, "Connected", "Unknown")
    })
    .await?;
    tell(began, "east's node has no power, and the hub misses it");
    let east = off.power_on().await?;
    hub.wire(&east).await?;
    let stage = Stage { hub, east, began };
    stage.say("east's node is back");
    stage.works("east-is-back").await?;
    stage.say("a change on the hub reaches east");
    let again = stage
        .east
        .eventually("the model serves", WITHIN, || async {
            stage.ready_on_the_hub().await?;
            let again = stage.model().await?;
            // kubelet tells of a restart after the container answers.
            if again == model { Err(Failure::new("no restart is told")) } else { Ok(again) }
        })
        .await?;
    let uids = |pods: &[Pod]| pods.iter().map(|pod| pod.uid.clone()).collect::<Vec<_>>();
    assert_eq!(uids(&again), uids(model), "the pod was made anew");
    stage.say("the same pod serves again");
    Ok(stage)
}

/// The hub's only node goes and comes back: the model serves all the time.
async fn hub_loses_power<'a>(stage: Stage<'a>, model: &[Pod]) -> Result<Stage<'a>, Failure> {
    let Stage { hub, east, began } = stage;
    let off = hub.power_off();
    let stage = Stage { hub: off.power_on().await?, east, began };
    stage.same(model, "the hub had no power").await?;
    stage.hub.wire(&stage.east).await?;
    stage.works("hub-is-back").await?;
    stage.ready_on_the_hub().await?;
    stage.same(model, "the hub's node came back").await?;
    stage.say("the hub's node had no power and is back, the model is untouched");
    Ok(stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_and_images_serve_a_model_on_real_nodes_and_leave_it_serving() -> Result<(), Failure> {
    if !possible() {
        return Ok(());
    }
    let machine = tokio::task::spawn_blocking(Machine::prepare).await??;
    let version = Version::present(machine.folder())?;
    let stage = Stage::set(&machine, &[&version]).await?;
    let model = stage.serve(&version).await?;

    for (node, name) in [(&stage.east, SPOKE), (&stage.hub, HUB)] {
        let release = stage.release(node).await?;
        let chart = version.chart(name);
        // Another level of the log is another pod.
        let upgrade = ["upgrade", &release, &chart, "--reuse-values", "--set", "log.level=debug"];
        stage.renew(name, "upgraded", &upgrade, &model).await?;
        stage.renew(name, "rolled back", &["rollback", &release], &model).await?;
    }

    let leader = stage.hub.eventually("a pod leads", WITHIN, || stage.leader()).await?;
    stage.hub.kubectl(&["-n", "nimfleet", "delete", "pod", &leader, "--wait=false"], None).await?;
    stage
        .hub
        .eventually("another pod leads", WITHIN, || async {
            let now = stage.leader().await?;
            if now == leader { Err(Failure::new(format!("{now} leads still"))) } else { Ok(()) }
        })
        .await?;
    stage.works("failover").await?;
    stage.ready_on_the_hub().await?;
    stage.same(&model, "another pod leads").await?;
    stage.say("the leader's pod was deleted, another leads, the model is untouched");

    let stage = east_loses_power(stage, &model).await?;
    let model = stage.east.eventually("the model serves", WITHIN, || stage.model()).await?;
    let stage = hub_loses_power(stage, &model).await?;

    // The spoke first; back again; then the hub first.
    stage.uninstall(&stage.east).await?;
    stage.same(&model, "it ran without a spoke").await?;
    stage.join(&version).await?;
    stage.ready_on_the_hub().await?;
    stage.uninstall(&stage.hub).await?;
    stage.same(&model, "it ran without a hub").await?;
    stage.uninstall(&stage.east).await?;
    stage.same(&model, "it ran without either").await?;
    stage.say("both are uninstalled, in either order, and the model serves");
    Ok(())
}
