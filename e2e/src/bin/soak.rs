//! `soak`: certificates that live for a minute, renewed under sessions that stay, while reports flow all the time.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

use std::time::Duration;

use clap::Parser;
use e2e::failure::Failure;
use e2e::soak::soak;

/// Runs a hub and its clusters for some time; the last line of stdout is what was seen, as JSON.
#[derive(Parser)]
struct Args {
    /// How long.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// How many clusters.
    #[arg(long, default_value_t = 2)]
    clusters: usize,
    /// How long a certificate lives.
    #[arg(long, default_value = "60s")]
    certificate_life: String,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Args { minutes, clusters, certificate_life } = Args::parse();
    eprintln!(
        "starting a hub and {clusters} clusters; then {minutes} minutes with certificates of {certificate_life}"
    );
    let seen = soak(clusters, &certificate_life, Duration::from_secs(60 * minutes)).await?;
    println!("{}", serde_json::to_string(&seen)?);
    if seen.is_good() { Ok(()) } else { Err(Failure::new("not all was as it should be")) }
}
