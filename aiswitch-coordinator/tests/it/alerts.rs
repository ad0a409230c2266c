//! Alerts of a run: who is told, and which agents wait, are paused or are cancelled.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::AgentEvent;
use aiswitch_coordinator::{
    Agent, AlertAction, AlertCondition, AlertReport, AlertRule, AlertSink, CancellationToken, Coordinator,
    Limits, MemoryAgent, Order, Outcome, Plan, RunEvent, RunEventKind, RunReport, RunStatus, Severity, Watch,
};
use aiswitch_metrics::{
    AgentSample, AgentStatus, Level, MemoryMetricsStore, Metric, MetricsStore, RecordedCollector, Sample,
    SampleQuery, Source, SqliteMetricsStore, SystemSample, judge_alerts,
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Barrier;

use crate::support::{
    answer, coordinator, echo, endless, id, make_pipes, marked, outcomes, plan, reasons, script, stopped,
    until_told,
};

const HIGH: u64 = 5_000;
const LOW: u64 = 10;
const UNTIL_GO: &str = "until [ -e go ]; do sleep 0.02; done; echo went";

fn heavy() -> Watch {
    Watch::new(AlertRule::new("heavy", Metric::MEMORY_BYTES, AlertCondition::Above(1_000.0)))
}

/// Looks at an agent that find it to hold so much memory; the last one stays.
fn looks(agent: &str, memory: impl IntoIterator<Item = u64>) -> RecordedCollector {
    let look =
        |memory| AgentSample { memory_bytes: Some(memory), ..AgentSample::new(agent, DateTime::UNIX_EPOCH) };
    memory.into_iter().map(look).fold(RecordedCollector::new(), RecordedCollector::with_agent)
}

/// What samples its agents every second, with what is looked at given beforehand.
fn sampled(
    agents: impl IntoIterator<Item = Arc<dyn Agent>>,
    looks: RecordedCollector,
    watch: Watch,
) -> Coordinator {
    coordinator(agents)
        .with_collector(Arc::new(looks))
        .with_metrics(Arc::new(MemoryMetricsStore::new()))
        .with_sample_every(Duration::from_secs(1))
        .with_alerts([watch])
}

/// An agent that has a process, and works for so long.
fn at_work(name: &str, time: Duration) -> Arc<dyn Agent> {
    Arc::new(MemoryAgent::new(id(name), move |_, context| async move {
        context.events.send(AgentEvent::Started { pid: 1 }).await;
        tokio::select! {
            () = tokio::time::sleep(time) => answer("done"),
            () = context.cancel.cancelled() => answer("cancelled"),
        }
    }))
}

async fn ran(coordinator: &Coordinator, plan: Plan) -> (RunReport, Vec<RunEventKind>) {
    let mut events = Vec::new();
    let hear = |event: &RunEvent| events.push(event.kind.clone());
    let report = coordinator.run(plan, CancellationToken::new(), hear).await.expect("it runs");
    (report, events)
}

fn alerts(events: &[RunEventKind]) -> Vec<&AlertReport> {
    let mut alerts = Vec::new();
    for event in events {
        if let RunEventKind::Alert { alert } = event {
            alerts.push(alert);
        }
    }
    alerts
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_when_it_fires_and_when_it_is_resolved() {
    let memory = [LOW, LOW, LOW, LOW, LOW, HIGH, HIGH, HIGH, HIGH, HIGH, LOW];
    let agent = at_work("claude", Duration::from_secs(20));
    let watch = Watch { severity: Severity::Critical, ..heavy() };
    let (report, events) =
        ran(&sampled([agent], looks("claude", memory), watch), plan("work", &["claude"])).await;
    assert_eq!(outcomes(&report), [Outcome::Completed]);
    let [fired, resolved] = alerts(&events)[..] else { panic!("{events:?}") };
    assert!(
        fired.until.is_none() && resolved.until.is_some_and(|until| until >= resolved.from),
        "{events:?}"
    );
    assert_eq!((fired.value, fired.severity, fired.from), (Some(5_000.0), Severity::Critical, resolved.from));
    assert_eq!(fired.to_string(), "alert `heavy` fires: memory_bytes of claude is 5000, above 1000");
    let told = resolved.to_string();
    assert!(told.ends_with(" s: memory_bytes of claude was above 1000"), "{told}");
    assert_eq!(report.alerts.as_slice(), std::slice::from_ref(resolved));
    assert_eq!(report.warnings, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_measured_is_absent_and_fires_nothing_else() {
    let source = Some(Source::Agent("claude".to_owned()));
    let absent = AlertRule {
        source,
        ..AlertRule::new("gone", Metric::MEMORY_BYTES, AlertCondition::Absent(TimeDelta::milliseconds(1)))
    };
    let low = AlertRule::new("low", Metric::MEMORY_BYTES, AlertCondition::Below(1.0));
    let agent = at_work("claude", Duration::from_secs(20));
    let coordinator = sampled([agent], RecordedCollector::new(), heavy())
        .with_alerts([Watch::new(absent), Watch::new(low)]);
    let (report, events) = ran(&coordinator, plan("work", &["claude"])).await;
    let told: Vec<String> = alerts(&events).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["alert `gone` fires: memory_bytes of claude is absent for 0.001 s"]);
    assert_eq!((report.alerts[0].value, report.alerts[0].until), (None, None));
}

#[tokio::test]
async fn an_agent_is_paused_until_its_alert_is_resolved() {
    let folder = tempfile::tempdir().expect("a folder");
    make_pipes(folder.path(), &["a"]);
    let mut pid = None;
    let (mut paused, mut went_on) = (Vec::new(), 0);
    let watch = Watch { action: Some(AlertAction::Pause), ..heavy() };
    let coordinator = sampled([until_told("a")], looks("a", [HIGH, HIGH, HIGH, LOW]), watch);
    let work = Plan { cwd: folder.path().to_owned(), ..plan("work", &["a"]) };
    let run = coordinator.run(work, CancellationToken::new(), |event| match &event.kind {
        RunEventKind::Process { pid: its } => pid = Some(*its),
        RunEventKind::Paused { reason } => {
            paused.push((reason.clone(), stopped(pid.expect("it was told of"))));
        }
        RunEventKind::Resumed { .. } => {
            went_on += 1;
            std::fs::write(folder.path().join("a"), "go\n").expect("it is read");
        }
        _ => {}
    });
    let report = run.await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed], "{report:?}");
    let reason = "alert `heavy` fired: memory_bytes of a is 5000, above 1000".to_owned();
    assert_eq!((paused, went_on), (vec![(reason.clone(), "T".to_owned())], 1));
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("agent `a` was paused for ") && warning.ends_with(&reason), "{warning}");
    assert!(report.agents[0].paused_ms > 0 && report.alerts[0].until.is_some(), "{report:?}");
}

#[tokio::test]
async fn samples_of_a_paused_agent_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    make_pipes(folder.path(), &["a"]);
    let store = Arc::new(MemoryMetricsStore::new());
    let watch = Watch { action: Some(AlertAction::Pause), pause_max: Duration::from_secs(2), ..heavy() };
    let coordinator = coordinator([until_told("a")])
        .with_metrics(store.clone())
        .with_sample_every(Duration::from_secs(1))
        .with_alerts([watch]);
    let work = Plan { cwd: folder.path().to_owned(), ..plan("work", &["a"]) };
    let run = coordinator.run(work, CancellationToken::new(), |event| {
        if let RunEventKind::Resumed { .. } = &event.kind {
            std::fs::write(folder.path().join("a"), "go\n").expect("it is read");
        }
    });
    let report = run.await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed], "{report:?}");
    let mut seen = Vec::new();
    let asked = SampleQuery { metric: Some(Metric::STATUS), ..SampleQuery::of(Level::Sample) };
    store
        .points(&asked, &mut |point| seen.push(AgentStatus::of_code(point.summary.last)))
        .expect("it is read");
    seen.dedup();
    let [Some(AgentStatus::Busy), Some(AgentStatus::Paused), .., Some(AgentStatus::Stopped)] = seen[..]
    else {
        panic!("{seen:?}")
    };
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_cannot_resolve_its_alert_has_an_end() {
    let go = CancellationToken::new();
    let until_go = go.clone();
    let agent = Arc::new(MemoryAgent::new(id("claude"), move |_, context| {
        let go = until_go.clone();
        async move {
            context.events.send(AgentEvent::Started { pid: 1 }).await;
            go.cancelled().await;
            answer("done")
        }
    }));
    let watch = Watch { action: Some(AlertAction::Pause), pause_max: Duration::from_secs(30), ..heavy() };
    let mut pauses = Vec::new();
    let coordinator = sampled([agent as Arc<dyn Agent>], looks("claude", [HIGH]), watch);
    let run =
        coordinator.run(plan("work", &["claude"]), CancellationToken::new(), |event| match &event.kind {
            RunEventKind::Paused { .. } => pauses.push(0),
            RunEventKind::Resumed { paused_ms } => {
                pauses.push(*paused_ms);
                go.cancel();
            }
            _ => {}
        });
    let report = run.await.expect("it runs");
    let [0, paused_ms] = pauses[..] else { panic!("{pauses:?}") };
    assert!(paused_ms >= 30_000, "{paused_ms}");
    let goes_on = "agent `claude` goes on, since its alert allows no longer pause, and fires still";
    assert!(report.warnings.iter().any(|warning| warning == goes_on), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_paused_agent_that_does_not_heed_its_stop_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    make_pipes(folder.path(), &["never"]);
    let cancel = CancellationToken::new();
    let watch = Watch { action: Some(AlertAction::Pause), ..heavy() };
    // Longer than it takes to look at what is paused once more.
    let limits = Limits { stop_grace: Duration::from_secs(2), ..Limits::default() };
    let deaf = script("a", "trap '' TERM; read line <never");
    let coordinator = sampled([deaf], looks("a", [HIGH]), watch).with_limits(limits);
    let work = Plan { cwd: folder.path().to_owned(), ..plan("work", &["a"]) };
    let run = coordinator.run(work, cancel.clone(), |event| {
        if let RunEventKind::Paused { .. } = &event.kind {
            cancel.cancel();
        }
    });
    let ended = tokio::time::timeout(Duration::from_mins(1), run).await.expect("it ends");
    let report = ended.expect("it runs");
    assert_eq!(
        (outcomes(&report), reasons(&report)),
        (vec![Outcome::Cancelled], vec![Some("the run was cancelled")])
    );
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn each_of_two_runs_pauses_its_own_agent_and_one_tells_of_the_alert() {
    let folder = tempfile::tempdir().expect("a folder");
    let (begun, paused) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let run = || {
        let (begun, paused) = (Arc::clone(&begun), Arc::clone(&paused));
        let is_paused = CancellationToken::new();
        let heard = is_paused.clone();
        // Nobody is looked at before both are at work, and none ends before both are paused.
        let agent = MemoryAgent::new(id("claude"), move |_, context| {
            let (begun, paused, is_paused) = (Arc::clone(&begun), Arc::clone(&paused), heard.clone());
            async move {
                begun.wait().await;
                context.events.send(AgentEvent::Started { pid: 1 }).await;
                is_paused.cancelled().await;
                paused.wait().await;
                answer("done")
            }
        });
        // The end of one is not to resolve what the other is paused for.
        let rule = AlertRule { keep_firing_for: TimeDelta::hours(1), ..heavy().rule };
        let watch = Watch { action: Some(AlertAction::Pause), rule, ..heavy() };
        let store = SqliteMetricsStore::at(folder.path().join("metrics.db"));
        let coordinator = sampled([Arc::new(agent) as Arc<dyn Agent>], looks("claude", [HIGH]), watch)
            .with_metrics(Arc::new(store));
        async move {
            let mut fired = 0;
            let work = plan("work", &["claude"]);
            let run = coordinator.run(work, CancellationToken::new(), |event| match &event.kind {
                RunEventKind::Paused { .. } => is_paused.cancel(),
                RunEventKind::Alert { alert } if alert.until.is_none() => fired += 1,
                _ => {}
            });
            let report = run.await.expect("it runs");
            (fired, outcomes(&report), report.alerts.len())
        }
    };
    let (one, other) = tokio::join!(run(), run());
    assert_eq!(one.0 + other.0, 1);
    // The other one acted upon it, so its report has it as well.
    for ran in [one, other] {
        assert_eq!((ran.1, ran.2), (vec![Outcome::Completed], 1));
    }
}

#[tokio::test]
async fn an_agent_is_cancelled_with_the_alert_as_the_reason_and_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    let watch = Watch { action: Some(AlertAction::Cancel), ..heavy() };
    let agents = [script("a", "sleep 1000 & wait"), script("b", UNTIL_GO)];
    let coordinator = sampled(agents, looks("a", [HIGH]), watch);
    let work = Plan { cwd: folder.path().to_owned(), ..plan("work", &["a", "b"]) };
    let run = coordinator.run(work, CancellationToken::new(), |event| {
        if let RunEventKind::Ended { .. } = &event.kind {
            std::fs::write(&go, "").expect("a file");
        }
    });
    let report = run.await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Cancelled, Outcome::Completed], "{report:?}");
    let reason = "alert `heavy` fired: memory_bytes of a is 5000, above 1000";
    assert_eq!((report.status, reasons(&report)), (RunStatus::Partial, vec![Some(reason), None]));
    assert_eq!(report.alerts[0].action, Some(AlertAction::Cancel));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_alert_about_the_machine_is_about_all_agents() {
    let source = Some(Source::System);
    let busy = AlertRule { source, ..AlertRule::new("busy", Metric::LOAD_1M, AlertCondition::Above(100.0)) };
    let look = |one: f64| SystemSample {
        at: DateTime::UNIX_EPOCH,
        cpus: None,
        cpu_percent: None,
        load: Some([one; 3]),
        memory_total_bytes: None,
        memory_available_bytes: None,
        swap_used_bytes: None,
        cpu_pressure_percent: None,
        memory_pressure_percent: None,
        io_pressure_percent: None,
    };
    let looks = [1.0, 1.0, 200.0]
        .into_iter()
        .map(look)
        .fold(RecordedCollector::new(), RecordedCollector::with_system);
    let watch = Watch { action: Some(AlertAction::Cancel), ..Watch::new(busy) };
    let coordinator = sampled([endless("a"), endless("b")], looks, watch);
    let (report, _) = ran(&coordinator, plan("work", &["a", "b"])).await;
    assert_eq!(report.status, RunStatus::Cancelled);
    assert_eq!(reasons(&report), [Some("alert `busy` fired: load_1m of the machine is 200, above 100"); 2]);
}

#[tokio::test]
async fn no_further_agent_starts_while_an_alert_says_so() {
    let rule = AlertRule { keep_firing_for: TimeDelta::hours(1), ..heavy().rule };
    let watch = Watch { action: Some(AlertAction::Throttle), rule: rule.clone(), ..heavy() };
    let store = Arc::new(MemoryMetricsStore::new());
    // Another process has an agent that is too heavy.
    let now: DateTime<Utc> = std::time::SystemTime::now().into();
    let source = Source::Agent("other".to_owned());
    let sample = Sample { source, at: now, figures: vec![(Metric::MEMORY_BYTES, 5_000.0)] };
    assert_eq!(judge_alerts(&*store, &[rule], &[sample], now).firing.len(), 1);
    let agents = ["a", "b", "c"].map(|name| script(name, "sleep 0.1; echo done"));
    let coordinator = coordinator(agents).with_metrics(store).with_alerts([watch]);
    let report = coordinator.execute_parallel(plan("hello", &["a", "b", "c"])).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed; 3]);
    for pair in report.agents.windows(2) {
        assert!(pair[0].ended_at <= pair[1].started_at, "{pair:?}");
    }
    assert_eq!(report.warnings, ["agents waited for their start while alert `heavy` fired"]);
    // It was neither told nor acted upon here.
    assert_eq!(report.alerts, []);
}

/// A run whose one agent ends at once, and which has a program told of that.
async fn told_to(cwd: &Path, argvs: &[&[&str]]) -> RunReport {
    let ended = AlertRule::new("ended", Metric::TASK_COUNT, AlertCondition::Above(0.0));
    let command = |argv: &&[&str]| AlertSink::Command(argv.iter().map(ToString::to_string).collect());
    let watch = Watch { sinks: argvs.iter().map(command).collect(), ..Watch::new(ended) };
    let coordinator = sampled([echo("a")], RecordedCollector::new(), watch);
    let plan = Plan { cwd: cwd.to_owned(), ..plan("work", &["a"]) };
    let (report, events) = ran(&coordinator, plan).await;
    assert_eq!((alerts(&events).len(), outcomes(&report)), (0, vec![Outcome::Completed]));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
    report
}

#[tokio::test]
async fn a_command_is_given_the_alert_on_stdin_and_no_shell_sees_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let tell = ["/bin/sh", "-c", "cat >told; echo \"$1\" >argument", "sh", "$(reboot) *"];
    let report = told_to(folder.path(), &[&tell]).await;
    assert_eq!(report.warnings, [""; 0]);
    let told = std::fs::read_to_string(folder.path().join("told")).expect("it was told");
    let told: AlertReport = serde_json::from_str(&told).expect("it is an alert");
    assert_eq!(report.alerts, [told]);
    let argument = std::fs::read_to_string(folder.path().join("argument")).expect("it was given");
    assert_eq!(argument, "$(reboot) *\n");
}

#[tokio::test]
async fn a_command_that_fails_is_a_warning_and_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let report =
        told_to(folder.path(), &[&["/bin/sh", "-c", "echo no >&2; exit 3"], &["/no/such/program"]]).await;
    let mut warnings = report.warnings;
    warnings.sort();
    let [not_there, refused] = warnings.as_slice() else { panic!("{warnings:?}") };
    for (warning, what) in [(not_there, "/no/such/program"), (refused, "exit code 3")] {
        assert!(
            warning.starts_with("the command of alert `ended` failed: ") && warning.contains(what),
            "{warning}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_does_not_end_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let hangs = ["/bin/sh", "-c", "setsid sleep 1000 & sleep 1000"];
    let report = told_to(folder.path(), &[&hangs as &[&str]; 6]).await;
    assert!(
        report.warnings[0].ends_with("it did not end within 10s, and was killed"),
        "{:?}",
        report.warnings
    );
}

#[tokio::test]
async fn a_watch_that_cannot_be_is_refused_before_anything_starts() {
    let bad = Watch { rule: AlertRule { name: String::new(), ..heavy().rule }, ..heavy() };
    let empty = Watch { sinks: vec![AlertSink::Command(Vec::new())], ..heavy() };
    let short = Watch { pause_max: Duration::ZERO, ..heavy() };
    for (watches, every_s, expected) in [
        (vec![bad], 10, "the rule of alerts `` cannot be used"),
        (vec![empty], 10, "the rule of alerts `heavy` cannot be used"),
        (vec![short], 10, "the rule of alerts `heavy` cannot be used"),
        (vec![heavy(), heavy()], 10, "two rules of alerts are called `heavy`"),
        (vec![], 0, "a sample every 0ns cannot be kept: it is 1s to 60s"),
        (vec![], 61, "a sample every 61s cannot be kept: it is 1s to 60s"),
    ] {
        let coordinator =
            coordinator([echo("a")]).with_alerts(watches).with_sample_every(Duration::from_secs(every_s));
        let work = plan("work", &["a"]).with_order(Order::Sequential);
        let error = coordinator.execute_sequential(work).await.expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
    }
}
