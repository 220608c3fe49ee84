//! Which response answers which request of a connection.
//!
//! Responses come in the order of their requests (RFC 9112 section 9.3.2), so position alone
//! pairs them, as long as both can be counted. Lost requests are counted exactly and keep their
//! place. Of lost responses only the number of messages is known, interim ones included; how
//! many requests they answered is settled by these rules:
//!
//! - Nothing suggests an interim response (none was seen, none was asked for): each answered one.
//!   What exceeds the requests that are known answered requests that are lost too.
//! - Otherwise each final response that comes ends one exchange, which gets the gap and no
//!   response, until as many came as requests were sent; or until a client that was never seen to
//!   pipeline sends a request, which it does after the answer to the last.
//!
//! A response beyond that, to nothing, casts doubt on the next exchange: it gets a gap.

use super::{
    event::{ConnectionId, Exchange, Gap, HttpEvent, Request, Response},
    head::{Method, RequestStart},
    queue::Queue,
    slot::Open,
};
use crate::timestamp::Timestamp;

/// The exchanges of a connection that have not ended, oldest first.
#[derive(Debug)]
pub(super) struct Pairing {
    connection: ConnectionId,
    queue: Queue,
    /// Exchanges begun so far.
    begun: u32,
    /// Final responses that found no request. Their requests may turn out to be lost.
    orphans: u32,
    /// Exchanges that ended while their responses were still to come.
    given_up: u32,
    /// Response messages that are lost and not yet accounted for.
    lost: Option<LostResponses>,
    interim_seen: bool,
    /// A request began before the one before it was answered.
    pipelined: bool,
    /// What begins now may be paired wrongly.
    doubt: Option<Gap>,
    /// Responses cannot be read any more.
    blind: Option<Gap>,
    /// Requests were lost.
    incomplete: bool,
    /// Something was lost since all requests were answered.
    lossy: bool,
}

#[derive(Clone, Copy, Debug)]
struct LostResponses {
    messages: u32,
    interim_possible: bool,
}

impl Pairing {
    pub(super) fn new(connection: ConnectionId, capacity: usize) -> Self {
        Self {
            connection,
            queue: Queue::new(capacity),
            begun: 0,
            orphans: 0,
            given_up: 0,
            lost: None,
            interim_seen: false,
            pipelined: false,
            doubt: None,
            blind: None,
            incomplete: false,
            lossy: false,
        }
    }

    /// A request of this method, if that is known, was begun at `time`; `joined` if its position
    /// was found anew.
    pub(super) fn begin(
        &mut self,
        time: Timestamp,
        method: Option<Method>,
        joined: bool,
        events: &mut Vec<HttpEvent>,
    ) {
        self.settle_before_request(joined, time, events);
        let lost = self.lost.map(|_| Gap::RingLost);
        let exchange = Exchange {
            connection: self.connection,
            exchange: self.begun,
            stream: None,
            time,
            end: time,
            request: Request::default(),
            response: None,
            gap: self.blind.or(self.doubt).or(lost),
            joined,
            undecoded: false,
            refused: false,
        };
        let mut open = Open::new(exchange, method);
        if self.blind.is_some() {
            open.answered = true;
            open.response_done = true;
        }
        self.queue.push(open, time, events);
        events.push(HttpEvent::Begun {
            connection: self.connection,
            exchange: self.begun,
            stream: None,
            time,
        });
        self.begun = self.begun.wrapping_add(1);
    }

    /// The head of the request that began last.
    pub(super) fn request_head(&mut self, start: RequestStart) {
        self.queue.keep_request(start);
    }

    /// The request that began last has sent so much of its body.
    pub(super) fn request_content(&mut self, content: u64) {
        if let Some(open) = self.queue.last_request() {
            open.exchange.request.body_bytes = content;
        }
    }

    /// The request that began last ended.
    pub(super) fn request_ended(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(open) = self.queue.last_request() {
            open.exchange.request.ended = Some(time);
            open.finish_request(time);
            self.queue.release(events);
        }
    }

    /// The end of the request that began last, if it did not end, was not seen.
    pub(super) fn request_cut(&mut self, gap: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(open) = self.queue.last_request() {
            open.mark(gap);
            open.finish_request(time);
            self.queue.release(events);
        }
    }

    /// So many request heads were sent that cannot be read; 0 where their number is not known.
    pub(super) fn requests_lost(
        &mut self,
        exchanges: u32,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        events.push(HttpEvent::Lost {
            connection: self.connection,
            exchanges,
            time,
            cause,
        });
        self.incomplete = true;
        self.lossy = true;
        let answered = exchanges.min(self.orphans);
        self.orphans -= answered;
        let waiting = exchanges - answered;
        if waiting > 0 && self.blind.is_none() {
            self.queue.push_gone(waiting, time, events);
        }
    }

    /// The requests found anew follow others that were not seen.
    pub(super) fn requests_joined(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.orphans = 0;
        if self.queue.unanswered() > 0 {
            self.queue
                .answer_unseen(self.queue.unanswered(), Gap::StreamGap, time, events);
            self.doubt = Some(Gap::StreamGap);
        }
    }

    /// An interim response was sent.
    pub(super) fn interim(&mut self) {
        self.interim_seen = true;
    }

    /// A final response began: the method of the request that it answers, if that is known.
    pub(super) fn answer(
        &mut self,
        response: Response,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> Option<Method> {
        if let Some(lost) = self.lost {
            let serial =
                !self.pipelined && lost.messages.checked_add(1) == Some(self.queue.unanswered());
            if lost.interim_possible && serial {
                self.queue
                    .answer_unseen(lost.messages, Gap::RingLost, time, events);
                self.lost = None;
            } else if lost.interim_possible && self.queue.unanswered() > 0 {
                let method = self.queue.common_method(lost.messages);
                self.queue.mark_unanswered(Gap::RingLost);
                self.queue.answer_unseen(1, Gap::RingLost, time, events);
                return method;
            }
            if !lost.interim_possible {
                self.settle_exactly(lost, time, events);
            }
        }
        if self.given_up > 0 {
            self.given_up -= 1;
            return None;
        }
        if self.queue.unanswered() == 0 {
            self.orphans = self.orphans.saturating_add(1);
            return None;
        }
        self.pipelined |= self.queue.unanswered() > 1;
        self.queue.answer(response)
    }

    /// The response in progress has sent so much of its body.
    pub(super) fn response_content(&mut self, content: u64) {
        if let Some(response) = self.queue.response() {
            response.body_bytes = content;
        }
    }

    /// The response in progress ended.
    pub(super) fn response_ended(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(response) = self.queue.response() {
            response.ended = Some(time);
        }
        self.queue.finish_response(None, time, events);
    }

    /// The end of the response in progress, if there is one, was not seen.
    pub(super) fn response_cut(&mut self, gap: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.queue.finish_response(Some(gap), time, events);
    }

    /// The response in progress hands the connection over: its exchange ends with it.
    pub(super) fn upgraded(&mut self, time: Timestamp) {
        if let Some(response) = self.queue.response() {
            response.upgraded = true;
            response.ended = Some(time);
        }
        self.queue.hold_response();
    }

    /// Takes out the request that is answered now, if it is the only one and whole: its response
    /// comes otherwise.
    pub(super) fn take_upgrade(&mut self) -> Option<Exchange> {
        self.queue.take_only()
    }

    /// So many response messages were sent that cannot be read.
    pub(super) fn responses_lost(&mut self, messages: u32) {
        let of_given_up = messages.min(self.given_up);
        self.given_up -= of_given_up;
        let messages = messages - of_given_up;
        if messages == 0 {
            return;
        }
        self.lossy = true;
        let before = self.lost.unwrap_or(LostResponses {
            messages: 0,
            interim_possible: self.interim_seen,
        });
        self.lost = Some(LostResponses {
            messages: before.messages.saturating_add(messages),
            interim_possible: before.interim_possible || self.queue.may_get_interim(),
        });
    }

    /// No response can be read from here on.
    pub(super) fn responses_unreadable(
        &mut self,
        gap: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        self.lost = None;
        self.queue
            .answer_unseen(self.queue.unanswered(), gap, time, events);
        self.blind = Some(gap);
    }

    /// The responses found anew follow others that were not seen.
    pub(super) fn responses_joined(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.lost = None;
        self.orphans = 0;
        self.given_up = 0;
        self.queue.mark_unanswered(Gap::StreamGap);
        if !self.pipelined && self.queue.unanswered() > 1 {
            self.queue
                .answer_unseen(self.queue.unanswered() - 1, Gap::StreamGap, time, events);
        }
        if self.blind.take().is_some() || self.pipelined {
            self.doubt = Some(Gap::StreamGap);
        }
    }

    /// The connection ended at `time`. `gap` is why responses may be missing.
    pub(super) fn finish(
        &mut self,
        gap: Option<Gap>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let gap = gap.or(self.lost.map(|_| Gap::RingLost));
        self.queue.finish(gap, time, events);
    }

    /// What is open ends here with this gap. Its responses may still come.
    pub(super) fn evict(&mut self, cause: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.lossy = true;
        self.given_up = self.given_up.saturating_add(self.queue.unanswered());
        self.queue.mark(cause);
        self.queue.finish(None, time, events);
    }

    /// Exchanges begun so far.
    pub(super) fn begun(&self) -> u32 {
        self.begun
    }

    /// A request began, or was lost.
    pub(super) fn knows_requests(&self) -> bool {
        self.begun > 0 || self.incomplete
    }

    /// A request waits for its final response.
    pub(super) fn is_waiting(&self) -> bool {
        self.queue.unanswered() > 0
    }

    /// A response that comes now answers a request beyond those that are known.
    pub(super) fn is_caught_up(&self) -> bool {
        self.queue.unanswered() == 0 && self.orphans == 0 && self.lost.is_none()
    }

    /// A request that waits may have made the stream a tunnel.
    pub(super) fn may_be_tunnel(&self) -> bool {
        self.queue.may_be_tunnel()
    }

    /// Bytes of the heads that are kept.
    pub(super) fn held(&self) -> usize {
        self.queue.held()
    }

    fn settle_before_request(
        &mut self,
        joined: bool,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        if let Some(lost) = self.lost {
            let serial = !self.pipelined && lost.messages >= self.queue.unanswered();
            if self.queue.unanswered() == 0 {
                self.lost = None;
            } else if !lost.interim_possible {
                self.settle_exactly(lost, time, events);
            } else if serial {
                self.queue
                    .answer_unseen(self.queue.unanswered(), Gap::RingLost, time, events);
                self.lost = None;
            }
        }
        if self.queue.unanswered() == 0 && self.orphans == 0 && self.lost.is_none() {
            self.doubt = None;
            self.lossy = false;
        }
        // A response to nothing: the peer may take it for the answer to this request.
        if self.orphans > 0 && !(joined && self.begun == 0) {
            let cause = if self.lossy {
                Gap::RingLost
            } else {
                Gap::StreamMismatch
            };
            self.doubt = Some(cause);
        }
        self.orphans = 0;
    }

    /// Each lost response was a final one: those beyond the known requests answered lost ones.
    fn settle_exactly(
        &mut self,
        lost: LostResponses,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let known = lost.messages.min(self.queue.unanswered());
        self.orphans = self.orphans.saturating_add(lost.messages - known);
        self.queue.answer_unseen(known, Gap::RingLost, time, events);
        self.lost = None;
    }
}
