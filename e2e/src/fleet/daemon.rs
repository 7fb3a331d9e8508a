//! A hub or spoke process that can be killed, started again and asked how it is.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::plain_http::ask;
use tokio::time::timeout;

use crate::process::{Process, ProcessError, Program, last_lines};

/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(15);
/// How long an answer of the admin port may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A daemon is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It did not start, or cannot be looked at.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It was never started, or was killed.
    #[error("{0} does not run")]
    NotRunning(String),
    /// It ended by itself.
    #[error("{name} ended by itself ({status}); its last words:\n{log}")]
    Ended {
        /// Which program.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// Its admin port does not answer.
    #[error("{name}: GET {path}: {source}")]
    Admin {
        /// Which program.
        name: String,
        /// What was asked.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its admin port answered something else than 200.
    #[error("{name}: GET {path}: {answer}")]
    Unwell {
        /// Which program.
        name: String,
        /// What was asked.
        path: String,
        /// What it said.
        answer: String,
    },
}

/// A program that may or may not be running at the moment.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    log: PathBuf,
    program: Mutex<Program>,
    admin: SocketAddr,
    running: Mutex<Option<Process>>,
}

impl Daemon {
    /// A daemon that is not yet started; `admin` is where it serves `/livez`, `/readyz` and `/metrics`.
    #[must_use]
    pub fn new(name: &str, program: Program, admin: SocketAddr) -> Self {
        let log = program.log().to_owned();
        Self { name: name.to_owned(), log, program: Mutex::new(program), admin, running: Mutex::new(None) }
    }

    /// Starts it (again); one that runs is killed first.
    pub fn start(&self) -> Result<(), DaemonError> {
        let program = locked(&self.program).clone();
        self.start_as(program)
    }

    /// Starts it with another command line, which it keeps; one that runs is killed first.
    pub fn start_as(&self, program: Program) -> Result<(), DaemonError> {
        let mut running = locked(&self.running);
        *running = None;
        *running = Some(program.start()?);
        *locked(&self.program) = program;
        Ok(())
    }

    /// How it is started.
    #[must_use]
    pub fn program(&self) -> Program {
        locked(&self.program).clone()
    }

    /// Kills it at once, as a crash of its machine would.
    pub fn kill(&self) {
        *locked(&self.running) = None;
    }

    /// Asks it to end, as Kubernetes does, and waits; says how it ended, if by itself.
    pub fn stop(&self) -> Option<ExitStatus> {
        locked(&self.running).take().and_then(|mut process| process.stop(GRACE))
    }

    /// Stops it in its tracks, as a machine that hangs does, until it is thawed.
    pub fn freeze(&self) {
        if let Some(process) = locked(&self.running).as_ref() {
            process.freeze();
        }
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        if let Some(process) = locked(&self.running).as_ref() {
            process.thaw();
        }
    }

    /// How it ended by itself, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        locked(&self.running).as_mut().and_then(Process::ended)
    }

    /// Memory it holds, bytes (resident).
    pub fn resident_bytes(&self) -> Result<u64, DaemonError> {
        let running = locked(&self.running);
        let process = running.as_ref().ok_or_else(|| DaemonError::NotRunning(self.name.clone()))?;
        Ok(process.resident_bytes()?)
    }

    /// The most memory it has held since it was started last, bytes (resident).
    pub fn peak_resident_bytes(&self) -> Result<u64, DaemonError> {
        let running = locked(&self.running);
        let process = running.as_ref().ok_or_else(|| DaemonError::NotRunning(self.name.clone()))?;
        Ok(process.peak_resident_bytes()?)
    }

    /// Processor time it has used, seconds.
    pub fn cpu_seconds(&self) -> Result<f64, DaemonError> {
        let running = locked(&self.running);
        let process = running.as_ref().ok_or_else(|| DaemonError::NotRunning(self.name.clone()))?;
        Ok(process.cpu_seconds()?)
    }

    /// Succeeds when it says that it is ready.
    pub async fn ready(&self) -> Result<(), DaemonError> {
        self.get("/readyz").await.map(drop)
    }

    /// Succeeds when it says that all in it turns.
    pub async fn alive(&self) -> Result<(), DaemonError> {
        self.get("/livez").await.map(drop)
    }

    /// Its metrics, as text.
    pub async fn metrics(&self) -> Result<String, DaemonError> {
        self.get("/metrics").await
    }

    /// Where what it printed is kept.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn check_running(&self) -> Result<(), DaemonError> {
        match locked(&self.running).as_mut() {
            None => Err(DaemonError::NotRunning(self.name.clone())),
            Some(process) => match process.ended() {
                None => Ok(()),
                Some(status) => {
                    let log = last_lines(self.log(), 10);
                    Err(DaemonError::Ended { name: self.name.clone(), status, log })
                }
            },
        }
    }

    async fn get(&self, path: &str) -> Result<String, DaemonError> {
        self.check_running()?;
        let asked = timeout(ANSWER_WITHIN, ask(self.admin, "GET", path, "", u64::MAX)).await;
        let answer = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|source| {
            DaemonError::Admin { name: self.name.clone(), path: path.to_owned(), source }
        })?;
        if !answer.is_ok() {
            let answer = answer.to_string();
            return Err(DaemonError::Unwell { name: self.name.clone(), path: path.to_owned(), answer });
        }
        Ok(answer.body)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
