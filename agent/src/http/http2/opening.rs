//! What shows that bytes are HTTP/2, and which end sends them.

use super::frame::{Header, Kind};
use crate::{
    capture::Segment,
    http::{hpack::Decoder, reader::Direction},
};

/// What a client sends first (RFC 9113 section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Opening {
    /// HTTP/2.
    Frames,
    /// They may become that.
    Partial,
    /// Something else.
    Other,
}

impl Opening {
    /// A client begins with the preface, of which the first line tells it from HTTP/1; a server
    /// with SETTINGS.
    pub(in crate::http) fn of(direction: Direction, bytes: &[u8]) -> Self {
        match direction {
            Direction::Requests => {
                let length = bytes.len().min(PREFACE.len());
                if bytes[..length] != PREFACE[..length] {
                    Self::Other
                } else if length < PREFACE.len() {
                    Self::Partial
                } else {
                    Self::Frames
                }
            }
            Direction::Responses => settings(bytes),
        }
    }
}

/// Whether these are the first bytes of a SETTINGS frame that is no acknowledgement.
fn settings(bytes: &[u8]) -> Opening {
    /// The largest frame before more was allowed (section 4.2).
    const LARGEST: u32 = 1 << 14;
    /// The size of one setting.
    const SETTING: u32 = 6;
    let known = bytes.len().min(Header::LENGTH);
    let mut header = [0; Header::LENGTH];
    header[..known].copy_from_slice(&bytes[..known]);
    let [_, _, _, kind, ..] = header;
    let Header {
        length,
        flags,
        stream,
        ..
    } = Header::read(&header);
    let fits = length <= LARGEST
        && (known < 3 || length.is_multiple_of(SETTING))
        && (known < 4 || kind == 4)
        && flags == 0
        && stream == 0;
    match (fits, known) {
        (false, _) => Opening::Other,
        (true, Header::LENGTH) => Opening::Frames,
        (true, _) => Opening::Partial,
    }
}

/// Whether the end that sent this HTTP/2 is the client, if the segment shows it.
pub(in crate::http) fn sender_is_client(segment: &Segment) -> Option<bool> {
    if segment.offset == 0 && segment.bytes.starts_with(PREFACE) {
        return Some(true);
    }
    let mut rest = segment.bytes.get(usize::from(segment.first_message?)..)?;
    loop {
        let (header, payload) = rest.split_first_chunk()?;
        let header = Header::read(header);
        let sent = match header.kind {
            Kind::Headers => begins_request(&header, payload),
            Kind::Promise => Some(false),
            _ => None,
        };
        if sent.is_some() {
            return sent;
        }
        rest = payload.get(usize::try_from(header.length).ok()?..)?;
    }
}

/// Whether the first field that is known of a header block is a pseudo-header of a request or of a
/// response.
fn begins_request(header: &Header, payload: &[u8]) -> Option<bool> {
    let padded = usize::from(header.has(Header::PADDED));
    let priority = if header.has(Header::PRIORITY) { 5 } else { 0 };
    let length = payload.len().min(usize::try_from(header.length).ok()?);
    let block = payload.get(padded + priority..length)?;
    let mut decoder = Decoder::new();
    decoder.forget();
    let mut first = None;
    // Where it ends in the middle, or in padding, does not matter.
    let _ = decoder.decode(block, |field| {
        let name = field.name.filter(|name| name.starts_with(b":"));
        first = first.or(name.map(|name| name != b":status"));
    });
    first
}
