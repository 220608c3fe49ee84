//! The same rules, written the plain way: whole lines, slices and ordinary parsing, over a stream
//! that is there at once.

extern crate std;

use std::{ops::Range, vec::Vec};

use crate::framing::Mode;

/// What a stream holds.
#[derive(Debug, Default)]
pub(super) struct Reference {
    /// Where messages begin.
    pub(super) begins: Vec<usize>,
    /// Behind the last byte of each message that ended.
    pub(super) ends: Vec<usize>,
    /// Bytes of body, of each chunk separately; the last may reach beyond the stream.
    pub(super) bodies: Vec<Range<usize>>,
    /// Behind the last byte of heads that set or used a HEAD bit, and which bit.
    pub(super) heads: Vec<(usize, u64)>,
    /// Where framing is over, and in what mode.
    pub(super) stop: Option<Stop>,
    /// Where a line begins that has no end: something in it may be wrong already.
    pub(super) unfinished: Option<usize>,
}

/// Framing is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Not before this byte was seen…
    pub(super) from: usize,
    /// …and at the latest behind this one.
    pub(super) to: usize,
    pub(super) mode: Mode,
    /// The last of `begins` is not counted any more.
    pub(super) withdrawn: bool,
}

/// What a stream is, with the peer's HEAD bits in case it holds responses.
pub(super) fn read(stream: &[u8], head_bits: u64) -> Reference {
    let mut reader = Reader {
        stream,
        at: 0,
        direction: None,
        empty_lines: false,
        ordinal: 0,
        head_bits,
        found: Reference::default(),
    };
    // Nothing where the stream ends in between: what is there so far stands.
    while reader.message().is_some() {}
    reader.found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Requests,
    Responses,
}

struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
    direction: Option<Direction>,
    /// Empty lines stand before this message.
    empty_lines: bool,
    ordinal: u32,
    head_bits: u64,
    found: Reference,
}

/// What a start line says.
#[derive(Default)]
struct Start {
    response: bool,
    old: bool,
    head: bool,
    connect: bool,
    status: u16,
}

/// What the fields say.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Reader<'a> {
    fn message(&mut self) -> Option<()> {
        self.empty_lines()?;
        let begin = self.at;
        self.stream.get(begin)?;
        self.found.begins.push(begin);
        let line = self.line(|reader, line| reader.failure(line))?;
        let Some(start) = start_line(line) else {
            let mode = self.failure(line);
            return self.stop(begin, mode);
        };
        let direction = if start.response {
            Direction::Responses
        } else {
            Direction::Requests
        };
        let expected = self.direction.unwrap_or(direction);
        if direction != expected || start.response && self.empty_lines {
            let mode = self.failure(line);
            return self.stop(begin, mode);
        }
        self.direction = Some(direction);
        let fields = self.fields(start.old)?;
        self.body(&start, &fields)
    }

    fn empty_lines(&mut self) -> Option<()> {
        self.empty_lines = false;
        while self.direction != Some(Direction::Responses)
            && self.stream[self.at..].starts_with(b"\r")
        {
            self.empty_lines = true;
            self.at += 1;
            if *self.stream.get(self.at)? != b'\n' {
                self.found.begins.push(self.at);
                let mode = self.failure(b"");
                return self.stop(self.at, mode);
            }
            self.at += 1;
        }
        Some(())
    }

    /// The next line without its end. One that ends with a bare LF fails.
    fn line(&mut self, failure: impl Fn(&Self, &[u8]) -> Mode) -> Option<&'a [u8]> {
        let from = self.at;
        let rest = &self.stream[from..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            self.found.unfinished = Some(from);
            return None;
        };
        self.at += length + 1;
        let Some(line) = rest[..length].strip_suffix(b"\r") else {
            let mode = failure(self, &rest[..length]);
            self.stop(from, mode)?;
            return None;
        };
        Some(line)
    }

    fn fields(&mut self, old: bool) -> Option<Fields> {
        let mut fields = Fields::default();
        loop {
            let from = self.at;
            let line = self.line(|_, _| Mode::Raw)?;
            if line.is_empty() {
                return Some(fields);
            }
            if field(line, old, &mut fields).is_none() {
                self.stop(from, Mode::Raw)?;
            }
        }
    }

    fn body(&mut self, start: &Start, fields: &Fields) -> Option<()> {
        let last = !start.response || !(100..200).contains(&start.status) || start.status == 101;
        let mut bodiless = matches!(start.status, 100..200 | 204 | 304);
        if last {
            let bit = 1 << (self.ordinal % 64);
            self.ordinal += 1;
            let head = if start.response {
                self.head_bits & bit != 0
            } else {
                start.head
            };
            if head {
                self.found.heads.push((self.at, bit));
                bodiless |= start.response;
            }
        }
        if start.status == 101 {
            return self.stop(self.at - 1, Mode::Opaque);
        }
        if start.connect {
            return self.stop(self.at - 1, Mode::Raw);
        }
        if bodiless {
            return self.end();
        }
        if fields.chunked {
            return self.chunks();
        }
        match fields.length {
            None if start.response => return self.stop(self.at - 1, Mode::UntilClose),
            None | Some(0) => {}
            Some(length) => self.pass(length)?,
        }
        self.end()
    }

    fn chunks(&mut self) -> Option<()> {
        loop {
            let from = self.at;
            let line = self.line(|_, _| Mode::Raw)?;
            let Some(size) = chunk_size(line) else {
                return self.stop(from, Mode::Raw);
            };
            if size == 0 {
                break;
            }
            self.pass(size)?;
            for expected in *b"\r\n" {
                if *self.stream.get(self.at)? != expected {
                    return self.stop(self.at, Mode::Raw);
                }
                self.at += 1;
            }
        }
        loop {
            let from = self.at;
            let line = self.line(|_, _| Mode::Raw)?;
            if line.is_empty() {
                return self.end();
            }
            if !is_token(line[0]) || !line.iter().all(|byte| is_text(*byte)) {
                return self.stop(from, Mode::Raw);
            }
        }
    }

    fn pass(&mut self, length: u64) -> Option<()> {
        let length = usize::try_from(length).ok()?;
        self.found.bodies.push(self.at..self.at + length);
        self.at += length;
        (self.at <= self.stream.len()).then_some(())
    }

    fn end(&mut self) -> Option<()> {
        self.found.ends.push(self.at);
        Some(())
    }

    fn stop(&mut self, from: usize, mode: Mode) -> Option<()> {
        self.found.stop = Some(Stop {
            from,
            to: self.at.max(from + 1),
            mode,
            withdrawn: mode == Mode::Opaque && self.direction.is_none(),
        });
        None
    }

    /// What a start line that is none makes of the stream.
    fn failure(&self, line: &[u8]) -> Mode {
        if self.direction.is_some() || is_plausible(line, !self.empty_lines) {
            Mode::Raw
        } else {
            Mode::Opaque
        }
    }
}

/// A method in upper case, or a known version, were there before it went wrong.
fn is_plausible(line: &[u8], may_respond: bool) -> bool {
    let version = |rest: &[u8]| rest.starts_with(b"HTTP/1.0") || rest.starts_with(b"HTTP/1.1");
    if version(line) {
        return may_respond;
    }
    let Some((method, rest)) = split(line, b' ') else {
        return false;
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return false;
    }
    if method
        .iter()
        .all(|byte| byte.is_ascii_uppercase() || *byte == b'-')
    {
        return true;
    }
    split(rest, b' ').is_some_and(|(target, rest)| is_target(target) && version(rest))
}

fn start_line(line: &[u8]) -> Option<Start> {
    let old = |version: &[u8]| match version {
        b"HTTP/1.0" => Some(true),
        b"HTTP/1.1" => Some(false),
        _ => None,
    };
    if line.starts_with(b"HTTP/") {
        let (version, rest) = split(line, b' ')?;
        let (status, reason) = split(rest, b' ').unwrap_or((rest, b""));
        let status = core::str::from_utf8(status).ok()?;
        let digits = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        let known = digits && (b'1'..=b'5').contains(&status.as_bytes()[0]);
        if !known || !reason.iter().all(|byte| is_text(*byte)) {
            return None;
        }
        return Some(Start {
            response: true,
            old: old(version)?,
            status: status.parse().ok()?,
            ..Start::default()
        });
    }
    let (method, rest) = split(line, b' ')?;
    let (target, version) = split(rest, b' ')?;
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) || !is_target(target) {
        return None;
    }
    Some(Start {
        old: old(version)?,
        head: method == b"HEAD",
        connect: method == b"CONNECT",
        ..Start::default()
    })
}

/// Nothing if the field makes the framing doubtful.
fn field(line: &[u8], old: bool, fields: &mut Fields) -> Option<()> {
    if !is_token(line[0]) || !line.iter().all(|byte| is_text(*byte)) {
        return None;
    }
    let lower = line.to_ascii_lowercase();
    let token = lower.iter().take_while(|byte| is_token(**byte)).count();
    match &lower[..token] {
        b"content-length" => {
            let value = core::str::from_utf8(lower[token..].strip_prefix(b":")?).ok()?;
            let value = value.trim_matches([' ', '\t']);
            if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            if fields.length.is_some() || fields.chunked {
                return None;
            }
            fields.length = Some(bounded(value, 10)?);
        }
        b"transfer-encoding" => {
            let value = core::str::from_utf8(lower[token..].strip_prefix(b":")?).ok()?;
            if value.trim_matches([' ', '\t']) != "chunked" || old {
                return None;
            }
            if fields.length.is_some() || fields.chunked {
                return None;
            }
            fields.chunked = true;
        }
        _ => {}
    }
    Some(())
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let (size, extension) = split(line, b';').unwrap_or((line, b""));
    if !extension.iter().all(|byte| is_text(*byte)) {
        return None;
    }
    let size = core::str::from_utf8(size)
        .ok()?
        .trim_end_matches([' ', '\t']);
    if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    bounded(size, 16)
}

fn bounded(digits: &str, radix: u32) -> Option<u64> {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let value = u64::from_str_radix(digits, radix).ok()?;
    (value < 1 << 49).then_some(value)
}

fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

fn is_target(target: &[u8]) -> bool {
    !target.is_empty()
        && target
            .iter()
            .all(|byte| is_text(*byte) && !b" \t".contains(byte))
}
