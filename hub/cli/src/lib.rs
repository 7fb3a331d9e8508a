//! `kubectl nimfleet`: the fleet of a hub on a terminal, through the Kubernetes API alone and with the caller's own rights.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`args`] | the command line |
//! | `session` | the cluster as the caller may see it |
//! | `status`, `why`, `remote`, `events` | what is read, and how it is shown |
//! | `cluster`, `confirm`, `join` | the admin's words |
//! | `ui` | the page on loopback |
//! | `doctor`, `must_gather` | what is wrong, and what a report of it needs |
//! | `table`, `print`, `failure`, `completion` | how commands look, print, end and are completed |

pub mod args;
mod cluster;
mod completion;
mod confirm;
mod doctor;
mod events;
mod failure;
mod join;
mod must_gather;
mod print;
#[cfg(test)]
mod recorded;
mod remote;
mod session;
mod status;
mod table;
mod ui;
mod why;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use failure::{DONE, Failure};
use print::Printer;
use session::Session;
use table::{Tone, paint};

/// Does what the command line says, and says on stderr why it could not.
pub async fn run(args: Args) -> ExitCode {
    match command(&args).await {
        Ok(status) => ExitCode::from(status),
        Err(failure) if failure.is_broken_pipe() => ExitCode::from(DONE),
        Err(failure) => {
            // Where nobody reads stderr the exit status still tells.
            let _ = writeln!(anstream::stderr(), "{} {failure}", paint("error:", Tone::Bad));
            ExitCode::from(failure.status())
        }
    }
}

async fn command(args: &Args) -> Result<u8, Failure> {
    let printer = Printer::new(args.output);
    match &args.command {
        Command::Completion(completion) => return completion::print(*completion).map(|()| DONE),
        Command::Complete { words } => return completion::complete(&args.target, words).await.map(|()| DONE),
        _ => {}
    }
    let session = &Session::open(&args.target).await?;
    match &args.command {
        Command::Simulate(args) => return why::simulate(session, printer, args).await,
        Command::Doctor(args) => return doctor::print(session, printer, args).await,
        Command::Status => status::print(session, printer).await?,
        Command::Why(args) => why::print(session, printer, args).await?,
        Command::Join(join) => join::print(session, printer, args.output, join).await?,
        Command::Accept(args) => cluster::accept(session, printer, args).await?,
        Command::Cordon(args) => cluster::cordon(session, printer, args).await?,
        Command::Uncordon(args) => cluster::uncordon(session, printer, args).await?,
        Command::Drain(args) => cluster::drain(session, printer, args).await?,
        Command::Confirm(args) => confirm::run(session, printer, args).await?,
        Command::Events(args) => events::print(session, printer, args).await?,
        Command::Get(args) => remote::get(session, printer, args).await?,
        Command::Describe(args) => remote::describe(session, printer, args).await?,
        Command::Ui(args) => ui::serve(session, printer, args).await?,
        Command::MustGather(args) => must_gather::run(session, printer, args).await?,
        Command::Completion(_) | Command::Complete { .. } => {}
    }
    Ok(DONE)
}
