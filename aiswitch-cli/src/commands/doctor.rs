//! `aiswitch doctor`: a look at this machine, which starts no task.

use std::path::PathBuf;

use aiswitch_agent::{Controllers, Promise, Supervision, Tier};
use aiswitch_coordinator::{Home, HomeProblem, StateProblem};
use serde::Serialize;

use super::agents::{CheckView, check_all, check_table};
use crate::assemble::guard;
use crate::caller::Caller;
use crate::commands::runtime;
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table_within;

/// What there is to say about this machine.
#[derive(Debug, Serialize)]
struct DoctorView {
    version: &'static str,
    home: HomeView,
    /// What was closed, as it was before.
    closed: Vec<HomeProblem>,
    /// What others could change or read.
    open: Vec<HomeProblem>,
    /// In what the records of runs did not agree, and do now.
    mended: Vec<StateProblem>,
    /// In what the records of runs do not agree.
    state: Vec<StateProblem>,
    /// Why the records of runs cannot be looked at.
    state_problem: Option<String>,
    /// What is wrong with the configuration; the agents are then the built-in ones alone.
    config_problem: Option<String>,
    agents: Vec<CheckView>,
    guarantees: &'static [Guarantee],
    supervision: SupervisionView,
}

/// What holds for agents' processes on this machine.
#[derive(Debug, Serialize)]
struct SupervisionView {
    tier: Tier,
    /// Why no guard is used.
    problem: Option<String>,
    /// What of the machine the kernel limits for all processes of an agent together.
    controllers: Controllers,
    /// What else `supervision` in `coordination.yaml` may ask for.
    tried: Vec<TriedView>,
    promises: Vec<Promise>,
}

/// Whether this machine has one way to hold processes together.
#[derive(Debug, Serialize)]
struct TriedView {
    tier: Tier,
    /// Why it cannot be had.
    problem: Option<String>,
}

/// The folder of configuration and state.
#[derive(Debug, Serialize)]
struct HomeView {
    path: PathBuf,
    /// Whether it is there; the first run makes it.
    exists: bool,
    problem: Option<String>,
}

/// Something that a user may rely on, or may not.
#[derive(Debug, Serialize)]
struct Guarantee {
    what: &'static str,
    by: Enforcer,
    how: &'static str,
}

/// Who sees to it that a guarantee holds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Enforcer {
    Aiswitch,
    Agent,
}

const GUARANTEES: &[Guarantee] = &[
    Guarantee {
        what: "environment",
        by: Enforcer::Aiswitch,
        how: "built from an allow-list, its own credentials or a preset; nothing else is inherited",
    },
    Guarantee {
        what: "time",
        by: Enforcer::Aiswitch,
        how: "--timeout and --idle-timeout end an agent's whole process group",
    },
    Guarantee { what: "output", by: Enforcer::Aiswitch, how: "lines and streams have a longest length" },
    Guarantee {
        what: "mode",
        by: Enforcer::Agent,
        how: "each agent is started in the mode, and keeps to it by its own means",
    },
    Guarantee {
        what: "files, network",
        by: Enforcer::Aiswitch,
        how: "as the `sandbox` of its spec says; `none`, unless it says another one",
    },
];

/// Looks at this machine.
///
/// # Errors
/// The look itself failed, or a file cannot be closed; what it finds is no error.
pub(crate) fn doctor(fix: bool, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let closed = if fix { home.fix()? } else { Vec::new() };
    let open = home.problems()?;
    let (mended, state, state_problem) = match look_at_state(fix, home) {
        Ok((mended, state)) => (mended, state, None),
        Err(error) => (Vec::new(), Vec::new(), Some(chain(&error))),
    };
    // A configuration that others could change is not looked into: it says which programs are started to be looked at.
    let read = || home.check().map_err(Error::from).and_then(|()| Ok(Config::read(home)?));
    let (config, config_problem) = match read() {
        Ok(config) => (config, None),
        Err(error) => (Config::built_in(), Some(chain(&error))),
    };
    // What is asked for and cannot be had is told of as a problem of the configuration, and the guard alone is looked at.
    let (guard, config_problem) = match guard(config.coordination.supervision, caller) {
        Ok(guard) => (guard, config_problem),
        Err(error) => (caller.guard.clone(), config_problem.or_else(|| Some(chain(&error)))),
    };
    let view = DoctorView {
        version: env!("CARGO_PKG_VERSION"),
        home: look_at(home),
        closed,
        open,
        mended,
        state,
        state_problem,
        config_problem,
        agents: check_all(&config, &[], &caller.ambient())?,
        guarantees: GUARANTEES,
        supervision: SupervisionView::of(runtime()?.block_on(Supervision::probe(Some(&guard)))),
    };
    output.result(&view, || view.text(output.columns()));
    Ok(match &view {
        DoctorView { config_problem: Some(_), .. }
        | DoctorView { state_problem: Some(_), .. }
        | DoctorView { home: HomeView { problem: Some(_), .. }, .. } => Code::Usage,
        view if view.open.iter().any(|problem| problem.fault.is_refused()) => Code::Usage,
        view if view.agents.iter().any(CheckView::is_usable) => Code::Completed,
        _ => Code::NoAgent,
    })
}

/// In what the records of a home did not agree, and do now; and in what they do not.
fn look_at_state(fix: bool, home: &Home) -> Result<(Vec<StateProblem>, Vec<StateProblem>), Error> {
    let mended = if fix { runtime()?.block_on(home.mend_state())? } else { Vec::new() };
    Ok((mended, home.state_problems()?))
}

impl SupervisionView {
    fn of(found: Supervision) -> Self {
        let problem = found.problem.as_ref().map(|error| chain(error));
        let tried = found.tried.iter().map(|tried| TriedView {
            tier: tried.tier,
            problem: tried.problem.as_ref().map(|error| chain(error)),
        });
        Self {
            tier: found.hold.tier,
            problem,
            controllers: found.hold.controllers,
            tried: tried.collect(),
            promises: found.promises,
        }
    }

    fn text(&self, columns: Option<usize>) -> String {
        let head = ["PROCESSES", "HOW FAR"].map(str::to_owned).to_vec();
        let tier = match &self.problem {
            Some(problem) => format!("{}, since {problem}", self.tier),
            None => self.tier.to_string(),
        };
        let tier = vec!["held together by".to_owned(), tier];
        let tried = self.tried.iter().map(|tried| {
            let found =
                tried.problem.as_ref().map_or("can be had".to_owned(), |problem| format!("no: {problem}"));
            vec![format!("`supervision: {}`", tried.tier), found]
        });
        let promises =
            self.promises.iter().map(|promise| vec![promise.what.to_owned(), promise.how_far.to_string()]);
        table_within(&[head, tier].into_iter().chain(tried).chain(promises).collect::<Vec<_>>(), columns)
    }
}

fn look_at(home: &Home) -> HomeView {
    let path = home.root().to_owned();
    let (exists, problem) = match path.metadata() {
        Ok(folder) if !folder.is_dir() => (true, Some("it is no folder".to_owned())),
        Ok(_) => (
            true,
            rustix::fs::access(&path, rustix::fs::Access::WRITE_OK).err().map(|error| error.to_string()),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (false, None),
        Err(error) => (true, Some(error.to_string())),
    };
    HomeView { path, exists, problem }
}

impl DoctorView {
    fn text(&self, columns: Option<usize>) -> String {
        let state = match (&self.home.problem, self.home.exists) {
            (Some(problem), _) => problem.as_str(),
            (None, true) => "ok",
            (None, false) => "ok; the first run makes it",
        };
        let config = self.config_problem.as_deref().unwrap_or("ok");
        let facts = [
            vec!["version".to_owned(), self.version.to_owned()],
            vec!["home".to_owned(), format!("{}: {state}", self.home.path.display())],
            vec!["config".to_owned(), config.to_owned()],
            vec!["state".to_owned(), self.state_problem.as_deref().unwrap_or("ok").to_owned()],
        ];
        let row = |what: &str, problem: &HomeProblem| {
            vec![what.to_owned(), problem.path.display().to_string(), problem.fault.to_string()]
        };
        let closed = self.closed.iter().map(|problem| row("closed", problem));
        let open = self
            .open
            .iter()
            .map(|problem| row(if problem.fault.is_refused() { "not used" } else { "open" }, problem));
        let told = |what: &'static str, problems: &[StateProblem]| {
            problems.iter().map(|problem| vec![what.to_owned(), problem.to_string()]).collect::<Vec<_>>()
        };
        let state = [told("mended", &self.mended), told("state", &self.state)].concat();
        let files: Vec<Vec<String>> = closed.chain(open).chain(state).collect();
        let files =
            if files.is_empty() { String::new() } else { format!("\n{}", table_within(&files, columns)) };
        let head = ["WHAT", "KEPT BY", "HOW"].map(str::to_owned).to_vec();
        let guarantees = self.guarantees.iter().map(|guarantee| {
            let by = match guarantee.by {
                Enforcer::Aiswitch => "aiswitch",
                Enforcer::Agent => "the agent",
            };
            vec![guarantee.what.to_owned(), by.to_owned(), guarantee.how.to_owned()]
        });
        let guarantees = table_within(&std::iter::once(head).chain(guarantees).collect::<Vec<_>>(), columns);
        let supervision = self.supervision.text(columns);
        format!(
            "{}{files}\n{}\n{guarantees}\n{supervision}",
            table_within(&facts, columns),
            check_table(&self.agents, columns)
        )
    }
}
