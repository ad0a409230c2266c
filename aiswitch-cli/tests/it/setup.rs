//! The verbs that make and show configuration: `init`, `config show`, `agents add` and `agents remove`.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{configure, show};
use crate::sandbox::Sandbox;

fn file(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(sandbox.aiswitch_home().join("config").join(name)).unwrap()
}

/// What `config show` says of one setting, and whether a file says so.
fn setting(config: &Value, key: &str) -> (String, bool) {
    let settings = config["run"].as_array().unwrap();
    let found = settings.iter().find(|setting| setting["key"] == key).unwrap();
    (found["value"].as_str().unwrap().to_owned(), found["is_configured"].as_bool().unwrap())
}

#[test]
fn files_that_explain_themselves_are_made_once_and_change_nothing() {
    let sandbox = Sandbox::new();
    let own = configure(&sandbox, "presets.yaml", "presets: {mine: {}}\n");
    let before = show(&sandbox, &["config", "show", "--json"]).json();
    let made = show(&sandbox, &["init", "--json"]);
    assert_eq!(made.code, Some(0), "{made}");
    let names = |paths: &Value| {
        paths
            .as_array()
            .unwrap()
            .iter()
            .map(|path| path.as_str().unwrap().rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&made.json()["made"]), ["agents.yaml", "coordination.yaml"]);
    assert_eq!(made.json()["kept"], json!([own.to_str().unwrap()]));
    assert_eq!(file(&sandbox, "presets.yaml"), "presets: {mine: {}}\n");
    let after = show(&sandbox, &["config", "show", "--json"]).json();
    assert_eq!(after["run"], before["run"]);
    let again = show(&sandbox, &["init", "--json"]).json();
    assert_eq!((names(&again["made"]).len(), names(&again["kept"]).len()), (0, 3));
}

#[test]
fn what_the_files_explain_holds_once_the_marks_of_comments_are_taken_away() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["init"]).code, Some(0));
    for name in ["agents.yaml", "presets.yaml", "coordination.yaml"] {
        let text = file(&sandbox, name);
        let (_, example) = text.split_once("#\n").unwrap();
        let lines = example.lines().map(|line| line.strip_prefix("# ").unwrap());
        configure(&sandbox, name, &lines.flat_map(|line| [line, "\n"]).collect::<String>());
    }
    let config = show(&sandbox, &["config", "show", "--json"]);
    assert_eq!(config.code, Some(0), "{config}");
    assert_eq!(setting(&config.json(), "agents"), ("claude, codex".to_owned(), true));
    assert_eq!(setting(&config.json(), "locks"), ("resource:checkout".to_owned(), true));
    assert_eq!(setting(&config.json(), "timeout"), ("10m".to_owned(), true));
    let agents = show(&sandbox, &["agents", "list", "--json"]).json();
    let configured = agents.as_array().unwrap().iter().filter(|agent| agent["origin"] == "configured");
    assert_eq!(configured.count(), 3);
}

#[test]
fn the_configuration_is_shown_with_the_files_that_say_it() {
    let sandbox = Sandbox::new();
    let empty = show(&sandbox, &["config", "show"]);
    assert!(empty.stdout.contains("\nmax_parallel    8 "), "{empty}");
    assert_eq!(
        (empty.stdout.matches("not there").count(), empty.stdout.matches("built in\n").count()),
        (5, 10),
        "{empty}"
    );
    configure(
        &sandbox,
        "coordination.yaml",
        "agents: [\"x=echo:m@p*2\"]\nsupervision: strongest\nretention: {runs: 12h}\n",
    );
    let config = show(&sandbox, &["config", "show", "--json"]).json();
    assert_eq!(setting(&config, "agents"), ("x=echo:m@p*2".to_owned(), true));
    assert_eq!(setting(&config, "supervision"), ("strongest".to_owned(), true));
    assert_eq!(setting(&config, "retention.runs"), ("12h".to_owned(), true));
    assert_eq!(setting(&config, "retention.logs"), ("30d".to_owned(), false));
    let path = configure(&sandbox, "coordination.yaml", "lock: [a]\n");
    let broken = show(&sandbox, &["config", "show"]);
    assert!(
        broken.stderr.starts_with(&format!("error: {}:1:1: unknown key `lock`\n", path.display())),
        "{broken}"
    );
    assert_eq!(broken.code, Some(2));
}

#[test]
fn an_agent_of_ones_own_is_added_used_and_removed_and_comments_stay() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "# mine\nagents:\n  # the first\n  one: {driver: echo}\n");
    let args = ["agents", "add", "two", "--mode", "read-only", "--timeout", "90s", "--", "/bin/cat", "-"];
    let added = show(&sandbox, &args);
    assert_eq!((added.stdout.as_str(), added.code), ("agent `two` is there now\n", Some(0)), "{added}");
    let line = "  two: {driver: command, command: [\"/bin/cat\", \"-\"], timeout: 90s, modes: [read-only]}\n";
    let kept = "# mine\nagents:\n  # the first\n  one: {driver: echo}\n";
    assert_eq!(file(&sandbox, "agents.yaml"), format!("{kept}{line}"));
    assert_eq!(show(&sandbox, &["run", "-q", "-a", "two", "--mode", "read-only", "hello"]).stdout, "hello\n");
    let audit = show(&sandbox, &["audit", "show", "--json"]).json();
    assert_eq!((&audit[0]["action"], &audit[0]["object"]), (&json!("agents.add"), &json!("two")));

    let again = show(&sandbox, &args);
    assert!(
        again.stderr.ends_with("hint: change it there; or first: aiswitch agents remove two\n"),
        "{again}"
    );
    let nothing = show(&sandbox, &["agents", "remove", "two", "three"]);
    assert!(nothing.stderr.starts_with("error: agent `three` does not stand in "), "{nothing}");
    let no_program = show(&sandbox, &["agents", "add", "three"]);
    assert_eq!(
        (no_program.stderr.as_str(), no_program.code),
        ("error: agent `three` has no program\n  hint: aiswitch agents add three -- PROGRAM ARG\n", Some(2))
    );
    assert_eq!(file(&sandbox, "agents.yaml"), format!("{kept}{line}"));
    assert_eq!(show(&sandbox, &["agents", "remove", "two"]).code, Some(0));
    assert_eq!(file(&sandbox, "agents.yaml"), kept);
}

#[test]
fn an_agent_is_added_whatever_its_command_holds_and_to_whatever_file() {
    let sandbox = Sandbox::new();
    for text in ["", "# nothing\n", "agents: {}\n"] {
        configure(&sandbox, "agents.yaml", text);
        let odd = ["a 'b' \"c\"", "yes", "#", "ä: {", "\u{1b}"];
        let mut args = vec!["agents", "add", "123", "--model", "a: b", "--preset", "on", "--", "/bin/echo"];
        args.extend(odd);
        let added = show(&sandbox, &args);
        assert_eq!(added.code, Some(0), "{text:?}: {added}");
        let shown = show(&sandbox, &["agents", "show", "123", "--json"]).json();
        assert_eq!(shown["command"], json!(["/bin/echo", odd[0], odd[1], odd[2], odd[3], odd[4]]));
        assert_eq!((&shown["model"], &shown["preset"]), (&json!("a: b"), &json!("on")));
    }
    configure(&sandbox, "agents.yaml", "agents: {one: {driver: echo}}\n");
    let refused = show(&sandbox, &["agents", "add", "two", "--", "/bin/cat"]);
    assert!(refused.stderr.contains("give each entry a line of its own"), "{refused}");
    assert_eq!(file(&sandbox, "agents.yaml"), "agents: {one: {driver: echo}}\n");
}

#[test]
fn an_agent_is_started_again_as_often_as_its_entry_says() {
    let sandbox = Sandbox::new();
    let agents = "agents:
  never: {driver: echo, args: [--crash, start], restart: {max: 0}}
  once: {driver: echo, args: [--crash, start], restart: {max: 1, within: 1h}}\n";
    configure(&sandbox, "agents.yaml", agents);
    let report = show(&sandbox, &["run", "--json", "-a", "never,once", "hello"]).json();
    assert_eq!(
        (&report["agents"][0]["restarts"], &report["agents"][1]["restarts"]),
        (&json!(0), &json!(1)),
        "{report:#}"
    );
}

#[test]
fn a_run_takes_the_locks_that_the_configuration_names_unless_its_command_line_does() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "coordination.yaml", "locks: [checkout]\n");
    let locks = || {
        let locks = show(&sandbox, &["locks", "list", "--json"]).json();
        let names = locks.as_array().unwrap().iter().map(|lock| lock["lock"].as_str().unwrap().to_owned());
        names.filter(|name| !name.contains('/')).collect::<Vec<_>>()
    };
    assert_eq!(show(&sandbox, &["run", "-q", "-a", "echo", "--lock", "other", "hello"]).code, Some(0));
    assert_eq!(locks(), ["resource:other"]);
    assert_eq!(show(&sandbox, &["run", "-q", "-a", "echo", "--priority", "high", "hello"]).code, Some(0));
    assert_eq!(locks(), ["resource:checkout", "resource:other"]);
}

#[test]
fn an_empty_home_says_what_to_do_next() {
    let sandbox = Sandbox::new();
    for (args, said) in [
        (&["runs"][..], "no run is kept; aiswitch run \"what to do\" makes one\n"),
        (&["preset", "list"], "there is no preset; aiswitch preset add --help says how to make one\n"),
        (&["audit", "show"], "the log is empty: nothing was done that only the operator may do\n"),
        (&["ps"], "no agent works now\n"),
    ] {
        assert_eq!(show(&sandbox, args).stdout, said);
    }
    let secrets = show(&sandbox, &["secrets", "doctor"]);
    assert!(secrets.stdout.contains("(aiswitch secrets init makes one; or "), "{secrets}");
    let unknown = show(&sandbox, &["preset", "show", "work"]);
    let expected =
        "error: preset `work` is not known\n  hint: aiswitch preset list shows those that are there\n";
    assert_eq!(unknown.stderr, expected);
}
