//! Presets are kept by verbs as by hand, and one command runs under one.

use std::fs;

use crate::harness::{aiswitch, configure, show, show_script};
use crate::sandbox::Sandbox;

const TEXT: &str = "\
# what I use
presets:
  # the company's
  work:
    description: company gateway
    variables:
      A_BASE_URL: https://a.example  # EU
      A_KEY: env:MOCK_KEY
";

fn text(sandbox: &Sandbox) -> String {
    fs::read_to_string(sandbox.aiswitch_home().join("config/presets.yaml")).unwrap()
}

fn with_preset() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, "presets.yaml", TEXT);
    sandbox
}

#[test]
fn a_preset_is_added_changed_shown_and_removed_and_comments_stay() {
    let sandbox = with_preset();
    let quiet = |args: &[&str]| {
        let shown = show(&sandbox, args);
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown}");
        shown.stdout
    };
    quiet(&["preset", "add", "test", "--extends", "work", "--tag", "ci", "B=x: #y", "A_KEY=file:/key"]);
    let added = "  test:\n    tags: [\"ci\"]\n    extends: work\n    variables:\n      A_KEY: file:/key\n      B: \"x: #y\"\n";
    assert_eq!(text(&sandbox), format!("{TEXT}{added}"));
    quiet(&["preset", "edit", "work", "A_BASE_URL=https://b.example", "C=1", "--unset", "A_KEY"]);
    assert_eq!(
        text(&sandbox),
        TEXT.replace("https://a.example  # EU", "https://b.example")
            .replace("A_KEY: env:MOCK_KEY", "C: \"1\"")
            + added
    );
    assert_eq!(
        quiet(&["preset", "show", "test"]),
        "VARIABLE    VALUE              FROM\nA_BASE_URL  https://b.example  work\nA_KEY       file:/key          test\n\
         B           x: #y              test\nC           1                  work\n"
    );
    let listed = show(&sandbox, &["preset", "list", "--tag", "ci", "--json"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["extends"]), (1, &"work".into()));
    let refused = show(&sandbox, &["preset", "remove", "work"]);
    assert_eq!(
        refused.stderr,
        "error: preset `test` extends `work`\n  hint: remove `test` first, or let it extend another\n"
    );
    quiet(&["preset", "remove", "test"]);
    assert!(!text(&sandbox).contains("test"));
}

#[test]
fn a_change_that_cannot_be_is_refused_and_the_file_stays() {
    let sandbox = with_preset();
    for (args, expected) in [
        (&["preset", "add", "work"][..], "error: preset `work` is there already\n"),
        (
            &["preset", "add", "x", "MY_TOKEN=abc"],
            "error: variable `MY_TOKEN` of preset `x` holds a secret in clear\n",
        ),
        (&["preset", "add", "x", "--extends", "x"], "error: preset `x` extends itself\n"),
        (&["preset", "add", "x", "--extends", "y"], "error: preset `x` extends `y`, which is not known\n"),
        (&["preset", "add", "x", "LD_PRELOAD=y"], "error: variable `LD_PRELOAD` of preset `x` can make"),
        (&["preset", "edit", "wrk"], "error: preset `wrk` is not known\n  hint: did you mean `work`?\n"),
        (&["preset", "edit", "work", "--unset", "Z"], "error: preset `work` has no variable `Z`\n"),
        (&["preset", "show", "none"], "error: preset `none` is not known\n"),
    ] {
        let shown = show(&sandbox, args);
        assert_eq!(shown.code, Some(2), "{shown}");
        assert!(shown.stderr.starts_with(expected), "{shown}");
        assert_eq!(text(&sandbox), TEXT);
    }
}

#[test]
fn the_verbs_of_the_python_tool_are_those_of_today() {
    let sandbox = with_preset();
    let old = [
        "add",
        "ds",
        "A_BASE_URL",
        "https://b.example/",
        "B",
        "x=y",
        "--description",
        "D",
        "--tags",
        "cn,cheap",
    ];
    assert_eq!(show(&sandbox, &old).stdout, "preset `ds` is there now\n");
    assert!(text(&sandbox).contains("B: \"x=y\"") && text(&sandbox).contains("tags: [\"cn\", \"cheap\"]"));
    assert_eq!(show(&sandbox, &["list"]), show(&sandbox, &["preset", "list"]));
    assert_eq!(show(&sandbox, &["export", "ds"]), show(&sandbox, &["preset", "export", "ds"]));
    let clear = show(&sandbox, &["add", "x", "API_KEY", "sk-in-clear"]);
    assert!(clear.stderr.contains("hint: encrypt it: aiswitch secrets set x API_KEY"), "{clear}");
    assert_eq!(
        show(&sandbox, &["add", "x", "A", "1", "B"]).stderr,
        "error: variable `B` has no value behind it\n"
    );
    assert_eq!(show(&sandbox, &["current"]).stderr, "note: this shell is under no preset\n");
    let current = aiswitch(&sandbox, &["current"]).env("AISWITCH_PRESET", "ds").output().unwrap();
    assert_eq!(current.stdout, b"ds\n");
    let before = text(&sandbox);
    assert_eq!((show(&sandbox, &["remove", "ds", "none"]).code, text(&sandbox)), (Some(2), before));
    assert_eq!(show(&sandbox, &["remove", "ds", "work"]).stdout, "preset `ds,work` is gone\n");
    assert_eq!(show(&sandbox, &["list"]).stdout.lines().count(), 1);
}

#[test]
fn a_validation_names_everything_that_is_wrong() {
    let sandbox = with_preset();
    assert_eq!(show(&sandbox, &["preset", "validate"]).stdout, "1 presets, 0 problems\n");
    let more = "  bad: {extends: none, agents: {cluade: {X: y}}}\n  worse: {variables: {A: 'env:NOT_SET'}}\n";
    configure(&sandbox, "presets.yaml", &format!("{TEXT}{more}"));
    let shown = show(&sandbox, &["preset", "validate"]);
    let expected = "preset `bad` extends `none`, which is not known\n\
        preset `bad` speaks of agent `cluade`, which is not known\n\
        variable `A` of preset `worse` wants `NOT_SET` of the caller's environment, which is not set\n\
        3 presets, 3 problems\n";
    assert_eq!((shown.stdout.as_str(), shown.code), (expected, Some(8)), "{shown}");
}

#[test]
fn a_command_runs_under_a_preset_with_its_own_exit_code_and_no_shell() {
    let sandbox = with_preset();

    let all = "for name in A_BASE_URL A_KEY MOCK_KEY AISWITCH_HOME HOME KEPT; do eval \"v=\\${$name-none}\"; echo $name=$v; done; exit 42";
    let run = |args: &[&str]| -> crate::harness::Shown {
        aiswitch(&sandbox, args).env("KEPT", "kept").output().unwrap().into()
    };
    let shown = run(&["apply", "work", "--keep", "KEPT", "--", "/bin/sh", "-c", all]);
    let expected = format!(
        "A_BASE_URL=https://a.example\nA_KEY={}\nMOCK_KEY=none\nAISWITCH_HOME=none\nHOME={}\nKEPT=kept\n",
        crate::sandbox::KEY,
        sandbox.home().display()
    );
    assert_eq!((shown.stdout, shown.code), (expected, Some(42)));
    let odd = ["a;b", "$(touch hacked)", "-x", "*", "two words", "'\""];
    let mut args = vec!["apply", "work", "--", "/bin/echo"];
    args.extend(odd);
    assert_eq!(show(&sandbox, &args).stdout, format!("{}\n", odd.join(" ")));
    assert!(!sandbox.workspace().join("hacked").exists());
    let killed = show_script(&sandbox, "\"$0\" apply work -- /bin/sh -c 'kill -TERM $$'; echo $?");
    assert_eq!(killed.stdout, "143\n", "{killed}");
}

#[test]
fn a_command_that_cannot_be_started_is_named() {
    let sandbox = with_preset();
    for (args, expected) in [
        (
            &["apply", "work", "--", "no-such-program"][..],
            "error: `no-such-program` cannot be started\n  because: ",
        ),
        (&["apply", "wrk", "--", "true"], "error: preset `wrk` is not known\n  hint: did you mean `work`?\n"),
        (
            &["apply", "work", "--keep", "LD_PRELOAD", "--", "true"],
            "error: variable `LD_PRELOAD` of preset `work` can",
        ),
        (
            &["apply", "work", "--keep", "NOPE", "--", "true"],
            "error: the caller's environment has no variable `NOPE`\n",
        ),
    ] {
        let shown = show(&sandbox, args);
        assert_eq!(shown.code, Some(2), "{shown}");
        assert!(shown.stderr.starts_with(expected), "{shown}");
    }
}
