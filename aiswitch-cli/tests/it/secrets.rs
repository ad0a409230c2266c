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
        vec!["logs", "last"],
        vec!["logs", "last", "-a", "blurter"],
        vec!["logs", "last", "-a", "loser"],
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

#[test]
fn a_leak_check_finds_a_planted_secret_in_every_form_and_none_in_a_clean_run() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "presets.yaml", "presets: {work: {variables: {WORK_KEY: 'env:MOCK_KEY'}}}\n");
    configure(
        &sandbox,
        "agents.yaml",
        "agents: {blurter: {driver: command, command: [/usr/bin/env], preset: work}}\n",
    );
    let none = show(&sandbox, &["leak-check"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""), "{none}");
    let run = show(&sandbox, &["run", "-a", "blurter", "--json", "hello"]);
    let clean = show(&sandbox, &["leak-check"]);
    assert_eq!(clean.code, Some(0), "{clean}");
    assert!(clean.stdout.starts_with("0 leaks of 2 secrets, in every form, in "), "{clean}");

    let id = run.json()["run_id"].as_str().unwrap().to_owned();
    let folder = sandbox.aiswitch_home().join("runs").join(&id);
    let planted = folder.join("agents/blurter/notes.txt");
    // "sk-mock-5d1f0a" behind one byte, as `base64` writes it.
    fs::write(&planted, format!("..{KEY}\nOnNrLW1vY2stNWQxZjBh\n")).unwrap();
    let leaky = show(&sandbox, &["leak-check", &id, "--json"]);
    assert_eq!(leaky.code, Some(8), "{leaky}");
    assert!(!leaky.to_string().contains(KEY));
    let leaks: Vec<_> = leaky.json()["leaks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|leak| (leak["path"].clone(), leak["at"].clone(), leak["form"].clone()))
        .collect();
    let planted = planted.to_str().unwrap();
    assert_eq!(
        leaks,
        [(planted.into(), 2.into(), "plain".into()), (planted.into(), 19.into(), "base64".into())]
    );
    let path = show(&sandbox, &["leak-check", planted]);
    assert_eq!(path.code, Some(8), "{path}");
    let missing = show(&sandbox, &["leak-check", "./nowhere"]);
    assert_eq!(missing.code, Some(1), "{missing}");
}

#[test]
fn a_leak_check_that_knows_no_secret_proves_nothing_and_says_so() {
    let sandbox = Sandbox::new();
    show(&sandbox, &["run", "-a", "echo", "hello"]).code.unwrap();
    let shown: crate::harness::Shown =
        crate::harness::aiswitch(&sandbox, &["leak-check"]).env_remove("MOCK_KEY").output().unwrap().into();
    assert_eq!(
        (shown.code, shown.stderr.as_str()),
        (
            Some(2),
            "error: no secret of at least 8 bytes is known, so none could be found\n  \
             hint: run it where the variables that presets name are set\n"
        )
    );
}
