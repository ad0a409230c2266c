//! What a report shows, and what it never does.

use aiswitch_coordinator::{Cost, CostSource, NanoUsd, RunMode, RunState, RunStatus, Usage};
use aiswitch_metrics::{
    AgentSample, AlertCondition, MemoryMetricsStore, MetricsStore as _, Sample, SeriesQuery, Source, series,
};
use aiswitch_tokens::{GroupBy, Groups, Period, UsageKey, UsageRecord};

use proptest::prelude::*;

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn frame() -> Frame {
    Frame {
        since: time("2026-11-20T00:00:00Z"),
        until: time("2026-11-22T00:00:00Z"),
        now: time("2026-11-22T00:00:30Z"),
        zone: TimeZone::get("Asia/Kolkata").unwrap(),
        agent: None,
    }
}

/// A call of an agent; `None` is a cost that nobody knows.
fn call(at: &str, agent: &str, model: Option<&str>, usd: Option<u64>) -> UsageRecord {
    let usage = Usage { input_tokens: Some(1_200), output_tokens: Some(34), ..Usage::default() };
    UsageRecord {
        key: UsageKey { source: "test".to_owned(), message: at.to_owned() },
        at: at.parse().unwrap(),
        agent: agent.to_owned(),
        model: model.map(str::to_owned),
        preset: None,
        task: None,
        run: Some(RUN.to_owned()),
        session: None,
        tier: None,
        requests: Some(1),
        usage: Some(usage),
        cost: match usd {
            Some(nanos) => Cost { usd: Some(NanoUsd(nanos)), source: CostSource::Reported },
            None => Cost::default(),
        },
    }
}

const RUN: &str = "01K9XJ5V7C8N3T2B4M6P000001";

fn run(id: &str, status: RunState, prompt: &str) -> RunRecordSummary {
    RunRecordSummary {
        run_id: id.parse().unwrap(),
        status,
        mode: RunMode::Parallel,
        agents: vec!["claude".parse().unwrap(), "codex".parse().unwrap()],
        prompt_start: prompt.to_owned(),
        cwd: "/repo".into(),
        started_at: time("2026-11-20T20:00:00Z"),
        duration_ms: (status != RunState::Running).then_some(61_500),
        process: None,
    }
}

fn groups(calls: &[UsageRecord], by: GroupBy) -> Vec<UsageGroup> {
    let mut groups = Groups::new(by);
    for call in calls {
        groups.add(call);
    }
    groups.finish()
}

/// A sample of an agent's memory, so many minutes into the report's time.
fn sample(agent: &str, minute: i64, memory_bytes: u64) -> Sample {
    let at = frame().since + TimeDelta::minutes(minute);
    let ends =
        AgentSample { task_count: Some(1), response_time_ms: Some(1_500.0), ..AgentSample::new(agent, at) };
    AgentSample { memory_bytes: Some(memory_bytes), ..ends }.into()
}

fn found(calls: &[UsageRecord], runs: Vec<RunRecordSummary>, samples: &[Sample]) -> Found {
    let Frame { since, until, now, zone, .. } = frame();
    let store = MemoryMetricsStore::new();
    let stored = store.store_metrics(samples, now).unwrap();
    assert!(stored.rejected.is_none(), "{stored:?}");
    let asked = SeriesQuery { since, until, step: TimeDelta::hours(8), source: None, metric: None };
    let mut total = groups(calls, GroupBy::Task);
    assert!(total.len() <= 1);
    Found {
        total: total.pop(),
        days: groups(calls, GroupBy::Period(Period::Day, zone)),
        agents: groups(calls, GroupBy::Agent),
        models: groups(calls, GroupBy::Model),
        by_run: groups(calls, GroupBy::Run),
        runs,
        are_runs_cut: false,
        series: series(&store, &asked, now).unwrap(),
        rules: Vec::new(),
        alerts: Vec::new(),
    }
}

/// Two agents on two days of Kolkata, of one of which nobody knows the cost.
fn usual() -> Report {
    let calls = [
        call("2026-11-20T10:00:00Z", "claude", Some("sonnet"), Some(1_250_000_000)),
        call("2026-11-20T20:00:00Z", "claude", Some("sonnet"), Some(4_340_000)),
        call("2026-11-20T20:00:01Z", "codex", None, None),
    ];
    let runs = vec![
        run("01K9XJ5V7C8N3T2B4M6P000002", RunState::Running, "go on"),
        run(RUN, RunState::Ended(RunStatus::Partial), "say hello"),
    ];
    let samples = [(10, 500_000_000), (600, 900_000_000), (1_700, 100_000_000), (1_990, 300_000_000)];
    let samples = samples.map(|(minute, memory_bytes)| sample("claude", minute, memory_bytes));
    Report::of(frame(), found(&calls, runs, &samples))
}

/// What is wrong with the tags of a page; nothing, if each is closed in its turn and every value is quoted.
fn fault(page: &str) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n")?;
    while let Some((text, after)) = rest.split_once('<') {
        let is_entity =
            |part: &str| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|known| part.starts_with(known));
        if text.contains('>') || !text.split('&').skip(1).all(is_entity) {
            return Some(format!("text `{text}`"));
        }
        let (tag, after) = after.split_once('>')?;
        rest = after;
        let name = tag.trim_start_matches('/').split([' ', '/']).next()?;
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Some(format!("`</{name}>` closes another"));
            }
            continue;
        }
        let values = tag.split('"').step_by(2).collect::<String>();
        if tag.matches('"').count() % 2 != 0 || values.contains('\'') {
            return Some(format!("quotes of `{tag}`"));
        }
        if !tag.ends_with('/') {
            open.push(name);
        }
    }
    (!open.is_empty() || !rest.trim().is_empty()).then(|| format!("open: {open:?}"))
}

#[test]
fn the_text_tells_all_of_a_time_within_80_columns() {
    let text = usual().text();
    assert_eq!(
        text,
        "\
2026-11-20 05:30 to 2026-11-22 05:30, Asia/Kolkata
not complete: nobody knows the cost of 1 of 3 calls

DAY         CALLS  INPUT  OUTPUT  READ  WRITTEN  COST
2026-11-20  1      1.20K  34      –     –        $1.25
2026-11-21  2      2.40K  68      –     –        <$0.01+
all         3      3.60K  102     –     –        $1.25+

MODEL        CALLS  INPUT  OUTPUT  READ  WRITTEN  COST
(not known)  1      1.20K  34      –     –        ?
sonnet       2      2.40K  68      –     –        $1.25
all          3      3.60K  102     –     –        $1.25+

AGENT   CALLS  TOKENS  COST   TASKS  ERRORS  P50    P95    MEMORY
claude  2      2.46K   $1.25  4      –       1.50s  1.50s  900M
codex   1      1.23K   ?      –      –       –      –      –

RUN                         STARTED      STATUS   TOOK       COST
01K9XJ5V7C8N3T2B4M6P000002  11-21 01:30  running  –          –
01K9XJ5V7C8N3T2B4M6P000001  11-21 01:30  partial  1 min 1 s  $1.25+
"
    );
}

#[test]
fn a_time_without_anything_says_so() {
    let report = Report::of(frame(), found(&[], Vec::new(), &[]));
    assert!(
        report.text().ends_with("nothing is known of that time; aiswitch run keeps what its agents do\n")
    );
    let page = report.page();
    assert_eq!(fault(&page), None, "{page}");
    assert!(page.contains("Nothing was measured in this time.") && !page.contains("<rect"), "{page}");
    assert!(report.complete && !page.contains("not complete"), "{page}");
}

#[test]
fn a_line_is_broken_where_nothing_was_measured_and_a_single_figure_is_a_dot() {
    let report = usual();
    let series = report.series.iter().find(|series| series.metric == "memory_bytes").unwrap();
    let figures = [Some(5e8), Some(9e8), None, Some(1e8), Some(3e8), None];
    assert_eq!(series.steps, figures);
    let plot = plot::line(series, &report);
    assert_eq!(fault(&format!("<!DOCTYPE html>\n{plot}")), None, "{plot}");
    assert!(
        plot.contains("<path class=\"line\" d=\"M78.5 53.6L131.5 10.0M237.5 97.1L290.5 75.3\"/>"),
        "{plot}"
    );
    assert!(!plot.contains("<circle"), "{plot}");
    // The axes: from 0 to the largest in bytes, and the time of the zone.
    for shown in [">0</text>", ">450M</text>", ">900M</text>", ">11-20 05:30</text>", ">11-22 05:30</text>"] {
        assert!(plot.contains(shown), "{shown}: {plot}");
    }
    // It fell by what the median of all slopes says, over the four steps from the first to the last.
    assert!(report.page().contains("newest 300M, ↘ by "), "{}", report.page());
    let alone = Report::of(frame(), found(&[], Vec::new(), &[sample("claude", 10, 7)]));
    let plot = plot::line(&alone.series[0], &alone);
    assert!(plot.contains("<circle") && !plot.contains("class=\"line\""), "{plot}");
}

#[test]
fn what_nobody_knows_is_said_and_never_shown_as_0() {
    let report = usual();
    let page = report.page();
    assert!(!report.complete);
    assert!(
        page.contains("<p class=\"gap\">not complete: nobody knows the cost of 1 of 3 calls</p>"),
        "{page}"
    );
    // The model that nobody knows has tokens, and so a bar of them, and none of a cost.
    let row = page.lines().find(|line| line.contains("(not known)")).unwrap();
    assert!(row.ends_with("<td class=\"n\">1 unpriced</td><td class=\"b\"></td></tr>"), "{row}");
    assert_eq!(row.matches("<rect").count(), 1, "{row}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["models"][0]["cost"], serde_json::json!({"usd": null, "unpriced": 1}));
    assert_eq!((&json["complete"], &json["zone"]), (&false.into(), &"Asia/Kolkata".into()));
    assert!(json["agents"][1]["tasks"].is_null() && json["runs"][0]["cost"].is_null(), "{json}");
}

#[test]
fn the_page_is_whole_and_refers_to_nothing_outside() {
    let page = usual().page();
    assert_eq!(fault(&page), None, "{page}");
    for reference in ["http://", "https://", "src=", "href", "@import", "url(", "<script", "<link", "<img"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("default-src 'none'"), "{page}");
    assert_eq!(page.matches("<svg class=\"plot\"").count(), 3, "memory, response time and tasks");
    assert!(page.contains("class=\"bad\">partial<"), "{page}");
}

#[test]
fn alerts_are_told_but_for_those_that_are_inactive_or_were_over_before() {
    let rule = AlertRule::new("too-much", Metric::MEMORY_BYTES, AlertCondition::Above(1e9));
    let (before, within) = (time("2026-11-19T23:59:59Z"), time("2026-11-20T20:00:00Z"));
    let states = [
        ("quiet", AlertState::Inactive, None),
        ("claude", AlertState::Firing { since: within, clear_since: None }, Some(2e9)),
        ("codex", AlertState::Pending { since: within }, None),
        ("past", AlertState::Resolved { since: before, until: before }, Some(1.0)),
        ("over", AlertState::Resolved { since: before, until: within }, Some(1e6)),
    ];
    let alerts = states.map(|(agent, state, value)| Alert {
        rule: rule.name.clone(),
        source: Source::Agent(agent.to_owned()),
        state,
        value,
        score: None,
        warm_up_left: None,
        seen_at: None,
        is_untold: false,
    });
    let found = Found { rules: vec![rule], alerts: alerts.to_vec(), ..found(&[], Vec::new(), &[]) };
    let report = Report::of(frame(), found);
    assert!(
        report.text().ends_with(
            "
ALERT     AGENT   STATE                      NEWEST
too-much  claude  firing since 11-21 01:30   2.00G
too-much  codex   pending since 11-21 01:30  –
too-much  over    resolved at 11-21 01:30    1.00M
"
        ),
        "{}",
        report.text()
    );
    let page = report.page();
    assert_eq!(fault(&page), None, "{page}");
    assert!(page.contains(
        "<td class=\"bad\">firing since 11-21 01:30</td><td class=\"\">memory_bytes above 1000000000</td>"
    ));
    assert!(!page.contains("quiet") && !page.contains("past"), "{page}");
}

#[test]
fn hostile_words_are_text_of_the_page_in_one_line_and_cut() {
    let hostile = [
        "</title><script>alert(1)</script>",
        "\" onload=\"alert(1)",
        "'><img src=x onerror='alert(1)'>",
        "a\nb\r\n\tc\u{1b}[31m\u{202e}\u{0}",
        "&lt;script&gt;&#60;",
        "é\u{10ffff}\u{feff}",
    ];
    let long = "x".repeat(1 << 20);
    for word in hostile.into_iter().chain([long.as_str()]) {
        let calls = [call("2026-11-20T10:00:00Z", word, Some(word), None)];
        let runs = vec![run(RUN, RunState::Ended(RunStatus::Completed), word)];
        let mut found = found(&calls, runs, &[sample("claude", 10, 7)]);
        for series in &mut found.series {
            series.source = Source::Agent(word.to_owned());
        }
        let report = Report::of(Frame { agent: Some(word.to_owned()), ..frame() }, found);
        let page = report.page();
        assert_eq!(fault(&page), None, "{word:?}");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains('\u{1b}'), "{word:?}");
        assert!(page.len() < 64 * 1024, "{} bytes", page.len());
        let text = report.text();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{word:?}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    #[test]
    fn whatever_a_label_or_prompt_is_the_page_stays_whole(word in "(?s).{0,40}|[<>&\"'/= a-z]{0,40}") {
        let calls = [call("2026-11-20T10:00:00Z", &word, Some(&word), Some(7))];
        let runs = vec![run(RUN, RunState::Interrupted, &word)];
        let page = Report::of(Frame { agent: Some(word.clone()), ..frame() }, found(&calls, runs, &[])).page();
        prop_assert_eq!(fault(&page), None, "{:?}", word);
    }
}

#[test]
fn large_figures_and_many_runs_still_fit_80_columns() {
    let usage = Usage {
        input_tokens: Some(u64::MAX / 4),
        output_tokens: Some(u64::MAX / 4),
        cache_read_tokens: Some(999_999),
        cache_write_tokens: Some(99_999_999),
        ..Usage::default()
    };
    let mut calls =
        [call("2026-11-20T10:00:00Z", "an-agent-with-a-long-name", Some("m"), Some(9_999_990_000_000))];
    calls[0].usage = Some(usage);
    let ended = RunState::Ended(RunStatus::OverBudget);
    let runs = (0..12).map(|n| run(&format!("01K9XJ5V7C8N3T2B4M6P{n:06}"), ended, "p")).collect();
    let samples: Vec<Sample> =
        (0..900).map(|minute| sample("an-agent-with-a-long-name", 1 + minute, 1 << 50)).collect();
    let text = Report::of(frame(), found(&calls, runs, &samples)).text();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.ends_with("and 2 earlier ones\n"), "{text}");
}
