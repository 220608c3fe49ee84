//! One direction of a connection as a sequence of messages.

use super::{
    body::Body,
    event::Gap,
    head::{Method, Parsed, RequestStart, ResponseStart, parse_request, parse_response},
    http2::Opening,
    line::Line,
};
use crate::timestamp::Timestamp;

/// Which messages a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// The client end sends.
    Requests,
    /// The server end sends.
    Responses,
}

/// Reads messages as their bytes come.
#[derive(Debug)]
pub(super) struct Reader {
    direction: Direction,
    state: State,
    /// The head so far, where it came in more than one piece: at most [`HEAD_LIMIT`] bytes. Or
    /// what is kept for others.
    head: Vec<u8>,
    line: Line,
    /// The method of this request, as far as its first bytes tell.
    method: Option<Method>,
    /// When the first byte of this message was sent.
    began: Timestamp,
    /// Content bytes of this message.
    content: u64,
}

/// Where in its stream a reader is.
///
/// ```text
///              ┌─────────────────────────┐
///              ▼                         │
///   ┌──▶ Boundary ──▶ Head ──▶ Body ─────┘
///   │        └──────────┴────────┼─────▶ Opaque, Kept
///   │                            ▼
///   └─────────────────────────  Lost
/// ```
#[derive(Debug)]
enum State {
    /// Between messages.
    Boundary,
    /// In a head.
    Head,
    /// Behind a head.
    Body(Body),
    /// What comes is not HTTP/1, or no longer: nothing is read again.
    Opaque,
    /// What comes is HTTP/2: it is kept for who reads that.
    Kept,
    /// Where the messages begin is not known.
    Lost(Loss),
}

/// Why and how a position was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) cause: Gap,
    /// Where the kernel side says that a message begins, one begins: it was not contradicted by
    /// what was read. Otherwise only a position that it found anew counts.
    pub(super) trusting: bool,
}

/// What a reader came to.
#[derive(Debug)]
pub(super) enum Step {
    /// The first byte of a message.
    Begun,
    /// The end of a valid first line, of a head that is not yet whole.
    Line,
    /// The end of a request head; [`Reader::enter`] is expected.
    Request(RequestStart),
    /// The end of a response head; [`Reader::enter`] is expected.
    Response(ResponseStart),
    /// A head with a valid first line that is malformed further on.
    Malformed,
    /// A head beyond [`HEAD_LIMIT`] bytes.
    TooLarge,
    /// Bytes that are no message.
    NotAMessage,
    /// The first bytes of HTTP/2; they are kept, and all that follow.
    Http2,
    /// Bytes that do not fit the coding of the body.
    BrokenBody,
    /// The end of a message.
    Ended,
}

/// Bytes of a head that are kept; Envoy's own limit is 60 KiB.
pub(super) const HEAD_LIMIT: usize = 64 * 1024;

impl Reader {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            direction,
            state: State::Boundary,
            head: Vec::new(),
            line: Line::start(direction),
            method: None,
            began: Timestamp::default(),
            content: 0,
        }
    }

    /// Reads on from `input`, sent at `time`, to the next step; none once `input` is used up.
    ///
    /// After `Malformed`, `TooLarge`, `NotAMessage` and `BrokenBody` the caller says how to go on
    /// with [`Reader::lose`] or [`Reader::give_up`].
    pub(super) fn advance(&mut self, input: &mut &[u8], time: Timestamp) -> Option<Step> {
        loop {
            match &mut self.state {
                State::Opaque | State::Lost(_) => {
                    *input = &[];
                    return None;
                }
                State::Kept => {
                    self.head.extend_from_slice(input);
                    *input = &[];
                    return None;
                }
                State::Body(body) if body.is_over() => {
                    self.state = State::Boundary;
                    return Some(Step::Ended);
                }
                State::Body(body) => {
                    if input.is_empty() {
                        return None;
                    }
                    let Ok(taken) = body.read(input) else {
                        return Some(Step::BrokenBody);
                    };
                    self.content += taken.content;
                    *input = &input[taken.bytes..];
                }
                State::Boundary => {
                    // A recipient ignores empty lines before a message (RFC 9112 section 2.2).
                    let start = input.iter().position(|byte| !b"\r\n".contains(byte));
                    *input = &input[start.unwrap_or(input.len())..];
                    if input.is_empty() {
                        return None;
                    }
                    self.state = State::Head;
                    self.line = Line::start(self.direction);
                    self.method = None;
                    self.began = time;
                    self.content = 0;
                    self.clear_head();
                    return Some(Step::Begun);
                }
                State::Head if input.is_empty() => return None,
                State::Head => return self.read_head(input),
            }
        }
    }

    /// Passes over `bytes` that were left out. False where they cannot all be body: nothing was
    /// done then.
    #[must_use]
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        match &mut self.state {
            State::Body(body) => {
                let skipped = body.skip(bytes);
                if skipped {
                    self.content = self.content.saturating_add(bytes);
                }
                skipped
            }
            State::Opaque | State::Kept | State::Lost(_) => true,
            State::Boundary | State::Head => bytes == 0,
        }
    }

    /// The head was read; this body follows it.
    pub(super) fn enter(&mut self, body: Body) {
        self.state = State::Body(body);
    }

    /// Nothing more is read, for good.
    pub(super) fn give_up(&mut self) {
        self.state = State::Opaque;
        self.clear_head();
    }

    /// What comes is HTTP/2, of which this reader has read nothing.
    pub(super) fn keep(&mut self) {
        self.state = State::Kept;
    }

    /// Bytes of a head that is not whole, or that were kept.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.head)
    }

    /// The position is lost.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.state = State::Lost(loss);
        self.clear_head();
    }

    /// A message begins with the next byte.
    pub(super) fn restart(&mut self) {
        self.state = State::Boundary;
        self.clear_head();
    }

    /// When the first byte of this message was sent.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }

    /// The method of this request, as far as the part of its head tells that was read.
    pub(super) fn method(&self) -> Option<Method> {
        self.method
    }

    /// Content bytes of this message, framing left out.
    pub(super) fn content(&self) -> u64 {
        self.content
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        self.head.len()
    }

    /// Between two messages.
    pub(super) fn is_at_boundary(&self) -> bool {
        matches!(self.state, State::Boundary)
    }

    /// In a head that is not whole.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head)
    }

    /// In a body that lasts until the sender closes.
    pub(super) fn is_until_close(&self) -> bool {
        matches!(self.state, State::Body(Body::UntilClose))
    }

    /// Nothing is read for good.
    pub(super) fn is_opaque(&self) -> bool {
        matches!(self.state, State::Opaque)
    }

    /// How the position was lost, if it is.
    pub(super) fn loss(&self) -> Option<Loss> {
        match self.state {
            State::Lost(loss) => Some(loss),
            _ => None,
        }
    }

    fn read_head(&mut self, input: &mut &[u8]) -> Option<Step> {
        let known = self.head.len();
        let fresh = &input[..input.len().min(HEAD_LIMIT - known)];
        // One that is malformed is so when it ends: it makes no difference where it was cut.
        let parsed = if known == 0 {
            match self.parse(fresh) {
                Parsed::Refused if !ends_head(fresh) => Parsed::Partial,
                parsed => parsed,
            }
        } else {
            self.head.extend_from_slice(fresh);
            if ends_head(&self.head[known.saturating_sub(3)..]) {
                self.parse(&self.head)
            } else {
                Parsed::Partial
            }
        };
        let refused = match parsed {
            Parsed::Whole(step, length) => {
                // A head that ends in this piece is longer than what was known before.
                *input = &input[length.saturating_sub(known)..];
                self.clear_head();
                self.state = State::Body(Body::NONE);
                return Some(step);
            }
            Parsed::Partial => false,
            Parsed::Refused => true,
        };
        if self.method.is_none() {
            self.method = Method::of_request(if known == 0 { fresh } else { &self.head });
        }
        let told = self.line == Line::Whole;
        self.line.read(fresh);
        match self.line {
            Line::Invalid => return self.other(known, input),
            Line::Whole if refused => return Some(Step::Malformed),
            _ => {}
        }
        if fresh.len() < input.len() {
            return Some(Step::TooLarge);
        }
        if known == 0 {
            self.head.extend_from_slice(fresh);
        }
        *input = &[];
        (self.line == Line::Whole && !told).then_some(Step::Line)
    }

    /// What begins is no HTTP/1; `known` bytes of it came before this input.
    fn other(&mut self, known: usize, input: &mut &[u8]) -> Option<Step> {
        self.head.truncate(known);
        self.head.extend_from_slice(input);
        *input = &[];
        match Opening::of(self.direction, &self.head) {
            Opening::Frames => {
                self.state = State::Kept;
                Some(Step::Http2)
            }
            Opening::Partial => None,
            Opening::Other => Some(Step::NotAMessage),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Parsed<Step> {
        match self.direction {
            Direction::Requests => match parse_request(bytes) {
                Parsed::Whole(start, length) => Parsed::Whole(Step::Request(start), length),
                Parsed::Partial => Parsed::Partial,
                Parsed::Refused => Parsed::Refused,
            },
            Direction::Responses => match parse_response(bytes) {
                Parsed::Whole(start, length) => Parsed::Whole(Step::Response(start), length),
                Parsed::Partial => Parsed::Partial,
                Parsed::Refused => Parsed::Refused,
            },
        }
    }

    fn clear_head(&mut self) {
        /// What an idle stream may keep for its next head.
        const KEPT: usize = 4096;
        self.head.clear();
        self.head.shrink_to(KEPT);
    }
}

/// A blank line ends somewhere in here.
fn ends_head(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|two| two == b"\n\n") || bytes.windows(3).any(|three| three == b"\n\r\n")
}
