//! What the frames of the server mean.

use super::{
    conversation::Conversation,
    exchange::{Open, Side},
    fields::{Fields, Status},
    step::Step,
};
use crate::{
    http::{
        event::{Gap, HttpEvent, Response},
        headers::Headers,
        hpack::Extent,
    },
    timestamp::Timestamp,
};

/// The server did nothing of it (RFC 9113 section 8.7).
const REFUSED_STREAM: u32 = 7;

impl Conversation {
    /// Takes a step of the server end's direction. Every header block is decoded for the table's
    /// sake, also those of streams that are promised, or that nobody knows any more.
    pub(super) fn response_step(
        &mut self,
        step: Step<'_>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match step {
            Step::Headers { stream } => self.heard(stream),
            Step::Block {
                promise: true,
                bytes,
                ..
            } => {
                let _ = self.responses.decoder.decode(&bytes, |_| {});
            }
            Step::Block {
                stream,
                end_stream,
                bytes,
                promise: false,
            } => self.response_block(stream, end_stream, &bytes, time, events),
            Step::Unreadable { stream, end_stream } => {
                self.responses.decoder.forget();
                self.streams.change(stream, events, |open| {
                    open.mark(Gap::StreamGap);
                    open.miss_response(Gap::StreamGap, time);
                    open.hear(time);
                    if end_stream {
                        open.end_response(time);
                    }
                });
            }
            Step::Data {
                stream,
                content,
                end_stream,
            } => {
                self.heard(stream);
                self.streams.change(stream, events, |open| {
                    open.response_data(content);
                    open.hear(time);
                    if end_stream {
                        open.end_response(time);
                    }
                });
            }
            Step::Reset { stream, code } => {
                self.heard(stream);
                self.streams.change(stream, events, |open| {
                    if code == REFUSED_STREAM {
                        open.refuse();
                    }
                    open.reset(time);
                });
            }
            Step::Settings {
                table_size: Some(size),
            } => self.requests.decoder.allow(size),
            Step::GoAway { last } => self.go_away(last, time, events),
            Step::Settings { table_size: None } | Step::NotHttp2(_) => {}
        }
    }

    /// The server looks at no stream beyond `last` (RFC 9113 section 6.8): the client may send
    /// those again, on another connection.
    fn go_away(&mut self, last: u32, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let last = self.last_accepted.map_or(last, |known| known.min(last));
        self.last_accepted = Some(last);
        self.streams
            .change_all(last.saturating_add(1), events, |open| {
                open.reach(time);
                open.refuse();
                (open.request, open.response) = (Side::Over, Side::Over);
            });
    }

    fn response_block(
        &mut self,
        stream: u32,
        end_stream: bool,
        block: &[u8],
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        if self.streams.get(stream).is_none() {
            let _ = self.responses.decoder.decode(block, |_| {});
            return;
        }
        let mut fields = Fields::default();
        let extent = self
            .responses
            .decoder
            .decode(block, |field| fields.push(field));
        let began = self.responses.reader.began();
        self.streams.change(stream, events, |open| {
            match extent {
                Ok(Extent::Whole) => {}
                Ok(Extent::Cut) => open.mark(Gap::StreamGap),
                Err(_) => open.mark(Gap::StreamMismatch),
            }
            if extent != Ok(Extent::Whole) || fields.malformed {
                // A head whose end, or whose meaning, is not known.
                fields.headers = Headers::default();
            }
            open.response_fields(fields, end_stream, began);
            open.hear(time);
            if end_stream {
                open.end_response(time);
            }
        });
    }
}

impl Open {
    fn response_data(&mut self, content: u64) {
        if self.is_tunnel() {
            return;
        }
        if let Some(response) = &mut self.exchange.response {
            response.body_bytes += content;
        }
    }

    /// Takes the fields of a header block: of an interim or the final response, or trailers.
    ///
    /// The status tells which, if it is known. Where it may stand in a part of the table that was
    /// not seen, only trailers end a stream that has a head, and only interim responses are
    /// followed by a block that does not.
    fn response_fields(&mut self, fields: Fields, end_stream: bool, began: Timestamp) {
        let known = match &self.exchange.response {
            _ if self.response == Side::Over => return,
            None => Head::None,
            Some(response) if response.status.is_some() => Head::Certain,
            Some(_) => Head::Likely,
        };
        let has_content = |open: &Self| {
            let response = open.exchange.response.as_ref();
            response.is_some_and(|response| response.body_bytes > 0)
        };
        let (status, undecoded, headers) = (fields.status(), fields.undecoded, fields.headers);
        match (status, known) {
            (Status::Known(100..=199), _) if !end_stream => {
                if known == Head::Likely {
                    self.exchange.response = None;
                }
                return;
            }
            (Status::Known(status), Head::None | Head::Likely) => {
                self.missed = None;
                self.answer(Some(status), headers, began);
                if self.connect && matches!(status, 200..=299) {
                    self.upgrade(began);
                }
            }
            (Status::Unknown, Head::None | Head::Likely) => self.answer(None, headers, began),
            (Status::Possible, Head::None) if end_stream && self.missed.is_some() => {
                // A head or trailers.
                self.answer(None, Headers::default(), began);
            }
            (Status::Possible, Head::None) => self.answer(None, headers, began),
            (Status::Possible, Head::Likely) if !end_stream => self.answer(None, headers, began),
            // The head to which the block before was interim, or trailers.
            (Status::Possible, Head::Likely) if !has_content(self) => {}
            (Status::Absent, Head::None) if self.missed.is_some() => {
                self.answer(None, Headers::default(), began);
                self.keep_trailers(headers);
            }
            // A head without a status is malformed.
            (Status::Absent, Head::None) => self.answer(None, headers, began),
            _ if end_stream => self.keep_trailers(headers),
            _ => return,
        }
        self.exchange.undecoded |= undecoded;
    }

    fn answer(&mut self, status: Option<u16>, headers: Headers, began: Timestamp) {
        self.response = Side::Content;
        self.keep_response(Response {
            time: began,
            status,
            headers,
            trailers: Headers::default(),
            ended: None,
            body_bytes: 0,
            upgraded: false,
        });
    }

    fn keep_trailers(&mut self, trailers: Headers) {
        self.held += trailers.size();
        if let Some(response) = &mut self.exchange.response {
            response.trailers = trailers;
        }
    }
}

/// What is known of the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// None was seen.
    None,
    /// A block that is one, or an interim one.
    Likely,
    /// It has a status.
    Certain,
}
