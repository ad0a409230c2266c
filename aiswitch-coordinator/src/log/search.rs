//! The lines of all logs that fit, in the order of time: threads look through files, one loop merges what they find.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Scope;

use chrono::{DateTime, Utc};

use super::filter::{DISORDER_MAX, Filter};
use super::query::LogQuery;
use super::record::LogRecord;
use super::scan::{FOUND_BYTES, Found, Scan, Turn};
use super::segment::{Ended, LogSource};
use crate::Home;
use crate::error::HomeError;

/// How many threads look through files at the most.
const THREADS_MAX: usize = 16;

/// How many for each core: the loop waits for the one that runs longest, while others have work.
const THREADS_PER_CORE: usize = 2;

/// Why a thread that looks through files is there.
const WORKER_RUNS: &str = "a thread goes on until it is not needed any more";

/// A line that fits, and the log that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// The log.
    pub source: &'a LogSource,
    /// The line as it stands in the log: one JSON document, without the line feed.
    pub text: &'a str,
}

impl LogLine<'_> {
    /// What the line says.
    ///
    /// # Panics
    /// The text is not that of a line that was found.
    pub fn record(&self) -> LogRecord {
        serde_json::from_str(self.text).expect("what was found was read")
    }
}

/// What a search came to, beside the lines.
#[derive(Debug, Default)]
pub struct LogSearch {
    /// How many lines of those looked at are no lines of a log, such as half ones of a killed writer.
    pub damaged: u64,
    /// The files that could not be read to their end.
    pub unreadable: Vec<HomeError>,
}

impl LogSearch {
    /// Hands out all lines of a home that fit, merged by time, until `each` has enough.
    ///
    /// Lines that several processes wrote into one file stay in its order, which may be some seconds off. A file is never
    /// in memory as a whole: at most some megabytes for each of those that are read at once.
    ///
    /// # Errors
    /// A folder of logs cannot be read. A file that cannot be read is in the result, and the others are read.
    pub fn run(
        home: &Home,
        query: &LogQuery,
        each: impl FnMut(LogLine<'_>) -> ControlFlow<()>,
    ) -> Result<Self, HomeError> {
        let mut searched = Vec::new();
        for source in query.sources(home)? {
            let segments = query.choose(source.settled(home)?);
            searched.push((source, segments));
        }
        Ok(Self::files(searched, query, each))
    }

    /// Hands out the lines of these files that fit.
    pub(crate) fn files(
        searched: Vec<(LogSource, Vec<Ended>)>,
        query: &LogQuery,
        mut each: impl FnMut(LogLine<'_>) -> ControlFlow<()>,
    ) -> Self {
        let filter = Filter::new(query);
        let chains: Vec<Chain> = searched
            .into_iter()
            .flat_map(|(source, segments)| Chain::all(&source, segments, &filter))
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let running_max = THREADS_MAX.min(cores * THREADS_PER_CORE);
        std::thread::scope(|scope| {
            let mut search = Search {
                scope,
                filter: &filter,
                parts_max: 1 + running_max / chains.len().max(1),
                chains,
                running: VecDeque::new(),
                running_max,
                idle: Vec::new(),
                spare: Vec::new(),
                buffers: Vec::new(),
                result: Self::default(),
            };
            search.merge(&mut each);
            search.result
        })
    }
}

/// Files of one log of which each begins where the one before ends, so that their lines follow each other in time.
struct Chain {
    source: LogSource,
    /// Files that nobody looks through yet.
    waiting: VecDeque<Scan>,
    /// Files that are looked through; the next line of the chain is in the first one.
    parts: VecDeque<Part>,
    /// How many parts have ended before these.
    passed: usize,
}

/// A file that is looked through.
struct Part {
    /// What was found and not handed out, at the most by two turns.
    found: VecDeque<Found>,
    /// Whether threads were asked for more since then.
    is_followed: bool,
    state: State,
}

enum State {
    Paused(Box<Scan>),
    Running(Worker),
    Ended,
}

/// A thread that looks through files, one turn after the other.
struct Worker {
    /// What is looked through next, and where what is found is put.
    turns: Sender<(Box<Scan>, Found)>,
    ended: Receiver<(Box<Scan>, Turn, io::Result<()>)>,
}

/// All that is known while a search goes on.
struct Search<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    filter: &'scope Filter<'scope>,
    chains: Vec<Chain>,
    /// How many files of a chain are looked through at once.
    parts_max: usize,
    /// The chains and the numbers of the parts that are looked through now, the oldest first.
    running: VecDeque<(usize, usize)>,
    running_max: usize,
    /// Threads that have nothing to do.
    idle: Vec<Worker>,
    /// What was handed out, to be filled again.
    spare: Vec<Found>,
    /// What scans that have ended read into.
    buffers: Vec<Vec<u8>>,
    result: LogSearch,
}

impl Search<'_, '_> {
    fn merge(&mut self, each: &mut impl FnMut(LogLine<'_>) -> ControlFlow<()>) {
        let mut order = BinaryHeap::new();
        for chain in 0..self.chains.len() {
            order.extend(self.next_time(chain).map(|at| Reverse((at, chain))));
        }
        while let Some(mut next) = order.peek_mut() {
            let Reverse((_, chain)) = *next;
            self.start_early(chain);
            let Chain { source, parts, .. } = &mut self.chains[chain];
            if let Some(text) = parts.front_mut().and_then(Part::next)
                && each(LogLine { source, text }).is_break()
            {
                break;
            }
            match self.next_time(chain) {
                Some(at) => *next = Reverse((at, chain)),
                None => drop(PeekMut::pop(next)),
            }
        }
    }

    /// The time of the next line of a chain, once it is found; `None` at its end.
    fn next_time(&mut self, chain: usize) -> Option<DateTime<Utc>> {
        loop {
            let Chain { parts, waiting, passed, .. } = &mut self.chains[chain];
            if let Some(part) = parts.front_mut() {
                self.spare.extend(part.take_passed());
            }
            match parts.front() {
                Some(part) if part.next_time().is_some() => return part.next_time(),
                Some(Part { state: State::Ended, .. }) => {
                    parts.pop_front();
                    *passed += 1;
                }
                None if waiting.is_empty() => return None,
                _ => {
                    self.start(chain);
                    self.settle();
                }
            }
        }
    }

    /// Lets threads look for more lines of a chain once half of those that were found last are handed out.
    fn start_early(&mut self, chain: usize) {
        let Some(part) = self.chains[chain].parts.front_mut() else { return };
        if part.is_short() && !std::mem::replace(&mut part.is_followed, true) {
            self.start(chain);
        }
    }

    /// Lets threads look for more, first for this chain, then for those lines that are asked for next.
    fn start(&mut self, needed: usize) {
        self.start_part(needed, 0);
        for depth in 0..self.parts_max {
            for chain in 0..self.chains.len() {
                self.start_part(chain, depth);
            }
        }
    }

    /// Lets a thread look through a part, if there is one that has few lines left, and a thread.
    fn start_part(&mut self, chain: usize, depth: usize) {
        if self.running.len() == self.running_max {
            return;
        }
        let Chain { parts, waiting, passed, .. } = &mut self.chains[chain];
        if depth == parts.len() {
            parts.extend(waiting.pop_front().map(Part::new));
        }
        let Some(part) = parts.get_mut(depth).filter(|part| part.is_short()) else {
            return;
        };
        part.state = match std::mem::replace(&mut part.state, State::Ended) {
            State::Paused(mut scan) => {
                if scan.buffer().capacity() == 0 {
                    *scan.buffer() = self.buffers.pop().unwrap_or_default();
                }
                self.running.push_back((chain, *passed + depth));
                let worker = self.idle.pop().unwrap_or_else(|| Worker::start(self.scope, self.filter));
                let found = self.spare.pop().unwrap_or_default();
                worker.turns.send((scan, found)).expect(WORKER_RUNS);
                State::Running(worker)
            }
            other => other,
        };
    }

    /// Waits for the thread that runs longest, and takes in what it found.
    fn settle(&mut self) {
        let (chain, number) = self.running.pop_front().expect("a part that is waited for was started");
        let Chain { parts, passed, .. } = &mut self.chains[chain];
        let part = &mut parts[number - *passed];
        let State::Running(worker) = std::mem::replace(&mut part.state, State::Ended) else { return };
        let (mut scan, turn, read) = worker.ended.recv().expect(WORKER_RUNS);
        self.idle.push(worker);
        part.found.push_back(turn.found);
        part.is_followed = false;
        self.result.damaged += turn.damaged;
        if let Err(error) = read {
            self.result.unreadable.push(HomeError::io("read", scan.path())(error));
        }
        if turn.is_end {
            self.buffers.push(std::mem::take(scan.buffer()));
        } else {
            part.state = State::Paused(scan);
        }
    }
}

impl Chain {
    /// The chains of one log: one, unless the clock was set back.
    fn all(source: &LogSource, segments: Vec<Ended>, filter: &Filter<'_>) -> Vec<Self> {
        let mut chains: Vec<(Self, Option<DateTime<Utc>>)> = Vec::new();
        for ended in segments {
            let first = ended.segment.first;
            let follows = |reach: Option<DateTime<Utc>>| {
                reach.zip(first).is_none_or(|(reach, first)| reach - first <= DISORDER_MAX)
            };
            let index = chains.iter().position(|(_, reach)| follows(*reach)).unwrap_or(chains.len());
            if index == chains.len() {
                let (waiting, parts) = (VecDeque::new(), VecDeque::new());
                chains.push((Self { source: source.clone(), waiting, parts, passed: 0 }, None));
            }
            chains[index].0.waiting.extend(Scan::all(&ended, filter));
            chains[index].1 = ended.last;
        }
        chains.into_iter().map(|(chain, _)| chain).collect()
    }
}

impl Worker {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, filter: &'scope Filter<'scope>) -> Self {
        let (turns, next) = mpsc::channel::<(Box<Scan>, Found)>();
        let (tell, ended) = mpsc::channel();
        scope.spawn(move || {
            for (mut scan, found) in next {
                let (turn, read) = scan.turn(filter, found);
                if tell.send((scan, turn, read)).is_err() {
                    break;
                }
            }
        });
        Self { turns, ended }
    }
}

impl Part {
    fn new(scan: Scan) -> Self {
        Self { found: VecDeque::new(), is_followed: false, state: State::Paused(Box::new(scan)) }
    }

    /// Whether little is left of what was found.
    fn is_short(&self) -> bool {
        self.found.iter().map(Found::bytes_left).sum::<usize>() <= FOUND_BYTES / 2
    }

    /// The time of the next line that was found.
    fn next_time(&self) -> Option<DateTime<Utc>> {
        self.found.iter().find_map(Found::next_time)
    }

    /// Takes what was handed out as a whole.
    fn take_passed(&mut self) -> Option<Found> {
        let mut found = self.found.pop_front_if(|found| found.next_time().is_none())?;
        found.clear();
        Some(found)
    }

    /// The next line that was found.
    fn next(&mut self) -> Option<&str> {
        self.found.iter_mut().find(|found| found.next_time().is_some())?.next()
    }
}
