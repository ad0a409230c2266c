//! `aiswitch env`: an agent is moved to another preset, or stays where it is; nothing ends between the two.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;

use aiswitch_lock::{BlockingLockManager, FileLockManager, LockGuard, LockName, LockOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Shown, WITHIN, aiswitch, configure, send, show_fed, start};
use crate::sandbox::{Sandbox, holds_within};

/// An adapter that gets ready once the file `go` is there, unless its key is bad; it answers with the start of its key.
const ADAPTER: &str = r#"#!/bin/sh
id_of() { printf '%s' "$1" | sed 's/^{"jsonrpc":"2.0","id":\("[^"]*"\|[0-9][0-9]*\).*/\1/'; }
touch started
while read -r line; do
    id=$(id_of "$line")
    case $line in
        *agent.initialize*)
            until [ -e go ]; do sleep 0.02; done
            [ "$KEY" != bad-bad-bad ] || { echo "key $KEY refused" >&2; exit 3; }
            r='{"protocol_version":1,"agent":{"name":"a","version":"1"}}' ;;
        *agent.shutdown*) printf '{"jsonrpc":"2.0","id":%s,"result":null}\n' "$id"; exit 0 ;;
        *) r="{\"status\":\"completed\",\"answer\":\"${KEY%%-*}\"}" ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done
"#;

const PRESETS: &str = "presets:
  old: {variables: {KEY: 'env:OLD', X_BASE_URL: 'https://old.example'}}
  new: {variables: {KEY: 'env:NEW', X_BASE_URL: 'https://new.example'}}
  bad: {variables: {KEY: 'env:BAD'}}
";

struct Bench {
    sandbox: Sandbox,
}

impl Bench {
    /// An agent `mine` that is bound to `old`.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let adapter = sandbox.home().join("adapter.sh");
        fs::write(&adapter, ADAPTER).unwrap();
        fs::set_permissions(&adapter, fs::Permissions::from_mode(0o755)).unwrap();
        let agents =
            format!("agents: {{mine: {{driver: rpc, command: [/bin/sh, {}]}}}}\n", adapter.display());
        configure(&sandbox, "agents.yaml", &agents);
        configure(&sandbox, "presets.yaml", PRESETS);
        let bench = Self { sandbox };
        bench.go(true);
        let bound = bench.show(&["env", "switch", "mine", "old"]);
        assert_eq!(bound.code, Some(0), "{bound}");
        bench
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = aiswitch(&self.sandbox, args);
        command.env("PATH", "/usr/bin:/bin");
        command.envs([("OLD", "old-old-old"), ("NEW", "new-new-new"), ("BAD", "bad-bad-bad")]);
        command
    }

    fn show(&self, args: &[&str]) -> Shown {
        self.command(args).output().unwrap().into()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.sandbox.workspace().join(name)
    }

    /// Lets the adapter get ready, or not.
    fn go(&self, may: bool) {
        if may {
            fs::write(self.file("go"), "").unwrap();
        } else {
            fs::remove_file(self.file("go")).unwrap();
        }
    }

    /// The start of the key that a run of the agent has.
    fn key(&self) -> String {
        self.go(true);
        let shown = self.show(&["run", "--quiet", "-a", "mine", "hello"]);
        shown.stdout.trim().to_owned()
    }

    fn records(&self) -> Value {
        serde_json::from_slice(&fs::read(self.sandbox.aiswitch_home().join("state/env.json")).unwrap())
            .unwrap()
    }

    /// The step of the last switch.
    fn step(&self) -> String {
        let records = self.records();
        let last = records["switches"].as_array().unwrap().last().unwrap().clone();
        last["step"].as_str().unwrap().to_owned()
    }

    fn locks(&self) -> FileLockManager {
        FileLockManager::open(self.sandbox.aiswitch_home().join("locks")).unwrap()
    }

    /// Takes a lock that the command needs for its next step.
    fn take(&self, lock: &str) -> LockGuard {
        self.locks()
            .acquire(&LockName::Resource(lock.to_owned()), &LockOptions::new().with_timeout(WITHIN))
            .unwrap()
    }

    /// How many wait for a lock.
    fn waiting(&self, lock: &str) -> usize {
        let name = LockName::Resource(lock.to_owned());
        BlockingLockManager::inspect(&self.locks(), &name).unwrap().waiters.len()
    }

    /// A switch to a preset, whose adapter does not get ready yet.
    fn switching(&self, preset: &str) -> Child {
        self.go(false);
        fs::remove_file(self.file("started")).unwrap();
        let child = start(&mut self.command(&["env", "switch", "mine", preset]));
        assert!(holds_within(WITHIN, || self.file("started").exists()), "the adapter starts");
        child
    }

    fn killed(&self, mut child: Child) {
        send(&child, Signal::KILL);
        child.wait().unwrap();
        assert!(
            holds_within(WITHIN, || self.sandbox.processes().is_empty()),
            "{:?}",
            self.sandbox.processes()
        );
    }
}

const STATE: &str = "aiswitch/state";

#[test]
fn a_switch_is_what_runs_use_until_it_is_taken_back() {
    let bench = Bench::new();
    let moved = bench.show(&["env", "switch", "mine", "new", "--json"]).json();
    assert_eq!(
        (&moved["from"], &moved["to"], &moved["step"]),
        (&json!("old"), &json!("new"), &json!("committed"))
    );
    assert_eq!(bench.key(), "new");
    let named = bench.show(&["run", "--quiet", "-a", "mine@old", "hello"]);
    assert_eq!(named.stdout.trim(), "old", "what the command line says comes first");

    configure(&bench.sandbox, "presets.yaml", &PRESETS.replace("env:OLD", "env:NEW"));
    let back = bench.show(&["env", "rollback", "mine"]);
    let id = bench.records()["switches"][2]["id"].as_str().unwrap().to_owned();
    let said = "mine runs under preset old, before it was preset new; back: aiswitch env rollback mine";
    assert_eq!((back.stdout, back.code), (format!("{said} {id}\n"), Some(0)));
    assert_eq!(bench.key(), "old", "it is what the snapshot says, though the preset was changed");

    let dry = bench.show(&["run", "--dry-run", "-a", "mine", "hello"]).stdout;
    assert!(dry.contains("\n  preset       old (bound by aiswitch env switch)\n"), "{dry}");
    let audit = bench.show(&["audit", "show"]).stdout;
    assert!(audit.contains("env.switch") && audit.contains("env.rollback"), "{audit}");
}

#[test]
fn what_does_not_prove_itself_is_taken_back_and_said_without_its_key() {
    let bench = Bench::new();
    let failed = bench.show(&["env", "switch", "mine", "bad"]);
    assert_eq!(
        (failed.stderr.as_str(), failed.code),
        (
            "error: agent `mine` stays under preset `old`, since it did not prove itself under preset `bad`\n  \
             because: it ended with exit code 3 before it answered: key [REDACTED] refused\n",
            Some(1)
        )
    );
    assert_eq!((bench.step().as_str(), bench.key().as_str()), ("rolled_back", "old"));
    let history = bench.show(&["env", "history", "mine"]).stdout;
    assert!(history.contains("rolled back") && !history.contains("bad-bad-bad"), "{history}");
}

#[test]
fn every_problem_is_listed_and_nothing_is_touched() {
    let bench = Bench::new();
    configure(
        &bench.sandbox,
        "presets.yaml",
        "presets:\n  broken: {variables: {A: 'env:UNSET', B: 'file:/no/such/file', C_KEY: 'ENC[v1,eA]'}}\n  old: {}\n",
    );
    let before = bench.records();
    let found = bench.show(&["env", "validate", "mine", "broken", "--json"]);
    assert_eq!(found.code, Some(2), "{found}");
    let kinds: Vec<Value> =
        found.json()["problems"].as_array().unwrap().iter().map(|problem| problem["kind"].clone()).collect();
    assert_eq!(kinds, ["variable_missing", "variable_unreadable", "variable_unreadable"]);
    assert_eq!(bench.show(&["env", "switch", "mine", "broken", "--dry-run"]).code, Some(2));
    let refused = bench.show(&["env", "switch", "mine", "broken"]);
    assert_eq!(refused.stderr.matches("because: ").count(), 3, "{refused}");
    assert_eq!((refused.code, bench.records()), (Some(2), before));
    for (args, error) in [
        (["switch", "mien", "old"], "agent `mien` is not known\n  hint: did you mean `mine`?"),
        (["switch", "mine", "odl"], "preset `odl` is not known\n  hint: did you mean `old`?"),
    ] {
        let shown = bench.show(&[&["env"][..], &args].concat());
        assert!(shown.code == Some(2) && shown.stderr.contains(error), "{shown}");
    }
}

#[test]
fn a_dry_run_shows_what_would_become_of_each_variable() {
    let bench = Bench::new();
    let dry = bench.show(&["env", "switch", "mine", "bad", "--dry-run"]);
    assert_eq!(
        dry.stdout,
        "mine can be moved to preset bad\n  changed  KEY\n  unset    X_BASE_URL  leads elsewhere\n"
    );
    assert_eq!(bench.key(), "old");
}

#[test]
fn no_agent_moves_itself() {
    let bench = Bench::new();
    let script = format!("exec {} env switch mine new", env!("CARGO_BIN_EXE_aiswitch"));
    let agents = format!(
        "agents: {{thief: {{driver: command, command: [/usr/bin/env, AISWITCH_HOME={}, /bin/sh, -c, {script:?}]}}}}\n",
        bench.sandbox.aiswitch_home().display()
    );
    configure(&bench.sandbox, "agents.yaml", &agents);
    let run = bench.show(&["run", "-a", "thief", "hello"]);
    assert!(run.stderr.contains("exit code 5"), "{run}");
    let audit = bench.show(&["audit", "show"]).stdout;
    assert!(audit.lines().any(|line| line.contains("agent:thief") && line.contains("denied")), "{audit}");
    assert_eq!(bench.records()["bindings"]["mine"]["preset"], "old");
}

#[test]
fn a_switch_waits_for_the_turn_of_another_process_or_has_it_end() {
    for cancel in [false, true] {
        let bench = Bench::new();
        bench.go(false);
        fs::remove_file(bench.file("started")).unwrap();
        let mut run = start(&mut bench.command(&["run", "-a", "mine", "hello"]));
        assert!(holds_within(WITHIN, || bench.file("started").exists()));
        let how = if cancel { "--cancel" } else { "--wait" };
        let mut switch =
            start(&mut bench.command(&["env", "switch", "mine", "new", how, "--probe", "nothing"]));
        assert!(holds_within(WITHIN, || bench.step() == "begun" || cancel));
        if !cancel {
            assert_eq!(switch.try_wait().unwrap(), None, "it waits");
            bench.go(true);
        }
        assert_eq!(run.wait().unwrap().code(), Some(if cancel { 130 } else { 0 }));
        assert_eq!(switch.wait().unwrap().code(), Some(0));
        assert_eq!(bench.key(), "new");
    }
}

#[test]
fn a_turn_that_does_not_end_in_time_leaves_the_agent_where_it_is() {
    let bench = Bench::new();
    bench.go(false);
    fs::remove_file(bench.file("started")).unwrap();
    let mut run = start(&mut bench.command(&["run", "-a", "mine", "hello"]));
    assert!(holds_within(WITHIN, || bench.file("started").exists()));
    let late = bench.show(&["env", "switch", "mine", "new", "--timeout", "100ms"]);
    assert!(late.code == Some(3) && late.stderr.contains("it is still in run "), "{late}");
    bench.go(true);
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(bench.key(), "old");
}

#[test]
fn killed_while_the_probe_goes_on_it_is_the_old_preset_and_that_is_said() {
    let bench = Bench::new();
    let switch = bench.switching("new");
    assert_eq!(bench.step(), "begun");
    bench.killed(switch);
    assert_eq!(bench.step(), "begun", "nobody was left to write more");
    bench.go(true);
    let next = bench.show(&["run", "-a", "mine", "hello"]);
    let note = "note: the switch of agent `mine` to preset `new` was broken off before it had proved itself; the agent \
                is under preset `old`\n";
    assert!(next.stderr.starts_with(note), "{next}");
    assert_eq!((next.stdout.trim(), bench.step().as_str()), ("old", "rolled_back"));
    assert!(!bench.show(&["run", "-a", "mine", "hello"]).stderr.contains("broken off"), "it is said once");
}

/// Stops a switch where it waits for the lock of its next step, and kills it there; the step that it was at.
fn killed_at(bench: &Bench, locks_before: usize) -> String {
    let switch = bench.switching("new");
    let mut held = bench.take(STATE);
    bench.go(true);
    for _ in 0..locks_before {
        assert!(holds_within(WITHIN, || bench.waiting(STATE) == 1), "it waits to write its step");
        // Whoever comes first is served first: the next step waits again.
        let manager = bench.locks();
        let next = std::thread::spawn(move || {
            let name = LockName::Resource(STATE.to_owned());
            manager.acquire(&name, &LockOptions::new().with_timeout(WITHIN)).unwrap()
        });
        assert!(holds_within(WITHIN, || bench.waiting(STATE) == 2));
        drop(held);
        held = next.join().unwrap();
    }
    assert!(holds_within(WITHIN, || bench.waiting(STATE) == 1), "it waits to write its step");
    let step = bench.step();
    bench.killed(switch);
    drop(held);
    step
}

#[test]
fn killed_before_each_of_its_steps_it_is_the_old_preset_or_the_new_one() {
    for (locks_before, step, key) in [(0, "begun", "old"), (1, "probed", "new")] {
        let bench = Bench::new();
        assert_eq!(killed_at(&bench, locks_before), step);
        assert_eq!(bench.key(), key, "killed at `{step}`");
        let history = bench.show(&["env", "history", "--json"]).json();
        assert_eq!(history["bindings"][0]["preset"], key);
        let settled = if key == "new" { "committed" } else { "rolled_back" };
        assert_eq!(history["switches"][1]["step"], settled);
    }
}

#[test]
fn killed_before_it_began_nothing_has_happened() {
    for lock in ["aiswitch/audit", STATE] {
        let bench = Bench::new();
        let before = bench.records();
        let held = bench.take(lock);
        let switch = start(&mut bench.command(&["env", "switch", "mine", "new"]));
        assert!(holds_within(WITHIN, || bench.waiting(lock) == 1));
        bench.killed(switch);
        drop(held);
        assert_eq!(bench.records(), before);
        assert_eq!(bench.key(), "old");
    }
}

#[test]
fn killed_while_it_takes_a_bad_preset_back_it_is_the_old_one() {
    let bench = Bench::new();
    let switch = bench.switching("bad");
    let held = bench.take(STATE);
    bench.go(true);
    assert!(holds_within(WITHIN, || bench.waiting(STATE) == 1));
    bench.killed(switch);
    drop(held);
    assert_eq!((bench.step().as_str(), bench.key().as_str()), ("begun", "old"));
    assert_eq!(bench.step(), "rolled_back");
}

#[test]
fn a_switch_that_goes_on_is_not_ended_by_others_and_another_one_waits_for_it() {
    let bench = Bench::new();
    let mut switch = bench.switching("new");
    let listed = bench.show(&["env", "history"]);
    assert!(listed.stdout.contains("begun") && listed.stderr.is_empty(), "{listed}");
    let lock = LockName::Resource("aiswitch/env/mine".to_owned());
    let mut other = start(&mut bench.command(&["env", "switch", "mine", "old"]));
    let waits = || BlockingLockManager::inspect(&bench.locks(), &lock).unwrap().waiters.len() == 1;
    assert!(holds_within(WITHIN, waits));
    bench.go(true);
    assert_eq!((switch.wait().unwrap().code(), other.wait().unwrap().code()), (Some(0), Some(0)));
    assert_eq!(bench.key(), "old");
}

#[test]
fn a_snapshot_is_printed_and_found_again() {
    let bench = Bench::new();
    let snapshot = bench.show(&["env", "snapshot", "mine", "--json"]).json();
    assert_eq!(snapshot["variables"], json!({"KEY": "env:OLD", "X_BASE_URL": "https://old.example"}));
    let id = snapshot["id"].as_str().unwrap();
    assert_eq!(bench.show(&["env", "switch", "mine", "new"]).code, Some(0));
    let back = bench.show(&["env", "rollback", "mine", id]);
    assert_eq!((back.code, bench.key().as_str()), (Some(0), "old"));
    let unknown = bench.show(&["env", "rollback", "mine", "01K9XJ5V7C8N3T2B4M6P0QRSWY"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("has no snapshot 01K9"), "{unknown}");
    let nothing = bench.show(&["env", "rollback", "echo"]);
    assert!(nothing.code == Some(2) && nothing.stderr.contains("no switch of agent `echo`"), "{nothing}");
}

#[test]
fn what_a_snapshot_holds_encrypted_opens_also_after_the_key_was_rotated() {
    let bench = Bench::new();
    assert_eq!(bench.show(&["secrets", "init"]).code, Some(0));
    let set = |value: &str| {
        let shown = show_fed(&bench.sandbox, &["secrets", "set", "sealed", "KEY"], value);
        assert_eq!(shown.code, Some(0), "{shown}");
    };
    set("first-first");
    assert_eq!(bench.show(&["env", "switch", "mine", "sealed"]).code, Some(0));
    assert_eq!(bench.show(&["env", "switch", "mine", "new"]).code, Some(0));
    set("second-second");
    assert_eq!(bench.show(&["env", "rollback", "mine"]).code, Some(0));
    assert_eq!(bench.key(), "first");
    let rotated = bench.show(&["secrets", "rotate"]);
    // The value of the preset, and the one before it, of the snapshot.
    assert!(rotated.stdout.starts_with("2 values are encrypted with a new key"), "{rotated}");
    assert_eq!(bench.key(), "first");
}
