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

use std::collections::VecDeque;

use super::{
    event::{ConnectionId, Exchange, Gap, HttpEvent, Request, Response},
    head::{Method, RequestStart},
    slot::{Open, Slot},
};
use crate::timestamp::Timestamp;

/// The exchanges of a connection that have not ended, oldest first.
#[derive(Debug)]
pub(super) struct Pairing {
    connection: ConnectionId,
    /// The most slots.
    capacity: usize,
    /// Only the last can hold a request that has not ended, only the first a response that began.
    slots: VecDeque<Slot>,
    /// Requests in `slots` to which no final response began.
    unanswered: u32,
    /// What the response in progress answers.
    answering: Answering,
    /// Exchanges begun so far.
    begun: u32,
    /// Final responses that found no request. Their requests may turn out to be lost.
    orphans: u32,
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
    /// Bytes of the heads that are kept.
    held: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    Nothing,
    First,
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
            capacity: capacity.max(2),
            slots: VecDeque::new(),
            unanswered: 0,
            answering: Answering::Nothing,
            begun: 0,
            orphans: 0,
            lost: None,
            interim_seen: false,
            pipelined: false,
            doubt: None,
            blind: None,
            incomplete: false,
            lossy: false,
            held: 0,
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
        self.make_room(time, events);
        let lost = self.lost.map(|_| Gap::RingLost);
        let exchange = Exchange {
            connection: self.connection,
            exchange: self.begun,
            time,
            end: time,
            request: Request::default(),
            response: None,
            gap: self.blind.or(self.doubt).or(lost),
            joined,
        };
        let mut open = Open::new(exchange, method);
        if self.blind.is_some() {
            open.answered = true;
            open.response_done = true;
        } else {
            self.unanswered += 1;
        }
        self.slots.push_back(Slot::Open(Box::new(open)));
        events.push(HttpEvent::Begun {
            connection: self.connection,
            exchange: self.begun,
            time,
        });
        self.begun = self.begun.wrapping_add(1);
    }

    /// The head of the request that began last.
    pub(super) fn request_head(&mut self, start: RequestStart) {
        if let Some(open) = self.last_request() {
            open.method = Some(start.method);
            open.expects_continue = start.expects_continue;
            open.upgrades = start.upgrades;
            self.held += open.keep_request(start.head);
        }
    }

    /// The request that began last has sent so much of its body.
    pub(super) fn request_content(&mut self, content: u64) {
        if let Some(open) = self.last_request() {
            open.exchange.request.body_bytes = content;
        }
    }

    /// The request that began last ended.
    pub(super) fn request_ended(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(open) = self.last_request() {
            open.exchange.request.ended = Some(time);
            open.finish_request(time);
            self.release(events);
        }
    }

    /// The end of the request that began last, if it did not end, was not seen.
    pub(super) fn request_cut(&mut self, gap: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(open) = self.last_request() {
            open.mark(gap);
            open.finish_request(time);
            self.release(events);
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
            self.unanswered = self.unanswered.saturating_add(waiting);
            if let Some(Slot::Gone(count)) = self.slots.back_mut() {
                *count = count.saturating_add(waiting);
            } else {
                self.make_room(time, events);
                self.slots.push_back(Slot::Gone(waiting));
            }
        }
    }

    /// The requests found anew follow others that were not seen.
    pub(super) fn requests_joined(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.orphans = 0;
        if self.unanswered > 0 {
            self.answer_unseen(self.unanswered, Gap::StreamGap, time, events);
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
        self.answering = Answering::Nothing;
        if let Some(lost) = self.lost {
            let serial = !self.pipelined && lost.messages.checked_add(1) == Some(self.unanswered);
            if lost.interim_possible && serial {
                self.answer_unseen(lost.messages, Gap::RingLost, time, events);
                self.lost = None;
            } else if lost.interim_possible && self.unanswered > 0 {
                let method = self.common_method(lost.messages);
                self.mark_unanswered(Gap::RingLost);
                self.answer_unseen(1, Gap::RingLost, time, events);
                return method;
            }
            if !lost.interim_possible {
                self.settle_exactly(lost, time, events);
            }
        }
        if self.unanswered == 0 {
            self.orphans = self.orphans.saturating_add(1);
            return None;
        }
        self.pipelined |= self.unanswered > 1;
        self.answering = Answering::First;
        self.unanswered -= 1;
        match self.slots.front_mut() {
            Some(Slot::Open(open)) => {
                open.answered = true;
                self.held += open.keep_response(response);
                open.method
            }
            _ => None,
        }
    }

    /// The response in progress has sent so much of its body.
    pub(super) fn response_content(&mut self, content: u64) {
        if let Some(response) = self.response() {
            response.body_bytes = content;
        }
    }

    /// The response in progress ended.
    pub(super) fn response_ended(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(response) = self.response() {
            response.ended = Some(time);
        }
        self.finish_response(None, time, events);
    }

    /// The end of the response in progress, if there is one, was not seen.
    pub(super) fn response_cut(&mut self, gap: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.finish_response(Some(gap), time, events);
    }

    /// The response in progress hands the connection over: its exchange ends with it.
    pub(super) fn upgraded(&mut self, time: Timestamp) {
        if let Some(response) = self.response() {
            response.upgraded = true;
            response.ended = Some(time);
        }
        self.answering = Answering::Nothing;
    }

    /// So many response messages were sent that cannot be read.
    pub(super) fn responses_lost(&mut self, messages: u32) {
        if messages == 0 {
            return;
        }
        self.lossy = true;
        let before = self.lost.unwrap_or(LostResponses {
            messages: 0,
            interim_possible: self.interim_seen,
        });
        let asked = self.slots.iter().any(|slot| match slot {
            Slot::Open(open) => !open.answered && open.expects_continue,
            Slot::Gone(_) => true,
        });
        self.lost = Some(LostResponses {
            messages: before.messages.saturating_add(messages),
            interim_possible: before.interim_possible || asked,
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
        self.answer_unseen(self.unanswered, gap, time, events);
        self.blind = Some(gap);
    }

    /// The responses found anew follow others that were not seen.
    pub(super) fn responses_joined(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.lost = None;
        self.orphans = 0;
        self.mark_unanswered(Gap::StreamGap);
        if !self.pipelined && self.unanswered > 1 {
            self.answer_unseen(self.unanswered - 1, Gap::StreamGap, time, events);
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
        for slot in std::mem::take(&mut self.slots) {
            if let Slot::Open(mut open) = slot {
                if let Some(gap) = gap
                    && !open.answered
                {
                    open.mark(gap);
                }
                open.exchange.end = open.exchange.end.max(time);
                events.push(HttpEvent::Ended(open.exchange));
            }
        }
        self.unanswered = 0;
        self.held = 0;
    }

    /// The connection is given up: what is open ends here with that gap.
    pub(super) fn evict(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        for slot in &mut self.slots {
            if let Slot::Open(open) = slot {
                open.mark(Gap::Evicted);
            }
        }
        self.finish(None, time, events);
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
        self.unanswered > 0
    }

    /// A response that comes now answers a request beyond those that are known.
    pub(super) fn is_caught_up(&self) -> bool {
        self.unanswered == 0 && self.orphans == 0 && self.lost.is_none()
    }

    /// A request that waits may have made the stream a tunnel.
    pub(super) fn may_be_tunnel(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Open(open) if open.upgrades))
    }

    /// Bytes of the heads that are kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn settle_before_request(
        &mut self,
        joined: bool,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        if let Some(lost) = self.lost {
            let serial = !self.pipelined && lost.messages >= self.unanswered;
            if self.unanswered == 0 {
                self.lost = None;
            } else if !lost.interim_possible {
                self.settle_exactly(lost, time, events);
            } else if serial {
                self.answer_unseen(self.unanswered, Gap::RingLost, time, events);
                self.lost = None;
            }
        }
        if self.unanswered == 0 && self.orphans == 0 && self.lost.is_none() {
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
        let known = lost.messages.min(self.unanswered);
        self.orphans = self.orphans.saturating_add(lost.messages - known);
        self.answer_unseen(known, Gap::RingLost, time, events);
        self.lost = None;
    }

    /// The responses to the oldest `count` unanswered requests were not seen.
    fn answer_unseen(
        &mut self,
        count: u32,
        gap: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let mut left = count.min(self.unanswered);
        self.unanswered -= left;
        for slot in &mut self.slots {
            match slot {
                Slot::Open(open) if left > 0 && !open.answered => {
                    open.answered = true;
                    open.mark(gap);
                    open.finish_response(time);
                    left -= 1;
                }
                Slot::Gone(gone) if left > 0 => {
                    let answered = left.min(*gone);
                    *gone -= answered;
                    left -= answered;
                }
                _ => {}
            }
            if left == 0 {
                break;
            }
        }
        self.release(events);
    }

    fn finish_response(&mut self, gap: Option<Gap>, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if self.answering != Answering::First {
            return;
        }
        self.answering = Answering::Nothing;
        match self.slots.front_mut() {
            Some(Slot::Open(open)) => {
                if let Some(gap) = gap {
                    open.mark(gap);
                }
                open.finish_response(time);
            }
            Some(Slot::Gone(gone)) => *gone = gone.saturating_sub(1),
            None => {}
        }
        self.release(events);
    }

    /// Lets go of what has ended, oldest first.
    fn release(&mut self, events: &mut Vec<HttpEvent>) {
        while self.slots.front().is_some_and(Slot::has_ended) {
            if let Some(Slot::Open(open)) = self.slots.pop_front() {
                self.held -= open.held;
                events.push(HttpEvent::Ended(open.exchange));
            }
        }
    }

    fn make_room(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        while self.slots.len() >= self.capacity {
            let Some(oldest) = self
                .slots
                .iter()
                .position(|slot| matches!(slot, Slot::Open(_)))
            else {
                // Neighbouring gone ones are one slot, so there are no two without an open one.
                return;
            };
            self.evict_slot(oldest, time, events);
        }
    }

    fn evict_slot(&mut self, index: usize, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let Some(Slot::Open(mut open)) = self.slots.remove(index) else {
            return;
        };
        let in_progress = index == 0 && self.answering == Answering::First;
        self.held -= open.held;
        open.mark(Gap::Evicted);
        open.exchange.end = open.exchange.end.max(time);
        // Its response still has its place in the order.
        if in_progress || !open.answered {
            match index
                .checked_sub(1)
                .and_then(|before| self.slots.get_mut(before))
            {
                Some(Slot::Gone(gone)) => *gone = gone.saturating_add(1),
                _ => match self.slots.get_mut(index) {
                    Some(Slot::Gone(gone)) => *gone = gone.saturating_add(1),
                    _ => self.slots.insert(index, Slot::Gone(1)),
                },
            }
        }
        events.push(HttpEvent::Ended(open.exchange));
    }

    fn mark_unanswered(&mut self, gap: Gap) {
        for slot in &mut self.slots {
            if let Slot::Open(open) = slot
                && !open.answered
            {
                open.mark(gap);
            }
        }
    }

    /// The method of the request that is answered, one of the first `besides` + 1, if that makes
    /// no difference.
    fn common_method(&self, besides: u32) -> Option<Method> {
        let mut left = besides.saturating_add(1);
        for slot in self.slots.iter().filter(|slot| !slot.is_answered()) {
            match slot {
                Slot::Open(open) if open.method == Some(Method::Other) => left -= 1,
                _ => return None,
            }
            if left == 0 {
                return Some(Method::Other);
            }
        }
        // It may be one that is lost.
        None
    }

    /// The request that began last, if it has not ended.
    fn last_request(&mut self) -> Option<&mut Open> {
        match self.slots.back_mut() {
            Some(Slot::Open(open)) if !open.request_done => Some(open),
            _ => None,
        }
    }

    /// The response in progress.
    fn response(&mut self) -> Option<&mut Response> {
        match self.slots.front_mut() {
            Some(Slot::Open(open)) if self.answering == Answering::First => {
                open.exchange.response.as_mut()
            }
            _ => None,
        }
    }
}
