//! `nimfleet-spoke`: reads the command line and runs the spoke.

use std::process::ExitCode;

use clap::Parser;

use spoke::args::Args;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Box::pin(spoke::app::run(Args::parse())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
