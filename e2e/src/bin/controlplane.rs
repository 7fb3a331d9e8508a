//! Builds the control plane programs that are missing, and the controllers that are named, and says where they are.

#![expect(clippy::print_stdout, reason = "its lines are what others read")]

use std::process::ExitCode;

use clap::Parser;
use e2e::controlplane::{BuildError, Controller, NodePrograms, Programs};

/// Builds the programs of a Kubernetes control plane that this machine lacks and says where they are.
#[derive(Parser)]
struct Arguments {
    /// Controllers of other products to build besides; tests build those that they need by themselves.
    controllers: Vec<Controller>,
    /// Builds the programs of a real node besides: kubelet, kube-proxy, containerd, CoreDNS.
    #[arg(long)]
    node: bool,
}

fn main() -> ExitCode {
    match build(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build(arguments: &Arguments) -> Result<(), BuildError> {
    let programs = Programs::ready()?;
    println!("CONTROL_PLANE_BIN={}", programs.bin.display());
    println!("KWOK_MODULE={}", programs.kwok_module.display());
    for controller in &arguments.controllers {
        println!("{}", controller.ready()?.program.display());
    }
    if arguments.node {
        NodePrograms::ready()?;
    }
    Ok(())
}
