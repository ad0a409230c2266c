//! Snapshots: what they hold, and that damage shows.

use std::collections::BTreeMap;

use aiswitch_env::{DataKeys, EnvError, EnvSnapshot, FlatPreset, PresetName, Secret};
use proptest::prelude::*;

use crate::{ambient, preset};

fn flat() -> (PresetName, FlatPreset) {
    let (base, work): (PresetName, PresetName) = ("base".parse().unwrap(), "work".parse().unwrap());
    let presets = BTreeMap::from([
        (base.clone(), preset(r#"{"variables": {"HOST_BASE_URL": "https://a.example", "B": "1"}}"#)),
        (
            work.clone(),
            preset(r#"{"extends": "base", "variables": {"A_KEY": "env:MINE", "S_KEY": "ENC[v1,xxxx]"}}"#),
        ),
    ]);
    let flat = FlatPreset::new(&presets, &work, &[]).unwrap();
    (work, flat)
}

fn snapshot() -> EnvSnapshot {
    let (name, flat) = flat();
    let at = "2026-11-23T10:00:00.123Z".parse().unwrap();
    EnvSnapshot::new("claude", at, Some((&name, &flat)), Some("s1".into())).unwrap()
}

#[test]
fn a_snapshot_holds_references_and_gives_the_same_preset_back() {
    let snapshot = snapshot();
    let values: Vec<_> = snapshot.variables.values().map(|value| value.value.as_str()).collect();
    assert_eq!(values, ["env:MINE", "1", "https://a.example", "ENC[v1,xxxx]"]);
    let owners: Vec<_> = snapshot.variables.values().map(|value| value.preset.as_ref()).collect();
    assert_eq!(owners, ["work", "base", "base", "work"]);
    let text = serde_json::to_string(&snapshot).unwrap();
    let read: EnvSnapshot = serde_json::from_str(&text).unwrap();
    assert_eq!(read, snapshot);
    let (name, back) = read.preset().unwrap().unwrap();
    assert_eq!((name.as_ref(), &back), ("work", &flat().1));
}

#[test]
fn a_snapshot_without_a_preset_says_so() {
    let at = "2026-11-23T10:00:00Z".parse().unwrap();
    let snapshot = EnvSnapshot::new("claude", at, None, None).unwrap();
    assert_eq!(snapshot.preset().unwrap(), None);
    assert!(snapshot.variables.is_empty());
}

#[test]
fn a_secret_in_clear_is_kept_in_no_snapshot() {
    for json in [
        r#"{"variables": {"A_KEY": "hunter2hunter2"}}"#,
        r#"{"variables": {"ANYTHING": "sk-0123456789"}}"#,
        r#"{"variables": {"X_BASE_URL": "https://me:pass@host"}}"#,
    ] {
        let name: PresetName = "work".parse().unwrap();
        let flat = FlatPreset::new(&BTreeMap::from([(name.clone(), preset(json))]), &name, &[]).unwrap();
        let refused = EnvSnapshot::new("a", chrono::DateTime::UNIX_EPOCH, Some((&name, &flat)), None);
        assert!(matches!(refused, Err(EnvError::ClearSecret { .. })), "{json}: {refused:?}");
    }
}

#[test]
fn an_encrypted_value_opens_from_a_snapshot_as_from_its_preset() {
    let (name, key) = ("work".parse::<PresetName>().unwrap(), aiswitch_env::DataKey::generate());
    let place = aiswitch_env::Place { preset: &name, name: "A_KEY", audience: "" };
    let sealed = key.seal(&Secret::new("sk-0123456789"), place);
    let json = format!(r#"{{"variables": {{"A_KEY": "{sealed}"}}}}"#);
    let flat = FlatPreset::new(&BTreeMap::from([(name.clone(), preset(&json))]), &name, &[]).unwrap();
    let at = chrono::DateTime::UNIX_EPOCH;
    let snapshot = EnvSnapshot::new("a", at, Some((&name, &flat)), None).unwrap();
    let (_, back) = snapshot.preset().unwrap().unwrap();
    let values = back.resolve(&ambient(&[]), &DataKeys::new(vec![key])).unwrap();
    assert_eq!(values["A_KEY"].value, Secret::new("sk-0123456789"));
}

proptest! {
    #[test]
    fn any_change_of_a_snapshot_shows(at in 0_usize..600, with in prop::char::range('!', '~')) {
        let text = serde_json::to_string(&snapshot()).unwrap();
        let at = at % text.len();
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
        // What is no snapshot any more shows as well.
        let Ok(read) = serde_json::from_str::<EnvSnapshot>(&changed) else { return Ok(()) };
        prop_assert!(read == snapshot_of(&text) || read.preset().is_err(), "{}", changed);
    }
}

fn snapshot_of(text: &str) -> EnvSnapshot {
    serde_json::from_str(text).unwrap()
}
