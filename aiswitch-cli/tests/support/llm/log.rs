//! The log remembers every request, and how often each fault has happened.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::Api;
use super::directive::Directive;

/// One request as the mock saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The API, when the path belongs to one.
    pub(crate) api: Option<Api>,
    pub(crate) model: Option<String>,
    /// The name of the header that carried a key; the key itself is not kept.
    pub(crate) auth_header: Option<&'static str>,
    /// The number of tools that the agent offered.
    pub(crate) tools: usize,
    /// The number of answers that the conversation has before this one.
    pub(crate) answers: usize,
    /// The directive that was followed, as it stood in the prompt.
    pub(crate) directive: Option<String>,
    /// `None` while the answer is under way.
    pub(crate) ended: Option<Ended>,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was sent whole, with this HTTP status.
    Answered(u16),
    /// The mock broke off, as it was told to.
    Dropped,
    /// The agent closed the connection before the end of the answer.
    ClientGone,
}

/// The requests so far, shared between the connections and the test.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Entries {
    requests: Vec<Recorded>,
    answers_planned: u64,
    /// How often a fault happened, by API, directive and whether tools were offered: a side request of an agent (for a
    /// title, say) carries the same prompt without tools, and must not use up the fault.
    faults: HashMap<(Api, String, bool), u32>,
}

impl Log {
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.lock().requests.clone()
    }

    pub(crate) fn wait_for(
        &self,
        within: Duration,
        fulfilled: impl Fn(&[Recorded]) -> bool,
    ) -> Vec<Recorded> {
        let unfulfilled = |entries: &mut Entries| !fulfilled(&entries.requests);
        let (entries, waited) = self
            .changed
            .wait_timeout_while(self.lock(), within, unfulfilled)
            .expect("no thread panics while it writes the log");
        assert!(!waited.timed_out(), "not fulfilled within {within:?}: {:#?}", entries.requests);
        entries.requests.clone()
    }

    /// Records a request and returns its number.
    pub(super) fn begin(&self, request: Recorded) -> usize {
        let mut entries = self.lock();
        entries.requests.push(request);
        self.changed.notify_all();
        entries.requests.len() - 1
    }

    /// A number that no other answer of this mock has.
    pub(super) fn next_answer(&self) -> u64 {
        let mut entries = self.lock();
        entries.answers_planned += 1;
        entries.answers_planned
    }

    pub(super) fn end(&self, number: usize, ended: Ended) {
        self.lock().requests[number].ended = Some(ended);
        self.changed.notify_all();
    }

    /// Counts one more request that a fault could happen to, and tells whether it does.
    pub(super) fn fault_happens(&self, api: Api, directive: &Directive, offers_tools: bool) -> bool {
        let mut entries = self.lock();
        let count = entries.faults.entry((api, directive.source.clone(), offers_tools)).or_default();
        *count += 1;
        directive.fault_times.is_none_or(|times| *count <= times)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().expect("no thread panics while it writes the log")
    }
}
