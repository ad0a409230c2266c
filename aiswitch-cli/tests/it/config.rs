//! The configuration files: a mistake is named with its place and its remedy.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{configure, kept_runs, show};
use crate::sandbox::Sandbox;

/// The mistake is refused with its place, and nothing is started.
fn refused(file: &str, text: &str, expected: &str) {
    let sandbox = Sandbox::new();
    let path = configure(&sandbox, file, text);
    let shown = show(&sandbox, &["run", "-a", "echo", "hello"]);
    assert_eq!(shown.stderr, format!("error: {}{expected}", path.display()), "{text}");
    assert!(!shown.stderr.contains("secret-value"));
    assert_eq!((shown.stdout.as_str(), shown.code, kept_runs(&sandbox).len()), ("", Some(2), 0));
}

#[test]
fn a_mistake_in_agents_is_named_with_file_line_and_column() {
    for (text, expected) in [
        (
            "agents:\n  mine: {driver: command, comand: [x]}\n",
            ":2:27: unknown key `comand`\n  \
             hint: did you mean `command`? known here: driver, command, args, preset, model, timeout, idle_timeout, modes, limits, sandbox, restart\n",
        ),
        ("agent: {}\n", ":1:1: unknown key `agent`\n  hint: did you mean `agents`? known here: agents\n"),
        (
            "agents:\n  mine: {driver: cluade}\n",
            ":2:18: unknown value `cluade`\n  hint: did you mean `claude`? known here: \
             echo, command, rpc, acp, claude, codex, gemini, opencode, qwen\n",
        ),
        (
            "agents:\n  mine: {command: [x]}\n",
            ":2:10: missing field `driver`\n  hint: what may stand there: aiswitch schema agents\n",
        ),
        (
            "agents:\n  mine: {driver: echo}\n  other: {driver: echo}\n  mine: {driver: rpc}\n",
            ":4:3: `mine` stands here a second time\n  hint: keep one of the two, or give one another name\n",
        ),
        (
            "agents:\n  My Agent: {driver: echo}\n",
            ":2:3: agent id `My Agent` is not valid: it must match ^[a-z0-9][a-z0-9_-]{0,63}$\n  hint: what may stand there: aiswitch schema agents\n",
        ),
        (
            "agents:\n  mine: {driver: echo, timeout: 10 parsecs}\n",
            ":2:33: `10 parsecs` is not a length of time like 90s, 500ms, 10m or 1h\n  hint: what may stand there: aiswitch schema agents\n",
        ),
        (
            "agents: [\n",
            ":1:9: expected mapping start\n  hint: what may stand there: aiswitch schema agents\n",
        ),
    ] {
        refused("agents.yaml", text, expected);
    }
}

#[test]
fn a_mistake_in_another_file_is_named_with_file_line_and_column() {
    for (file, text, expected) in [
        (
            "presets.yaml",
            "presets:\n  work: {vars: {A: secret-value}}\n",
            ":2:10: unknown key `vars`\n  \
             hint: did you mean `tags`? known here: description, tags, extends, variables, agents\n",
        ),
        (
            "presets.yaml",
            "presets:\n  work: {variables: secret-value}\n",
            ":2:21: expected mapping start\n  hint: what may stand there: aiswitch schema presets\n",
        ),
        (
            "presets.yaml",
            "presets:\n  work: {variables: {A: [secret-value]}}\n",
            ":2:25: expected string scalar\n  hint: what may stand there: aiswitch schema presets\n",
        ),
        (
            "coordination.yaml",
            "max_paralel: 3\n",
            ":1:1: unknown key `max_paralel`\n  \
             hint: did you mean `max_parallel`? known here: agents, max_parallel, timeout, idle_timeout, locks, pressure, log_level, metrics, supervision, retention\n",
        ),
        (
            "coordination.yaml",
            "agents: ['echo*0']\n",
            ":1:10: `0` is not a number of agents from 1 to 1000\n  hint: what may stand there: aiswitch schema coordination\n",
        ),
    ] {
        refused(file, text, expected);
    }
}

#[test]
fn a_time_that_is_none_is_refused_in_the_users_words() {
    let sandbox = Sandbox::new();
    for (time, reason) in [
        ("-1", "`-1` is not a length of time like 90s, 500ms, 10m or 1h"),
        ("1.5", "expected a length of time like 90s, 500ms, 10m or 1h"),
        ("[1]", "expected a length of time like 90s, 500ms, 10m or 1h"),
    ] {
        let path = configure(&sandbox, "coordination.yaml", &format!("timeout: {time}\n"));
        let shown = show(&sandbox, &["run", "-a", "echo", "hello"]);
        let expected = format!(
            "error: {}:1:10: {reason}\n  hint: what may stand there: aiswitch schema coordination\n",
            path.display()
        );
        assert_eq!(shown.stderr, expected, "{time}");
    }
}

#[test]
fn a_file_that_says_nothing_is_like_none() {
    for text in ["", "# agents: {}\n", "agents: {}\n"] {
        let sandbox = Sandbox::new();
        configure(&sandbox, "agents.yaml", text);
        assert_eq!(show(&sandbox, &["run", "-a", "echo", "hello"]).stdout, "hello\n", "{text:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let sandbox = Sandbox::new();
    let path = sandbox.aiswitch_home().join("config/agents.yaml");
    fs::create_dir(&path).unwrap();
    let shown = show(&sandbox, &["run", "-a", "echo", "hello"]);
    let expected = format!(
        "error: `{}` cannot be read\n  because: Is a directory (os error 21)\n  \
         hint: correct the file's permissions, or point --home elsewhere\n",
        path.display()
    );
    assert_eq!((shown.stderr, shown.code), (expected, Some(2)));
    fs::remove_dir(&path).unwrap();

    fs::write(&path, [0xff]).unwrap();
    let shown = show(&sandbox, &["run", "-a", "echo", "hello"]);
    assert!(shown.stderr.ends_with("valid UTF-8\n  hint: write it as UTF-8 text\n"), "{shown}");
    fs::remove_file(&path).unwrap();

    // Only as much is read as a configuration may have.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let shown = show(&sandbox, &["agents", "list"]);
    assert_eq!(shown.stderr, format!("error: `{}` is longer than 1048576 bytes\n", path.display()));
}

#[test]
fn a_built_in_agent_can_be_made_another() {
    let sandbox = Sandbox::new();
    let program = sandbox.workspace().join("claude-of-mine");
    fs::write(&program, "#!/bin/sh\necho 9.1.0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let text = format!("agents: {{claude: {{driver: claude, command: ['{}']}}}}\n", program.display());
    configure(&sandbox, "agents.yaml", &text);
    let checked = show(&sandbox, &["agents", "check", "claude", "--json"]);
    assert_eq!(checked.json()[0]["version"], "9.1.0", "{checked}");
    assert_eq!(checked.json()[0]["program"], program.to_str().unwrap());
    assert_eq!(checked.code, Some(0));
}

#[test]
fn an_agent_without_a_command_is_refused_before_anything_starts() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {mine: {driver: command}}\n");
    let shown = show(&sandbox, &["run", "-a", "echo,mine", "hello"]);
    assert_eq!(
        shown.stderr,
        "error: agent `mine` has no command\n  \
         hint: give it one in agents.yaml: mine: {driver: …, command: [PROGRAM, ARG]}\n"
    );
    assert_eq!((shown.stdout.as_str(), shown.code, kept_runs(&sandbox).len()), ("", Some(2), 0));
}
