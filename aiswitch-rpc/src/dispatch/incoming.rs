//! What a frame is: a message, a batch, the answer to an offer, or nothing that can be read.

use std::task::Context;

use serde_json::json;
use serde_json::value::RawValue;

use super::{Batch, Dispatch, ReplyTo, Request};
use crate::calls::Answer;
use crate::canonical::{Canonical, canonical};
use crate::codec::{Decoder, Framing};
use crate::error::{CloseReason, ConnectionError, FrameError};
use crate::message::{self, Content, ErrorObject, Id, JsonRpcMember, Message, RefusedFrame, error_code};
use crate::options::Integrity;
use crate::router::{Event, Input};
use crate::seal::{self, IntegrityFault, check_seal};

/// The most bytes of a noise line that an event carries.
const NOISE_BYTES_MAX: usize = 4096;
/// How a peer begins that frames its messages in the other way.
const FRAMING_HINT: &str = "content-length";

impl Dispatch {
    /// Takes all frames that the decoder has; at the end of the stream the last one too.
    ///
    /// An error means that no further frame can be had.
    pub(crate) fn frames(
        &mut self,
        decoder: &mut Decoder,
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Result<(), (CloseReason, ConnectionError)> {
        while !self.is_overfull {
            let frame = if is_end { decoder.finish() } else { decoder.next_frame() };
            match frame {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Err(fault) = self.frame(frame, context) {
                        self.abandon_work();
                        return Err((CloseReason::Integrity, ConnectionError::Integrity { fault }));
                    }
                }
                Err(source) if is_end || matches!(source, FrameError::Header { .. }) => {
                    let reason = if is_end { CloseReason::HalfFrame } else { CloseReason::FramingLost };
                    self.bad_frame(source.clone(), decoder.refused_prefix());
                    return Err((reason, ConnectionError::Frame { source }));
                }
                Err(error) => self.bad_frame(error, decoder.refused_prefix()),
            }
        }
        Ok(())
    }

    /// Takes one frame.
    ///
    /// An error means that the peer's messages are not intact: no further frame may be taken.
    pub(super) fn frame(&mut self, frame: &str, context: &mut Context<'_>) -> Result<(), IntegrityFault> {
        let open = match self.next_seal {
            None => frame.strip_suffix('}'),
            Some(number) => {
                self.next_seal = Some(number + 1);
                Some(check_seal(frame, number).inspect_err(|fault| self.tampered(*fault))?)
            }
        };
        let head = match (self.options().jsonrpc, self.offer) {
            (JsonRpcMember::Required, None) => open.and_then(canonical),
            _ => None,
        };
        if let (Some(open), Some(head)) = (open, head)
            && self.canonical(&head, open, context)
        {
            self.malformed_in_a_row = 0;
            return Ok(());
        }
        match message::parse(frame, self.options().jsonrpc) {
            Ok(Content::One(Message::Response { id, outcome })) if self.is_answer_to_offer(&id) => {
                return self.offer_answered(outcome.is_ok_and(seal::is_accepted));
            }
            Ok(Content::One(
                Message::InvalidResponse { id: Some(id), .. } | Message::InvalidRequest { id, .. },
            )) if self.is_answer_to_offer(&id) => return self.offer_answered(false),
            Ok(Content::One(message)) => self.message(message, ReplyTo::Stream, context),
            Ok(Content::Batch(elements)) => self.batch(&elements, context),
            Err(error) => self.not_json(frame, &error),
        }
        Ok(())
    }

    pub(super) fn is_answer_to_offer(&self, id: &Id) -> bool {
        self.offer.is_some() && self.offer == id.call_number()
    }

    pub(super) fn offer_answered(&mut self, is_accepted: bool) -> Result<(), IntegrityFault> {
        let Some(number) = self.offer.take() else { return Ok(()) };
        self.shared.end_offer(number, is_accepted);
        self.next_seal = is_accepted.then_some(1);
        if !is_accepted && self.options().integrity == Integrity::Require {
            self.router.tell(|| Event::Integrity { fault: IntegrityFault::Declined });
            return Err(IntegrityFault::Declined);
        }
        Ok(())
    }

    /// Answers an offer of the peer to seal messages: the answer itself is not sealed yet.
    pub(super) fn answer_offer(&mut self, id: &Id, params: Option<&RawValue>) {
        let is_acceptable = seal::is_acceptable(params) && self.next_seal.is_none();
        let answer = if is_acceptable { seal::ACCEPT } else { seal::DECLINE };
        let [head, result, tail] = self.encode_reply(id, Ok(answer.as_bytes().to_vec()));
        let mut state = self.shared.lock();
        state.queue_plain(self.options().framing, &[&head, &result, &tail]);
        // Where both sides made an offer, the answer of the peer is still to come, and is not sealed either.
        if is_acceptable && self.offer.is_none() {
            state.seal = Some(1);
            drop(state);
            self.next_seal = Some(1);
        }
    }

    pub(super) fn tampered(&mut self, fault: IntegrityFault) {
        self.router.tell(|| Event::Integrity { fault });
        let error = ErrorObject::new(error_code::INTEGRITY, format!("Integrity: {fault}"));
        self.reply(ReplyTo::Stream, &Id::Null, Some(Err(error)));
    }

    pub(super) fn not_json(&mut self, frame: &str, error: &serde_json::Error) {
        self.router.tell(|| Event::Noise { line: cut(frame, NOISE_BYTES_MAX).to_owned() });
        let mut answer = ErrorObject::new(error_code::PARSE_ERROR, format!("Parse error: {error}"));
        if cut(frame.trim_ascii_start(), FRAMING_HINT.len()).eq_ignore_ascii_case(FRAMING_HINT) {
            answer.data = Some(json!({"hint": "this side reads one message a line, without headers"}));
        }
        self.malformed(ReplyTo::Stream, &Id::Null, &answer);
    }

    /// Takes the error that stands for a frame which could not be had.
    pub(super) fn bad_frame(&mut self, error: FrameError, refused_prefix: &str) {
        match &error {
            FrameError::TooLong { bytes_max, .. } => {
                let bytes_max = *bytes_max;
                let answer =
                    ErrorObject::new(error_code::INVALID_REQUEST, "Invalid Request: message is too long")
                        .with_data(json!({"frame_bytes_max": bytes_max}));
                match message::parse_refused_prefix(refused_prefix) {
                    RefusedFrame::Request(id) => self.reply(ReplyTo::Stream, &id, Some(Err(answer))),
                    RefusedFrame::Response(id) => {
                        self.settle(&id, Answer::TooLarge { bytes_max });
                    }
                    RefusedFrame::Unknown => self.malformed(ReplyTo::Stream, &Id::Null, &answer),
                }
            }
            FrameError::Noise { line } => {
                let line = line.clone();
                return self.router.tell(|| Event::Noise { line });
            }
            FrameError::HalfFrame { .. } if self.options().framing == Framing::ContentLength => {}
            _ => {
                let answer = ErrorObject::new(error_code::PARSE_ERROR, format!("Parse error: {error}"));
                self.malformed(ReplyTo::Stream, &Id::Null, &answer);
            }
        }
        self.router.tell(|| Event::BadFrame { error });
    }

    /// Takes a frame in canonical form; `false` when it must be read the long way.
    pub(super) fn canonical(&mut self, head: &Canonical<'_>, open: &str, context: &mut Context<'_>) -> bool {
        match *head {
            Canonical::Response { id, result_from } => {
                let mut state = self.shared.lock();
                if !state.calls.is_waiting(id) {
                    return false;
                }
                state.calls.settle(id, Answer::Frame { frame: [open, "}"].concat(), result_from });
                true
            }
            Canonical::Notification { method, params } => {
                Some(method) != self.options().cancel.method()
                    && self.notification(method, Input::Text(params)).is_ok()
            }
            Canonical::Request { id, method, params } => {
                let id = Id::Integer(id);
                method != seal::METHOD
                    && self.router.start_request(method).is_some()
                    && self.refusal(&id).is_none()
                    && self.start(
                        Request { id, method, input: Input::Text(params), to: ReplyTo::Stream },
                        context,
                    )
            }
        }
    }

    pub(super) fn batch(&mut self, elements: &[&RawValue], context: &mut Context<'_>) {
        let batch_max = self.options().batch_max;
        if elements.len() > batch_max {
            let reason = if batch_max == 0 { "batches are not taken" } else { "batch has too many elements" };
            let message = Message::InvalidRequest { id: Id::Null, reason, has_method: false };
            return self.message(message, ReplyTo::Stream, context);
        }
        let place = self.batches.iter().position(Option::is_none).unwrap_or_else(|| {
            self.batches.push(None);
            self.batches.len() - 1
        });
        // One more than there are elements, so that the batch is not sent before the last one was taken.
        self.batches[place] = Some(Batch { missing: elements.len() + 1, replies: Vec::new() });
        for element in elements {
            let message = match message::parse(element.get(), self.options().jsonrpc) {
                Ok(Content::One(message)) => message,
                Ok(Content::Batch(_)) | Err(_) => Message::InvalidRequest {
                    id: Id::Null,
                    reason: "message is not an object",
                    has_method: false,
                },
            };
            let wants_reply = matches!(message, Message::Request { .. } | Message::InvalidRequest { .. });
            self.message(message, ReplyTo::Batch(place), context);
            if !wants_reply {
                self.end_batch_element(place, None);
            }
        }
        self.end_batch_element(place, None);
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
