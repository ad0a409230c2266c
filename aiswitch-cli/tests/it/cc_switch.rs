//! The providers of cc-switch are taken over from its database, and its keys can be taken out of that.

use std::fs;
use std::path::PathBuf;

use aiswitch_lock::rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{Shown, aiswitch, show};
use crate::sandbox::Sandbox;

const KIMI: &str = "sk-cc-switch-0123456789";
const GATEWAY: &str = "sk-cc-switch-gateway-42";
const GEMINI: &str = "AIza-cc-switch-9876543210";

/// The tables of cc-switch's schema 17 that hold keys.
const SCHEMA: &str = "
    CREATE TABLE providers (
        id TEXT NOT NULL, app_type TEXT NOT NULL, name TEXT NOT NULL, settings_config TEXT NOT NULL, website_url TEXT,
        category TEXT, created_at INTEGER, sort_index INTEGER, notes TEXT, icon TEXT, icon_color TEXT,
        meta TEXT NOT NULL DEFAULT '{}', is_current BOOLEAN NOT NULL DEFAULT 0,
        in_failover_queue BOOLEAN NOT NULL DEFAULT 0, PRIMARY KEY (id, app_type));
    CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE log (id INTEGER PRIMARY KEY, model TEXT);
    INSERT INTO log VALUES (1, 'kimi-k2');
    PRAGMA user_version = 17;";

fn codex(base_url: &str, wire_api: &str) -> String {
    format!(
        "model_provider = \"custom\"\nmodel = \"kimi-k2\"\n\n[model_providers.custom]\nname = \"x\"\n\
         base_url = \"{base_url}\"\nwire_api = \"{wire_api}\"\nrequires_openai_auth = true\n"
    )
}

/// Every kind of provider, as cc-switch 3 keeps them.
fn providers() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("claude", "Claude Official", json!({"env": {}})),
        (
            "claude",
            "Kimi",
            json!({"env": {"ANTHROPIC_BASE_URL": "https://api.moonshot.example/anthropic",
                "ANTHROPIC_AUTH_TOKEN": KIMI, "CLAUDE_CODE_MAX_CONTEXT_TOKENS": 262_144, "X": ""}, "model": "opus"}),
        ),
        ("claude", "not filled in", json!({"env": {"ANTHROPIC_AUTH_TOKEN": ""}})),
        (
            "codex",
            "Kimi",
            json!({"auth": {"OPENAI_API_KEY": GATEWAY}, "config": codex("https://g.example/v1", "responses")}),
        ),
        ("codex", "OpenAI Official", json!({"auth": {"tokens": {"access_token": "oauth"}}, "config": ""})),
        (
            "codex",
            "old",
            json!({"auth": {"OPENAI_API_KEY": "sk-cc-switch-chat"}, "config": codex("x", "chat")}),
        ),
        ("gemini", "智谱", json!({"env": {"GEMINI_API_KEY": GEMINI}, "config": {}})),
        ("opencode", "Kimi", json!({"options": {"apiKey": KIMI}})),
    ]
}

/// A home with a key, and cc-switch's database in it.
fn with_cc_switch(schema: &str, providers: &[(&str, &str, Value)]) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    let path = sandbox.home().join(".cc-switch/cc-switch.db");
    fs::create_dir_all(path.parent().unwrap().join("backups")).unwrap();
    let database = Connection::open(&path).unwrap();
    database.execute_batch(schema).unwrap();
    for (id, (app, name, settings)) in providers.iter().enumerate() {
        database
            .execute(
                "INSERT INTO providers (id, app_type, name, settings_config) VALUES (?1, ?2, ?3, ?4)",
                (id.to_string(), app, name, settings.to_string()),
            )
            .unwrap();
    }
    (sandbox, path)
}

fn import(sandbox: &Sandbox, more: &[&str]) -> Shown {
    let shown = show(sandbox, &[&["preset", "import"], more].concat());
    for secret in [KIMI, GATEWAY, GEMINI] {
        assert!(!shown.to_string().contains(secret), "{shown}");
    }
    shown
}

fn revealed(sandbox: &Sandbox, preset: &str, name: &str) -> String {
    show(sandbox, &["secrets", "get", preset, name, "--reveal"]).stdout
}

#[test]
fn every_provider_of_cc_switch_that_is_made_of_variables_becomes_a_preset() {
    let (sandbox, path) = with_cc_switch(SCHEMA, &providers());
    let before = fs::read(&path).unwrap();
    let dry = import(&sandbox, &["--from", "cc-switch", "--dry-run"]);
    assert_eq!(
        dry.stdout,
        "PRESET       WAS          STATE  VARIABLES  ENCRYPTS\n\
         kimi-claude  Kimi/claude  new    3          ANTHROPIC_AUTH_TOKEN\n\
         kimi-codex   Kimi/codex   new    2          CODEX_API_KEY\n\
         gemini       智谱/gemini  new    1          GEMINI_API_KEY\n",
        "{dry}"
    );
    let reasons: Vec<&str> = dry.stderr.lines().filter(|line| line.contains("not taken over")).collect();
    assert_eq!(
        reasons,
        [
            "note: `Claude Official/claude` is not taken over: it has no key",
            "note: `not filled in/claude` is not taken over: it has no key",
            "note: `OpenAI Official/codex` is not taken over: it has no key",
            "note: `old/codex` is not taken over: it does not speak the API that Codex speaks",
            "note: `Kimi/opencode` is not taken over: its settings are no variables",
        ]
    );
    let done = import(&sandbox, &["--from", "cc-switch"]);
    assert_eq!((done.code, &done.stdout), (Some(0), &dry.stdout), "{done}");
    assert!(fs::read(&path).unwrap() == before, "the database is only read");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "nothing is left beside it");
    assert_eq!(revealed(&sandbox, "kimi-claude", "ANTHROPIC_AUTH_TOKEN"), format!("{KIMI}\n"));
    assert_eq!(revealed(&sandbox, "kimi-codex", "CODEX_API_KEY"), format!("{GATEWAY}\n"));
    assert_eq!(revealed(&sandbox, "gemini", "GEMINI_API_KEY"), format!("{GEMINI}\n"));
    let text = fs::read_to_string(sandbox.aiswitch_home().join("config/presets.yaml")).unwrap();
    for part in [
        "description: \"Kimi; model kimi-k2\"",
        "OPENAI_BASE_URL: https://g.example/v1",
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS: \"262144\"",
        "智谱",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("sk-") && !text.contains("AIza") && !text.contains("X:"), "{text}");
    let again = import(&sandbox, &[path.to_str().unwrap(), "--json"]).json();
    assert_eq!((&again["written"], &again["presets"][0]["state"]), (&json!(false), &json!("same")));
}

#[test]
fn a_purge_takes_the_keys_out_of_the_database_and_its_copies_and_leaves_all_else() {
    let (sandbox, path) = with_cc_switch(SCHEMA, &providers());
    let database = Connection::open(&path).unwrap();
    let universal = json!({"apiKey": KIMI, "name": "Kimi"}).to_string();
    database.execute("INSERT INTO settings VALUES ('universal', ?1), ('deleted', ?1)", [&universal]).unwrap();
    database.execute("DELETE FROM settings WHERE key = 'deleted'", []).unwrap();
    drop(database);
    let copy = path.parent().unwrap().join("backups/db_backup_20260821_225547.db");
    fs::copy(&path, &copy).unwrap();
    let live = sandbox.home().join(".claude/settings.json");
    fs::create_dir_all(live.parent().unwrap()).unwrap();
    fs::write(&live, json!({"env": {"ANTHROPIC_AUTH_TOKEN": KIMI}}).to_string()).unwrap();
    assert!(import(&sandbox, &["--from", "cc-switch", "--purge"]).stderr.contains("--yes"));
    let purged = import(&sandbox, &["--from", "cc-switch", "--purge", "--yes", "--json"]);
    assert_eq!(purged.code, Some(0), "{purged}");
    assert_eq!(purged.json()["also_in"], json!([live]), "{purged}");
    assert!(purged.stderr.contains("settings.json holds one in clear too"), "{purged}");
    for name in [&path, &copy] {
        let bytes = fs::read(name).unwrap();
        for secret in [KIMI, GATEWAY, GEMINI] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{name:?}");
        }
        let database = Connection::open(name).unwrap();
        let ask = |query: &str| database.query_row(query, [], |row| row.get::<_, String>(0)).unwrap();
        assert_eq!(ask("PRAGMA integrity_check"), "ok");
        let kimi: Value =
            serde_json::from_str(&ask("SELECT settings_config FROM providers WHERE id = '1'")).unwrap();
        assert_eq!(kimi["env"]["ANTHROPIC_AUTH_TOKEN"], "");
        assert_eq!(kimi["env"]["ANTHROPIC_BASE_URL"], "https://api.moonshot.example/anthropic");
        assert_eq!(ask("SELECT model FROM log"), "kimi-k2");
        assert_eq!(ask("SELECT value FROM settings"), json!({"apiKey": "", "name": "Kimi"}).to_string());
    }
    let below = format!("{}/", path.parent().unwrap().display());
    let leaks = Shown::from(aiswitch(&sandbox, &["leak-check", &below]).output().unwrap());
    assert_eq!(leaks.code, Some(0), "{leaks}");
    let journals = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(journals.filter(|name| name.to_string_lossy().contains("journal")).count(), 0);
    let again = import(&sandbox, &["--from", "cc-switch"]);
    assert!(again.stderr.contains("note: `Kimi/claude` is not taken over: it has no key\n"), "{again}");
    assert!(again.stderr.contains("error: no presets are found there\n"), "{again}");
    assert_eq!(revealed(&sandbox, "kimi-claude", "ANTHROPIC_AUTH_TOKEN"), format!("{KIMI}\n"));
}

#[test]
fn a_database_that_is_none_of_cc_switch_or_is_damaged_or_in_use_is_named_and_nothing_changes() {
    let oldest = "CREATE TABLE providers (id TEXT NOT NULL, app_type TEXT NOT NULL, name TEXT NOT NULL,
        settings_config TEXT NOT NULL, website_url TEXT, PRIMARY KEY (id, app_type))";
    let (sandbox, path) = with_cc_switch(oldest, &providers()[1..2]);
    assert!(import(&sandbox, &["--from", "cc-switch", "--dry-run"]).stdout.contains("kimi-claude"));
    let refused = |text: &str, expected: &[&str]| {
        let shown = import(&sandbox, &["--from", "cc-switch", "--purge", "--yes"]);
        assert_eq!(shown.code, Some(2), "{text}: {shown}");
        for part in expected {
            assert!(shown.stderr.contains(part), "{text}: {shown}");
        }
        assert!(!sandbox.aiswitch_home().join("config/presets.yaml").exists(), "{text}");
    };
    let database = Connection::open(&path).unwrap();
    for (text, expected) in [
        ("{", "provider `Kimi` of"),
        ("{\"env\": {\"A_KEY\": \"sk-0123456789\", \"LD_PRELOAD\": \"x\"}}", "foreign code"),
    ] {
        database.execute("UPDATE providers SET settings_config = ?1", [text]).unwrap();
        refused(text, &[expected]);
    }
    database.execute("UPDATE providers SET settings_config = ?1", ["{\"env\": {\"A_KEY\": [1]}}"]).unwrap();
    assert!(import(&sandbox, &["--from", "cc-switch"]).stderr.contains("no presets are found there"));
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    refused("in use", &["cannot be used as a database of cc-switch", "hint: end cc-switch, which uses it"]);
    database.execute_batch("COMMIT; ALTER TABLE providers RENAME TO other").unwrap();
    refused("another", &["cannot be used as a database of cc-switch", "no such table: providers"]);
    drop(database);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused("cut", &["cannot be used as a database of cc-switch"]);
}
