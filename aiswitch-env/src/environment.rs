//! What one child may know.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Ambient, EnvError, Redactor, Secret};

/// The variables of the caller that every child is given; a trailing `*` stands for any ending.
pub const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TERM",
    "COLORTERM",
    "TZ",
    "TMPDIR",
    "XDG_*",
    "SYSTEMROOT",
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
];

/// The variables that lead a child's traffic or state elsewhere; only a preset may set them.
pub const REDIRECTING: &[&str] = &[
    "*_BASE_URL",
    "*_PROXY",
    "*_proxy",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CODEX_HOME",
    "CLAUDE_CONFIG_DIR",
    "GEMINI_CLI_HOME",
    "QWEN_HOME",
    "OPENCODE_CONFIG*",
];

/// The variables that can make a child run foreign code; nobody may set them.
const DANGEROUS: &[&str] = &[
    "LD_*",
    "DYLD_*",
    "NODE_OPTIONS",
    "NODE_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "RUBYLIB",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "BASH_ENV",
    "ENV",
    "BASH_FUNC_*",
    "PROMPT_COMMAND",
    "IFS",
    "DOTNET_STARTUP_HOOKS",
    "GIT_SSH_COMMAND",
    "GIT_EXTERNAL_DIFF",
    "GIT_CONFIG_*",
    "GOFLAGS",
];

fn matches(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == *pattern,
    })
}

/// True for a variable that can make a child run foreign code (`LD_PRELOAD`, `NODE_OPTIONS` and their kind).
pub fn is_dangerous(name: &str) -> bool {
    matches(DANGEROUS, name)
}

/// True for a variable that leads a child's traffic or state elsewhere (`*_BASE_URL`, proxies, config homes).
pub fn is_redirecting(name: &str) -> bool {
    matches(REDIRECTING, name)
}

/// Why a variable is in an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// It is on the allow-list.
    Allowed,
    /// The agent declares it as a credential of its own.
    Credential,
    /// A preset sets it.
    Preset,
    /// The driver needs it to drive the agent.
    Driver,
}

/// One variable of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its value.
    pub value: Secret,
    /// Why it is there.
    pub origin: Origin,
    /// Whether its value must be masked wherever it shows up.
    pub secret: bool,
}

/// What one child may know: this and nothing else is its environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    variables: BTreeMap<String, Variable>,
    /// Secrets that it is not given, and may come upon all the same.
    foreign: Arc<[Secret]>,
}

impl Environment {
    /// The allow-listed part of the caller's environment, the credentials that an agent declares, and a preset.
    ///
    /// With a preset, the caller's credentials stay out: the preset says all.
    ///
    /// # Errors
    /// A value that no environment can hold.
    pub fn compose(
        ambient: &Ambient,
        credentials: &[&str],
        preset: Option<BTreeMap<String, Variable>>,
    ) -> Result<Self, EnvError> {
        let mut variables = BTreeMap::new();
        let mut take = |name: &str, origin, secret| {
            let Some(value) = ambient.get(name).cloned() else { return Ok(()) };
            if value.text().contains('\0') {
                return Err(EnvError::Value { name: name.to_owned() });
            }
            variables.insert(name.to_owned(), Variable { value, origin, secret });
            Ok(())
        };
        for name in ambient.names().filter(|name| matches(ALLOWED, name) && !is_dangerous(name)) {
            take(name, Origin::Allowed, false)?;
        }
        match preset {
            Some(preset) => variables.extend(preset),
            None => credentials.iter().try_for_each(|name| take(name, Origin::Credential, true))?,
        }
        Ok(Self { variables, foreign: Arc::default() })
    }

    /// Adds a variable that the driver needs, unless it is there already.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        self.variables.entry(name.to_owned()).or_insert_with(|| Variable {
            value: Secret::new(value),
            origin: Origin::Driver,
            secret: false,
        });
        self
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.variables.get(name).map(|variable| &variable.value)
    }

    /// The value of a variable that is no secret.
    pub fn shown(&self, name: &str) -> Option<&str> {
        self.variables.get(name).filter(|variable| !variable.secret).map(|variable| variable.value.text())
    }

    /// Whether a preset sets a variable.
    pub fn is_preset(&self, name: &str) -> bool {
        self.variables.get(name).is_some_and(|variable| variable.origin == Origin::Preset)
    }

    /// All variables, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable))
    }

    /// Its secrets.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.variables.values().filter(|variable| variable.secret).map(|variable| &variable.value)
    }

    /// Adds secrets that are masked in what the child prints, although it is not given them.
    #[must_use]
    pub fn with_foreign_secrets(mut self, secrets: Arc<[Secret]>) -> Self {
        self.foreign = secrets;
        self
    }

    /// What masks this environment's secrets, and the foreign ones, in any text.
    pub fn redactor(&self) -> Redactor {
        Redactor::new(self.secrets().chain(self.foreign.iter()))
    }
}
