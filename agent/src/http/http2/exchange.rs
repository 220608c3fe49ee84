//! An exchange and the stream that carries it: RFC 9113 section 5.1.

use crate::{
    http::event::{Exchange, Gap, RequestHead, Response},
    timestamp::Timestamp,
};

/// An exchange that has not ended.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) exchange: Exchange,
    pub(super) request: Side,
    pub(super) response: Side,
    /// The server reset it before the client's header block was over.
    reset: bool,
    /// It asks for a tunnel.
    pub(super) connect: bool,
    /// Why the head of the response may have been missed, if it may.
    pub(super) missed: Option<Gap>,
    /// Since when the end of the response may have been missed, if it may.
    pub(super) missing_since: Option<Timestamp>,
    /// Bytes that it takes up, heads included.
    pub(super) held: usize,
}

/// How far one direction of a stream is.
///
/// ```text
/// Head ──▶ Content ──▶ Over
///   └───────────────────▲
/// ```
///
/// RST_STREAM from either end, or the end of the connection, ends both: at once, but a header block
/// that the client has begun is read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// No final head was seen.
    Head,
    /// Content and trailers may come.
    Content,
    /// Nothing comes any more, or nothing of it is waited for.
    Over,
}

impl Open {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            request: Side::Head,
            response: Side::Head,
            reset: false,
            connect: false,
            missed: None,
            missing_since: None,
            held: size_of::<Self>(),
        }
    }

    pub(super) fn keep_request(&mut self, head: RequestHead) {
        let lengths =
            [&head.path, &head.authority].map(|text| text.as_ref().map_or(0, String::len));
        self.held += lengths.iter().sum::<usize>() + head.headers.size();
        self.exchange.request.head = Some(head);
    }

    pub(super) fn keep_response(&mut self, response: Response) {
        self.held += response.headers.size() + response.trailers.size();
        self.exchange.response = Some(response);
    }

    /// Says why it may be incomplete; the first reason stays.
    pub(super) fn mark(&mut self, gap: Gap) {
        self.exchange.gap.get_or_insert(gap);
    }

    /// A part of the server's direction, sent at `time`, is missing: of this response, if its head
    /// comes no more.
    pub(super) fn miss_response(&mut self, cause: Gap, time: Timestamp) {
        match self.response {
            Side::Head => self.missed = self.missed.or(Some(cause)),
            Side::Content => self.mark(cause),
            Side::Over => return,
        }
        self.missing_since.get_or_insert(time);
    }

    /// Something of the response comes: its end was not among what is missing.
    pub(super) fn hear(&mut self, time: Timestamp) {
        self.missing_since = None;
        self.reach(time);
    }

    /// Nothing more of it is waited for from `time` on.
    pub(super) fn cut(&mut self, time: Timestamp) {
        if let Some(cause) = self.missed {
            self.mark(cause);
        }
        self.reach(time);
        (self.request, self.response) = (Side::Over, Side::Over);
    }

    /// The server gives it up.
    pub(super) fn reset(&mut self, time: Timestamp) {
        if self.request == Side::Head {
            self.reset = true;
            self.response = Side::Over;
            self.reach(time);
        } else {
            self.cut(time);
        }
    }

    /// A header block of the client is over, sent until `time`.
    pub(super) fn end_block(&mut self, end_stream: bool, time: Timestamp) {
        self.reach(time);
        if self.request == Side::Head {
            self.request = Side::Content;
        }
        if end_stream {
            self.end_request(time);
        }
        if self.reset {
            self.cut(time);
        }
    }

    /// The server does nothing of it, if it has not answered.
    pub(super) fn refuse(&mut self) {
        self.exchange.refused |= self.response == Side::Head;
    }

    /// The request ended.
    pub(super) fn end_request(&mut self, time: Timestamp) {
        self.request = Side::Over;
        self.exchange.request.ended.get_or_insert(time);
        self.reach(time);
    }

    /// The response ended.
    pub(super) fn end_response(&mut self, time: Timestamp) {
        if let Some(cause) = self.missed {
            self.mark(cause);
        }
        self.response = Side::Over;
        if let Some(response) = &mut self.exchange.response {
            response.ended.get_or_insert(time);
        }
        self.reach(time);
    }

    /// The connection is handed over on this stream: what comes is no content.
    pub(super) fn upgrade(&mut self, time: Timestamp) {
        self.exchange.request.ended.get_or_insert(time);
        if let Some(response) = &mut self.exchange.response {
            response.upgraded = true;
            response.ended = Some(time);
        }
    }

    /// It carries a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        let response = self.exchange.response.as_ref();
        response.is_some_and(|response| response.upgraded)
    }

    /// Both messages are over.
    pub(super) fn has_ended(&self) -> bool {
        self.request == Side::Over && self.response == Side::Over
    }

    /// It lasts until this moment at least.
    pub(super) fn reach(&mut self, time: Timestamp) {
        self.exchange.end = self.exchange.end.max(time);
    }
}
