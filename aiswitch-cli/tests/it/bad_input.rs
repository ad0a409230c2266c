//! Bad input: each a clear error with its exit code, and nothing half done.

use std::fs;

use crate::harness::{Shown, configure, kept_runs, show, show_fed, show_script};
use crate::sandbox::Sandbox;

/// Refused with exit code 2 and these words, without a run.
fn refused(sandbox: &Sandbox, shown: &Shown, stderr: &str) {
    assert_eq!(shown.stderr, stderr, "{shown}");
    assert_eq!((shown.stdout.as_str(), shown.code), ("", Some(2)), "{shown}");
    assert_eq!(kept_runs(sandbox), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_prompt_without_a_word_is_refused() {
    let sandbox = Sandbox::new();
    let expected =
        "error: the prompt is empty\n  hint: aiswitch run \"what to do\"; or --file FILE; or pipe it in\n";
    refused(&sandbox, &show(&sandbox, &["run", "-a", "echo", ""]), expected);
    refused(&sandbox, &show(&sandbox, &["run", "-a", "echo", " \n\t "]), expected);
    refused(&sandbox, &show(&sandbox, &["run", "-a", "echo"]), expected);
    refused(&sandbox, &show_fed(&sandbox, &["run", "-a", "echo", "-"], ""), expected);
}

#[test]
fn an_unknown_agent_is_refused_with_the_nearest_name() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "cluade", "hello"]);
    refused(&sandbox, &shown, "error: agent `cluade` is not known\n  hint: did you mean `claude`?\n");
    let shown = show(&sandbox, &["run", "-a", "nobody", "hello"]);
    refused(
        &sandbox,
        &shown,
        "error: agent `nobody` is not known\n  hint: known agents: claude, codex, echo, gemini, opencode, qwen\n",
    );
}

#[test]
fn a_name_that_can_be_none_is_refused() {
    let sandbox = Sandbox::new();
    for (name, reason) in [
        ("../x", "agent id `../x` is not valid: it must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        ("", "agent id `` is not valid: it must match ^[a-z0-9][a-z0-9_-]{0,63}$"),
        ("echo*0", "`0` is not a number of agents from 1 to 1000"),
        ("echo:", "no model stands behind the colon"),
    ] {
        let shown = show(&sandbox, &["run", "hello", "-a", name]);
        let expected = format!(
            "error: invalid value '{name}' for '--agent <NAME>': {reason}\n  hint: --help says more\n"
        );
        refused(&sandbox, &shown, &expected);
    }
}

#[test]
fn what_the_parser_refuses_is_told_like_any_other_error() {
    let sandbox = Sandbox::new();
    let refuse = |args: &[&str], expected: &str| refused(&sandbox, &show(&sandbox, args), expected);
    refuse(
        &["run", "two", "words"],
        "error: unexpected argument 'words' found\n  hint: put a prompt of several words in quotes\n  \
         Usage: aiswitch run [OPTIONS] [PROMPT]\n  hint: aiswitch run --help says more\n",
    );
    refuse(
        &["runz"],
        "error: unrecognized subcommand 'runz'\n  hint: some similar verbs exist: 'runs', 'run'\n  \
         Usage: aiswitch [OPTIONS] <VERB>\n  hint: aiswitch --help says more\n",
    );
    for (option, value, why) in [
        ("--timeout <TIME>", "-5", "`-5` is not a length of time like 90s, 500ms, 10m or 1h"),
        ("--budget-usd <DOLLARS>", "-1", "expected dollars, such as 0.50"),
        ("--max-parallel <N>", "0", "expected a number from 1 on"),
        ("--max-parallel <N>", "-1", "expected a number from 1 on"),
        ("--judge <NAME>", "echo*2", "one agent judges, not several"),
    ] {
        let name = option.split_whitespace().next().unwrap();
        let expected =
            format!("error: invalid value '{value}' for '{option}': {why}\n  hint: --help says more\n");
        refuse(&["run", "-a", "echo", name, value, "hello"], &expected);
    }
}

#[test]
fn a_judge_without_a_question_and_a_question_without_a_judge_are_refused() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "--aggregate", "judge", "hello"]);
    let expected = "error: the answers are to be given to a judge, and nobody is named as one\n  hint: name one: --judge NAME\n";
    refused(&sandbox, &shown, expected);
    let shown = show(&sandbox, &["run", "-a", "echo", "--judge", "echo", "hello"]);
    let expected = "error: agent `judge` is the judge, and how the answers become one asks for none\n  \
         hint: have it asked with --aggregate judge, or --aggregate synthesize\n";
    refused(&sandbox, &shown, expected);
}

#[test]
fn two_agents_with_one_name_are_refused() {
    let sandbox = Sandbox::new();
    for agents in ["x=echo,x=echo", "echo,x=echo,echo", "echo-1=echo,echo*2"] {
        let shown = show(&sandbox, &["run", "-a", agents, "hello"]);
        let id = shown.stderr.split('`').nth(1).unwrap().to_owned();
        let expected = format!(
            "error: two agents are called `{id}`\n  \
             hint: give one another name: -a other={id}; or two of a kind: -a {id}*2\n"
        );
        refused(&sandbox, &shown, &expected);
    }
}

#[test]
fn an_unreadable_prompt_file_is_refused() {
    let sandbox = Sandbox::new();
    let folder = sandbox.workspace();
    let binary = folder.join("binary");
    fs::write(&binary, [b'a', 0xff]).unwrap();
    for (path, reason) in [
        (
            folder.join("missing"),
            "cannot be read as the prompt\n  because: No such file or directory (os error 2)",
        ),
        (folder.clone(), "cannot be read as the prompt\n  because: Is a directory (os error 21)"),
        (binary, "is not UTF-8 text\n  because: invalid utf-8 sequence of 1 bytes from index 1"),
    ] {
        let path = path.display().to_string();
        let shown = show(&sandbox, &["run", "-a", "echo", "--file", &path]);
        refused(&sandbox, &shown, &format!("error: `{path}` {reason}\n"));
    }
}

#[test]
fn a_prompt_of_two_mebibytes_is_refused_wherever_it_comes_from() {
    let sandbox = Sandbox::new();
    // Cut within a character, so that the limit is seen before the text is.
    let long = format!("a{}", "é".repeat(1 << 20));
    let path = sandbox.workspace().join("long");
    fs::write(&path, &long).unwrap();
    let path = path.to_str().unwrap();
    let hint = "  hint: name a file in the prompt, which agents can read themselves\n";
    for (from, shown) in [
        (path, show(&sandbox, &["run", "-a", "echo", "--file", path])),
        ("stdin", show_fed(&sandbox, &["run", "-a", "echo"], &long)),
        ("stdin", show_fed(&sandbox, &["run", "-a", "echo", "said"], &long)),
    ] {
        let expected =
            format!("error: `{from}` holds more than 1048576 bytes, the most that a prompt may have\n{hint}");
        refused(&sandbox, &shown, &expected);
    }
    let half = "a".repeat(1 << 20);
    fs::write(path, &half).unwrap();
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "--file", path]).stdout, format!("{half}\n"));
}

#[test]
fn a_prompt_that_begins_like_an_option_is_explained_and_has_two_ways_in() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "-x"]);
    refused(
        &sandbox,
        &shown,
        "error: unexpected argument '-x' found\n  hint: to pass '-x' as a value, use '-- -x'\n  \
         Usage: aiswitch run [OPTIONS] [PROMPT]\n  hint: aiswitch run --help says more\n",
    );
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "--", "-x"]).stdout, "-x\n");
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "-p", "-x"]).stdout, "-x\n");
}

#[test]
fn a_prompt_with_a_nul_byte_is_refused() {
    let sandbox = Sandbox::new();
    let shown = show_fed(&sandbox, &["run", "-a", "echo"], "a\0b");
    refused(&sandbox, &shown, "error: the prompt holds a NUL byte at byte 1\n");
}

#[test]
fn two_prompts_are_refused() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "-p", "one", "two"]);
    refused(
        &sandbox,
        &shown,
        "error: two prompts are given: the one of --prompt, and `two`\n  hint: put a prompt of several words in quotes\n",
    );
}

#[test]
fn a_working_folder_that_is_gone_is_refused() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "-C", "/nowhere", "hello"]);
    refused(
        &sandbox,
        &shown,
        "error: the working folder `/nowhere` cannot be used\n  because: No such file or directory (os error 2)\n  \
         hint: name another folder with -C DIR\n",
    );
    let file = sandbox.workspace().join("file");
    fs::write(&file, "").unwrap();
    let shown = show(&sandbox, &["run", "-a", "echo", "-C", "file", "hello"]);
    let expected = format!(
        "error: the working folder `{}` cannot be used\n  because: not a directory\n  \
         hint: name another folder with -C DIR\n",
        file.display()
    );
    refused(&sandbox, &shown, &expected);
    let shown = show_script(
        &sandbox,
        "/bin/mkdir gone && cd gone && /bin/rmdir ../gone && exec \"$0\" run -a echo hello",
    );
    refused(
        &sandbox,
        &shown,
        "error: the working folder cannot be found\n  because: No such file or directory (os error 2)\n  \
         hint: change to a folder that exists, or give -C DIR\n",
    );
}

#[test]
fn a_home_that_cannot_be_used_is_refused() {
    let sandbox = Sandbox::new();
    let file = sandbox.workspace().join("file");
    fs::write(&file, "").unwrap();
    let home = file.join("home");
    let shown = show(&sandbox, &["run", "-a", "echo", "--home", home.to_str().unwrap(), "hello"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    assert!(shown.stderr.starts_with("error: ") && shown.stderr.contains("Not a directory"), "{shown}");

    // Nobody may write there, not even root.
    let shown = show(&sandbox, &["run", "-a", "echo", "--home", "/proc/aiswitch", "hello"]);
    refused(
        &sandbox,
        &shown,
        "error: the home `/proc/aiswitch` cannot be used\n  because: cannot make the folder `/proc/aiswitch/state`\n  \
         because: No such file or directory (os error 2)\n  \
         hint: make it writable, or point --home or AISWITCH_HOME elsewhere\n",
    );
}

#[test]
fn without_any_place_for_a_home_the_command_says_how_to_name_one() {
    let sandbox = Sandbox::new();
    let mut command = crate::harness::aiswitch(&sandbox, &["run", "-a", "echo", "hello"]);
    let shown = Shown::from(command.env_remove("HOME").env_remove("AISWITCH_HOME").output().unwrap());
    refused(
        &sandbox,
        &shown,
        "error: no folder is known for configuration and state\n  hint: set AISWITCH_HOME, or give --home DIR\n",
    );
}

#[test]
fn presets_that_cannot_be_used_are_refused_by_name_and_never_by_value() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "presets.yaml",
        "presets:\n  work: {variables: {A: 'env:NOT_SET'}}\n  clear: {variables: {MY_KEY: sk-in-clear}}\n  \
         evil: {variables: {LD_PRELOAD: /tmp/x.so}}\n",
    );
    for (preset, expected) in [
        ("wrok", "error: preset `wrok` is not known\n  hint: did you mean `work`?\n"),
        (
            "work",
            "error: variable `A` of preset `work` wants `NOT_SET` of the caller's environment, which is not set\n  \
             hint: export NOT_SET=…\n",
        ),
        (
            "clear",
            "error: variable `MY_KEY` of preset `clear` holds a secret in clear\n  \
             hint: encrypt it: aiswitch secrets set clear MY_KEY; or write env:NAME or file:PATH\n",
        ),
        (
            "evil",
            "error: variable `LD_PRELOAD` of preset `evil` can make an agent run foreign code and is refused\n",
        ),
    ] {
        let shown = show(&sandbox, &["run", "-a", "echo", "--preset", preset, "hello"]);
        refused(&sandbox, &shown, expected);
    }
}

#[test]
fn more_agents_than_a_run_may_have_are_refused() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "a=echo*600,b=echo*600", "hello"]);
    refused(
        &sandbox,
        &shown,
        "error: the plan names 1200 agents, and one run may have 1000\n  hint: split the work into several runs\n",
    );
}

#[test]
fn two_formats_are_refused() {
    let sandbox = Sandbox::new();
    let shown = show(&sandbox, &["run", "-a", "echo", "--json", "--output-format", "text", "hello"]);
    refused(
        &sandbox,
        &shown,
        "error: the argument '--json' cannot be used with '--output-format <FORMAT>'\n  \
         Usage: aiswitch run --agent <NAME> --json <PROMPT>\n  hint: aiswitch run --help says more\n",
    );
}

#[test]
fn who_looks_back_in_a_home_that_cannot_be_written_is_told_what_to_do() {
    let sandbox = Sandbox::new();
    for verb in ["tokens", "metrics", "report", "clean"] {
        // Nobody makes a folder there, root neither.
        let shown = show(&sandbox, &["--home", "/sys/aiswitch", verb]);
        let hint = "\n  hint: make it writable, or point --home or AISWITCH_HOME elsewhere\n";
        assert!(shown.stderr.ends_with(hint), "{shown}");
    }
}
