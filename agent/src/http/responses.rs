//! What the steps of the response stream mean.

use super::{
    body::Body,
    conversation::{Conversation, End, STRAYED},
    event::{Gap, HttpEvent, Response},
    head::{Method, ResponseStart},
    headers::Headers,
    reader::{Direction, Loss, Step},
    requests::{MISMATCH, missed},
};
use crate::timestamp::Timestamp;

impl Conversation {
    /// Takes a step of the server end's stream.
    pub(super) fn response_step(
        &mut self,
        step: Step,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match step {
            Step::Begun => {
                self.responses.positions.messages =
                    self.responses.positions.messages.saturating_add(1);
                self.interim = false;
            }
            Step::Line => {}
            Step::Response(start) if start.is_interim() => {
                self.interim = true;
                self.pairing.interim();
                self.responses.reader.enter(Body::NONE);
            }
            Step::Response(start) => self.final_response(start, time, events),
            Step::Ended if self.interim => {}
            Step::Ended => {
                self.pairing
                    .response_content(self.responses.reader.content());
                self.pairing.response_ended(time, events);
                if self.last_response {
                    self.responses.reader.give_up();
                }
            }
            // The client closes; until then the exchange has a response without a status.
            Step::Malformed => {
                self.answer_without_head(time, events);
                self.pairing
                    .responses_unreadable(MISMATCH.cause, time, events);
                self.responses.reader.lose(MISMATCH);
            }
            Step::TooLarge => {
                self.answer_without_head(time, events);
                let trusting = true;
                self.responses.reader.lose(Loss {
                    trusting,
                    ..STRAYED
                });
            }
            // The server speaks first, or something else.
            Step::Http2 if self.may_be_http2() => self.http2 = true,
            Step::NotAMessage | Step::Http2 if !self.pairing.knows_requests() => {
                self.responses.reader.give_up();
            }
            Step::NotAMessage | Step::Http2 => {
                self.lose(Direction::Responses, MISMATCH, time, events);
            }
            Step::BrokenBody => self.lose(Direction::Responses, STRAYED, time, events),
            // Never read from this stream.
            Step::Request(_) => {}
        }
    }

    /// The connection ended: whether responses may be missing, and why.
    pub(super) fn close_responses(&mut self, end: End, events: &mut Vec<HttpEvent>) -> Option<Gap> {
        let Some(sent) = end.responses else {
            return Some(Gap::StreamGap);
        };
        if self.responses.reader.is_opaque() {
            return None;
        }
        if self.responses.reader.loss().is_none() {
            if self.responses.end(sent.bytes) {
                self.read(Direction::Responses, &[], end.time, events);
            } else {
                let missing = sent.totals.segments > self.responses.positions.next_index();
                let loss = missed(missing, sent.totals.followed);
                self.lose(Direction::Responses, loss, end.time, events);
            }
        }
        if let Some(loss) = self.responses.reader.loss() {
            let counted = self.responses.positions.catch_up(sent.totals.messages);
            let uncounted = !sent.totals.followed || !loss.trusting;
            return (counted > 0 || uncounted).then_some(loss.cause);
        }
        let reader = &self.responses.reader;
        if reader.is_in_head() {
            if self.pairing.is_waiting() {
                self.answer_without_head(end.time, events);
            }
        } else if reader.is_until_close()
            && let Some(time) = end.server_fin
        {
            self.pairing
                .response_content(self.responses.reader.content());
            self.pairing.response_ended(time, events);
        }
        None
    }

    fn final_response(
        &mut self,
        mut start: ResponseStart,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        if start.upgrades_to_http2()
            && let Some(exchange) = self.pairing.take_upgrade()
        {
            self.upgrade = Some(exchange);
            self.http2 = true;
            return self.responses.reader.keep();
        }
        self.last_response = start.last;
        let headers = std::mem::take(&mut start.headers);
        let known = self.answer(Some(start.status), headers, time, events);
        let method = known.unwrap_or(Method::Other);
        let body = start.body(method);
        if start.opens_tunnel(method) {
            self.open_tunnel(time);
        } else if known.is_some() || body == Body::NONE {
            self.responses.reader.enter(body);
        } else {
            // Whether it has a body depends on a request that was not seen.
            let (cause, trusting) = (Gap::RingLost, true);
            self.pairing.response_cut(cause, time, events);
            self.responses.reader.lose(Loss { cause, trusting });
        }
    }

    fn answer_without_head(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.answer(None, Headers::default(), time, events);
    }

    /// A final response began: the method of the request that it answers.
    fn answer(
        &mut self,
        status: Option<u16>,
        headers: Headers,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> Option<Method> {
        if self.pairing.is_caught_up() {
            self.begin_unread(events);
        }
        let response = Response {
            time: self.responses.reader.began(),
            status,
            headers,
            trailers: Headers::default(),
            ended: None,
            body_bytes: 0,
            upgraded: false,
        };
        self.pairing.answer(response, time, events)
    }

    /// The server end answers something that was not told as a request: it took it for one.
    fn begin_unread(&mut self, events: &mut Vec<HttpEvent>) {
        if let Some(time) = self.unread.take() {
            self.pairing.begin(time, Some(Method::Other), false, events);
        } else if self.requests.reader.is_in_head() {
            self.tell(events);
        }
    }

    fn open_tunnel(&mut self, time: Timestamp) {
        self.pairing.upgraded(time);
        self.responses.reader.give_up();
        let requests = &mut self.requests.reader;
        if requests.is_at_boundary() || (requests.is_in_head() && !self.told) {
            requests.give_up();
        } else {
            self.last_request = true;
        }
    }
}
