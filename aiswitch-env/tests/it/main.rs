//! Environments and presets, as their users see them.
#![cfg(test)]

mod redact;
#[cfg(feature = "age")]
mod seal;

use aiswitch_env::{Ambient, DataKeys, EnvError, Environment, Origin, Preset, PresetName, Secret};

fn ambient(vars: &[(&str, &str)]) -> Ambient {
    Ambient::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
}

fn preset(json: &str) -> Preset {
    serde_json::from_str(json).unwrap()
}

fn name() -> PresetName {
    "work".parse().unwrap()
}

fn names(environment: &Environment) -> Vec<&str> {
    environment.iter().map(|(name, _)| name).collect()
}

#[test]
fn a_child_is_given_the_allow_list_and_nothing_else() {
    let ambient = ambient(&[
        ("PATH", "/bin"),
        ("LC_ALL", "C"),
        ("LD_PRELOAD", "x.so"),
        ("HTTPS_PROXY", "http://elsewhere"),
        ("OPENAI_API_KEY", "sk-openai-openai"),
    ]);
    assert_eq!(names(&Environment::compose(&ambient, &[], None).unwrap()), ["LC_ALL", "PATH"]);
}

#[test]
fn a_declared_credential_reaches_its_own_agent_only() {
    let ambient = ambient(&[("A_KEY", "aaaaaaaaaa"), ("B_KEY", "bbbbbbbbbb")]);
    let environment = Environment::compose(&ambient, &["A_KEY"], None).unwrap();
    let all: Vec<_> = environment.iter().map(|(name, v)| (name, v.origin, v.secret)).collect();
    assert_eq!(all, [("A_KEY", Origin::Credential, true)]);
}

#[test]
fn with_a_preset_the_callers_credentials_stay_out() {
    let ambient = ambient(&[("A_KEY", "aaaaaaaaaa"), ("MINE", "mmmmmmmmmm")]);
    let variables = preset(r#"{"variables": {"B_KEY": "env:MINE"}}"#)
        .resolve(&name(), &ambient, &DataKeys::default())
        .unwrap();
    let environment = Environment::compose(&ambient, &["A_KEY"], Some(variables)).unwrap();
    assert_eq!(names(&environment), ["B_KEY"]);
    assert_eq!(environment.get("B_KEY"), Some(&Secret::new("mmmmmmmmmm")));
}

#[test]
fn each_bad_variable_is_named_with_its_reason() {
    let check = |json: &str, expected: &str| {
        let error = preset(json).resolve(&name(), &ambient(&[]), &DataKeys::default()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{json}");
    };
    check(
        r#"{"variables": {"A": "env:NOPE"}}"#,
        "variable `A` of preset `work` wants `NOPE` of the caller's environment, which is not set",
    );
    check(r#"{"variables": {"A": "file:/nope"}}"#, "variable `A` of preset `work` wants the file `/nope`");
    check(
        r#"{"variables": {"API_KEY": "sk-1"}}"#,
        "variable `API_KEY` of preset `work` holds a secret in clear",
    );
    check(
        r#"{"variables": {"LD_PRELOAD": "x"}}"#,
        "variable `LD_PRELOAD` of preset `work` can make an agent run foreign code and is refused",
    );
    check(
        r#"{"variables": {"A=B": "x"}}"#,
        "variable name `A=B` of preset `work` is empty or holds `=` or NUL",
    );
    check(
        r#"{"variables": {"A": "a\u0000b"}}"#,
        "the value of variable `A` holds a NUL byte or is not UTF-8",
    );
    check(
        r#"{"variables": {"A": "ENC[v1,x]"}}"#,
        "variable `A` of preset `work` holds an encrypted value that is damaged",
    );
}

#[test]
fn a_file_value_loses_its_last_line_feed_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "sk-from-file\n\n").unwrap();
    let json = format!(r#"{{"variables": {{"A_KEY": "file:{}"}}}}"#, path.display());
    let variables = preset(&json).resolve(&name(), &ambient(&[]), &DataKeys::default()).unwrap();
    assert_eq!(variables["A_KEY"].value, Secret::new("sk-from-file\n"));
}

#[test]
fn a_name_outside_the_rule_is_refused_where_it_is_read() {
    for bad in ["", "Work", "a b", "../x", "-a", &"a".repeat(65)] {
        assert!(matches!(bad.parse::<PresetName>(), Err(EnvError::PresetName { .. })), "{bad}");
    }
    assert_eq!("gemini-work_2".parse::<PresetName>().unwrap().to_string(), "gemini-work_2");
}

#[test]
fn a_secret_shows_in_no_debug_output_and_is_masked_in_text() {
    let ambient = ambient(&[("A_KEY", "sk-longer-secret"), ("B_KEY", "sk-longer"), ("C_KEY", "short")]);
    let environment = Environment::compose(&ambient, &["A_KEY", "B_KEY", "C_KEY"], None).unwrap();
    let shown = format!("{environment:?} {ambient:?} {:?}", preset(r#"{"variables": {"A": "plain-text"}}"#));
    for value in ["sk-longer", "short", "plain-text"] {
        assert!(!shown.contains(value), "{shown}");
    }
    assert_eq!(
        environment.redactor().redact("sk-longer-secret and sk-longer, short"),
        "[REDACTED] and [REDACTED], short"
    );
}
