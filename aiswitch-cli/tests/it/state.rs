//! The records of runs: what does not agree is told and mended, and what is too old goes.

use std::fs;

use crate::harness::{configure, kept_runs, show};
use crate::sandbox::Sandbox;

/// A home with one run.
fn with_a_run() -> Sandbox {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "hello"]).code, Some(0));
    sandbox
}

#[test]
fn doctor_tells_of_a_damaged_database_and_makes_it_anew_from_the_folders_of_runs() {
    let sandbox = with_a_run();
    let runs = || show(&sandbox, &["runs", "--json"]);
    let before = runs().json()[0]["run_id"].clone();
    let state = sandbox.aiswitch_home().join("state");
    for beside in ["runs.db-wal", "runs.db-shm"] {
        drop(fs::remove_file(state.join(beside)));
    }
    fs::write(state.join("runs.db"), "no database".repeat(1000)).unwrap();

    let told = show(&sandbox, &["doctor"]);
    assert!(told.stdout.contains("runs.db` is damaged"), "{told}");
    assert!(told.stdout.contains("has a folder, and stands in no database"), "{told}");
    assert_eq!(runs().code, Some(1), "to look changes nothing");
    let mended = show(&sandbox, &["doctor", "--fix", "--json"]).json();
    assert_eq!(mended["mended"].as_array().unwrap().len(), 2, "{mended}");
    assert_eq!(mended["state"].as_array().unwrap().len(), 0, "{mended}");
    assert_eq!(runs().json()[0]["run_id"], before);
    assert_eq!(show(&sandbox, &["result"]).stdout, "hello\n");
}

#[test]
fn clean_removes_what_is_too_old_and_says_before_what_that_is() {
    let sandbox = with_a_run();
    assert_eq!(show(&sandbox, &["clean"]).stdout, "removed 0 runs and 0 files of logs, 0B\n");
    // Nothing is younger than the next millisecond.
    let clean = |args: &[&str]| show(&sandbox, &[&["clean", "--older-than", "1ms"], args].concat());
    let would = clean(&["--dry-run"]);
    assert!(would.stdout.starts_with("would remove 1 runs and 0 files of logs, "), "{would}");
    assert_eq!(kept_runs(&sandbox).len(), 1);
    let view = clean(&["--json"]).json();
    assert_eq!((view["dry_run"].as_bool(), view["runs"].as_array().unwrap().len()), (Some(false), 1));
    assert_eq!(kept_runs(&sandbox).len(), 0);
    assert_eq!(show(&sandbox, &["runs", "--json"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn a_run_removes_what_is_too_old_once_a_day() {
    let sandbox = with_a_run();
    assert_eq!(show(&sandbox, &["clean"]).code, Some(0));
    configure(&sandbox, "coordination.yaml", "retention: {runs: 1ms, logs: 1d, logs_mb: 1}\n");
    let run = || {
        assert_eq!(show(&sandbox, &["run", "-a", "echo", "hello"]).code, Some(0));
        kept_runs(&sandbox).len()
    };
    assert_eq!(run(), 2, "it was looked for today already");
    fs::remove_file(sandbox.aiswitch_home().join("state/cleaned")).unwrap();
    assert_eq!(run(), 1, "only the run that went on");
    configure(&sandbox, "coordination.yaml", "retention: {run: 1d}\n");
    let refused = show(&sandbox, &["run", "-a", "echo", "hello"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("coordination.yaml:1:"), "{refused}");
}
