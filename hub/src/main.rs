//! `nimfleet-hub`: reads the command line and runs the hub.

use std::process::ExitCode;

use clap::Parser;

use hub::args::Args;

#[tokio::main]
async fn main() -> ExitCode {
    match hub::app::run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
