//! `scale`: a hub with many spokes: how long they take to join, what a placement takes, a restart, a storm.
//!
//! One real hub process on one real API server. The spokes are their real link (`spoke::link`, gRPC with mutual TLS on
//! loopback) with memory in place of a cluster, all in this process. Their certificates are signed beforehand with the
//! hub's own CA.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

#[path = "scale/board.rs"]
mod board;
#[path = "scale/crowd.rs"]
mod crowd;
#[path = "scale/light.rs"]
mod light;
#[path = "scale/phases.rs"]
mod phases;
#[path = "scale/relay.rs"]
mod relay;
#[path = "scale/world.rs"]
mod world;

use clap::Parser;
use e2e::failure::Failure;
use serde_json::{Map, Value, json};

use phases::Scale;

/// Measures one hub with many spokes on this machine; the last line of stdout is the result as JSON.
#[derive(Clone, Parser)]
struct Args {
    /// Spokes of the fleet.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    spokes: u32,
    /// NIMPlacements of one NIMService each, those that are measured included.
    #[arg(long, default_value_t = 1000)]
    placements: u32,
    /// Clusters that each is placed on.
    #[arg(long, default_value_t = 100)]
    clusters_per_placement: u32,
    /// NIMPlacements that are placed one after the other and measured, and statuses that are measured.
    #[arg(long, default_value_t = 50)]
    tries: u32,
    /// How long the idle fleet is watched, seconds; 0 leaves it out.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Prints the result on one line.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut figures = Figures::default();
    let mut scale = Scale::start(&args).await?;
    scale.join(&mut figures).await?;
    scale.fill(&mut figures).await?;
    scale.place(&mut figures).await?;
    scale.tell(&mut figures).await?;
    scale.idle(&mut figures).await?;
    scale.storm(&mut figures).await?;
    scale.restart(&mut figures).await?;
    let result = figures.result(&args);
    println!("{}", if args.json { result.to_string() } else { format!("{result:#}") });
    Ok(())
}

/// What was measured, by name. The name ends in the unit.
#[derive(Default)]
struct Figures(Map<String, Value>);

impl Figures {
    /// Adds a figure, and tells it as progress.
    fn add(&mut self, name: &str, value: f64) {
        let value = (value * 100.0).round() / 100.0;
        eprintln!("  {name} {value}");
        self.0.insert(name.to_owned(), json!(value));
    }

    /// Adds median and 99th percentile of some samples.
    fn add_spread(&mut self, name: &str, unit: &str, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let at = |part: usize| samples.get((samples.len() * part / 100).min(samples.len().saturating_sub(1)));
        for part in [50, 99] {
            if let Some(sample) = at(part) {
                self.add(&format!("{name}_p{part}_{unit}"), *sample);
            }
        }
    }

    fn result(mut self, args: &Args) -> Value {
        for (name, value) in [
            ("spokes", args.spokes),
            ("placements", args.placements),
            ("clusters_per_placement", args.clusters_per_placement),
        ] {
            self.0.insert(name.to_owned(), json!(value));
        }
        self.0.insert("profile".to_owned(), json!(e2e::fleet::own_profile()));
        Value::Object(self.0)
    }
}
