//! A secret is given to the agent that needs it, and stands nowhere else.

use std::fs;
use std::path::Path;

use crate::harness::{configure, show};
use crate::sandbox::{KEY, Sandbox};

/// All files below a folder, and what is in them.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
    found
}

#[test]
fn a_secret_that_an_agent_blurts_out_is_masked_wherever_it_could_show_up() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "presets.yaml",
        "presets: {work: {variables: {WORK_KEY: 'env:MOCK_KEY', PLACE: somewhere}}}\n",
    );
    configure(
        &sandbox,
        "agents.yaml",
        "agents:\n  \
         blurter: {driver: command, command: [/usr/bin/env], preset: work}\n  \
         loser: {driver: command, command: [/bin/sh, -c, 'echo \"lost $WORK_KEY\" >&2; exit 3'], preset: work}\n",
    );
    let mut seen = String::new();
    for format in ["text", "json", "stream-json"] {
        let shown = show(
            &sandbox,
            &["run", "--mode", "write", "-a", "blurter,loser", "--output-format", format, "hello"],
        );
        assert_eq!(shown.code, Some(4), "{shown}");
        assert!(
            shown.stdout.contains("WORK_KEY=[REDACTED]") && shown.stdout.contains("PLACE=somewhere"),
            "{shown}"
        );
        seen.push_str(&shown.to_string());
    }
    for args in [
        vec!["result"],
        vec!["logs"],
        vec!["logs", "-a", "blurter"],
        vec!["logs", "-a", "loser"],
        vec!["runs"],
    ] {
        let shown = show(&sandbox, &args);
        assert_eq!(shown.code, Some(0), "{shown}");
        seen.push_str(&shown.to_string());
    }
    assert!(seen.contains("lost [REDACTED]"));
    assert!(!seen.contains(KEY), "{seen}");
    let files = files(&sandbox.aiswitch_home());
    assert!(files.iter().filter(|(path, _)| path.ends_with("stdout.log")).count() == 6, "{files:#?}");
    for (path, text) in files {
        assert!(!text.contains(KEY), "{path}: {text}");
    }
}

#[test]
fn without_a_preset_an_agent_is_given_no_variable_that_it_does_not_declare() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {lister: {driver: command, command: [/usr/bin/env]}}\n");
    let shown = show(&sandbox, &["run", "-a", "lister", "hello"]);
    let mut names: Vec<&str> =
        shown.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["AISWITCH_RUN", "HOME", "PATH", "TERM"], "{shown}");
}
