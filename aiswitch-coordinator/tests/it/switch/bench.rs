//! Agents under presets that can be told apart by what they answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use aiswitch_agent::{Pace, RunContext, event_channel};
use aiswitch_coordinator::{
    Actor, Agent, AgentSpec, Ambient, Assignment, Channel, Coordinator, Driver, EnvState, Home, Limits,
    LiveAgent, MemoryLockManager, Plan, Preset, PresetName, RestartPolicy, SwitchOptions, SwitchProbe,
    TaskSpec,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{id, said};

/// Answers with the start of its key and where it leads; a bad key is refused as a provider does, and a held one waits for
/// a file `go`.
const SCRIPT: &str = r#"[ "$KEY" != held-held-held ] || until [ -e go ]; do sleep 0.01; done
[ "$KEY" != bad-bad-bad ] || { echo "key $KEY refused" >&2; exit 3; }; echo "${KEY%%-*} at $X_BASE_URL""#;

/// An adapter that does not get ready with a bad key, and answers with its key.
const ADAPTER: &str = r#"
id_of() { printf '%s' "$1" | sed 's/^{"jsonrpc":"2.0","id":\("[^"]*"\|[0-9][0-9]*\).*/\1/'; }
[ "$KEY" != bad-bad-bad ] || { echo "key $KEY refused" >&2; exit 3; }
while read -r line; do
    id=$(id_of "$line")
    case $line in
        *agent.initialize*) r='{"protocol_version":1,"agent":{"name":"a","version":"1"}}' ;;
        *agent.shutdown*) printf '{"jsonrpc":"2.0","id":%s,"result":null}\n' "$id"; exit 0 ;;
        *'"until go"'*) touch ready; until [ -e go ]; do sleep 0.01; done; r='{"status":"completed","answer":"went"}' ;;
        *) r="{\"status\":\"completed\",\"answer\":\"$KEY\",\"session_id\":\"s1\"}" ;;
    esac
    printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$r"
done"#;

/// Agents under presets, in a home of their own.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) home: Home,
    pub(super) presets: BTreeMap<PresetName, Preset>,
    pub(super) locks: Arc<MemoryLockManager>,
    pub(super) agents: Vec<Arc<dyn Agent>>,
    pub(super) actor: Actor,
}

/// The name of a preset.
pub(super) fn name(preset: &str) -> PresetName {
    preset.parse().unwrap()
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path().join("home"));
        let agents = vec![
            AgentSpec::command(["/bin/sh", "-c", SCRIPT]).build(id("a")),
            AgentSpec {
                command: vec!["/bin/sh".into(), "-c".into(), ADAPTER.into()],
                ..AgentSpec::new(Driver::Rpc)
            }
            .build(id("live")),
        ];
        let mut bench = Self {
            folder,
            home,
            presets: BTreeMap::new(),
            locks: Arc::new(MemoryLockManager::new()),
            agents,
            actor: Actor::Operator,
        };
        bench.preset("old", json!({"variables": {"KEY": "env:OLD", "X_BASE_URL": "https://old.example"}}));
        bench.preset("new", json!({"variables": {"KEY": "env:NEW", "X_BASE_URL": "https://new.example"}}));
        bench.preset("held", json!({"variables": {"KEY": "env:HELD", "X_BASE_URL": "https://held.example"}}));
        bench.preset("bad", json!({"variables": {"KEY": "env:BAD"}}));
        bench
    }

    pub(super) fn preset(&mut self, preset: &str, value: Value) {
        self.presets.insert(name(preset), serde_json::from_value(value).unwrap());
    }

    pub(super) fn coordinator(&self) -> Coordinator {
        let ambient = [
            ("PATH", "/usr/bin:/bin"),
            ("OLD", "old-old-old"),
            ("NEW", "new-new-new"),
            ("BAD", "bad-bad-bad"),
            ("HELD", "held-held-held"),
        ];
        let ambient = Ambient::from_vars(ambient.map(|(name, value)| (name.into(), value.into())));
        let all = self.agents.iter().cloned().fold(Coordinator::new(), Coordinator::with_agent);
        all.with_ambient(ambient)
            .with_presets(self.presets.clone())
            .with_home(self.home.clone())
            .with_locks(self.locks.clone())
            .with_caller(self.actor.clone(), Channel::Caller)
    }

    pub(super) fn options(&self) -> SwitchOptions {
        SwitchOptions { probe: SwitchProbe::Answer, ..SwitchOptions::new(self.folder.path()) }
    }

    pub(super) fn state(&self) -> EnvState {
        EnvState::new(self.home.clone(), self.locks.clone())
    }

    /// What a run of the agent answers under what it is bound to.
    pub(super) async fn answer(&self, agent: &str) -> String {
        let records = self.state().read().unwrap();
        let binding = records.bindings.get(&id(agent)).unwrap_or_else(|| panic!("{agent} is bound"));
        let mut assignment = Assignment::new(id(agent)).with_preset(binding.preset.clone());
        assignment.snapshot =
            binding.snapshot.and_then(|id| records.snapshot(&assignment.agent, id)).cloned();
        let plan = Plan::new("hello", self.folder.path()).with_assignment(assignment);
        said(&self.coordinator().execute_parallel(plan).await.unwrap().agents[0]).trim().to_owned()
    }

    pub(super) fn audit(&self) -> String {
        let lines = std::fs::read_to_string(self.home.audit_file(1)).unwrap_or_default();
        let line = |line: &str| -> String {
            let line: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            ["actor", "action", "object", "decision", "detail"].map(word).join(" ").trim_end().to_owned()
                + "\n"
        };
        lines.lines().map(line).collect()
    }

    /// The live agent under what it is bound to, in no task.
    pub(super) fn live(&self) -> Arc<LiveAgent> {
        let agent = self.agents[1].clone();
        let options = SwitchOptions { unbound: Some(name("old")), ..self.options() };
        let environment = self.coordinator().agent_environment(&id("live"), &options).unwrap();
        let (events, _) = event_channel(id("live"));
        let marker = format!("{}:live", self.folder.path().file_name().unwrap().to_string_lossy());
        let context = RunContext {
            environment,
            events,
            cancel: CancellationToken::new(),
            limits: Limits::default(),
            output_dir: None,
            pace: Pace::new(marker.clone()),
            marker,
            guard: None,
            hidden: Vec::new(),
        };
        Arc::new(LiveAgent::new(agent, self.task(""), context, RestartPolicy::default()))
    }

    pub(super) fn task(&self, prompt: &str) -> TaskSpec {
        TaskSpec {
            id: "task".parse().unwrap(),
            prompt: prompt.into(),
            cwd: self.folder.path().to_owned(),
            mode: aiswitch_coordinator::PermissionMode::Write,
            model: None,
            session_id: None,
        }
    }
}
