//! The table of own calls that wait for an answer.
//!
//! The number of a call is its slot in the low bits and a keyed hash above them: finding a call is an index, and a
//! stranger that can write to the stream cannot guess the number of a call that it has not seen.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::task::{Context, Poll, Waker};

use crate::error::CloseReason;
use crate::message::ErrorObject;

const SLOT_BITS: u32 = 20;
/// Numbers stay below 2^53, so that peers which keep numbers as doubles return them unchanged.
const NUMBER_BITS: u32 = 53;
const ABANDONED_MAX: usize = 1024;

/// How a call ended, before its result is decoded.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A canonical frame, to be read by the caller; the text of the result starts at `result_from`.
    Frame { frame: String, result_from: usize },
    /// A result that is known to be JSON.
    Result(String),
    /// An error of the peer.
    Error(ErrorObject),
    /// An answer that is no response.
    Invalid(&'static str),
    /// An answer that is over the frame limit.
    TooLarge { bytes_max: usize },
    /// The connection closed.
    Closed(CloseReason),
}

#[derive(Debug)]
enum State {
    Vacant,
    Waiting(Option<Waker>),
    Settled(Answer),
}

#[derive(Debug)]
struct Slot {
    number: u64,
    state: State,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its call was waiting.
    Matched,
    /// Its call had been given up.
    Late,
    /// There was no such call.
    Unmatched,
}

/// The calls in flight.
#[derive(Debug)]
pub(crate) struct Calls {
    slots: Vec<Slot>,
    vacant: Vec<usize>,
    keys: RandomState,
    made: u64,
    abandoned: VecDeque<u64>,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            keys: RandomState::new(),
            made: 0,
            abandoned: VecDeque::new(),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Opens a call and gives its number.
    pub(crate) fn open(&mut self) -> u64 {
        self.made += 1;
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { number: 0, state: State::Vacant });
            self.slots.len() - 1
        });
        let above = self.keys.hash_one(self.made) >> (64 - (NUMBER_BITS - SLOT_BITS));
        let number = (above << SLOT_BITS) | index as u64;
        self.slots[index] = Slot { number, state: State::Waiting(None) };
        number
    }

    fn slot(&mut self, number: u64) -> Option<(usize, &mut Slot)> {
        let index = usize::try_from(number & ((1 << SLOT_BITS) - 1)).ok()?;
        let slot = self.slots.get_mut(index)?;
        (slot.number == number).then_some((index, slot))
    }

    pub(crate) fn is_waiting(&mut self, number: u64) -> bool {
        self.slot(number).is_some_and(|(_, slot)| matches!(slot.state, State::Waiting(_)))
    }

    /// Ends a call with an answer, if it waits for one.
    pub(crate) fn settle(&mut self, number: u64, answer: Answer) -> Settled {
        if let Some((_, slot)) = self.slot(number)
            && let State::Waiting(waker) = &mut slot.state
        {
            let waker = waker.take();
            slot.state = State::Settled(answer);
            if let Some(waker) = waker {
                waker.wake();
            }
            return Settled::Matched;
        }
        match self.abandoned.iter().position(|&abandoned| abandoned == number) {
            Some(index) => {
                self.abandoned.remove(index);
                Settled::Late
            }
            None => Settled::Unmatched,
        }
    }

    /// Ends all calls that still wait.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        for slot in &mut self.slots {
            if let State::Waiting(waker) = &mut slot.state {
                let waker = waker.take();
                slot.state = State::Settled(Answer::Closed(reason));
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    /// Asks for the answer to a call; once it was given, the call is over.
    pub(crate) fn poll(&mut self, number: u64, context: &Context<'_>) -> Poll<Answer> {
        let (index, slot) =
            self.slot(number).expect("a call stays in the table until it is answered or dropped");
        match std::mem::replace(&mut slot.state, State::Vacant) {
            State::Settled(answer) => {
                self.vacant.push(index);
                Poll::Ready(answer)
            }
            State::Waiting(waker) => {
                let waker = waker
                    .filter(|waker| waker.will_wake(context.waker()))
                    .unwrap_or_else(|| context.waker().clone());
                slot.state = State::Waiting(Some(waker));
                Poll::Pending
            }
            State::Vacant => unreachable!("a call is not asked for again after its answer"),
        }
    }

    /// Ends a call that nobody waits for.
    pub(crate) fn forget(&mut self, number: u64) {
        if let Some((index, slot)) = self.slot(number) {
            slot.state = State::Vacant;
            self.vacant.push(index);
        }
    }

    /// Gives a call up; `true` when the peer still works on it.
    pub(crate) fn abandon(&mut self, number: u64) -> bool {
        let was_waiting = self.is_waiting(number);
        self.forget(number);
        if was_waiting {
            if self.abandoned.len() == ABANDONED_MAX {
                self.abandoned.pop_front();
            }
            self.abandoned.push_back(number);
        }
        was_waiting
    }
}
