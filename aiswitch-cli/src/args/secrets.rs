//! The command line of `secrets`: encrypted values.

use aiswitch_coordinator::{AgentId, PresetName};
use clap::Subcommand;

/// Encrypted values.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsVerb {
    /// Make a key for secrets, and an identity that opens it
    Init {
        /// Let somebody else open the key too: `age1…`; a spare identity, a colleague
        #[arg(long = "recipient", value_name = "RECIPIENT")]
        recipients: Vec<String>,
        /// Protect the identity with a passphrase
        #[arg(long)]
        passphrase: bool,
    },
    /// Encrypt a value that is typed or piped in
    Set {
        /// The preset, which is made if it is not there
        preset: PresetName,
        /// The variable
        #[arg(value_name = "VARIABLE")]
        name: String,
        /// Only for this agent
        #[arg(short, long, value_name = "NAME")]
        agent: Option<AgentId>,
    },
    /// Check that a value opens
    Get {
        /// The preset
        preset: PresetName,
        /// The variable
        #[arg(value_name = "VARIABLE")]
        name: String,
        /// Print the value in clear
        #[arg(long)]
        reveal: bool,
    },
    /// Open the encrypted values of a preset in an editor ($VISUAL, else $EDITOR, else vi), and encrypt what was changed
    ///
    /// They stand in clear in a file of your own, in memory where the system has a folder for that, for as long as the editor
    /// is open; however it ends, the file is overwritten and removed.
    Edit {
        /// The preset
        preset: PresetName,
    },
    /// Encrypt all values with a new key
    Rotate,
    /// Wrap the key for those who stand in config/recipients.txt now
    Rekey,
    /// Protect the identity with a passphrase
    Lock {
        /// Take the passphrase away
        #[arg(long)]
        remove: bool,
    },
    /// Keep the passphrase in the system's keyring until the machine is started anew, so that it is typed once
    ///
    /// All that you run can ask for it there. Agents in a sandbox cannot read the identity that it opens.
    #[cfg(feature = "keyring")]
    Remember,
    /// Keep the passphrase in the system's keyring no more
    #[cfg(feature = "keyring")]
    Forget,
    /// Check identity, key, every encrypted value, and that no secret stands in clear
    Doctor,
}
