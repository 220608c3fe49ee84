//! One direction of a connection as a sequence of frames.

use std::borrow::Cow;

use super::{
    block::{Block, Fragment},
    control::Control,
    frame::{Header, Kind, take_byte},
    opening::PREFACE,
    step::Step,
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
    /// When the first byte of this frame was sent, or of the block that it continues, or of the
    /// preface.
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

#[derive(Clone, Copy, Debug)]
struct Data {
    stream: u32,
    content: u32,
    padding: u32,
    end_stream: bool,
}

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
                State::Payload(Payload::Fragment(fragment)) if fragment.is_over() => {
                    self.end_fragment()
                }
                _ if input.is_empty() => return None,
                State::Opaque | State::Lost(_) | State::Adrift => {
                    *input = &[];
                    return None;
                }
                State::Preface(_) => self.read_preface(input, time),
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
                        if control.is_over() {
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
                State::Boundary if self.held == 0 && frames => {
                    self.state = State::Adrift;
                    // What stands between the parts of a block ends it.
                    if let Some(open) = self.open.take() {
                        return Some(open.unreadable());
                    }
                }
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
        self.open.as_ref().map_or(0, Block::held)
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

    fn read_preface(&mut self, input: &mut &[u8], time: Timestamp) -> Option<Step<'static>> {
        let State::Preface(known) = &mut self.state else {
            return None;
        };
        if *known == 0 {
            self.began = time;
        }
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
                (ignored, Some(open.unreadable()))
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
                let end_stream = !promise && header.has(Header::END_STREAM);
                self.open = Some(Block::new(stream, promise, end_stream));
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
        let bytes = fragment.read(input)?;
        let open = self.open.as_mut()?;
        if fragment.is_over() && fragment.ends_block() && open.is_empty() {
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
        let ends_block = fragment.ends_block();
        self.state = State::Boundary;
        if !ends_block {
            return None;
        }
        Some(self.open.take()?.kept())
    }
}
