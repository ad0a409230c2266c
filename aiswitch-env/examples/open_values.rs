//! How long an encrypted value, and a preset of twenty, takes to open; beside it, the cipher alone.
//!
//! `cargo run --release -p aiswitch-env --example open_values`
#![expect(clippy::print_stdout, reason = "the figures are what the example is for")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use aiswitch_env::{
    Ambient, DataKey, DataKeys, EnvError, FlatPreset, KEY_BYTES, Place, Preset, PresetName, Secret,
    ValueSource,
};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

const VALUES: u32 = 20;
const ROUNDS: u32 = 5_000;

fn main() -> Result<(), EnvError> {
    let (name, ambient): (PresetName, _) = ("work".parse()?, Ambient::default());
    let keys = DataKeys::new(vec![DataKey::generate()]);
    let mut preset = Preset::default();
    let url = String::from("https://gateway.example.com/v1");
    preset.variables.insert("A_BASE_URL".into(), url.into());
    let flat =
        |preset: &Preset| FlatPreset::new(&BTreeMap::from([(name.clone(), preset.clone())]), &name, &[]);
    let audience = flat(&preset)?.audience(&ambient);
    for index in 0..VALUES {
        let variable = format!("KEY_{index}");
        let place = Place { preset: &name, name: &variable, audience: &audience };
        let key = keys.newest().expect("there is one");
        let sealed = key.seal(&Secret::new("sk-ant-api03-".repeat(8)), place);
        preset.variables.insert(variable, ValueSource::Encrypted(sealed));
    }
    let preset = flat(&preset)?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(preset.resolve(&ambient, &keys)?);
    }
    let each = start.elapsed() / ROUNDS;
    println!("a preset of {VALUES} values: {each:?}; a value: {:?}", each / VALUES);
    cipher();
    Ok(())
}

/// What no opening can be faster than: the cipher on as many bytes.
fn cipher() {
    let cipher = XChaCha20Poly1305::new(&[7; KEY_BYTES].into());
    let (nonce, value) = (XNonce::default(), "sk-ant-api03-".repeat(8));
    let sealed = cipher.encrypt(&nonce, value.as_bytes()).expect("a value is short");
    let start = Instant::now();
    for _ in 0..ROUNDS * VALUES {
        black_box(cipher.decrypt(&nonce, black_box(sealed.as_slice())).expect("it was encrypted just now"));
    }
    println!("the limit, the cipher alone: {:?} a value", start.elapsed() / (ROUNDS * VALUES));
}
