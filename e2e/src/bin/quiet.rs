//! `quiet`: what the operator writes while nothing changes: NIMServices of every platform under the released controllers of
//! KServe and LeaderWorkerSet, an admission policy that changes what the operator writes, and autoscalers that scale.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

use std::time::Duration;

use clap::Parser;
use e2e::cluster::gpu::H100;
use e2e::controlplane::Controller;
use e2e::failure::Failure;
use e2e::site::{IDENTITY, Site};
use e2e::{foreign, mirror, objects};
use jiff::Timestamp;
use serde_json::{Value, json};

const NAMESPACE: &str = "quiet";
/// How long all services may take until they are Ready.
const READY_WITHIN: Duration = Duration::from_mins(10);
/// How long what follows Ready may take: events of rollouts, and the first look of the autoscalers, which is at 15 s.
const SETTLES_WITHIN: Duration = Duration::from_mins(1);
/// GPUs of a node.
const PER_NODE: u32 = 8;

/// Counts the operator's writes; the last line of stdout is the result as JSON, and any write is an exit status of 1.
#[derive(Parser)]
struct Args {
    /// NIMServices: a quarter each alone, alone with an autoscaler, on KServe, and over two nodes.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(4..=100))]
    services: u32,
    /// How long the operator is watched, minutes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,
}

/// The service of that number; every fourth is alike.
fn service(number: u32) -> Value {
    let mut spec = json!({
        "image": {"repository": "nvcr.io/nim/meta/llama", "tag": "1.12.0"}, "authSecret": "ngc-api-secret",
        "storage": {"emptyDir": {}}, "resources": {"limits": {"nvidia.com/gpu": 1}},
        "expose": {"service": {"port": 8000}},
    });
    match number % 4 {
        0 => spec["replicas"] = json!(1),
        // An autoscaler that has no metrics scales to its minimum.
        1 => {
            let cpu = json!({"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 60}}});
            let hpa = json!({"minReplicas": 2, "maxReplicas": 4, "metrics": [cpu]});
            spec["scale"] = json!({"enabled": true, "hpa": hpa});
        }
        2 => {
            spec["replicas"] = json!(1);
            spec["inferencePlatform"] = json!("kserve");
        }
        _ => {
            spec["replicas"] = json!(1);
            spec["multiNode"] = json!({"parallelism": {"pipeline": 2, "tensor": 1}});
        }
    }
    json!({
        "apiVersion": "apps.nvidia.com/v1alpha1", "kind": "NIMService",
        "metadata": {"name": format!("s{number}"), "namespace": NAMESPACE}, "spec": spec,
    })
}

/// How many services are Ready.
async fn ready(site: &Site) -> Result<usize, Failure> {
    let all = objects::list(site.cluster(), "NIMService", NAMESPACE).await?;
    Ok(all.iter().filter(|service| service["status"]["state"] == "Ready").count())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Args { services, minutes } = Args::parse();
    eprintln!("a cluster, LeaderWorkerSet 0.9 and KServe 0.17 start");
    let nodes = (services * 2).div_ceil(PER_NODE);
    let site = Site::new().gpus(H100, PER_NODE, nodes).audited().start().await?;
    let lws = foreign::lws::start(site.ground(), site.cluster(), Controller::Lws09).await?;
    let kserve = foreign::kserve::start(site.ground(), site.cluster()).await?;
    mirror::of_deployments(site.cluster(), NAMESPACE).await?;
    let probe = mirror::probe(NAMESPACE);
    site.eventually("the policy has effect", READY_WITHIN, || mirror::has_effect(site.cluster(), &probe))
        .await?;
    for number in 0..services {
        objects::apply(site.cluster(), &service(number).to_string()).await?;
    }
    eprintln!("{services} services are applied");
    let wanted = usize::try_from(services)?;
    site.eventually("all services are Ready", READY_WITHIN, || async {
        let ready = ready(&site).await?;
        if ready == wanted { Ok(()) } else { Err(Failure::new(format!("{ready} of {services} are Ready"))) }
    })
    .await?;
    tokio::time::sleep(SETTLES_WITHIN).await;
    let since = Timestamp::now();
    for minute in 0..minutes {
        tokio::time::sleep(Duration::from_mins(1)).await;
        let writes = site.cluster().audit().writes_by(IDENTITY, since).len();
        eprintln!("minute {} of {minutes}: {writes} writes", minute + 1);
    }
    let writes = site.cluster().audit().writes_by(IDENTITY, since);
    for write in &writes {
        eprintln!("{write:?}");
    }
    let ready = ready(&site).await?;
    println!("{}", json!({"services": services, "ready": ready, "minutes": minutes, "writes": writes.len()}));
    drop((lws, kserve));
    if writes.is_empty() && ready == wanted {
        Ok(())
    } else {
        Err(Failure::new(format!("{} writes, {ready} of {services} Ready", writes.len())))
    }
}
