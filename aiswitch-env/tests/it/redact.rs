//! Secrets are masked in every form, however a stream is cut.

use aiswitch_env::{Leak, MASK, Redactor, SECRET_BYTES_MIN, Secret, SecretForm};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

const KEY: &str = "sk-canary/+\"é<&>\\ 0123456789";

fn redactor(secrets: &[&str]) -> Redactor {
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Redactor::new(&secrets)
}

/// What a stream makes of these pieces.
fn streamed<'a>(redactor: &Redactor, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut stream, mut out) = (redactor.stream(), Vec::new());
    pieces.into_iter().for_each(|piece| stream.push(piece, &mut out));
    stream.finish(&mut out);
    out
}

/// What must come out, by a search that is too simple to be wrong; for secrets without other written forms.
fn expected(secrets: &[String], text: &str) -> String {
    let (mut out, mut covered) = (String::new(), 0);
    for at in 0..text.len() {
        let rest = &text[at..];
        let whole = secrets.iter().filter(|secret| rest.starts_with(secret.as_str())).map(String::len).max();
        let is_cut = rest.len() >= SECRET_BYTES_MIN
            && secrets.iter().any(|secret| secret.len() > rest.len() && secret.starts_with(rest));
        let length = if is_cut { Some(rest.len()) } else { whole };
        if let Some(length) = length {
            if at >= covered {
                out.push_str(MASK);
            }
            covered = covered.max(at + length);
        }
        if at >= covered {
            out.push_str(&rest[..1]);
        }
    }
    out
}

proptest! {
    #[test]
    fn the_result_is_the_same_however_a_stream_is_cut(
        secrets in prop::collection::vec("[ab]{8,20}|a{8,16}", 0..4),
        pieces in prop::collection::vec("[abc]{0,12}|[ab]{0,24}|a{0,12}", 0..12),
    ) {
        let whole: String = pieces.concat();
        let redactor = redactor(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let wanted = expected(&secrets, &whole);
        prop_assert_eq!(redactor.redact(&whole).into_owned(), wanted.clone());
        let cut = streamed(&redactor, pieces.iter().map(String::as_bytes));
        prop_assert_eq!(String::from_utf8(cut).unwrap(), wanted.clone());
        let bytes = streamed(&redactor, whole.as_bytes().chunks(1));
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    }

    #[test]
    fn any_bytes_pass_and_text_stays_text(
        secrets in prop::collection::vec(any::<String>(), 0..4),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        texts in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let redactor = redactor(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        prop_assert_eq!(streamed(&redactor, bytes.chunks(7)), streamed(&redactor, [bytes.as_slice()]));
        let whole = texts.iter().chain(&secrets).chain(&texts).cloned().collect::<String>();
        let mut stream = redactor.stream();
        let mut masked: String = texts.iter().chain(&secrets).chain(&texts).map(|text| stream.push_text(text)).collect();
        masked.push_str(&stream.finish_text());
        prop_assert_eq!(masked.clone(), redactor.redact(&whole).into_owned());
        for secret in secrets.iter().filter(|secret| secret.len() >= SECRET_BYTES_MIN) {
            prop_assert!(!masked.contains(secret.as_str()));
        }
    }
}

/// The secret as programs write it, each with what wrote it so.
fn shapes() -> Vec<(&'static str, String)> {
    let json = serde_json::to_string(KEY).unwrap();
    vec![
        ("as it is", KEY.into()),
        ("in a line of JSON", json.clone()),
        ("in JSON in JSON", serde_json::to_string(&json).unwrap()),
        ("json.dumps of Python", r#"sk-canary/+\"\u00e9<&>\\ 0123456789"#.into()),
        ("json_encode of PHP", r#"sk-canary\/+\"\u00e9<&>\\ 0123456789"#.into()),
        ("json.Marshal of Go", r#"sk-canary/+\"é\u003c\u0026\u003e\\ 0123456789"#.into()),
        ("escaped with capitals", r#"sk-canary/+\"\u00E9<&>\\ 0123456789"#.into()),
        ("encodeURIComponent", "sk-canary%2F%2B%22%C3%A9%3C%26%3E%5C%200123456789".into()),
        ("in lower case", "sk-canary%2f%2b%22%c3%a9%3c%26%3e%5c%200123456789".into()),
        ("quote of Python", "sk-canary/%2B%22%C3%A9%3C%26%3E%5C%200123456789".into()),
        ("encodeURI", "sk-canary/+%22%C3%A9%3C&%3E%5C%200123456789".into()),
        ("a form", "sk-canary%2F%2B%22%C3%A9%3C%26%3E%5C+0123456789".into()),
        ("xxd", "736b2d63616e6172792f2b22c3a93c263e5c2030313233343536373839".into()),
        ("hex().upper() of Python", "736B2D63616E6172792F2B22C3A93C263E5C2030313233343536373839".into()),
        ("base64", STANDARD.encode(KEY)),
        ("base64 behind one byte", STANDARD.encode(format!(":{KEY}:"))),
        ("base64 of basic auth", STANDARD.encode(format!("me:{KEY}"))),
        ("base64 for URLs", URL_SAFE.encode(KEY)),
        ("base64 for URLs behind one byte", URL_SAFE.encode(format!(":{KEY} "))),
        ("base64 for URLs behind two", URL_SAFE.encode(format!("::{KEY}"))),
    ]
}

#[test]
fn a_secret_is_masked_in_every_form_that_programs_write() {
    let redactor = redactor(&["another secret", KEY]);
    for (what, shape) in shapes() {
        let masked = redactor.redact(&shape).into_owned();
        assert!(masked.contains(MASK), "{what}: {masked}");
        // At most the characters that base64 shares with the bytes around the secret are left.
        assert!(masked.replace(MASK, "").len() <= 8, "{what}: {masked}");
        for cut in 1..shape.len() {
            let (start, end) = shape.as_bytes().split_at(cut);
            assert_eq!(streamed(&redactor, [start, end]), masked.as_bytes(), "{what}, cut at {cut}");
        }
        let leaks = redactor.search(shape.as_bytes(), 10).unwrap();
        assert!(leaks.iter().any(|leak| leak.secret == 1), "{what}: {leaks:?}");
    }
}

#[test]
fn what_could_be_the_start_of_a_secret_waits_and_nothing_else_does() {
    let mut stream = redactor(&["0123456789"]).stream();
    assert_eq!(stream.push_text("hello"), "hello");
    assert_eq!(stream.push_text(" 0123"), " ");
    assert_eq!(stream.push_text("x"), "0123x");
    assert_eq!(stream.push_text("01234567"), "");
    assert_eq!(stream.push_text("890"), MASK);
    assert_eq!(stream.finish_text(), "0");
    assert_eq!(stream.push_text("again"), "again");
}

#[test]
fn secrets_that_overlap_are_masked_as_one() {
    let redactor = redactor(&["aaaabbbbcccc", "ccccdddd", "bbbbcccc"]);
    assert_eq!(redactor.redact("<aaaabbbbccccdddd>"), "<[REDACTED]>");
    assert_eq!(redactor.redact("<bbbbccccbbbbcccc>"), "<[REDACTED][REDACTED]>");
}

#[test]
fn a_secret_that_was_cut_off_with_the_text_is_masked() {
    let redactor = redactor(&["0123456789"]);
    assert_eq!(redactor.redact("the key is 01234567"), "the key is [REDACTED]");
    assert_eq!(redactor.redact("the key is 0123456"), "the key is 0123456");
}

#[test]
fn a_search_names_place_secret_and_form() {
    // The second stands across the border of what is read at once.
    let mut text = vec![b'.'; 300 * 1024];
    text.splice(5..5, KEY.bytes());
    let far = 256 * 1024 - 4;
    let base64 = STANDARD.encode("0123456789ab");
    text.splice(far..far, base64.bytes());
    let leaks = redactor(&["0123456789ab", KEY]).search(text.as_slice(), 10).unwrap();
    let expected = [
        Leak { at: 5, secret: 1, form: SecretForm::Plain },
        Leak { at: far as u64, secret: 0, form: SecretForm::Base64 },
    ];
    assert_eq!(leaks, expected);
    assert_eq!(redactor(&["0123456789ab", KEY]).search(text.as_slice(), 1).unwrap(), expected[..1]);
    assert_eq!(Redactor::default().search(text.as_slice(), 10).unwrap(), []);
}
