//! The first line of a message, read byte by byte: what makes bytes the beginning of HTTP/1.

use super::reader::Direction;

/// How far a first line has come.
///
/// ```text
/// requests:  Method ──▶ Target ──▶ Version ──▶ End ──▶ Whole
/// responses: Version ──▶ Status ──▶ Reason ──▶ Whole
/// ```
///
/// Each state goes to `Invalid` at the first byte that cannot stand there. A version is
/// `HTTP/1.` and any digit, so the preface of HTTP/2 is no request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// In the method; so many of its bytes were read, up to 255.
    Method(u8),
    /// In the target; true once a byte of it was read.
    Target(bool),
    /// In the version, of which so many bytes were read.
    Version(Direction, u8),
    /// Behind the version of a request; true once the CR was read.
    End(bool),
    /// In the status, of which so many digits were read.
    Status(u8),
    /// Behind the status.
    Reason,
    /// The line ended and is valid.
    Whole,
    /// It cannot become one.
    Invalid,
}

impl Line {
    pub(super) fn start(direction: Direction) -> Self {
        match direction {
            Direction::Requests => Self::Method(0),
            Direction::Responses => Self::Version(direction, 0),
        }
    }

    /// Reads on. Once `Whole` or `Invalid` it stays so.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if matches!(self, Self::Whole | Self::Invalid) {
                return;
            }
            *self = self.after(*byte);
        }
    }

    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Method(1..), b' ') => Self::Target(false),
            (Self::Method(length), _) if is_token(byte) => Self::Method(length.saturating_add(1)),
            (Self::Target(true), b' ') => Self::Version(Direction::Requests, 0),
            (Self::Target(_), b'!'..=0x7e | 0x80..) => Self::Target(true),
            (Self::Version(direction, at), _) => Self::version(direction, at, byte),
            (Self::End(false), b'\r') => Self::End(true),
            (Self::Status(at @ 0..3), b'0'..=b'9') => Self::Status(at + 1),
            (Self::Status(3), b' ' | b'\r') => Self::Reason,
            (Self::End(_) | Self::Status(3) | Self::Reason, b'\n') => Self::Whole,
            (Self::Reason, _) => Self::Reason,
            _ => Self::Invalid,
        }
    }

    fn version(direction: Direction, at: u8, byte: u8) -> Self {
        const NAME: &[u8] = b"HTTP/1.";
        match (NAME.get(usize::from(at)), direction) {
            (Some(expected), _) if *expected == byte => Self::Version(direction, at + 1),
            (Some(_), _) => Self::Invalid,
            // Behind the name comes the digit, then what ends the version of a response.
            (None, Direction::Requests) if byte.is_ascii_digit() => Self::End(false),
            (None, Direction::Responses) if at == 7 && byte.is_ascii_digit() => {
                Self::Version(direction, 8)
            }
            (None, Direction::Responses) if at == 8 && byte == b' ' => Self::Status(0),
            _ => Self::Invalid,
        }
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{Direction, Line};

    fn read(direction: Direction, bytes: &[u8]) -> Line {
        let mut line = Line::start(direction);
        for byte in bytes {
            line.read(&[*byte]);
        }
        let mut at_once = Line::start(direction);
        at_once.read(bytes);
        assert_eq!(line, at_once);
        line
    }

    #[test]
    fn request_lines() {
        for valid in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"m-search * HTTP/1.0\n",
            b"GET /\xff HTTP/1.9\r\nrest",
        ] {
            assert_eq!(read(Direction::Requests, valid), Line::Whole, "{valid:?}");
        }
        for invalid in [
            &b"\x16\x03\x01"[..],
            b" GET",
            b"GET  /",
            b"GET /\r\n",
            b"PRI * HTTP/2",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"GET / HTTP/1.1 \r\n",
            b"GET /\x07",
        ] {
            assert_eq!(
                read(Direction::Requests, invalid),
                Line::Invalid,
                "{invalid:?}"
            );
        }
        let whole = b"GET / HTTP/1.1\r\n";
        for cut in 0..whole.len() {
            let line = read(Direction::Requests, &whole[..cut]);
            assert!(!matches!(line, Line::Whole | Line::Invalid), "{cut}");
        }
    }

    #[test]
    fn status_lines() {
        for valid in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            b"HTTP/1.0 200\r\n",
            b"HTTP/1.1 200\n",
        ] {
            assert_eq!(read(Direction::Responses, valid), Line::Whole, "{valid:?}");
        }
        for invalid in [&b"220 smtp"[..], b"HTTP/2 200\r\n", b"HTTP/1.1 20\r\n"] {
            assert_eq!(
                read(Direction::Responses, invalid),
                Line::Invalid,
                "{invalid:?}"
            );
        }
    }
}
