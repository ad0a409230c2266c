//! What agents are given to know, and what nobody is given to read.

use std::collections::BTreeMap;
use std::sync::Arc;

use aiswitch_coordinator::{
    Agent, AgentSpec, Ambient, Assignment, CancellationToken, Coordinator, Driver, Home, Origin, Plan,
    Preset, PresetName, RunReport,
};

use crate::support::{coordinator, id, plan, said, script};

const SECRET: &str = "sk-canary-0123456789";

fn ambient(more: &[(&str, &str)]) -> Ambient {
    let path = [("PATH", "/usr/bin:/bin"), ("OTHER", "of the caller"), ("WORK_KEY", SECRET)];
    Ambient::from_vars(path.iter().chain(more).map(|(name, value)| (name.into(), value.into())))
}

fn presets(json: &str) -> BTreeMap<PresetName, Preset> {
    BTreeMap::from([("work".parse().expect("a name"), serde_json::from_str(json).expect("a preset"))])
}

/// A plan for one agent under the preset.
fn under_preset(agent: &str) -> Plan {
    plan("hello", &[])
        .with_assignment(Assignment::new(id(agent)).with_preset("work".parse().expect("a name")))
}

async fn run(coordinator: Coordinator, plan: Plan) -> RunReport {
    coordinator.execute_parallel(plan).await.expect("it runs")
}

#[tokio::test]
async fn an_agent_knows_the_allow_list_its_preset_and_its_mark_and_nothing_else() {
    let env = script("a", "env | sed 's/=.*//' | sort");
    let coordinator = coordinator([env]).with_ambient(ambient(&[])).with_presets(presets(
        r#"{"variables": {"MY_KEY": "env:WORK_KEY", "MY_BASE_URL": "http://127.0.0.1:1"}}"#,
    ));
    let report = run(coordinator, under_preset("a")).await;
    let names: Vec<&str> = said(&report.agents[0])
        .lines()
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        .collect();
    assert_eq!(names, ["AISWITCH_RUN", "MY_BASE_URL", "MY_KEY", "PATH"]);
}

#[tokio::test]
async fn a_secret_stands_in_no_event_report_or_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    let leaky = script("a", "echo \"the key is $MY_KEY\"; echo \"and $MY_KEY\" >&2; exit 3");
    let coordinator = coordinator([leaky])
        .with_ambient(ambient(&[]))
        .with_presets(presets(r#"{"variables": {"MY_KEY": "env:WORK_KEY"}}"#))
        .with_home(home.clone());
    let mut events = String::new();
    let report = coordinator
        .run(under_preset("a"), CancellationToken::new(), |event| {
            events.push_str(&serde_json::to_string(event).expect("an event"));
        })
        .await
        .expect("it runs");
    assert_eq!(said(&report.agents[0]).trim(), "the key is [REDACTED]");
    assert!(!events.contains(SECRET) && events.contains("the key is [REDACTED]"), "{events}");
    let mut files = 0;
    let mut folders = vec![home.root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&entry).expect("a file")).into_owned();
            assert!(!text.contains(SECRET), "{}", entry.display());
            files += 1;
        }
    }
    // Two state files, the report, the events, stdout and stderr; and the lock's own.
    assert!(files >= 6, "{files}");
}

fn claude(name: &str) -> Arc<dyn Agent> {
    AgentSpec { command: vec!["/no/such/claude".into()], ..AgentSpec::new(Driver::Claude) }.build(id(name))
}

#[tokio::test]
async fn a_variable_that_would_lead_an_agent_elsewhere_is_named_when_it_is_not_passed_on() {
    let set =
        [("ANTHROPIC_BASE_URL", "http://x"), ("OPENAI_BASE_URL", "http://y"), ("HTTPS_PROXY", "http://z")];
    let agents = [claude("claude"), script("a", "echo hello")];
    let coordinator = coordinator(agents).with_ambient(ambient(&set));
    let report = run(coordinator, plan("hello", &["claude", "a"])).await;
    let expected = "the caller's `ANTHROPIC_BASE_URL`, `HTTPS_PROXY` are not passed on to agent `claude`; put them in a preset to do so";
    assert_eq!(report.warnings, [expected]);
}

#[tokio::test]
async fn a_preset_that_cannot_be_resolved_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (long, missing) = (folder.path().join("long"), folder.path().join("missing"));
    std::fs::write(&long, "x".repeat(64 * 1024 + 1)).expect("a file");
    let of = |source: &str| presets(&serde_json::json!({"variables": {"MY_KEY": source}}).to_string());
    for (source, expected) in [
        (
            "env:NOT_SET".to_owned(),
            "variable `MY_KEY` of preset `work` wants `NOT_SET` of the caller's environment, which is not set",
        ),
        ("in clear".to_owned(), "variable `MY_KEY` of preset `work` holds a secret in clear"),
        (format!("file:{}", missing.display()), "variable `MY_KEY` of preset `work` wants the file `"),
        (format!("file:{}", long.display()), "variable `MY_KEY` of preset `work` wants the file `"),
        ("file:/dev/zero".to_owned(), "variable `MY_KEY` of preset `work` wants the file `/dev/zero`"),
    ] {
        let coordinator =
            coordinator([script("a", "cat")]).with_ambient(ambient(&[])).with_presets(of(&source));
        let error = coordinator.execute_parallel(under_preset("a")).await.expect_err("it is refused");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn a_dry_run_says_what_would_start_and_never_a_value() {
    let coordinator = coordinator([script("a", "cat"), claude("claude")])
        .with_ambient(ambient(&[("ANTHROPIC_API_KEY", SECRET)]))
        .with_presets(presets(r#"{"variables": {"MY_KEY": "env:WORK_KEY"}}"#));
    let plan = under_preset("a").with_agent(id("claude"));
    let planned = coordinator.dry_run(&plan).expect("a good plan");
    assert!(!format!("{planned:?}").contains(SECRET));
    let [a, claude] = planned.as_slice() else { panic!("{planned:?}") };
    assert_eq!(a.argv.clone(), Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), "cat".to_owned()]));
    let variables = |names: &[aiswitch_coordinator::PlannedVariable]| -> Vec<(String, Origin)> {
        names.iter().map(|variable| (variable.name.clone(), variable.origin)).collect()
    };
    let expected = [
        ("AISWITCH_RUN".to_owned(), Origin::Driver),
        ("MY_KEY".to_owned(), Origin::Preset),
        ("PATH".to_owned(), Origin::Allowed),
    ];
    assert_eq!((variables(&a.environment), &a.problem), (expected.to_vec(), &None));
    let expected =
        [("ANTHROPIC_API_KEY".to_owned(), Origin::Credential), ("PATH".to_owned(), Origin::Allowed)];
    assert_eq!((variables(&claude.environment), &claude.argv), (expected.to_vec(), &None));
    let problem = claude.problem.clone().expect("it is not installed");
    assert_eq!(problem.message, "`/no/such/claude` of agent `claude` is not installed");
    assert_eq!(problem.hint.as_deref(), Some("install it with: npm install -g @anthropic-ai/claude-code"));
}
