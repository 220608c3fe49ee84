//! What the steps of the request stream mean.

use super::{
    conversation::{Conversation, End, STRAYED},
    event::{Gap, HttpEvent},
    head::RequestStart,
    reader::{Direction, Loss, Step},
};
use crate::timestamp::Timestamp;

impl Conversation {
    /// Takes a step of the client end's stream.
    ///
    /// An exchange begins with a request line that is complete and valid, or with anything at
    /// all that the server end answers in HTTP. So half a line is none until then, and a head
    /// that is malformed further on, too large, or cut off is one without a head.
    pub(super) fn request_step(
        &mut self,
        step: Step,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match step {
            Step::Begun => {
                self.requests.positions.messages =
                    self.requests.positions.messages.saturating_add(1);
                self.told = false;
            }
            Step::Line => self.tell(events),
            Step::Request(start) => self.request_head(start, events),
            Step::Ended => {
                self.pairing.request_content(self.requests.reader.content());
                self.pairing.request_ended(time, events);
                if self.last_request {
                    self.requests.reader.give_up();
                }
            }
            // The proxy answers 400 and closes; the exchange lasts as long as the connection.
            Step::Malformed => {
                self.tell(events);
                self.requests.reader.lose(MISMATCH);
            }
            // The proxy answers 431.
            Step::TooLarge => {
                self.tell(events);
                let trusting = true;
                self.requests.reader.lose(Loss {
                    trusting,
                    ..STRAYED
                });
            }
            Step::Http2 if self.may_be_http2() => self.http2 = true,
            Step::NotAMessage | Step::Http2 => self.not_a_request(time, events),
            Step::BrokenBody => self.lose(Direction::Requests, STRAYED, time, events),
            // Never read from this stream.
            Step::Response(_) => {}
        }
    }

    /// Tells that the request in progress began, once.
    pub(super) fn tell(&mut self, events: &mut Vec<HttpEvent>) {
        if !self.told {
            self.told = true;
            let joined = std::mem::take(&mut self.joined);
            let reader = &self.requests.reader;
            self.pairing
                .begin(reader.began(), reader.method(), joined, events);
        }
    }

    /// The connection ended: what the kernel side counted beyond what was read is lost.
    pub(super) fn close_requests(&mut self, end: End, events: &mut Vec<HttpEvent>) {
        let sent = end.requests.unwrap_or_default();
        if self.requests.reader.is_opaque() {
            // A line may have ended in what was left out.
            self.unread_line |=
                self.unread.is_some() && self.requests.positions.rest(sent.bytes) > 0;
            return;
        }
        if self.requests.reader.loss().is_none() {
            if self.requests.end(sent.bytes) {
                self.read(Direction::Requests, &[], end.time, events);
            } else if end.requests.is_some() {
                let missing = sent.totals.segments > self.requests.positions.next_index();
                if !missing && self.pairing.begun() == 0 && sent.totals.messages == 0 {
                    // The kernel side found that it is not HTTP, and told no more of it.
                    self.unread_line = true;
                    self.requests.reader.give_up();
                    return;
                }
                let loss = missed(missing, sent.totals.followed);
                self.lose(Direction::Requests, loss, end.time, events);
            }
        }
        if let Some(loss) = self.requests.reader.loss() {
            let counted = self.requests.positions.catch_up(sent.totals.messages);
            // There may have been more where not all was followed.
            let uncounted = !sent.totals.followed || !loss.trusting;
            if counted > 0 || (uncounted && loss.cause != Gap::StreamMismatch) {
                self.pairing
                    .requests_lost(counted, loss.cause, end.time, events);
            }
        } else if self.requests.reader.is_in_head() && !self.told && self.pairing.begun() > 0 {
            // Half a line after other requests: the proxy may log it or not.
            self.pairing
                .requests_lost(1, Gap::StreamMismatch, end.time, events);
        }
    }

    fn request_head(&mut self, start: RequestStart, events: &mut Vec<HttpEvent>) {
        self.tell(events);
        self.last_request = start.last;
        match start.body {
            Some(body) => self.requests.reader.enter(body),
            // Its end cannot be told, nor that there are more (RFC 9112 section 6.3).
            None => self.requests.reader.give_up(),
        }
        self.pairing.request_head(start);
    }

    fn not_a_request(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let began = self.requests.reader.began();
        if self.joined {
            // The kernel side took something for a message that is none; it will look on.
            let trusting = true;
            self.requests.reader.lose(Loss {
                trusting,
                ..STRAYED
            });
        } else if self.pairing.begun() == 0 {
            self.requests.reader.give_up();
            self.unread = Some(began);
        } else {
            // The proxy answers 400 and logs it, unless the answer that made a tunnel of this
            // was lost.
            if !self.pairing.may_be_tunnel() {
                self.pairing
                    .requests_lost(1, Gap::StreamMismatch, time, events);
            }
            self.requests.reader.lose(MISMATCH);
        }
    }
}

/// Bytes that were sent never came: a segment was lost, or the kernel side did not follow. If it did,
/// it left out what cannot be left out here.
pub(super) fn missed(segment: bool, followed: bool) -> Loss {
    if segment {
        return Loss {
            cause: Gap::RingLost,
            trusting: true,
        };
    }
    Loss {
        trusting: !followed,
        ..STRAYED
    }
}

/// What came is no HTTP/1.
pub(super) const MISMATCH: Loss = Loss {
    cause: Gap::StreamMismatch,
    trusting: false,
};
