//! Encrypted values in an editor: in clear in one private file, and nowhere once the editor has ended, however it ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Shown, WITHIN, aiswitch, configure, send, show, show_fed, start};
use crate::sandbox::{Sandbox, holds_within};

const SECRET: &str = "sk-edit-0123456789";
const OTHER: &str = "sk-edit-9876543210";

fn presets(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.aiswitch_home().join("config/presets.yaml")).unwrap()
}

/// The folder that stands for the caller's files in memory.
fn memory(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("memory")
}

fn is_wiped(sandbox: &Sandbox) -> bool {
    fs::read_dir(memory(sandbox)).unwrap().count() == 0
}

/// A sandbox with a preset that has a value in clear and two that are encrypted.
fn with_secrets() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir(memory(&sandbox)).unwrap();
    configure(
        &sandbox,
        "presets.yaml",
        "# mine\npresets:\n  work:\n    variables:\n      A_BASE_URL: https://a.example # EU\n",
    );
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    for (name, value) in [("A_KEY", SECRET), ("B_KEY", OTHER)] {
        assert_eq!(show_fed(&sandbox, &["secrets", "set", "work", name], value).code, Some(0));
    }
    sandbox
}

/// The command, with a script for its editor; the script finds the file in `$1`.
fn edit(sandbox: &Sandbox, editor: &str) -> Command {
    let script = sandbox.home().join("editor.sh");
    fs::write(&script, editor).unwrap();
    let mut command = aiswitch(sandbox, &["secrets", "edit", "work"]);
    command.env("EDITOR", format!("/bin/sh '{}'", script.display()));
    command.env("XDG_RUNTIME_DIR", memory(sandbox)).env("PATH", "/usr/bin:/bin");
    command
}

/// Edits to the end, with these answers.
fn edited(sandbox: &Sandbox, editor: &str, answers: &str) -> Shown {
    let path = sandbox.home().join("answers");
    fs::write(&path, answers).unwrap();
    let shown = Shown::from(edit(sandbox, editor).stdin(File::open(path).unwrap()).output().unwrap());
    assert!(!shown.to_string().contains("sk-edit"), "{shown}");
    assert!(is_wiped(sandbox), "{shown}");
    shown
}

fn revealed(sandbox: &Sandbox, name: &str) -> String {
    show(sandbox, &["secrets", "get", "work", name, "--reveal", "--json"]).json()["value"].to_string()
}

#[test]
fn values_are_changed_added_and_removed_in_an_editor() {
    let sandbox = with_secrets();
    assert_eq!(
        show_fed(&sandbox, &["secrets", "set", "work", "A_KEY", "--agent", "echo"], OTHER).code,
        Some(0)
    );
    let before = presets(&sandbox);
    let kept = before.lines().find(|line| line.contains("  A_KEY: ENC")).unwrap();
    let log = sandbox.home().join("log");
    let editor = format!(
        "stat -c %a \"$1\" \"${{1%/*}}\" > '{0}'; cat \"$1\" >> '{0}'\n\
         sed -i '/B_KEY/s/.*/      C_KEY: \"two\\\\nlines\"\\n      D_KEY: env:X/' \"$1\"\n",
        log.display()
    );
    let shown = edited(&sandbox, &editor, "");
    assert_eq!(
        (shown.code, shown.stdout.as_str()),
        (Some(0), "preset `work`: 2 values are encrypted anew, 1 removed\n"),
        "{shown}"
    );
    let seen = fs::read_to_string(log).unwrap();
    assert!(seen.starts_with("600\n700\n# Each value"), "{seen}");
    let values = format!(
        "presets:\n  work:\n    variables:\n      A_KEY: {SECRET}\n      B_KEY: {OTHER}\n    agents:\n      echo:\n        A_KEY: {OTHER}\n"
    );
    assert!(seen.ends_with(&values), "{seen}");
    let after = presets(&sandbox);
    assert!(after.starts_with("# mine\n"), "{after}");
    assert!(after.contains(kept) && !after.contains("B_KEY") && !after.contains("env:X"), "{after}");
    let values = ["A_KEY", "C_KEY", "D_KEY"].map(|name| revealed(&sandbox, name));
    assert_eq!(values, [format!("\"{SECRET}\""), "\"two\\nlines\"".to_owned(), "\"env:X\"".to_owned()]);
    let audit = show(&sandbox, &["audit", "show"]).stdout;
    assert!(audit.contains("secrets.edit") && !audit.contains("sk-edit"), "{audit}");
}

#[test]
fn what_is_not_changed_is_not_written() {
    let sandbox = with_secrets();
    let written =
        || sandbox.aiswitch_home().join("config/presets.yaml").metadata().unwrap().modified().unwrap();
    let before = (presets(&sandbox), written());
    let shown = edited(&sandbox, "touch \"$1\"\n", "");
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "nothing is changed\n"), "{shown}");
    assert_eq!((presets(&sandbox), written()), before);
}

#[test]
fn a_mistake_can_be_mended_and_changes_nothing_until_then() {
    let sandbox = with_secrets();
    let before = presets(&sandbox);
    for (mistake, expected) in [
        ("s/A_KEY: .*/A_KEY: [\"sk-edit/", "the edited text, line "),
        ("s/A_KEY: .*/A_KEY: {sk-edit: 1}/", "the edited text, line 6, does not say values of preset `work`"),
        ("s/work:/home:/", "does not say values of preset `work` alone"),
        ("s/A_KEY: .*/A_KEY: \"\"/", "variable `A_KEY` of preset `work` is empty"),
        ("s/A_KEY: .*/LD_PRELOAD: x/", "can make an agent run foreign code"),
        ("s/A_KEY: .*/A_BASE_URL: https:\\/\\/b.example/", "variable `B_KEY` of preset `work` was encrypted"),
    ] {
        let shown = edited(&sandbox, &format!("sed -i '{mistake}' \"$1\"\n"), "");
        assert!(shown.code == Some(2) && shown.stderr.contains(expected), "{mistake}: {shown}");
        assert!(shown.stderr.ends_with("error: what was edited is not used, and nothing is changed\n"));
        assert_eq!(presets(&sandbox), before, "{mistake}");
    }
    // What was typed at first is still there at the second time.
    let editor = "if grep -q MORE_KEY \"$1\"; then sed -i 's/\\[/x/' \"$1\"; else\n\
                  sed -i 's/A_KEY: .*/MORE_KEY: [/' \"$1\"; fi\n";
    let shown = edited(&sandbox, editor, "y\n");
    assert_eq!(shown.code, Some(0), "{shown}");
    assert_eq!(revealed(&sandbox, "MORE_KEY"), "\"x\"");
}

#[test]
fn an_editor_that_fails_changes_nothing_and_leaves_nothing() {
    let sandbox = with_secrets();
    let before = presets(&sandbox);
    let editor = "sed -i s/edit/lost/ \"$1\"; cp \"$1\" \"$1.swp\"; exit 3\n";
    let shown = edited(&sandbox, editor, "");
    assert!(shown.code == Some(1) && shown.stderr.contains("failed (exit status: 3)"), "{shown}");
    let mut command = edit(&sandbox, "");
    let shown = Shown::from(command.env("VISUAL", "/no/such/editor").output().unwrap());
    assert!(shown.code == Some(1) && shown.stderr.contains("hint: name another with EDITOR"), "{shown}");
    assert!(is_wiped(&sandbox));
    let unknown = show(&sandbox, &["secrets", "edit", "wrk"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("did you mean `work`?"), "{unknown}");
    assert_eq!(presets(&sandbox), before);
}

#[test]
fn a_signal_ends_the_editor_and_leaves_nothing_in_clear() {
    for (signal, code, editor) in [
        (Signal::INT, 130, "exec sleep 60"),
        (Signal::TERM, 143, "exec sleep 60"),
        (Signal::HUP, 143, "exec sleep 60"),
        (Signal::TERM, 143, "trap '' TERM; while :; do sleep 1; done"),
    ] {
        let sandbox = with_secrets();
        let before = presets(&sandbox);
        let began = sandbox.home().join("began");
        let editor = format!("sed -i s/edit/lost/ \"$1\"; : > '{}'; {editor}\n", began.display());
        let child = start(&mut edit(&sandbox, &editor));
        assert!(holds_within(WITHIN, || began.exists()));
        assert!(!is_wiped(&sandbox));
        send(&child, signal);
        let shown = Shown::from(child.wait_with_output().unwrap());
        assert_eq!(shown.code, Some(code), "{shown}");
        assert!(is_wiped(&sandbox), "{shown}");
        assert_eq!(presets(&sandbox), before);
    }
}
