//! What holds for any input; called by libFuzzer (see `fuzz/`) and by the tests beside this file.

use std::collections::BTreeMap;

use aiswitch_env::{
    Ambient, DataKey, DataKeys, FlatPreset, KEY_BYTES, MASK, Place, Preset, PresetName, Redactor,
    SECRET_BYTES_MIN, Secret, ValueSource,
};
use serde::Deserialize;

/// The file that presets stand in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetsFile {
    #[serde(default)]
    presets: BTreeMap<PresetName, Preset>,
}

/// The value `canary-value`, encrypted with a key of sevens for variable `KEY` of preset `work`.
pub(crate) const SEALED: &str =
    "ENC[v1,DdjVWx9lyyYPqQ2YXlmnDDV+NyrHHm9kL/UnqF0mImjOkEsQtBekJlNt3U4d2v/QGdxMEQ]";

/// Any text as the value of a variable: it is written as it was read, and opens only if nobody changed it.
pub(crate) fn value(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert_eq!(ValueSource::from(text.to_owned()).written(), text);
    let keys = DataKeys::new(DataKey::from_bytes(&[7; KEY_BYTES]).into_iter().collect());
    let preset: PresetName = "work".parse().expect("a good name");
    let opens = |name, audience| keys.open(text, Place { preset: &preset, name, audience }).is_ok();
    assert_eq!(opens("KEY", "https://a.example"), text == SEALED, "{text}");
    assert!(!opens("OTHER", "https://a.example") && !opens("KEY", "https://b.example"), "{text}");
}

/// Any text as `presets.yaml`: it is read or refused, each of its presets is put together or refused, and no secret is
/// printed by the way.
pub(crate) fn presets(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let options = serde_saphyr::options! { with_snippet: false };
    let Ok(file) = serde_saphyr::from_str_with_options::<PresetsFile>(text, options) else { return };
    for (name, preset) in &file.presets {
        let agents: Vec<&str> = preset.agents.keys().map(String::as_str).collect();
        let Ok(flat) = FlatPreset::new(&file.presets, name, &agents) else { continue };
        let shown = format!("{preset:?}{flat:?}");
        for (_, value) in flat.iter() {
            if let ValueSource::Plain(text) = &value.source {
                assert!(text.len() < SECRET_BYTES_MIN || !shown.contains(&format!("{text:?}")), "{shown}");
            }
        }
        // Nothing is taken from files here, which could be any.
        let takes_files = flat.iter().any(|(_, value)| matches!(value.source, ValueSource::File(_)));
        if !takes_files {
            let (ambient, keys) = (Ambient::default(), DataKeys::default());
            let all = flat.resolve_each(&ambient, &keys).all(|(_, value)| value.is_ok());
            assert_eq!(flat.resolve(&ambient, &keys).is_ok(), all);
        }
    }
}

/// Any secrets and any text, cut anywhere: what comes out is the same, and holds none of them.
///
/// The input is a number of bytes a piece, and texts that end in NUL: up to four secrets, and what is to be masked.
pub(crate) fn redactor(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let mut texts: Vec<&[u8]> = rest.splitn(5, |byte| *byte == 0).collect();
    let text = texts.pop().unwrap_or_default();
    let secrets = texts.iter().filter_map(|secret| std::str::from_utf8(secret).ok());
    let secrets: Vec<Secret> = secrets.map(Secret::new).collect();
    let redactor = Redactor::new(&secrets);
    let masked = |piece: usize| {
        let (mut stream, mut out) = (redactor.stream(), Vec::new());
        text.chunks(piece).for_each(|piece| stream.push(piece, &mut out));
        stream.finish(&mut out);
        out
    };
    let whole = masked(text.len().max(1));
    assert_eq!(masked(1), whole);
    assert_eq!(masked(usize::from(*piece).max(1)), whole);
    if let Ok(text) = std::str::from_utf8(text) {
        assert_eq!(redactor.redact(text).as_bytes(), whole);
    }
    for secret in texts.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
        // What a mask is written with can stand beside it as if it were a part of a secret.
        let is_like_mask = secret.iter().any(|byte| MASK.as_bytes().contains(byte));
        let is_there = whole.windows(secret.len()).any(|window| window == *secret);
        assert!(std::str::from_utf8(secret).is_err() || is_like_mask || !is_there, "{secret:?}");
    }
}
