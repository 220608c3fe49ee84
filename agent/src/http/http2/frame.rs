//! The header of a frame: RFC 9113 section 4.1.

/// The nine bytes in front of every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes of the payload.
    pub(super) length: u32,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// What a frame is, as far as it matters here (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Promise,
    GoAway,
    Continuation,
    /// It says nothing of a request or a response, or is unknown.
    Other,
}

impl Header {
    /// How long it is.
    pub(super) const LENGTH: usize = 9;

    /// Of SETTINGS: it only acknowledges.
    pub(super) const ACK: u8 = 0x1;
    /// Of DATA and HEADERS: the last frame of its message.
    pub(super) const END_STREAM: u8 = 0x1;
    /// No CONTINUATION follows.
    pub(super) const END_HEADERS: u8 = 0x4;
    /// The payload begins with the length of its padding.
    pub(super) const PADDED: u8 = 0x8;
    /// Of HEADERS: five bytes of priority stand before the header block.
    pub(super) const PRIORITY: u8 = 0x20;

    pub(super) fn read(bytes: &[u8; Self::LENGTH]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind: Kind::of(kind),
            flags,
            // Without the reserved bit.
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Kind {
    fn of(kind: u8) -> Self {
        match kind {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::Promise,
            7 => Self::GoAway,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// Takes the first byte, which there must be.
pub(super) fn take_byte(input: &mut &[u8]) -> u8 {
    let Some((first, rest)) = input.split_first() else {
        return 0;
    };
    *input = rest;
    *first
}

#[cfg(test)]
mod tests {
    use super::{Header, Kind};

    #[test]
    fn the_reserved_bit_is_no_part_of_the_stream() {
        let header = Header::read(&[1, 2, 3, 9, 0x4, 0x80, 0, 1, 1]);
        let expected = Header {
            length: 0x01_02_03,
            kind: Kind::Continuation,
            flags: Header::END_HEADERS,
            stream: 0x101,
        };
        assert_eq!(header, expected);
        assert_eq!(
            Header::read(&[0, 0, 0, 0xbe, 0, 0, 0, 0, 0]).kind,
            Kind::Other
        );
    }
}
