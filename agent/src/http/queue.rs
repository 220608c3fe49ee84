//! The requests of a connection in order, up to the last that has not ended.

use std::collections::VecDeque;

use super::{
    event::{Exchange, Gap, HttpEvent, Response},
    head::{Method, RequestStart},
    slot::{Open, Slot},
};
use crate::timestamp::Timestamp;

/// Requests that have not ended, or whose responses have not, oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    /// The most slots.
    capacity: usize,
    /// Only the last can hold a request that has not ended, only the first a response that began.
    /// No two neighbours are gone.
    slots: VecDeque<Slot>,
    /// Requests in `slots` to which no final response began.
    unanswered: u32,
    /// The response in progress answers the first.
    answering: bool,
    /// Bytes that are kept.
    held: usize,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            // An open one and those that are gone before it.
            capacity: capacity.max(2),
            slots: VecDeque::new(),
            unanswered: 0,
            answering: false,
            held: 0,
        }
    }

    pub(super) fn push(&mut self, open: Open, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.make_room(time, events);
        self.unanswered = self.unanswered.saturating_add(u32::from(!open.answered));
        self.held += open.held;
        self.slots.push_back(Slot::Open(Box::new(open)));
    }

    /// So many requests were sent that are lost: the one before them has ended.
    pub(super) fn push_gone(&mut self, count: u32, time: Timestamp, events: &mut Vec<HttpEvent>) {
        if let Some(open) = self.last_request() {
            open.finish_request(time);
            self.release(events);
        }
        self.make_room(time, events);
        self.unanswered = self.unanswered.saturating_add(count);
        self.insert_gone(self.slots.len(), count);
    }

    /// Keeps the head of the last request.
    pub(super) fn keep_request(&mut self, start: RequestStart) {
        if let Some(open) = self.last_request() {
            open.method = Some(start.method);
            open.expects_continue = start.expects_continue;
            open.upgrades = start.upgrades;
            let bytes = open.keep_request(start.head);
            self.held += bytes;
        }
    }

    /// The request that began last, if it has not ended.
    pub(super) fn last_request(&mut self) -> Option<&mut Open> {
        match self.slots.back_mut() {
            Some(Slot::Open(open)) if !open.request_done => Some(open),
            _ => None,
        }
    }

    /// A response to the first began: its method, if that is known. There must be one unanswered.
    pub(super) fn answer(&mut self, response: Response) -> Option<Method> {
        self.answering = true;
        self.unanswered = self.unanswered.saturating_sub(1);
        match self.slots.front_mut() {
            Some(Slot::Open(open)) => {
                open.answered = true;
                self.held += open.keep_response(response);
                open.method
            }
            Some(Slot::Gone(_)) | None => None,
        }
    }

    /// The response in progress, if its request is known.
    pub(super) fn response(&mut self) -> Option<&mut Response> {
        match self.slots.front_mut() {
            Some(Slot::Open(open)) if self.answering => open.exchange.response.as_mut(),
            _ => None,
        }
    }

    /// The response in progress stays as it is until the connection ends.
    pub(super) fn hold_response(&mut self) {
        self.answering = false;
    }

    /// The response in progress, if there is one, ended, or no more of it is seen.
    pub(super) fn finish_response(
        &mut self,
        gap: Option<Gap>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        if !std::mem::take(&mut self.answering) {
            return;
        }
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

    /// The responses to the oldest `count` unanswered requests were not seen.
    pub(super) fn answer_unseen(
        &mut self,
        count: u32,
        gap: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let mut left = count.min(self.unanswered);
        self.unanswered -= left;
        for slot in &mut self.slots {
            if left == 0 {
                break;
            }
            match slot {
                Slot::Open(open) if !open.answered => {
                    open.answered = true;
                    open.mark(gap);
                    open.finish_response(time);
                    left -= 1;
                }
                Slot::Open(_) => {}
                Slot::Gone(gone) => {
                    let answered = left.min(*gone);
                    *gone -= answered;
                    left -= answered;
                }
            }
        }
        self.release(events);
    }

    /// Lets go of what has ended, oldest first.
    pub(super) fn release(&mut self, events: &mut Vec<HttpEvent>) {
        while self.slots.front().is_some_and(Slot::has_ended) {
            if let Some(Slot::Open(open)) = self.slots.pop_front() {
                self.held -= open.held;
                events.push(HttpEvent::Ended(open.exchange));
            }
        }
    }

    /// Lets go of all at `time`; `gap` is why responses may be missing.
    pub(super) fn finish(
        &mut self,
        gap: Option<Gap>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
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
        self.answering = false;
        self.held = 0;
    }

    /// Takes out the only request, if it has ended and no response to it began.
    pub(super) fn take_only(&mut self) -> Option<Exchange> {
        let is_ready = |slot: &Slot| match slot {
            Slot::Open(open) => open.request_done && !open.answered,
            Slot::Gone(_) => false,
        };
        if self.slots.len() != 1 || !self.slots.front().is_some_and(is_ready) {
            return None;
        }
        let Some(Slot::Open(open)) = self.slots.pop_front() else {
            return None;
        };
        self.held -= open.held;
        self.unanswered = 0;
        Some(open.exchange)
    }

    /// Marks all.
    pub(super) fn mark(&mut self, gap: Gap) {
        self.open_mut().for_each(|open| open.mark(gap));
    }

    /// Marks those to which no response began.
    pub(super) fn mark_unanswered(&mut self, gap: Gap) {
        let unanswered = self.open_mut().filter(|open| !open.answered);
        unanswered.for_each(|open| open.mark(gap));
    }

    /// Requests to which no final response began.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// The method of the request that is answered, one of the first `besides` + 1 unanswered
    /// ones, if that makes no difference.
    pub(super) fn common_method(&self, besides: u32) -> Option<Method> {
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

    /// An interim response may come, as far as is known.
    pub(super) fn may_get_interim(&self) -> bool {
        self.slots.iter().any(|slot| match slot {
            Slot::Open(open) => !open.answered && open.expects_continue,
            Slot::Gone(_) => true,
        })
    }

    /// A request may have made the stream a tunnel.
    pub(super) fn may_be_tunnel(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Open(open) if open.upgrades))
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    fn open_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Open(open) => Some(&mut **open),
            Slot::Gone(_) => None,
        })
    }

    /// Evicts the oldest until there is room for one more slot.
    fn make_room(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        while self.slots.len() >= self.capacity {
            // Of two neighbours one is open.
            let second = matches!(self.slots.front(), Some(Slot::Gone(_)));
            self.evict(usize::from(second), time, events);
        }
    }

    fn evict(&mut self, index: usize, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let Some(Slot::Open(mut open)) = self.slots.remove(index) else {
            return;
        };
        let in_progress = index == 0 && self.answering;
        self.held -= open.held;
        open.mark(Gap::Evicted);
        open.exchange.end = open.exchange.end.max(time);
        // Its response still has its place in the order.
        if in_progress || !open.answered {
            self.insert_gone(index, 1);
        }
        events.push(HttpEvent::Ended(open.exchange));
    }

    /// Puts requests that are gone at `index`, together with neighbours that are gone.
    fn insert_gone(&mut self, index: usize, count: u32) {
        let mut count = count;
        if let Some(Slot::Gone(after)) = self.slots.get(index) {
            count = count.saturating_add(*after);
            self.slots.remove(index);
        }
        let before = index.checked_sub(1);
        match before.and_then(|before| self.slots.get_mut(before)) {
            Some(Slot::Gone(before)) => *before = before.saturating_add(count),
            _ => self.slots.insert(index, Slot::Gone(count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Open, Queue, Slot, Timestamp};
    use crate::http::event::{Exchange, Request};

    fn open(number: u32) -> Open {
        let exchange = Exchange {
            connection: 1,
            exchange: number,
            stream: None,
            time: Timestamp(0),
            end: Timestamp(0),
            request: Request::default(),
            response: None,
            gap: None,
            joined: false,
            undecoded: false,
            refused: false,
        };
        let mut open = Open::new(exchange, None);
        open.request_done = true;
        open
    }

    #[test]
    fn what_is_gone_shares_a_slot() {
        let mut queue = Queue::new(4);
        let mut events = Vec::new();
        for number in 0..50 {
            queue.push(open(number), Timestamp(0), &mut events);
            queue.push_gone(1, Timestamp(0), &mut events);
            assert!(queue.slots.len() <= 4);
            let neighbours = queue.slots.iter().zip(queue.slots.iter().skip(1));
            for pair in neighbours {
                assert!(!matches!(pair, (Slot::Gone(_), Slot::Gone(_))), "{queue:?}");
            }
            assert_eq!(queue.unanswered(), 2 * number + 2);
        }
        assert_eq!(events.len(), 49);
    }
}
