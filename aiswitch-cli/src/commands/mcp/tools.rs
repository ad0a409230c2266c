//! The tools that the server offers, and what a client says to use them.

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::PermissionMode;
use aiswitch_tokens::NanoUsd;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::{Value, json};

use crate::args::{HowJoined, RunArgs, as_judge};
use crate::pick::{Pick, PickError};

/// A task for agents.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunCall {
    /// What the agents are to do
    pub(super) prompt: String,
    /// Who does it: NAME, ALIAS=NAME, NAME:MODEL or NAME*3; those of the configuration, or all that are installed, if empty
    #[serde(default)]
    pub(super) agents: Vec<Pick>,
    /// What they may do: `read-only`, or `write` where the server was started with it
    pub(super) mode: Option<PermissionMode>,
    /// The model, for agents that are not told another
    model: Option<String>,
    /// One after the other, each given the answers before it, instead of side by side
    #[serde(default)]
    sequential: bool,
    /// How long each agent may take: `90s`, `10m`, `1h`; without limit if absent
    timeout: Option<SpecDuration>,
    /// How the answers become one; all of them if absent
    aggregate: Option<HowJoined>,
    /// Who is given all answers at the end, for `judge` and `synthesize`
    pub(super) judge: Option<Pick>,
    /// Stop when all agents together have cost this many dollars, as far as costs are known; without limit if absent
    #[serde(default, deserialize_with = "dollars")]
    #[schemars(with = "Option<f64>")]
    budget_usd: Option<NanoUsd>,
}

/// A run that is kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultCall {
    /// The run's id, the start of one, or `last`
    pub(super) run: String,
}

/// Nothing has to be said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentsCall {}

fn dollars<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Option<NanoUsd>, D::Error> {
    let Some(usd) = Option::<f64>::deserialize(given)? else { return Ok(None) };
    NanoUsd::from_usd(usd).map(Some).ok_or_else(|| D::Error::custom(format!("{usd} is no amount of dollars")))
}

impl RunCall {
    /// The same as a command line would say, in this mode.
    ///
    /// # Errors
    /// The judge is several.
    pub(super) fn into_args(self, mode: PermissionMode) -> Result<(RunArgs, String), PickError> {
        let Self { prompt, agents, model, sequential, timeout, aggregate, judge, budget_usd, mode: _ } = self;
        let plain = RunArgs::plain();
        let aggregate = aggregate.unwrap_or(plain.aggregate);
        let judge = judge.map(as_judge).transpose()?;
        let args = RunArgs {
            agents,
            mode: Some(mode),
            model,
            sequential,
            timeout,
            aggregate,
            judge,
            budget_usd,
            ..plain
        };
        Ok((args, prompt))
    }
}

/// What `tools/list` answers.
pub(super) fn list() -> Value {
    json!({"tools": [
        {
            "name": "run",
            "title": "Ask AI agents",
            "description": "Gives one task to one or more AI agent CLIs on this machine, side by side or in turn, and \
                returns their answers, what they cost and what went wrong. Takes as long as they do.",
            "inputSchema": schema_for!(RunCall),
            "annotations": {"readOnlyHint": false, "destructiveHint": true, "openWorldHint": true},
        },
        {
            "name": "agents",
            "title": "List AI agents",
            "description": "Lists the agents that are known here, and whether they are installed.",
            "inputSchema": schema_for!(AgentsCall),
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
        {
            "name": "result",
            "title": "Read a kept report",
            "description": "Returns the report of an earlier run.",
            "inputSchema": schema_for!(ResultCall),
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
    ]})
}
