//! A project file counts only as it was when a person trusted it, and never says more than it may.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Shown, configure, show};
use crate::sandbox::Sandbox;

const PROJECT: &str = "agents: [lister]\npreset: work\nmode: write\ntimeout: 9m\nmax_parallel: 2\n";

fn write(sandbox: &Sandbox, text: &str) -> PathBuf {
    let path = sandbox.workspace().join(".aiswitch.yaml");
    fs::write(&path, text).unwrap();
    path
}

fn with_project() -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {lister: {driver: command, command: [/usr/bin/env]}}\n");
    configure(&sandbox, "presets.yaml", "presets: {work: {variables: {OF_WORK: 'yes'}}}\n");
    let path = write(&sandbox, PROJECT);
    (sandbox, path)
}

/// What a run without any option does, with its notes.
fn run(sandbox: &Sandbox) -> Shown {
    show(sandbox, &["run", "--json", "hello"])
}

fn agents(shown: &Shown) -> String {
    let report = shown.json();
    report["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap()).collect()
}

#[test]
fn a_project_file_is_heeded_once_it_is_trusted_and_until_it_is_changed() {
    let (sandbox, path) = with_project();
    let unknown = run(&sandbox);
    let next = "read it, then: aiswitch trust\n";
    assert_eq!(agents(&unknown), "echo", "{unknown}");
    let note = format!("note: {} is not heeded: it is not trusted; {next}", path.display());
    assert!(unknown.stderr.starts_with(&note), "{unknown}");

    let trusted = show(&sandbox, &["trust"]);
    assert_eq!(
        (trusted.code, trusted.stdout),
        (Some(0), format!("{} is trusted as it is now\n", path.display()))
    );
    let below = sandbox.workspace().join("a/b");
    fs::create_dir_all(&below).unwrap();
    for folder in [sandbox.workspace(), below] {
        let heeded = show(&sandbox, &["run", "--json", "-C", folder.to_str().unwrap(), "hello"]);
        assert_eq!(agents(&heeded), "lister", "{heeded}");
        assert!(heeded.json()["agents"][0]["answer"].as_str().unwrap().contains("OF_WORK=yes"), "{heeded}");
        assert!(!heeded.stderr.contains("heeded"), "{heeded}");
    }
    let other = show(&sandbox, &["run", "--json", "-a", "echo", "hello"]);
    assert_eq!(agents(&other), "echo", "what the command line says comes first");
    let listed = show(&sandbox, &["trust", "--list"]).stdout;
    assert_eq!(listed, format!("STATE    PATH\ntrusted  {}\n", path.display()));
    let file = sandbox.aiswitch_home().join("state/trusted.json");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    write(&sandbox, &PROJECT.replace("9m", "8m"));
    let changed = run(&sandbox);
    assert_eq!(agents(&changed), "echo", "{changed}");
    assert!(changed.stderr.contains("it was changed since it was trusted; read it, then:"), "{changed}");
    assert!(show(&sandbox, &["trust", "--list"]).stdout.contains("changed  "));
    write(&sandbox, PROJECT);
    assert_eq!(agents(&run(&sandbox)), "lister");

    assert_eq!(show(&sandbox, &["trust", "--remove"]).code, Some(0));
    assert_eq!(agents(&run(&sandbox)), "echo");
    let none = show(&sandbox, &["trust", "--remove"]);
    assert!(none.code == Some(2) && none.stderr.contains("no project file is trusted"), "{none}");
    let audit = show(&sandbox, &["audit", "show"]).stdout;
    assert!(
        audit.contains("trust ") && audit.contains("trust.remove") && audit.contains("sha256:"),
        "{audit}"
    );
}

#[test]
fn the_mode_and_the_limits_of_a_project_are_those_of_its_runs() {
    let (sandbox, _) = with_project();
    assert_eq!(show(&sandbox, &["trust"]).code, Some(0));
    let planned = || show(&sandbox, &["run", "--dry-run", "--json", "hello"]);
    let write_mode = planned();
    assert_eq!(write_mode.json()[0]["mode"], "write", "{write_mode}");
    write(&sandbox, "agents: [echo]\nmode: read-only\ntimeout: 50ms\n");
    assert_eq!(show(&sandbox, &["trust"]).code, Some(0));
    configure(&sandbox, "agents.yaml", "agents: {echo: {driver: echo, args: [--stall]}}\n");
    assert_eq!(planned().json()[0]["mode"], "read-only");
    let late = run(&sandbox);
    assert_eq!((late.code, &late.json()["status"]), (Some(3), &"timed_out".into()), "{late}");
}

#[test]
fn a_project_file_that_says_what_it_may_not_is_not_trusted() {
    let (sandbox, _) = with_project();
    for (text, expected) in [
        ("mode: yolo\n", ":1:7: unknown value `yolo`\n  hint: known here: read-only, write"),
        ("command: [sh]\n", "unknown key `command`"),
        ("variables: {A: b}\n", "unknown key `variables`"),
        ("agents: {x: {driver: command}}\n", "hint: what may stand there: aiswitch schema project"),
        ("max_parallel: 0\n", "hint: what may stand there: aiswitch schema project"),
    ] {
        write(&sandbox, text);
        let shown = show(&sandbox, &["trust"]);
        assert!(shown.code == Some(2) && shown.stderr.contains(expected), "{text}{shown}");
        assert_eq!(show(&sandbox, &["trust", "--list"]).stdout, "STATE  PATH\n");
    }
    fs::remove_file(sandbox.workspace().join(".aiswitch.yaml")).unwrap();
    let none = show(&sandbox, &["trust"]);
    assert!(none.code == Some(2) && none.stderr.contains("there is no `.aiswitch.yaml`"), "{none}");
    assert_eq!(run(&sandbox).code, Some(0));
}

#[test]
fn what_is_trusted_is_not_taken_from_a_file_that_others_could_change() {
    let (sandbox, _) = with_project();
    assert_eq!(show(&sandbox, &["trust"]).code, Some(0));
    let file = sandbox.aiswitch_home().join("state/trusted.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let shown = run(&sandbox);
    assert!(shown.code == Some(2) && shown.stderr.contains("is not used: others may"), "{shown}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "{").unwrap();
    let shown = run(&sandbox);
    assert!(shown.code == Some(2) && shown.stderr.contains("hint: remove it, and trust again"), "{shown}");
}
