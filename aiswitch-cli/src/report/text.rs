//! The report as text, at most 80 columns wide.

use aiswitch_coordinator::{CostSummary, Usage};

use super::{AgentRow, AlertRow, CENT, NOT_KNOWN, Report, RunRow, Used};
use crate::output::human;

/// How long a name is shown, in characters.
const NAME_CHARS_MAX: usize = 20;

/// The same in the table of agents, which has more columns.
const AGENT_CHARS_MAX: usize = 12;

/// How many runs are shown; the other forms have more.
const RUNS_MAX: usize = 10;

impl Report {
    /// The report as text.
    pub(crate) fn text(&self) -> String {
        let whom = self.agent.as_deref().map(|agent| format!(", agent {}", human::excerpt(agent, 20)));
        let mut text = format!("{}{}\n", self.span(), whom.unwrap_or_default());
        text.extend(self.gap().map(|gap| gap + "\n"));
        let mut tables: Vec<String> = [("DAY", &self.days), ("MODEL", &self.models)]
            .into_iter()
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(what, rows)| used_table(what, rows, &self.total))
            .collect();
        tables.extend((!self.agents.is_empty()).then(|| agents_table(&self.agents)));
        tables.extend((!self.alerts.is_empty()).then(|| self.alerts_table()));
        tables.extend((!self.runs.is_empty()).then(|| self.runs_table()));
        for table in &tables {
            text.push('\n');
            text.push_str(table);
        }
        if tables.is_empty() {
            text.push_str("nothing is known of that time; aiswitch run keeps what its agents do\n");
        }
        text
    }

    fn alerts_table(&self) -> String {
        let head = ["ALERT", "AGENT", "STATE", "NEWEST"].map(str::to_owned).to_vec();
        let row = |alert: &AlertRow| {
            let value = alert.value.map(|value| human::figure(&alert.metric, value));
            vec![
                human::excerpt(&alert.rule, NAME_CHARS_MAX),
                human::excerpt(alert.agent.as_deref().unwrap_or("(system)"), AGENT_CHARS_MAX),
                self.state(alert.state),
                value.unwrap_or_else(|| NOT_KNOWN.to_owned()),
            ]
        };
        let rows = std::iter::once(head).chain(self.alerts.iter().map(row));
        human::table(&rows.collect::<Vec<_>>())
    }

    fn runs_table(&self) -> String {
        let head = ["RUN", "STARTED", "STATUS", "TOOK", "COST"].map(str::to_owned).to_vec();
        let row = |row: &RunRow| {
            vec![
                row.run.run_id.to_string(),
                self.at(row.run.started_at, "%m-%d %H:%M"),
                row.run.status.to_string(),
                row.run.duration_ms.map_or_else(|| NOT_KNOWN.to_owned(), human::duration),
                short_cost(row.cost.unwrap_or_default()),
            ]
        };
        let rows = std::iter::once(head).chain(self.runs.iter().take(RUNS_MAX).map(row));
        let more = self.runs.len().saturating_sub(RUNS_MAX);
        let more = match (more, self.are_runs_cut) {
            (0, false) => String::new(),
            (0, true) => "and earlier ones\n".to_owned(),
            (more, false) => format!("and {more} earlier ones\n"),
            (more, true) => format!("and at least {more} earlier ones\n"),
        };
        human::table(&rows.collect::<Vec<_>>()) + &more
    }
}

fn used_table(what: &str, rows: &[Used], total: &Used) -> String {
    let head = [what, "CALLS", "INPUT", "OUTPUT", "READ", "WRITTEN", "COST"].map(str::to_owned).to_vec();
    let row = |used: &Used, name: &str| {
        let figure = |pick: fn(Usage) -> Option<u64>| short(used.usage.and_then(pick));
        vec![
            human::excerpt(name, NAME_CHARS_MAX),
            human::short(used.calls),
            figure(|usage| usage.input_tokens),
            figure(|usage| usage.output_tokens),
            figure(|usage| usage.cache_read_tokens),
            figure(|usage| usage.cache_write_tokens),
            short_cost(used.cost),
        ]
    };
    let all = rows.iter().map(|used| row(used, used.name())).chain([row(total, "all")]);
    human::table(&std::iter::once(head).chain(all).collect::<Vec<_>>())
}

fn agents_table(agents: &[AgentRow]) -> String {
    let head = ["AGENT", "CALLS", "TOKENS", "COST", "TASKS", "ERRORS", "P50", "P95", "MEMORY"];
    let row = |agent: &AgentRow| {
        let figure = |metric: &str, value: Option<f64>| {
            value.map_or_else(|| NOT_KNOWN.to_owned(), |value| human::figure(metric, value))
        };
        vec![
            human::excerpt(agent.used.name(), AGENT_CHARS_MAX),
            human::short(agent.used.calls),
            short(agent.used.usage.and_then(Usage::total)),
            short_cost(agent.used.cost),
            figure("task_count", agent.tasks),
            figure("error_count", agent.errors),
            figure("response_time_ms", agent.response_ms_p50),
            figure("response_time_ms", agent.response_ms_p95),
            figure("memory_bytes", agent.memory_bytes_max),
        ]
    };
    let rows = std::iter::once(head.map(str::to_owned).to_vec()).chain(agents.iter().map(row));
    human::table(&rows.collect::<Vec<_>>())
}

fn short(tokens: Option<u64>) -> String {
    tokens.map_or_else(|| NOT_KNOWN.to_owned(), human::short)
}

/// What is known of a cost; a `+` says that it is not all, `?` that nobody knows any of it.
fn short_cost(CostSummary { usd, unpriced }: CostSummary) -> String {
    let more = if unpriced > 0 { "+" } else { "" };
    match usd {
        None if unpriced == 0 => NOT_KNOWN.to_owned(),
        None => "?".to_owned(),
        Some(usd) if usd.0 > 0 && usd.0 < CENT => format!("<$0.01{more}"),
        Some(usd) => format!("${:.2}{more}", usd.usd()),
    }
}
