//! A keyring keeps the passphrase of an identity's file, and forgets it; both kinds of it do.

use std::io::Write;
use std::path::Path;

use aiswitch_env::{Keyring, Secret};

fn keeps_and_forgets(keyring: &Keyring, identity: &Path) {
    let other = identity.with_extension("other");
    let first = Secret::new("correct horse");
    assert_eq!(keyring.passphrase(identity).unwrap(), None);
    keyring.keep(identity, &first).unwrap();
    assert_eq!(keyring.passphrase(identity).unwrap(), Some(first));
    assert_eq!(keyring.passphrase(&other).unwrap(), None, "each identity has its own");
    let second = Secret::new("battery staple \u{5bc6}");
    keyring.keep(identity, &second).unwrap();
    assert_eq!(keyring.passphrase(identity).unwrap(), Some(second));
    keyring.forget(identity).unwrap();
    keyring.forget(identity).unwrap();
    assert_eq!(keyring.passphrase(identity).unwrap(), None);
    assert!(!format!("{keyring:?}").contains("horse"));
}

#[test]
fn a_keyring_of_this_process_keeps_and_forgets() {
    let folder = tempfile::tempdir().unwrap();
    keeps_and_forgets(&Keyring::in_memory().unwrap(), &folder.path().join("identity.txt"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_keyring_of_the_system_keeps_and_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("identity.txt");
    match Keyring::of_system().and_then(|keyring| keyring.passphrase(&path).map(|_| keyring)) {
        Ok(keyring) => keeps_and_forgets(&keyring, &path),
        // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
        Err(error) => drop(writeln!(std::io::stderr(), "skipped: {error}, as in many containers")),
    }
}
