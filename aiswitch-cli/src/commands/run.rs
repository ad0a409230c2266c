//! `aiswitch run`: one task for one or more agents.

use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aiswitch_coordinator::{
    AgentId, CancellationToken, Coordinator, Home, LogGuard, LogLevel, LogLimits, LogWriter, Origin, Plan,
    PlannedLaunch, PlannedVariable, PresetName, RunEvent, RunEventKind, RunId, RunReport, TaskError,
    log_layer,
};
use aiswitch_metrics::SqliteMetricsStore;
use aiswitch_tokens::{PriceList, SqliteUsageStore};
use rustix::process::Signal;
use serde::Serialize;
use tokio::signal::unix::SignalKind;
use tokio::time::Instant;
use tracing_subscriber::layer::SubscriberExt;

use crate::args::{OutputFormat, RunArgs};
use crate::assemble::{self, Parts, PresetFrom};
use crate::bound::Bound;
use crate::caller::{self, Caller};
use crate::commands::clean::Cleaning;
use crate::commands::runtime;
use crate::config::{Config, read_prices};
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human};
use crate::project::trusted;
use crate::prompt;
use crate::signals::{Signals, code_of};

/// How long after a signal another one counts as the same.
///
/// `timeout` and `npm` send theirs to the command and to its process group, which is a second one within milliseconds.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// Runs one task to its report.
///
/// # Errors
/// The run could not start, or was killed.
pub(crate) fn run(args: &RunArgs, home: Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let config = Config::read(&home)?.under(trusted(&assemble::cwd(args)?, &home, output)?);
    let (picks, note) = match args.agents.as_slice() {
        [] => assemble::default_picks(&config, caller)?,
        named => (named.to_vec(), None),
    };
    let prices = read_prices(&home)?;
    let prompt = prompt::read(args, caller, output)?;
    let retention = config.coordination.retention.retention();
    let log_level = config.coordination.log_level.unwrap_or(LogLevel::Info);
    let bound = Bound::read(&home, output)?;
    let parts = assemble::run(args, prompt, &picks, (config, &bound), (&home, caller))?;
    let Parts { coordinator, plan, presets_from } = parts;
    let tell_note = || note.iter().for_each(|note| output.note(note));
    if args.dry_run {
        let planned = coordinator.dry_run(&plan)?;
        tell_note();
        let presets = plan.assignments().map(|agent| agent.preset.as_ref()).zip(presets_from);
        let views: Vec<PlannedView<'_>> =
            planned.iter().zip(presets).map(|(planned, preset)| PlannedView::of(planned, preset)).collect();
        output.result(&views, || views.iter().map(PlannedView::text).collect::<Vec<_>>().join("\n"));
        return Ok(Code::Completed);
    }
    let on_event = |event: &RunEvent| {
        match &event.kind {
            RunEventKind::RunStarted { .. } => tell_note(),
            RunEventKind::Waiting { wait } => output.note(&wait.to_string()),
            RunEventKind::Alert { alert } => output.note(&alert.to_string()),
            _ => {}
        }
        match output.format {
            OutputFormat::StreamJson => output.json_line(event),
            OutputFormat::Text | OutputFormat::Json => output.progress(human::progress(event).as_deref()),
        }
    };
    let logs = start_logs(&home, log_level, output);
    let cleaning = Cleaning::begin_if_due(&home, retention);
    let ended = to_report(&keeping(coordinator, prices, home), plan, output, on_event);
    cleaning.and_then(Cleaning::finish).iter().for_each(|problem| output.note(problem));
    logs.and_then(LogGuard::finish).iter().for_each(|problem| output.note(problem));
    let (report, signalled) = ended?;
    match output.format {
        OutputFormat::Text => output.text(report.answer.as_ref().map_or("", |answer| answer.text.as_str())),
        OutputFormat::Json => output.json(&report),
        // The report was the last event.
        OutputFormat::StreamJson => {}
    }
    output.problems(&report);
    output.progress(Some(&human::summary(&report)));
    Ok(signalled.unwrap_or_else(|| Code::of_report(&report, args.strict)))
}

/// Has runs kept in a home, with what they use and take of the machine.
pub(super) fn keeping(coordinator: Coordinator, prices: PriceList, home: Home) -> Coordinator {
    let usage = Arc::new(SqliteUsageStore::at(home.usage_file()));
    let metrics = Arc::new(SqliteMetricsStore::at(home.metrics_file()));
    coordinator.with_usage(usage).with_prices(prices).with_metrics(metrics).with_home(home)
}

/// Has what happens written to the logs of the home; a run goes on without them.
pub(super) fn start_logs(home: &Home, level: LogLevel, output: &Output) -> Option<LogGuard> {
    let writer = LogWriter::new(home.clone(), LogLimits::default());
    let started = log_layer(writer, level).map_err(|error| error.to_string()).and_then(|(layer, guard)| {
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(guard)
    });
    started.inspect_err(|problem| output.note(&format!("no logs are kept: {problem}"))).ok()
}

/// Runs a plan; beside its report, the code of the signal that ended it early, if one did.
fn to_report(
    coordinator: &Coordinator,
    plan: Plan,
    output: &Output,
    mut on_event: impl FnMut(&RunEvent) + Send,
) -> Result<(RunReport, Option<Code>), Error> {
    let run_id = OnceLock::new();
    let runtime = runtime()?;
    let heard = |event: &RunEvent| {
        run_id.get_or_init(|| event.run);
        on_event(event);
    };
    let ended = runtime.block_on(hear_signals((coordinator, plan), &run_id, output, heard));
    // Ends every task and with it every process that is left, before the last look for strays.
    drop(runtime);
    if let (Err(Error::Killed { .. }), Some(run_id)) = (&ended, run_id.get()) {
        aiswitch_agent::sweep(&run_id.to_string());
    }
    ended
}

/// Runs a plan; the first signal cancels it, the second ends the wait for it, and Ctrl-Z stops the agents with it.
async fn hear_signals(
    (coordinator, plan): (&Coordinator, Plan),
    run_id: &OnceLock<RunId>,
    output: &Output,
    on_event: impl FnMut(&RunEvent) + Send,
) -> Result<(RunReport, Option<Code>), Error> {
    // nohup has the end of the terminal ignored.
    let hang_up = Some(SignalKind::hangup()).filter(|signal| !caller::ignores(*signal));
    // A shell without job control may have Ctrl-Z ignored.
    let suspend = SignalKind::from_raw(Signal::TSTP.as_raw());
    let may_suspend = Some(suspend).filter(|signal| !caller::ignores(*signal));
    let mut signals = Signals::listen(
        [SignalKind::interrupt(), SignalKind::terminate()].into_iter().chain(hang_up).chain(may_suspend),
    )?;
    let cancel = CancellationToken::new();
    let mut run = pin!(coordinator.run(plan, cancel.clone(), on_event));
    let mut first: Option<(Instant, Code)> = None;
    loop {
        tokio::select! {
            report = &mut run => return Ok((report?, first.map(|(_, code)| code))),
            signal = signals.next() => match first {
                _ if signal == suspend => {
                    // Where no run is known, nothing has started, and no process has an empty mark.
                    aiswitch_agent::suspend(&run_id.get().map(ToString::to_string).unwrap_or_default());
                }
                None => {
                    first = Some((Instant::now(), code_of(signal)));
                    cancel.cancel();
                    output.note("stopping all agents; a second signal kills them");
                }
                Some((at, _)) if at.elapsed() < SAME_SIGNAL => {}
                Some(_) => return Err(Error::Killed { code: code_of(signal) }),
            }
        }
    }
}

/// What would be started for one agent, as `--dry-run` prints it. No value of a variable is in it.
#[derive(Debug, Serialize)]
struct PlannedView<'a> {
    agent: &'a AgentId,
    driver: String,
    argv: Option<&'a [String]>,
    cwd: &'a Path,
    mode: String,
    model: Option<&'a str>,
    preset: Option<PresetView<'a>>,
    environment: Vec<VariableView<'a>>,
    prompt: &'a str,
    problem: Option<&'a TaskError>,
}

/// The preset that an agent would be under, and what says so.
#[derive(Debug, Serialize)]
struct PresetView<'a> {
    name: &'a PresetName,
    from: PresetFrom,
}

/// One variable that an agent would be given.
#[derive(Debug, Serialize)]
struct VariableView<'a> {
    name: &'a str,
    from: &'static str,
}

impl<'a> PlannedView<'a> {
    fn of(planned: &'a PlannedLaunch, preset: (Option<&'a PresetName>, Option<PresetFrom>)) -> Self {
        let view = |variable: &'a PlannedVariable| VariableView {
            name: &variable.name,
            from: from(variable.origin),
        };
        Self {
            agent: &planned.agent,
            driver: planned.driver.to_string(),
            argv: planned.argv.as_deref(),
            cwd: &planned.cwd,
            mode: planned.mode.to_string(),
            model: planned.model.as_deref(),
            preset: preset.0.zip(preset.1).map(|(name, from)| PresetView { name, from }),
            environment: planned.environment.iter().map(view).collect(),
            prompt: &planned.prompt,
            problem: planned.problem.as_ref(),
        }
    }

    fn text(&self) -> String {
        let environment: Vec<String> = self
            .environment
            .iter()
            .map(|variable| format!("{} ({})", variable.name, variable.from))
            .collect();
        let lines = [
            ("driver", Some(self.driver.clone())),
            ("argv", self.argv.map(|argv| argv.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(" "))),
            ("cwd", Some(self.cwd.display().to_string())),
            ("mode", Some(self.mode.clone())),
            ("model", self.model.map(str::to_owned)),
            ("preset", self.preset.as_ref().map(|PresetView { name, from }| format!("{name} ({from})"))),
            ("environment", Some(environment.join(", "))),
            ("prompt", Some(self.prompt.to_owned())),
            ("problem", self.problem.map(|problem| problem.message.clone())),
            ("hint", self.problem.and_then(|problem| problem.hint.clone())),
        ];
        let line = |(key, value): (&str, Option<String>)| {
            Some(format!("  {key:12} {}\n", value?.replace('\n', "\n               ")))
        };
        format!("{}\n{}", self.agent, lines.into_iter().filter_map(line).collect::<String>())
    }
}

/// An argument as a shell would have to be given it.
fn quoted(arg: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !arg.is_empty() && arg.chars().all(is_plain) {
        arg.to_owned()
    } else {
        format!("'{}'", arg.replace('\'', "'\\''"))
    }
}

/// Why a variable would be there, in a word.
fn from(origin: Origin) -> &'static str {
    match origin {
        Origin::Allowed => "allowed",
        Origin::Credential => "credential",
        Origin::Preset => "preset",
        Origin::Driver => "driver",
        _ => "unknown",
    }
}
