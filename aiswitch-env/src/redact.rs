//! What masks known secrets in any text.

use std::borrow::Cow;

use crate::Secret;

/// The text that stands where a secret stood.
pub const MASK: &str = "[REDACTED]";

/// The shortest secret that is masked, in bytes; a shorter one would mask half of any text.
pub const SECRET_BYTES_MIN: usize = 8;

/// What masks known secrets in any text.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Longest first, so that a secret which holds another is masked whole.
    secrets: Vec<Secret>,
}

impl Redactor {
    /// A redactor of these secrets; those shorter than [`SECRET_BYTES_MIN`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut secrets: Vec<Secret> =
            secrets.into_iter().filter(|secret| secret.text().len() >= SECRET_BYTES_MIN).cloned().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.text().len()));
        secrets.dedup();
        Self { secrets }
    }

    /// The text with every known secret masked.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.secrets {
            let value = secret.text();
            if text.contains(value) {
                text = Cow::Owned(text.replace(value, MASK));
            }
        }
        text
    }
}
