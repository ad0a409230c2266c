//! What an agent's environment is made of at one time.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::seal::{DataKeys, Place};
use crate::{Ambient, EnvError, FlatPreset, FlatValue, PresetName, Secret, ValueSource};

/// What the checksum begins with, so that another form of a snapshot never has the same one.
const CHECKSUM_DOMAIN: &[u8] = b"aiswitch/env-snapshot/v1";

/// The name of a snapshot: a ULID, a time and 80 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(Ulid);

impl SnapshotId {
    /// A new name for what is made at this time.
    pub fn at(time: DateTime<Utc>) -> Self {
        Self(Ulid::from_datetime(time.into()))
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SnapshotId {
    type Err = EnvError;

    fn from_str(text: &str) -> Result<Self, EnvError> {
        let named = Ulid::from_string(text).ok();
        named.map(Self).ok_or_else(|| EnvError::SnapshotId { text: text.escape_default().to_string() })
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = EnvError;

    fn try_from(text: String) -> Result<Self, EnvError> {
        text.parse()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.to_string()
    }
}

/// What an agent's environment is made of at one time: a preset's variables as it writes them, so that a secret is a reference
/// or encrypted, and never in clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvSnapshot {
    /// Its name.
    pub id: SnapshotId,
    /// The agent.
    pub agent_id: String,
    /// When it was made.
    pub timestamp: DateTime<Utc>,
    /// The preset; `None` for an agent that has the credentials of its caller.
    pub preset_name: Option<PresetName>,
    /// Name → how the preset has its value.
    pub variables: BTreeMap<String, SnapshotValue>,
    /// The session that the agent was in.
    pub session_id: Option<String>,
    /// The SHA-256 over all of this, in hexadecimal: it shows damage, not forgery.
    pub checksum: String,
}

/// A value as a preset has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotValue {
    /// The preset that it stands in: the snapshot's own, or one that it extends.
    pub preset: PresetName,
    /// `env:NAME`, `file:PATH`, `ENC[…]`, or a text that is no secret.
    pub value: String,
}

impl EnvSnapshot {
    /// A snapshot of an agent under a preset, or under none.
    ///
    /// # Errors
    /// The preset holds a secret in clear.
    pub fn new(
        agent_id: impl Into<String>,
        timestamp: DateTime<Utc>,
        preset: Option<(&PresetName, &FlatPreset)>,
        session_id: Option<String>,
    ) -> Result<Self, EnvError> {
        let mut variables = BTreeMap::new();
        for (name, FlatValue { preset, source }) in preset.into_iter().flat_map(|(_, flat)| flat.iter()) {
            check_reference(preset, name, source)?;
            let value = SnapshotValue { preset: preset.clone(), value: source.written() };
            variables.insert(name.to_owned(), value);
        }
        let mut snapshot = Self {
            id: SnapshotId::at(timestamp),
            agent_id: agent_id.into(),
            timestamp,
            preset_name: preset.map(|(name, _)| name.clone()),
            variables,
            session_id,
            checksum: String::new(),
        };
        snapshot.checksum = snapshot.sum();
        Ok(snapshot)
    }

    /// The preset as it was then; `None` for an agent that was under none.
    ///
    /// # Errors
    /// The snapshot is not as it was made.
    pub fn preset(&self) -> Result<Option<(&PresetName, FlatPreset)>, EnvError> {
        if self.checksum != self.sum() {
            return Err(EnvError::SnapshotDamaged { id: self.id });
        }
        let values = self.variables.iter().map(|(name, SnapshotValue { preset, value })| {
            (name.clone(), FlatValue { preset: preset.clone(), source: ValueSource::from(value.clone()) })
        });
        Ok(self.preset_name.as_ref().map(|name| (name, values.collect())))
    }

    /// Whether a value is encrypted, so that keys are needed.
    pub fn is_encrypted(&self) -> bool {
        let sources = self.variables.values().map(|value| ValueSource::from(value.value.clone()));
        sources.into_iter().any(|source| matches!(source, ValueSource::Encrypted(_)))
    }

    /// Encrypts what these keys open with the newest of them; the number of values. What they do not open stays as it is.
    pub fn reseal(&mut self, ambient: &Ambient, keys: &DataKeys) -> usize {
        let (Some(newest), Ok(Some((_, flat)))) = (keys.newest(), self.preset()) else { return 0 };
        let audience = flat.audience(ambient);
        let mut count = 0;
        for (name, SnapshotValue { preset, value }) in &mut self.variables {
            let ValueSource::Encrypted(sealed) = ValueSource::from(value.clone()) else { continue };
            let place = Place { preset, name, audience: &audience };
            if let Ok(opened) = keys.open(&sealed, place) {
                *value = newest.seal(&opened, place);
                count += 1;
            }
        }
        self.checksum = self.sum();
        count
    }

    fn sum(&self) -> String {
        let mut sum = Sha256::new();
        // Each part goes in with its length: no two snapshots become one text.
        let mut part = |bytes: &[u8]| {
            sum.update((bytes.len() as u64).to_le_bytes());
            sum.update(bytes);
        };
        part(CHECKSUM_DOMAIN);
        part(self.id.to_string().as_bytes());
        part(self.agent_id.as_bytes());
        part(self.timestamp.to_rfc3339().as_bytes());
        for text in [self.preset_name.as_ref().map(AsRef::as_ref), self.session_id.as_deref()] {
            part(if text.is_some() { b"1" } else { b"0" });
            part(text.unwrap_or_default().as_bytes());
        }
        for (name, SnapshotValue { preset, value }) in &self.variables {
            part(name.as_bytes());
            part(preset.as_ref().as_bytes());
            part(value.as_bytes());
        }
        sum.finalize().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("text can be written to");
            text
        })
    }
}

/// Checks that a snapshot may hold a value as the preset has it.
///
/// # Errors
/// It is a secret in clear.
pub fn check_reference(preset: &PresetName, name: &str, source: &ValueSource) -> Result<(), EnvError> {
    let in_clear = || EnvError::ClearSecret { preset: preset.to_string(), name: name.to_owned() };
    match source {
        ValueSource::Plain(text) => {
            ValueSource::in_clear(name, &Secret::new(text.clone())).map(drop).ok_or_else(in_clear)
        }
        ValueSource::Env(_) | ValueSource::File(_) | ValueSource::Encrypted(_) => Ok(()),
    }
}
