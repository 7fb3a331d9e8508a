//! Runs a program to its end and gives back what it printed.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{command}: {said}")]
pub struct CommandError {
    command: String,
    /// What it said on stderr, or why it could not be run.
    pub said: String,
    /// Its exit status, if it ran.
    pub code: Option<i32>,
}

/// Runs `program`, with `input` on its stdin; returns its stdout.
pub async fn run(program: &Path, arguments: &[&str], input: Option<&str>) -> Result<String, CommandError> {
    let name = program.file_name().unwrap_or_default().display();
    let command = format!("{name} {}", arguments.join(" "));
    let failed = |said: String, code| CommandError { command: command.clone(), said, code };
    let broken = |error: std::io::Error| failed(error.to_string(), None);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not read to the end says so by its exit status.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.map_err(broken)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned(), output.status.code()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_back_stdout_or_what_went_wrong() {
        let shell = Path::new("/bin/sh");
        assert_eq!(run(shell, &["-c", "cat"], Some("a\nb")).await.unwrap(), "a\nb");
        let error = run(shell, &["-c", "echo why >&2; exit 3"], None).await.unwrap_err();
        assert_eq!((error.said.as_str(), error.code), ("why", Some(3)));
        let error = run(Path::new("/no/such"), &[], None).await.unwrap_err();
        assert_eq!(error.code, None);
    }
}
