//! `cargo demo`: a hub and three clusters on loopback, NVIDIA's sample placed among them, and one of them lost.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Parser;
use e2e::cluster::gpu::{H100, L40S};
use e2e::controlplane::Programs;
use e2e::failure::Failure;
use e2e::fleet::{Binaries, Fleet};
use e2e::{objects, sample};
use serde_json::{Value, json};

/// Shows a fleet at work on this machine: real API servers, NVIDIA's sample manifest, a failover.
#[derive(Parser)]
struct Args {
    /// End by itself after the story, instead of leaving the fleet running until Ctrl-C.
    #[arg(long)]
    once: bool,
}

/// A cluster that is silent this long is called unreachable; short, so that nobody waits.
const LOST_AFTER: &str = "1s";
/// Every step of the story takes seconds; this is for a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the story came to: printed as the last line, each value as read from the API.
struct Outcome {
    placed_on: Vec<String>,
    hub_ready: bool,
    refusals: Value,
    failover: Value,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let began = Instant::now();
    say(began, "looking for a Kubernetes control plane: what this machine lacks of it is built, once");
    tokio::task::spawn_blocking(Programs::ready).await??;
    say(began, "looking for nimfleet-hub and nimfleet-spoke: what is not built is built");
    tokio::task::spawn_blocking(Binaries::ready).await??;
    say(began, "starting a hub and three clusters: east (H100), west (L40S), plain (no GPUs)");
    let fleet = Fleet::new()
        .cluster("east")
        .gpus(H100, 8, 2)
        .cluster("west")
        .gpus(L40S, 4, 2)
        .cluster("plain")
        .cpu_nodes(2)
        .start()
        .await?;
    say(began, "all three joined by token, accepted and connected:");
    show_clusters(&fleet).await?;

    let outcome = tokio::select! {
        outcome = story(&fleet, began) => outcome?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    };
    say(began, &format!("memory: {}", memory(&fleet)?));
    if !args.once {
        explore(&fleet)?;
        tokio::signal::ctrl_c().await?;
    }
    drop(fleet);
    let Outcome { placed_on, hub_ready, refusals, failover } = outcome;
    println!(
        "{}",
        json!({"placed_on": placed_on, "hub_ready": hub_ready, "refusals": refusals, "failover": failover})
    );
    Ok(())
}

/// Places the sample, then takes away the cluster it runs on and gives it back.
async fn story(fleet: &Fleet, began: Instant) -> Result<Outcome, Failure> {
    say(
        began,
        "applying NVIDIA's sample (a NIMCache and a NIMService, unchanged) and a NIMPlacement on the hub",
    );
    sample::place(
        fleet,
        sample::NAME,
        &json!({"failover": {"onUnreachable": "Replace", "lostAfter": LOST_AFTER}}),
    )
    .await?;
    let placed_on = sample::ready(fleet, sample::NAME).await?;
    let placement = sample::placed(fleet, sample::NAME).await?;
    let service = objects::get(fleet.hub().cluster(), "NIMService", sample::NAMESPACE, sample::NAME).await?;
    let hub_ready = objects::condition(&service, "Ready").is_some_and(|(status, ..)| status == "True");
    say(began, &format!("Ready on the hub; it runs on {}", placed_on.join(", ")));
    for cluster in &placed_on {
        show_workload(fleet, cluster).await?;
    }
    let refusals = refusals(&placement);
    say(began, "why not elsewhere:");
    print_lines(placement["status"]["refusals"].as_array().into_iter().flatten().map(|refusal| {
        format!(
            "{}: {}",
            refusal["reason"].as_str().unwrap_or_default(),
            refusal["message"].as_str().unwrap_or_default()
        )
    }));
    let failover =
        lose(fleet, began, placed_on.first().ok_or_else(|| Failure::new("placed nowhere"))?).await?;
    Ok(Outcome { placed_on, hub_ready, refusals, failover })
}

/// Cuts the link of one cluster, and tells what follows until it is back.
async fn lose(fleet: &Fleet, began: Instant, lost: &str) -> Result<Value, Failure> {
    say(began, &format!("cutting the link of {lost}"));
    let member = fleet.cluster(lost)?;
    member.link().cut().await;
    let connected = fleet
        .eventually(&format!("the hub notices that {lost} is gone"), PATIENCE, || async {
            let cluster = objects::get(fleet.hub().cluster(), "GPUCluster", "", lost).await?;
            match objects::condition(&cluster, "Connected") {
                Some((status, ..)) if status != "True" => Ok(status),
                other => Err(Failure::new(format!("Connected is {other:?}"))),
            }
        })
        .await?;
    say(began, &format!("{lost} is Connected={connected}; its placement may be replaced after {LOST_AFTER}"));
    let moved_to = fleet
        .eventually("the placement has moved", PATIENCE, || async {
            let clusters = sample::clusters_of(&sample::placed(fleet, sample::NAME).await?);
            if clusters.is_empty() || clusters.iter().any(|name| name == lost) {
                return Err(Failure::new(format!("it is on {clusters:?}")));
            }
            Ok(clusters)
        })
        .await?;
    sample::ready(fleet, sample::NAME).await?;
    say(began, &format!("replaced: Ready on {}", moved_to.join(", ")));
    let survivor = objects::get(member.cluster(), "Deployment", sample::NAMESPACE, sample::NAME).await;
    let kept_serving = survivor.is_ok();
    say(
        began,
        &format!("{lost}, cut off, {} its Deployment", if kept_serving { "has kept" } else { "has lost" }),
    );

    say(began, &format!("healing the link of {lost}"));
    member.link().heal().await;
    fleet.eventually(&format!("{lost} is connected again"), PATIENCE, || fleet.hub().connected(lost)).await?;
    let gone = || objects::absent(member.cluster(), "Deployment", sample::NAMESPACE, sample::NAME);
    fleet.eventually(&format!("{lost} gives up what was replaced"), PATIENCE, gone).await?;
    say(began, &format!("{lost} is back, and was told that its copy has been replaced"));
    Ok(json!({
        "lost": lost, "connected": connected, "moved_to": moved_to, "kept_serving_while_cut": kept_serving,
        "returned": true, "old_copy_removed_after_return": true,
    }))
}

/// Cluster → reason, for every cluster that was refused.
fn refusals(placement: &Value) -> Value {
    let rows = placement["status"]["refusals"].as_array().into_iter().flatten();
    let pairs = rows.flat_map(|row| {
        let clusters = row["clusters"].as_array().into_iter().flatten();
        clusters.filter_map(|cluster| Some((cluster.as_str()?.to_owned(), row["reason"].clone())))
    });
    Value::Object(pairs.collect())
}

async fn show_clusters(fleet: &Fleet) -> Result<(), Failure> {
    for member in fleet.clusters() {
        let cluster = fleet
            .eventually(&format!("{} has said what it can run", member.name()), PATIENCE, || async {
                let cluster = objects::get(fleet.hub().cluster(), "GPUCluster", "", member.name()).await?;
                objects::expect(&cluster, "CapacityFresh", "True")?;
                Ok(cluster)
            })
            .await?;
        let gpus = cluster["status"]["gpuSummary"].as_str().unwrap_or("0/0").to_owned();
        let products: Vec<_> = cluster["status"]["gpus"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pool| pool["product"].as_str())
            .collect();
        print_lines([format!("{:<6} GPUs free/total {gpus:<6} {}", member.name(), products.join(", "))]);
    }
    Ok(())
}

async fn show_workload(fleet: &Fleet, cluster: &str) -> Result<(), Failure> {
    let on = fleet.cluster(cluster)?.cluster();
    let job = objects::get(on, "NIMCache", sample::NAMESPACE, sample::NAME).await?;
    let deployment = objects::get(on, "Deployment", sample::NAMESPACE, sample::NAME).await?;
    print_lines([format!(
        "{cluster}: NIMCache {}, Deployment {}/{} available",
        job["status"]["state"].as_str().unwrap_or("?"),
        deployment["status"]["availableReplicas"].as_i64().unwrap_or_default(),
        deployment["spec"]["replicas"].as_i64().unwrap_or_default(),
    )]);
    Ok(())
}

/// What our processes hold, resident.
fn memory(fleet: &Fleet) -> Result<String, Failure> {
    const MEBIBYTE: u64 = 1 << 20;
    let mut parts = vec![format!("hub {} MiB", fleet.hub().daemon().resident_bytes()? / MEBIBYTE)];
    for member in fleet.clusters() {
        parts.push(format!("spoke of {} {} MiB", member.name(), member.spoke().resident_bytes()? / MEBIBYTE));
    }
    Ok(parts.join(", "))
}

/// How to look around while the fleet runs.
fn explore(fleet: &Fleet) -> Result<(), Failure> {
    let hub = fleet.hub();
    println!("\nThe fleet runs until Ctrl-C. Look around:\n");
    println!("  export KUBECONFIG={}   # the hub", hub.cluster().kubeconfig().display());
    println!("  kubectl get nimplacements,nimservices,nimcaches,gpuclusters -A");
    for member in fleet.clusters() {
        println!(
            "  KUBECONFIG={} kubectl get deployments,jobs,nimservices -A   # {}",
            member.cluster().kubeconfig().display(),
            member.name()
        );
    }
    Ok(std::io::stdout().flush()?)
}

fn say(began: Instant, what: &str) {
    println!("[{:>5.1} s] {what}", began.elapsed().as_secs_f32());
}

fn print_lines(lines: impl IntoIterator<Item = String>) {
    for line in lines {
        println!("          {line}");
    }
}
