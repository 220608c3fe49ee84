//! What the frames of the client mean.

use super::{
    conversation::Conversation,
    exchange::{Open, Side},
    fields::Fields,
    step::Step,
};
use crate::{
    http::{
        event::{Gap, HttpEvent},
        hpack::Extent,
    },
    timestamp::Timestamp,
};

impl Conversation {
    /// Takes a step of the client end's direction.
    ///
    /// An exchange begins with the first HEADERS frame of a stream beyond all before (RFC 9113
    /// section 5.1.1). Where streams may be older than what was seen, it begins once its header
    /// block turns out to be that of a request.
    pub(super) fn request_step(
        &mut self,
        step: Step<'_>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match step {
            Step::Headers { stream } => self.stream_headers(stream, events),
            Step::Block {
                stream,
                end_stream,
                bytes,
                promise: false,
            } => self.request_block(stream, end_stream, &bytes, time, events),
            Step::Unreadable { stream, end_stream } => {
                self.requests.decoder.forget();
                self.untold = None;
                self.streams.change(stream, events, |open| {
                    open.mark(Gap::StreamGap);
                    open.end_block(end_stream, time);
                });
            }
            Step::Data {
                stream,
                content,
                end_stream,
            } => {
                self.saw(stream);
                self.streams.change(stream, events, |open| {
                    if !open.connect {
                        open.exchange.request.body_bytes += content;
                    }
                    open.reach(time);
                    if end_stream {
                        open.end_request(time);
                    }
                });
            }
            Step::Reset { stream, .. } => {
                self.saw(stream);
                self.streams.change(stream, events, |open| open.cut(time));
            }
            Step::Settings {
                table_size: Some(size),
            } => self.responses.decoder.allow(size),
            // A client has nothing to promise, and refuses only what is promised.
            Step::Block { promise: true, .. }
            | Step::Settings { table_size: None }
            | Step::GoAway { .. }
            | Step::NotHttp2(_) => {}
        }
    }

    /// A frame that is no request names a stream: one that a client opened before, then.
    pub(super) fn saw(&mut self, stream: u32) {
        if self.unsure && stream % 2 == 1 {
            self.highest = self.highest.max(stream);
        }
    }

    /// The server speaks on a stream.
    pub(super) fn heard(&mut self, stream: u32) {
        self.saw(stream);
        if stream % 2 == 1 && stream > self.highest {
            self.answered = self.answered.max(stream);
        }
    }

    fn stream_headers(&mut self, stream: u32, events: &mut Vec<HttpEvent>) {
        self.untold = None;
        if stream.is_multiple_of(2) || stream <= self.highest {
            return;
        }
        self.highest = stream;
        let messages = &mut self.requests.positions.messages;
        *messages = messages.saturating_add(1);
        if self.unsure {
            self.untold = Some(stream);
        } else {
            self.tell(stream, self.requests.reader.began(), events);
        }
    }

    fn request_block(
        &mut self,
        stream: u32,
        end_stream: bool,
        block: &[u8],
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let mut fields = Fields::default();
        let extent = self
            .requests
            .decoder
            .decode(block, |field| fields.push(field));
        if self.untold.take() == Some(stream) && fields.is_request() {
            self.tell(stream, self.requests.reader.began(), events);
        }
        let refused = self.last_accepted.is_some_and(|last| stream > last);
        self.streams.change(stream, events, |open| {
            if open.request == Side::Head {
                open.exchange.undecoded |= fields.undecoded;
                open.connect = fields.is_connect();
                match extent {
                    Ok(Extent::Whole) => keep_head(open, fields),
                    Ok(Extent::Cut) => open.mark(Gap::StreamGap),
                    // The server cannot decode it either.
                    Err(_) => open.mark(Gap::StreamMismatch),
                }
            }
            open.end_block(end_stream, time);
            if refused {
                open.refuse();
                open.cut(time);
            }
        });
    }
}

fn keep_head(open: &mut Open, fields: Fields) {
    if let Some(head) = fields.into_request() {
        open.keep_request(head);
    }
}
