//! Encrypted values open where they stand, and nowhere else.

use std::collections::BTreeMap;

use aiswitch_env::{
    Ambient, DataKey, DataKeys, EnvError, FlatPreset, Identity, Place, Preset, PresetName, Recipient, Secret,
};
use proptest::prelude::*;

fn work() -> PresetName {
    "work".parse().unwrap()
}

fn flat(json: &serde_json::Value) -> FlatPreset {
    let preset: Preset = serde_json::from_value(json.clone()).unwrap();
    FlatPreset::new(&BTreeMap::from([(work(), preset)]), &work(), &[]).unwrap()
}

fn keys() -> DataKeys {
    DataKeys::new(vec![DataKey::generate()])
}

fn sealed(keys: &DataKeys, place: Place<'_>) -> String {
    keys.newest().unwrap().seal(&Secret::new("sk-0123456789"), place)
}

#[test]
fn a_value_opens_in_its_place_and_in_no_other() {
    let (keys, work, home) = (keys(), work(), "home".parse::<PresetName>().unwrap());
    let place = Place { preset: &work, name: "A_KEY", audience: "https://a.example" };
    let value = sealed(&keys, place);
    assert!(value.starts_with("ENC[v1,") && value.ends_with(']') && !value.contains("sk-"), "{value}");
    assert_eq!(keys.open(&value, place).unwrap(), Secret::new("sk-0123456789"));
    assert_ne!(value, sealed(&keys, place), "two encryptions of one value must differ");
    for elsewhere in [
        Place { preset: &home, ..place },
        Place { name: "B_KEY", ..place },
        Place { audience: "https://b.example", ..place },
        Place { audience: "", ..place },
    ] {
        let error = keys.open(&value, elsewhere).unwrap_err();
        assert!(matches!(error, EnvError::SealRefused { .. }), "{elsewhere:?}: {error}");
    }
    assert!(matches!(self::keys().open(&value, place), Err(EnvError::SealRefused { .. })));
    assert!(matches!(DataKeys::default().open(&value, place), Err(EnvError::NoKey { .. })));
}

#[test]
fn a_changed_base_url_keeps_a_preset_from_giving_its_key_away() {
    let (keys, work, ambient) = (keys(), work(), Ambient::default());
    let preset =
        |url: &str, value: &str| flat(&serde_json::json!({"variables": {"A_BASE_URL": url, "A_KEY": value}}));
    let url = "https://gateway.example.com/v1";
    let audience = preset(url, "").audience(&ambient);
    assert_eq!(audience, "https://gateway.example.com");
    let value = sealed(&keys, Place { preset: &work, name: "A_KEY", audience: &audience });
    for same in [url, "https://GATEWAY.example.com/v2?x=1#y", "https://me:pw@gateway.example.com"] {
        let variables = preset(same, &value).resolve(&ambient, &keys).unwrap();
        assert!(variables["A_KEY"].secret);
        assert_eq!(variables["A_KEY"].value, Secret::new("sk-0123456789"), "{same}");
    }
    for other in [
        "https://evil.example",
        "http://gateway.example.com",
        "https://gateway.example.com:8443",
        "https://gateway.example.com.evil.example",
        "https://gateway.example.com@evil.example",
        "https://evil.example\\@gateway.example.com",
        "env:NOT_SET",
    ] {
        let refused = preset(other, &value).resolve(&ambient, &keys);
        assert!(refused.is_err(), "{other}");
    }
    // One host more is a host that the key was not meant for.
    let two = flat(&serde_json::json!({"variables": {
        "A_BASE_URL": url, "A_KEY": value, "B_BASE_URL": "https://evil.example"
    }}));
    assert!(matches!(two.resolve(&ambient, &keys), Err(EnvError::SealRefused { .. })));
}

#[test]
fn every_changed_byte_of_an_encrypted_value_is_noticed() {
    let (keys, work) = (keys(), work());
    let place = Place { preset: &work, name: "A_KEY", audience: "" };
    let value = sealed(&keys, place);
    for at in 0..value.len() {
        let mut bytes = value.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(keys.open(std::str::from_utf8(&bytes).unwrap(), place).is_err(), "byte {at}");
        assert!(keys.open(&value[..at], place).is_err(), "cut at {at}");
    }
    let other = value.replacen("v1", "v2", 1);
    assert!(matches!(keys.open(&other, place), Err(EnvError::SealVersion { .. })));
}

proptest! {
    #[test]
    fn no_text_makes_the_value_parser_fail_otherwise_than_by_an_error(text in "(ENC\\[(v[0-9],?)?)?[A-Za-z0-9+/=,]{0,80}\\]?|.{0,40}") {
        let (keys, work) = (keys(), work());
        let place = Place { preset: &work, name: "A", audience: "" };
        prop_assert!(keys.open(&text, place).is_err());
        let preset = flat(&serde_json::json!({"variables": {"A": text, "A_BASE_URL": text}}));
        drop(preset.resolve(&Ambient::default(), &keys));
    }

    #[test]
    fn every_value_comes_back_as_it_was(value in any::<String>(), audience in "[^\0]{0,20}") {
        let (keys, work) = (keys(), work());
        let place = Place { preset: &work, name: "A", audience: &audience };
        let sealed = keys.newest().unwrap().seal(&Secret::new(value.as_str()), place);
        prop_assert_eq!(keys.open(&sealed, place).unwrap(), Secret::new(value));
    }
}

#[test]
fn data_keys_open_for_each_recipient_and_for_nobody_else() {
    let (mine, spare, foreign) = (Identity::generate(), Identity::generate(), Identity::generate());
    let list = format!("# mine\n{}\n\n{}\n", mine.recipient(), spare.recipient());
    let recipients = Recipient::read_all(&list).unwrap();
    let keys = DataKeys::new(vec![DataKey::generate(), DataKey::generate()]);
    let wrapped = keys.wrap(&recipients).unwrap();
    assert!(wrapped.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{wrapped}");
    assert_eq!(mine.unwrap_keys(&wrapped).unwrap(), keys);
    assert_eq!(spare.unwrap_keys(&wrapped).unwrap(), keys);
    assert!(matches!(foreign.unwrap_keys(&wrapped), Err(EnvError::KeyRefused { .. })));
    assert!(matches!(mine.unwrap_keys(&wrapped[..wrapped.len() / 2]), Err(EnvError::KeyRefused { .. })));
    assert!(matches!(mine.unwrap_keys(""), Err(EnvError::KeyRefused { .. })));
    assert!(matches!(keys.wrap(&[]), Err(EnvError::NoRecipients)));
    assert!(matches!(Recipient::read_all("# nobody\n"), Err(EnvError::NoRecipients)));
    let error = Recipient::read_all("ssh-ed25519 AAAA\n").unwrap_err().to_string();
    assert!(error.starts_with("`ssh-ed25519 AAAA` is no recipient"), "{error}");
}

#[test]
fn an_identity_opens_with_its_passphrase_alone() {
    let identity = Identity::generate();
    let plain = identity.write(None).unwrap();
    assert!(!Identity::needs_passphrase(&plain));
    let same = Identity::read(&plain, None).unwrap();
    assert_eq!(same.recipient().to_string(), identity.recipient().to_string());

    let locked = identity.write(Some(&Secret::new("correct horse"))).unwrap();
    assert!(Identity::needs_passphrase(&locked) && !locked.contains("AGE-SECRET"));
    let opened = Identity::read(&locked, Some(&Secret::new("correct horse"))).unwrap();
    assert_eq!(opened.recipient().to_string(), identity.recipient().to_string());
    assert!(matches!(Identity::read(&locked, None), Err(EnvError::PassphraseMissing)));
    let wrong = Identity::read(&locked, Some(&Secret::new("wrong horse")));
    assert!(matches!(wrong, Err(EnvError::PassphraseWrong { .. })));
    assert!(matches!(Identity::read("hello", None), Err(EnvError::IdentityDamaged)));
    assert!(!format!("{identity:?}").contains("SECRET"));
}
