//! `placement-bench`: how fast the scheduler decides, what one changed cluster costs, and what clusters and assignments take
//! in memory. One core, no clusters: the scheduler and the model of the fleet as they are in the hub. `--worst`: what an author can
//! make a single decision cost.
//!
//! A changed cluster wakes what the hub wakes: placements that wait for something. What is placed in full is not asked again. How
//! much less it would be if only those were woken that the cluster could help ([`woken`]) is measured beside it.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

#[path = "../../../hub/scheduler/benches/mix.rs"]
mod mix;
#[path = "placement-bench/worst.rs"]
mod worst;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Parser;
use hub_scheduler::fleet::{Fleet, FleetEvent, PlacementKey};
use hub_scheduler::{Request, Waiting, schedule, woken};

/// Measures the scheduler.
#[derive(Parser)]
struct Args {
    /// Clusters of the fleet.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clusters: u32,
    /// Placements, of which one in ten is a gang, one has a CEL expression, and one is spread over three regions.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    placements: u32,
    /// Instead, the inputs that a single decision takes longest for.
    #[arg(long)]
    worst: bool,
    /// Prints the result on one line.
    #[arg(long)]
    json: bool,
}

/// Clusters that are changed, one after the other.
const CHANGES: usize = 50;

fn main() {
    let args = Args::parse();
    let clusters = usize::try_from(args.clusters).unwrap_or(usize::MAX);
    if args.worst {
        for worst::Took { case, asking, deciding, chosen } in worst::cases(clusters) {
            let (asking, deciding) = (asking.as_secs_f64() * 1e3, deciding.as_secs_f64() * 1e3);
            println!(
                "{deciding:9.1} ms under the lock, {asking:7.1} ms before it, {chosen:5} clusters: {case}"
            );
        }
        return;
    }
    let before = resident();
    let mut fleet = mix::fleet(clusters);
    let bytes_per_cluster = resident().saturating_sub(before) / u64::from(args.clusters);
    let mut requests = mix::requests(usize::try_from(args.placements).unwrap_or(usize::MAX));
    let before = resident();

    let began = Instant::now();
    let mut waiting = Vec::new();
    for (index, request) in requests.iter_mut().enumerate() {
        let decision = schedule(request, &mut fleet);
        mix::adopt(&mut fleet, request, &decision);
        if !decision.outcome.complete {
            waiting.push(index);
        }
    }
    let cold = began.elapsed();
    let assignments: usize = requests.iter().map(|request| request.previous.len()).sum();
    let bytes_per_assignment = resident().saturating_sub(before) / (assignments.max(1) as u64);

    let began = Instant::now();
    for request in &requests {
        std::hint::black_box(schedule(request, &mut fleet));
    }
    let warm = began.elapsed();
    let (change, wake) = change(&mut fleet, &requests, &waiting, clusters);

    let per_second = |took: Duration| f64::from(args.placements) / took.as_secs_f64();
    let figures = serde_json::json!({
        "clusters": args.clusters,
        "placements": args.placements,
        "assignments": assignments,
        "waiting": waiting.len(),
        "decisions_per_s": per_second(cold).round(),
        "decisions_per_s_warm": per_second(warm).round(),
        "change_one_cluster_ms": milliseconds(change),
        "wake_by_one_cluster_ms": milliseconds(wake),
        "bytes_per_cluster": bytes_per_cluster,
        "bytes_per_assignment": bytes_per_assignment,
    });
    if args.json {
        println!("{figures}");
    } else {
        println!("{figures:#}");
    }
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// Median times to take in a new report of one cluster and to decide again all that waits; and only what it could help.
fn change(
    fleet: &mut Fleet,
    requests: &[Request],
    waiting: &[usize],
    clusters: usize,
) -> (Duration, Duration) {
    let hints: Vec<Waiting> =
        waiting.iter().map(|&index| Waiting::new(requests[index].clone(), mix::at(1))).collect();
    let by_name: HashMap<&PlacementKey, &Request> =
        waiting.iter().map(|&index| (&requests[index].placement, &requests[index])).collect();
    let mut all: Vec<Duration> = Vec::new();
    let mut helped: Vec<Duration> = Vec::new();
    for round in 0..CHANGES {
        let index = round * 7 % clusters;
        let report = |used: usize| mix::report(index, 1 + u32::try_from(used % 3).unwrap_or(0), 2);
        let (first, second) = (report(round), report(round + 1));
        let began = Instant::now();
        fleet.apply(FleetEvent::Capacity { cluster: mix::name(index), capacity: first });
        for &index in waiting {
            std::hint::black_box(schedule(&requests[index], fleet));
        }
        all.push(began.elapsed());
        let began = Instant::now();
        fleet.apply(FleetEvent::Capacity { cluster: mix::name(index), capacity: second });
        let names: Vec<&PlacementKey> =
            woken(&hints, fleet, &mix::name(index)).iter().map(|one| one.placement()).collect();
        for request in names.iter().filter_map(|name| by_name.get(name)) {
            std::hint::black_box(schedule(request, fleet));
        }
        helped.push(began.elapsed());
    }
    all.sort_unstable();
    helped.sort_unstable();
    (all[CHANGES / 2], helped[CHANGES / 2])
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    e2e::process::resident_bytes(std::process::id()).unwrap_or(0)
}
