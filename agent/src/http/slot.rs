//! The place of a request in the order of a connection.

use super::{
    event::{Exchange, Gap, RequestHead, Response},
    head::Method,
};
use crate::timestamp::Timestamp;

/// Neighbouring requests of which nothing is kept share a slot.
#[derive(Debug)]
pub(super) enum Slot {
    /// An exchange that has not ended.
    Open(Box<Open>),
    /// So many requests that were lost, or evicted, and whose responses are still to come.
    Gone(u32),
}

/// An exchange that has not ended.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) exchange: Exchange,
    /// What the response depends on, if it is known.
    pub(super) method: Option<Method>,
    pub(super) expects_continue: bool,
    pub(super) upgrades: bool,
    /// Its final response began, or was missed.
    pub(super) answered: bool,
    /// The request has ended, or no more of it is seen.
    pub(super) request_done: bool,
    /// The response has ended, or no more of it is seen.
    pub(super) response_done: bool,
    /// Bytes that it takes up, heads included.
    pub(super) held: usize,
}

impl Slot {
    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Open(open) => open.request_done && open.response_done,
            Self::Gone(count) => *count == 0,
        }
    }

    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Open(open) if open.answered)
    }
}

impl Open {
    pub(super) fn new(exchange: Exchange, method: Option<Method>) -> Self {
        Self {
            exchange,
            method,
            expects_continue: false,
            upgrades: false,
            answered: false,
            request_done: false,
            response_done: false,
            held: size_of::<Self>(),
        }
    }

    /// Keeps the head, and says how many bytes it has.
    pub(super) fn keep_request(&mut self, head: RequestHead) -> usize {
        let method = head.method.as_ref().map_or(0, |method| method.len());
        let path = head.path.as_ref().map_or(0, String::len);
        let bytes = method + path + head.headers.size();
        self.exchange.request.head = Some(head);
        self.held += bytes;
        bytes
    }

    /// Keeps the response, and says how many bytes its head has.
    pub(super) fn keep_response(&mut self, response: Response) -> usize {
        let bytes = response.headers.size();
        self.exchange.response = Some(response);
        self.held += bytes;
        bytes
    }

    /// Says why it may be incomplete; the first reason stays.
    pub(super) fn mark(&mut self, gap: Gap) {
        self.exchange.gap.get_or_insert(gap);
    }

    pub(super) fn finish_request(&mut self, time: Timestamp) {
        self.request_done = true;
        self.exchange.end = self.exchange.end.max(time);
    }

    pub(super) fn finish_response(&mut self, time: Timestamp) {
        self.response_done = true;
        self.exchange.end = self.exchange.end.max(time);
    }
}
