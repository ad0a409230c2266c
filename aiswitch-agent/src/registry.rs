//! The agents that are known without a config file.

use aiswitch_rpc::protocol::PermissionMode;

use crate::spec::Driver;

/// An agent that is known without a config file: its program, its flags and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its name, and that of its driver.
    pub driver: Driver,
    /// What it is, in a line.
    pub description: &'static str,
    /// Its program and the arguments that always go with it; empty where the caller must say.
    pub command: &'static [&'static str],
    /// The variables of the caller's environment that hold its credentials; no other agent is given them.
    pub credentials: &'static [&'static str],
    /// Its own folders, from the home; no other agent's sandbox opens them.
    pub folders: &'static [&'static str],
    /// The permission modes that it can keep to.
    pub modes: &'static [PermissionMode],
    /// The command that installs or updates it.
    pub install: Option<&'static str>,
    /// What a person does to log in.
    pub login: Option<&'static str>,
    /// The oldest version that the driver was seen to work with; `None` where no older one was tried.
    pub version_min: Option<&'static str>,
}

const ALL_MODES: &[PermissionMode] = &[PermissionMode::ReadOnly, PermissionMode::Write, PermissionMode::Yolo];

/// The table; one row an agent.
const BUILT_INS: &[BuiltIn] = &[
    BuiltIn {
        driver: Driver::Echo,
        description: "answers with its prompt; needs no network and no key",
        command: &[],
        credentials: &[],
        folders: &[],
        modes: ALL_MODES,
        install: None,
        login: None,
        version_min: None,
    },
    BuiltIn {
        driver: Driver::Claude,
        description: "Claude Code, stream-json in both directions",
        command: &["claude"],
        credentials: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
        folders: &[".claude"],
        modes: ALL_MODES,
        install: Some("npm install -g @anthropic-ai/claude-code"),
        login: Some("run `claude` and type /login, or set ANTHROPIC_API_KEY"),
        version_min: Some("2.1.110"),
    },
    BuiltIn {
        driver: Driver::Codex,
        description: "OpenAI Codex, through `codex app-server`",
        command: &["codex"],
        credentials: &["OPENAI_API_KEY", "CODEX_API_KEY"],
        folders: &[".codex"],
        modes: ALL_MODES,
        install: Some("npm install -g @openai/codex"),
        login: Some("run `codex login`, or set CODEX_API_KEY"),
        version_min: Some("0.124.0"),
    },
    BuiltIn {
        driver: Driver::Gemini,
        description: "Gemini CLI, through the Agent Client Protocol",
        command: &["gemini", "--acp"],
        credentials: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        folders: &[".gemini"],
        modes: ALL_MODES,
        install: Some("npm install -g @google/gemini-cli"),
        login: Some("run `gemini` and log in, or set GEMINI_API_KEY"),
        version_min: None,
    },
    BuiltIn {
        driver: Driver::Opencode,
        description: "opencode, through the Agent Client Protocol",
        command: &["opencode", "acp"],
        credentials: &["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY"],
        folders: &[".cache/opencode", ".config/opencode", ".local/share/opencode", ".local/state/opencode"],
        modes: ALL_MODES,
        install: Some("npm install -g opencode-ai"),
        login: Some("run `opencode auth login`"),
        version_min: None,
    },
    BuiltIn {
        driver: Driver::Qwen,
        description: "Qwen Code, stream-json in both directions",
        command: &["qwen"],
        credentials: &["OPENAI_API_KEY", "DASHSCOPE_API_KEY"],
        folders: &[".qwen"],
        modes: ALL_MODES,
        install: Some("npm install -g @qwen-code/qwen-code"),
        login: Some("run `qwen` and log in, or set OPENAI_API_KEY"),
        version_min: None,
    },
];

/// All built-in agents, in the order in which they are shown.
pub fn built_ins() -> &'static [BuiltIn] {
    BUILT_INS
}

/// The built-in agent of a driver, if the driver is that of one.
pub fn built_in(driver: Driver) -> Option<&'static BuiltIn> {
    BUILT_INS.iter().find(|known| known.driver == driver)
}
