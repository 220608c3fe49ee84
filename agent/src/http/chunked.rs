//! The chunked transfer coding, read byte by byte without keeping any: RFC 9112 section 7.1.

use super::body::{BrokenChunk, Taken};

/// A position in a chunked body.
///
/// ```text
///   ┌────────────────────────────────────┐
///   ▼                                    │
/// Size ──▶ Extension ──▶ Data ──▶ DataEnd┘
///   │          │
///   └────┬─────┘ (size 0)
///        ▼
///   TrailerStart ──▶ Over
///      ▲  ▼
///     Trailer
/// ```
///
/// A bare LF ends a line as CR LF does: recipients may accept it, and what the proxy accepted
/// has to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
    /// The size that is being read, or the bytes of data still to come.
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before or between the digits of a size; so many were read.
    Size(u8),
    /// Behind the digits, up to the end of the line.
    Extension,
    /// Data.
    Data,
    /// The line end behind the data; true once its CR was read.
    DataEnd(bool),
    /// At the start of a line of the trailer section; true once a CR was read there.
    TrailerStart(bool),
    /// In such a line.
    Trailer,
    /// Behind the last line.
    Over,
}

impl Chunked {
    /// Before the first chunk.
    pub(super) const START: Self = Self {
        state: State::Size(0),
        size: 0,
    };

    /// Takes what belongs to the body from the front of `input`. What stands before a break is
    /// taken, and the next call finds the break: it makes no difference where the input was cut.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Taken, BrokenChunk> {
        let mut taken = Taken::default();
        while taken.bytes < input.len() && self.state != State::Over {
            if self.state == State::Data {
                let rest = input.len() - taken.bytes;
                let data = usize::try_from(self.size).map_or(rest, |size| size.min(rest));
                taken.bytes += data;
                taken.content += data as u64;
                self.pass(data as u64);
            } else {
                match self.framing(input[taken.bytes]) {
                    Ok(()) => taken.bytes += 1,
                    Err(_) if taken.bytes > 0 => break,
                    Err(broken) => return Err(broken),
                }
            }
        }
        Ok(taken)
    }

    #[must_use]
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        let possible = bytes == 0 || (self.state == State::Data && self.size >= bytes);
        if possible && bytes > 0 {
            self.pass(bytes);
        }
        possible
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Passes `bytes` of data, of which there are that many.
    fn pass(&mut self, bytes: u64) {
        self.size -= bytes;
        if self.size == 0 {
            self.state = State::DataEnd(false);
        }
    }

    fn framing(&mut self, byte: u8) -> Result<(), BrokenChunk> {
        self.state = match (self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 16 digits fill a u64; leading zeros are nobody's need.
                if digits == 16 {
                    return Err(BrokenChunk);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.size = (self.size << 4) | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..), b'\n') | (State::Extension, b'\n') => self.after_size(),
            (State::Size(1..), b'\r' | b';' | b' ' | b'\t') | (State::Extension, _) => {
                State::Extension
            }
            (State::DataEnd(false), b'\r') => State::DataEnd(true),
            (State::DataEnd(_), b'\n') => State::Size(0),
            (State::TrailerStart(false), b'\r') => State::TrailerStart(true),
            (State::TrailerStart(_), b'\n') => State::Over,
            (State::Trailer, b'\n') => State::TrailerStart(false),
            (State::TrailerStart(false) | State::Trailer, _) => State::Trailer,
            _ => return Err(BrokenChunk),
        };
        Ok(())
    }

    fn after_size(&self) -> State {
        if self.size == 0 {
            State::TrailerStart(false)
        } else {
            State::Data
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BrokenChunk, Chunked};

    const BODY: &[u8] = b"5\r\nhello\r\n1a;name=\"v\"\r\nabcdefghijklmnopqrstuvwxyz\r\n\
        0\r\nDigest: x\r\nY: z\r\n\r\n";

    fn read(chunked: &mut Chunked, input: &[u8]) -> (usize, u64) {
        let taken = chunked.read(input).unwrap();
        (taken.bytes, taken.content)
    }

    #[test]
    fn reads_chunks_extensions_and_trailers_cut_anywhere() {
        for cut in 0..=BODY.len() {
            let mut chunked = Chunked::START;
            let mut input = BODY.to_vec();
            input.extend_from_slice(b"GET /");
            let (first, one) = read(&mut chunked, &input[..cut]);
            assert_eq!(first, cut);
            let (second, two) = read(&mut chunked, &input[cut..]);
            assert_eq!(
                (first + second, one + two),
                (BODY.len(), 31),
                "cut at {cut}"
            );
            assert!(chunked.is_over());
        }
    }

    #[test]
    fn skips_data_alone() {
        let mut chunked = Chunked::START;
        assert!(!chunked.skip(1));
        read(&mut chunked, b"A\r\nab");
        assert!(!chunked.skip(9));
        assert!(chunked.skip(8));
        assert_eq!(read(&mut chunked, b"\r\n0\r\n\r\n"), (7, 0));
        assert!(chunked.is_over());
    }

    #[test]
    fn accepts_a_bare_line_feed() {
        let mut chunked = Chunked::START;
        assert_eq!(read(&mut chunked, b"2\nab\n0\n\n"), (8, 2));
        assert!(chunked.is_over());
    }

    #[test]
    fn refuses_what_is_no_chunk() {
        for broken in [
            &b"\r\n"[..],
            b"x\r\n",
            b"2\r\nabc",
            b"-1\r\n",
            b"11111111111111111\r\n",
            b";a\r\n",
        ] {
            let mut chunked = Chunked::START;
            let valid = chunked.read(broken).map_or(0, |taken| taken.bytes);
            assert_eq!(
                chunked.read(&broken[valid..]),
                Err(BrokenChunk),
                "{broken:?}"
            );
        }
    }

    #[test]
    fn content_before_a_break_counts_wherever_the_input_is_cut() {
        let broken = b"5\r\nhellox\r\n";
        for cut in 0..=broken.len() {
            let mut chunked = Chunked::START;
            let mut content = 0;
            for mut piece in [&broken[..cut], &broken[cut..]] {
                while let Ok(taken) = chunked.read(piece)
                    && taken.bytes > 0
                {
                    content += taken.content;
                    piece = &piece[taken.bytes..];
                }
            }
            assert_eq!(content, 5, "cut at {cut}");
        }
    }
}
