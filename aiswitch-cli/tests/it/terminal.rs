//! On a terminal: progress, colours, and nothing in an agent's text that the terminal would obey.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use unicode_width::UnicodeWidthStr;

use crate::harness::{aiswitch, configure, show};
use crate::sandbox::Sandbox;

/// Runs the command on a terminal of its own; all that it showed there, and its exit code.
fn run_on_terminal(sandbox: &Sandbox, args: &[&str], variables: &[(&str, &str)]) -> (String, Option<i32>) {
    // A size of 0 is what a terminal has that does not tell it.
    run_on_terminal_of(sandbox, args, variables, 0)
}

/// The same, on a terminal with lines of so many cells.
fn run_on_terminal_of(
    sandbox: &Sandbox,
    args: &[&str],
    variables: &[(&str, &str)],
    columns: u16,
) -> (String, Option<i32>) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let side: OwnedFd = open(&*name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut command = aiswitch(sandbox, args);
    command.env("TERM", "xterm").envs(variables.iter().copied());
    let [stdin, stdout] = [(); 2].map(|()| Stdio::from(side.try_clone().unwrap()));
    let mut child = command.stdin(stdin).stdout(stdout).stderr(Stdio::from(side)).spawn().unwrap();
    // The command holds the terminal's other side; without it the reading would not end.
    drop(command);
    let mut shown = Vec::new();
    // At its end a terminal says that it is broken.
    File::from(terminal).read_to_end(&mut shown).unwrap_err();
    let code = child.wait().unwrap().code();
    (String::from_utf8(shown).unwrap().replace("\r\n", "\n"), code)
}

/// Runs the command on a terminal of its own to a good end, and returns all that it showed there.
fn on_terminal(sandbox: &Sandbox, args: &[&str], variables: &[(&str, &str)]) -> String {
    let (shown, code) = run_on_terminal(sandbox, args, variables);
    assert_eq!(code, Some(0), "{shown}");
    shown
}

/// The lines of progress, without figures.
fn progress(shown: &str) -> Vec<&str> {
    shown
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.split(" after").next().unwrap())
        .collect()
}

#[test]
fn progress_is_drawn_on_a_terminal_where_a_person_looks() {
    let sandbox = Sandbox::new();
    let args = ["run", "-a", "echo", "hello"];
    let shown = on_terminal(&sandbox, &args, &[("NO_COLOR", "1")]);
    assert_eq!(progress(&shown), ["echo  started (driver echo)", "echo  completed"], "{shown}");
    assert!(shown.contains("\nhello\nrun 01"), "{shown}");
    for (more, variables) in
        [(&["--quiet"][..], &[][..]), (&[], &[("CI", "true")]), (&[], &[("TERM", "dumb")])]
    {
        assert_eq!(
            on_terminal(&sandbox, &[&args[..], more].concat(), variables),
            "hello\n",
            "{more:?} {variables:?}"
        );
    }
}

#[test]
fn colours_are_for_terminals_and_for_who_asks_for_them() {
    let sandbox = Sandbox::new();
    let args = ["run", "-a", "echo", "hello"];
    assert!(on_terminal(&sandbox, &args, &[]).contains("\u{1b}[32mcompleted"));
    assert!(!on_terminal(&sandbox, &args, &[("NO_COLOR", "1")]).contains('\u{1b}'));

    let failing = ["run", "-a", "nobody", "hello"];
    let stderr = |variables: &[(&str, &str)]| {
        let output = aiswitch(&sandbox, &failing).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!stderr(&[]).contains('\u{1b}'));
    assert!(stderr(&[("CLICOLOR_FORCE", "1")]).starts_with("\u{1b}[1m\u{1b}[31merror:"));
}

#[test]
fn a_terminal_obeys_nothing_that_an_agent_says() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "agents.yaml",
        "agents: {evil: {driver: command, command: [/usr/bin/printf, 'a\\033]0;owned\\007b\\302\\233c\\342\\200\\256d']}}\n",
    );
    let args = ["run", "--quiet", "-a", "evil", "hello"];
    assert_eq!(on_terminal(&sandbox, &args, &[]), "a\\u{1b}]0;owned\\u{7}b\\u{9b}c\\u{202e}d\n");
    let as_json = on_terminal(&sandbox, &[&args[..], &["--json"]].concat(), &[]);
    assert!(as_json.contains(r#""answer": "a\u001b]0;owned\u0007b\u009bc\u202ed""#), "{as_json}");
    let logs = on_terminal(&sandbox, &["logs", "last", "--agent", "evil"], &[]);
    assert_eq!(logs, "a\\u{1b}]0;owned\\u{7}b\\u{9b}c\\u{202e}d");
    // A program is given what the agent said, to the byte.
    let piped = aiswitch(&sandbox, &args).output().unwrap();
    assert_eq!(piped.stdout, b"a\x1b]0;owned\x07b\xc2\x9bc\xe2\x80\xaed\n");
}

#[test]
fn without_a_prompt_a_person_is_told_how_to_give_one_instead_of_being_waited_for() {
    let sandbox = Sandbox::new();
    let (shown, code) = run_on_terminal(&sandbox, &["run", "-a", "echo"], &[("NO_COLOR", "1")]);
    assert_eq!(
        (shown.as_str(), code),
        (
            "error: there is no prompt\n  hint: aiswitch run \"what to do\"; or --file FILE; or pipe it in\n",
            Some(2)
        )
    );
}

#[test]
fn tables_fit_the_terminal_and_lose_nothing() {
    let sandbox = Sandbox::new();
    let prompt = "a prompt of many words that goes on and on, for longer than any line";
    assert_eq!(show(&sandbox, &["run", "-q", "-a", "echo*9", prompt]).code, Some(0));
    for args in
        [&["runs"][..], &["doctor"], &["agents", "list"], &["agents", "check"], &["agents", "show", "claude"]]
    {
        let plain = show(&sandbox, args);
        let words = |text: &str| {
            let mut letters: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            letters.sort_unstable();
            letters
        };
        for columns in [80, 60] {
            let (shown, code) = run_on_terminal_of(&sandbox, args, &[("NO_COLOR", "1")], columns);
            assert_eq!((code, words(&shown)), (plain.code, words(&plain.stdout)), "{args:?}");
            // A home and a program may have longer names than that.
            let long = shown.lines().filter(|line| line.width() > usize::from(columns));
            assert_eq!(long.collect::<Vec<_>>(), [""; 0], "{args:?} {columns}");
        }
    }
}
