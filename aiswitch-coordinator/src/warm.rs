//! Processes that have done their part and stay for another one of the same kind.

use std::time::Duration;

use aiswitch_agent::{AgentEvent, AgentId, Launch, LifeState, LiveAgent, RunContext};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How many processes of a run stay without work at most.
pub const WARM_MAX: usize = 8;

/// For how many parts one process is used at most.
pub const WARM_USES_MAX: u32 = 50;

/// How old a process may be to be used for another part.
pub const WARM_AGE_MAX: Duration = Duration::from_mins(30);

/// A live agent, and what it is heard through.
#[derive(Debug)]
pub(crate) struct Warm {
    pub(crate) live: LiveAgent,
    pub(crate) heard: mpsc::Receiver<(AgentId, AgentEvent)>,
    pub(crate) context: RunContext,
    /// What it was started as, for whichever agent.
    pub(crate) launch: Launch,
    /// For how many parts it was used.
    pub(crate) uses: u32,
    pub(crate) born: Instant,
}

impl Warm {
    /// Whether it may do another part that would start this.
    ///
    /// Its environment, sandbox, limits and folder are the same then; the mode is one for the whole run.
    fn fits(&self, launch: &Launch, now: Instant) -> bool {
        self.live.status().state == LifeState::Idle
            && self.uses < WARM_USES_MAX
            && now.saturating_duration_since(self.born) < WARM_AGE_MAX
            && is_same(&self.launch, launch)
    }

    /// Ends it, and says what it told meanwhile.
    pub(crate) async fn end(self) -> Vec<AgentEvent> {
        let Self { live, mut heard, .. } = self;
        let mut told = Vec::new();
        let mut end = std::pin::pin!(live.end());
        loop {
            tokio::select! {
                () = &mut end => break,
                Some((_, event)) = heard.recv() => told.extend(edge(event)),
            }
        }
        while let Ok((_, event)) = heard.try_recv() {
            told.extend(edge(event));
        }
        told
    }
}

/// What is worth telling of an agent whose part has ended.
fn edge(event: AgentEvent) -> Option<AgentEvent> {
    matches!(event, AgentEvent::State { .. }).then_some(event)
}

/// Whether two launches differ in nothing but for whom they are.
pub(crate) fn is_same(one: &Launch, other: &Launch) -> bool {
    let Launch { agent: _, program, args, cwd, environment, resources, sandbox, folders } = one;
    (program, args, cwd, environment, resources, sandbox, folders)
        == (
            &other.program,
            &other.args,
            &other.cwd,
            &other.environment,
            &other.resources,
            &other.sandbox,
            &other.folders,
        )
}

/// The processes of one run that stay without work; each with the place of the agent that it worked for last.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Vec<(usize, Warm)>,
}

impl Pool {
    /// Takes one that may do a part that would start this.
    pub(crate) fn take(&mut self, launch: &Launch, now: Instant) -> Option<Warm> {
        let at = self.idle.iter().position(|(_, warm)| warm.fits(launch, now))?;
        Some(self.idle.remove(at).1)
    }

    /// Keeps one; where there are too many, the one that has waited longest is given back, to be ended.
    pub(crate) fn put(&mut self, index: usize, warm: Warm) -> Option<(usize, Warm)> {
        self.idle.push((index, warm));
        (self.idle.len() > WARM_MAX).then(|| self.idle.remove(0))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }

    /// Gives back those that may do none of these, to be ended.
    pub(crate) fn weed(&mut self, wanted: &[&Launch], now: Instant) -> Vec<(usize, Warm)> {
        let is_wanted = |warm: &Warm| wanted.iter().any(|launch| warm.fits(launch, now));
        let (kept, rest) = std::mem::take(&mut self.idle).into_iter().partition(|(_, warm)| is_wanted(warm));
        self.idle = kept;
        rest
    }
}
