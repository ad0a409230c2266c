//! `aiswitch preset reseal`: encrypted values bound to where a preset leads now, which was somewhere else before.

use aiswitch_env::{
    DataKeys, EnvError, FlatPreset, Place, Secret, ValueSource, audience_of, audiences_before,
};

use crate::args::PresetReseal;
use crate::caller::Caller;
use crate::commands::secrets::seal;
use crate::error::Error;
use crate::vault::{OwnValue, Vault, own_values};

/// Binds the values of a preset that were bound elsewhere to where it leads now; all or none.
///
/// # Errors
/// One does not open for any of the places that it could have been bound to.
pub(super) fn reseal(args: &PresetReseal, vault: &Vault<'_>, caller: &Caller) -> Result<String, Error> {
    let PresetReseal { name, was } = args;
    let _guard = vault.lock()?;
    let before = vault.presets()?;
    if !before.contains_key(name) {
        return Err(Error::unknown_preset(name, &before));
    }
    let (keys, ambient) = (vault.keys_for(&before, [name])?, caller.ambient());
    let was = audience_of(was.iter().map(String::as_str));
    let (mut after, mut moved) = (before.clone(), Vec::new());
    let own = own_values(&before, &ambient, &keys).into_iter();
    for own in own.filter(|own| own.preset == name && matches!(own.source, ValueSource::Encrypted(_))) {
        match &own.value {
            Ok(_) => continue,
            Err(EnvError::SealRefused { .. }) => {}
            Err(_) => {
                own.value?;
                continue;
            }
        }
        let now = FlatPreset::new(&before, name, own.agent.as_slice())?.audience(&ambient);
        let value = open_as_before(&own, (&was, &now), &keys)?;
        seal(&mut after, (name, own.agent, &own.name), &value, &keys, caller)?;
        moved.push((own.name, now));
    }
    let Some((_, now)) = moved.first() else {
        return Ok(format!("every value of preset `{name}` opens where it leads now"));
    };
    let now = if now.is_empty() { "no base URL" } else { now };
    let names = moved.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    vault.privileged("preset.reseal", &format!("{name}: {names} for {now}"))?;
    vault.write_presets(&after)?;
    Ok(format!("{names} of preset `{name}` opens for {now} now"))
}

/// The value of a variable, for whichever place it was encrypted.
fn open_as_before(own: &OwnValue<'_>, (was, now): (&str, &str), keys: &DataKeys) -> Result<Secret, Error> {
    let sealed = own.source.written();
    let open = |audience: String| {
        keys.open(&sealed, Place { preset: own.preset, name: &own.name, audience: &audience }).ok()
    };
    audiences_before(was, now)
        .find_map(open)
        .ok_or_else(|| Error::NotResealed { preset: own.preset.clone(), name: own.name.clone() })
}
