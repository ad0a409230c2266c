//! Real agents are moved between presets with keys and base URLs of their own: the right provider sees the right key each time,
//! the session goes on, and what does not prove itself is taken back without a turn lost.
#![expect(clippy::disallowed_methods, reason = "how often is said by a variable")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use aiswitch_agent::{Pace, RunContext, event_channel};
use aiswitch_coordinator::{
    AgentId, AgentSpec, Ambient, CancellationToken, Coordinator, Driver, ErrorKind, Guard, Home, Limits,
    LiveAgent, PermissionMode, Preset, PresetName, Replay, RestartPolicy, SwitchError, SwitchOptions,
    SwitchProbe, TaskSpec, TaskStatus,
};
use serde_json::{Map, Value, json};

use crate::agents::{self, Value as Variable};
use crate::harness::{WITHIN, configure};
use crate::llm::{Ended, MockLlm, Recorded};
use crate::sandbox::Sandbox;

/// How many switches of the two agents together; half as many failures.
const SWITCHES_VARIABLE: &str = "AISWITCH_TEST_SWITCHES";

/// Without that variable: for the gate.
const SWITCHES_DEFAULT: usize = 4;

/// The keys of the two providers, and one that neither takes.
const KEYS: [(&str, &str); 3] =
    [("KEY_A", "sk-mock-a-4f81c2"), ("KEY_B", "sk-mock-b-90d3e7"), ("KEY_C", "sk-mock-c-000000")];

/// A port of loopback on which nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The presets of the two providers.
const PROVIDERS: [&str; 2] = ["a", "b"];

/// Presets under which no agent proves itself, and what it has to do there for that to show.
const FAILURES: [(&str, SwitchProbe); 3] =
    [("refused", SwitchProbe::Answer), ("nowhere", SwitchProbe::Answer), ("elsewhere", SwitchProbe::Start)];

/// A preset that leads every agent to a provider with a key.
fn preset(url: &str, key: &str, more: &[(&str, String)]) -> Value {
    let of_agents = agents::variables(url).into_iter().map(|(name, value)| match value {
        Variable::Plain(text) => (name, text),
        Variable::Key => (name, format!("env:{key}")),
    });
    let codex = [("CODEX_API_KEY", format!("env:{key}"))];
    let all = of_agents.chain(codex).chain(more.iter().map(|(name, value)| (*name, value.clone())));
    let variables: Map<String, Value> = all.map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({ "variables": variables })
}

/// An agent that lives, and the two providers that it is moved between.
struct Moved {
    agent: AgentId,
    llms: [MockLlm; 2],
    sandbox: Sandbox,
    coordinator: Coordinator,
    live: Arc<LiveAgent>,
    /// Which provider it is at.
    at: usize,
    turns: usize,
    session_id: Option<String>,
}

impl Moved {
    /// The agent at the first provider.
    async fn new(agent: &str, driver: Driver) -> Self {
        let llms = [0, 1].map(|provider| MockLlm::taking(KEYS[provider].1));
        let sandbox = Sandbox::new();
        agents::write_settings(&sandbox.home(), &llms[0].url()).unwrap();
        let empty = sandbox.home().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let empty = empty.display().to_string();
        let elsewhere = [("CLAUDE_CONFIG_DIR", empty.clone()), ("CODEX_HOME", empty)];
        let presets = json!({"presets": {
            "a": preset(&llms[0].url(), "KEY_A", &[]),
            "b": preset(&llms[1].url(), "KEY_B", &[]),
            "refused": preset(&llms[1].url(), "KEY_C", &[]),
            "nowhere": preset(NOWHERE, "KEY_A", &[]),
            "elsewhere": preset(&llms[1].url(), "KEY_B", &elsewhere),
        }});
        configure(&sandbox, "presets.yaml", &presets.to_string());
        let presets: BTreeMap<PresetName, Preset> =
            serde_json::from_value(presets["presets"].clone()).unwrap();
        let usual = [
            ("HOME".into(), sandbox.home().into_os_string()),
            ("PATH".into(), agents::search_path()),
            ("TERM".into(), "dumb".into()),
        ];
        let keys = KEYS.map(|(name, key)| (name.into(), key.into()));
        let (agent, guard): (AgentId, _) =
            (agent.parse().unwrap(), Guard::by_program(env!("CARGO_BIN_EXE_aiswitch")));
        let built = AgentSpec::new(driver).build(agent.clone());
        let coordinator = Coordinator::new()
            .with_agent(built.clone())
            .with_ambient(Ambient::from_vars(usual.into_iter().chain(keys)))
            .with_presets(presets)
            .with_guard(guard.clone())
            .with_home(Home::new(sandbox.aiswitch_home()));
        let mut options = SwitchOptions::new(sandbox.workspace());
        options.unbound = Some("a".parse().unwrap());
        let (events, mut heard) = event_channel(agent.clone());
        tokio::spawn(async move { while heard.recv().await.is_some() {} });
        let marker = format!("{}:{agent}", sandbox.home().display());
        let context = RunContext {
            environment: coordinator.agent_environment(&agent, &options).unwrap(),
            events,
            cancel: CancellationToken::new(),
            limits: Limits::default(),
            output_dir: None,
            pace: Pace::new(marker.as_str()),
            marker,
            guard: Some(guard),
            hidden: Vec::new(),
        };
        let place = task(&sandbox, "", None);
        let live = Arc::new(LiveAgent::new(built, place, context, RestartPolicy::default()));
        live.start().await.unwrap();
        Self { agent, llms, sandbox, coordinator, live, at: 0, turns: 0, session_id: None }
    }

    fn options(&self, probe: SwitchProbe) -> SwitchOptions {
        SwitchOptions {
            live: Some(self.live.clone()),
            unbound: Some("a".parse().unwrap()),
            probe,
            ..SwitchOptions::new(self.sandbox.workspace())
        }
    }

    /// One turn: the provider that the agent is at answers it, and has been told of every turn before.
    async fn turn(&mut self) {
        let seen = self.llms.each_ref().map(|llm| llm.requests().len());
        let word = format!("ANSWER-{}", self.turns);
        let session_id = self.live.status().session_id;
        let task = task(&self.sandbox, &format!("Say it [[mock text={word}]]"), session_id);
        let result = self.live.send_task(task, Replay::Never).await.unwrap();
        assert_eq!(
            (result.status, result.answer.as_deref()),
            (TaskStatus::Completed, Some(&*word)),
            "{result:?}"
        );
        let session_id = result.session_id.expect("it tells its session");
        assert_eq!(
            *self.session_id.get_or_insert_with(|| session_id.clone()),
            session_id,
            "the session goes on"
        );
        let of_turn = |request: &Recorded| request.api.is_some() && request.tools > 0;
        let elsewhere = self.llms[1 - self.at].requests().split_off(seen[1 - self.at]);
        assert!(!elsewhere.iter().any(of_turn), "the other provider is asked nothing: {elsewhere:#?}");
        // It answers its own key alone, and is told of all the answers before.
        let is_right = |request: &Recorded| {
            of_turn(request) && (request.ended, request.answers) == (Some(Ended::Answered(200)), self.turns)
        };
        self.llms[self.at].wait_for(WITHIN, |requests| requests[seen[self.at]..].iter().any(is_right));
        self.turns += 1;
    }

    async fn switch(&mut self) {
        let to: PresetName = PROVIDERS[1 - self.at].parse().unwrap();
        let switch = self.coordinator.switch_agent_env(&self.agent, &to, self.options(SwitchProbe::Start));
        let switched = switch.await.unwrap_or_else(|error| panic!("{error}: {error:?}"));
        self.at = 1 - self.at;
        assert_eq!(switched.record.to.unwrap().session_id, self.session_id);
    }

    async fn fail(&self, (preset, probe): (&str, SwitchProbe)) {
        let before = self.bound();
        let to: PresetName = preset.parse().unwrap();
        let switched = self.coordinator.switch_agent_env(&self.agent, &to, self.options(probe)).await;
        let Err(SwitchError::RolledBack { problem, record, .. }) = switched else {
            panic!("{preset}: {switched:?}")
        };
        if preset == "refused" {
            assert_eq!(problem.kind, ErrorKind::Auth, "{problem:?}");
        }
        assert!(KEYS.iter().all(|(_, key)| !format!("{problem:?}{record:?}").contains(key)), "{problem:?}");
        assert_eq!(self.bound(), before);
    }

    /// What the agent is bound to.
    fn bound(&self) -> Value {
        let file = self.sandbox.aiswitch_home().join("state/env.json");
        let records = std::fs::read(file).ok().map(|bytes| serde_json::from_slice::<Value>(&bytes).unwrap());
        records.map_or(Value::Null, |records| records["bindings"].clone())
    }

    /// A run of the command is where the last switch has left the agent.
    fn run(&self) {
        let seen = self.llms[self.at].requests().len();
        let mut command = self.sandbox.aiswitch();
        command.envs(KEYS).args([
            "run",
            "--json",
            "-a",
            self.agent.as_ref(),
            "-p",
            "Say it [[mock text=RUN]]",
        ]);
        let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        assert_eq!(report["agents"][0]["answer"], "RUN", "{report:#}");
        assert!(self.llms[self.at].requests().len() > seen, "the run is where the switch has left the agent");
    }
}

fn task(sandbox: &Sandbox, prompt: &str, session_id: Option<String>) -> TaskSpec {
    TaskSpec {
        id: "turn".parse().unwrap(),
        prompt: prompt.into(),
        cwd: sandbox.workspace(),
        mode: PermissionMode::Write,
        model: None,
        session_id,
    }
}

/// Moves an agent to and fro, with failures between, and says how often.
fn moves(agent: &str, driver: Driver) {
    if agents::folder_with(&[agent]).is_none() {
        return;
    }
    let wanted = std::env::var(SWITCHES_VARIABLE).map_or(SWITCHES_DEFAULT, |count| count.parse().unwrap());
    let (switches, failures) = (wanted.div_ceil(2), wanted.div_ceil(4).max(FAILURES.len()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut moved = Moved::new(agent, driver).await;
        moved.turn().await;
        let mut failed = 0;
        for done in 1..=switches {
            moved.switch().await;
            moved.turn().await;
            while failed < failures * done / switches {
                moved.fail(FAILURES[failed % FAILURES.len()]).await;
                moved.turn().await;
                failed += 1;
            }
        }
        moved.live.stop().await.unwrap();
        moved.run();
        let Moved { turns, .. } = moved;
        assert_eq!(turns, 1 + switches + failures);
        // Past the capture of test output, which would hide it.
        let said = format!(
            "{agent}: {switches} switches, {switches} right keys and base URLs; {failures} failures, {failed} rolled back; \
             {turns} of {turns} turns in one session\n"
        );
        drop(io::stderr().write_all(said.as_bytes()));
    });
}

#[test]
fn claude_is_moved_to_and_fro_and_loses_no_turn() {
    moves("claude", Driver::Claude);
}

#[test]
fn codex_is_moved_to_and_fro_and_loses_no_turn() {
    moves("codex", Driver::Codex);
}

/// What a probe shows of a real agent: that it gets ready, that it answers, and that it has no such session.
fn proves_itself(agent: &str) {
    if agents::folder_with(&[agent]).is_none() {
        return;
    }
    let llm = MockLlm::taking(KEYS[0].1);
    let sandbox = Sandbox::new();
    agents::write_settings(&sandbox.home(), &llm.url()).unwrap();
    let presets = json!({"presets": {"a": preset(&llm.url(), "KEY_A", &[])}});
    configure(&sandbox, "presets.yaml", &presets.to_string());
    let asked = || llm.requests().iter().filter(|request| request.api.is_some()).count();
    let switch = |more: &[&str]| {
        let mut command = sandbox.aiswitch();
        command.envs(KEYS).args(["env", "switch", agent, "a"]).args(more);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!((switch(&[]), asked()), ((Some(0), String::new()), 0), "{agent} gets ready, and asks nothing");
    let (code, stderr) = switch(&["--session", "0193e1a2-5b8c-7d3e-9f40-a1b2c3d4e5f6"]);
    assert!(code == Some(1) && stderr.contains("did not prove itself"), "{agent}: {code:?} {stderr}");
    assert_eq!(switch(&["--probe", "answer"]), (Some(0), String::new()));
    assert!(asked() > 0, "{agent} answers");
}

#[test]
fn claude_proves_itself() {
    proves_itself("claude");
}

#[test]
fn codex_proves_itself() {
    proves_itself("codex");
}

#[test]
fn gemini_proves_itself() {
    proves_itself("gemini");
}

#[test]
fn qwen_proves_itself() {
    proves_itself("qwen");
}

#[test]
fn opencode_proves_itself() {
    proves_itself("opencode");
}
