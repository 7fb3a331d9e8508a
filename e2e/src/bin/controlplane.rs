//! Builds the control plane programs that are missing and says where they are.

#![expect(clippy::print_stdout, reason = "its two lines are what others read")]

use std::process::ExitCode;

use e2e::controlplane::Programs;

fn main() -> ExitCode {
    match Programs::ready() {
        Ok(programs) => {
            println!("CONTROL_PLANE_BIN={}", programs.bin.display());
            println!("KWOK_MODULE={}", programs.kwok_module.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
