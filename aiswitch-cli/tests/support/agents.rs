//! The real agent CLIs, as the tests find and configure them.
//!
//! They are installed by `scripts/install-agents.sh`. The tests look for them in the folder that `AISWITCH_TEST_AGENTS`
//! names, or else where that script installs them by default.
#![expect(clippy::disallowed_methods, reason = "tests find the agents through the environment")]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

/// The variable that holds the key in the tests, for presets to name.
pub(crate) const KEY_VARIABLE: &str = "MOCK_KEY";

const CODEX_CONFIG: &str = r#"model = "gpt-5.5"
model_provider = "mock"
check_for_update_on_startup = false

[model_providers.mock]
name = "mock"
base_url = "URL/v1"
env_key = "MOCK_KEY"
wire_api = "responses"
request_max_retries = 1
stream_max_retries = 1

[analytics]
enabled = false

[features]
plugins = false
apps = false
shell_snapshot = false
unbounded_connection_retries = false
"#;

/// The value of a variable in a preset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Plain(String),
    /// The key, which a preset takes from [`KEY_VARIABLE`].
    Key,
}

/// The folder with the agents, when all of the named ones are installed and none of them could call out; else says
/// which test is skipped, and why.
///
/// # Panics
///
/// Panics when `AISWITCH_TEST_AGENTS` is set and one of them is missing there: who sets it wants these tests to run.
pub(crate) fn folder_with(agents: &[&str]) -> Option<PathBuf> {
    let folder = folder()?;
    let missing = agents.iter().find(|agent| !folder.join(agent).exists());
    let reason = match missing {
        None if is_isolated() => return Some(folder),
        None => "real agents run only without a network, as scripts/test-real-agents.sh does".to_owned(),
        Some(missing) => format!("{missing} is not installed, install with scripts/install-agents.sh"),
    };
    let named = env::var_os("AISWITCH_TEST_AGENTS");
    assert!(named.is_none(), "AISWITCH_TEST_AGENTS names {}, but {reason}", folder.display());
    // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
    drop(writeln!(io::stderr(), "skipped: {reason}"));
    None
}

/// Whether this process sees no network but loopback.
fn is_isolated() -> bool {
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let mut names = interfaces.lines().skip(2).filter_map(|line| line.split(':').next()).map(str::trim);
    names.by_ref().all(|name| name == "lo")
}

/// The folder in which the agents are looked for; `None` without a home to look in.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os("AISWITCH_TEST_AGENTS") {
        return Some(folder.into());
    }
    let in_home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(in_home)?;
    Some(cache.join("aiswitch/agents/node_modules/.bin"))
}

/// A `PATH` on which the agents, their node and the system's tools are found.
pub(crate) fn search_path() -> OsString {
    let system = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    env::join_paths(folder().into_iter().chain(system)).expect("no folder has a colon in its name")
}

/// The variables that lead every agent to one provider, and keep it from every other host.
pub(crate) fn variables(provider_url: &str) -> Vec<(&'static str, Value)> {
    let plain = |text: &str| Value::Plain(text.to_owned());
    vec![
        ("ANTHROPIC_BASE_URL", plain(provider_url)),
        ("ANTHROPIC_API_KEY", Value::Key),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", plain("1")),
        ("CLAUDE_CODE_MAX_RETRIES", plain("2")),
        ("DISABLE_AUTOUPDATER", plain("1")),
        ("DISABLE_ERROR_REPORTING", plain("1")),
        ("DISABLE_TELEMETRY", plain("1")),
        (KEY_VARIABLE, Value::Key),
        ("GOOGLE_GEMINI_BASE_URL", plain(provider_url)),
        ("GEMINI_API_KEY", Value::Key),
        ("GEMINI_CLI_NO_RELAUNCH", plain("true")),
        ("GEMINI_CLI_TRUST_WORKSPACE", plain("true")),
        ("OPENAI_BASE_URL", Value::Plain(format!("{provider_url}/v1"))),
        ("OPENAI_API_KEY", Value::Key),
        ("OPENAI_MODEL", plain("mock-model")),
        ("OPENCODE_DISABLE_AUTOUPDATE", plain("1")),
        ("OPENCODE_DISABLE_DEFAULT_PLUGINS", plain("1")),
        ("OPENCODE_DISABLE_LSP_DOWNLOAD", plain("1")),
        ("OPENCODE_DISABLE_MODELS_FETCH", plain("1")),
        ("OPENCODE_PURE", plain("1")),
        // opencode asks the registry for a plugin whatever its settings say; here it asks the mock.
        ("npm_config_registry", plain(provider_url)),
    ]
}

/// Writes the settings that some agents read from their home only.
pub(crate) fn write_settings(home: &Path, provider_url: &str) -> io::Result<()> {
    let gemini = json!({
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": false},
        "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false, "maxAttempts": 2},
        "model": {"name": "gemini-2.5-flash"},
    });
    let qwen = json!({
        "security": {"auth": {"selectedType": "openai"}},
        "privacy": {"usageStatisticsEnabled": false},
        "telemetry": {"enabled": false},
        "general": {"enableAutoUpdate": false},
    });
    let opencode = json!({
        "model": "mock/mock-model",
        "small_model": "mock/mock-model",
        "autoupdate": false,
        "share": "disabled",
        "enabled_providers": ["mock"],
        "permission": {"bash": "ask", "edit": "ask"},
        "provider": {"mock": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Mock",
            "options": {"baseURL": format!("{provider_url}/v1"), "apiKey": format!("{{env:{KEY_VARIABLE}}}")},
            "models": {"mock-model": {
                "name": "Mock",
                "limit": {"context": 100_000, "output": 8000},
                "cost": {"input": 3, "output": 15, "cache_read": 0.3},
            }},
        }},
    });
    for (file, text) in [
        (".codex/config.toml", CODEX_CONFIG.replace("URL", provider_url)),
        (".gemini/settings.json", gemini.to_string()),
        (".qwen/settings.json", qwen.to_string()),
        (".config/opencode/opencode.json", opencode.to_string()),
    ] {
        let file = home.join(file);
        let folder = file.parent().expect("every settings file is in a folder");
        fs::create_dir_all(folder)?;
        fs::write(file, text)?;
    }
    Ok(())
}
