//! The report as one page for a browser: no script, no other file, no network.
//!
//! The few plots are written out here: the smallest plotting library would be four crates for a line and a bar.

use aiswitch_coordinator::{CostSummary, RunState, RunStatus, Usage};

use super::plot::{bar, line};
use super::{AgentRow, AlertRow, NOT_KNOWN, Report, RunRow, SeriesRow, Used};
use crate::output::harmless::harmless;
use crate::output::human;

/// How many plots a page has.
const PLOTS_MAX: usize = 150;

/// How long a label and a prompt are shown, in characters.
const LABEL_CHARS_MAX: usize = 60;
const PROMPT_CHARS_MAX: usize = 100;

const STYLE: &str = include_str!("page.css");

/// The page may load nothing, whatever stands in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

impl Report {
    /// The report as one page.
    pub(crate) fn page(&self) -> String {
        let whom = self.agent.as_deref().map(|agent| format!(" of {}", text(agent, LABEL_CHARS_MAX)));
        let title = format!("aiswitch report{}", whom.unwrap_or_default());
        let sections = [
            self.figures(),
            self.alerts_section(),
            used_section("Days", "day", &self.days, "<p>Days without a call are left out.</p>\n"),
            used_section("Models", "model", &self.models, ""),
            agents_section(&self.agents),
            self.runs_section(),
            self.plots_section(),
        ];
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width\"/>\n<title>{title}</title>\n\
             <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n{}\
             <footer>Made {} by aiswitch {}. {NOT_KNOWN} stands where nobody knows a figure. Times and days: {}.</footer>\n\
             </body>\n</html>\n",
            text(&self.span(), usize::MAX),
            sections.concat(),
            self.at(self.made_at, "%Y-%m-%d %H:%M"),
            env!("CARGO_PKG_VERSION"),
            text(&self.zone, LABEL_CHARS_MAX),
        )
    }

    /// The largest figures, and what they leave out.
    fn figures(&self) -> String {
        let ended = |status: RunStatus| {
            self.runs.iter().filter(|row| row.run.status == RunState::Ended(status)).count()
        };
        let runs = format!("{}{}", self.runs.len(), if self.are_runs_cut { "+" } else { "" });
        let usage = self.total.usage;
        let figures = [
            ("cost", self.total.cost()),
            ("calls", self.total.calls.to_string()),
            ("tokens of prompts", known(usage.and_then(Usage::prompt))),
            ("tokens of answers", known(usage.and_then(|usage| usage.output_tokens))),
            ("runs", runs),
            ("completed runs", ended(RunStatus::Completed).to_string()),
        ];
        let figure = |(what, figure): &(&str, String)| format!("<div><b>{figure}</b>{what}</div>");
        let gap = self.gap().map(|gap| format!("<p class=\"gap\">{}</p>\n", text(&gap, usize::MAX)));
        let figures: Vec<String> = figures.iter().map(figure).collect();
        format!("<div class=\"figures\">{}</div>\n{}", figures.concat(), gap.unwrap_or_default())
    }

    /// Nothing where there is no alert to tell of.
    fn alerts_section(&self) -> String {
        if self.alerts.is_empty() {
            return String::new();
        }
        let row = |alert: &AlertRow| {
            let class = if alert.state.is_firing() { "bad" } else { "" };
            let value = alert.value.map(|value| human::figure(&alert.metric, value));
            cells(&[
                ("", text(&alert.rule, LABEL_CHARS_MAX)),
                ("", text(alert.agent.as_deref().unwrap_or("(system)"), LABEL_CHARS_MAX)),
                (class, self.state(alert.state)),
                (
                    "",
                    format!(
                        "{} {}",
                        text(&alert.metric, LABEL_CHARS_MAX),
                        text(&alert.condition, LABEL_CHARS_MAX)
                    ),
                ),
                ("n", value.unwrap_or_else(|| NOT_KNOWN.to_owned())),
            ])
        };
        let rows: Vec<String> = self.alerts.iter().map(row).collect();
        section("Alerts", &table(&["rule", "agent", "how it is", "of what", "newest"], &rows))
    }

    fn runs_section(&self) -> String {
        if self.runs.is_empty() {
            return section("Runs", "<p>None began in this time.</p>");
        }
        let row = |RunRow { run, cost }: &RunRow| {
            let agents: Vec<&str> = run.agents.iter().map(AsRef::as_ref).collect();
            let class = match run.status {
                RunState::Ended(RunStatus::Completed) => "good",
                RunState::Running => "",
                _ => "bad",
            };
            cells(&[
                ("", text(&run.run_id.to_string(), LABEL_CHARS_MAX)),
                ("", self.at(run.started_at, "%Y-%m-%d %H:%M")),
                (class, run.status.to_string()),
                ("n", run.duration_ms.map_or_else(|| NOT_KNOWN.to_owned(), human::duration)),
                ("n", super::cost(cost.unwrap_or_default())),
                ("", text(&agents.join(", "), LABEL_CHARS_MAX)),
                ("", text(&run.prompt_start, PROMPT_CHARS_MAX)),
            ])
        };
        let rows: Vec<String> = self.runs.iter().map(row).collect();
        let cut = if self.are_runs_cut { "<p>Earlier runs of this time are not listed.</p>\n" } else { "" };
        let head = ["run", "started", "status", "took", "cost", "agents", "prompt"];
        section("Runs", &(table(&head, &rows) + cut))
    }

    fn plots_section(&self) -> String {
        // A state is no quantity.
        let shown: Vec<&SeriesRow> = self.series.iter().filter(|series| series.metric != "status").collect();
        if shown.is_empty() {
            return section("Figures over time", "<p>Nothing was measured in this time.</p>");
        }
        let plot = |series: &&SeriesRow| {
            let agent = series.agent.as_deref().unwrap_or("(system)");
            let what = if series.kind == "count" { "sum" } else { "newest" };
            let largest = series.steps.iter().flatten().copied().fold(0.0, f64::max);
            let trend = match (human::arrow(series.trend_change, largest), series.trend_change) {
                (' ', _) | (_, None) => String::new(),
                (arrow, Some(change)) => {
                    format!(", {arrow} by {}", human::figure(&series.metric, change.abs()))
                }
            };
            format!(
                "<figure><figcaption><b>{}</b> {}<br/>{what} {}{}</figcaption>{}</figure>\n",
                text(agent, LABEL_CHARS_MAX),
                text(&series.metric, LABEL_CHARS_MAX),
                human::figure(&series.metric, series.figure),
                trend,
                line(series, self),
            )
        };
        let plots: Vec<String> = shown.iter().take(PLOTS_MAX).map(plot).collect();
        let cut = match shown.len().saturating_sub(PLOTS_MAX) {
            0 => String::new(),
            more => format!("<p>{more} more are not shown; --agent picks one.</p>\n"),
        };
        let step = u64::try_from(shown[0].step_ms).map(human::duration).unwrap_or_default();
        let explained = format!(
            "<p>One figure is of {step}: the mean of what was measured, or the sum of what is counted. \
             Where the line is broken nothing was measured. An arrow says where the figures went.</p>\n"
        );
        let plots = format!("<div class=\"plots\">\n{}</div>\n", plots.concat());
        section("Figures over time", &(explained + &plots + &cut))
    }
}

fn used_section(title: &str, what: &str, rows: &[Used], note: &str) -> String {
    if rows.is_empty() {
        return section(title, "<p>Nobody told what was used in this time.</p>");
    }
    let tokens_max = rows.iter().filter_map(tokens).max();
    let usd_max = rows.iter().filter_map(|used| used.cost.usd).max();
    let row = |used: &Used| {
        let figure = |pick: fn(Usage) -> Option<u64>| ("n", known(used.usage.and_then(pick)));
        cells(&[
            ("", text(used.name(), LABEL_CHARS_MAX)),
            ("n", used.calls.to_string()),
            figure(|usage| usage.input_tokens),
            figure(|usage| usage.output_tokens),
            figure(|usage| usage.cache_read_tokens),
            figure(|usage| usage.cache_write_tokens),
            ("b", bar(share(tokens(used), tokens_max))),
            ("n", used.cost()),
            ("b", bar(share(used.cost.usd.map(|usd| usd.0), usd_max.map(|usd| usd.0)))),
        ])
    };
    let head = [what, "calls", "input", "output", "cache read", "cache written", "tokens", "cost", ""];
    section(title, &(table(&head, &rows.iter().map(row).collect::<Vec<_>>()) + note))
}

fn agents_section(agents: &[AgentRow]) -> String {
    if agents.is_empty() {
        return section("Agents", "<p>No agent worked in this time.</p>");
    }
    let tokens_max = agents.iter().filter_map(|agent| tokens(&agent.used)).max();
    let usd_max = agents.iter().filter_map(|agent| agent.used.cost.usd).max();
    let row = |agent: &AgentRow| {
        let CostSummary { usd, .. } = agent.used.cost;
        let figure = |metric: &str, value: Option<f64>| {
            ("n", value.map_or_else(|| NOT_KNOWN.to_owned(), |value| human::figure(metric, value)))
        };
        cells(&[
            ("", text(agent.used.name(), LABEL_CHARS_MAX)),
            figure("task_count", agent.tasks),
            figure("error_count", agent.errors),
            figure("response_time_ms", agent.response_ms_p50),
            figure("response_time_ms", agent.response_ms_p95),
            figure("cpu_percent", agent.cpu_percent_mean),
            figure("memory_bytes", agent.memory_bytes_max),
            ("n", agent.used.calls.to_string()),
            ("n", known(tokens(&agent.used))),
            ("b", bar(share(tokens(&agent.used), tokens_max))),
            ("n", agent.used.cost()),
            ("b", bar(share(usd.map(|usd| usd.0), usd_max.map(|usd| usd.0)))),
        ])
    };
    let head = [
        "agent",
        "tasks",
        "errors",
        "p50",
        "p95",
        "CPU, mean",
        "memory, max",
        "calls",
        "tokens",
        "",
        "cost",
        "",
    ];
    section("Agents", &table(&head, &agents.iter().map(row).collect::<Vec<_>>()))
}

fn tokens(used: &Used) -> Option<u64> {
    used.usage.and_then(Usage::total)
}

/// How much of the largest something is; nothing where either is not known.
#[expect(clippy::cast_precision_loss, reason = "the length of a bar")]
fn share(part: Option<u64>, largest: Option<u64>) -> Option<f64> {
    let (part, largest) = (part?, largest?);
    Some(if largest == 0 { 0.0 } else { part as f64 / largest as f64 })
}

fn known(figure: Option<u64>) -> String {
    figure.map_or_else(|| NOT_KNOWN.to_owned(), human::short)
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

fn table(head: &[&str], rows: &[String]) -> String {
    let head: Vec<String> = head.iter().map(|name| format!("<th>{name}</th>")).collect();
    format!("<table>\n<tr>{}</tr>\n{}</table>\n", head.concat(), rows.concat())
}

/// A row of cells, each with its class; what is in them is markup already.
fn cells(cells: &[(&str, String)]) -> String {
    let cell = |(class, cell): &(&str, String)| format!("<td class=\"{class}\">{cell}</td>");
    format!("<tr>{}</tr>\n", cells.iter().map(cell).collect::<Vec<_>>().concat())
}

/// Somebody else's words as text of the page: in one line, cut, and with nothing in them that a browser would obey.
pub(super) fn text(raw: &str, chars_max: usize) -> String {
    let mut escaped = String::new();
    for c in harmless(&human::excerpt(raw, chars_max)).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
