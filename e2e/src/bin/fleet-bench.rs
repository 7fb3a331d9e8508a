//! `fleet-bench`: what bringing NIMServices from a hub to its clusters takes, and bringing their status back.
//!
//! A hub and its spokes on real API servers, all on this machine, measured as a peer would be: the clock starts before
//! the first request is sent and ends with a watch event, a median of many tries each. By default the clusters leave
//! NIM objects to another operator (`--mode delegate`), so that delivery is measured and not what becomes of it.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

#[path = "fleet-bench/bench.rs"]
mod bench;
#[path = "fleet-bench/figures.rs"]
mod figures;
#[path = "fleet-bench/outage.rs"]
mod outage;
#[path = "fleet-bench/watched.rs"]
mod watched;

use std::time::Duration;

use clap::{Parser, ValueEnum};
use e2e::failure::Failure;

use bench::Bench;
use figures::Figures;

/// Measures a hub with its clusters on this machine; the last line of stdout is the result as JSON.
#[derive(Clone, Parser)]
struct Args {
    /// Clusters of the fleet.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    clusters: u32,
    /// NIMServices of one burst.
    #[arg(long, default_value_t = 200)]
    objects: u32,
    /// Bursts. What earlier ones made stays.
    #[arg(long, default_value_t = 5)]
    bursts: u32,
    /// NIMServices that are created, changed and reported one after the other.
    #[arg(long, default_value_t = 10)]
    tries: u32,
    /// Outages of the API server, and as many of the link; all clusters but one each time.
    #[arg(long, default_value_t = 4)]
    outages: u32,
    /// How long each lasts, seconds.
    #[arg(long, default_value_t = 30)]
    outage_seconds: u64,
    /// How long one more outage of the API servers lasts, seconds; 0 leaves it out.
    #[arg(long, default_value_t = 80)]
    long_outage_seconds: u64,
    /// Who operates the NIM objects of the clusters.
    #[arg(long, value_enum, default_value_t = Mode::Delegate)]
    mode: Mode,
    /// Prints the result on one line.
    #[arg(long)]
    json: bool,
}

/// Who operates the NIM objects of the clusters.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Nobody: spokes deliver and report.
    Delegate,
    /// The spokes.
    Native,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut bench = Bench::start(&args).await?;
    let mut figures = Figures::default();
    bench.one_by_one(args.tries, &mut figures).await?;
    bench.bursts(args.bursts, args.objects, &mut figures).await?;
    let short = Duration::from_secs(args.outage_seconds);
    for _ in 0..args.outages {
        figures.add("api_server_back_s", bench.api_servers_away(short).await?);
    }
    for _ in 0..args.outages {
        figures.add("link_back_s", bench.links_away(short).await?);
    }
    if args.long_outage_seconds > 0 {
        let long = Duration::from_secs(args.long_outage_seconds);
        figures.add("api_server_long_back_s", bench.api_servers_away(long).await?);
    }
    let result = figures.result(&args);
    println!("{}", if args.json { result.to_string() } else { format!("{result:#}") });
    Ok(())
}
