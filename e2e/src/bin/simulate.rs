//! `simulate`: the fleet's machines through faults from many seeds, with the invariants asked after every step.

#![allow(clippy::print_stdout, reason = "what it prints is the product")]

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use e2e::simulation::{Mutant, Options, campaign, run};

/// Runs the fleet's machines through seeded faults, and asks I1 to I9 after every step.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A fault to put in on purpose.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Prints everything that happens; for one seed.
    #[arg(long)]
    trace: bool,
    /// How many at once; absent: one per core.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Stops after so many that went wrong.
    #[arg(long, default_value_t = 1)]
    failures: usize,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let begun = Instant::now();
    if args.trace {
        return match run(Options { seed: args.seed, mutant: args.mutant, trace: true }) {
            Ok(summary) => {
                println!("seed {}: {summary:?}", args.seed);
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        };
    }
    let threads =
        args.threads.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let outcome = campaign(args.seed, args.seeds, args.mutant, threads, args.failures);
    for violation in &outcome.violations {
        println!("{violation}\n");
    }
    let total = outcome.total;
    println!(
        "{} seeds, {} violations, {} steps, {} simulated hours, {} objects applied, {} removed, {:.1} s",
        outcome.seeds,
        outcome.violations.len(),
        total.steps,
        total.simulated_ms / 3_600_000,
        total.applied,
        total.removed,
        begun.elapsed().as_secs_f64()
    );
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
