//! What can be wrong with a preset or an environment.

use std::path::PathBuf;

/// What can be wrong with a preset or an environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A preset's name breaks the rule for names.
    #[error("preset name `{name}` is not 1 to 64 of a-z, 0-9, `_` and `-`, starting with a letter or digit")]
    PresetName {
        /// The name as written.
        name: String,
    },
    /// A variable's name is empty or holds `=` or NUL.
    #[error("variable name `{name}` of preset `{preset}` is empty or holds `=` or NUL")]
    VariableName {
        /// The preset.
        preset: String,
        /// The name as written, with control characters escaped.
        name: String,
    },
    /// A variable that can make a child run foreign code.
    #[error("variable `{name}` of preset `{preset}` can make an agent run foreign code and is refused")]
    Dangerous {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// A value stands in clear under a name that looks secret.
    #[error("variable `{name}` of preset `{preset}` holds a secret in clear")]
    ClearSecret {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// A value is in a form that this version cannot open.
    #[error("variable `{name}` of preset `{preset}` is encrypted, which this version cannot open")]
    Encrypted {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// `env:NAME` names a variable that the caller has not set.
    #[error(
        "variable `{name}` of preset `{preset}` wants `{wanted}` of the caller's environment, which is not set"
    )]
    MissingAmbient {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
        /// The variable that is not set.
        wanted: String,
    },
    /// `file:PATH` names a file that cannot be read.
    #[error("variable `{name}` of preset `{preset}` wants the file `{path}`")]
    UnreadableFile {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
    /// A value that no environment can hold.
    #[error("the value of variable `{name}` holds a NUL byte or is not UTF-8")]
    Value {
        /// The variable.
        name: String,
    },
}
