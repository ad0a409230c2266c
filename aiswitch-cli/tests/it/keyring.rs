//! The passphrase is typed once, and the system's keyring has it for the commands after that.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;

use crate::harness::{Shown, aiswitch, show, show_fed};
use crate::sandbox::Sandbox;

#[test]
fn a_passphrase_that_is_remembered_is_not_asked_for_until_it_is_forgotten_or_changed() {
    let sandbox = Sandbox::new();
    let path = sandbox.home().join("passphrase");
    fs::write(&path, "correct horse\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let with = |verb: &str| -> Shown {
        let mut command = aiswitch(&sandbox, &["secrets", verb]);
        command.env("AISWITCH_PASSPHRASE_FILE", &path).output().unwrap().into()
    };
    let get = || show(&sandbox, &["secrets", "get", "work", "A_KEY", "--reveal"]);
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    assert_eq!(show_fed(&sandbox, &["secrets", "set", "work", "A_KEY"], "sk-0123456789").code, Some(0));
    assert_eq!(with("remember").stdout, "the identity needs no passphrase\n");
    assert_eq!(with("lock").code, Some(0));
    assert!(get().stderr.starts_with("error: there is no passphrase\n"), "{}", get());
    let remembered = with("remember");
    if remembered.stderr.contains("the system's keyring cannot be used") {
        // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
        drop(writeln!(io::stderr(), "skipped: {}", remembered.stderr.trim()));
        return;
    }
    assert_eq!((remembered.code, get().stdout.as_str()), (Some(0), "sk-0123456789\n"), "{remembered}");
    assert_eq!(show(&sandbox, &["secrets", "forget"]).code, Some(0));
    assert!(get().stderr.starts_with("error: there is no passphrase\n"), "{}", get());
    assert_eq!(with("remember").code, Some(0));
    fs::write(&path, "wrong horse\n").unwrap();
    assert!(with("remember").stderr.contains("does not open with this passphrase"));
    assert_eq!(get().stdout, "sk-0123456789\n", "what was wrong is not kept");
    assert_eq!(show(&sandbox, &["secrets", "lock", "--remove"]).code, Some(0));
    assert_eq!(with("lock").code, Some(0));
    assert!(get().stderr.starts_with("error: there is no passphrase\n"), "{}", get());
}
