//! Presets of other tools are taken over whole or not at all, and their secrets stand in clear nowhere afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::harness::{Shown, aiswitch, configure, show};
use crate::sandbox::Sandbox;

const SECRET: &str = "sk-import-0123456789";
const OTHER: &str = "sk-import-9876543210";

fn presets(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.aiswitch_home().join("config/presets.yaml")).unwrap_or_default()
}

fn write(sandbox: &Sandbox, file: &str, text: &str) -> PathBuf {
    let path = sandbox.home().join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn preset(name: &str, secret: &str) -> String {
    format!(
        "created_at: '2026-11-22T17:32:21.350431'\ndescription: DeepSeek\nname: {name}\ntags:\n- cn\n- cheap\n\
         variables:\n  ANTHROPIC_AUTH_TOKEN: {secret}\n  ANTHROPIC_BASE_URL: https://api.example/anthropic\n"
    )
}

/// A home with a key, and all that the Python tool writes into one.
fn with_python_tool() -> Sandbox {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    write(&sandbox, ".config/aiswitch/presets/DS.yaml", &preset("DS", SECRET));
    write(&sandbox, ".config/aiswitch/presets/other.yaml", &preset("other", OTHER));
    write(&sandbox, ".config/aiswitch/current.yaml", &preset("DS", SECRET));
    write(&sandbox, ".config/aiswitch/config.yaml", "version: 1.0.0\ncurrent_preset: DS\n");
    write(&sandbox, ".zshrc", "alias x=y\n");
    write(
        &sandbox,
        ".bashrc",
        &format!(
            "alias x=y\n# >>> AISwitch environment variables (DS) >>>\nexport ANTHROPIC_AUTH_TOKEN=\"{SECRET}\"\n\
             export ANTHROPIC_BASE_URL=\"https://api.example/anthropic\"\n\
             # <<< AISwitch environment variables (DS) <<<\nalias z=y\n"
        ),
    );
    sandbox
}

fn import(sandbox: &Sandbox, more: &[&str]) -> Shown {
    let shown = show(sandbox, &[&["preset", "import"], more].concat());
    assert!(!shown.to_string().contains(SECRET) && !shown.to_string().contains(OTHER), "{shown}");
    shown
}

fn revealed(sandbox: &Sandbox, preset: &str) -> String {
    show(sandbox, &["secrets", "get", preset, "ANTHROPIC_AUTH_TOKEN", "--reveal"]).stdout
}

const TABLE: &str = "PRESET  WAS    STATE  VARIABLES  ENCRYPTS\n\
    ds      DS     new    2          ANTHROPIC_AUTH_TOKEN\n\
    other   other  new    2          ANTHROPIC_AUTH_TOKEN\n";

#[test]
fn presets_of_the_python_tool_are_shown_taken_over_and_cleared_away() {
    let sandbox = with_python_tool();
    let from = ["--from", "aiswitch"];
    let dry = import(&sandbox, &[&from[..], &["--dry-run"]].concat());
    assert_eq!((dry.code, dry.stdout.as_str(), presets(&sandbox).as_str()), (Some(0), TABLE, ""), "{dry}");
    let done = import(&sandbox, &from);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), TABLE), "{done}");
    assert_eq!(done.stderr, "note: 4 files still hold values in clear; --purge removes those\n");
    let text = presets(&sandbox);
    assert!(!text.contains("sk-") && text.contains("tags: [\"cn\", \"cheap\"]"), "{text}");
    assert_eq!(
        (revealed(&sandbox, "ds"), revealed(&sandbox, "other")),
        (format!("{SECRET}\n"), format!("{OTHER}\n"))
    );

    let unasked = import(&sandbox, &[&from[..], &["--purge"]].concat());
    assert!(
        unasked.code == Some(2) && unasked.stderr.contains("hint: run it at a terminal, or give --yes"),
        "{unasked}"
    );
    let purged = import(&sandbox, &[&from[..], &["--purge", "--yes", "--json"]].concat());
    assert_eq!(
        (purged.code, &purged.json()["written"], &purged.json()["purged"]),
        (Some(0), &false.into(), &true.into())
    );
    assert!(purged.stderr.contains("renews the keys at their providers"), "{purged}");
    assert_eq!(presets(&sandbox), text);
    assert_eq!(fs::read_to_string(sandbox.home().join(".bashrc")).unwrap(), "alias x=y\nalias z=y\n");
    for (value, preset) in [(SECRET, "ds"), (OTHER, "other")] {
        let leaks =
            aiswitch(&sandbox, &["leak-check", &format!("{}/", sandbox.home().display())]).output().unwrap();
        assert_eq!(leaks.status.code(), Some(0), "{}", Shown::from(leaks));
        assert_eq!(revealed(&sandbox, preset), format!("{value}\n"));
    }
    assert!(import(&sandbox, &from).stderr.starts_with("error: no presets are found there\n"));
}

#[test]
fn an_import_that_cannot_be_whole_changes_nothing() {
    let sandbox = with_python_tool();
    let one =
        |variables: &str| format!("{{\"preset\": {{\"name\": \"x\", \"variables\": {{{variables}}}}}}}");
    for (text, expected) in [
        (one("\"A_KEY\": \"***REDACTED***\""), "hint: export it there with --include-secrets"),
        (one("\"LD_PRELOAD\": \"x\""), "can make an agent run foreign code"),
        (one("\"A=B\": \"x\""), "is empty or holds `=` or NUL"),
        (one("\"A\": \"x\\u0000\""), "NUL"),
        (format!("{{\"preset\": {{\"name\": \"x\", \"variables\": [\"{SECRET}\"]}}}}"), "in the form"),
        (format!("{{\"presetz\": \"{SECRET}\"}}"), "in the form"),
        ("presets: {x: {variables: {A_KEY: clear}}}".to_owned(), "holds a secret in clear"),
        ("presets: {x: {variables: {A_KEY: 'ENC[v1,AAAA]'}}}".to_owned(), "damaged"),
        ("presets: {x: {extends: nobody}}".to_owned(), "extends `nobody`, which is not known"),
        (format!("# >>> AISwitch environment variables (x) >>>\nexport A=\"{SECRET}\n"), "in the form"),
        (String::new(), "no presets are found there"),
    ] {
        let path = write(&sandbox, "import", &text);
        let shown = import(&sandbox, &[path.to_str().unwrap(), "--purge", "--yes"]);
        assert!(shown.code == Some(2) && shown.stderr.contains(expected), "{text}\n{shown}");
        assert_eq!((presets(&sandbox).as_str(), path.exists()), ("", true), "{text}");
    }
}

#[test]
fn a_preset_that_is_there_with_other_values_is_replaced_only_when_that_is_said() {
    let sandbox = with_python_tool();
    configure(&sandbox, "presets.yaml", "presets: {other: {variables: {A: b}}}\n");
    let before = presets(&sandbox);
    let refused = import(&sandbox, &["--from", "aiswitch"]);
    assert_eq!((refused.code, presets(&sandbox)), (Some(2), before), "{refused}");
    assert!(refused.stderr.starts_with("error: preset `other` is there already\n"), "{refused}");
    assert_eq!(import(&sandbox, &["--from", "aiswitch", "--force"]).code, Some(0));
    assert_eq!(revealed(&sandbox, "other"), format!("{OTHER}\n"));
}

#[test]
fn without_a_key_nothing_is_taken_over() {
    let sandbox = Sandbox::new();
    let path = write(&sandbox, "presets/a.yaml", &preset("a", SECRET));
    let shown = import(&sandbox, &[path.parent().unwrap().parent().unwrap().to_str().unwrap()]);
    assert!(shown.code == Some(2) && shown.stderr.contains("aiswitch secrets init makes one"), "{shown}");
    assert_eq!(presets(&sandbox), "");
}

#[test]
fn a_value_that_looks_like_a_key_or_a_reference_is_encrypted_whatever_its_name() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    let text = r#"{"version": "1.0.0", "export_time": "x", "global_config": {}, "presets": [{"name": "x", "variables":
        {"A": "sk-1", "B": "env:HOME", "C": "https://u:p@h.example/", "D": "plain \"$(x)\"\n", "E": ""}}]}"#;
    let path = write(&sandbox, "export.json", text);
    let shown = import(&sandbox, &[path.to_str().unwrap()]);
    assert!(shown.stdout.ends_with("x       x    new    5          A,B,C\n"), "{shown}");
    let reveal =
        |name| show(&sandbox, &["secrets", "get", "x", name, "--reveal", "--json"]).json()["value"].clone();
    let values = ["A", "B", "C", "D", "E"].map(reveal);
    assert_eq!(values, ["sk-1", "env:HOME", "https://u:p@h.example/", "plain \"$(x)\"\n", ""]);
}

#[test]
fn what_is_exported_comes_in_again_where_its_key_is() {
    let sandbox = with_python_tool();
    assert_eq!(import(&sandbox, &["--from", "aiswitch"]).code, Some(0));
    assert_eq!(show(&sandbox, &["preset", "add", "child", "--extends", "ds", "X=1"]).code, Some(0));
    let path = sandbox.home().join("out.yaml");
    let args = ["preset", "export", "child", "-o", path.to_str().unwrap()];
    assert_eq!(show(&sandbox, &args).stdout, format!("2 presets are in {}\n", path.display()));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(show(&sandbox, &args).code, Some(2), "a file that is there is not written over");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("ANTHROPIC_AUTH_TOKEN: ENC[v1,") && !text.contains("other"), "{text}");
    assert_eq!(show(&sandbox, &["preset", "export", "child"]).stdout, text);
    for name in ["child", "ds"] {
        assert_eq!(show(&sandbox, &["preset", "remove", name]).code, Some(0));
    }
    let back = import(&sandbox, &[path.to_str().unwrap()]);
    assert_eq!((back.code, revealed(&sandbox, "child")), (Some(0), format!("{SECRET}\n")), "{back}");
    let elsewhere = Sandbox::new();
    assert_eq!(show(&elsewhere, &["secrets", "init"]).code, Some(0));
    let refused = import(&elsewhere, &[path.to_str().unwrap()]);
    assert!(refused.code == Some(2) && refused.stderr.contains("encrypted with another key"), "{refused}");
}
