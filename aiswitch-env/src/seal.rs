//! Encrypted values: `ENC[v1,…]`, each bound to the place where it stands.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, OsRng, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::{EnvError, PresetName, Secret};

/// The length of a data key, in bytes.
pub const KEY_BYTES: usize = 32;

/// The length of the number that makes each encryption another, in bytes.
const NONCE_BYTES: usize = 24;

/// What every encrypted value starts with, whatever its version.
pub(crate) const SEALED_START: &str = "ENC[";

/// What an encrypted value of this version starts with.
const START: &str = "ENC[v1,";

/// The key that the values of one file are encrypted with; zeroed on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

/// Where an encrypted value stands; it opens nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The preset.
    pub preset: &'a PresetName,
    /// The variable.
    pub name: &'a str,
    /// Where the preset leads the agent: see [`FlatPreset::audience`](crate::FlatPreset::audience).
    pub audience: &'a str,
}

impl DataKey {
    /// A new key, from the system's source of randomness.
    ///
    /// # Panics
    /// The system has no randomness to give.
    pub fn generate() -> Self {
        Self(Zeroizing::new(XChaCha20Poly1305::generate_key(&mut OsRng).into()))
    }

    /// A key of these bytes; `None` unless they are [`KEY_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(Zeroizing::new(bytes)))
    }

    /// The key's bytes, to be wrapped and nothing else.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Encrypts a value with XChaCha20-Poly1305 for one place.
    ///
    /// # Panics
    /// The system has no randomness to give.
    pub fn seal(&self, value: &Secret, place: Place<'_>) -> String {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let bound = bound(place);
        let payload = Payload { msg: value.text().as_bytes(), aad: &bound };
        let sealed = self.cipher().encrypt(&nonce, payload).expect("a value is far shorter than 256 GiB");
        let bytes: Vec<u8> = nonce.iter().copied().chain(sealed).collect();
        format!("{START}{}]", STANDARD_NO_PAD.encode(bytes))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(self.bytes().into())
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// The keys that may open a value: one, two while the key is being changed, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataKeys(Vec<DataKey>);

impl DataKeys {
    /// These keys; values are encrypted with the first.
    pub fn new(keys: Vec<DataKey>) -> Self {
        Self(keys)
    }

    /// The key that values are encrypted with; `None` when there is none.
    pub fn newest(&self) -> Option<&DataKey> {
        self.0.first()
    }

    /// All keys, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &DataKey> {
        self.0.iter()
    }

    /// Opens a value where it stands.
    ///
    /// # Errors
    /// There is no key, the value is damaged or of another version, or it was encrypted with another key or for another
    /// place.
    pub fn open(&self, sealed: &str, place: Place<'_>) -> Result<Secret, EnvError> {
        let (preset, name) = (place.preset.to_string(), place.name.to_owned());
        let Some(text) = sealed.strip_prefix(START) else {
            return Err(EnvError::SealVersion { preset, name });
        };
        let bytes = text.strip_suffix(']').and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        let Some((nonce, sealed)) = bytes.as_deref().and_then(|bytes| bytes.split_at_checked(NONCE_BYTES))
        else {
            return Err(EnvError::SealDamaged { preset, name });
        };
        if self.0.is_empty() {
            return Err(EnvError::NoKey { preset, name });
        }
        let bound = bound(place);
        let open = |key: &DataKey| {
            let payload = Payload { msg: sealed, aad: &bound };
            key.cipher().decrypt(XNonce::from_slice(nonce), payload).ok()
        };
        let opened = self.0.iter().find_map(open).and_then(|bytes| String::from_utf8(bytes).ok());
        opened.map(Secret::new).ok_or(EnvError::SealRefused { preset, name })
    }
}

/// What a value is bound to. No part can hold a NUL, so no two places are bound alike.
fn bound(place: Place<'_>) -> Vec<u8> {
    ["aiswitch/v1", "presets.yaml", place.preset.as_ref(), place.name, place.audience].join("\0").into_bytes()
}
