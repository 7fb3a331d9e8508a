//! A program that ends when its handle is dropped, and when we are killed without the time to drop anything.
//!
//! Each program leads a process group of its own. Beside it a shell waits on a pipe that only we hold; when the pipe
//! closes, for whatever reason, the shell kills the group, itself included.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Becomes the program, so that the child's id is the program's own; the watcher stays behind in the background.
const WATCHED: &str =
    "exec 3<&0 </dev/null; { cat <&3 >/dev/null 2>&1; kill -s KILL 0; } & exec 3<&-; exec \"$@\"";

/// A program could not be started or looked at.
#[derive(Debug, thiserror::Error)]
#[error("{program}: {source}")]
pub struct ProcessError {
    program: String,
    source: io::Error,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
}

impl Program {
    /// The program at `path`; what it prints is appended to `log`.
    pub fn new(path: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), arguments: Vec::new(), environment: Vec::new(), log: log.into() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds `--name=value`.
    #[must_use]
    pub fn flag(self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arg(format!("--{name}={value}"))
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The file that holds what it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Starts it.
    pub fn start(&self) -> Result<Process, ProcessError> {
        let fault = |source| ProcessError { program: self.path.display().to_string(), source };
        if !self.path.is_file() {
            return Err(fault(io::ErrorKind::NotFound.into()));
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(fault)?;
        let mut child = Command::new("sh")
            .args(["-c", WATCHED, "sh"])
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(fault)?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(fault)?;
        let lifeline = child.stdin.take();
        Ok(Process { child, lifeline, log: self.log.clone() })
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lifeline: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Memory it holds, bytes (resident set, from `/proc`).
    pub fn resident_bytes(&self) -> Result<u64, ProcessError> {
        resident_bytes(self.id())
    }

    /// The most memory it has held, bytes (resident set, from `/proc`).
    pub fn peak_resident_bytes(&self) -> Result<u64, ProcessError> {
        status_bytes(self.id(), "VmHWM:")
    }

    /// Processor time it has used, user and system, seconds (from `/proc`, in ticks of 10 ms as every Linux counts them).
    pub fn cpu_seconds(&self) -> Result<f64, ProcessError> {
        let path = format!("/proc/{}/stat", self.id());
        let stat =
            fs::read_to_string(&path).map_err(|source| ProcessError { program: path.clone(), source })?;
        // The name in parentheses may hold spaces: fields are counted behind it, where state is the first.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u32> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        match ticks[..] {
            [user, system] => Ok((f64::from(user) + f64::from(system)) / 100.0),
            _ => Err(ProcessError { program: path, source: io::ErrorKind::InvalidData.into() }),
        }
    }

    /// Kills it at once, as a crash of its machine would, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.lifeline.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops it in its tracks (SIGSTOP), as a machine that hangs does.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let _ =
            Command::new("kill").args(["-s", signal, &self.id().to_string()]).stderr(Stdio::null()).status();
    }

    /// Asks it to end (SIGTERM), gives it `grace`, then kills it. Returns how it ended, if by itself.
    pub fn stop(&mut self, grace: Duration) -> Option<ExitStatus> {
        self.signal("TERM");
        let until = Instant::now() + grace;
        let mut ended = self.ended();
        while ended.is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
            ended = self.ended();
        }
        self.kill();
        ended
    }

    /// The last `lines` lines it printed.
    #[must_use]
    pub fn last_words(&self, lines: usize) -> String {
        last_lines(&self.log, lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Memory that a process holds, bytes (resident set, from `/proc`).
pub fn resident_bytes(id: u32) -> Result<u64, ProcessError> {
    status_bytes(id, "VmRSS:")
}

/// A size that `/proc` tells of a process, bytes.
fn status_bytes(id: u32, field: &str) -> Result<u64, ProcessError> {
    let path = format!("/proc/{id}/status");
    let status =
        fs::read_to_string(&path).map_err(|source| ProcessError { program: path.clone(), source })?;
    let kib =
        status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse().ok());
    kib.map(|kib: u64| kib * 1024)
        .ok_or(ProcessError { program: path, source: io::ErrorKind::NotFound.into() })
}

/// The last lines of a file; of a file that cannot be read, why.
#[must_use]
pub fn last_lines(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({}: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests;
