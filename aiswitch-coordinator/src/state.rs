//! How runs are kept: the run store, and the files in a home that show it to people and scripts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::reclaim;
use aiswitch_lock::{FileLockManager, LockManager, LockName, LockOptions, replace_file};
use aiswitch_metrics::{MetricsError, MetricsStore};
use aiswitch_tokens::UsageStore;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::HomeError;
use crate::home::FILE_MODE;
use crate::measured::measured;
use crate::run_store::{AgentRecord, RunRecordSummary, RunStore, SqliteRunStore};
use crate::used::used_lately;
use crate::{Home, RunId, chain, clock};

/// How many runs `tasks.json` shows; the run store and the folders of runs keep older ones too.
pub const TASKS_KEPT_MAX: usize = 200;

/// The version of the form of all views.
const VIEW_VERSION: u32 = 1;

/// How long the lock of the views is waited for; whoever holds it writes a few small files.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The lock that all writers of views take.
pub(crate) fn state_lock() -> LockName {
    LockName::Resource("aiswitch/state".to_owned())
}

/// The run store, and the views of it.
#[derive(Clone, Debug)]
pub(crate) struct State {
    store: Arc<dyn RunStore>,
    files: Option<StateFiles>,
}

/// The files of the state, which all their writers change under one lock.
#[derive(Clone, Debug)]
pub(crate) struct StateFiles {
    pub(crate) home: Home,
    pub(crate) locks: Arc<dyn LockManager>,
}

/// What was found of runs whose process is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reclaimed {
    pub(crate) runs: Vec<RunId>,
    /// How many processes they had left, which are dead now.
    pub(crate) processes: usize,
}

impl State {
    pub(crate) fn new(store: Arc<dyn RunStore>, files: Option<StateFiles>) -> Self {
        Self { store, files }
    }

    /// The run store and the files of a home that no run uses now.
    pub(crate) fn of_home(home: &Home) -> Result<Self, HomeError> {
        let locks = FileLockManager::open(home.locks_dir()).map_err(HomeError::Lock)?;
        let store = Arc::new(SqliteRunStore::at(home.runs_file()));
        Ok(Self::new(store, Some(StateFiles { home: home.clone(), locks: Arc::new(locks) })))
    }

    /// Ends what is left of runs whose process is gone, and writes down that they were interrupted.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub(crate) async fn reclaim(self) -> Result<Reclaimed, HomeError> {
        let act = move || {
            let left: Vec<RunId> =
                self.store.running()?.iter().filter(|run| run.is_left()).map(|run| run.run_id).collect();
            if left.is_empty() {
                return Ok(Reclaimed::default());
            }
            let names: Vec<String> = left.iter().map(ToString::to_string).collect();
            let processes = reclaim(names.iter().map(String::as_str));
            // Last, so that whoever is killed before it leaves the rest to the next.
            self.store.interrupt(&left)?;
            Ok(Reclaimed { runs: left, processes })
        };
        on_a_thread(act).await
    }

    /// Has the views show what the store holds.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub(crate) async fn show(self) -> Result<(), HomeError> {
        match self.files {
            Some(files) => files.refresh(self.store).await.map(drop),
            None => Ok(()),
        }
    }

    /// Has `tokens.json` show what each agent used lately; names it if it was damaged before.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub(crate) async fn show_usage(self, usage: Arc<dyn UsageStore>) -> Result<Option<Replaced>, HomeError> {
        let Some(files) = self.files else { return Ok(None) };
        // The store is read with the lock, so that a view never goes back.
        let write = move |home: &Home| {
            let used = used_lately(usage.as_ref(), clock::now())
                .map_err(|error| HomeError::Usage(Box::new(error)))?;
            write_view(&home.tokens_file(), "agents", &value(&used))
        };
        files.locked(write).await
    }

    /// Has `metrics.json` show what was measured up to now; names it if it was damaged before.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub(crate) async fn show_metrics(
        self,
        metrics: Arc<dyn MetricsStore>,
    ) -> Result<Option<Replaced>, HomeError> {
        let Some(files) = self.files else { return Ok(None) };
        let write = move |home: &Home| {
            let (path, name, list) =
                shown_metrics(home, metrics.as_ref()).map_err(|error| HomeError::Metrics(Box::new(error)))?;
            write_view(&path, name, &list)
        };
        files.locked(write).await
    }

    /// Keeps what one run has to say, and shows it; tells what could not be shown.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub(crate) async fn save(
        self,
        run: RunRecordSummary,
        agents: Vec<AgentRecord>,
    ) -> Result<Vec<String>, HomeError> {
        let store = Arc::clone(&self.store);
        on_a_thread(move || store.save(&run, &agents)).await?;
        let Some(files) = self.files else { return Ok(Vec::new()) };
        Ok(told_of(files.refresh(self.store).await))
    }
}

impl StateFiles {
    /// Has the files show what the store holds; names those that were damaged before.
    async fn refresh(self, store: Arc<dyn RunStore>) -> Result<Vec<Replaced>, HomeError> {
        // The store is read with the lock, so that a view never goes back.
        self.locked(move |home| show(home, store.as_ref())).await
    }

    /// Does something with the files of the state while no other process does.
    ///
    /// # Cancel safety
    /// What was begun is done to its end, with the lock.
    pub(crate) async fn locked<T: Send + 'static>(
        self,
        act: impl FnOnce(&Home) -> Result<T, HomeError> + Send + 'static,
    ) -> Result<T, HomeError> {
        let options = LockOptions::new().with_timeout(LOCK_TIMEOUT).with_purpose("state files");
        let guard = self.locks.acquire(&state_lock(), &options).await.map_err(HomeError::Lock)?;
        on_a_thread(move || {
            let done = act(&self.home);
            drop(guard);
            done
        })
        .await
    }
}

/// Work that waits for the disk.
pub(crate) async fn on_a_thread<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, HomeError> + Send + 'static,
) -> Result<T, HomeError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// What to tell of views that were written, or could not be.
pub(crate) fn told_of(shown: Result<impl IntoIterator<Item = Replaced>, HomeError>) -> Vec<String> {
    match shown {
        Ok(replaced) => replaced.into_iter().map(|replaced| replaced.to_string()).collect(),
        Err(error) => vec![format!("the views of the state are not written: {}", chain(&error))],
    }
}

/// Has every view of runs show what the store holds; names those that were damaged before.
fn show(home: &Home, store: &dyn RunStore) -> Result<Vec<Replaced>, HomeError> {
    let mut replaced = Vec::new();
    for (path, name, list) in shown(home, store)? {
        replaced.extend(write_view(&path, name, &list)?);
    }
    Ok(replaced)
}

/// The views of runs that are there and do not show what the store holds.
pub(crate) fn are_views_behind(home: &Home, store: &dyn RunStore) -> Result<Vec<PathBuf>, HomeError> {
    Ok(shown(home, store)?.into_iter().filter(is_behind).map(|(path, ..)| path).collect())
}

/// The view of metrics, if it is there and does not show what the store holds.
pub(crate) fn is_metrics_view_behind(
    home: &Home,
    store: &dyn MetricsStore,
) -> Result<Option<PathBuf>, MetricsError> {
    let shown = shown_metrics(home, store)?;
    Ok(is_behind(&shown).then_some(shown.0))
}

fn is_behind((path, name, list): &Shown) -> bool {
    match View::read(path) {
        Ok(Some(view)) => view.v <= VIEW_VERSION && view.lists.get(*name) != Some(&as_read(list)),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// A list as a reader of its file has it: the last digit of a figure may be another.
fn as_read(list: &Value) -> Value {
    serde_json::from_str(&list.to_string()).expect("what was written as JSON is JSON")
}

/// What a view is to show: its file, the name of its list, and the list.
type Shown = (PathBuf, &'static str, Value);

fn shown_metrics(home: &Home, store: &dyn MetricsStore) -> Result<Shown, MetricsError> {
    Ok((home.metrics_view_file(), "metrics", value(&measured(store)?)))
}

fn shown(home: &Home, store: &dyn RunStore) -> Result<[Shown; 2], HomeError> {
    let mut tasks = store.runs(TASKS_KEPT_MAX)?;
    tasks.reverse();
    let mut agents = store.agents()?;
    agents.retain(|agent| agent.process.is_there());
    Ok([(home.tasks_file(), "tasks", value(&tasks)), (home.agents_file(), "agents", value(&agents))])
}

fn value(list: &impl Serialize) -> Value {
    serde_json::to_value(list).expect("a record has string keys and UTF-8 paths")
}

/// A view that was damaged, and was written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    path: PathBuf,
    line: usize,
}

impl std::fmt::Display for Replaced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` was damaged at line {}, and was written anew", self.path.display(), self.line)
    }
}

/// A view as it stands.
#[derive(Deserialize)]
struct View {
    v: u32,
    #[serde(default)]
    generation: u64,
    #[serde(flatten)]
    lists: Map<String, Value>,
}

impl View {
    /// The view in a file; `None` where there is none.
    fn read(path: &Path) -> Result<Option<Self>, HomeError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HomeError::io("read", path)(error)),
        };
        let damaged = |source: serde_json::Error| HomeError::Damaged {
            path: path.to_owned(),
            line: source.line(),
            source,
        };
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }
}

/// Writes a list into a view, one generation on, unless it stands there already.
///
/// The caller holds the lock of the views and has made the list with it. A view of a later version is left alone.
fn write_view(path: &Path, name: &str, list: &Value) -> Result<Option<Replaced>, HomeError> {
    let (generation, replaced) = match View::read(path) {
        Ok(None) => (0, None),
        Ok(Some(View { v: version, .. })) if version > VIEW_VERSION => {
            return Err(HomeError::Version { path: path.to_owned(), version });
        }
        Ok(Some(view)) if view.lists.get(name) == Some(&as_read(list)) => return Ok(None),
        Ok(Some(view)) => (view.generation, None),
        Err(HomeError::Damaged { path, line, .. }) => (0, Some(Replaced { path, line })),
        Err(error) => return Err(error),
    };
    let document = serde_json::json!({
        "v": VIEW_VERSION,
        "generation": generation + 1,
        "as_of": clock::now(),
        name: list,
    });
    let mut text = serde_json::to_vec_pretty(&document).expect("a JSON value can be written");
    text.push(b'\n');
    replace_file(path, &text, FILE_MODE)
        .map_err(|source| HomeError::Replace { path: path.to_owned(), source })?;
    Ok(replaced)
}
