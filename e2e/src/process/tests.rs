//! Programs die with their handle, and with a parent that is killed.

use super::*;

/// Ids of the processes of a group that still run (zombies do not).
fn members(group: u32) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        (fields[2] == group.to_string() && fields[0] != "Z").then(|| entry.file_name().display().to_string())
    })
    .collect()
}

fn gone(group: u32) {
    let until = Instant::now() + Duration::from_secs(5);
    while !members(group).is_empty() {
        assert!(Instant::now() < until, "left behind: {:?}", members(group));
        thread::sleep(Duration::from_millis(5));
    }
}

fn program(log: &Path, script: &str) -> Program {
    Program::new("/bin/sh", log).arg("-c").arg(script)
}

#[test]
fn dropping_kills_the_program_and_its_children() {
    let at = tempfile::tempdir().unwrap();
    let log = at.path().join("log");
    let process = program(&log, "sleep 1000 & echo ready; wait").start().unwrap();
    let id = process.id();
    while last_lines(&log, 1) != "ready" {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(members(id).len() >= 3, "the program, its child and the watcher");
    assert!(process.resident_bytes().unwrap() > 0);
    drop(process);
    gone(id);
}

#[test]
fn closing_the_pipe_is_enough_as_when_we_are_killed() {
    let at = tempfile::tempdir().unwrap();
    let mut process = program(&at.path().join("log"), "sleep 1000").start().unwrap();
    drop(process.lifeline.take());
    let status = process.child.wait().unwrap();
    assert!(!status.success());
    gone(process.id());
}

#[test]
fn the_exit_status_is_the_programs_own() {
    let at = tempfile::tempdir().unwrap();
    let log = at.path().join("log");
    let mut process = program(&log, "echo a; echo b >&2; exit 7").start().unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    while process.ended().is_none() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.ended().and_then(|s| s.code()), Some(7));
    assert_eq!(process.last_words(1), "b");
    assert_eq!(process.last_words(9), "a\nb");
}

#[test]
fn stopping_lets_it_end_by_itself() {
    let at = tempfile::tempdir().unwrap();
    let log = at.path().join("log");
    let mut process =
        program(&log, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done").start().unwrap();
    while process.last_words(1) != "ready" {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.stop(Duration::from_secs(5)).and_then(|s| s.code()), Some(3));
}

#[test]
fn a_program_that_does_not_exist_is_an_error() {
    let error = Program::new("/no/such/program", "/dev/null").start().unwrap_err();
    assert!(error.to_string().starts_with("/no/such/program: "), "{error}");
}
