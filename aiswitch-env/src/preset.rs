//! A named set of variables.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::environment::{Origin, Variable, is_dangerous};
use crate::{Ambient, EnvError, Secret};

/// The name of a preset: 1 to 64 of `a-z`, `0-9`, `_` and `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct PresetName(String);

impl FromStr for PresetName {
    type Err = EnvError;

    fn from_str(name: &str) -> Result<Self, EnvError> {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first && rest && name.len() <= 64 {
            Ok(Self(name.to_owned()))
        } else {
            Err(EnvError::PresetName { name: name.escape_default().to_string() })
        }
    }
}

impl TryFrom<String> for PresetName {
    type Error = EnvError;

    fn try_from(name: String) -> Result<Self, EnvError> {
        name.parse()
    }
}

impl From<PresetName> for String {
    fn from(name: PresetName) -> Self {
        name.0
    }
}

impl AsRef<str> for PresetName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest value of a variable, in bytes.
pub const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// A named set of variables, as `config/presets.yaml` holds it.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What the preset is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Name → value. A value is plain text, `env:NAME` (of the caller's environment) or `file:PATH`.
    #[serde(default)]
    pub variables: BTreeMap<String, ValueSource>,
}

/// Where the value of a variable comes from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[serde(from = "String")]
pub enum ValueSource {
    /// `env:NAME`: the caller's environment.
    Env(String),
    /// `file:PATH`: a file's text, without its last line feed.
    File(PathBuf),
    /// `ENC[…]`: an encrypted value.
    Encrypted(String),
    /// The text itself.
    Plain(String),
}

impl From<String> for ValueSource {
    fn from(text: String) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else if let Some(path) = text.strip_prefix("file:") {
            Self::File(path.into())
        } else if text.starts_with("ENC[") {
            Self::Encrypted(text)
        } else {
            Self::Plain(text)
        }
    }
}

impl fmt::Debug for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Encrypted(_) => f.write_str("ENC[…]"),
            Self::Plain(_) => f.write_str("…"),
        }
    }
}

impl Preset {
    /// Finds the value of every variable. `read` is asked for the text of `file:PATH` values.
    ///
    /// # Errors
    /// Names the first variable that is not allowed, that holds a secret in clear, or whose value cannot be had.
    pub fn resolve(
        &self,
        preset: &PresetName,
        ambient: &Ambient,
        read: &dyn Fn(&Path) -> io::Result<String>,
    ) -> Result<BTreeMap<String, Variable>, EnvError> {
        self.resolve_each(preset, ambient, read)
            .map(|(name, variable)| Ok((name.to_owned(), variable?)))
            .collect()
    }

    /// Finds the value of every variable, each for itself.
    pub fn resolve_each<'a>(
        &'a self,
        preset: &'a PresetName,
        ambient: &'a Ambient,
        read: &'a dyn Fn(&Path) -> io::Result<String>,
    ) -> impl Iterator<Item = (&'a str, Result<Variable, EnvError>)> {
        self.variables.iter().map(move |(name, source)| {
            let secret = !matches!(source, ValueSource::Plain(_));
            let value = resolve_one(&Place { preset, name }, source, ambient, read);
            (name.as_str(), value.map(|value| Variable { value, origin: Origin::Preset, secret }))
        })
    }
}

/// The text of a regular file that a preset takes a value from.
///
/// # Errors
/// It is no regular file, has more than [`VALUE_BYTES_MAX`] bytes, is not UTF-8, or cannot be read.
pub fn read_value(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {VALUE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}

/// The variable that is being resolved, for errors.
struct Place<'a> {
    preset: &'a PresetName,
    name: &'a str,
}

fn resolve_one(
    place: &Place<'_>,
    source: &ValueSource,
    ambient: &Ambient,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Secret, EnvError> {
    let (preset, name) = (place.preset.to_string(), place.name.to_owned());
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(EnvError::VariableName { preset, name: name.escape_default().to_string() });
    }
    if is_dangerous(&name) {
        return Err(EnvError::Dangerous { preset, name });
    }
    let value = match source {
        ValueSource::Plain(_) if looks_secret(&name) => return Err(EnvError::ClearSecret { preset, name }),
        ValueSource::Encrypted(_) => return Err(EnvError::Encrypted { preset, name }),
        ValueSource::Plain(text) => Secret::new(text.clone()),
        ValueSource::Env(wanted) => match ambient.get(wanted) {
            Some(value) => value.clone(),
            None => return Err(EnvError::MissingAmbient { preset, name, wanted: wanted.clone() }),
        },
        ValueSource::File(path) => match read(path) {
            Ok(text) => Secret::new(text.strip_suffix('\n').unwrap_or(&text)),
            Err(source) => return Err(EnvError::UnreadableFile { preset, name, path: path.clone(), source }),
        },
    };
    if value.text().contains('\0') { Err(EnvError::Value { name }) } else { Ok(value) }
}

/// True for a variable name that speaks of a credential: `*KEY`, `*TOKEN*`, `*SECRET*`, `*PASSWORD*` and the like.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"].iter().any(|word| name.contains(word))
        || name.ends_with("KEY")
        || name.contains("_KEY_")
}
