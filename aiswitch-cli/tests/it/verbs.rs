//! The verbs beside `run`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{configure, kept_runs, programs, show};
use crate::sandbox::Sandbox;

#[test]
fn the_exit_codes_are_those_of_the_contract() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["help", "exit-codes"]);
    assert_eq!(
        shown.stdout,
        "  0  all agents completed, or the command did what it was asked to
  1  no agent completed, or the command failed
  2  usage or configuration: nothing was started
  3  no agent completed in time
  4  some agents completed, some did not (1 with --strict)
  5  no agent completed, because permission was denied
  6  a lock was busy for too long
  7  a quota or budget was used up
  8  the verification failed
 20  no agent is there that could be used
126  the command of `locks run` cannot be run
127  the command of `locks run` is not there
130  ended by SIGINT (Ctrl-C)
143  ended by SIGTERM
"
    );
    let codes = show(&sandbox, &["help", "exit-codes", "--json"]).json();
    let numbers: Vec<u64> =
        codes.as_array().unwrap().iter().filter_map(|code| code["code"].as_u64()).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 126, 127, 130, 143]);
}

#[test]
fn help_explains_every_verb_and_only_these() {
    let sandbox = Sandbox::new();
    for verb in [
        "run",
        "exec",
        "agents",
        "runs",
        "result",
        "ps",
        "cancel",
        "wait",
        "init",
        "config",
        "mcp",
        "logs",
        "locks",
        "env",
        "doctor",
        "schema",
        "completions",
        "help",
    ] {
        let by_verb = show(&sandbox, &["help", verb]);
        assert_eq!(by_verb.code, Some(0), "{by_verb}");
        if !["exec", "help"].contains(&verb) {
            assert_eq!(by_verb.stdout, show(&sandbox, &[verb, "--help"]).stdout, "{verb}");
        }
    }
    assert_eq!(
        show(&sandbox, &["help", "agents", "show"]).stdout,
        show(&sandbox, &["agents", "show", "--help"]).stdout
    );
    assert_eq!(show(&sandbox, &["help"]).stdout, show(&sandbox, &["--help"]).stdout);
    let unknown = show(&sandbox, &["help", "exit-code"]);
    assert_eq!(
        (unknown.stderr.as_str(), unknown.code),
        (
            "error: `exit-code` is no verb and no topic\n  \
             hint: aiswitch --help lists the verbs; the topic is exit-codes\n",
            Some(2)
        )
    );
    let nothing = show(&sandbox, &[]);
    assert_eq!((nothing.stdout.as_str(), nothing.code), ("", Some(2)));
    assert!(nothing.stderr.contains("Verbs:\n  run "), "{nothing}");
}

#[test]
fn the_list_of_agents_says_which_are_installed() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {linter: {driver: command, command: [/bin/cat]}}\n");
    assert_eq!(
        show(&sandbox, &["agents", "list"]).stdout,
        "NAME      DRIVER    STATE          DESCRIPTION
claude    claude    not installed  Claude Code, stream-json in both directions
codex     codex     not installed  OpenAI Codex, through `codex app-server`
echo      echo      installed      answers with its prompt; needs no network and no key
gemini    gemini    not installed  Gemini CLI, through the Agent Client Protocol
linter    command   installed      configured in agents.yaml
opencode  opencode  not installed  opencode, through the Agent Client Protocol
qwen      qwen      not installed  Qwen Code, stream-json in both directions
"
    );
    let listed = show(&sandbox, &["agents", "list", "--json"]).json();
    assert_eq!(
        listed[4],
        json!({"name": "linter", "driver": "command", "origin": "configured", "description": null, "program": "/bin/cat"})
    );
}

#[test]
fn an_agent_is_shown_with_the_variables_that_it_is_given_but_not_their_values() {
    let sandbox = Sandbox::new();
    let mut command = crate::harness::aiswitch(&sandbox, &["agents", "show", "claude"]);
    let output = command.env("ANTHROPIC_API_KEY", "sk-shown-nowhere").output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(
        shown.contains(
            "ANTHROPIC_API_KEY (set), ANTHROPIC_AUTH_TOKEN (not set), CLAUDE_CODE_OAUTH_TOKEN (not set)"
        ),
        "{shown}"
    );
    assert!(!shown.contains("sk-shown-nowhere"), "{shown}");
    let unknown = show(&sandbox, &["agents", "show", "claud"]);
    assert_eq!(unknown.stderr, "error: agent `claud` is not known\n  hint: did you mean `claude`?\n");
    assert_eq!(unknown.code, Some(2));
}

/// Puts a program on the sandbox's `PATH` that says this version.
fn install(sandbox: &Sandbox, name: &str, version: &str) {
    fs::create_dir_all(programs(sandbox)).unwrap();
    let program = programs(sandbox).join(name);
    fs::write(&program, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_check_names_what_is_missing_or_too_old_and_how_to_repair_it() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["agents", "check"]).code, Some(20));
    install(&sandbox, "claude", "1.0.3 (Claude Code)");
    install(&sandbox, "codex", "codex-cli 0.169.0");
    let check = |names: &[&str]| show(&sandbox, &[&["agents", "check", "--json"], names].concat());
    let claude = check(&["claude"]);
    assert_eq!(claude.code, Some(1));
    assert_eq!(claude.json()[0]["version"], "1.0.3");
    assert_eq!(claude.json()[0]["problem"], "version 1.0.3 is too old, 2.1.110 or newer is needed");
    assert_eq!(claude.json()[0]["hint"], "install it with: npm install -g @anthropic-ai/claude-code");
    let codex = check(&["codex"]);
    assert_eq!((codex.code, &codex.json()[0]["problem"]), (Some(0), &Value::Null));
    assert_eq!(codex.json()[0]["version"], "0.169.0");
    assert_eq!(check(&[]).code, Some(0));
    let text = show(&sandbox, &["agents", "check", "codex"]);
    assert_eq!(
        text.stdout,
        "NAME   VERSION  STATE  TO DO\n\
         codex  0.169.0  ok     if not logged in: run `codex login`, or set CODEX_API_KEY\n"
    );
}

#[test]
fn the_doctor_says_what_is_wrong_and_goes_on() {
    let sandbox = Sandbox::new();
    let home = sandbox.aiswitch_home();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    let nothing = show(&sandbox, &["doctor", "--json"]);
    assert_eq!(nothing.code, Some(20), "{nothing}");
    assert_eq!(nothing.json()["home"], json!({"path": home, "exists": true, "problem": null}));
    let supervision = &nothing.json()["supervision"];
    assert_eq!((&supervision["tier"], &supervision["problem"]), (&json!("guard"), &json!(null)));
    assert_eq!(supervision["promises"][1]["how_far"], "enforced");
    install(&sandbox, "codex", "codex-cli 0.169.0");
    assert_eq!(show(&sandbox, &["doctor"]).code, Some(0));

    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let open = show(&sandbox, &["doctor", "--json"]);
    let expected = json!([{"path": home, "fault": "readable", "mode": 0o755}]);
    assert_eq!(
        (&open.json()["open"].as_array().unwrap()[..1], open.code),
        (&expected.as_array().unwrap()[..], Some(0))
    );
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();

    let path = configure(&sandbox, "agents.yaml", "agnets: {}\n");
    let broken = show(&sandbox, &["doctor", "--json"]);
    assert_eq!(broken.json()["config_problem"], format!("{}:1:1: unknown key `agnets`", path.display()));
    assert_eq!(broken.json()["agents"].as_array().unwrap().len(), 6);
    assert_eq!(broken.code, Some(2));
    assert_eq!(kept_runs(&sandbox).len(), 0);
}

#[test]
fn what_is_kept_of_runs_is_listed_shown_and_found_again() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["runs", "--json"]).json(), json!([]));
    let missing = show(&sandbox, &["result"]);
    assert_eq!(
        (missing.stderr.as_str(), missing.code),
        ("error: no run is kept\n  hint: aiswitch run \"what to do\" makes one\n", Some(1))
    );
    configure(&sandbox, "agents.yaml", "agents: {bad: {driver: echo, args: [--fail, auth]}}\n");
    let first = show(&sandbox, &["run", "--json", "-a", "echo,bad", "one"]).json();
    let second = show(&sandbox, &["run", "--json", "-a", "echo", "two"]).json();
    let [first_id, second_id] = [&first, &second].map(|report| report["run_id"].as_str().unwrap());

    let runs = show(&sandbox, &["runs", "--json"]).json();
    assert_eq!(runs[0]["run_id"], second_id);
    assert_eq!((&runs[1]["run_id"], &runs[1]["status"]), (&json!(first_id), &json!("partial")));
    let text = show(&sandbox, &["runs"]).stdout;
    assert!(text.starts_with("RUN ") && text.contains("  echo,bad  one\n"), "{text}");

    assert_eq!(show(&sandbox, &["result"]).stdout, "two\n");
    assert_eq!(show(&sandbox, &["result", "last", "--json"]).json(), second);
    let result = show(&sandbox, &["result", first_id]);
    assert_eq!((result.stdout.as_str(), result.code), ("one\n", Some(0)));
    assert!(result.stderr.starts_with("bad failed: "), "{result}");
    let ambiguous = show(&sandbox, &["result", "01"]);
    assert_eq!(ambiguous.code, Some(1));
    assert!(ambiguous.stderr.starts_with("error: 2 runs start with `01`"), "{ambiguous}");

    let logs = show(&sandbox, &["logs", first_id]).stdout;
    let words: Vec<&str> = logs.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    assert!(words.contains(&"-  run of echo, bad") && words.contains(&"echo  > one"), "{logs}");
    assert!(words.iter().any(|words| words.starts_with("bad  failed after ")), "{logs}");
    let events = show(&sandbox, &["logs", first_id, "--agent", "bad", "--json"]).json_lines();
    assert!(!events.is_empty() && events.iter().all(|event| event["agent"] == "bad"), "{events:#?}");
    let raw = show(&sandbox, &["logs", first_id, "--agent", "echo"]);
    assert!(raw.stdout.contains(r#""method":"task.output""#), "{raw}");
    let nobody = show(&sandbox, &["logs", first_id, "--agent", "nobody"]);
    let expected = format!(
        "error: nothing is kept that agent `nobody` printed in run {first_id}\n  hint: its agents: bad, echo\n"
    );
    assert_eq!((nobody.stderr, nobody.code), (expected, Some(1)));
}

#[test]
fn a_schema_names_every_key_of_what_it_describes() {
    let sandbox = Sandbox::new();
    let schema = |document: &str| show(&sandbox, &["schema", document]).json();
    let report = show(&sandbox, &["run", "--json", "-a", "echo", "hello"]).json();
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&schema("report")["properties"]), keys(&report));
    assert_eq!(keys(&schema("report")["$defs"]["AgentReport"]["properties"]), keys(&report["agents"][0]));
    assert_eq!(keys(&schema("agents")["properties"]), BTreeSet::from(["agents".to_owned()]));
    assert_eq!(schema("agents")["additionalProperties"], false);
    assert_eq!(
        keys(&schema("presets")["$defs"]["Preset"]["properties"]),
        BTreeSet::from(["agents", "description", "extends", "tags", "variables"].map(str::to_owned))
    );
    assert!(keys(&schema("coordination")["properties"]).contains("max_parallel"));
    assert_eq!(
        keys(&schema("project")["properties"]),
        BTreeSet::from(["agents", "max_parallel", "mode", "preset", "timeout"].map(str::to_owned))
    );
    let types: BTreeSet<&str> =
        BTreeSet::from(["started", "output", "tool", "usage", "permission", "ended", "report"]);
    let event = schema("event");
    let known: BTreeSet<&str> = event["oneOf"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|kind| kind["properties"]["type"]["const"].as_str())
        .collect();
    assert!(known.is_superset(&types), "{known:?}");
}

#[test]
fn there_are_completions_for_every_common_shell_and_not_for_what_is_hidden() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let shown = show(&sandbox, &["completions", shell]);
        assert_eq!(shown.code, Some(0), "{shell}");
        assert!(shown.stdout.contains("exit-codes") || shown.stdout.contains("doctor"), "{shell}");
        assert!(!shown.stdout.contains("__echo"), "{shell}: {}", shown.stdout);
    }
}

#[test]
fn a_program_that_prints_for_ever_is_heard_as_far_as_its_version() {
    let sandbox = Sandbox::new();
    let program = sandbox.workspace().join("codex-for-ever");
    fs::write(&program, "#!/bin/sh\nwhile :; do echo codex-cli 9.9.9; done\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!("agents: {{codex: {{driver: codex, command: ['{}']}}}}\n", program.display());
    configure(&sandbox, "agents.yaml", &text);
    let checked = show(&sandbox, &["agents", "check", "codex", "--json"]);
    assert_eq!((&checked.json()[0]["version"], checked.code), (&json!("9.9.9"), Some(0)), "{checked}");
}

#[test]
fn help_explains_a_verb_of_a_verb_and_refuses_what_is_none() {
    let sandbox = Sandbox::new();
    let help = show(&sandbox, &["help", "agents", "check"]);
    assert!(help.stdout.contains("Usage: aiswitch agents check [OPTIONS] [NAMES]..."), "{help}");
    for topic in [["run", "agents"], ["agents", "nope"]] {
        let refused = show(&sandbox, &["help", topic[0], topic[1]]);
        let expected = format!("error: `{}` is no verb and no topic\n", topic.join(" "));
        assert!(refused.stderr.starts_with(&expected), "{refused}");
        assert_eq!((refused.stdout.as_str(), refused.code), ("", Some(2)));
    }
}
