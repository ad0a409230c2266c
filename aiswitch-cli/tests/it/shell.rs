//! A preset goes into a real shell and out again, and nothing of its values is ever run.
#![expect(clippy::disallowed_methods, reason = "tests of shells start them")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::harness::{Shown, aiswitch, programs, show, show_fed};
use crate::sandbox::Sandbox;

const SECRET: &str = "sk-shell-'\"\\$(touch hacked)`touch hacked`\n!! \\' end\\";

const ODD: &[&str] = &[
    "plain",
    "two  words",
    "'",
    "''",
    "\\",
    "\\'",
    "$(touch hacked)",
    "`touch hacked`",
    "$HOME ${HOME} *",
    "a\nb\n\nc",
    "tab\there",
    "; touch hacked #",
    "(touch hacked)",
    "ünïcödé 密钥",
    "!!",
    "-n",
    "",
];

/// A shell's name, what it is started with, and how it comes to its function.
type ShellUnderTest = (&'static str, &'static [&'static str], &'static str);

const SHELLS: [ShellUnderTest; 3] = [
    ("bash", &["--norc", "--noprofile", "-c"], "eval \"$(command aiswitch shell init bash)\"\n"),
    ("zsh", &["-f", "-c"], "setopt rcquotes noglobalexport\neval \"$(command aiswitch shell init zsh)\"\n"),
    ("fish", &["--no-config", "-c"], "command aiswitch shell init fish | source\n"),
];

/// A home with two presets: one with every odd value and a secret, and another.
fn with_presets() -> Sandbox {
    let sandbox = Sandbox::new();
    fs::create_dir_all(programs(&sandbox)).unwrap();
    symlink(env!("CARGO_BIN_EXE_aiswitch"), programs(&sandbox).join("aiswitch")).unwrap();
    let odd: Vec<String> = ODD.iter().enumerate().map(|(at, value)| format!("ODD_{at}={value}")).collect();
    let mut args = vec!["preset", "add", "one", "BOTH=1", "OWN=env:OWN"];
    args.extend(odd.iter().map(String::as_str));
    let added: Shown = aiswitch(&sandbox, &args).env("OWN", "mine").output().unwrap().into();
    assert_eq!(added.code, Some(0), "{added}");
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    assert_eq!(show_fed(&sandbox, &["secrets", "set", "one", "A_KEY"], format!("{SECRET}\n")).code, Some(0));
    assert_eq!(show(&sandbox, &["preset", "add", "two", "BOTH=2", "TWO=2"]).code, Some(0));
    sandbox
}

/// Runs lines in a shell that has the function; every `env -0` there is one of the environments.
fn run(
    sandbox: &Sandbox,
    (name, args, start): ShellUnderTest,
    lines: &str,
) -> Option<(Vec<BTreeMap<String, String>>, Shown)> {
    let Some(program) = ["/usr/bin", "/bin"]
        .map(|folder| Path::new(folder).join(name))
        .into_iter()
        .find(|path| path.exists())
    else {
        // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
        drop(writeln!(io::stderr(), "skipped: {name} is not installed"));
        return None;
    };
    let with_path = aiswitch(sandbox, &[]);
    let mut command = Command::new(program);
    command.env_clear().current_dir(sandbox.workspace());
    command.envs(with_path.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("OWN", "mine").args(args).arg(format!("{start}{lines}"));
    let shown = Shown::from(command.output().unwrap());
    let environments = shown.stdout.split("\0\0").filter(|text| !text.is_empty());
    let parse = |text: &str| {
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Some((environments.map(parse).collect(), shown))
}

const ENV: &str = "/usr/bin/env -0; /usr/bin/printf '\\0'\n";

#[test]
fn a_preset_goes_into_every_shell_and_out_again_and_no_value_is_run() {
    let sandbox = with_presets();
    for shell in SHELLS {
        let lines = format!("{ENV}aiswitch apply one\n{ENV}aiswitch apply two\n{ENV}aiswitch clear\n{ENV}");
        let Some((found, shown)) = run(&sandbox, shell, &lines) else { continue };
        let [before, one, two, after] = found.as_slice() else { panic!("{shown}") };
        assert_eq!(shown.stderr, "", "{shown}");
        for (at, value) in ODD.iter().enumerate() {
            assert_eq!(one[&format!("ODD_{at}")], *value, "{}", shell.0);
        }
        assert_eq!((one["A_KEY"].as_str(), one["BOTH"].as_str()), (SECRET, "1"));
        assert_eq!((one["AISWITCH_PRESET"].as_str(), one["OWN"].as_str()), ("one", "mine"));
        let names = |environment: &BTreeMap<String, String>| environment.keys().cloned().collect::<Vec<_>>();
        let mut expected = names(before);
        expected.extend(["AISWITCH_PRESET", "AISWITCH_VARIABLES", "BOTH", "TWO"].map(str::to_owned));
        expected.sort();
        assert_eq!(
            (names(two), two["BOTH"].as_str(), two["AISWITCH_VARIABLES"].as_str()),
            (expected, "2", "BOTH TWO")
        );
        assert_eq!(names(before), names(after), "{}", shell.0);
        assert!(!sandbox.workspace().join("hacked").exists());
    }
}

#[test]
fn a_preset_that_cannot_be_had_leaves_the_shell_as_it_is_and_says_so_by_its_code() {
    let sandbox = with_presets();
    for shell in SHELLS {
        let code = if shell.0 == "fish" { "$status" } else { "$?" };
        let lines =
            format!("aiswitch apply two\naiswitch apply nosuch\n/usr/bin/env CODE={code} /usr/bin/env -0\n");
        let Some((found, shown)) = run(&sandbox, shell, &lines) else { continue };
        assert_eq!((found[0]["CODE"].as_str(), found[0]["TWO"].as_str()), ("2", "2"), "{shown}");
        assert!(shown.stderr.starts_with("error: preset `nosuch` is not known\n"), "{shown}");
        let (_, under) = run(&sandbox, shell, "aiswitch apply one -- /bin/echo 'a;b'\n").unwrap();
        assert_eq!(under.stdout, "a;b\n", "{under}");
    }
}

#[test]
fn a_run_in_a_shell_that_is_under_a_preset_is_under_it_too() {
    let sandbox = with_presets();
    let planned = |args: &[&str]| -> Shown {
        let args = [&["run", "--dry-run", "-a", "echo"], args, &["hello"]].concat();
        aiswitch(&sandbox, &args).env("AISWITCH_PRESET", "two").output().unwrap().into()
    };
    assert!(planned(&[]).stdout.contains("TWO (preset)"), "{}", planned(&[]));
    assert!(!planned(&["--preset", "one"]).stdout.contains("TWO"));
    let refused: Shown = aiswitch(&sandbox, &["run", "-a", "echo", "hello"])
        .env("AISWITCH_PRESET", "No!")
        .output()
        .unwrap()
        .into();
    assert!(refused.code == Some(2) && refused.stderr.contains("preset name `No!`"), "{refused}");
}

#[test]
fn what_no_shell_can_hold_and_what_nobody_asked_for_is_refused() {
    let sandbox = with_presets();
    assert_eq!(show(&sandbox, &["preset", "add", "odd", "A-B=1"]).code, Some(0));
    let odd = show(&sandbox, &["shell", "set", "odd", "--shell", "bash"]);
    assert_eq!((odd.code, odd.stdout.as_str()), (Some(2), ""), "{odd}");
    assert!(odd.stderr.starts_with("error: no shell can have a variable `A-B`\n"), "{odd}");
    let injected: Shown = aiswitch(&sandbox, &["shell", "clear", "--shell", "zsh"])
        .env("AISWITCH_VARIABLES", "A;touch B")
        .output()
        .unwrap()
        .into();
    assert_eq!((injected.code, injected.stdout.as_str()), (Some(2), ""), "{injected}");
    let without = show(&sandbox, &["apply", "two"]);
    assert!(
        without.stderr.contains("hint: give it one after `--`; or, to change this shell: eval"),
        "{without}"
    );
}

/// Runs the command with the shell of a user.
fn with_shell(sandbox: &Sandbox, shell: &str, args: &[&str]) -> Shown {
    aiswitch(sandbox, args).env("SHELL", format!("/usr/bin/{shell}")).output().unwrap().into()
}

#[test]
fn new_shells_have_the_function_and_the_preset_once_it_is_installed_and_not_after() {
    let sandbox = with_presets();
    for (shell, args, file) in [
        ("bash", &["-i", "-c"][..], ".bashrc"),
        ("zsh", &["-i", "-c"], ".zshrc"),
        ("fish", &["-i", "-c"], ".config/fish/config.fish"),
    ] {
        let path = sandbox.home().join(file);
        let of_python = "# >>> AISwitch shell integration >>>\naiswitch() { echo old; }\n# <<< AISwitch shell integration <<<\n";
        let of_user = "# mine";
        if shell == "bash" {
            let target = sandbox.home().join("dotfiles");
            fs::write(&target, format!("{of_python}{of_user}")).unwrap();
            symlink(&target, &path).unwrap();
        }
        for verb in [&["install", "--force"][..], &["save", "two"], &["save", "two"]] {
            let shown = with_shell(&sandbox, shell, verb);
            assert_eq!(shown.code, Some(0), "{shown}");
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches("aiswitch apply two").count(), 1, "{text}");
        assert_eq!((text.contains("old"), text.contains(of_user)), (false, shell == "bash"), "{text}");
        assert!(!text.contains("BOTH"), "{text}");
        assert!(path.is_symlink() == (shell == "bash"), "{path:?}");
        let lines = "echo preset $AISWITCH_PRESET; aiswitch use one; echo preset $AISWITCH_PRESET $A_KEY_NOT; aiswitch clear; echo preset $AISWITCH_PRESET";
        if let Some((_, shown)) = run(&sandbox, (shell, args, ""), lines) {
            let found: Vec<&str> = shown.stdout.lines().filter(|line| line.starts_with("preset")).collect();
            assert_eq!(
                found.iter().map(|line| line.trim()).collect::<Vec<_>>(),
                ["preset two", "preset one", "preset"],
                "{shown}"
            );
        }
        let script = format!(". {}; echo \"is:$AISWITCH_PRESET\"", path.display());
        if let Some((_, shown)) = run(&sandbox, (shell, &["-c"], ""), &script) {
            assert_eq!(shown.stdout, "is:\n", "a script is left alone: {shown}");
        }
        let status = with_shell(&sandbox, shell, &["status", "--json"]).json();
        let own = status["files"].as_array().unwrap().iter().find(|file| file["shell"] == shell).unwrap();
        assert_eq!((&own["installed"], &own["preset"]), (&true.into(), &"two".into()), "{status}");
        assert_eq!(with_shell(&sandbox, shell, &["uninstall"]).code, Some(0));
        let left = fs::read_to_string(&path).unwrap();
        assert_eq!(left.trim(), if shell == "bash" { of_user } else { "" });
    }
    assert_eq!(show(&sandbox, &["uninstall"]).stdout, "no file of a shell has lines of aiswitch\n");
}

#[test]
fn what_cannot_be_installed_is_refused_and_the_file_stays_as_it_is() {
    let sandbox = with_presets();
    let path = sandbox.home().join(".bashrc");
    let open = "# >>> aiswitch >>>\necho mine\n";
    for (text, args, expected) in [
        ("", &["install"][..], "error: it is not known which shell is meant\n  hint: name it"),
        ("", &["save"], "error: this shell is under no preset\n  hint: name one: aiswitch save PRESET"),
        ("", &["shell", "install", "bash", "--preset", "tow"], "hint: did you mean `two`?"),
        ("", &["clear"], "hint: aiswitch shell install has new shells read it"),
        (open, &["shell", "install", "bash"], "has no line `# <<< aiswitch <<<`"),
        (open, &["uninstall"], "has no line `# <<< aiswitch <<<`"),
        (open, &["status"], "has no line `# <<< aiswitch <<<`"),
    ] {
        fs::write(&path, text).unwrap();
        let shown = show(&sandbox, args);
        assert!(shown.code == Some(2) && shown.stderr.contains(expected), "{args:?}: {shown}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "{args:?}");
    }
}
