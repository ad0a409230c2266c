//! The passphrase of an identity in a keyring of the system, so that it is typed once.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use keyring_core::{CredentialStore, Entry, Error};

use crate::{EnvError, Secret};

/// What the keyring calls the program that keeps something there.
const SERVICE: &str = "aiswitch";

/// A keyring that keeps the passphrases of identities; the identities themselves stay in their files.
#[derive(Clone)]
pub struct Keyring(Arc<CredentialStore>);

impl Keyring {
    /// The kernel's keyring of this user: in memory, until the machine is started anew, and open to all that the user runs.
    ///
    /// # Errors
    /// The system has none, or does not let this process use it.
    #[cfg(target_os = "linux")]
    pub fn of_system() -> Result<Self, EnvError> {
        let store = linux_keyutils_keyring_store::Store::new().map_err(refused("open"))?;
        let keyring = Self(store);
        // The first look makes a session's keyring where there is none, and only what is looked at after it lies there.
        keyring.entry(Path::new("")).map(|_made| keyring.clone())
    }

    /// One that this process alone has.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn in_memory() -> Result<Self, EnvError> {
        let store = keyring_core::mock::Store::new();
        store.map(|store| Self(store)).map_err(refused("open"))
    }

    /// The passphrase of an identity's file; `None` if it keeps none.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn passphrase(&self, identity: &Path) -> Result<Option<Secret>, EnvError> {
        match self.entry(identity)?.get_password() {
            Ok(passphrase) => Ok(Some(Secret::new(passphrase))),
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(refused("read")(error)),
        }
    }

    /// Keeps the passphrase of an identity's file, in place of one that it kept before.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn keep(&self, identity: &Path, passphrase: &Secret) -> Result<(), EnvError> {
        self.entry(identity)?.set_password(passphrase.text()).map_err(refused("change"))
    }

    /// Keeps the passphrase of an identity's file no more.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn forget(&self, identity: &Path) -> Result<(), EnvError> {
        match self.entry(identity)?.delete_credential() {
            Ok(()) | Err(Error::NoEntry) => Ok(()),
            Err(error) => Err(refused("change")(error)),
        }
    }

    fn entry(&self, identity: &Path) -> Result<Entry, EnvError> {
        self.0.build(SERVICE, &identity.to_string_lossy(), None).map_err(refused("open"))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

fn refused(action: &'static str) -> impl Fn(Error) -> EnvError {
    move |error| EnvError::Keyring { action, source: Box::new(error) }
}
