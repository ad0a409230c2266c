//! What is asked of the logs.

use chrono::{DateTime, Utc};

use super::expression::Expression;
use super::filter::DISORDER_MAX;
use super::line::Line;
use super::needle::Needle;
use super::pattern::LogPattern;
use super::record::LogLevel;
use super::segment::{Ended, LogSource, Segment};
use crate::error::HomeError;
use crate::{AgentId, Home};

/// What is asked of the logs; the default asks for all.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// At least as grave.
    pub level: Option<LogLevel>,
    /// About a run: its id, or the start of it.
    pub run: Option<String>,
    /// About one of these agents; none asks for all logs.
    pub agents: Vec<AgentId>,
    /// What the message or a text among the fields has.
    pub grep: Option<LogPattern>,
    /// What else must hold.
    pub condition: Option<Expression>,
}

impl LogQuery {
    /// Whether a line fits.
    pub(crate) fn fits(&self, line: &Line<'_>) -> bool {
        self.since.is_none_or(|since| line.at >= since)
            && self.until.is_none_or(|until| line.at < until)
            && self.level.is_none_or(|level| line.level >= level)
            && self.run.as_ref().is_none_or(|run| line.run.as_ref().is_some_and(|of| of.0.starts_with(run)))
            && self.grep.as_ref().is_none_or(|grep| line.any_text(|text| grep.is_match(text)))
            && self.condition.as_ref().is_none_or(|condition| condition.fits(line))
    }

    /// What each line that fits has.
    pub(crate) fn needles(&self) -> Vec<Needle> {
        let run = self.run.as_deref().map(Needle::start);
        let level =
            self.level.filter(|level| *level == LogLevel::Error).map(|level| Needle::whole(level.name()));
        let condition = self.condition.iter().flat_map(Expression::needles);
        let grep = self.grep.iter().flat_map(LogPattern::needles).cloned();
        run.into_iter().chain(level).chain(condition).chain(grep).collect()
    }

    /// The logs that can have a fitting line.
    pub(crate) fn sources(&self, home: &Home) -> Result<Vec<LogSource>, HomeError> {
        let mut sources = LogSource::all(home)?;
        if !self.agents.is_empty() {
            sources.retain(|source| matches!(source, LogSource::Agent(agent) if self.agents.contains(agent)));
        }
        Ok(sources)
    }

    /// Those of all files of a log that can have a fitting line.
    pub(crate) fn choose(&self, segments: Vec<Segment>) -> Vec<Ended> {
        let is_after = |segment: &Segment| {
            segment.first.zip(self.until).is_some_and(|(first, until)| first - until > DISORDER_MAX)
        };
        let mut chosen = Ended::all(segments, |segment| !is_after(segment));
        chosen.retain(|Ended { last, .. }| {
            last.zip(self.since).is_none_or(|(last, since)| since - last <= DISORDER_MAX)
        });
        chosen
    }
}
