//! The caller's environment as a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use crate::secret::Secret;

/// The caller's environment as a value, read once by the program that owns it.
///
/// Variables whose name or value is not UTF-8 are left out: no agent is given them.
#[derive(Clone, Default)]
pub struct Ambient(BTreeMap<String, Secret>);

impl Ambient {
    /// Takes over variables, as `std::env::vars_os` yields them.
    pub fn from_vars(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(
            vars.into_iter()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
        )
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// The variables but for these.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ambient({} variables)", self.0.len())
    }
}
