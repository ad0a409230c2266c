//! `aiswitch run`: answers, formats, order, time, exit codes.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::{Shown, WITHIN, aiswitch, configure, kept_runs, programs, show, show_fed, start};
use crate::sandbox::{Sandbox, holds_within};

/// Agents that do not end well, each in its own way.
const BAD_AGENTS: &str = "agents:
  slow: {driver: echo, args: [--stall]}
  late: {driver: echo, args: [--stall], timeout: 1s}
  logged-out: {driver: echo, args: [--fail, auth]}
  refused: {driver: echo, args: [--deny, Bash]}
  limited: {driver: echo, args: [--fail, rate_limit]}
  broken: {driver: echo, args: [--crash, before]}
  half: {driver: echo, args: [--crash, during, --chunks, '2']}
  gone: {driver: command, command: [/nowhere/agent]}
";

/// How each agent ended.
fn statuses(report: &Value) -> Vec<(&str, &str)> {
    report["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| (agent["id"].as_str().unwrap(), agent["status"].as_str().unwrap()))
        .collect()
}

#[test]
fn one_answer_stands_as_it_is_and_nothing_else_is_said() {
    let sandbox = Sandbox::new();
    let expected = Shown { stdout: "hello\n".into(), stderr: String::new(), code: Some(0) };
    for args in [
        ["run", "-a", "echo", "hello"],
        ["exec", "--agent", "echo", "hello"],
        ["run", "-aecho", "-p", "hello"],
        ["run", "-a=echo", "--", "hello"],
    ] {
        assert_eq!(show(&sandbox, &args), expected, "{args:?}");
    }
    assert_eq!(kept_runs(&sandbox).len(), 4);
}

#[test]
fn several_answers_stand_under_their_agents_names_in_the_order_of_the_command_line() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "b=echo,a=echo", "-a", "twin=echo*2", "hello"]);
    assert_eq!(
        shown.stdout, "## b\n\nhello\n\n## a\n\nhello\n\n## twin-1\n\nhello\n\n## twin-2\n\nhello\n",
        "{shown}"
    );
    let first = show(&sandbox, &["run", "-a", "echo*2", "--aggregate", "first", "hello"]);
    assert_eq!(first.stdout, "hello\n", "{first}");
}

#[test]
fn the_prompt_comes_from_where_the_command_line_says() {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("prompt.txt");
    fs::write(&file, "from a file").unwrap();
    let file = file.to_str().unwrap();
    for (args, input, expected) in [
        (vec!["-"], "piped", "piped\n"),
        (vec![], "piped", "piped\n"),
        (vec!["--file", "-"], "piped", "piped\n"),
        (vec!["--file", file], "", "from a file\n"),
        (vec!["said"], "", "said\n"),
        (vec!["said"], "piped\n", "said\n\n<stdin>\npiped\n</stdin>\n"),
        (vec!["-p", "-said", "-"], "piped", "-said\n\n<stdin>\npiped\n</stdin>\n"),
        (vec!["--file", file], "piped", "from a file\n\n<stdin>\npiped\n</stdin>\n"),
    ] {
        let args: Vec<&str> = ["run", "-a", "echo"].into_iter().chain(args).collect();
        let shown = show_fed(&sandbox, &args, input);
        assert_eq!(shown.stdout, expected, "{args:?} {shown}");
        assert_eq!(shown.code, Some(0), "{args:?} {shown}");
    }
}

#[test]
fn an_open_stdin_that_says_nothing_does_not_hold_a_run_up() {
    let sandbox = Sandbox::new();
    let mut child = start(aiswitch(&sandbox, &["run", "-a", "echo", "hello"]).stdin(Stdio::piped()));
    let stdin = child.stdin.take();
    let shown = Shown::from(child.wait_with_output().unwrap());
    drop(stdin);
    assert_eq!(shown.stdout, "hello\n", "{shown}");
    assert_eq!(
        shown.stderr,
        "note: nothing came on stdin for 3 s: going on without it (`-p TEXT -` waits for it)\n"
    );
}

#[test]
fn input_that_begins_is_read_to_its_end_however_slow_it_is() {
    let sandbox = Sandbox::new();
    let mut child = start(aiswitch(&sandbox, &["run", "-a", "echo", "hello"]).stdin(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first ").unwrap();
    assert!(
        holds_within(WITHIN, || rustix::io::ioctl_fionread(&stdin).unwrap() == 0),
        "the beginning is not read"
    );
    stdin.write_all(b"second").unwrap();
    drop(stdin);
    let shown = Shown::from(child.wait_with_output().unwrap());
    assert_eq!(shown.stdout, "hello\n\n<stdin>\nfirst second\n</stdin>\n", "{shown}");
}

#[test]
fn the_report_has_the_form_of_version_1() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "--json", "four bytes?"]);
    let report = shown.json();
    let agent = &report["agents"][0];
    assert_eq!(report["v"], 1);
    assert_eq!(report["mode"], "parallel");
    assert_eq!(report["status"], "completed");
    assert_eq!(report["task"], json!({"prompt": "four bytes?", "cwd": sandbox.workspace(), "mode": "write"}));
    assert_eq!(agent["id"], "echo");
    assert_eq!(agent["driver"], "echo");
    assert_eq!(agent["answer"], "four bytes?");
    assert_eq!(agent["cost"], json!({"usd": 0.0, "source": "reported"}));
    let usage = json!({"input_tokens": 3, "output_tokens": 3, "cache_read_tokens": null, "cache_write_tokens": null, "cache_write_1h_tokens": null, "reasoning_tokens": null, "web_searches": null});
    assert_eq!(agent["usage"], usage);
    assert_eq!(report["totals"], json!({"usage": usage, "cost": {"usd": 0.0, "unpriced": 0}}));
    assert_eq!(report["answer"]["text"], "four bytes?");
    assert_eq!(shown.stderr, "");
    let kept: Value =
        serde_json::from_slice(&fs::read(kept_runs(&sandbox)[0].join("report.json")).unwrap()).unwrap();
    assert_eq!(kept, report);
}

#[test]
fn agents_wait_for_each_other_while_memory_is_short_and_the_report_says_so() {
    let sandbox = Sandbox::new();
    // No machine has so much, so it is short of it all the time.
    configure(
        &sandbox,
        "coordination.yaml",
        "pressure: {available_mb: 99999999999, available_mb_critical: 0}\n",
    );
    let agents = "agents: {a: {driver: echo}, b: {driver: echo}}\n";
    configure(&sandbox, "agents.yaml", agents);
    let shown = show(&sandbox, &["run", "--json", "-a", "a,b", "abc"]);
    let report = shown.json();
    assert_eq!((report["status"].as_str(), shown.code), (Some("completed"), Some(0)), "{shown}");
    let warning = "agents waited for their start while memory was short";
    assert_eq!(report["warnings"], json!([warning]));
    assert!(shown.stderr.contains(warning), "{shown}");
    let time = |index: usize, key: &str| report["agents"][index][key].as_str().unwrap().to_owned();
    assert!(time(0, "ended_at") <= time(1, "started_at"), "{report:#}");
}

#[test]
fn a_stream_has_all_events_in_order_and_the_report_last() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {talker: {driver: echo, args: [--chunks, '3']}}\n");
    let shown = show(&sandbox, &["run", "-a", "talker", "--output-format", "stream-json", "abc"]);
    let events = shown.json_lines();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let edges: Vec<_> =
        events.iter().filter(|event| event["type"] == "state").map(|event| &event["to"]).collect();
    assert_eq!(edges, ["starting", "idle", "busy", "idle", "stopping", "stopped"]);
    let others: Vec<_> = types.into_iter().filter(|kind| *kind != "state").collect();
    assert_eq!(
        others,
        ["run_started", "started", "process", "output", "output", "output", "ended", "report"]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=14).collect::<Vec<u64>>());
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(text, "abc");
    assert!(events.iter().all(|event| event["v"] == 1 && event["run"] == events[0]["run"]));
    assert_eq!(events[13]["report"]["status"], "completed");
    let journal = show(&sandbox, &["logs", "last"]).stdout;
    assert!(journal.contains("  talker  busy (was idle)\n"), "{journal}");
    assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(0)));
}

#[test]
fn in_turn_each_agent_is_given_the_answers_before_it() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "--sequential", "-a", "first=echo,second=echo", "--json", "hello"]);
    let report = shown.json();
    assert_eq!(report["mode"], "sequential");
    assert_eq!(report["agents"][0]["answer"], "hello");
    assert_eq!(
        report["agents"][1]["answer"],
        "hello\n\n<answers>\n<answer agent=\"first\">\nhello\n</answer>\n</answers>"
    );
    assert!(
        report["agents"][0]["ended_at"].as_str() <= report["agents"][1]["started_at"].as_str(),
        "{report:#}"
    );
}

#[test]
fn every_way_to_end_has_its_exit_code() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", BAD_AGENTS);
    for (agents, more, code, expected) in [
        ("echo", vec![], 0, vec![("echo", "completed")]),
        ("logged-out", vec![], 1, vec![("logged-out", "failed")]),
        ("limited", vec![], 1, vec![("limited", "rate_limited")]),
        ("broken,half", vec![], 1, vec![("broken", "crashed"), ("half", "crashed")]),
        ("slow", vec!["--timeout", "1s"], 3, vec![("slow", "timed_out")]),
        ("slow", vec!["--idle-timeout", "1s"], 3, vec![("slow", "timed_out")]),
        ("echo,logged-out", vec![], 4, vec![("echo", "completed"), ("logged-out", "failed")]),
        ("echo,logged-out", vec!["--strict"], 1, vec![("echo", "completed"), ("logged-out", "failed")]),
        (
            "echo,logged-out,late",
            vec![],
            4,
            vec![("echo", "completed"), ("logged-out", "failed"), ("late", "timed_out")],
        ),
        ("refused", vec![], 5, vec![("refused", "denied")]),
        ("claude,gone", vec!["--mode", "write"], 20, vec![("claude", "failed"), ("gone", "failed")]),
        ("claude,echo", vec![], 4, vec![("claude", "failed"), ("echo", "completed")]),
    ] {
        let args: Vec<&str> = ["run", "--json", "hello", "-a", agents].into_iter().chain(more).collect();
        let shown = show(&sandbox, &args);
        assert_eq!(statuses(&shown.json()), expected, "{args:?} {shown}");
        assert_eq!(shown.code, Some(code), "{args:?} {shown}");
    }
}

#[test]
fn what_went_wrong_is_said_with_what_to_do_next() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", BAD_AGENTS);
    let shown = show(&sandbox, &["run", "--quiet", "-a", "echo,logged-out,refused,claude", "hello"]);
    assert_eq!(shown.stdout, "hello\n");
    assert_eq!(
        shown.stderr,
        "logged-out failed: echo fails, as it was told to\n\
         refused denied\n  denied: Bash\n\
         claude failed: `claude` of agent `claude` is not installed\n  \
         hint: install it with: npm install -g @anthropic-ai/claude-code\n",
        "{shown}"
    );
}

#[test]
fn what_a_crashed_agent_had_said_is_kept() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", BAD_AGENTS);
    let report = show(&sandbox, &["run", "--json", "-a", "half", "abcd"]).json();
    assert_eq!(report["agents"][0]["answer"], "ab");
    assert_eq!(report["agents"][0]["error"]["kind"], "crash");
    assert_eq!(report["answer"], Value::Null);
}

#[test]
fn a_failure_stops_the_others_only_when_that_is_asked_for() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", BAD_AGENTS);
    let base = ["run", "--json", "hello", "--sequential", "-a", "logged-out,echo"];
    let go_on = show(&sandbox, &base);
    assert_eq!(statuses(&go_on.json()), [("logged-out", "failed"), ("echo", "completed")]);
    let stop = show(&sandbox, &[&base[..], &["--on-failure", "stop"]].concat());
    assert_eq!(statuses(&stop.json()), [("logged-out", "failed"), ("echo", "skipped")]);
    assert_eq!((go_on.code, stop.code), (Some(4), Some(1)));
}

#[test]
fn a_hundred_agents_run_in_one_run() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "--json", "--max-parallel", "100", "-a", "echo*100", "hello"]);
    let report = shown.json();
    let agents = report["agents"].as_array().unwrap();
    assert_eq!(agents.len(), 100);
    assert!(
        agents.iter().all(|agent| agent["status"] == "completed" && agent["answer"] == "hello"),
        "{shown}"
    );
    assert_eq!(report["totals"]["usage"]["output_tokens"], 200);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_dry_run_says_what_it_would_start_and_starts_nothing() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "agents.yaml",
        "agents: {lister: {driver: command, command: [/bin/ls, -l], args: ['a b'], preset: work}}\n",
    );
    configure(
        &sandbox,
        "presets.yaml",
        "presets: {work: {variables: {WORK_KEY: 'env:MOCK_KEY', PLACE: here}}}\n",
    );
    let args = ["run", "--dry-run", "-a", "lister", "hello\nworld"];
    let shown = show(&sandbox, &args);
    let workspace = sandbox.workspace();
    assert_eq!(
        shown.stdout,
        format!(
            "lister\n  driver       command\n  argv         /bin/ls -l 'a b'\n  cwd          {}\n  mode         write\n  \
             preset       work (agents.yaml says so)\n  \
             environment  AISWITCH_RUN (driver), HOME (allowed), PATH (allowed), PLACE (preset), TERM (allowed), \
             WORK_KEY (preset)\n  \
             prompt       hello\n               world\n",
            workspace.display()
        ),
        "{shown}"
    );
    let view = show(&sandbox, &[&args[..], &["--json"]].concat()).json();
    assert_eq!(view[0]["argv"], json!(["/bin/ls", "-l", "a b"]));
    assert_eq!(view[0]["preset"], json!({"name": "work", "from": "agents_yaml"}));
    assert_eq!(view[0]["environment"][5], json!({"name": "WORK_KEY", "from": "preset"}));
    assert!(!shown.stdout.contains(crate::sandbox::KEY) && !view.to_string().contains(crate::sandbox::KEY));
    let made: Vec<_> =
        fs::read_dir(sandbox.aiswitch_home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(made, ["config"]);
}

#[test]
fn without_a_name_the_configured_agents_are_asked_else_the_installed_ones_else_echo() {
    let sandbox = Sandbox::new();
    let echo = show(&sandbox, &["run", "hello"]);
    assert_eq!(echo.stdout, "hello\n");
    assert_eq!(
        echo.stderr,
        "note: no agent is installed, so echo answers, which repeats the prompt (see: aiswitch doctor)\n"
    );
    assert_eq!(show(&sandbox, &["run", "--quiet", "hello"]).stderr, "");

    fs::create_dir(programs(&sandbox)).unwrap();
    for name in ["codex", "claude"] {
        let program = programs(&sandbox).join(name);
        fs::write(&program, "#!/bin/sh\nexit 9\n").unwrap();
        fs::set_permissions(program, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let installed = show(&sandbox, &["run", "--dry-run", "--json", "hello"]);
    let names: Vec<Value> =
        installed.json().as_array().unwrap().iter().map(|agent| agent["agent"].clone()).collect();
    assert_eq!(names, ["claude", "codex"]);
    assert_eq!(
        installed.stderr,
        "note: no agent is named, so all that are installed are asked: claude, codex\n"
    );

    configure(&sandbox, "coordination.yaml", "agents: [mine=echo, 'echo*2']\n");
    let configured = show(&sandbox, &["run", "--json", "hello"]);
    assert_eq!(
        statuses(&configured.json()),
        [("mine", "completed"), ("echo-1", "completed"), ("echo-2", "completed")]
    );
    assert_eq!(configured.stderr, "");
}

#[test]
fn the_command_line_wins_over_the_agent_and_the_agent_over_the_rest() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "coordination.yaml", "timeout: 1s\n");
    configure(
        &sandbox,
        "agents.yaml",
        "agents:\n  slow: {driver: echo, args: [--stall]}\n  patient: {driver: echo, args: [--delay, 1500ms], timeout: 1m}\n",
    );
    let shown = show(&sandbox, &["run", "--json", "-a", "slow,patient", "hello"]);
    assert_eq!(statuses(&shown.json()), [("slow", "timed_out"), ("patient", "completed")]);
    let shown = show(&sandbox, &["run", "--json", "--timeout", "500ms", "-a", "patient", "hello"]);
    assert_eq!(statuses(&shown.json()), [("patient", "timed_out")]);
}

#[test]
fn a_reader_that_leaves_early_is_no_error_but_a_full_disk_is() {
    let sandbox = Sandbox::new();
    for format in ["text", "json", "stream-json"] {
        let args = ["run", "-a", "echo", "--output-format", format, "hello"];
        let mut child = start(&mut aiswitch(&sandbox, &args));
        drop(child.stdout.take());
        let shown = Shown::from(child.wait_with_output().unwrap());
        assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(0)), "{format}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut child = aiswitch(&sandbox, &args).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{stderr}");
        assert_eq!(
            stderr,
            "error: stdout cannot be written\n  because: No space left on device (os error 28)\n"
        );
    }
}

#[test]
fn two_commands_at_once_keep_both_their_runs() {
    let sandbox = Sandbox::new();
    let children: Vec<_> =
        (0..4).map(|_| start(&mut aiswitch(&sandbox, &["run", "-a", "echo*4", "hello"]))).collect();
    for child in children {
        let shown = Shown::from(child.wait_with_output().unwrap());
        assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(0)));
    }
    let runs = show(&sandbox, &["runs", "--json"]).json();
    assert_eq!(runs.as_array().unwrap().len(), 4, "{runs:#}");
    assert!(runs.as_array().unwrap().iter().all(|run| run["status"] == "completed"), "{runs:#}");
}

#[test]
fn what_is_kept_can_be_read_by_nobody_else() {
    let sandbox = Sandbox::new();
    fs::remove_dir_all(sandbox.aiswitch_home()).unwrap();
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "hello"]).code, Some(0));
    let mut folders = vec![sandbox.aiswitch_home()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(
                    path.metadata().unwrap().permissions().mode() & 0o777,
                    0o600,
                    "{}",
                    path.display()
                );
                files += 1;
            }
        }
    }
    assert!(files >= 5, "{files}");
}

#[test]
fn quiet_leaves_errors_and_no_warnings() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {bad: {driver: codex, command: [/bin/false]}}\n");
    let warned = |args: &[&str]| {
        let mut command = aiswitch(&sandbox, args);
        let shown = Shown::from(command.env("SSL_CERT_FILE", "/certificates").output().unwrap());
        assert!(shown.stderr.contains("bad crashed: "), "{shown}");
        shown.stderr.contains("warning: the caller's `SSL_CERT_FILE`")
    };
    assert!(warned(&["run", "-a", "bad", "hello"]));
    assert!(!warned(&["run", "-q", "-a", "bad", "hello"]));
    assert!(!warned(&["result", "-q"]));
}

#[test]
fn a_program_that_is_too_old_to_know_its_options_is_named_with_its_remedy() {
    let sandbox = Sandbox::new();
    fs::create_dir(programs(&sandbox)).unwrap();
    let program = programs(&sandbox).join("claude");
    let script = "#!/bin/sh\n[ \"$1\" = --version ] && echo '1.0.3 (Claude Code)' && exit\n\
                  echo \"error: unknown option '--input-format'\" >&2\nexit 1\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let shown = show(&sandbox, &["run", "-a", "claude", "hello"]);
    assert!(shown.stderr.starts_with("claude failed: version 1.0.3 is too old, "), "{shown}");
    assert!(
        shown.stderr.contains("\n  hint: update it with: npm install -g @anthropic-ai/claude-code\n"),
        "{shown}"
    );
    assert_eq!(shown.code, Some(1));
}
