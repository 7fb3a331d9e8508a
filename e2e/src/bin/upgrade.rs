//! A fleet of an earlier version on real nodes, upgraded to this one while a model runs: spoke first, then hub first.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use e2e::failure::Failure;
use e2e::node::stage::{HUB, SPOKE, Stage, Version, WITHIN};
use e2e::node::{Machine, missing};
use e2e::objects;

/// What the new programs render is compared with what runs at the first reconcile, which a restart of the model would follow.
const SETTLED_AFTER: Duration = Duration::from_secs(20);

/// Installs hub and spoke of an earlier version on two real nodes, places NVIDIA's sample, and upgrades them by helm to this
/// version, in both orders. Fails if a pod of the model is replaced or restarted. Needs root and the packages that
/// CONTRIBUTING.md names.
#[derive(Parser)]
struct Arguments {
    /// The top folder of a checkout of the earlier version, which is built.
    #[arg(long)]
    from: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let missing = missing();
    if !missing.is_empty() {
        eprintln!("error: this machine cannot be a node; it lacks {}", missing.join("; "));
        return ExitCode::FAILURE;
    }
    for order in [[SPOKE, HUB], [HUB, SPOKE]] {
        eprintln!("{}, then {}", order[0], order[1]);
        if let Err(failure) = upgrade(&arguments.from, order).await {
            eprintln!("error: {failure}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn upgrade(checkout: &Path, order: [&str; 2]) -> Result<(), Failure> {
    let machine = tokio::task::spawn_blocking(Machine::prepare).await??;
    let earlier = Version::earlier(checkout, machine.folder())?;
    let present = Version::present(machine.folder())?;
    let stage = Stage::set(&machine, &[&earlier, &present]).await?;
    let model = stage.serve(&earlier).await?;

    for node in [&stage.hub, &stage.east] {
        node.helm(&["upgrade", "nimfleet-crds", &present.chart("nimfleet-crds")]).await?;
    }
    for name in order {
        let node = if name == HUB { &stage.hub } else { &stage.east };
        let release = stage.release(node).await?;
        let (chart, image) = (present.chart(name), present.image(name)?);
        let step = ["upgrade", &release, &chart, "--reset-then-reuse-values", "--set", &image];
        stage.renew(name, "upgraded", &step, &model).await?;
    }
    stage
        .hub
        .eventually("the agent is up to date", WITHIN, || async {
            objects::expect(&stage.hub.get(&["gpucluster", "east"]).await?, "AgentUpToDate", "True")
        })
        .await?;
    tokio::time::sleep(SETTLED_AFTER).await;
    stage.same(&model, "hub and spoke were upgraded").await?;
    stage.say("both are upgraded, the model is untouched");
    Ok(())
}
