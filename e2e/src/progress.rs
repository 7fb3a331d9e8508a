//! Shows how long work goes and what is left of it: a moving line on a terminal; elsewhere a line when it begins, one every ten
//! seconds, and one when it ends. Stdout stays free for results.

use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is written where lines stay.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// How often a command that says nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Nothing is said about the time that is left before this part (one of so many) is done.
const ESTIMATE_FROM: usize = 20;

/// Where progress is shown, and of what.
pub(crate) struct Progress {
    sink: Sink,
    task: Mutex<Option<Task>>,
}

enum Sink {
    Terminal(ProgressBar),
    Lines(Box<dyn Fn(&str) + Send + Sync>),
}

/// What is being done.
struct Task {
    count: Count,
    began: Instant,
    shown: Instant,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
struct Count {
    done: usize,
    /// Unknown for work that is not counted beforehand.
    total: Option<usize>,
    /// What is counted.
    unit: &'static str,
}

impl Progress {
    /// On stderr.
    pub(crate) fn on_stderr() -> Self {
        if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner:.green} {wide_msg}") {
                bar.set_style(style);
            }
            return Self::new(Sink::Terminal(bar));
        }
        Self::lines(|line| {
            // Nobody to tell is no reason to stop building.
            let _ = writeln!(io::stderr(), "{line}");
        })
    }

    /// Line by line to `say`.
    pub(crate) fn lines(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self::new(Sink::Lines(Box::new(say)))
    }

    fn new(sink: Sink) -> Self {
        Self { sink, task: Mutex::new(None) }
    }

    /// Something lasting begins, of which `total` parts are to be done, if that is known.
    pub(crate) fn begin(&self, name: &str, total: Option<usize>, unit: &'static str) {
        let now = Instant::now();
        let count = Count { done: 0, total, unit };
        *self.task() = Some(Task { count, began: now, shown: now });
        match total {
            Some(total) => self.note(&format!("{name}: {total} {unit}")),
            None => self.note(name),
        }
        if let Sink::Terminal(bar) = &self.sink {
            bar.set_message("");
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }

    /// One part more is done, or being done.
    pub(crate) fn advance(&self, part: &str) {
        if let Some(task) = &mut *self.task() {
            task.count.done += 1;
        }
        self.show(part);
    }

    /// Shows how far it is, if it has not been shown for a while; `part` is being worked on.
    pub(crate) fn show(&self, part: &str) {
        let Some(task) = &mut *self.task() else { return };
        let status = || status(task.count, task.began.elapsed());
        match &self.sink {
            Sink::Terminal(bar) if part.is_empty() => bar.set_message(status()),
            Sink::Terminal(bar) => bar.set_message(format!("{}: {part}", status())),
            Sink::Lines(say) if task.shown.elapsed() >= LINE_EVERY => {
                say(&format!("  {}", status()));
                task.shown = Instant::now();
            }
            Sink::Lines(_) => {}
        }
    }

    /// Says something that stays on the screen.
    pub(crate) fn note(&self, what: &str) {
        match &self.sink {
            Sink::Terminal(bar) => bar.suspend(|| {
                let _ = writeln!(io::stderr(), "{what}");
            }),
            Sink::Lines(say) => say(what),
        }
    }

    /// It is done, which took so long; nothing is said if nothing was begun.
    pub(crate) fn end(&self, what: &str) {
        let Some(task) = self.task().take() else { return };
        if let Sink::Terminal(bar) = &self.sink {
            bar.finish_and_clear();
        }
        self.note(&format!("{what} in {}", span(task.began.elapsed())));
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a task is, and how long the rest takes if it goes on like this.
fn status(count: Count, elapsed: Duration) -> String {
    let Count { done, total, unit } = count;
    let spent = span(elapsed);
    match total {
        None if done == 0 => spent,
        None => format!("{done} {unit} in {spent}"),
        Some(total) if done >= total => format!("{total} of {total} {unit} in {spent}, now linking"),
        Some(total) if done * ESTIMATE_FROM < total => format!("{done} of {total} {unit} in {spent}"),
        Some(total) => {
            let parts = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
            let left = elapsed / parts(done).max(1) * parts(total - done);
            format!("{done} of {total} {unit} in {spent}, about {} left", span(left))
        }
    }
}

/// A length of time as a person says it.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Runs a command to its end. Each line of its stderr goes to `on_line`; `progress` shows that time passes while it is silent.
/// The output has its stdout, and what of stderr `on_line` wants kept.
pub(crate) fn follow(
    command: &mut Command,
    progress: &Progress,
    mut on_line: impl FnMut(&str) -> Keep,
) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let printed = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.map(|mut stdout| stdout.read_to_end(&mut bytes)).transpose().map(|_| bytes)
    });
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let lines = stderr.into_iter().flat_map(|stderr| BufReader::new(stderr).lines());
        for line in lines.map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut kept = String::new();
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => {
                if on_line(&line) == Keep::Yes {
                    kept.push_str(&line);
                    kept.push('\n');
                }
            }
            Err(RecvTimeoutError::Timeout) => progress.show(""),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait()?;
    let stdout = printed.join().unwrap_or_else(|_| Ok(Vec::new()))?;
    Ok(Output { status, stdout, stderr: kept.into_bytes() })
}

/// Whether a line is kept, to be told if the command fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn heard() -> (Progress, Arc<Mutex<Vec<String>>>) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&lines);
        (Progress::lines(move |line| to.lock().unwrap().push(line.to_owned())), lines)
    }

    #[test]
    fn tells_what_is_done_what_is_left_and_how_long_that_takes() {
        let seconds = Duration::from_secs;
        let count = |done, total| Count { done, total, unit: "packages" };
        for (count, elapsed, said) in [
            (count(0, None), 5, "5 s"),
            (count(57, None), 5, "57 packages in 5 s"),
            (count(99, Some(2000)), 9, "99 of 2000 packages in 9 s"),
            (count(500, Some(2000)), 100, "500 of 2000 packages in 100 s, about 5 min 0 s left"),
            (count(1900, Some(2000)), 190, "1900 of 2000 packages in 3 min 10 s, about 10 s left"),
            (count(2001, Some(2000)), 200, "2000 of 2000 packages in 3 min 20 s, now linking"),
        ] {
            assert_eq!(status(count, seconds(elapsed)), said);
        }
    }

    #[test]
    fn lines_come_when_work_begins_and_ends_and_now_and_then_between() {
        let (progress, lines) = heard();
        progress.advance("nothing has begun");
        progress.end("nothing has begun");
        progress.begin("building", Some(3), "packages");
        progress.advance("a");
        let long_ago = Instant::now().checked_sub(LINE_EVERY).unwrap();
        progress.task().as_mut().unwrap().shown = long_ago;
        progress.advance("b");
        progress.advance("c");
        progress.end("built");
        progress.end("built");
        let expected = ["building: 3 packages", "  2 of 3 packages in 0 s, about 0 s left", "built in 0 s"];
        assert_eq!(*lines.lock().unwrap(), expected);
    }

    #[test]
    fn a_command_is_followed_line_by_line_and_a_silent_one_is_still_told_of() {
        let (progress, lines) = heard();
        progress.begin("waiting", None, "");
        progress.task().as_mut().unwrap().shown = Instant::now().checked_sub(LINE_EVERY).unwrap();
        let script = "echo one >&2; echo two words >&2; sleep 0.8; head -c 100000 /dev/zero; exit 3";
        let mut command = Command::new("sh");
        let mut seen = Vec::new();
        let output = follow(command.args(["-c", script]), &progress, |line| {
            seen.push(line.to_owned());
            if line.contains(' ') { Keep::Yes } else { Keep::No }
        })
        .unwrap();
        assert_eq!(seen, ["one", "two words"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 100_000));
        assert_eq!(output.stderr, b"two words\n");
        let lines = lines.lock().unwrap();
        assert!(lines.len() == 2 && lines[1].starts_with("  "), "{lines:?}");
    }
}
