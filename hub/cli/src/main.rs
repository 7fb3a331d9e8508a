//! The process.

use std::process::ExitCode;

use clap::Parser;
use kubectl_nimfleet::args::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    kubectl_nimfleet::run(Args::parse()).await
}
