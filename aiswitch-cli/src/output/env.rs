//! Switches, snapshots and what speaks against them, as `aiswitch env` prints them.

use std::collections::BTreeMap;

use aiswitch_coordinator::{
    AgentId, ChangeKind, EnvRecords, EnvSnapshot, SwitchRecord, SwitchStep, ValidationResult,
};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::human::table;
use crate::error::chain;

/// What stands where there is no preset.
const NONE: &str = "-";

/// What `aiswitch env history --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HistoryView {
    /// What agents run under now, where they are bound to a preset.
    bindings: Vec<BindingView>,
    /// The switches that are kept, the oldest first.
    switches: Vec<SwitchView>,
    /// The snapshots that are kept, the oldest first.
    snapshots: Vec<SnapshotView>,
}

/// What one agent runs under.
#[derive(Debug, Serialize, JsonSchema)]
struct BindingView {
    agent: String,
    preset: String,
    /// The snapshot that says what the preset was; `null` for the preset as it is now.
    snapshot: Option<String>,
    session_id: Option<String>,
}

/// One switch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SwitchView {
    /// Its name, and that of the snapshot of what was before it.
    id: String,
    agent: String,
    /// The preset before; `null` for none.
    from: Option<String>,
    /// The preset that it leads to; `null` for none.
    to: Option<String>,
    /// The snapshot that it goes back to; `null` for a preset as it is.
    to_snapshot: Option<String>,
    session_id: Option<String>,
    /// `begun`, `probed`, `committed` or `rolled_back`.
    step: &'static str,
    /// Why it was taken back, or why there is no snapshot of what was before.
    reason: Option<String>,
    #[schemars(with = "String")]
    started_at: DateTime<Utc>,
    #[schemars(with = "Option<String>")]
    ended_at: Option<DateTime<Utc>>,
}

/// One snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotView {
    id: String,
    agent: String,
    #[schemars(with = "String")]
    timestamp: DateTime<Utc>,
    /// The preset; `null` for an agent that has the credentials of its caller.
    preset: Option<String>,
    /// Name → `env:NAME`, `file:PATH`, `ENC[…]`, or a text that is no secret.
    variables: BTreeMap<String, String>,
    session_id: Option<String>,
    checksum: String,
}

/// What `aiswitch env validate --json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct ValidationView {
    agent: String,
    preset: Option<String>,
    valid: bool,
    problems: Vec<ProblemView>,
    changes: Vec<ChangeView>,
}

/// What speaks against a switch.
#[derive(Debug, Serialize)]
struct ProblemView {
    kind: &'static str,
    message: String,
}

/// What would become of one variable.
#[derive(Debug, Serialize)]
struct ChangeView {
    name: String,
    change: ChangeKind,
    /// Whether it leads the agent's traffic or state elsewhere.
    redirects: bool,
}

impl HistoryView {
    pub(crate) fn of(records: &EnvRecords, agent: Option<&AgentId>) -> Self {
        let is_wanted = |name: &str| agent.is_none_or(|agent| agent.as_ref() == name);
        let bindings = records.bindings.iter().filter(|(agent, _)| is_wanted(agent.as_ref()));
        let switches = records.switches.iter().filter(|record| is_wanted(record.agent.as_ref()));
        let snapshots = records.snapshots.iter().filter(|snapshot| is_wanted(&snapshot.agent_id));
        Self {
            bindings: bindings
                .map(|(agent, binding)| BindingView {
                    agent: agent.to_string(),
                    preset: binding.preset.to_string(),
                    snapshot: binding.snapshot.map(|id| id.to_string()),
                    session_id: binding.session_id.clone(),
                })
                .collect(),
            switches: switches.map(SwitchView::of).collect(),
            snapshots: snapshots.map(SnapshotView::of).collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let rows = |head: &[&str], rows: Vec<Vec<String>>| {
            let head = head.iter().map(ToString::to_string).collect();
            table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
        let bindings = self.bindings.iter().map(|bound| {
            vec![
                bound.agent.clone(),
                bound.preset.clone(),
                or_none(&bound.snapshot),
                or_none(&bound.session_id),
            ]
        });
        let switches = self.switches.iter().map(|switch| {
            let times =
                [when(switch.started_at), switch.agent.clone(), or_none(&switch.from), or_none(&switch.to)];
            let rest =
                [switch.step.replace('_', " "), switch.id.clone(), switch.reason.clone().unwrap_or_default()];
            times.into_iter().chain(rest).collect()
        });
        let snapshots = self.snapshots.iter().map(|snapshot| {
            let variables = snapshot.variables.keys().map(String::as_str).collect::<Vec<_>>().join(",");
            vec![
                snapshot.id.clone(),
                when(snapshot.timestamp),
                snapshot.agent.clone(),
                or_none(&snapshot.preset),
                variables,
            ]
        });
        [
            rows(&["AGENT", "PRESET", "AS IN SNAPSHOT", "SESSION"], bindings.collect()),
            rows(&["SWITCH", "AGENT", "FROM", "TO", "STEP", "SNAPSHOT BEFORE", "WHY"], switches.collect()),
            rows(&["SNAPSHOT", "MADE", "AGENT", "PRESET", "VARIABLES"], snapshots.collect()),
        ]
        .join("\n")
    }
}

impl SwitchView {
    pub(crate) fn of(record: &SwitchRecord) -> Self {
        let to = record.to.as_ref();
        Self {
            id: record.id.to_string(),
            agent: record.agent.to_string(),
            from: record.from.as_ref().map(ToString::to_string),
            to: to.map(|binding| binding.preset.to_string()),
            to_snapshot: to.and_then(|binding| binding.snapshot).map(|id| id.to_string()),
            session_id: to.and_then(|binding| binding.session_id.clone()),
            step: match record.step {
                SwitchStep::Begun => "begun",
                SwitchStep::Probed => "probed",
                SwitchStep::Committed => "committed",
                SwitchStep::RolledBack => "rolled_back",
            },
            reason: record.reason.clone(),
            started_at: record.started_at,
            ended_at: record.ended_at,
        }
    }

    pub(crate) fn text(&self) -> String {
        let named = |preset: &Option<String>| match preset {
            Some(preset) => format!("preset {preset}"),
            None => "no preset".to_owned(),
        };
        let Self { agent, id, .. } = self;
        let done = format!("{agent} runs under {}, before it was {}", named(&self.to), named(&self.from));
        match &self.reason {
            None => format!("{done}; back: aiswitch env rollback {agent} {id}"),
            Some(reason) => format!("{done}, of which there is no snapshot: {reason}"),
        }
    }
}

impl SnapshotView {
    pub(crate) fn of(snapshot: &EnvSnapshot) -> Self {
        let variables = snapshot.variables.iter().map(|(name, value)| (name.clone(), value.value.clone()));
        Self {
            id: snapshot.id.to_string(),
            agent: snapshot.agent_id.clone(),
            timestamp: snapshot.timestamp,
            preset: snapshot.preset_name.as_ref().map(ToString::to_string),
            variables: variables.collect(),
            session_id: snapshot.session_id.clone(),
            checksum: snapshot.checksum.clone(),
        }
    }
}

impl ValidationView {
    pub(crate) fn of(found: &ValidationResult) -> Self {
        let changes = found.changes.iter().map(|change| ChangeView {
            name: change.name.clone(),
            change: change.change,
            redirects: change.redirects,
        });
        Self {
            agent: found.agent.to_string(),
            preset: found.preset.as_ref().map(ToString::to_string),
            valid: found.is_valid(),
            problems: found
                .problems
                .iter()
                .map(|problem| ProblemView { kind: problem.kind(), message: chain(problem) })
                .collect(),
            changes: changes.collect(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for change in &self.changes {
            let what = match change.change {
                ChangeKind::Set => "set",
                ChangeKind::Changed => "changed",
                ChangeKind::Kept => "kept",
                ChangeKind::Unset => "unset",
            };
            let leads = if change.redirects { "leads elsewhere" } else { "" };
            rows.push(vec![format!("  {what}"), change.name.clone(), leads.to_owned()]);
        }
        let verdict = if self.valid { "can be moved" } else { "cannot be moved" };
        let preset = self.preset.as_deref().unwrap_or(NONE);
        let problems: Vec<String> =
            self.problems.iter().map(|problem| format!("  problem  {}\n", problem.message)).collect();
        let problems = problems.concat();
        format!("{} {verdict} to preset {preset}\n{}{problems}", self.agent, table(&rows))
    }
}

fn when(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}
