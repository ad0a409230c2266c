//! What each line that fits has in its bytes, so that others need not be read.

/// Pieces of JSON of which each line that fits has one, unless it is written with escapes that it could do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needle(Vec<String>);

impl Needle {
    /// A text that is the value of a field, or its name.
    pub(crate) fn whole(text: &str) -> Self {
        Self(vec![serde_json::to_string(text).expect("a text can be written")])
    }

    /// A text that a value begins with.
    pub(crate) fn start(text: &str) -> Self {
        Self(Self::whole(text).0.into_iter().map(|quoted| quoted[..quoted.len() - 1].to_owned()).collect())
    }

    /// A text within a value: each character is written in one way, so that a part of a text is a part of what is written.
    pub(crate) fn within(text: &str) -> Self {
        Self(Self::start(text).0.into_iter().map(|quoted| quoted[1..].to_owned()).collect())
    }

    /// What has the one or the other.
    pub(crate) fn or(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.dedup();
        self
    }

    /// What finds it; `None` if it is too large to be looked for, or in every line.
    pub(crate) fn finder(&self) -> Option<regex::bytes::Regex> {
        let pieces: Vec<String> = self.0.iter().map(|piece| regex::escape(piece)).collect();
        let is_in_all = pieces.iter().any(String::is_empty);
        regex::bytes::Regex::new(&pieces.join("|")).ok().filter(|_| !is_in_all)
    }

    #[cfg(test)]
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        self.0.iter().any(|piece| memchr::memmem::find(bytes, piece.as_bytes()).is_some())
    }
}
