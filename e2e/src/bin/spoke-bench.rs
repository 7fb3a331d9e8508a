//! `spoke-bench`: what a NIM operator costs: how fast it makes, changes and heals, and what it asks of the API server.
//!
//! Each operator gets a cluster of its own and the same work, one after the other on one machine, so that the ratio of
//! the two counts and not the machine.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

#[path = "spoke-bench/bench.rs"]
mod bench;
#[path = "spoke-bench/traffic.rs"]
mod traffic;

use clap::Parser;
use e2e::failure::Failure;
use serde_json::{Map, Value};

use bench::{Load, Operator};

/// Measures NIM operators on this machine; the last line of stdout is the result as JSON.
#[derive(Parser)]
struct Args {
    /// How many NIMServices are created at once, one GPU each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=400))]
    services: u32,
    /// How long the idle operator is watched, seconds.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Another NIM operator to measure after nimfleet-spoke: its command line, with `{kubeconfig}` where it takes one
    /// (KUBECONFIG is set as well) and `{port1}`, `{port2}` for free ports. It works as cluster-admin.
    #[arg(long)]
    command: Option<String>,
    /// Leaves nimfleet-spoke out.
    #[arg(long, requires = "command")]
    only_command: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let load = Load { services: args.services, idle: std::time::Duration::from_secs(args.idle) };
    let mut results = Map::new();
    if !args.only_command {
        results.insert("nimfleet".to_owned(), bench::run(&Operator::Ours, &load).await?);
    }
    if let Some(command) = args.command {
        results.insert("command".to_owned(), bench::run(&Operator::Command(command), &load).await?);
    }
    println!("{}", Value::Object(results));
    Ok(())
}
