//! The providers of cc-switch: the rows of its SQLite database.
//!
//! The forms are those of its schema, versions 1 to 17 (`src-tauri/src/database` of <https://github.com/farion1231/cc-switch>).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiswitch_coordinator::Preset;
use aiswitch_env::{SECRET_BYTES_MIN, Secret, ValueSource};
use aiswitch_lock::rusqlite::{self, Connection, OpenFlags};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{ClearCopy, Foreign, Found, PassedOver, overwrite};
use crate::error::Error;

/// The file that holds the providers, in a folder of its own in the user's home.
const DATABASE: &str = ".cc-switch/cc-switch.db";

/// What every file of SQLite starts with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How long a running cc-switch is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most providers that are read.
const PROVIDERS_MAX: usize = 10_000;

/// The longest settings of a provider that are read, in bytes.
const SETTINGS_BYTES_MAX: u32 = 1024 * 1024;

/// The files that agents read what cc-switch gives them from, in the user's home.
const LIVE_FILES: &[&str] = &[
    ".claude/settings.json",
    ".codex/auth.json",
    ".codex/config.toml",
    ".gemini/.env",
    ".config/opencode/opencode.json",
    ".cc-switch/settings.json",
    ".cc-switch/config.json",
    ".cc-switch/config.json.bak",
    ".cc-switch/config.json.migrated",
];

/// What of Codex's own `config.toml` says where it is led.
#[derive(Default, Deserialize)]
struct CodexConfig {
    model: Option<String>,
    model_provider: Option<String>,
    #[serde(default)]
    model_providers: BTreeMap<String, CodexProvider>,
}

#[derive(Deserialize)]
struct CodexProvider {
    base_url: Option<String>,
    wire_api: Option<String>,
    experimental_bearer_token: Option<String>,
}

/// Where cc-switch keeps its providers, if it does.
pub(crate) fn database(user: &Path) -> Option<PathBuf> {
    Some(user.join(DATABASE)).filter(|path| path.is_file())
}

/// The files that may hold what cc-switch has given to agents.
pub(crate) fn live_files(user: &Path) -> impl Iterator<Item = PathBuf> {
    LIVE_FILES.iter().map(|file| user.join(file)).filter(|path| path.is_file())
}

/// Whether a file is a database of SQLite.
///
/// # Errors
/// It cannot be read.
pub(super) fn is_database(path: &Path) -> Result<bool, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let mut start = Vec::new();
    File::open(path).map_err(unreadable)?.take(16).read_to_end(&mut start).map_err(unreadable)?;
    Ok(start == MAGIC)
}

/// Reads the database, and changes nothing of it.
///
/// # Errors
/// It cannot be read, or is none of cc-switch.
pub(super) fn read(path: &Path) -> Result<Found, Error> {
    let unread = |source| Error::ForeignDatabase { path: path.to_owned(), source };
    let rows = rows(path).map_err(unread)?;
    if rows.len() > PROVIDERS_MAX {
        let place = format!("{}, with more than {PROVIDERS_MAX} providers", path.display());
        return Err(Error::ForeignForm { place });
    }
    let mut found = Found::default();
    for (app, name, settings) in rows {
        let wrong = || Error::ForeignForm { place: format!("provider `{name}` of {}", path.display()) };
        let settings = settings.and_then(|text| serde_json::from_str(&text).ok()).ok_or_else(wrong)?;
        let (note, values) = match variables(&app, &settings) {
            Ok(taken) => taken,
            Err(reason) => {
                found.passed_over.push(PassedOver { name: format!("{name}/{app}"), reason });
                continue;
            }
        };
        let description = [name.as_str()].into_iter().chain(note.as_deref()).collect::<Vec<_>>().join("; ");
        let preset = Preset { description: Some(description), tags: vec![app.clone()], ..Preset::default() };
        let copy = ClearCopy::Database(path.to_owned());
        let mut foreign = Foreign::in_clear(format!("{name}/{app}"), preset, values, copy)?;
        foreign.copies.extend(backups(path));
        found.presets.push(foreign);
    }
    Ok(found)
}

/// App, name and settings of every provider, one more than the most; no settings where those are too long.
fn rows(path: &Path) -> rusqlite::Result<Vec<(String, String, Option<String>)>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags)?;
    let mut select = connection.prepare(
        "SELECT app_type, name, CASE WHEN length(CAST(settings_config AS BLOB)) <= ?1 THEN settings_config END
         FROM providers ORDER BY app_type, name, id",
    )?;
    select
        .query_map([SETTINGS_BYTES_MAX], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .take(PROVIDERS_MAX + 1)
        .collect()
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The file may come from anybody: nothing that its schema says is run.
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// What a provider says in variables, and what it says beside them; or why it is passed over.
fn variables(
    app: &str,
    settings: &Value,
) -> Result<(Option<String>, BTreeMap<String, Secret>), &'static str> {
    let (note, values) = match app {
        "claude" | "gemini" => (None, env(&settings["env"])?),
        "codex" => codex(settings)?,
        _ => return Err("its settings are no variables"),
    };
    let has_key = values.iter().any(|(name, value)| ValueSource::in_clear(name, value).is_none());
    if has_key { Ok((note, values)) } else { Err("it has no key") }
}

/// The variables of an object, without those that are empty, as cc-switch has them until they are filled in.
fn env(env: &Value) -> Result<BTreeMap<String, Secret>, &'static str> {
    let none = Map::new();
    let mut values = BTreeMap::new();
    for (name, value) in env.as_object().unwrap_or(&none) {
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => return Err("one of its variables is no text"),
        };
        if !text.is_empty() {
            values.insert(name.clone(), Secret::new(text));
        }
    }
    Ok(values)
}

/// The key of `auth.json`, and the base URL of the provider that `config.toml` names.
fn codex(settings: &Value) -> Result<(Option<String>, BTreeMap<String, Secret>), &'static str> {
    let text = settings["config"].as_str().unwrap_or_default();
    let mut config: CodexConfig =
        basic_toml::from_str(text).ok().ok_or("its config.toml is not understood")?;
    let provider = config.model_provider.and_then(|name| config.model_providers.remove(&name));
    if provider
        .as_ref()
        .and_then(|provider| provider.wire_api.as_deref())
        .is_some_and(|api| api != "responses")
    {
        return Err("it does not speak the API that Codex speaks");
    }
    let (base_url, bearer) =
        provider.map_or((None, None), |provider| (provider.base_url, provider.experimental_bearer_token));
    let key = settings["auth"]["OPENAI_API_KEY"].as_str().filter(|key| !key.is_empty()).map(str::to_owned);
    let named = [("CODEX_API_KEY", key.or(bearer)), ("OPENAI_BASE_URL", base_url)];
    let values =
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Secret::new(value?)))).collect();
    Ok((config.model.map(|model| format!("model {model}")), values))
}

/// The copies that cc-switch itself has made of its database.
fn backups(path: &Path) -> Vec<ClearCopy> {
    let entries =
        path.parent().map(|folder| folder.join("backups")).and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    paths.filter(|path| is_database(path).unwrap_or(false)).map(ClearCopy::Database).collect()
}

/// Takes values out of every text of a database, and leaves nothing of them in its file.
///
/// # Errors
/// It cannot be written, or is in use.
pub(super) fn blank(path: &Path, values: &[&Secret]) -> Result<(), Error> {
    let unwritten = |source| Error::ForeignDatabase { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(path, flags).map_err(unwritten)?;
    blank_all(&connection, values).map_err(unwritten)?;
    // Nobody else uses it while this connection holds its lock; what the change began from stands in there.
    let mut journal = path.as_os_str().to_owned();
    journal.push("-journal");
    let journal = PathBuf::from(journal);
    if journal.is_file() {
        overwrite(&journal)
            .and_then(|()| fs::remove_file(&journal))
            .map_err(|source| Error::Unreadable { path: journal, source })?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "what is taken out of a file must be looked for in it")]
fn blank_all(connection: &Connection, values: &[&Secret]) -> rusqlite::Result<()> {
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "journal_mode", "PERSIST")?;
    let mut columns = connection.prepare(
        "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND t.sql NOT LIKE 'CREATE VIRTUAL%'",
    )?;
    let columns: Vec<(String, String)> =
        columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let transaction = connection.unchecked_transaction()?;
    for (table, column) in columns {
        let [table, column] = [table, column].map(|name| format!("\"{}\"", name.replace('"', "\"\"")));
        let mut update = transaction.prepare(&format!(
            "UPDATE {table} SET {column} = replace({column}, ?1, ?2)
             WHERE typeof({column}) = 'text' AND instr({column}, ?1) > 0"
        ))?;
        for value in values {
            // A short one could be a part of any word.
            let (old, new) = match value.expose() {
                value if value.len() >= SECRET_BYTES_MIN => (value.to_owned(), ""),
                value => (format!("\"{value}\""), "\"\""),
            };
            update.execute([old.as_str(), new])?;
        }
    }
    transaction.commit()?;
    // Pages that are free may hold what was deleted before.
    connection.execute_batch("VACUUM")
}
