//! `aiswitch secrets`: encrypted values of presets, and who may open them.

use aiswitch_coordinator::{AgentId, Home, PresetName};
use aiswitch_env::{
    DataKey, DataKeys, EnvError, FlatPreset, Identity, Place, Recipient, SECRET_BYTES_MIN, Secret,
    ValueSource, check_name, check_value, looks_secret,
};
use serde::Serialize;

use crate::args::SecretsVerb;
use crate::caller::Caller;
use crate::commands::edit::edit;
use crate::config::read_text;
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::vault::{Presets, Vault, check_private, own_values, read_hidden, write_private};

/// A value, as far as it may be shown.
#[derive(Debug, Serialize)]
struct ValueView<'a> {
    preset: &'a PresetName,
    name: &'a str,
    bytes: usize,
    /// The value itself, if that was asked for.
    value: Option<&'a str>,
}

/// What is wrong with the files of secrets.
#[derive(Debug, Serialize)]
struct DoctorView {
    encrypted: usize,
    problems: Vec<String>,
}

/// Does what one of the verbs says.
///
/// # Errors
/// What keeps it from that; the files are as they were then.
pub(crate) fn secrets(
    verb: &SecretsVerb,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let vault = Vault::new(home, caller);
    let done = match verb {
        SecretsVerb::Init { recipients, passphrase } => init(&vault, recipients, *passphrase)?,
        SecretsVerb::Set { preset, name, agent } => set(&vault, (preset, agent.as_ref(), name), caller)?,
        SecretsVerb::Get { preset, name, reveal } => {
            return get(&vault, (preset, name), *reveal, caller, output);
        }
        SecretsVerb::Edit { preset } => edit(&vault, preset, caller)?,
        SecretsVerb::Rotate => rotate(&vault, caller)?,
        SecretsVerb::Rekey => rekey(&vault)?,
        SecretsVerb::Lock { remove } => lock(&vault, *remove)?,
        #[cfg(feature = "keyring")]
        SecretsVerb::Remember => remember(&vault)?,
        #[cfg(feature = "keyring")]
        SecretsVerb::Forget => {
            vault.privileged("secrets.forget", "passphrase")?;
            aiswitch_env::Keyring::of_system()?.forget(&vault.identity_file())?;
            "the keyring has no passphrase of the identity".to_owned()
        }
        SecretsVerb::Doctor => return doctor(&vault, caller, output),
    };
    output.done(&done);
    Ok(Code::Completed)
}

fn init(vault: &Vault<'_>, recipients: &[String], passphrase: bool) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let path = vault.key_file();
    if path.exists() {
        return Err(Error::SecretsExist { path });
    }
    vault.privileged("secrets.init", "secrets")?;
    let mut all = recipients.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, EnvError>>()?;
    let identity = if vault.identity_file().exists() {
        vault.identity()?
    } else {
        let identity = Identity::generate();
        let passphrase = if passphrase { Some(vault.passphrase()?) } else { None };
        write_private(&vault.identity_file(), identity.write(passphrase.as_ref())?.as_bytes())?;
        identity
    };
    all.insert(0, identity.recipient());
    let list: Vec<String> = all.iter().map(ToString::to_string).collect();
    write_private(&vault.recipients_file(), (list.join("\n") + "\n").as_bytes())?;
    write_private(&path, DataKeys::new(vec![DataKey::generate()]).wrap(&all)?.as_bytes())?;
    Ok(format!("values can be encrypted now; keep a copy of {}", vault.identity_file().display()))
}

fn set(
    vault: &Vault<'_>,
    (preset, agent, name): (&PresetName, Option<&AgentId>, &str),
    caller: &Caller,
) -> Result<String, Error> {
    check_name(preset, name)?;
    let _guard = vault.lock()?;
    let keys = vault.keys()?;
    let mut presets = vault.presets()?;
    let value = read_hidden(name, caller)?;
    if value.is_empty() {
        return Err(Error::NoValue { source: std::io::ErrorKind::UnexpectedEof.into() });
    }
    check_value(name, &value)?;
    presets.entry(preset.clone()).or_default();
    seal(&mut presets, (preset, agent.map(AsRef::as_ref), name), &value, &keys, caller)?;
    vault.privileged("secrets.set", &format!("{preset}/{name}"))?;
    vault.write_presets(&presets)?;
    let short = if value.len() < SECRET_BYTES_MIN {
        format!("; it has less than {SECRET_BYTES_MIN} bytes, and is not masked in what agents print")
    } else {
        String::new()
    };
    Ok(format!("variable `{name}` of preset `{preset}` is encrypted{short}"))
}

/// Puts an encrypted value into a preset, bound to where that leads now.
pub(super) fn seal(
    presets: &mut Presets,
    (preset, agent, name): (&PresetName, Option<&str>, &str),
    value: &Secret,
    keys: &DataKeys,
    caller: &Caller,
) -> Result<(), Error> {
    // Its own base URL would be no part of what it is bound to, once it is encrypted.
    presets.entry(preset.clone()).or_default().own_mut(agent).remove(name);
    let audience = FlatPreset::new(presets, preset, agent.as_slice())?.audience(&caller.ambient());
    let place = Place { preset, name, audience: &audience };
    let sealed = keys.newest().expect("keys that opened are not empty").seal(value, place);
    let own = presets.entry(preset.clone()).or_default().own_mut(agent);
    own.insert(name.to_owned(), ValueSource::Encrypted(sealed));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a person asked to see this one value")]
fn get(
    vault: &Vault<'_>,
    (preset, name): (&PresetName, &str),
    reveal: bool,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let presets = vault.presets()?;
    if !presets.contains_key(preset) {
        return Err(Error::unknown_preset(preset, &presets));
    }
    let keys = vault.keys_for(&presets, [preset])?;
    let (ambient, values) = (caller.ambient(), FlatPreset::new(&presets, preset, &[])?);
    let found = values.resolve_each(&ambient, &keys).find(|(found, _)| *found == name);
    let unknown = || Error::UnknownVariable { preset: preset.clone(), name: name.to_owned() };
    let value = found.ok_or_else(unknown)?.1?.value;
    if reveal {
        vault.privileged("secrets.reveal", &format!("{preset}/{name}"))?;
    }
    let view = ValueView { preset, name, bytes: value.len(), value: reveal.then(|| value.expose()) };
    output.result(&view, || match view.value {
        Some(value) => value.to_owned(),
        None => format!("it has {} bytes; --reveal shows it", view.bytes),
    });
    Ok(Code::Completed)
}

/// Makes a new data key, and encrypts every value with it.
///
/// At each moment the key file opens all values: first it holds both keys, in the end the new one alone.
fn rotate(vault: &Vault<'_>, caller: &Caller) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let old = vault.keys()?;
    let recipients = recipients(vault)?;
    let before = vault.presets()?;
    let mut presets = before.clone();
    let new = DataKeys::new(vec![DataKey::generate()]);
    let mut count = 0;
    let all = own_values(&before, &caller.ambient(), &old).into_iter();
    for own in all.filter(|own| matches!(own.source, ValueSource::Encrypted(_))) {
        seal(&mut presets, (own.preset, own.agent, &own.name), &own.value?.value, &new, caller)?;
        count += 1;
    }
    vault.privileged("secrets.rotate", "secrets")?;
    let both = DataKeys::new(new.iter().chain(old.iter()).cloned().collect());
    write_private(&vault.key_file(), both.wrap(&recipients)?.as_bytes())?;
    vault.write_presets(&presets)?;
    count += vault.reseal_snapshots(both)?;
    write_private(&vault.key_file(), new.wrap(&recipients)?.as_bytes())?;
    Ok(format!("{count} values are encrypted with a new key"))
}

fn rekey(vault: &Vault<'_>) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let recipients = recipients(vault)?;
    let wrapped = vault.keys()?.wrap(&recipients)?;
    vault.privileged("secrets.rekey", "secrets")?;
    write_private(&vault.key_file(), wrapped.as_bytes())?;
    Ok(format!("{} recipients can open the key; who was removed may have kept it: rotate", recipients.len()))
}

fn recipients(vault: &Vault<'_>) -> Result<Vec<Recipient>, Error> {
    let path = vault.recipients_file();
    Recipient::read_all(&read_text(&path)?).map_err(|source| Error::KeyFile { path, source })
}

/// Protects the identity with a passphrase, or takes that away.
fn lock(vault: &Vault<'_>, remove: bool) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let text = read_text(&vault.identity_file())?;
    if Identity::needs_passphrase(&text) != remove {
        return Ok("the identity is so already".to_owned());
    }
    let identity = vault.identity()?;
    let passphrase = if remove { None } else { Some(vault.passphrase()?) };
    vault.privileged(if remove { "secrets.unlock" } else { "secrets.lock" }, "identity")?;
    write_private(&vault.identity_file(), identity.write(passphrase.as_ref())?.as_bytes())?;
    // One that cannot be used has nothing to forget.
    #[cfg(feature = "keyring")]
    aiswitch_env::Keyring::of_system().and_then(|keyring| keyring.forget(&vault.identity_file())).ok();
    Ok(if remove {
        "the identity needs no passphrase any more"
    } else {
        "the identity needs its passphrase now"
    }
    .to_owned())
}

/// Keeps the passphrase in the system's keyring, once it has opened the identity.
#[cfg(feature = "keyring")]
fn remember(vault: &Vault<'_>) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let path = vault.identity_file();
    check_private(&path)?;
    let text = zeroize::Zeroizing::new(read_text(&path)?);
    if !Identity::needs_passphrase(&text) {
        return Ok("the identity needs no passphrase".to_owned());
    }
    let passphrase = vault.passphrase()?;
    Identity::read(&text, Some(&passphrase))
        .map_err(|source| Error::KeyFile { path: path.clone(), source })?;
    vault.privileged("secrets.remember", "passphrase")?;
    aiswitch_env::Keyring::of_system()?.keep(&path, &passphrase)?;
    Ok("the keyring has the passphrase now; aiswitch secrets forget takes it out".to_owned())
}

fn doctor(vault: &Vault<'_>, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let presets = vault.presets()?;
    let mut problems = Vec::new();
    problems.extend(check_private(&vault.identity_file()).err().map(|error| chain(&error)));
    let keys = vault.keys().unwrap_or_else(|error| {
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        problems.push(chain(&error) + &hint);
        DataKeys::default()
    });
    let encrypted = check_values(&presets, &keys, caller, &mut problems);
    let view = DoctorView { encrypted, problems };
    output.result(&view, || {
        let mut lines = view.problems.clone();
        lines.push(format!("{} encrypted values, {} problems", view.encrypted, view.problems.len()));
        lines.join("\n")
    });
    Ok(if view.problems.is_empty() { Code::Completed } else { Code::VerifyFailed })
}

/// Opens every encrypted value; how many there are.
fn check_values(presets: &Presets, keys: &DataKeys, caller: &Caller, problems: &mut Vec<String>) -> usize {
    let mut encrypted = 0;
    for name in presets.keys() {
        problems.extend(FlatPreset::new(presets, name, &[]).err().map(|error| chain(&error)));
    }
    for own in own_values(presets, &caller.ambient(), keys) {
        let is_sealed = matches!(own.source, ValueSource::Encrypted(_));
        encrypted += usize::from(is_sealed);
        if is_sealed || matches!(own.source, ValueSource::Plain(_)) && looks_secret(&own.name) {
            problems.extend(own.value.err().map(|error| chain(&error)));
        }
    }
    encrypted
}
