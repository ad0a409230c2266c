//! One item of `--agent`: which agent, under which name, how often.

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use aiswitch_coordinator::{AGENTS_MAX, AgentId, PresetName};
use serde::Deserialize;

/// One item of `--agent`: `[ALIAS=]NAME[:MODEL][@PRESET][*COUNT]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pick {
    /// The name in the run; the agent's own when there is none.
    pub(crate) alias: Option<AgentId>,
    /// The agent.
    pub(crate) agent: AgentId,
    /// The model.
    pub(crate) model: Option<String>,
    /// The preset.
    pub(crate) preset: Option<PresetName>,
    /// How many of this kind are started; they are named `NAME-1`, `NAME-2`, …
    pub(crate) count: Option<NonZeroUsize>,
}

/// What is wrong with an item of `--agent`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickError {
    #[error(transparent)]
    Agent(#[from] aiswitch_rpc::protocol::InvalidId),
    #[error(transparent)]
    Preset(#[from] aiswitch_env::EnvError),
    #[error("no model stands behind the colon")]
    NoModel,
    #[error("`{count}` is not a number of agents from 1 to {AGENTS_MAX}")]
    Count { count: String },
    #[error("one agent judges, not several")]
    SeveralJudges,
}

impl FromStr for Pick {
    type Err = PickError;

    fn from_str(item: &str) -> Result<Self, PickError> {
        let (alias, rest) = match item.split_once('=') {
            Some((alias, rest)) if !alias.contains([':', '@', '*']) => (Some(alias.parse()?), rest),
            _ => (None, item),
        };
        let (rest, count) = match rest.rsplit_once('*') {
            Some((rest, count)) => (rest, Some(parse_count(count)?)),
            None => (rest, None),
        };
        let (rest, preset) = match rest.rsplit_once('@') {
            Some((rest, preset)) => (rest, Some(preset.parse()?)),
            None => (rest, None),
        };
        let (agent, model) = match rest.split_once(':') {
            Some((_, "")) => return Err(PickError::NoModel),
            Some((agent, model)) => (agent, Some(model.to_owned())),
            None => (rest, None),
        };
        Ok(Self { alias, agent: agent.parse()?, model, preset, count })
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part =
            |start: &str, text: Option<String>| text.map(|text| format!("{start}{text}")).unwrap_or_default();
        let alias = self.alias.as_ref().map(|alias| format!("{alias}=")).unwrap_or_default();
        write!(
            f,
            "{alias}{}{}{}{}",
            self.agent,
            part(":", self.model.clone()),
            part("@", self.preset.as_ref().map(ToString::to_string)),
            part("*", self.count.map(|count| count.to_string())),
        )
    }
}

impl TryFrom<String> for Pick {
    type Error = PickError;

    fn try_from(item: String) -> Result<Self, PickError> {
        item.parse()
    }
}

impl schemars::JsonSchema for Pick {
    fn schema_name() -> Cow<'static, str> {
        "Pick".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "[ALIAS=]NAME[:MODEL][@PRESET][*COUNT]",
            "type": "string",
            "minLength": 1
        })
    }
}

impl Pick {
    /// An agent under its own name, once.
    pub(crate) fn of(agent: AgentId) -> Self {
        Self { alias: None, agent, model: None, preset: None, count: None }
    }

    /// The names in the run.
    ///
    /// # Errors
    /// A name that becomes too long by its number.
    pub(crate) fn ids(&self) -> Result<Vec<AgentId>, PickError> {
        let name = self.alias.as_ref().unwrap_or(&self.agent);
        match self.count {
            None => Ok(vec![name.clone()]),
            Some(count) => {
                (1..=count.get()).map(|number| Ok(format!("{name}-{number}").parse::<AgentId>()?)).collect()
            }
        }
    }
}

fn parse_count(count: &str) -> Result<NonZeroUsize, PickError> {
    match count.parse::<NonZeroUsize>() {
        Ok(number) if number.get() <= AGENTS_MAX => Ok(number),
        _ => Err(PickError::Count { count: count.escape_default().to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(item: &str) -> (Option<String>, String, Option<String>, Option<String>, Option<usize>) {
        let pick: Pick = item.parse().unwrap();
        (
            pick.alias.map(|alias| alias.to_string()),
            pick.agent.to_string(),
            pick.model,
            pick.preset.map(|preset| preset.to_string()),
            pick.count.map(NonZeroUsize::get),
        )
    }

    #[test]
    fn every_part_of_an_item_but_the_name_may_be_left_out() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(pick("claude"), (None, "claude".into(), None, None, None));
        assert_eq!(pick("claude*3"), (None, "claude".into(), None, None, Some(3)));
        assert_eq!(pick("a=claude"), (some("a"), "claude".into(), None, None, None));
        assert_eq!(
            pick("a=opencode:openai/gpt-5:high@work*2"),
            (some("a"), "opencode".into(), some("openai/gpt-5:high"), some("work"), Some(2))
        );
        assert_eq!(pick("echo:a=b"), (None, "echo".into(), some("a=b"), None, None));
    }

    #[test]
    fn copies_are_numbered() {
        let ids = "twin=echo*2".parse::<Pick>().unwrap().ids().unwrap();
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), ["twin-1", "twin-2"]);
        let name = "a".repeat(64);
        assert!(format!("{name}*2").parse::<Pick>().unwrap().ids().is_err());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for bad in [
            "",
            "=",
            "a=",
            "=a",
            "Claude",
            "a b",
            "echo:",
            "echo@",
            "echo@No",
            "echo*",
            "echo*0",
            "echo*-1",
            "echo*1001",
        ] {
            assert!(bad.parse::<Pick>().is_err(), "{bad}");
        }
    }
}
