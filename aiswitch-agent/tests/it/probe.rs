//! Probes: how far each kind of agent gets without a task, and why it does not.

use std::time::Duration;

use aiswitch_agent::{AgentSpec, Driver, ErrorKind, PermissionMode, TaskError};

use crate::support::{Bench, PATIENCE};

const VENDOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendor.sh");
const LIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/live.sh");

/// Answers as Claude Code does before its first prompt, and keeps what comes after that.
const CLAUDE: &str = r#"
case $BEHAVIOUR in
    silent) exec sleep 300 ;;
    crash) echo 'out of cheese' >&2; exit 7 ;;
esac
echo "$*" > args
read -r line
case "$BEHAVIOUR $*" in
    "lost "*--resume=*) echo 'No conversation found with session ID: s1' >&2; exit 1 ;;
esac
version=2.1.330
[ "$BEHAVIOUR" != old ] || version=0.2.9
echo '{"type":"control_response","response":{"subtype":"success","request_id":"initialize","response":{"claude_code_version":"'$version'"}}}'
while read -r line; do printf '%s\n' "$line" >> given; done
"#;

/// An agent of a kind whose program behaves like this.
fn bench(driver: Driver, behaviour: &str) -> Bench {
    let words: Vec<String> = match driver {
        Driver::Claude => {
            vec!["sh".into(), "-c".into(), format!("BEHAVIOUR={behaviour}\n{CLAUDE}"), "claude".into()]
        }
        Driver::Codex => {
            let version = if behaviour == "old" { "0.9.1" } else { "0.169.0" };
            ["sh", VENDOR, "codex", behaviour, version].map(str::to_owned).to_vec()
        }
        Driver::Rpc => vec!["sh".into(), LIVE.into()],
        _ => ["sh", VENDOR, "acp", behaviour].map(str::to_owned).to_vec(),
    };
    let modes = Some(vec![PermissionMode::Write]);
    Bench::new(&AgentSpec { command: words, modes, ..AgentSpec::new(driver) })
}

/// Probes an agent, with a session or without one, and sees that nothing of it is left.
async fn probe(bench: &Bench, session_id: Option<&str>) -> Result<(), TaskError> {
    let mut task = bench.task("never given");
    task.session_id = session_id.map(str::to_owned);
    let probed =
        tokio::time::timeout(PATIENCE, bench.agent.probe(task, bench.context.clone())).await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
    probed
}

async fn problem(bench: &Bench, session_id: Option<&str>) -> (ErrorKind, String) {
    let error = probe(bench, session_id).await.unwrap_err();
    (error.kind, error.message)
}

const VENDORS: [Driver; 4] = [Driver::Claude, Driver::Codex, Driver::Gemini, Driver::Opencode];

#[tokio::test]
async fn a_program_that_gets_ready_proves_itself_and_is_given_no_prompt() {
    for driver in VENDORS {
        let bench = bench(driver, "fine");
        assert_eq!(probe(&bench, None).await, Ok(()), "{driver}");
        let given = ["given", "stdout.log"]
            .map(|file| std::fs::read_to_string(bench.dir.path().join(file)).unwrap_or_default());
        assert!(given.iter().all(|text| !text.contains("part")), "{driver}: {given:?}");
    }
}

#[tokio::test]
async fn a_session_is_resumed_where_the_program_has_it_and_told_where_it_has_not() {
    for (driver, lost) in [
        (Driver::Claude, "No conversation found with session ID: s1"),
        (Driver::Codex, "no rollout found for thread id s1"),
        (Driver::Gemini, "no such session"),
        (Driver::Opencode, "no such session"),
    ] {
        assert_eq!(probe(&bench(driver, "resume"), Some("s1")).await, Ok(()), "{driver}");
        let (_, message) = problem(&bench(driver, "lost"), Some("s1")).await;
        assert!(message.contains(lost), "{driver}: {message}");
    }
    let claude = bench(Driver::Claude, "resume");
    probe(&claude, Some("s1")).await.unwrap();
    assert!(claude.log("args").contains("--resume=s1"), "{}", claude.log("args"));
}

#[tokio::test]
async fn an_agent_that_cannot_go_on_with_a_session_says_so() {
    for bench in [bench(Driver::Gemini, "fine"), bench(Driver::Rpc, ""), Bench::script("cat")] {
        let expected = (ErrorKind::Config, "it cannot go on with a session".to_owned());
        assert_eq!(problem(&bench, Some("s1")).await, expected, "{:?}", bench.agent.profile().driver);
    }
}

#[tokio::test]
async fn a_program_that_does_not_get_ready_is_told_by_why_and_ended() {
    for driver in VENDORS {
        let mut silent = bench(driver, "silent");
        silent.context.limits.start_timeout = Duration::from_millis(300);
        let (kind, message) = problem(&silent, None).await;
        assert_eq!(kind, ErrorKind::Timeout, "{driver}");
        assert!(message.starts_with("it did not get ready within "), "{driver}: {message}");
        let cancelled = bench(driver, "silent");
        cancelled.context.cancel.cancel();
        assert_eq!(problem(&cancelled, None).await.0, ErrorKind::Timeout, "{driver}");
    }
    for driver in [Driver::Claude, Driver::Codex, Driver::Gemini] {
        let crashed = bench(driver, if driver == Driver::Claude { "crash" } else { "early" });
        let message = "it ended with exit code 7 before it answered: out of cheese".to_owned();
        assert_eq!(problem(&crashed, None).await, (ErrorKind::Crash, message), "{driver}");
    }
    for (driver, part) in [(Driver::Claude, "0.2.9 is too old, "), (Driver::Codex, "0.9.1 is too old, ")] {
        let (kind, message) = problem(&bench(driver, "old"), None).await;
        assert!(kind == ErrorKind::Config && message.contains(part), "{driver}: {message}");
    }
}

#[tokio::test]
async fn a_missing_key_shows_itself_where_the_program_looks_at_it_first() {
    for driver in [Driver::Codex, Driver::Gemini, Driver::Opencode] {
        assert_eq!(problem(&bench(driver, "login"), None).await.0, ErrorKind::Auth, "{driver}");
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_not_installed() {
    for driver in
        [Driver::Claude, Driver::Codex, Driver::Gemini, Driver::Opencode, Driver::Rpc, Driver::Command]
    {
        let spec = AgentSpec { command: vec!["no-such-program".into()], ..AgentSpec::new(driver) };
        assert_eq!(problem(&Bench::new(&spec), None).await.0, ErrorKind::NotInstalled, "{driver}");
    }
}
