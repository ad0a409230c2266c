//! The canary: secrets of every shape, agents that blurt them out in every encoding, and nothing of them anywhere.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::harness::{Shown, aiswitch, configure, show, show_fed};
use crate::sandbox::Sandbox;

/// One secret: how it looks, its value, and a part of it that stands nowhere else.
struct Canary {
    shape: &'static str,
    value: String,
    core: String,
}

/// The shapes; `@` stands for the part that is looked for.
const SHAPES: [(&str, &str); 20] = [
    ("short", "@"),
    ("usual", "sk-ant-api03-@-AA"),
    ("long", "LONG@LONG"),
    ("double quotes", "a\"@\"b"),
    ("single quotes", "a'@'b"),
    ("backslashes", "a\\@\\n\\"),
    ("lines", "first line\n@\nthird line"),
    ("pem", "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n@\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"),
    ("unicode", "пароль-@-密码-🔑"),
    ("percent", "100%25@%zz%"),
    ("like base64", "QUJD+@/Zz=="),
    ("url", "https://user:@@host.example/path?x=1&y=2#f"),
    ("json", "{\"key\":\"@\",\"n\":[1,2]}"),
    ("leading dash", "--@-flag"),
    ("regular expression", "^(@)+.*[a-z]?$|\\d"),
    ("ansi", "\u{1b}[31m@\u{1b}[0m"),
    ("shell", "$(echo @)`id`;&|${HOME}"),
    ("blanks around", " \t@ \t"),
    ("carriage returns", "@\r\nsecond"),
    ("hidden characters", "\u{202e}@\u{200b}"),
];

fn canaries() -> Vec<Canary> {
    let of = |(at, (shape, form)): (usize, &(&'static str, &str))| {
        // Of the length of the shortest secret that is masked, and in order, so that no two are alike.
        let core = format!("c{at:02}Nary{at:02}")[..8].to_owned();
        let value = form.replacen('@', &core, 1).replace("LONG", &"x".repeat(600));
        Canary { shape, value, core }
    };
    SHAPES.iter().enumerate().map(of).collect()
}

fn percent(text: &str, kept: &str, form: fn(u8) -> String) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || (c.is_ascii() && kept.contains(c)) => escaped.push(c),
            _ => escaped.push_str(&form(byte)),
        }
    }
    escaped
}

/// A value in every encoding in which agents write down what they know.
fn encodings(value: &str) -> Vec<String> {
    let json = |text: &str| serde_json::to_string(text).unwrap();
    let mut all = vec![
        value.to_owned(),
        json(value),
        json(&json(value)),
        percent(value, "-._~", |byte| format!("%{byte:02X}")),
        percent(value, "-._~", |byte| format!("%{byte:02x}")),
        percent(value, "-._~!*'()", |byte| format!("%{byte:02X}")),
        percent(value, "-._*", |byte| if byte == b' ' { "+".to_owned() } else { format!("%{byte:02X}") }),
    ];
    all.extend([hex(value), hex(value).to_uppercase()]);
    for before in ["", "u", "us", "user:"] {
        let text = format!("{before}{value}");
        all.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|engine| engine.encode(&text)));
        all.push(STANDARD.encode(format!("{text}, and more")));
    }
    all
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// What a text of a sink must not hold: the part of a secret itself, in hexadecimal, and in base64 wherever it lies.
struct Needles(Vec<(&'static str, Vec<String>)>);

impl Needles {
    fn of(canaries: &[Canary]) -> Self {
        let forms = |core: &str| {
            let base64 = (0..3).map(|offset| {
                let text = STANDARD_NO_PAD.encode(format!("{}{core}", "\0".repeat(offset)));
                let own = [0, 2, 3][offset]..(offset + core.len()) * 8 / 6;
                text[own].to_owned()
            });
            [core.to_owned(), hex(core), hex(core).to_uppercase()].into_iter().chain(base64).collect()
        };
        Self(canaries.iter().map(|canary| (canary.shape, forms(&canary.core))).collect())
    }

    /// The shapes that a text holds.
    fn hits(&self, bytes: &[u8]) -> Vec<&'static str> {
        let text = String::from_utf8_lossy(bytes);
        let holds = |(_, forms): &&(&str, Vec<String>)| forms.iter().any(|form| text.contains(form));
        self.0.iter().filter(holds).map(|(shape, _)| *shape).collect()
    }
}

/// All that was looked at, and what was found.
struct Looks {
    needles: Needles,
    sinks: usize,
    hits: Vec<String>,
}

impl Looks {
    fn at(&mut self, sink: impl std::fmt::Display, bytes: impl AsRef<[u8]>) {
        self.sinks += 1;
        let bytes = bytes.as_ref();
        for shape in self.needles.hits(bytes) {
            let text = String::from_utf8_lossy(bytes);
            let needle = self.needles.0.iter().find(|(name, _)| *name == shape).unwrap();
            let at = needle.1.iter().find_map(|form| text.find(form)).unwrap();
            let around =
                text[text.floor_char_boundary(at.saturating_sub(60))..].chars().take(120).collect::<String>();
            self.hits.push(format!("{shape} in {sink}: {around:?}"));
        }
    }

    fn at_shown(&mut self, what: &str, shown: &Shown) {
        self.at(format_args!("stdout of {what}"), &shown.stdout);
        self.at(format_args!("stderr of {what}"), &shown.stderr);
    }

    fn at_files(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            self.at("the names of files", entry.as_os_str().as_encoded_bytes());
            if entry.is_dir() {
                self.at_files(&entry);
            } else if entry.is_file() {
                self.at(entry.display(), fs::read(&entry).unwrap());
            }
        }
    }
}

/// An adapter that puts secrets wherever its protocol has room for text.
fn adapter(forms: &str, usual: &Canary) -> (String, String) {
    let line = |value: Value| format!("{value}\n");
    // Within the part of a secret that is looked for: its halves are told in two messages.
    let halves = forms.split_at(forms.find(&usual.core).unwrap() + usual.core.len() / 2);
    let said = |text: &str| json!({"jsonrpc": "2.0", "method": "task.output", "params": {"task_id": "TASK", "text": text}});
    let mut calls = String::new();
    calls += &line(said(halves.0));
    calls += &line(said(halves.1));
    // As `echo $VARIABLE` without quotes prints it.
    writeln!(calls, "a stray print {}", forms.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
    calls += &line(json!({"jsonrpc": "2.0", "method": forms, "params": {}}));
    calls +=
        &line(json!({"jsonrpc": "2.0", "id": forms, "method": "env.switch", "params": {"preset": forms}}));
    calls += &line(json!({"jsonrpc": "2.0", "id": 7, "method": "permission.request",
        "params": {"task_id": "TASK", "tool": forms, "question": forms, "input": forms}}));
    let result = json!({"status": "failed", "answer": null, "session_id": forms, "model": forms,
        "error": {"kind": "auth", "message": format!("401: invalid key {forms}"), "hint": forms},
        "denials": [{"tool": forms, "reason": forms}]});
    (calls, result.to_string())
}

const ADAPTER: &str = r#"id_of() { printf '%s' "$1" | sed 's/^{"jsonrpc":"2.0","id":\("[^"]*"\|[0-9][0-9]*\).*/\1/'; }
read -r line
printf '{"jsonrpc":"2.0","id":%s,"result":{"protocol_version":1,"agent":{"name":"a","version":"1"}}}\n' "$(id_of "$line")"
read -r line
task=$(printf '%s' "$line" | sed 's/.*"params":{"id":"\([^"]*\)".*/\1/')
sed "s/TASK/$task/" said
cat forms >&2
printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$(id_of "$line")" "$(cat result)"
cat >/dev/null"#;

/// The agents: each is given all secrets by its preset but the last one, which comes upon them in a file.
fn agents() -> Value {
    let script =
        |script: &str| json!({"driver": "command", "command": ["/bin/sh", "-c", script], "preset": "canary"});
    json!({"agents": {
        "blurts": script("cat forms; cat forms >&2; env; env >&2; tr '\\0' '\\n' </proc/self/environ"),
        "pieces": script("dd if=forms bs=61 2>/dev/null; dd if=forms bs=13 2>/dev/null >&2"),
        "crashes": script("cat forms >&2; exit 7"),
        "killed": script("cat forms; cat forms >&2; kill -9 $$"),
        "late": {"driver": "command", "command": ["/bin/sh", "-c", "cat forms; cat forms >&2; exec sleep 1000"],
            "preset": "canary", "timeout": "1s"},
        "missing": {"driver": "command", "command": ["/no/such/program"], "preset": "canary"},
        "adapter": {"driver": "rpc", "command": ["/bin/sh", "-c", ADAPTER], "preset": "canary"},
        "finds": {"driver": "command", "command": ["/bin/sh", "-c", "cat forms; cat forms >&2; exit 3"]},
    }})
}

/// A home that holds every secret, and a workspace in which agents find them in every encoding.
fn with_canaries(canaries: &[Canary]) -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", &agents().to_string());
    assert_eq!(show(&sandbox, &["secrets", "init"]).code, Some(0));
    let mut forms = String::new();
    for (at, canary) in canaries.iter().enumerate() {
        let shown = show_fed(
            &sandbox,
            &["secrets", "set", "canary", &format!("CANARY_{at:02}")],
            format!("{}\n", canary.value),
        );
        assert_eq!(shown.code, Some(0), "{}: {shown}", canary.shape);
        for form in encodings(&canary.value) {
            writeln!(forms, "<{form}>").unwrap();
        }
    }
    let (said, result) = adapter(&forms, &canaries[1]);
    for (name, text) in [("forms", &forms), ("said", &said), ("result", &result)] {
        fs::write(sandbox.workspace().join(name), text).unwrap();
    }
    let prompt: Vec<&str> = canaries.iter().map(|canary| canary.value.as_str()).collect();
    fs::write(sandbox.workspace().join("prompt"), prompt.join("\n")).unwrap();
    fs::remove_file(sandbox.home().join("input")).unwrap();
    sandbox
}

/// Runs all agents, and looks at the command lines of all processes meanwhile.
fn run(sandbox: &Sandbox, looks: &mut Looks, args: &[&str]) -> Shown {
    let temporary = sandbox.home().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    let names = "blurts,pieces,crashes,killed,late,missing,adapter,finds";
    let mut command = aiswitch(sandbox, &["run", "--file", "prompt", "--mode", "write", "-a", names]);
    command.args(args).env("TMPDIR", &temporary).env("PATH", "/usr/bin:/bin");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout).unwrap());
    let errors = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    let mut seen = BTreeSet::new();
    let status = loop {
        for process in sandbox.processes() {
            if !seen.insert(process.command_line.clone()) {
                continue;
            }
            looks.at(format_args!("the command line of {}", process.pid), process.command_line);
        }
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::yield_now();
    };
    Shown { stdout: reader.join().unwrap(), stderr: errors.join().unwrap(), code: status.code() }
}

#[test]
fn no_secret_of_any_shape_reaches_any_sink_on_any_path() {
    let canaries = canaries();
    let sandbox = with_canaries(&canaries);
    let mut looks = Looks { needles: Needles::of(&canaries), sinks: 0, hits: Vec::new() };
    for canary in &canaries {
        for form in encodings(&canary.value) {
            let found = looks.needles.hits(form.as_bytes());
            assert!(found.contains(&canary.shape), "what is looked for stands in {form}");
        }
    }
    runs(&sandbox, &mut looks);
    verbs(&sandbox, &mut looks);
    looks.at_files(&sandbox.aiswitch_home());
    looks.at_files(&sandbox.home());
    config_errors(&sandbox, &canaries, &mut looks);
    println!("canary: {} hits of {} secrets in {} looks", looks.hits.len(), canaries.len(), looks.sinks);
    assert_eq!(looks.hits, Vec::<String>::new());
    assert!(looks.sinks > 1000, "{}", looks.sinks);
}

/// Runs in every form of output, side by side and in turn, and such as start nothing.
fn runs(sandbox: &Sandbox, looks: &mut Looks) {
    for args in [
        &["--output-format", "text"][..],
        &["--output-format", "json"],
        &["--output-format", "stream-json"],
        &["--sequential", "--output-format", "json"],
        &["--dry-run"],
        &["--dry-run", "--json"],
    ] {
        let shown = run(sandbox, looks, args);
        looks.at_shown(&format!("run {args:?}"), &shown);
        assert!(shown.stdout.contains("[REDACTED]"), "{args:?}: {shown}");
        if !args.contains(&"json") {
            continue;
        }
        let report = shown.json();
        let agents = report["agents"].as_array().unwrap().iter();
        let ends: Vec<&str> = agents.map(|agent| agent["status"].as_str().unwrap()).collect();
        let expected =
            ["completed", "completed", "failed", "crashed", "timed_out", "failed", "failed", "failed"];
        assert_eq!(ends, expected, "{report:#}");
        let warned = report["warnings"].to_string().contains("the prompt holds a secret");
        assert!(warned, "{report:#}");
    }
}

/// Every verb that shows something, or fails.
fn verbs(sandbox: &Sandbox, looks: &mut Looks) {
    let mut verbs: Vec<Vec<&str>> = [
        "result",
        "result --json",
        "logs",
        "logs --json",
        "logs last",
        "logs last --json",
        "runs",
        "runs --json",
        "doctor",
        "doctor --json",
        "agents list",
        "agents check",
        "preset list",
        "preset list --json",
        "preset show canary",
        "preset show canary --json",
        "preset validate",
        "preset export canary",
        "preset reseal canary",
        "preset import presets-of-another",
        "shell status",
        "shell set none --shell bash",
        "tokens runs",
        "secrets doctor",
        "secrets rotate",
        "secrets get canary CANARY_00",
        "leak-check",
        "audit show",
        "audit show --json",
        "audit verify",
        "apply canary -- /no/such/program",
        "preset remove none",
        "locks list",
        "env validate blurts canary",
        "env validate missing canary --json",
        "env switch blurts canary --probe answer",
        "env switch crashes canary --probe answer",
        "env switch missing canary",
        "env snapshot blurts --json",
        "env history",
        "env history --json",
        "env rollback blurts",
    ]
    .map(|verb| verb.split(' ').collect())
    .to_vec();
    let names = ["blurts", "pieces", "crashes", "killed", "late", "adapter", "finds"];
    verbs.extend(names.map(|name| vec!["logs", "last", "-a", name]));
    verbs.extend(names.map(|name| vec!["agents", "show", name]));
    for verb in verbs {
        let shown = show(sandbox, &verb);
        looks.at_shown(&verb.join(" "), &shown);
        assert!(!shown.stderr.contains("has a defect"), "{shown}");
    }
}

/// What is said of configurations in which a secret stands where it should not.
fn config_errors(sandbox: &Sandbox, canaries: &[Canary], looks: &mut Looks) {
    let path: PathBuf = sandbox.aiswitch_home().join("config/presets.yaml");
    for canary in canaries {
        let value = &canary.value;
        for presets in [
            json!({"presets": {"canary": {"variables": {"A_KEY": value}}}}),
            json!({"presets": {"canary": {"variables": {"A_KEY": [value]}}}}),
            json!({"presets": {"canary": {"variables": {"A_KEY": {"value": value}}}}}),
            json!({"presets": {"canary": {"variables": value}}}),
            json!({"presets": {"canary": value}}),
            json!({"presets": value}),
            json!({"presets": {"canary": {"variables": {"A_KEY": format!("ENC[v1,{value}]")}}}}),
            json!({"presets": {"canary": {"variables": {"A_KEY": format!("ENC[{value}")}}}}),
        ] {
            fs::write(&path, presets.to_string()).unwrap();
            for verb in [
                &["preset", "validate"][..],
                &["run", "-a", "blurts", "hello"],
                &["preset", "edit", "canary", "A=1"],
            ] {
                let shown = show(sandbox, verb);
                assert_ne!(shown.code, Some(0), "{presets}: {shown}");
                looks.at_shown(&format!("{verb:?} with a secret of a wrong place"), &shown);
            }
        }
    }
}
