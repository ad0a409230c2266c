//! Who may have the data key: identities and recipients in the age format.
//!
//! All three files are those of the age tools: `age -d -i identity.txt secrets.age` prints the data keys in base64, one a
//! line, the newest first.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::secrecy::{ExposeSecret, SecretString};
use age::{Decryptor, Encryptor, scrypt, x25519};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{DataKey, DataKeys, EnvError, Secret};

/// The longest file of keys that is read, in bytes.
const PLAIN_BYTES_MAX: u64 = 64 * 1024;

/// What an identity of the age format starts with.
const IDENTITY_START: &str = "AGE-SECRET-KEY-1";

/// What an encrypted file in the text form of age starts with.
const ARMOR_START: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// Somebody who can open what was wrapped for them: an X25519 key pair of the age format.
#[derive(Clone)]
pub struct Identity(x25519::Identity);

/// Somebody whom a key can be wrapped for: the public half of an [`Identity`], `age1…`.
#[derive(Clone)]
pub struct Recipient(x25519::Recipient);

impl Identity {
    /// A new identity, from the system's source of randomness.
    ///
    /// # Panics
    /// The system has no randomness to give.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// Its public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }

    /// Whether the text of an identity's file needs a passphrase.
    pub fn needs_passphrase(text: &str) -> bool {
        text.trim_start().starts_with(ARMOR_START)
    }

    /// Reads an identity's file; `passphrase` is needed if [`needs_passphrase`](Self::needs_passphrase) says so.
    ///
    /// # Errors
    /// It is no identity's file, or the passphrase is missing or wrong.
    pub fn read(text: &str, passphrase: Option<&Secret>) -> Result<Self, EnvError> {
        let plain = if Self::needs_passphrase(text) {
            let passphrase = passphrase.ok_or(EnvError::PassphraseMissing)?;
            let opener = scrypt::Identity::new(SecretString::from(passphrase.text().to_owned()));
            decrypt(text, &opener).map_err(|source| EnvError::PassphraseWrong { source })?
        } else {
            Zeroizing::new(text.as_bytes().to_vec())
        };
        let lines = std::str::from_utf8(&plain).unwrap_or_default().lines();
        let line = lines.map(str::trim).find(|line| line.starts_with(IDENTITY_START));
        line.and_then(|line| line.parse().ok()).map(Self).ok_or(EnvError::IdentityDamaged)
    }

    /// The text of its file: in clear, or wrapped with a passphrase, which takes about a second.
    ///
    /// # Errors
    /// It cannot be wrapped.
    pub fn write(&self, passphrase: Option<&Secret>) -> Result<Zeroizing<String>, EnvError> {
        let identity = self.0.to_string();
        let plain =
            Zeroizing::new(format!("# public key: {}\n{}\n", self.recipient(), identity.expose_secret()));
        let Some(passphrase) = passphrase else { return Ok(plain) };
        let recipient = scrypt::Recipient::new(SecretString::from(passphrase.text().to_owned()));
        encrypt(plain.as_bytes(), &[&recipient]).map(Zeroizing::new)
    }

    /// Opens wrapped data keys.
    ///
    /// # Errors
    /// They are not wrapped for this identity, or are damaged.
    pub fn unwrap_keys(&self, wrapped: &str) -> Result<DataKeys, EnvError> {
        let plain = decrypt(wrapped, &self.0).map_err(|source| EnvError::KeyRefused { source })?;
        let lines = std::str::from_utf8(&plain).unwrap_or_default().lines();
        let keys: Option<Vec<DataKey>> =
            lines.map(|line| DataKey::from_bytes(&Zeroizing::new(STANDARD.decode(line).ok()?))).collect();
        keys.filter(|keys| !keys.is_empty()).map(DataKeys::new).ok_or(EnvError::KeyDamaged)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

impl Recipient {
    /// Reads a file of recipients: one a line, with empty lines and `#` comments between them.
    ///
    /// # Errors
    /// A line is no recipient, or there is none.
    pub fn read_all(text: &str) -> Result<Vec<Self>, EnvError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let recipients: Vec<Self> = lines.map(str::parse).collect::<Result<_, _>>()?;
        if recipients.is_empty() { Err(EnvError::NoRecipients) } else { Ok(recipients) }
    }
}

impl FromStr for Recipient {
    type Err = EnvError;

    fn from_str(text: &str) -> Result<Self, EnvError> {
        let wrong =
            |reason: &'static str| EnvError::Recipient { text: text.escape_default().to_string(), reason };
        text.parse().map(Self).map_err(wrong)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

impl DataKeys {
    /// Wraps the keys so that each of these recipients can open them.
    ///
    /// # Errors
    /// There is no recipient, or they cannot be wrapped.
    pub fn wrap(&self, recipients: &[Recipient]) -> Result<String, EnvError> {
        let mut plain = Zeroizing::new(String::new());
        for key in self.iter() {
            plain.push_str(&Zeroizing::new(STANDARD.encode(key.bytes())));
            plain.push('\n');
        }
        let recipients: Vec<&dyn age::Recipient> =
            recipients.iter().map(|recipient| &recipient.0 as _).collect();
        encrypt(plain.as_bytes(), &recipients)
    }
}

fn encrypt(plain: &[u8], recipients: &[&dyn age::Recipient]) -> Result<String, EnvError> {
    let encryptor = match Encryptor::with_recipients(recipients.iter().copied()) {
        Ok(encryptor) => encryptor,
        Err(age::EncryptError::MissingRecipients) => return Err(EnvError::NoRecipients),
        Err(error) => return Err(EnvError::Wrap { source: Box::new(error) }),
    };
    let write = || -> std::io::Result<Vec<u8>> {
        let armor = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor)?;
        let mut writer = encryptor.wrap_output(armor)?;
        writer.write_all(plain)?;
        writer.finish()?.finish()
    };
    let text = write().map_err(|source| EnvError::Wrap { source: Box::new(source) })?;
    Ok(String::from_utf8(text).expect("the text form of age is ASCII"))
}

fn decrypt(
    wrapped: &str,
    identity: &dyn age::Identity,
) -> Result<Zeroizing<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    let decryptor = Decryptor::new_buffered(ArmoredReader::new(wrapped.as_bytes()))?;
    let mut plain = Zeroizing::new(Vec::new());
    decryptor.decrypt(std::iter::once(identity))?.take(PLAIN_BYTES_MAX).read_to_end(&mut plain)?;
    Ok(plain)
}
