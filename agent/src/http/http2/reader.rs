//! One direction of a connection as a sequence of frames.

use std::borrow::Cow;

use super::{
    frame::{Header, Kind},
    opening::PREFACE,
};
use crate::{
    http::reader::{Direction, Loss},
    timestamp::Timestamp,
};

/// Reads frames as their bytes come, or are left out.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// The frame header in progress, and how many of its bytes there are.
    header: [u8; Header::LENGTH],
    held: usize,
    /// The header block that goes on in a CONTINUATION.
    open: Option<Block>,
    /// When the first byte of this frame was sent, or of the block that it continues.
    began: Timestamp,
}

/// Where in its stream a reader is.
///
/// ```text
/// Preface ──▶ Boundary ◀──▶ Payload
///    │           ▲ │           │
///    ▼           │ ▼           │
///  Opaque      Adrift ◀────────┤
///                ▲             │
///                │             ▼
///                └──────────  Lost
/// ```
#[derive(Debug)]
enum State {
    /// So many bytes of the client's preface were read.
    Preface(usize),
    /// Before a frame, or in its header.
    Boundary,
    /// Behind a frame header.
    Payload(Payload),
    /// Within what was left out; a frame begins where the kernel side says.
    Adrift,
    /// Where the frames begin is not known.
    Lost(Loss),
    /// It is not HTTP/2: nothing is read.
    Opaque,
}

/// The payload of a frame, as far as it is still to come.
#[derive(Debug)]
enum Payload {
    /// Of HEADERS, PUSH_PROMISE and CONTINUATION, which go into the open block.
    Fragment(Fragment),
    /// The length of the padding of a DATA frame, which has so many bytes with it.
    DataPadding {
        data: Data,
        length: u32,
    },
    Data(Data),
    Control(Control),
    /// So many bytes of no interest.
    Ignored(u64),
}

/// A part of a header block, with so many bytes of each.
#[derive(Debug)]
struct Fragment {
    /// The length of the padding comes first.
    padded: bool,
    /// The priority, or the promised stream.
    lead: u32,
    /// All that is still to come, padding included.
    left: u32,
    padding: u32,
    end_headers: bool,
}

#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    content: u32,
    padding: u32,
    end_stream: bool,
}

/// A frame that consists of numbers.
#[derive(Debug)]
struct Control {
    kind: Kind,
    stream: u32,
    left: u32,
    /// The number in progress.
    unit: [u8; 6],
    held: usize,
    /// The size of the table in SETTINGS, the last stream in GOAWAY.
    found: Option<u32>,
}

/// A header block that is not whole.
#[derive(Debug)]
struct Block {
    stream: u32,
    promise: bool,
    end_stream: bool,
    /// Its bytes; none if they are too many.
    bytes: Option<Vec<u8>>,
}

/// What a reader came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// The first bytes are not the preface: these, and the rest of the input.
    NotHttp2(Vec<u8>),
    /// The header of a HEADERS frame.
    Headers { stream: u32 },
    /// A whole header block.
    Block {
        stream: u32,
        /// It is the request of a promised response.
        promise: bool,
        end_stream: bool,
        bytes: Cow<'a, [u8]>,
    },
    /// A header block that cannot be read: beyond [`BLOCK_LIMIT`], interrupted, or without its
    /// beginning.
    Unreadable { stream: u32, end_stream: bool },
    /// So many bytes of content, and whether they are the last.
    Data {
        stream: u32,
        content: u64,
        end_stream: bool,
    },
    /// RST_STREAM, and why (RFC 9113 section 7).
    Reset { stream: u32, code: u32 },
    /// SETTINGS: the largest table that its sender decodes with, if it says so.
    Settings { table_size: Option<u32> },
    /// GOAWAY: the last stream that its sender looks at.
    GoAway { last: u32 },
}

/// Bytes of a header block that are kept while it is not whole. Envoy takes 60 KiB of fields.
pub(super) const BLOCK_LIMIT: usize = 256 << 10;

/// SETTINGS_HEADER_TABLE_SIZE (RFC 9113 section 6.5.2).
const HEADER_TABLE_SIZE: u16 = 1;

impl Reader {
    pub(super) fn new(direction: Direction) -> Self {
        Self {
            state: match direction {
                Direction::Requests => State::Preface(0),
                Direction::Responses => State::Boundary,
            },
            header: [0; Header::LENGTH],
            held: 0,
            open: None,
            began: Timestamp::default(),
        }
    }

    /// Reads on from `input`, sent at `time`, to the next step; none once `input` is used up.
    pub(super) fn advance<'a>(
        &mut self,
        input: &mut &'a [u8],
        time: Timestamp,
    ) -> Option<Step<'a>> {
        loop {
            let step = match &mut self.state {
                State::Payload(Payload::Fragment(fragment)) if fragment.left == 0 => {
                    self.end_fragment()
                }
                _ if input.is_empty() => return None,
                State::Opaque | State::Lost(_) | State::Adrift => {
                    *input = &[];
                    return None;
                }
                State::Preface(_) => self.read_preface(input),
                State::Boundary => self.read_header(input, time),
                State::Payload(payload) => match payload {
                    Payload::Fragment(_) => self.read_fragment(input),
                    Payload::DataPadding { data, length } => {
                        let padding = u32::from(take_byte(input));
                        data.padding = padding.min(*length);
                        data.content = *length - data.padding;
                        let data = *data;
                        self.begin_data(data)
                    }
                    Payload::Data(_) => {
                        let available = input.len() as u64;
                        let (step, taken) = self.pass_data(available);
                        // At most what is available.
                        *input = &input[usize::try_from(taken).unwrap_or(input.len())..];
                        step
                    }
                    Payload::Control(control) => {
                        let step = control.read(input);
                        if control.left == 0 {
                            self.state = State::Boundary;
                        }
                        step
                    }
                    Payload::Ignored(left) => {
                        let taken = (input.len() as u64).min(*left);
                        *left -= taken;
                        if *left == 0 {
                            self.state = State::Boundary;
                        }
                        *input = &input[usize::try_from(taken).unwrap_or(input.len())..];
                        None
                    }
                },
            };
            if step.is_some() {
                return step;
            }
        }
    }

    /// Passes over `bytes` that were left out, to the next step. Whole frames may be among them
    /// if `frames`. Once there is no step more, what is left of `bytes` cannot have been left out.
    pub(super) fn pass(&mut self, bytes: &mut u64, frames: bool) -> Option<Step<'static>> {
        while *bytes > 0 {
            match &mut self.state {
                State::Opaque | State::Lost(_) | State::Adrift => *bytes = 0,
                State::Payload(Payload::Data(_)) => {
                    let (step, taken) = self.pass_data(*bytes);
                    *bytes -= taken;
                    if step.is_some() {
                        return step;
                    }
                }
                State::Payload(Payload::Ignored(left)) => {
                    let taken = (*bytes).min(*left);
                    *left -= taken;
                    *bytes -= taken;
                    if *left == 0 {
                        self.state = State::Boundary;
                    }
                }
                State::Boundary if self.held == 0 && frames => self.state = State::Adrift,
                State::Boundary | State::Preface(_) | State::Payload(_) => return None,
            }
        }
        None
    }

    /// So many bytes, if they were sent next, are content and padding of the DATA in progress.
    pub(super) fn is_data(&self, bytes: u64) -> bool {
        match &self.state {
            State::Payload(Payload::Data(data)) => {
                bytes <= u64::from(data.content) + u64::from(data.padding)
            }
            _ => bytes == 0,
        }
    }

    /// The position is lost.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.restart();
        self.state = State::Lost(loss);
    }

    /// A frame begins with the next byte.
    pub(super) fn restart(&mut self) {
        self.state = State::Boundary;
        self.held = 0;
        self.open = None;
    }

    /// Nothing more is read, for good.
    pub(super) fn give_up(&mut self) {
        self.restart();
        self.state = State::Opaque;
    }

    /// When the first byte of this frame was sent, or of the block that it continues.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }

    /// Bytes that are kept.
    pub(super) fn held(&self) -> usize {
        let open = self.open.as_ref().and_then(|open| open.bytes.as_ref());
        open.map_or(0, Vec::capacity)
    }

    /// A frame begins where the kernel side says.
    pub(super) fn is_adrift(&self) -> bool {
        matches!(self.state, State::Adrift)
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

    fn read_preface(&mut self, input: &mut &[u8]) -> Option<Step<'static>> {
        let State::Preface(known) = &mut self.state else {
            return None;
        };
        let expected = &PREFACE[*known..];
        let length = expected.len().min(input.len());
        if input[..length] != expected[..length] {
            let bytes = [&PREFACE[..*known], input].concat();
            *input = &[];
            self.give_up();
            return Some(Step::NotHttp2(bytes));
        }
        *input = &input[length..];
        *known += length;
        if *known == PREFACE.len() {
            self.state = State::Boundary;
        }
        None
    }

    fn read_header(&mut self, input: &mut &[u8], time: Timestamp) -> Option<Step<'static>> {
        if self.held == 0 {
            if self.open.is_none() {
                self.began = time;
            }
            if let Some((header, rest)) = input.split_first_chunk() {
                *input = rest;
                return self.begin(Header::read(header));
            }
        }
        let taken = input.len().min(Header::LENGTH - self.held);
        self.header[self.held..self.held + taken].copy_from_slice(&input[..taken]);
        *input = &input[taken..];
        self.held += taken;
        if self.held < Header::LENGTH {
            return None;
        }
        self.held = 0;
        self.begin(Header::read(&self.header))
    }

    /// The header of a frame was read.
    fn begin(&mut self, header: Header) -> Option<Step<'static>> {
        let Header {
            length,
            kind,
            stream,
            ..
        } = header;
        let continues = kind == Kind::Continuation
            && self.open.as_ref().is_some_and(|open| open.stream == stream);
        let ignored = Payload::Ignored(u64::from(length));
        let (payload, step) = match kind {
            // Nothing may stand between the parts of a block (RFC 9113 section 4.3): the peer
            // closes.
            _ if !continues && let Some(open) = self.open.take() => {
                let (stream, end_stream) = (open.stream, open.end_stream);
                (ignored, Some(Step::Unreadable { stream, end_stream }))
            }
            Kind::Data => {
                let data = Data {
                    stream,
                    content: length,
                    padding: 0,
                    end_stream: header.has(Header::END_STREAM),
                };
                match length.checked_sub(1) {
                    Some(length) if header.has(Header::PADDED) => {
                        (Payload::DataPadding { data, length }, None)
                    }
                    _ => return self.begin_data(data),
                }
            }
            Kind::Headers | Kind::Promise => {
                let promise = kind == Kind::Promise;
                let lead = match (promise, header.has(Header::PRIORITY)) {
                    (true, _) => 4,
                    (false, true) => 5,
                    (false, false) => 0,
                };
                self.open = Some(Block {
                    stream,
                    promise,
                    end_stream: !promise && header.has(Header::END_STREAM),
                    bytes: Some(Vec::new()),
                });
                let step = (!promise).then_some(Step::Headers { stream });
                (Payload::Fragment(Fragment::new(&header, lead)), step)
            }
            Kind::Continuation if continues => {
                let header = Header {
                    flags: header.flags & Header::END_HEADERS,
                    ..header
                };
                (Payload::Fragment(Fragment::new(&header, 0)), None)
            }
            Kind::Continuation => {
                let end_stream = false;
                (ignored, Some(Step::Unreadable { stream, end_stream }))
            }
            Kind::Settings if header.has(Header::ACK) => (ignored, None),
            Kind::Settings | Kind::Reset | Kind::GoAway if length > 0 => {
                (Payload::Control(Control::new(kind, stream, length)), None)
            }
            Kind::Settings | Kind::Reset | Kind::GoAway | Kind::Other => (ignored, None),
        };
        self.state = match payload {
            Payload::Ignored(0) => State::Boundary,
            payload => State::Payload(payload),
        };
        step
    }

    fn begin_data(&mut self, data: Data) -> Option<Step<'static>> {
        self.state = State::Payload(Payload::Data(data));
        if data.content == 0 && data.padding == 0 {
            return self.pass_data(0).0;
        }
        None
    }

    /// Passes over at most `available` bytes of DATA, and says how many it were.
    fn pass_data(&mut self, available: u64) -> (Option<Step<'static>>, u64) {
        let State::Payload(Payload::Data(data)) = &mut self.state else {
            return (None, 0);
        };
        let content = u32::try_from(available).map_or(data.content, |most| most.min(data.content));
        let left = available - u64::from(content);
        let padding = u32::try_from(left).map_or(data.padding, |most| most.min(data.padding));
        data.content -= content;
        data.padding -= padding;
        let is_over = data.content == 0 && data.padding == 0;
        let step = Step::Data {
            stream: data.stream,
            content: u64::from(content),
            end_stream: data.end_stream && is_over,
        };
        if is_over {
            self.state = State::Boundary;
        }
        let told = content > 0 || is_over;
        (
            told.then_some(step),
            u64::from(content) + u64::from(padding),
        )
    }

    /// Reads on in a part of a header block, of which at least a byte is still to come.
    fn read_fragment<'a>(&mut self, input: &mut &'a [u8]) -> Option<Step<'a>> {
        let State::Payload(Payload::Fragment(fragment)) = &mut self.state else {
            return None;
        };
        if std::mem::take(&mut fragment.padded) {
            fragment.left -= 1;
            fragment.padding = u32::from(take_byte(input));
            return None;
        }
        fragment.take(input, fragment.lead);
        if fragment.lead > 0 {
            return None;
        }
        let content = fragment.left.saturating_sub(fragment.padding);
        let bytes = fragment.take(input, content);
        if bytes.len() == content as usize {
            fragment.take(input, fragment.left);
        }
        let open = self.open.as_mut()?;
        if fragment.left == 0 && fragment.end_headers && open.is_empty() {
            // The whole block in one piece.
            let step = open.whole(Cow::Borrowed(bytes));
            self.open = None;
            self.state = State::Boundary;
            return Some(step);
        }
        open.push(bytes);
        None
    }

    /// A part of a header block is over.
    fn end_fragment(&mut self) -> Option<Step<'static>> {
        let State::Payload(Payload::Fragment(fragment)) = &self.state else {
            return None;
        };
        let end_headers = fragment.end_headers;
        self.state = State::Boundary;
        if !end_headers {
            return None;
        }
        let mut open = self.open.take()?;
        match open.bytes.take() {
            Some(bytes) => Some(open.whole(Cow::Owned(bytes))),
            None => Some(open.unreadable()),
        }
    }
}

impl Fragment {
    fn new(header: &Header, lead: u32) -> Self {
        let padded = header.has(Header::PADDED);
        Self {
            padded: padded && header.length > 0,
            lead: lead.min(header.length - u32::from(padded && header.length > 0)),
            left: header.length,
            padding: 0,
            end_headers: header.has(Header::END_HEADERS),
        }
    }

    /// Takes at most so many bytes.
    fn take<'a>(&mut self, input: &mut &'a [u8], most: u32) -> &'a [u8] {
        let length = input.len().min(most as usize);
        let (taken, rest) = input.split_at(length);
        *input = rest;
        // At most `most`.
        let length = u32::try_from(length).unwrap_or(most);
        self.lead = self.lead.saturating_sub(length);
        self.left = self.left.saturating_sub(length);
        taken
    }
}

impl Block {
    fn is_empty(&self) -> bool {
        self.bytes.as_ref().is_some_and(Vec::is_empty)
    }

    fn push(&mut self, more: &[u8]) {
        if let Some(bytes) = &mut self.bytes {
            bytes.extend_from_slice(more);
            if bytes.len() > BLOCK_LIMIT {
                self.bytes = None;
            }
        }
    }

    fn whole<'a>(&self, bytes: Cow<'a, [u8]>) -> Step<'a> {
        Step::Block {
            stream: self.stream,
            promise: self.promise,
            end_stream: self.end_stream,
            bytes,
        }
    }

    fn unreadable(&self) -> Step<'static> {
        Step::Unreadable {
            stream: self.stream,
            end_stream: self.end_stream,
        }
    }
}

impl Control {
    fn new(kind: Kind, stream: u32, length: u32) -> Self {
        Self {
            kind,
            stream,
            left: length,
            unit: [0; 6],
            held: 0,
            found: None,
        }
    }

    /// Reads on, to the end of the frame or of the input.
    fn read(&mut self, input: &mut &[u8]) -> Option<Step<'static>> {
        while self.left > 0 && !input.is_empty() {
            self.unit[self.held] = take_byte(input);
            self.held += 1;
            self.left -= 1;
            let [a, b, c, d, e, f] = self.unit;
            match (self.kind, self.held) {
                (Kind::GoAway, 4) if self.found.is_none() => {
                    self.found = Some(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
                }
                (Kind::Reset, 4) => self.found = Some(u32::from_be_bytes([a, b, c, d])),
                (_, 6) => {
                    self.held = 0;
                    let is_size = u16::from_be_bytes([a, b]) == HEADER_TABLE_SIZE;
                    if self.kind == Kind::Settings && is_size {
                        let size = u32::from_be_bytes([c, d, e, f]);
                        self.found = Some(self.found.map_or(size, |known| known.max(size)));
                    }
                }
                _ => {}
            }
        }
        if self.left > 0 {
            return None;
        }
        match (self.kind, self.found) {
            (Kind::Settings, table_size) => Some(Step::Settings { table_size }),
            (Kind::GoAway, Some(last)) => Some(Step::GoAway { last }),
            (Kind::Reset, code) => Some(Step::Reset {
                stream: self.stream,
                code: code.unwrap_or_default(),
            }),
            _ => None,
        }
    }
}

/// Takes the first byte, which there must be.
fn take_byte(input: &mut &[u8]) -> u8 {
    let Some((first, rest)) = input.split_first() else {
        return 0;
    };
    *input = rest;
    *first
}
