//! What only the operator may do stands in the audit log before it is done, or is not done.
#![expect(clippy::disallowed_methods, reason = "tests of the command start it")]

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::harness::{Shown, aiswitch, kept_runs, show};
use crate::sandbox::Sandbox;

const SECRET: &str = "sk-audit-0123456789";

/// Every privileged command, in an order in which each can be done: its words, its input, and what the log says of it.
const PRIVILEGED: &[(&[&str], &str, (&str, &str))] = &[
    (&["secrets", "init"], "", ("secrets.init", "secrets")),
    (&["preset", "add", "work", "PLACE=here"], "", ("preset.add", "work")),
    (&["preset", "edit", "work", "PLACE=there"], "", ("preset.edit", "work")),
    (&["secrets", "set", "work", "A_KEY"], SECRET, ("secrets.set", "work/A_KEY")),
    (&["secrets", "get", "work", "A_KEY", "--reveal"], "", ("secrets.reveal", "work/A_KEY")),
    (&["secrets", "rotate"], "", ("secrets.rotate", "secrets")),
    (&["secrets", "rekey"], "", ("secrets.rekey", "secrets")),
    (&["secrets", "lock"], "", ("secrets.lock", "identity")),
    (&["secrets", "lock", "--remove"], "", ("secrets.unlock", "identity")),
    (&["apply", "work", "--", "/bin/true"], "", ("apply", "work")),
    (&["preset", "remove", "work"], "", ("preset.remove", "work")),
];

/// A command that has a passphrase at hand, and is called by an agent if one is named.
fn done(sandbox: &Sandbox, args: &[&str], input: &str, by: Option<&str>) -> Shown {
    let passphrase = sandbox.home().join("passphrase");
    fs::write(&passphrase, "correct horse").unwrap();
    fs::set_permissions(&passphrase, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = aiswitch(sandbox, args);
    command.env("AISWITCH_PASSPHRASE_FILE", passphrase);
    if let Some(agent) = by {
        command.env("AISWITCH_RUN", format!("01K9XJ5V7C8N3T2B4M6P0QRSWY:{agent}"));
    }
    let file = sandbox.home().join("input");
    fs::write(&file, input).unwrap();
    let mut cat = std::process::Command::new("cat").arg(file).stdout(Stdio::piped()).spawn().unwrap();
    let shown = command.stdin(cat.stdout.take().unwrap()).output().unwrap().into();
    cat.wait().unwrap();
    shown
}

/// What the log says: who, what, of what, and the decision.
fn lines(sandbox: &Sandbox) -> Vec<[String; 4]> {
    let shown = show(sandbox, &["audit", "show", "--json"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let of = |line: &serde_json::Value| ["actor", "action", "object", "decision"].map(|key| text(&line[key]));
    shown.json().as_array().unwrap().iter().map(of).collect()
}

fn log_file(sandbox: &Sandbox) -> PathBuf {
    let folder = sandbox.aiswitch_home().join("audit");
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "jsonl")).unwrap()
}

#[test]
fn every_privileged_verb_writes_a_line_and_no_secret() {
    let sandbox = Sandbox::new();
    let mut expected = Vec::new();
    for (args, input, (action, object)) in PRIVILEGED {
        let shown = done(&sandbox, args, input, None);
        assert_eq!(shown.code, Some(0), "{args:?}: {shown}");
        expected.push(["operator", action, object, "allowed"].map(str::to_owned));
        assert_eq!(lines(&sandbox), expected, "{args:?}");
    }
    for args in [["secrets", "doctor"], ["preset", "list"], ["audit", "verify"], ["preset", "validate"]] {
        show(&sandbox, &args).code.unwrap();
    }
    assert_eq!(lines(&sandbox), expected, "looking is not privileged");
    let log = fs::read_to_string(log_file(&sandbox)).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    let verified = show(&sandbox, &["audit", "verify"]);
    let good = format!("{} good lines; the last one is ", PRIVILEGED.len());
    assert!(verified.code == Some(0) && verified.stdout.starts_with(&good), "{verified}");
}

#[test]
fn an_agent_may_do_nothing_that_is_privileged_and_its_attempts_are_kept() {
    let sandbox = Sandbox::new();
    for (at, (args, input, (action, object))) in PRIVILEGED.iter().enumerate() {
        let log = |count: usize| lines(&sandbox).split_off(count);
        let before = 2 * at;
        let refused = done(&sandbox, args, input, Some("claude"));
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(5), ""), "{args:?}: {refused}");
        let told = format!("error: `{action}` is for the operator alone, and the caller is `agent:claude`\n");
        assert!(refused.stderr.starts_with(&told), "{args:?}: {refused}");
        assert_eq!(log(before), [["agent:claude", action, object, "denied"].map(str::to_owned)]);
        // What was refused was not done, so it can be.
        let shown = done(&sandbox, args, input, None);
        assert_eq!(shown.code, Some(0), "{args:?}: {shown}");
        assert_eq!(log(before + 1), [["operator", action, object, "allowed"].map(str::to_owned)]);
    }
}

#[test]
fn nothing_privileged_is_done_when_the_log_cannot_hold_it() {
    let sandbox = Sandbox::new();
    let first = done(&sandbox, PRIVILEGED[0].0, "", None);
    assert_eq!(first.code, Some(0), "{first}");
    let log = log_file(&sandbox);
    let whole = fs::read_to_string(&log).unwrap();
    // A passphrase takes a second to be made a key; what it is taken away from was never given one here.
    let is_slow = |args: &[&str]| args.starts_with(&["secrets", "lock"]);
    for (args, input, (action, _)) in &PRIVILEGED[1..] {
        if args.contains(&"--remove") {
            continue;
        }
        fs::write(&log, whole.replace("secrets.init", "secrets.INIT")).unwrap();
        let presets = sandbox.aiswitch_home().join("config/presets.yaml");
        let before = fs::read(&presets).unwrap_or_default();
        let refused = done(&sandbox, args, input, None);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{args:?}: {refused}");
        let told = format!("error: `{action}` is not done, since the audit log cannot hold it\n");
        assert!(
            refused.stderr.starts_with(&told) && refused.stderr.contains("aiswitch audit verify"),
            "{refused}"
        );
        assert_eq!(fs::read(&presets).unwrap_or_default(), before, "{args:?}");
        if is_slow(args) {
            continue;
        }
        // The next row needs what this one does.
        fs::remove_dir_all(sandbox.aiswitch_home().join("audit")).unwrap();
        let shown = done(&sandbox, args, input, None);
        assert_eq!(shown.code, Some(0), "{args:?}: {shown}");
        fs::remove_dir_all(sandbox.aiswitch_home().join("audit")).unwrap();
        let again = done(&sandbox, &["secrets", "rekey"], "", None);
        assert_eq!(again.code, Some(0), "{again}");
        fs::write(&log, &whole).unwrap();
    }
}

#[test]
fn a_run_in_mode_yolo_is_the_operators_and_stands_in_the_log() {
    let sandbox = Sandbox::new();
    let run = ["run", "-a", "echo", "--mode", "yolo", "hello"];
    let shown = done(&sandbox, &run, "", Some("codex"));
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(5), ""), "{shown}");
    assert!(
        shown
            .stderr
            .starts_with("error: mode `yolo` is for the operator alone, and the caller is `agent:codex`\n")
    );
    assert_eq!(kept_runs(&sandbox).len(), 0);
    let shown = done(&sandbox, &["run", "-a", "echo", "--mode", "write", "hello"], "", Some("codex"));
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "hello\n"), "{shown}");
    let shown = done(&sandbox, &run, "", None);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "hello\n"), "{shown}");
    let found: Vec<_> =
        lines(&sandbox).into_iter().map(|[who, what, _, decision]| [who, what, decision]).collect();
    let expected = [["agent:codex", "run.yolo", "denied"], ["operator", "run.yolo", "allowed"]];
    assert_eq!(found, expected.map(|line| line.map(str::to_owned)));
    // A log that is broken holds nothing more.
    fs::write(log_file(&sandbox), "").unwrap();
    let shown = done(&sandbox, &run, "", None);
    assert!(shown.code == Some(2) && shown.stderr.contains("mode `yolo` is not used"), "{shown}");
}

#[test]
fn verify_names_the_first_bad_line_and_exits_with_8() {
    let sandbox = Sandbox::new();
    let empty = show(&sandbox, &["audit", "verify"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), "0 good lines\n"));
    assert!(!sandbox.aiswitch_home().join("locks").exists());
    for variable in ["A=1", "A=2", "A=3"] {
        let verb = if variable == "A=1" { "add" } else { "edit" };
        assert_eq!(show(&sandbox, &["preset", verb, "work", variable]).code, Some(0));
    }
    let last = show(&sandbox, &["audit", "show", "-n", "1"]);
    assert!(last.stdout.lines().count() == 2 && last.stdout.contains("preset.edit"), "{last}");
    let log = log_file(&sandbox);
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("preset.edit", "preset.exit", 1)).unwrap();
    let shown = show(&sandbox, &["audit", "verify"]);
    let path = log.display();
    let told = format!(
        "broken at line 2 of {path}: it was changed after it was written\n1 good lines; the last one is "
    );
    assert!(shown.code == Some(8) && shown.stdout.starts_with(&told), "{shown}");
    let json = show(&sandbox, &["audit", "verify", "--json"]).json();
    assert_eq!(
        (json["broken"]["line"].as_u64(), json["broken"]["kind"].as_str()),
        (Some(2), Some("changed"))
    );
    let (kept, _) = text.rsplit_once("{\"seq\":3").unwrap();
    fs::write(&log, kept).unwrap();
    let shown = show(&sandbox, &["audit", "verify"]);
    let told = format!("broken at line 3 of {path}: lines from here on are gone: 1\n2 good lines");
    assert!(shown.code == Some(8) && shown.stdout.starts_with(&told), "{shown}");
}

#[test]
fn a_log_that_was_written_anew_does_not_have_the_hash_that_was_kept() {
    let sandbox = Sandbox::new();
    let edit = |verb: &str| assert_eq!(show(&sandbox, &["preset", verb, "work", "A=1"]).code, Some(0));
    edit("add");
    let kept = show(&sandbox, &["audit", "verify", "--json"]).json()["hash"].as_str().unwrap().to_owned();
    edit("edit");
    let verify = |kept: &str| show(&sandbox, &["audit", "verify", "--kept", kept]);
    assert_eq!(verify(&kept).code, Some(0));
    assert_eq!(verify("0000").code, Some(8));
    fs::remove_dir_all(sandbox.aiswitch_home().join("audit")).unwrap();
    edit("edit");
    assert_eq!(show(&sandbox, &["audit", "verify"]).code, Some(0), "it is whole");
    let shown = verify(&kept);
    let told = "no line has the hash that was kept: this is another log\n1 good lines; ";
    assert!(shown.code == Some(8) && shown.stdout.starts_with(told), "{shown}");
}

#[test]
fn an_agent_that_drops_its_mark_is_known_by_what_started_it() {
    let sandbox = Sandbox::new();
    let (program, home) = (env!("CARGO_BIN_EXE_aiswitch"), sandbox.aiswitch_home());
    // With nothing of its environment, in a session of its own, and by a process whose parent has ended.
    let plain = format!("env -i {program} --home {} preset add own A=1", home.display());
    let orphan = format!(
        "(setsid sh -c 'while [ ! -e go ]; do :; done; {plain} >out 2>&1; echo $? >code' &); touch go"
    );
    let script = format!("{plain} 2>&1; echo $?; {orphan}; while [ ! -s code ]; do :; done; cat out code");
    let agents =
        serde_json::json!({"agents": {"sly": {"driver": "command", "command": ["/bin/sh", "-c", script]}}});
    crate::harness::configure(&sandbox, "agents.yaml", &agents.to_string());
    let mut command = aiswitch(&sandbox, &["run", "-a", "sly", "hello"]);
    let shown: Shown = command.env("PATH", "/usr/bin:/bin").output().unwrap().into();
    let refused = "error: `preset.add` is for the operator alone, and the caller is `agent:sly`\n";
    let hint = "  hint: no agent may do it, nor what an agent starts; do it at a terminal of your own\n";
    assert_eq!(shown.stdout, format!("{refused}{hint}5\n{refused}{hint}5\n"), "{shown}");
    let denied = ["agent:sly", "preset.add", "own", "denied"].map(str::to_owned);
    assert_eq!(lines(&sandbox), [denied.clone(), denied]);
    assert!(!home.join("config/presets.yaml").exists());
}

#[test]
fn writers_that_work_at_once_or_are_killed_leave_a_log_that_is_whole() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["preset", "add", "work", "A=0"]).code, Some(0));
    let edits: Vec<_> = (1..=8)
        .map(|at| {
            crate::harness::start(&mut aiswitch(&sandbox, &["preset", "edit", "work", &format!("A={at}")]))
        })
        .collect();
    for edit in edits {
        assert!(edit.wait_with_output().unwrap().status.success());
    }
    assert_eq!(lines(&sandbox).len(), 9);
    let mut killed = 0;
    for at in 0..60 {
        let mut edit =
            crate::harness::start(&mut aiswitch(&sandbox, &["preset", "edit", "work", &format!("A=k{at}")]));
        // At a moment that moves through all that it does.
        let moment = std::time::Instant::now() + std::time::Duration::from_micros(at * 300);
        while std::time::Instant::now() < moment {
            std::hint::spin_loop();
        }
        edit.kill().unwrap();
        killed += usize::from(edit.wait().unwrap().code().is_none());
    }
    assert!(killed > 5, "{killed} of 60 were killed in time");
    let last = show(&sandbox, &["preset", "edit", "work", "A=last"]);
    assert_eq!(last.code, Some(0), "{last}");
    let verified = show(&sandbox, &["audit", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified}");
    assert!(lines(&sandbox).len() >= 10 + 60 - killed);
}
