//! The files of secrets: who may open them, the wrapped data key, and the presets that hold the values.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::iter::successors;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use aiswitch_coordinator::check_private;
use aiswitch_coordinator::{EnvState, FileLockManager, Home, LockManager, Preset, PresetName};
use aiswitch_env::{
    Ambient, DataKeys, EnvError, FlatPreset, Identity, Secret, VALUE_BYTES_MAX, ValueSource, Variable,
};
use aiswitch_lock::{LockGuard, LockOptions, replace_file};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::commands::runtime;
use crate::config::{parse_presets, read_text};
use crate::error::Error;
use crate::privileged::privileged;
use crate::yaml_edit;

/// The permission bits of what only the owner may see.
const PRIVATE_MODE: u32 = 0o600;

/// How long the lock of the presets is waited for; whoever holds it writes some small files.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// All presets, by name.
pub(crate) type Presets = BTreeMap<PresetName, Preset>;

/// A value that a preset says itself.
#[derive(Debug)]
pub(crate) struct OwnValue<'p> {
    pub(crate) preset: &'p PresetName,
    /// The agent that it is for; `None` for every agent.
    pub(crate) agent: Option<&'p str>,
    pub(crate) name: String,
    pub(crate) source: ValueSource,
    /// The value, or why it cannot be had.
    pub(crate) value: Result<Variable, EnvError>,
}

/// The files of secrets.
#[derive(Debug)]
pub(crate) struct Vault<'a> {
    home: &'a Home,
    caller: &'a Caller,
}

impl<'a> Vault<'a> {
    pub(crate) fn new(home: &'a Home, caller: &'a Caller) -> Self {
        Self { home, caller }
    }

    /// The folder that holds all of it.
    pub(crate) fn root(&self) -> &Path {
        self.home.root()
    }

    /// Who the user is: an identity of the age format.
    pub(crate) fn identity_file(&self) -> PathBuf {
        self.home.root().join("keys/identity.txt")
    }

    /// Who may open the data key: recipients of the age format, one a line.
    pub(crate) fn recipients_file(&self) -> PathBuf {
        self.home.config_dir().join("recipients.txt")
    }

    /// The data key, wrapped for the recipients.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.home.config_dir().join("secrets.age")
    }

    pub(crate) fn presets_file(&self) -> PathBuf {
        self.home.config_dir().join("presets.yaml")
    }

    /// The keys that open encrypted values, if one of these presets, or of those that they extend, has any.
    ///
    /// # Errors
    /// They are needed, and cannot be had.
    pub(crate) fn keys_for<'p>(
        &self,
        presets: &Presets,
        names: impl IntoIterator<Item = &'p PresetName>,
    ) -> Result<DataKeys, Error> {
        let is_encrypted = |name: &PresetName| {
            let line = successors(presets.get(name), |preset| presets.get(preset.extends.as_ref()?));
            // A line that does not end is refused where it is used.
            line.take(presets.len()).any(Preset::is_encrypted)
        };
        if names.into_iter().any(is_encrypted) { self.keys() } else { Ok(DataKeys::default()) }
    }

    /// The keys that open encrypted values.
    ///
    /// # Errors
    /// There are none, or they do not open.
    pub(crate) fn keys(&self) -> Result<DataKeys, Error> {
        let path = self.key_file();
        if !path.exists() {
            return Err(Error::NoSecretsKey { path });
        }
        let wrapped = read_text(&path)?;
        self.identity()?.unwrap_keys(&wrapped).map_err(|source| Error::KeyFile { path, source })
    }

    /// The user's identity; its passphrase is asked for if it has one.
    ///
    /// # Errors
    /// It is not there, others may read it, or it does not open.
    pub(crate) fn identity(&self) -> Result<Identity, Error> {
        let path = self.identity_file();
        check_private(&path)?;
        let text = Zeroizing::new(read_text(&path)?);
        let passphrase =
            if Identity::needs_passphrase(&text) { Some(self.own_passphrase(&path)?) } else { None };
        Identity::read(&text, passphrase.as_ref()).map_err(|source| Error::KeyFile { path, source })
    }

    /// The passphrase that the identity has: of the system's keyring if that keeps it, else as a new one.
    #[cfg(feature = "keyring")]
    fn own_passphrase(&self, identity: &Path) -> Result<Secret, Error> {
        // Where the keyring cannot be used, the passphrase still can.
        let kept = aiswitch_env::Keyring::of_system().and_then(|keyring| keyring.passphrase(identity)).ok();
        kept.flatten().map_or_else(|| self.passphrase(), Ok)
    }

    /// The passphrase that the identity has.
    #[cfg(not(feature = "keyring"))]
    fn own_passphrase(&self, _identity: &Path) -> Result<Secret, Error> {
        self.passphrase()
    }

    /// The passphrase: of the file that `AISWITCH_PASSPHRASE_FILE` names, else typed.
    ///
    /// # Errors
    /// There is neither a file nor a terminal.
    pub(crate) fn passphrase(&self) -> Result<Secret, Error> {
        let Some(path) = self.caller.passphrase_file() else {
            return ask_hidden("passphrase: ").map_err(|source| Error::NoPassphrase { source });
        };
        check_private(&path)?;
        let text = Zeroizing::new(read_text(&path)?);
        Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text)))
    }

    /// Takes the lock that all who change the files of secrets take.
    ///
    /// # Errors
    /// It is busy for too long, or the home cannot be written.
    pub(crate) fn lock(&self) -> Result<LockGuard, Error> {
        let locks = FileLockManager::open(self.home.locks_dir()).map_err(Error::Lock)?;
        let name = "presets".parse().expect("a good name for a lock");
        let options = LockOptions::new().with_timeout(LOCK_TIMEOUT).with_purpose("presets and secrets");
        runtime()?.block_on(locks.acquire(&name, &options)).map_err(Error::Lock)
    }

    /// Writes down that the caller does something that only the operator may do; see [`privileged`].
    ///
    /// # Errors
    /// As [`privileged`].
    pub(crate) fn privileged(&self, action: &str, object: &str) -> Result<(), Error> {
        privileged(self.home, action, object)
    }

    /// All presets, as they are.
    ///
    /// # Errors
    /// The file is wrong or cannot be read.
    pub(crate) fn presets(&self) -> Result<Presets, Error> {
        Ok(crate::config::read_presets(&self.presets_file())?)
    }

    /// Encrypts what the snapshots of agents hold with the newest of these keys; the number of values.
    ///
    /// # Errors
    /// The snapshots cannot be read or written; they are as they were then.
    pub(crate) fn reseal_snapshots(&self, keys: DataKeys) -> Result<usize, Error> {
        if !self.home.env_file().exists() {
            return Ok(0);
        }
        let locks = FileLockManager::open(self.home.locks_dir()).map_err(Error::Lock)?;
        let state = EnvState::new(self.home.clone(), Arc::new(locks));
        Ok(runtime()?.block_on(state.reseal(self.caller.ambient(), keys))?)
    }

    /// Writes presets as wanted, with comments and order as they are; hold the lock.
    ///
    /// # Errors
    /// The file's lines cannot be changed so, or it cannot be written; it is as it was then.
    pub(crate) fn write_presets(&self, wanted: &Presets) -> Result<(), Error> {
        let path = self.presets_file();
        let text = read_text(&path)?;
        match yaml_edit::rewrite(&text, wanted) {
            Some(text) => write_private(&path, text.as_bytes()),
            None if parse_presets(&text).is_ok() => Err(Error::PresetShape { path }),
            None => self.presets().map(drop),
        }
    }
}

/// Every value that presets say themselves.
pub(crate) fn own_values<'p>(presets: &'p Presets, ambient: &Ambient, keys: &DataKeys) -> Vec<OwnValue<'p>> {
    let mut values = Vec::new();
    for (preset, of) in presets {
        for agent in of.whom() {
            let own = of.own(agent).into_iter().flatten();
            let mut found = match FlatPreset::new(presets, preset, agent.as_slice()) {
                Ok(flat) => flat
                    .resolve_each(ambient, keys)
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<BTreeMap<_, _>>(),
                // What it extends is refused by name where the preset is used.
                Err(_) => continue,
            };
            values.extend(own.filter_map(|(name, source)| {
                let (name, source, value) = (name.clone(), source.clone(), found.remove(name)?);
                Some(OwnValue { preset, agent, name, source, value })
            }));
        }
    }
    values
}

/// Writes a file that only the owner may see, whole or not at all.
///
/// # Errors
/// It cannot be written; it is as it was then.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let unwritable = |source| Error::Unwritable { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| Error::Unreadable { path: folder.to_owned(), source })?;
    }
    replace_file(path, bytes, PRIVATE_MODE).map_err(unwritable)
}

/// A value that is typed at the terminal, or piped in.
///
/// # Errors
/// There is none, it is too long, or is no text.
pub(crate) fn read_hidden(name: &str, caller: &Caller) -> Result<Secret, Error> {
    if caller.stdin_terminal {
        return ask_hidden(&format!("{name}: ")).map_err(|source| Error::NoValue { source });
    }
    let mut text = Zeroizing::new(String::new());
    let read = io::stdin().lock().take(VALUE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|source| Error::NoValue { source })?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        return Err(Error::NoValue { source: io::ErrorKind::FileTooLarge.into() });
    }
    Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text)))
}

/// A line that is typed at the terminal and not shown there.
fn ask_hidden(question: &str) -> io::Result<Secret> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    terminal.write_all(question.as_bytes())?;
    let shown = tcgetattr(&terminal)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden)?;
    let mut line = Zeroizing::new(String::new());
    let read = BufReader::new(&terminal).take(VALUE_BYTES_MAX).read_line(&mut line);
    tcsetattr(&terminal, OptionalActions::Flush, &shown)?;
    terminal.write_all(b"\n")?;
    read?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
