//! What is answered, and where the answer goes: to the stream, or into a batch.

use super::{Batch, Dispatch, ReplyTo};
use crate::message::{self, ErrorObject, Id};
use crate::options::{MALFORMED_REPLIES_MAX, OnMalformed, Options};
use crate::router::Event;

impl Dispatch {
    pub(super) fn panicked(&self, method: &str) -> ErrorObject {
        self.router.tell(|| Event::HandlerPanicked { method: method.to_owned() });
        ErrorObject::internal("the handler panicked")
    }

    /// Answers something that is no request, if that is wanted and has not been done too often.
    pub(super) fn malformed(&mut self, to: ReplyTo, id: &Id, error: &ErrorObject) {
        let is_reply_wanted = self.options().on_malformed == OnMalformed::Reply
            && self.malformed_in_a_row < MALFORMED_REPLIES_MAX;
        if let ReplyTo::Stream = to {
            self.malformed_in_a_row = self.malformed_in_a_row.saturating_add(1);
        }
        self.reply(to, id, is_reply_wanted.then(|| Err(error.clone())));
    }

    /// Queues an answer; `None` ends a request without one.
    pub(super) fn reply(&mut self, to: ReplyTo, id: &Id, outcome: Option<Result<Vec<u8>, ErrorObject>>) {
        let reply = outcome.map(|outcome| self.encode_reply(id, outcome));
        match to {
            ReplyTo::Batch(place) => self.end_batch_element(place, reply.map(|parts| parts.concat())),
            ReplyTo::Stream => {
                if let Some([head, result, tail]) = reply {
                    self.push(&[&head, &result, &tail]);
                }
            }
        }
    }

    pub(super) fn encode_reply(&self, id: &Id, outcome: Result<Vec<u8>, ErrorObject>) -> [Vec<u8>; 3] {
        let Options { jsonrpc, outgoing_frame_bytes_max: bytes_max, .. } = *self.options();
        let mut head = Vec::with_capacity(64);
        let error = match outcome {
            Ok(result) => {
                message::write_result_start(&mut head, jsonrpc, id);
                if head.len() + result.len() < bytes_max {
                    return [head, result, b"}".to_vec()];
                }
                head.clear();
                ErrorObject::internal(format_args!("the result is over the limit of {bytes_max} bytes"))
            }
            Err(error) => error,
        };
        message::write_error(&mut head, jsonrpc, id, &error);
        [head, Vec::new(), Vec::new()]
    }

    pub(super) fn end_batch_element(&mut self, place: usize, reply: Option<Vec<u8>>) {
        let batch = self.batches[place].as_mut().expect("a batch stays until its last element has ended");
        batch.replies.extend(reply);
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let Some(Batch { replies, .. }) = self.batches[place].take() else { return };
        let bytes = replies.iter().map(|reply| reply.len() + 1).sum::<usize>() + 1;
        if replies.is_empty() {
            return;
        }
        if bytes > self.options().outgoing_frame_bytes_max || self.next_seal.is_some() {
            // Too long for one message, or not to be sealed as one; sent one by one, each caller still gets its answer.
            for reply in replies {
                self.push(&[&reply]);
            }
        } else {
            self.push(&[b"[", &replies.join(&b","[..]), b"]"]);
        }
    }

    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut state = self.shared.lock();
        if !state.has_output {
            return;
        }
        if state.queued_bytes() + bytes > self.shared.options.outgoing_bytes_max {
            self.is_overfull = true;
            return;
        }
        // The connection itself is at work here and looks at the outbox next: nobody is to be woken.
        state.queue(self.shared.options.framing, parts);
    }
}
