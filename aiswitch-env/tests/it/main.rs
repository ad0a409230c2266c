//! Environments and presets, as their users see them.
#![cfg(test)]

mod fuzz;
mod fuzz_bodies;
mod keyring;
mod redact;
#[cfg(feature = "age")]
mod seal;
mod snapshot;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aiswitch_env::{
    Ambient, DataKeys, EnvError, Environment, FlatPreset, Origin, Preset, PresetName, Secret,
};

fn ambient(vars: &[(&str, &str)]) -> Ambient {
    Ambient::from_vars(vars.iter().map(|(name, value)| (name.into(), value.into())))
}

fn preset(json: &str) -> Preset {
    serde_json::from_str(json).unwrap()
}

fn flat(json: &str) -> FlatPreset {
    let name: PresetName = "work".parse().unwrap();
    FlatPreset::new(&BTreeMap::from([(name.clone(), preset(json))]), &name, &[]).unwrap()
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
    let variables =
        flat(r#"{"variables": {"B_KEY": "env:MINE"}}"#).resolve(&ambient, &DataKeys::default()).unwrap();
    let environment = Environment::compose(&ambient, &["A_KEY"], Some(variables)).unwrap();
    assert_eq!(names(&environment), ["B_KEY"]);
    assert_eq!(environment.get("B_KEY"), Some(&Secret::new("mmmmmmmmmm")));
}

#[test]
fn each_bad_variable_is_named_with_its_reason() {
    let check = |json: &str, expected: &str| {
        let error = flat(json).resolve(&ambient(&[]), &DataKeys::default()).unwrap_err();
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
    let variables = flat(&json).resolve(&ambient(&[]), &DataKeys::default()).unwrap();
    assert_eq!(variables["A_KEY"].value, Secret::new("sk-from-file\n"));
}

#[test]
fn a_file_that_others_could_change_gives_no_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "sk-from-file").unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let reason = |path: &Path| {
        let json = format!(r#"{{"variables": {{"A_KEY": "file:{}"}}}}"#, path.display());
        let resolved = flat(&json).resolve(&ambient(&[]), &DataKeys::default());
        resolved.err().map(|error| error.source().unwrap().to_string())
    };
    for (mode, expected) in [
        (0o600, None),
        (0o644, None),
        (0o620, Some("others could change it: chmod go-w")),
        (0o602, Some("others could change it: chmod go-w")),
    ] {
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(reason(&path).as_deref(), expected, "{mode:o}");
        assert_eq!(reason(&link).as_deref(), expected, "a link to {mode:o}");
    }
    assert_eq!(reason(dir.path()).as_deref(), Some("it is not a regular file"));
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

/// The variables of the preset `c` of these, for an agent; or what is wrong.
fn variables(json: &str, agent: &[&str]) -> Result<Vec<(String, String)>, String> {
    let presets: BTreeMap<PresetName, Preset> = serde_json::from_str(json).unwrap();
    let flat = FlatPreset::new(&presets, &"c".parse().unwrap(), agent).map_err(|error| error.to_string())?;
    Ok(flat
        .iter()
        .map(|(name, value)| (name.to_owned(), format!("{}:{}", value.preset, value.source.written())))
        .collect())
}

#[test]
fn a_preset_starts_from_its_parent_and_an_agent_from_both() {
    let json = r#"{
        "a": {"variables": {"X": "1", "Y": "1", "Z": "1"}, "agents": {"claude": {"Z": "2"}}},
        "b": {"extends": "a", "variables": {"Y": "3"}},
        "c": {"extends": "b", "variables": {"W": "4"}, "agents": {"claude": {"W": "5"}, "codex": {"W": "6"}}}
    }"#;
    let of = |agent: &[&str]| {
        variables(json, agent).unwrap().into_iter().map(|(n, v)| n + "=" + &v).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(&[]), "W=c:4 X=a:1 Y=b:3 Z=a:1");
    assert_eq!(of(&["claude"]), "W=c:5 X=a:1 Y=b:3 Z=a:2");
    assert_eq!(of(&["gemini"]), of(&[]));
}

#[test]
fn a_line_of_parents_that_does_not_end_is_named() {
    for (json, expected) in [
        (r#"{"c": {"extends": "c"}}"#, "preset `c` extends itself"),
        (
            r#"{"a": {"extends": "b"}, "b": {"extends": "a"}, "c": {"extends": "a"}}"#,
            "preset `a` extends itself",
        ),
        (r#"{"c": {"extends": "d"}}"#, "preset `c` extends `d`, which is not known"),
        ("{}", "preset `c` is not known"),
    ] {
        assert_eq!(variables(json, &[]).unwrap_err(), expected);
    }
}
