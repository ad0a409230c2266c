//! Encrypted values: made, used, moved, changed, and never shown.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use aiswitch_env::{DataKeys, Identity};

use crate::harness::{Shown, aiswitch, configure, show, show_fed, show_script};
use crate::sandbox::Sandbox;

const SECRET: &str = "sk-vault-0123456789";

fn file(sandbox: &Sandbox, name: &str) -> PathBuf {
    sandbox.aiswitch_home().join(name)
}

fn text(sandbox: &Sandbox, name: &str) -> String {
    fs::read_to_string(file(sandbox, name)).unwrap()
}

/// A sandbox with a key, an agent that tells how long its key is, and a preset with one encrypted value.
fn with_secret() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "presets.yaml",
        "# mine\npresets:\n  # the gateway\n  work:\n    variables:\n      A_BASE_URL: https://a.example # EU\n",
    );
    configure(
        &sandbox,
        "agents.yaml",
        "agents: {blurter: {driver: command, command: [/bin/sh, -c, 'echo ${#A_KEY}']}}\n",
    );
    done(&show(&sandbox, &["secrets", "init"]));
    done(&show_fed(&sandbox, &["secrets", "set", "work", "A_KEY"], format!("{SECRET}\n")));
    sandbox
}

fn done(shown: &Shown) {
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{shown}");
}

fn refused(shown: &Shown, expected: &str) {
    assert!(matches!(shown.code, Some(1 | 2)) && shown.stderr.contains(expected), "{shown}");
    assert!(!shown.to_string().contains(SECRET), "{shown}");
}

/// What the agent was given, in bytes.
fn given(sandbox: &Sandbox, preset: &str) -> Shown {
    show(sandbox, &["run", "--quiet", "-a", &format!("blurter@{preset}"), "hello"])
}

#[test]
fn an_encrypted_value_reaches_its_agent_and_stands_in_clear_nowhere() {
    let sandbox = with_secret();
    let presets = text(&sandbox, "config/presets.yaml");
    let (kept, sealed) = presets.split_once("      A_KEY: ENC[v1,").unwrap();
    assert!(kept.starts_with("# mine\n") && kept.ends_with("https://a.example # EU\n"), "{presets}");
    assert!(sealed.ends_with("]\n"));
    assert_eq!(given(&sandbox, "work").stdout.trim(), SECRET.len().to_string());
    done(&show(&sandbox, &["secrets", "doctor"]));
    let hidden = show(&sandbox, &["secrets", "get", "work", "A_KEY", "--json"]);
    assert_eq!((&hidden.json()["bytes"], &hidden.json()["value"]), (&SECRET.len().into(), &().into()));
    assert_eq!(
        show(&sandbox, &["secrets", "get", "work", "A_KEY", "--reveal"]).stdout,
        format!("{SECRET}\n")
    );
    let check = show(&sandbox, &["leak-check", &format!("{}/", sandbox.aiswitch_home().display())]);
    assert!(check.stdout.starts_with("0 leaks of 2 secrets"), "{check}");
    for name in ["keys/identity.txt", "config/secrets.age", "config/presets.yaml", "config/recipients.txt"] {
        let mode = file(&sandbox, name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_value_that_was_moved_or_led_elsewhere_is_refused() {
    let sandbox = with_secret();
    let good = text(&sandbox, "config/presets.yaml");
    for (from, to) in [
        ("https://a.example", "https://evil.example"),
        ("A_KEY:", "B_KEY:"),
        ("  work:", "  home:"),
        ("      A_BASE_URL: https://a.example # EU\n", ""),
    ] {
        configure(&sandbox, "presets.yaml", &good.replace(from, to));
        let preset = if to.contains("home") { "home" } else { "work" };
        let shown = given(&sandbox, preset);
        refused(&shown, "was encrypted with another key, or for another preset, variable or base URL");
        refused(&shown, "hint: if that was meant, set it anew: aiswitch secrets set ");
        assert_eq!(show(&sandbox, &["secrets", "doctor"]).code, Some(8));
    }
    configure(&sandbox, "presets.yaml", &good.replace("ENC[v1,", "ENC[v9,"));
    refused(&given(&sandbox, "work"), "is encrypted in a form that this version cannot open");
    configure(&sandbox, "presets.yaml", &good.replace("]\n", "\n"));
    refused(&given(&sandbox, "work"), "holds an encrypted value that is damaged");
    fs::remove_file(file(&sandbox, "config/secrets.age")).unwrap();
    refused(&given(&sandbox, "work"), "hint: aiswitch secrets init makes one");
}

#[test]
fn a_new_key_opens_everything_and_the_old_one_nothing() {
    let sandbox = with_secret();
    done(&show_fed(&sandbox, &["secrets", "set", "home", "B_KEY"], "another secret"));
    let (old_key, old) = (text(&sandbox, "config/secrets.age"), text(&sandbox, "config/presets.yaml"));
    let shown = show(&sandbox, &["secrets", "rotate"]);
    assert_eq!(shown.stdout, "2 values are encrypted with a new key\n");
    let new = text(&sandbox, "config/presets.yaml");
    assert_ne!(old, new);
    assert!(new.contains("A_BASE_URL: https://a.example # EU\n"));
    for preset in [("work", "A_KEY", SECRET), ("home", "B_KEY", "another secret")] {
        let revealed = show(&sandbox, &["secrets", "get", preset.0, preset.1, "--reveal"]);
        assert_eq!(revealed.stdout, format!("{}\n", preset.2));
    }
    configure(&sandbox, "secrets.age", &old_key);
    refused(&given(&sandbox, "work"), "was encrypted with another key");
}

#[test]
fn a_spare_identity_opens_the_key_after_it_was_added() {
    let sandbox = with_secret();
    let spare = Sandbox::new();
    done(&show(&spare, &["secrets", "init"]));
    let take_over = || {
        for name in ["config/presets.yaml", "config/secrets.age"] {
            fs::copy(file(&sandbox, name), file(&spare, name)).unwrap();
        }
    };
    take_over();
    refused(
        &show(&spare, &["secrets", "get", "work", "A_KEY"]),
        "the data key does not open with this identity",
    );
    let both = text(&sandbox, "config/recipients.txt") + &text(&spare, "config/recipients.txt");
    configure(&sandbox, "recipients.txt", &both);
    done(&show(&sandbox, &["secrets", "rekey"]));
    take_over();
    assert_eq!(show(&spare, &["secrets", "get", "work", "A_KEY", "--reveal"]).stdout, format!("{SECRET}\n"));
    configure(&sandbox, "recipients.txt", "nobody\n");
    refused(&show(&sandbox, &["secrets", "rekey"]), "`nobody` is no recipient");
    refused(&show(&sandbox, &["secrets", "init"]), "hint: aiswitch secrets rotate makes a new one");
}

#[test]
fn a_passphrase_protects_the_identity() {
    let sandbox = with_secret();
    let (right, wrong) = (file(&sandbox, "right"), file(&sandbox, "wrong"));
    for (path, phrase) in [(&right, "correct horse\n"), (&wrong, "wrong horse\n")] {
        fs::write(path, phrase).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let with = |path: &PathBuf, args: &[&str]| -> Shown {
        aiswitch(&sandbox, args).env("AISWITCH_PASSPHRASE_FILE", path).output().unwrap().into()
    };
    let get = ["secrets", "get", "work", "A_KEY", "--reveal"];
    done(&with(&right, &["secrets", "lock"]));
    assert!(!text(&sandbox, "keys/identity.txt").contains("AGE-SECRET-KEY"));
    assert_eq!(with(&right, &get).stdout, format!("{SECRET}\n"));
    refused(&with(&wrong, &get), "the identity does not open with this passphrase");
    done(&with(&right, &["secrets", "lock", "--remove"]));
    assert_eq!(show(&sandbox, &get).stdout, format!("{SECRET}\n"));
}

#[test]
fn an_identity_that_others_can_reach_is_not_used() {
    let sandbox = with_secret();
    let path = file(&sandbox, "keys/identity.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let shown = show(&sandbox, &["secrets", "get", "work", "A_KEY"]);
    refused(&shown, "is not used: others may read or enter it (mode 0640)\n  hint: chmod 600 ");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&path, path.with_extension("moved")).unwrap();
    symlink(path.with_extension("moved"), &path).unwrap();
    refused(&show(&sandbox, &["secrets", "get", "work", "A_KEY"]), "is not used: it is a symbolic link");
}

#[test]
fn a_value_that_no_preset_can_hold_is_refused_and_nothing_is_changed() {
    let sandbox = with_secret();
    let before = text(&sandbox, "config/presets.yaml");
    for (variable, value, expected) in [
        ("LD_PRELOAD", "x.so", "can make an agent run foreign code"),
        ("A=B", "x", "is empty or holds `=` or NUL"),
        ("A_KEY", "", "there is no value"),
        ("A_KEY", "a\0b", "holds a NUL byte"),
    ] {
        refused(&show_fed(&sandbox, &["secrets", "set", "work", variable], value), expected);
        assert_eq!(text(&sandbox, "config/presets.yaml"), before, "{variable}");
    }
    refused(&show(&sandbox, &["secrets", "get", "wrk", "A_KEY"]), "hint: did you mean `work`?");
    refused(&show(&sandbox, &["secrets", "get", "work", "NONE"]), "preset `work` has no variable `NONE`");
    for odd in ["with \"quotes\" and $(touch x) and 'more'", "two\nlines\n\tand a tab", "ünïcödé 密钥"]
    {
        done(&show_fed(&sandbox, &["secrets", "set", "work", "A_KEY"], odd));
        assert_eq!(
            show(&sandbox, &["secrets", "get", "work", "A_KEY", "--reveal", "--json"]).json()["value"],
            odd
        );
    }
}

#[test]
fn a_secret_in_clear_is_refused_with_the_command_that_encrypts_it() {
    let sandbox = with_secret();
    configure(&sandbox, "presets.yaml", "presets: {work: {variables: {A_KEY: in-clear-0123}}}\n");
    let shown = given(&sandbox, "work");
    refused(&shown, "variable `A_KEY` of preset `work` holds a secret in clear");
    refused(&shown, "hint: encrypt it: aiswitch secrets set work A_KEY;");
    assert_eq!(show(&sandbox, &["secrets", "doctor"]).code, Some(8));
}

#[test]
fn a_preset_that_extends_another_has_its_key_unless_it_leads_elsewhere() {
    let sandbox = with_secret();
    let text = text(&sandbox, "config/presets.yaml");
    let more = "  same: {extends: work, variables: {OTHER: x}}\n  \
                evil: {extends: work, variables: {A_BASE_URL: 'https://evil.example'}}\n  \
                loop: {extends: loop}\n";
    configure(&sandbox, "presets.yaml", &format!("{text}{more}"));
    assert_eq!(given(&sandbox, "same").stdout.trim(), SECRET.len().to_string());
    refused(&given(&sandbox, "evil"), "variable `A_KEY` of preset `work` was encrypted with another key");
    refused(&given(&sandbox, "loop"), "preset `loop` extends itself");
    let found = show(&sandbox, &["secrets", "doctor"]);
    assert_eq!((found.code, found.stdout.lines().next()), (Some(8), Some("preset `loop` extends itself")));
}

#[test]
fn a_value_for_one_agent_reaches_that_agent_alone() {
    let sandbox = with_secret();
    done(&show_fed(&sandbox, &["secrets", "set", "work", "A_KEY", "--agent", "blurter"], "for the blurter"));
    assert_eq!(given(&sandbox, "work").stdout.trim(), "15");
    let other = show(&sandbox, &["run", "--quiet", "-a", "other=blurter@work", "hello"]);
    assert_eq!(other.stdout.trim(), SECRET.len().to_string());
    assert_eq!(show(&sandbox, &["secrets", "rotate"]).stdout, "2 values are encrypted with a new key\n");
    assert_eq!(given(&sandbox, "work").stdout.trim(), "15");
}

#[test]
fn a_rotation_that_is_killed_halfway_leaves_every_value_openable() {
    let sandbox = with_secret();
    let (old_key, old) = (text(&sandbox, "config/secrets.age"), text(&sandbox, "config/presets.yaml"));
    done(&show(&sandbox, &["secrets", "rotate"]));
    let (new_key, new) = (text(&sandbox, "config/secrets.age"), text(&sandbox, "config/presets.yaml"));
    // Between its first and its last step, the file holds both keys.
    let identity = Identity::read(&text(&sandbox, "keys/identity.txt"), None).unwrap();
    let keys = [&new_key, &old_key].map(|wrapped| identity.unwrap_keys(wrapped).unwrap());
    let both = DataKeys::new(keys.iter().flat_map(DataKeys::iter).cloned().collect());
    let both = both.wrap(&[identity.recipient()]).unwrap();
    for (key, presets) in [(&old_key, &old), (&both, &old), (&both, &new), (&new_key, &new)] {
        configure(&sandbox, "secrets.age", key);
        configure(&sandbox, "presets.yaml", presets);
        assert_eq!(given(&sandbox, "work").stdout.trim(), SECRET.len().to_string());
        done(&show(&sandbox, &["secrets", "rotate"]));
        assert_eq!(given(&sandbox, "work").stdout.trim(), SECRET.len().to_string());
    }
}

#[test]
fn a_disk_that_is_full_at_any_step_of_a_rotation_leaves_every_value_openable() {
    let sandbox = with_secret();
    let long = "x".repeat(12_000);
    done(&show_fed(&sandbox, &["secrets", "set", "work", "LONG_KEY"], &long));
    let (mut failed, mut unwritten) = (0, BTreeSet::new());
    // Files may have so many blocks of 512 bytes, and none, some or all of those to be written have more.
    for blocks in (0..48).step_by(2) {
        let before = text(&sandbox, "config/presets.yaml");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" secrets rotate");
        let shown = show_script(&sandbox, &script);
        if shown.code != Some(0) {
            failed += 1;
            unwritten.insert(shown.stderr.lines().next().map(str::to_owned));
            refused(&shown, "error: ");
            refused(&shown, "because: ");
            assert_eq!(text(&sandbox, "config/presets.yaml"), before, "{blocks}");
        }
        let bytes =
            |name| show(&sandbox, &["secrets", "get", "work", name, "--json"]).json()["bytes"].clone();
        assert_eq!((bytes("A_KEY"), bytes("LONG_KEY")), (SECRET.len().into(), long.len().into()), "{blocks}");
    }
    assert!(failed < 24 && unwritten.len() > 1, "{failed}: {unwritten:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tools of age are programs of their own")]
fn the_tool_of_age_opens_the_key() {
    let sandbox = with_secret();
    let mut age = Command::new("age");
    age.arg("-d")
        .arg("-i")
        .arg(file(&sandbox, "keys/identity.txt"))
        .arg(file(&sandbox, "config/secrets.age"));
    let Ok(output) = age.output() else {
        // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
        drop(writeln!(io::stderr(), "skipped: age is not installed"));
        return;
    };
    let shown = Shown::from(output);
    // 32 bytes in base64, and the end of the line.
    assert_eq!((shown.code, shown.stdout.len()), (Some(0), 45), "{}", shown.stderr);
}

#[test]
fn files_of_secrets_that_are_cut_foreign_or_gone_are_named_and_stay_as_they_are() {
    let sandbox = with_secret();
    let names = ["keys/identity.txt", "config/secrets.age", "config/recipients.txt"];
    let whole = names.map(|name| text(&sandbox, name));
    let foreign = whole[1].replacen("YWdlLWVuY3J5cHRpb24ub3JnL3Yx", "YWdlLWVuY3J5cHRpb24ub3JnL3Y5", 1);
    assert_ne!(foreign, whole[1], "the header of age's version 1 is there");
    let cut = |at: usize| whole[at][..whole[at].len() / 2].to_owned();
    let [get, rotate, rekey] =
        [&["secrets", "get", "work", "A_KEY", "--reveal"][..], &["secrets", "rotate"], &["secrets", "rekey"]];
    for (at, bad, verbs) in [
        (0, String::new(), &[get, rotate][..]),
        (0, "# public key: age1\nAGE-SECRET-KEY-1".to_owned(), &[get, rotate]),
        (0, "a stranger's file\n".to_owned(), &[get, rotate]),
        (1, String::new(), &[get, rotate, rekey]),
        (1, cut(1), &[get, rotate, rekey]),
        (1, foreign, &[get, rotate, rekey]),
        (1, "a stranger's file\n".to_owned(), &[get, rotate, rekey]),
        (2, String::new(), &[rotate, rekey]),
        (2, cut(2), &[rotate, rekey]),
    ] {
        fs::write(file(&sandbox, names[at]), &bad).unwrap();
        let presets = text(&sandbox, "config/presets.yaml");
        for verb in verbs {
            let shown = show(&sandbox, verb);
            refused(&shown, "does not open");
            assert!(shown.stderr.contains(names[at]), "{verb:?} with {bad:?}: {shown}");
        }
        assert_eq!((text(&sandbox, names[at]), text(&sandbox, "config/presets.yaml")), (bad, presets));
        fs::write(file(&sandbox, names[at]), &whole[at]).unwrap();
    }
    for (name, verb) in [(names[0], get), (names[1], get), (names[2], rotate)] {
        let path = file(&sandbox, name);
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        let shown = show(&sandbox, verb);
        assert!(matches!(shown.code, Some(1 | 2)) && shown.stderr.starts_with("error: "), "{name}: {shown}");
        assert!(!path.exists(), "{name}");
        fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(show(&sandbox, get).stdout, format!("{SECRET}\n"));
}
